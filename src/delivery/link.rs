//! One connection to an origin: hyper's HTTP/1.1 client over a socket, driven by whoever uses it.
//!
//! hyper splits a connection into a handle that takes requests and a driver that does the work, meant for a task of its
//! own. Here the exchange that uses the connection polls the driver itself: no task, no wake-ups between two tasks per
//! message, and dropping the exchange closes the connection. An idle connection is polled by the pool's sweep.

use std::cell::Cell;
use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response};
use http_body::Body;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::coop::unconstrained;

use super::connect::Socket;
use super::failure;
use super::payload::Payload;
use super::send_queue::SendQueue;
use super::wire::{Meter, Wire};
use crate::limits;
use crate::schedule::attempt::Failure;

/// How many connections one transport has, and what became of them.
#[derive(Debug, Default)]
pub struct LinkCounts {
    /// Open now, idle ones included.
    pub open: Cell<u64>,
    /// Opened since the start.
    pub opened: Cell<u64>,
    /// Requests sent again at once because a pooled connection turned out to be dead, or an HTTP/2 stream was refused.
    pub stale_retries: Cell<u64>,
}

/// A connection that counts as open until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(Rc<LinkCounts>);

impl Counted {
    /// Counts one more.
    pub(super) fn new(counts: Rc<LinkCounts>) -> Self {
        counts.open.set(counts.open.get() + 1);
        counts.opened.set(counts.opened.get() + 1);
        Self(counts)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
    }
}

type Driver = http1::Connection<TokioIo<Wire<Socket>>, Empty<Bytes>>;

/// An open connection.
pub(super) struct Link {
    sender: http1::SendRequest<Empty<Bytes>>,
    /// `None` once the connection is closed.
    driver: Option<Driver>,
    meter: Rc<Meter>,
    /// The memory of the fields of the answer before, for those of the next.
    fields: HeaderMap,
    opened_at: Instant,
    _counted: Counted,
}

/// A request without a complete response head.
#[derive(Debug)]
pub(super) struct Broken {
    /// Its class.
    pub(super) failure: Failure,
    /// Whether the connection broke before a byte of an answer: if it came from the pool, it may just have been stale.
    pub(super) before_answer: bool,
    /// Whether the origin said that it has not processed the request and will not (RFC 9113 §8.7), or there was no
    /// connection any more to send it on.
    pub(super) unprocessed: bool,
    /// Whether HTTP/1.1 was asked for.
    pub(super) wants_http1: Option<WantsHttp1>,
}

/// Why a request is to be sent over HTTP/1.1 instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WantsHttp1 {
    /// HTTP/2 cannot say it.
    Unsayable,
    /// The origin says so (`HTTP_1_1_REQUIRED`, RFC 9113 §7).
    Required,
}

impl Link {
    /// Makes a connection of a socket, whose requests go through `queue`; sends nothing.
    pub(super) async fn new(
        socket: Socket,
        queue: Rc<SendQueue>,
        opened_at: Instant,
        counted: Counted,
    ) -> Result<Self, Failure> {
        let meter = Rc::<Meter>::default();
        let encrypted = matches!(socket, Socket::Tls(_));
        let wire = Wire::new(socket, encrypted, Rc::clone(&meter), queue);
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(limits::RESPONSE_HEAD_BYTES_MAX)
            .max_header_size(limits::RESPONSE_HEAD_BYTES_MAX)
            .handshake(TokioIo::new(wire))
            .await
            .map_err(|error| failure::of_exchange(&error, false))?;
        Ok(Self { sender, driver: Some(driver), meter, fields: HeaderMap::new(), opened_at, _counted: counted })
    }

    /// When its socket was connected.
    pub(super) const fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// Sends a request and waits for the complete head of its final answer (1xx are skipped, but 101).
    ///
    /// Not cancel-safe: after a dropped future the link must be dropped too; [`Link::sent`] tells what is known then.
    pub(super) async fn exchange(&mut self, payload: Payload) -> Result<Response<Incoming>, Broken> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = method_for_hyper(payload.chunk());
        *request.headers_mut() = std::mem::take(&mut self.fields);
        self.meter.begin(payload);
        // Only the driver resolves the answer, and it is polled right before: so the answer needs no waker of its own
        // (which would wake this very task once more for every message) and must not meet tokio's budget, which would
        // use that waker.
        let mut answer = pin!(unconstrained(self.sender.try_send_request(request)));
        let mut quiet = Context::from_waker(Waker::noop());
        let answer = poll_fn(|cx| {
            poll_driver(&mut self.driver, cx);
            answer.as_mut().poll(&mut quiet)
        });
        answer.await.map_err(|refused| {
            let error = refused.into_error();
            let failure = failure::of_exchange(&error, self.meter.received());
            tracing::debug!(class = failure.as_str(), error = &error as &dyn Error, "no answer");
            // What came before the request was sent is no answer to it: a server's farewell to an idle connection.
            let before_answer = !self.meter.sent() || !self.meter.received();
            Broken { failure, before_answer, unprocessed: false, wants_http1: None }
        })
    }

    /// Takes the fields of an answer back when they have been looked at.
    pub(super) fn recycle(&mut self, mut fields: HeaderMap) {
        fields.clear();
        self.fields = fields;
    }

    /// Whether bytes of the current request may have reached the origin.
    pub(super) fn sent(&self) -> bool {
        self.meter.sent()
    }

    /// Reads an answer's body to its end or to a limit, so that the connection can be used again; the first `keep`
    /// bytes go to `kept`. Returns whether the end was reached. Cancel-safe: `kept` has what was read so far.
    pub(super) async fn drain(&mut self, body: &mut Incoming, keep: usize, kept: &mut BytesMut) -> bool {
        let too_long = body.size_hint().lower() > limits::DRAIN_BYTES_MAX as u64;
        let limit = if too_long { keep } else { limits::DRAIN_BYTES_MAX };
        let mut drained = 0;
        while !body.is_end_stream() {
            if drained >= limit {
                return false;
            }
            match poll_fn(|cx| self.poll_frame(body, cx)).await {
                None => return true,
                Some(Err(_)) => return false,
                Some(Ok(data)) => {
                    drained += data.len();
                    let room = keep - kept.len();
                    kept.extend_from_slice(&data[..data.len().min(room)]);
                }
            }
        }
        true
    }

    /// The next piece of `body`; a piece of trailers is empty.
    fn poll_frame(&mut self, body: &mut Incoming, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<bytes::Bytes>>> {
        // Asking is what lets the driver read on, so ask, drive, and ask again. Quiet for the reason in `exchange`.
        let mut quiet = Context::from_waker(Waker::noop());
        let mut frame = Pin::new(&mut *body).poll_frame(&mut quiet);
        if frame.is_pending() {
            poll_driver(&mut self.driver, cx);
            frame = Pin::new(body).poll_frame(&mut quiet);
        }
        frame.map(|frame| frame.map(|result| result.map(|frame| frame.into_data().unwrap_or_default())))
    }

    /// Whether it can take another request now: answer read, request sent, and neither side wants to close.
    pub(super) fn is_reusable(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready() && self.meter.is_complete()
    }

    /// Whether the origin has left an idle connection open; closes it otherwise. Without system calls but for a
    /// connection on which something arrived.
    pub(super) fn is_open_while_idle(&mut self) -> bool {
        if let Some(driver) = &mut self.driver {
            // tokio's budget is for tasks that would starve others; here it would hide what arrived.
            let mut driver = pin!(unconstrained(driver));
            if driver.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                self.driver = None;
            }
        }
        self.is_reusable()
    }
}

fn poll_driver(driver: &mut Option<Driver>, cx: &mut Context<'_>) {
    if let Some(running) = driver
        && Pin::new(running).poll(cx).is_ready()
    {
        // Its result, if it is an error, was given to the exchange, or nobody waits for it.
        *driver = None;
    }
}

/// The method as far as hyper must know it: an answer to HEAD has no body (RFC 9112 §6.3). CONNECT is never accepted. GET
/// has hyper write no field about a body.
fn method_for_hyper(head: &[u8]) -> Method {
    if head.starts_with(b"HEAD ") { Method::HEAD } else { Method::GET }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_head_is_a_method_whose_answer_has_no_body() {
        for (line, method) in
            [("HEAD / ", Method::HEAD), ("HEADER / ", Method::GET), ("head / ", Method::GET), ("POST / ", Method::GET)]
        {
            assert_eq!(method_for_hyper(line.as_bytes()), method, "{line}");
        }
    }
}
