//! One HTTP/2 connection: opened, driven by a task of its own, and left when nobody holds it any more.

use std::cell::Cell;
use std::error::Error;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use h2::client::{self, SendRequest};
use h2::{Reason, RecvStream};
use http::Response;
use tokio::sync::Notify;

use super::meter::{Meter, Metered};
use super::request;
use crate::delivery::Outbound;
use crate::delivery::connect::Socket;
use crate::delivery::failure;
use crate::delivery::link::{Broken, Counted, WantsHttp1};
use crate::limits;
use crate::schedule::attempt::Failure;

const IDLE_MAX: Duration = Duration::from_millis(limits::POOL_IDLE_MS_MAX);
const AGE_MAX: Duration = Duration::from_millis(limits::POOL_AGE_MS_MAX);

/// An open connection. When the last holder drops it, it says goodbye and closes.
#[derive(Debug)]
pub(in crate::delivery) struct Connection {
    sender: SendRequest<Bytes>,
    meter: Rc<Meter>,
    opened_at: Instant,
    /// Since when a sweep has found it without streams.
    idle_since: Cell<Option<Instant>>,
    streams: Cell<usize>,
    suspect: Cell<bool>,
    left: Rc<Notify>,
}

impl Connection {
    /// Makes a connection of a socket, and waits for the origin's settings: only they say how many streams it takes.
    ///
    /// Cancel-safe: a dropped future leaves no connection.
    pub(in crate::delivery) async fn open(
        socket: Socket,
        opened_at: Instant,
        counted: Counted,
    ) -> Result<Rc<Self>, Failure> {
        let meter = Rc::new(Meter::default());
        let (sender, mut driver) = client::Builder::new()
            .enable_push(false)
            // None before the origin has said how many.
            .initial_max_send_streams(0)
            .initial_connection_window_size(limits::HTTP2_WINDOW_BYTES)
            // h2 takes what reaches its limit for too long.
            .max_header_list_size(RESPONSE_HEAD_BYTES_MAX + 1)
            .handshake::<_, Bytes>(Metered::new(socket, Rc::clone(&meter)))
            .await
            .map_err(|error| failure::of_http2(&error))?;
        poll_fn(|cx| match Pin::new(&mut driver).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Err(Failure::Reset)),
            Poll::Ready(Err(error)) => {
                tracing::debug!(error = &error as &dyn Error, "no settings");
                Poll::Ready(Err(failure::of_http2(&error)))
            }
            Poll::Pending if driver.max_concurrent_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        let left = Rc::new(Notify::new());
        tokio::task::spawn_local(drive(driver, Rc::clone(&left), counted));
        let (idle_since, streams, suspect) = (Cell::new(None), Cell::new(0), Cell::new(false));
        Ok(Rc::new(Self { sender, meter, opened_at, idle_since, streams, suspect, left }))
    }

    /// When its socket was connected.
    pub(super) const fn opened_at(&self) -> Instant {
        self.opened_at
    }

    /// Whether it may be used for new streams: neither old, nor silent to an attempt that timed out, nor ending.
    pub(super) fn takes_streams(&self, now: Instant) -> bool {
        let is_young = now.saturating_duration_since(self.opened_at) < AGE_MAX;
        let mut quiet = Context::from_waker(Waker::noop());
        is_young && !self.suspect.get() && matches!(self.sender.clone().poll_ready(&mut quiet), Poll::Ready(Ok(())))
    }

    /// Whether the origin lets us open another stream now.
    pub(super) fn has_room(&self) -> bool {
        self.streams.get() < self.sender.current_max_send_streams()
    }

    /// Whether nobody uses it.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// Whether nobody has used it for too long. To be asked about once a second.
    pub(super) fn was_idle_for_too_long(&self, now: Instant) -> bool {
        if !self.is_idle() {
            self.idle_since.set(None);
            return false;
        }
        let since = self.idle_since.get().unwrap_or(now);
        self.idle_since.set(Some(since));
        now.saturating_duration_since(since) >= IDLE_MAX
    }

    /// A stream for one request.
    pub(in crate::delivery) fn stream(self: &Rc<Self>) -> Stream {
        self.streams.set(self.streams.get() + 1);
        self.idle_since.set(None);
        let (writes, reads) = (self.meter.writes(), self.meter.reads());
        Stream { connection: Rc::clone(self), writes, reads }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.left.notify_one();
    }
}

/// Does the work of a connection until it ends; once it is left, until what it had to say has been said, or for a
/// while.
async fn drive(driver: client::Connection<Metered<Socket>>, left: Rc<Notify>, _counted: Counted) {
    tokio::select! {
        biased;
        result = driver => if let Err(error) = result {
            tracing::debug!(error = &error as &dyn Error, "an HTTP/2 connection ended");
        },
        () = async {
            left.notified().await;
            tokio::time::sleep(Duration::from_millis(limits::DRAIN_MS_MAX)).await;
        } => {}
    }
}

/// Permission for one request on a connection. Dropping it, with its answer, resets what has not ended.
#[derive(Debug)]
pub(in crate::delivery) struct Stream {
    connection: Rc<Connection>,
    /// What the meter said when it began.
    writes: u64,
    reads: u64,
}

impl Stream {
    /// When the socket below was connected.
    pub(in crate::delivery) fn opened_at(&self) -> Instant {
        self.connection.opened_at
    }

    /// Sends a request and waits for the complete head of its final answer (1xx are skipped).
    ///
    /// Cancel-safe: a dropped future resets the stream; [`Stream::sent`] tells what is known then.
    pub(in crate::delivery) async fn exchange(
        &mut self,
        outbound: &Outbound,
        maybe_duplicate: bool,
    ) -> Result<Response<RecvStream>, Broken> {
        let request = request::of(outbound, maybe_duplicate).map_err(|error| {
            tracing::debug!(id = %outbound.message_id, origin = %outbound.origin, %error, "not to be said in HTTP/2");
            let wants_http1 = Some(WantsHttp1::Unsayable);
            Broken { failure: Failure::Protocol, before_answer: false, unprocessed: true, wants_http1 }
        })?;
        (self.writes, self.reads) = (self.connection.meter.writes(), self.connection.meter.reads());
        let body = outbound.body.clone();
        let mut sender = self.connection.sender.clone();
        poll_fn(|cx| sender.poll_ready(cx)).await.map_err(|error| self.unsent(&error))?;
        let (answer, mut sending) =
            sender.send_request(request, body.is_empty()).map_err(|error| self.unsent(&error))?;
        if !body.is_empty() {
            // All at once: it is in memory as it is, and h2 sends as much at a time as the origin takes.
            sending.send_data(body, true).map_err(|error| self.broken(&error))?;
        }
        answer.await.map_err(|error| self.broken(&error))
    }

    /// The connection was no more when the request was to be sent, or h2 refuses to send it.
    fn unsent(&self, error: &h2::Error) -> Broken {
        let broken = self.broken(error);
        if !error.is_io() && error.reason().is_none() {
            return Broken { unprocessed: true, wants_http1: Some(WantsHttp1::Unsayable), ..broken };
        }
        Broken { unprocessed: error.is_io() || error.is_go_away(), ..broken }
    }

    fn broken(&self, error: &h2::Error) -> Broken {
        let failure = failure::of_http2(error);
        tracing::debug!(class = failure.as_str(), error = error as &dyn Error, "no answer");
        // h2 gives a stream the error of a GOAWAY only if that says that the stream was not and will not be processed.
        let unprocessed = error.is_remote() && (error.is_go_away() || error.reason() == Some(Reason::REFUSED_STREAM));
        // That says nothing of whether the request was processed, so a copy is marked unless it came as a GOAWAY.
        let is_required = error.is_remote() && error.reason() == Some(Reason::HTTP_1_1_REQUIRED);
        let wants_http1 = is_required.then_some(WantsHttp1::Required);
        Broken { failure, before_answer: !self.received(), unprocessed, wants_http1 }
    }

    /// Whether bytes of the request may have reached the origin.
    pub(in crate::delivery) fn sent(&self) -> bool {
        self.connection.meter.writes() != self.writes
    }

    fn received(&self) -> bool {
        self.connection.meter.reads() != self.reads
    }

    /// An attempt ended for lack of time. If nothing at all has come since it began, nobody may be there any more.
    pub(in crate::delivery) fn timed_out(&self) {
        if !self.received() {
            self.connection.suspect.set(true);
        }
    }

    /// Reads an answer's body to its end or to a limit; the first `keep` bytes go to `kept`. Cancel-safe.
    pub(in crate::delivery) async fn drain(&mut self, body: &mut RecvStream, keep: usize, kept: &mut BytesMut) {
        let mut drained = 0;
        while drained < limits::DRAIN_BYTES_MAX
            && let Some(Ok(data)) = body.data().await
        {
            // It fails only for more than was received.
            let _ = body.flow_control().release_capacity(data.len());
            drained += data.len();
            let room = keep - kept.len();
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection.streams.set(self.connection.streams.get() - 1);
    }
}

const RESPONSE_HEAD_BYTES_MAX: u32 = {
    assert!(limits::RESPONSE_HEAD_BYTES_MAX <= u32::MAX as usize);
    #[allow(clippy::cast_possible_truncation, reason = "asserted above")]
    let bytes = limits::RESPONSE_HEAD_BYTES_MAX as u32;
    bytes
};
