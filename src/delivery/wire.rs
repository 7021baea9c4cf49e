//! Between hyper and the socket: sends a payload in the place of each head that hyper writes, and notes what passed.
//!
//! ```text
//!   hyper writes     GET / HTTP/1.1 CRLF CRLF | the same head again | ...
//!   the wire sends   the payload              | the next payload    | ...
//! ```
//!
//! The payload ([`super::payload`]) is a whole request, head and body. It waits in the queue of this turn's requests
//! ([`super::send_queue`]); hyper hears that its head is written when the last byte of the payload is.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::failure;
use super::payload::{PIECES, Payload};
use super::send_queue::{Queued, SendQueue};

/// What a wire asks of a socket besides reading and writing.
pub(super) trait Peek {
    /// Fails if the kernel holds bytes for us that are unread, or the end, or an error. Asks the kernel itself, not what
    /// the runtime's poller had last seen of it.
    fn check_quiet(&self) -> io::Result<()>;

    /// Whether the poller has seen something to read, which may have been read since; else `cx` is woken when it does.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()>;
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// hyper has not written its head yet, or there is no request.
    #[default]
    Unwritten,
    /// It waits for its turn to be sent.
    Queued,
    /// It is being sent, or has been.
    Begun,
}

/// The current request between its link and the wire, which hyper owns: what of it is still to be sent, what passed.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// What is not sent yet.
    due: RefCell<Option<Payload>>,
    stage: Cell<Stage>,
    sent: Cell<bool>,
    received: Cell<bool>,
    deaf: Cell<bool>,
    /// A request went over it before the current one.
    used: Cell<bool>,
}

impl Meter {
    /// Hands over the next request, and forgets the one before.
    pub(super) fn begin(&self, payload: Payload) {
        assert!(payload.has_remaining(), "a request has a head");
        let before = self.due.replace(Some(payload));
        assert!(before.is_none(), "a request begins where the one before has ended");
        self.stage.set(Stage::Unwritten);
        self.used.set(self.used.get() || self.sent.get());
        self.sent.set(false);
        self.received.set(false);
    }

    /// Whether all of the request was sent. An answer may have come before.
    pub(super) fn is_complete(&self) -> bool {
        self.due.borrow().is_none()
    }

    /// Whether bytes of the request may have reached the origin.
    pub(super) fn sent(&self) -> bool {
        self.sent.get()
    }

    /// Whether the origin has sent a byte since the request began.
    pub(super) fn received(&self) -> bool {
        self.received.get()
    }
}

/// A socket as hyper sees it.
pub(super) struct Wire<S> {
    line: Rc<Line<S>>,
    queue: Rc<SendQueue>,
}

/// What hyper's end and the queue share.
#[derive(Debug)]
struct Line<S> {
    socket: RefCell<S>,
    encrypted: bool,
    meter: Rc<Meter>,
    /// Whose request is queued.
    waker: RefCell<Option<Waker>>,
    /// hyper must be polled when the request has been sent, as the poller may not wake it.
    wakes: Cell<bool>,
    /// Why the request could not be sent.
    fault: RefCell<Option<io::Error>>,
}

impl<S: AsyncRead + AsyncWrite + Peek + Unpin> Line<S> {
    /// Turns a failed write to a peer that hung up into waiting, so that hyper goes on reading.
    ///
    /// An origin may answer early (413, say) and close while the body is still on its way. Its answer is then readable
    /// although writing fails, and hyper would give up on the first of the two that it notices. The wait ends: a
    /// connection that cannot be written for one of these reasons has hung up, and that wakes the reader.
    fn or_deaf(&self, result: io::Result<()>) -> Poll<io::Result<()>> {
        match result {
            Err(error) if failure::has_hung_up(&error) => {
                self.meter.deaf.set(true);
                Poll::Pending
            }
            other => Poll::Ready(other),
        }
    }

    /// Whether a request is about to begin on a connection on which nothing may have come by now: bytes that came before
    /// it would be taken for its answer (RFC 9112 §9.2), and a message would count as delivered that was not.
    ///
    /// hyper looks too, but sees only what the poller has. On a new TLS connection session tickets may stand unread;
    /// behind an answer what TLS has to say costs the connection, and no attempt.
    fn must_be_quiet(&self) -> bool {
        self.meter.used.get() || !self.encrypted
    }

    /// Sends what is due; ready when that is all.
    fn poll_send(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut due = self.meter.due.borrow_mut();
        let mut socket = self.socket.borrow_mut();
        while let Some(payload) = due.as_mut().filter(|payload| payload.has_remaining()) {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let count = payload.chunks_vectored(&mut slices);
            match ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &slices[..count])) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(bytes) => {
                    self.meter.sent.set(true);
                    payload.advance(bytes);
                }
                Err(error) => {
                    self.meter.sent.set(self.meter.sent.get() || self.encrypted);
                    return self.or_deaf(Err(error));
                }
            }
        }
        *due = None;
        Poll::Ready(Ok(()))
    }

    /// Begins to send.
    fn begin(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.must_be_quiet() {
            self.socket.borrow().check_quiet()?;
        }
        ready!(self.poll_send(cx))?;
        self.poll_flush(cx)
    }

    /// Hands on what TLS has not yet.
    fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = ready!(Pin::new(&mut *self.socket.borrow_mut()).poll_flush(cx));
        self.or_deaf(flushed)
    }
}

impl<S: AsyncRead + AsyncWrite + Peek + Unpin> Queued for Line<S> {
    fn send(&self) {
        let Some(waker) = self.waker.take() else { return };
        self.meter.stage.set(Stage::Begun);
        let begun = self.begin(&mut Context::from_waker(&waker));
        if let Poll::Ready(Err(error)) = begun {
            self.fault.replace(Some(error));
            self.wakes.set(true);
        }
        if self.wakes.take() || self.meter.deaf.get() {
            waker.wake();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Peek + Unpin + 'static> Wire<S> {
    /// `encrypted` says that a failed write may have sent something: a TLS session sends record by record.
    pub(super) fn new(socket: S, encrypted: bool, meter: Rc<Meter>, queue: Rc<SendQueue>) -> Self {
        let line = Line {
            socket: RefCell::new(socket),
            encrypted,
            meter,
            waker: RefCell::default(),
            wakes: Cell::default(),
            fault: RefCell::default(),
        };
        Self { line: Rc::new(line), queue }
    }
}

impl<S: AsyncRead + Peek + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let line = &*self.line;
        // What comes before the request is sent is no answer to it, and hyper would take it for one.
        if line.meter.stage.get() == Stage::Queued || line.fault.borrow().is_some() {
            line.wakes.set(line.wakes.get() || line.socket.borrow().poll_readable(cx).is_ready());
            return Poll::Pending;
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut *line.socket.borrow_mut()).poll_read(cx, into))?;
        if into.filled().len() > before {
            line.meter.received.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Peek + Unpin + 'static> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, head: &[u8]) -> Poll<io::Result<usize>> {
        let line = &self.line;
        if line.meter.deaf.get() {
            return Poll::Pending;
        }
        match line.meter.stage.get() {
            Stage::Unwritten => {
                line.meter.stage.set(Stage::Queued);
                line.waker.replace(Some(cx.waker().clone()));
                let due: Weak<Line<S>> = Rc::downgrade(line);
                self.queue.push(due);
                Poll::Pending
            }
            Stage::Queued => {
                line.waker.replace(Some(cx.waker().clone()));
                Poll::Pending
            }
            Stage::Begun => {
                if let Some(error) = line.fault.take() {
                    return Poll::Ready(Err(error));
                }
                ready!(line.poll_send(cx))?;
                Poll::Ready(Ok(head.len()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.line.meter.deaf.get() {
            return Poll::Pending;
        }
        self.line.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.line.socket.borrow_mut()).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
