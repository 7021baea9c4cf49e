//! The admin listener: metrics and health on an address of their own, away from the data. Changes nothing.
//!
//! **Who may read.** A page of another site must not read this through its visitor's browser: neither directly (CSRF)
//! nor under a name of its own that it makes resolve to us (DNS rebinding). A scraper, on the other hand, may come under
//! whatever name its operator gave us, and we cannot know that name. So `Host` is judged only when a browser is evident,
//! by a field that every browser sends, that no page can suppress, and that no scraper or probe sends: see
//! `BROWSER_FIELDS`. (Fetch metadata alone would not do: browsers send it only to trustworthy origins, W3C Fetch
//! Metadata §2, and a rebound plain-HTTP name is none.) A browser reaches us by address or as `localhost`.

use std::convert::Infallible;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use crate::control::Control;
use crate::metrics::exposition::{CLASSIC, OPENMETRICS, takes_openmetrics};

/// Connections served at the same time; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 64;
/// For a request head to arrive, and for the next one to begin.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection's life, so that a peer that does not read its answers is rid of; a scraper opens a new one.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// One of these and the request comes from a browser.
const BROWSER_FIELDS: [&str; 4] = ["origin", "referer", "sec-fetch-site", "accept-language"];

const PLAIN: &str = "text/plain; charset=utf-8";
const PROBLEM: &str = "application/problem+json";

/// Serves until it is dropped, which closes its connections too: it starts no task. Needs a runtime with I/O and time.
pub async fn serve(listener: TcpListener, control: Control) -> Infallible {
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = connections.next() => {}
            stream = accept(&listener), if connections.len() < CONNECTIONS_MAX => {
                connections.push(serve_connection(stream, &control));
            }
        }
    }
}

/// The next connection. Cancel-safe.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                tracing::debug!(%error, "accepting an admin connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, control: &Control) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request, control).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // How a scraper's connection ends matters to nobody.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}

async fn answer<B>(request: &Request<B>, control: &Control) -> Response<Full<Bytes>> {
    if is_foreign(request) {
        return problem(
            StatusCode::FORBIDDEN,
            "browsers must come by address or as localhost, and not from another site",
        );
    }
    let path = request.uri().path();
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    match path {
        "/metrics" | "/-/healthy" | "/-/ready" if !read => {
            let mut refused = problem(StatusCode::METHOD_NOT_ALLOWED, "this is for GET and HEAD");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            refused
        }
        "/metrics" => metrics(request.headers(), control).await,
        "/-/healthy" => respond(StatusCode::OK, PLAIN, "healthy\n"),
        "/-/ready" => match control.ready() {
            Ok(()) => respond(StatusCode::OK, PLAIN, "ready\n"),
            Err(reason) => respond(StatusCode::SERVICE_UNAVAILABLE, PLAIN, format!("not ready: {reason}\n")),
        },
        _ => problem(StatusCode::NOT_FOUND, "there is /metrics, /-/healthy and /-/ready"),
    }
}

async fn metrics(headers: &HeaderMap, control: &Control) -> Response<Full<Bytes>> {
    let openmetrics = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok()).any(takes_openmetrics);
    let kind = if openmetrics { OPENMETRICS } else { CLASSIC };
    respond(StatusCode::OK, kind, control.metrics(openmetrics).await)
}

/// Whether another site's page stands behind this request: see the module.
fn is_foreign<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    if !BROWSER_FIELDS.iter().any(|field| headers.contains_key(*field)) {
        return false;
    }
    // An authority in the target overrides Host (RFC 9112 §3.2.2).
    let host = request.uri().authority().map(Authority::as_str);
    let host = host.or_else(|| headers.get(HOST)?.to_str().ok()).unwrap_or_default();
    let all = |field: &str, expected: &dyn Fn(&[u8]) -> bool| {
        headers.get_all(field).iter().all(|value| expected(value.as_bytes()))
    };
    let own_origin = format!("http://{host}");
    let own_site = all(ORIGIN.as_str(), &|origin| origin.eq_ignore_ascii_case(own_origin.as_bytes()))
        && all("sec-fetch-site", &|site| matches!(site, b"same-origin" | b"none"));
    !own_site || !is_own_name(host)
}

/// Names that no other site can make its own: addresses, and `localhost` (RFC 6761 §6.3).
fn is_own_name(host: &str) -> bool {
    host.parse::<Authority>().is_ok_and(|authority| {
        let name = authority.host().trim_start_matches('[').trim_end_matches(']');
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
    })
}

/// An error as RFC 9457 has it.
fn problem(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    let title = status.canonical_reason().unwrap_or_default();
    let body = serde_json::json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    respond(status, PROBLEM, body.to_string())
}

fn respond(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::control::{Phase, Shared};

    /// Runs `client` against a listener of its own that serves `control`.
    async fn with_server<T>(control: Control, client: impl AsyncFnOnce(std::net::SocketAddr) -> T) -> T {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        tokio::select! {
            biased;
            done = client(address) => done,
            never = serve(listener, control) => match never {},
        }
    }

    /// What comes back for one request, to the end of the connection.
    async fn ask(control: &Control, start: &str, fields: &str) -> String {
        with_server(control.clone(), async |address| {
            let mut stream = TcpStream::connect(address).await.expect("listening");
            let request = format!("{start} HTTP/1.1\r\nConnection: close\r\n{fields}\r\n");
            stream.write_all(request.as_bytes()).await.expect("sent");
            let mut answer = String::new();
            let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut answer));
            read.await.expect("an answer in time").expect("text");
            answer
        })
        .await
    }

    fn no_shards() -> Control {
        Control::new(0, Shared::in_root()).0
    }

    #[tokio::test]
    async fn each_path_and_method_has_its_answer() {
        for (start, status, part) in [
            ("GET /metrics", "200 OK", "\ndispatcher_accepted_total 0\n"),
            ("GET /metrics?x", "200 OK", "version=0.0.4"),
            ("GET /-/healthy", "200 OK", "\r\n\r\nhealthy\n"),
            ("GET /-/ready", "200 OK", "\r\n\r\nready\n"),
            ("HEAD /-/healthy", "200 OK", "content-length: 8\r\n"),
            ("POST /metrics", "405 Method Not Allowed", "allow: GET, HEAD\r\n"),
            ("DELETE /-/ready", "405 Method Not Allowed", "application/problem+json"),
            ("GET /", "404 Not Found", "application/problem+json"),
            ("POST /metrics/", "404 Not Found", "\"status\":404"),
        ] {
            let answer = ask(&no_shards(), start, "Host: dispatcher.internal:8081\r\n").await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}\r\n")) && answer.contains(part),
                "{start}: {answer}"
            );
            assert_eq!(answer.ends_with("\r\n\r\n"), start.starts_with("HEAD"), "{start}: {answer}");
        }
    }

    #[tokio::test]
    async fn openmetrics_is_served_where_it_is_asked_for() {
        let answer = ask(&no_shards(), "GET /metrics", "Host: x\r\nAccept: application/openmetrics-text\r\n").await;
        assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"), "{answer}");
        assert!(answer.ends_with("# EOF\n"), "{answer}");
    }

    #[tokio::test]
    async fn readiness_is_503_with_the_reason_until_every_shard_is_ready() {
        let (control, inboxes) = Control::new(1, Shared::in_root());
        let answer = ask(&control, "GET /-/ready", "Host: x\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("shard 0 is starting"), "{answer}");
        inboxes[0].status.set(Phase::Ready);
        assert!(ask(&control, "GET /-/ready", "Host: x\r\n").await.starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn a_foreign_page_is_refused_over_the_socket() {
        let fields = "Host: 127.0.0.1\r\nOrigin: http://evil.example\r\n";
        let answer = ask(&no_shards(), "GET /metrics", fields).await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("dispatcher_"), "{answer}");
    }

    #[test]
    fn scrapers_come_under_any_name_and_browsers_only_from_here() {
        const LANGUAGE: (&str, &str) = ("accept-language", "en");
        for (host, field, foreign) in [
            ("dispatcher.internal:8081", ("user-agent", "Prometheus/3.5.0"), false),
            ("dispatcher.internal:8081", LANGUAGE, true),
            ("", LANGUAGE, true),
            ("127.0.0.1.evil.example", LANGUAGE, true),
            ("localhost.evil.example", LANGUAGE, true),
            ("localhost@evil.example", LANGUAGE, true),
            ("127.0.0.1:8081", LANGUAGE, false),
            ("LocalHost", LANGUAGE, false),
            ("[::1]", LANGUAGE, false),
            ("[::1]:8081", LANGUAGE, false),
            ("10.0.0.7:8081", ("sec-fetch-site", "none"), false),
            ("10.0.0.7:8081", ("sec-fetch-site", "same-origin"), false),
            ("10.0.0.7:8081", ("sec-fetch-site", "cross-site"), true),
            ("10.0.0.7:8081", ("referer", "http://evil.example/"), false),
            ("localhost:8081", ("origin", "http://localhost:8081"), false),
            ("localhost:8081", ("origin", "http://localhost:3000"), true),
            ("localhost:8081", ("origin", "null"), true),
            ("evil.example", ("origin", "http://evil.example"), true),
        ] {
            let request = Request::get("/metrics").header("host", host).header(field.0, field.1).body(());
            assert_eq!(is_foreign(&request.expect("valid")), foreign, "{host} {field:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_beyond_the_last_place_waits_until_an_idle_connection_times_out() {
        with_server(no_shards(), async |address| {
            let started = Instant::now();
            let mut idle = Vec::new();
            for _ in 0..CONNECTIONS_MAX {
                idle.push(TcpStream::connect(address).await.expect("listening"));
            }
            let mut late = TcpStream::connect(address).await.expect("listening");
            late.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("sent");
            let mut answer = String::new();
            late.read_to_string(&mut answer).await.expect("text");
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(Instant::now() - started >= HEAD_TIMEOUT);
        })
        .await;
    }
}
