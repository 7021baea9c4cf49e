//! The admin listener: metrics, health and dead letters on an address of their own, away from the data.

// Who may ask.
mod access;
// Dead letters.
mod letters;
// What is asked about them.
mod query;

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use self::access::Access;
use crate::config::Secret;
use crate::control::Control;
use crate::message::Scheme;
use crate::metrics::exposition::{CLASSIC, OPENMETRICS, takes_openmetrics};

/// Connections served at the same time; more wait in the listener's backlog.
const CONNECTIONS_MAX: usize = 64;
/// For a request head to arrive, and for the next one to begin.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection's life, so that a peer that does not read its answers is rid of; a scraper opens a new one.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Before accepting again when the process is out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// What the admin listener is told by the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `ADMIN_TOKEN`.
    pub token: Option<Secret>,
    /// The scheme of an origin that names none.
    pub origin_scheme: Scheme,
}

/// What its connections share.
struct Served {
    control: Control,
    access: Access,
    origin_scheme: Scheme,
}

/// Serves until it is dropped, which closes its connections too: it starts no task. Needs a runtime with I/O and time.
pub async fn serve(listener: TcpListener, control: Control, settings: Settings) -> Infallible {
    // What cannot be told counts as open to others.
    let is_loopback = listener.local_addr().is_ok_and(|address| address.ip().is_loopback());
    if !is_loopback && settings.token.is_none() {
        tracing::warn!(
            "ADMIN_LISTEN is not on loopback and ADMIN_TOKEN is not set: dead letters can be read and not changed"
        );
    }
    let access = Access { token: settings.token, is_loopback };
    let served = Served { control, access, origin_scheme: settings.origin_scheme };
    let mut connections = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(()) = connections.next() => {}
            stream = accept(&listener), if connections.len() < CONNECTIONS_MAX => {
                connections.push(serve_connection(stream, &served));
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

async fn serve_connection(stream: TcpStream, served: &Served) {
    let service = service_fn(|request| async move { Ok::<_, Infallible>(answer(&request, served).await) });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    // How a scraper's connection ends matters to nobody.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}

async fn answer<B>(request: &Request<B>, served: &Served) -> Response<Full<Bytes>> {
    let Served { control, access, origin_scheme } = served;
    if access::is_foreign(request) {
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
        _ => letters::answer(request, control, access, *origin_scheme).await.unwrap_or_else(|| {
            problem(StatusCode::NOT_FOUND, "there is /metrics, /-/healthy, /-/ready, /-/dead-letters and /-/replays")
        }),
    }
}

async fn metrics(headers: &HeaderMap, control: &Control) -> Response<Full<Bytes>> {
    let openmetrics = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok()).any(takes_openmetrics);
    let kind = if openmetrics { OPENMETRICS } else { CLASSIC };
    respond(StatusCode::OK, kind, control.metrics(openmetrics).await)
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
            never = serve(listener, control, settings()) => match never {},
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

    const fn settings() -> Settings {
        Settings { token: None, origin_scheme: Scheme::Http }
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
