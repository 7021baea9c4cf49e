//! The admin listener: metrics and health on an address of their own, away from the data.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::control::Control;
use crate::metrics::exposition::{CLASSIC, OPENMETRICS};

/// Connections served at the same time; more wait in the backlog.
const CONNECTIONS_MAX: usize = 64;
/// For a request head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection's life: a scraper opens a new one.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until dropped. Must run where `spawn_local` works.
pub async fn serve(listener: TcpListener, control: Control) -> Infallible {
    let places = std::rc::Rc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    loop {
        let place = std::rc::Rc::clone(&places);
        let Ok(accepted) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let control = control.clone();
        tokio::task::spawn_local(async move {
            let _place = place.acquire().await;
            let service = service_fn(move |request| {
                let control = control.clone();
                async move { Ok::<_, Infallible>(answer(&request, &control).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(accepted.0), service);
            // How a scraper's connection ends matters to nobody.
            let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
        });
    }
}

async fn answer(request: &Request<Incoming>, control: &Control) -> Response<Full<Bytes>> {
    if is_foreign(request) {
        return text(StatusCode::FORBIDDEN, "a browser on another site may not read this\n");
    }
    let known = matches!(request.uri().path(), "/metrics" | "/-/healthy" | "/-/ready");
    if known && !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n");
        refused.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    match request.uri().path() {
        "/metrics" => {
            let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            let openmetrics = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
            let mut response = text(StatusCode::OK, control.metrics(openmetrics).await);
            let content_type = if openmetrics { OPENMETRICS } else { CLASSIC };
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
            response
        }
        "/-/healthy" => text(StatusCode::OK, "healthy\n"),
        "/-/ready" => match control.ready() {
            Ok(()) => text(StatusCode::OK, "ready\n"),
            Err(reason) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
        },
        _ => text(StatusCode::NOT_FOUND, "there is /metrics, /-/healthy and /-/ready\n"),
    }
}

/// Whether a browser sent this from a page that is not ours (CSRF), or under a name it was tricked into resolving to
/// us (DNS rebinding). Scrapers send neither `Origin` nor `Sec-Fetch-Site`, under whatever name they reach us.
fn is_foreign(request: &Request<Incoming>) -> bool {
    let field = |name: &str| request.headers().get(name).map(header::HeaderValue::as_bytes);
    let from_browser = field("sec-fetch-site").is_some() || field("origin").is_some();
    let host = field("host").and_then(|host| std::str::from_utf8(host).ok()).unwrap_or_default();
    let own_name = host.parse::<std::net::SocketAddr>().is_ok()
        || host.parse::<std::net::IpAddr>().is_ok()
        || host.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case("localhost"));
    let cross_site = matches!(field("sec-fetch-site"), Some(site) if site != b"same-origin" && site != b"none")
        || matches!(field("origin"), Some(origin) if origin != format!("http://{host}").as_bytes());
    from_browser && (cross_site || !own_name)
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let plain = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    response
}
