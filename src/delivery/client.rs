//! The hyper client: one attempt from a pooled or a new connection to a judged answer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;

use super::connect::{Socket, connect};
use super::failure;
use super::pool::Pool;
use super::wire::{Exchange, Wire};
use super::{Outbound, Transport};
use crate::limits::{ANSWER_BYTES_MAX, DRAIN_BYTES_MAX, RESPONSE_FIELDS_MAX, RESPONSE_HEAD_BYTES_MAX};
use crate::message::Origin;
use crate::metrics::Side;
use crate::schedule::attempt::{Attempt, Failure, Outcome, outcome_of_status};
use crate::time::{Millis, monotonic_now};

/// Told of each connection that opens and closes.
pub type OnConnection = Rc<dyn Fn(Side, bool)>;

/// Sends over hyper, on the current thread, with a pool of its own.
pub struct HyperTransport {
    connect_timeout: Millis,
    tls: Arc<ClientConfig>,
    pool: RefCell<Pool<Connection>>,
    on_connection: OnConnection,
}

struct Connection {
    sender: SendRequest<Full<Bytes>>,
    exchange: Rc<Exchange>,
}

impl Connection {
    /// Whether the exchange before is over and the peer has not hung up.
    fn is_usable(&self) -> bool {
        self.sender.is_ready() && !self.sender.is_closed()
    }
}

/// How far an attempt has come, for the judgement if its time runs out.
#[derive(Default)]
struct Reached {
    /// A connection stands.
    connected: Cell<bool>,
    /// Bytes of the request went out on a connection that has since broken.
    sent_before: Cell<bool>,
    /// The exchange that is running.
    exchange: RefCell<Option<Rc<Exchange>>>,
}

impl Reached {
    fn maybe_received(&self) -> bool {
        self.sent_before.get() || self.exchange.borrow().as_ref().is_some_and(|exchange| exchange.written() > 0)
    }
}

/// What an exchange came to, short of its time running out.
enum Exchanged {
    Answered { outcome: Outcome, status: u16, answer: Bytes },
    Broken(Failure),
}

impl HyperTransport {
    /// With an empty pool.
    pub fn new(connect_timeout: Millis, tls: Arc<ClientConfig>, on_connection: OnConnection) -> Self {
        Self { connect_timeout, tls, pool: RefCell::default(), on_connection }
    }

    /// Closes pooled connections that are idle or alive too long. Called about once a second.
    pub fn sweep(&self) {
        self.pool.borrow_mut().sweep(monotonic_now(), Connection::is_usable);
    }

    async fn exchange(&self, outbound: &Outbound, reached: &Reached) -> Exchanged {
        let now = monotonic_now();
        let pooled = self.pool.borrow_mut().take(&outbound.origin, now, Connection::is_usable);
        if let Some((mut connection, born)) = pooled {
            reached.connected.set(true);
            let sent = self.send_on(&mut connection, outbound, outbound.maybe_duplicate, reached).await;
            match sent {
                Ok(response) => return self.judge(response, connection, born, outbound).await,
                // It was idle, and the peer closed it before it saw this request or while it came: that says nothing
                // of the origin, so a fresh connection gets the request at once.
                Err(_) if connection.exchange.read() == 0 => {
                    reached.sent_before.set(connection.exchange.written() > 0);
                    reached.exchange.take();
                }
                Err(failure) => return Exchanged::Broken(failure),
            }
        }
        reached.connected.set(false);
        let mut connection = match self.open(&outbound.origin).await {
            Ok(connection) => connection,
            Err(failure) => return Exchanged::Broken(failure),
        };
        reached.connected.set(true);
        let born = monotonic_now();
        let maybe_duplicate = outbound.maybe_duplicate || reached.sent_before.get();
        match self.send_on(&mut connection, outbound, maybe_duplicate, reached).await {
            Ok(response) => self.judge(response, connection, born, outbound).await,
            Err(failure) => Exchanged::Broken(failure),
        }
    }

    async fn open(&self, origin: &Origin) -> Result<Connection, Failure> {
        let connecting = async {
            let socket = connect(origin, &self.tls).await.map_err(|error| {
                tracing::debug!(%origin, ?error, "no connection");
                failure::of_connect(&error)
            })?;
            self.handshake(socket).await
        };
        let connected = tokio::time::timeout(self.connect_timeout.duration(), connecting).await;
        connected.unwrap_or(Err(Failure::ConnectTimeout))
    }

    async fn handshake(&self, socket: Socket) -> Result<Connection, Failure> {
        let (wire, exchange) = Wire::new(socket);
        let mut builder = http1::Builder::new();
        builder.max_header_size(RESPONSE_HEAD_BYTES_MAX).max_headers(RESPONSE_FIELDS_MAX);
        builder.max_buf_size(RESPONSE_HEAD_BYTES_MAX);
        let (sender, connection) =
            builder.handshake(TokioIo::new(wire)).await.map_err(|error| failure::of_exchange(&error))?;
        let on_connection = Rc::clone(&self.on_connection);
        on_connection(Side::Out, true);
        tokio::task::spawn_local(async move {
            // What breaks here reaches the exchange that runs, if one does.
            let _ = connection.await;
            on_connection(Side::Out, false);
        });
        Ok(Connection { sender, exchange })
    }

    async fn send_on(
        &self,
        connection: &mut Connection,
        outbound: &Outbound,
        maybe_duplicate: bool,
        reached: &Reached,
    ) -> Result<Response<Incoming>, Failure> {
        let mut request = Request::new(Full::new(outbound.body.clone()));
        *request.method_mut() = method(&outbound.head);
        connection.exchange.stage(outbound.head.clone(), |tail| write_tail(tail, outbound, maybe_duplicate));
        reached.exchange.replace(Some(Rc::clone(&connection.exchange)));
        connection.sender.send_request(request).await.map_err(|error| {
            tracing::debug!(origin = %outbound.origin, %error, "the exchange broke");
            failure::of_exchange(&error)
        })
    }

    /// Judges a complete head, and reads the body as far as it is worth it: to use the connection again, or to show
    /// the operator why the message failed.
    async fn judge(
        &self,
        response: Response<Incoming>,
        connection: Connection,
        born: Instant,
        outbound: &Outbound,
    ) -> Exchanged {
        let status = response.status().as_u16();
        let outcome = outcome_of_status(status);
        let kept_max = if outcome == Outcome::Delivered { 0 } else { ANSWER_BYTES_MAX };
        let mut body = response.into_body();
        let mut answer = BytesMut::new();
        // The head has decided; a body that does not end in time costs its connection, not the outcome.
        let draining = drain(&mut body, &mut answer, kept_max);
        let drained = tokio::time::timeout(self.connect_timeout.duration(), draining).await;
        if drained.unwrap_or(false) {
            self.pool.borrow_mut().put(&outbound.origin, connection, born, monotonic_now());
        }
        Exchanged::Answered { outcome, status, answer: answer.freeze() }
    }
}

impl Transport for HyperTransport {
    async fn send(&self, outbound: Outbound) -> Attempt {
        let began = monotonic_now();
        let reached = Reached::default();
        let exchanged = tokio::time::timeout(outbound.timeout.duration(), self.exchange(&outbound, &reached)).await;
        let failed = |failure, maybe_received| Attempt {
            outcome: Outcome::Failed(failure),
            status: None,
            maybe_received,
            elapsed: began.elapsed(),
            answer: Bytes::new(),
        };
        match exchanged {
            Ok(Exchanged::Answered { outcome, status, answer }) => {
                Attempt { outcome, status: Some(status), maybe_received: false, elapsed: began.elapsed(), answer }
            }
            Ok(Exchanged::Broken(failure)) => failed(failure, reached.maybe_received()),
            Err(_) if reached.connected.get() => failed(Failure::ResponseTimeout, reached.maybe_received()),
            Err(_) => failed(Failure::ConnectTimeout, reached.maybe_received()),
        }
    }
}

/// Reads a response body to its end, or as far as is worth it; whether it ended.
async fn drain(body: &mut Incoming, kept: &mut BytesMut, kept_max: usize) -> bool {
    let mut drained = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        // Trailers are not data, and nobody is shown them.
        let Ok(data) = frame.into_data() else { continue };
        drained += data.len();
        kept.extend_from_slice(&data[..data.len().min(kept_max - kept.len())]);
        if drained > DRAIN_BYTES_MAX {
            return false;
        }
    }
    true
}

/// The method at the start of a stored head. hyper must know it: a HEAD has no response body.
fn method(head: &[u8]) -> http::Method {
    let token = head.split(|byte| *byte == b' ').next().unwrap_or_default();
    http::Method::from_bytes(token).expect("the ingress stored a token as method")
}

fn write_tail(tail: &mut Vec<u8>, outbound: &Outbound, maybe_duplicate: bool) {
    tail.extend_from_slice(b"X-Dispatcher-Message-Id: ");
    tail.extend_from_slice(&outbound.message_id.text());
    tail.extend_from_slice(b"\r\nX-Dispatcher-Attempt: ");
    push_decimal(tail, outbound.attempt);
    if maybe_duplicate {
        tail.extend_from_slice(b"\r\nX-Dispatcher-Maybe-Duplicate: true");
    }
    tail.extend_from_slice(b"\r\n\r\n");
}

fn push_decimal(out: &mut Vec<u8>, number: u32) {
    use std::io::Write;
    write!(out, "{number}").expect("writing to memory cannot fail");
}
