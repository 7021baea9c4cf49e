//! A scripted origin that records raw requests, and the one way tests send to it.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use dispatcher::delivery::client::{HyperTransport, TransportConfig};
use dispatcher::delivery::names::NameSources;
use dispatcher::delivery::{Outbound, tls};
use dispatcher::limits::{DNS_ANSWERS_MAX, POOL_IDLE_MAX};
use dispatcher::message::policy::Policy;
use dispatcher::message::{MessageId, Origin, Scheme};
use dispatcher::schedule::attempt::{Attempt, Failure, Outcome};
use dispatcher::time::Millis;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, LocalSet};

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub const UNAVAILABLE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
pub const MESSAGE_ID: &str = "0190a6e2-7b4c-7def-8123-456789abcdef";
pub const MARK: &str = "X-Dispatcher-Maybe-Duplicate: true\r\n";

/// Runs a test as a core runs: one thread and local tasks. No test takes longer than the bound.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let bounded = async { tokio::time::timeout(Duration::from_secs(30), test).await.expect("a test ends in time") };
    LocalSet::new().block_on(&runtime, bounded)
}

/// A listener whose connections are served by a script; stops listening when dropped.
pub struct Stub {
    pub port: u16,
    pub requests: Rc<RefCell<Vec<Vec<u8>>>>,
    pub connections: Rc<Cell<usize>>,
    accepting: JoinHandle<()>,
}

/// One accepted connection, counted from 0.
pub struct Accepted {
    pub index: usize,
    pub stream: TcpStream,
    requests: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Stub {
    /// Serves each connection with `script` in a task of its own.
    pub async fn serve<F: Future<Output = ()> + 'static>(script: impl Fn(Accepted) -> F + 'static) -> Self {
        Self::serve_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    /// Serves the connections of a listener.
    pub fn serve_on<F: Future<Output = ()> + 'static>(
        listener: TcpListener,
        script: impl Fn(Accepted) -> F + 'static,
    ) -> Self {
        let port = listener.local_addr().unwrap().port();
        let (requests, connections) = (Rc::new(RefCell::new(Vec::new())), Rc::new(Cell::new(0)));
        let (recorded, counted) = (Rc::clone(&requests), Rc::clone(&connections));
        let accepting = tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let index = counted.replace(counted.get() + 1);
                tokio::task::spawn_local(script(Accepted { index, stream, requests: Rc::clone(&recorded) }));
            }
        });
        Self { port, requests, connections, accepting }
    }

    /// Answers every request on every connection with the same bytes.
    pub async fn answering(answer: &'static [u8]) -> Self {
        Self::serve(move |mut accepted| async move {
            while accepted.request().await.is_some() {
                accepted.say(answer).await;
            }
        })
        .await
    }

    /// Reads one request per connection, says the bytes, and closes.
    pub async fn answering_once(answer: &'static [u8]) -> Self {
        Self::serve(move |mut accepted| async move {
            accepted.request().await;
            accepted.say(answer).await;
        })
        .await
    }

    /// The request received as the `index`th.
    pub fn request(&self, index: usize) -> Vec<u8> {
        self.requests.borrow()[index].clone()
    }

    /// Whether the request received as the `index`th says that it may be a duplicate.
    pub fn is_marked(&self, index: usize) -> bool {
        self.request(index).windows(MARK.len()).any(|window| window == MARK.as_bytes())
    }

    /// Refuses connections from now on.
    pub async fn stop_listening(&mut self) {
        self.accepting.abort();
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Accepted {
    /// Reads and records the next request; `None` when the connection ended instead.
    pub async fn request(&mut self) -> Option<Vec<u8>> {
        let request = read_request(&mut self.stream).await?;
        self.requests.borrow_mut().push(request.clone());
        Some(request)
    }

    /// How many requests have been read, on any connection.
    pub fn seen(&self) -> usize {
        self.requests.borrow().len()
    }

    /// Sends bytes; it does not matter whether the peer still wants them.
    pub async fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Waits until the peer closes or resets.
    pub async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _ = self.stream.read_to_end(&mut rest).await;
    }
}

/// One request, head and body, as it arrives.
pub async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut request = Vec::new();
    let head = loop {
        if let Some(end) = request.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    };
    let length = content_length(&request[..head]);
    let mut body = request.split_off(head);
    body.reserve(length.saturating_sub(body.len()));
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    assert_eq!(body.len(), length, "nothing follows a body");
    request.append(&mut body);
    Some(request)
}

fn content_length(head: &[u8]) -> usize {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let field = head.lines().find_map(|line| line.strip_prefix("content-length:").map(str::trim).map(str::to_owned));
    field.map_or(0, |value| value.parse().unwrap())
}

/// What a transport is told unless a test says otherwise.
pub fn config(ca: Option<&Path>, connect_timeout: Millis) -> TransportConfig {
    TransportConfig {
        connect_timeout,
        tls: tls::client_config(ca).unwrap(),
        policy: Policy::DEFAULT,
        names: NameSources::default(),
        dns_answers_max: DNS_ANSWERS_MAX,
        idle_max: POOL_IDLE_MAX,
    }
}

/// A transport that trusts `ca` too.
pub fn transport_trusting(ca: Option<&Path>, connect_timeout: Millis) -> HyperTransport {
    HyperTransport::new(config(ca, connect_timeout))
}

/// A transport for plain HTTP.
pub fn transport() -> HyperTransport {
    transport_trusting(None, Millis::from_secs(10))
}

/// A POST to 127.0.0.1 with a timeout that no passing test meets.
pub fn post(port: u16, body: &[u8]) -> Outbound {
    let head = format!("POST /in HTTP/1.1\r\nHost: b\r\nContent-Length: {}\r\n", body.len());
    request(&format!("127.0.0.1:{port}"), head.as_bytes(), body)
}

/// Any request to any origin.
pub fn request(origin: &str, head: &[u8], body: &[u8]) -> Outbound {
    Outbound {
        origin: Rc::new(Origin::parse(origin, Scheme::Http).unwrap()),
        head: Bytes::copy_from_slice(head),
        message_id: MessageId::parse(MESSAGE_ID).unwrap(),
        attempt: 1,
        maybe_duplicate: false,
        body: Bytes::copy_from_slice(body),
        timeout: Millis::from_secs(20),
    }
}

/// Asserts the class of a failed attempt and what it says of the message's whereabouts.
#[track_caller]
pub fn assert_failed(attempt: &Attempt, failure: Failure, maybe_received: bool) {
    assert_eq!(attempt.outcome, Outcome::Failed(failure), "{attempt:?}");
    assert_eq!(attempt.maybe_received, maybe_received, "{attempt:?}");
}

/// Asserts that an attempt delivered.
#[track_caller]
pub fn assert_delivered(attempt: &Attempt) {
    assert_eq!(attempt.outcome, Outcome::Delivered, "{attempt:?}");
}

/// Lets the runtime collect all that the kernel knows by now: a round trip through its poller.
pub async fn settle() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (accepted, connected) = tokio::join!(listener.accept(), connecting);
    let (mut accepted, mut connected) = (accepted.unwrap().0, connected.unwrap());
    let (written, read) = tokio::join!(accepted.write_all(b"x"), connected.read_u8());
    written.unwrap();
    read.unwrap();
}
