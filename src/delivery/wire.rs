//! Between hyper and the socket: sends a payload in the place of each head that hyper writes, and notes what passed.
//!
//! ```text
//!   hyper writes     GET / HTTP/1.1 CRLF CRLF | the same head again | ...
//!   the wire sends   the payload              | the next payload    | ...
//! ```
//!
//! The payload ([`super::payload`]) is a whole request, head and body. hyper hears that its head is written when the last
//! byte of the payload is.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::failure;
use super::payload::{PIECES, Payload};

/// What a wire asks of a socket besides reading and writing.
pub(super) trait Peek {
    /// Fails if the kernel holds bytes for us that are unread, or the end, or an error. Asks the kernel itself, not what
    /// the runtime's poller had last seen of it.
    fn check_quiet(&self) -> io::Result<()>;
}

/// The current request between its link and the wire, which hyper owns: what of it is still to be sent, what passed.
#[derive(Debug, Default)]
pub(super) struct Meter {
    /// What is not sent yet.
    due: RefCell<Option<Payload>>,
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
#[derive(Debug)]
pub(super) struct Wire<S> {
    socket: S,
    encrypted: bool,
    meter: Rc<Meter>,
}

impl<S: AsyncRead + AsyncWrite + Peek + Unpin> Wire<S> {
    /// `encrypted` says that a failed write may have sent something: a TLS session sends record by record.
    pub(super) fn new(socket: S, encrypted: bool, meter: Rc<Meter>) -> Self {
        Self { socket, encrypted, meter }
    }

    /// Turns a failed write to a peer that hung up into waiting, so that hyper goes on reading.
    ///
    /// An origin may answer early (413, say) and close while the body is still on its way. Its answer is then readable
    /// although writing fails, and hyper would give up on the first of the two that it notices. The wait ends: a
    /// connection that cannot be written for one of these reasons has hung up, and that wakes the reader.
    fn or_deaf<T>(&self, result: io::Result<T>) -> Poll<io::Result<T>> {
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
        !self.meter.sent.get() && (self.meter.used.get() || !self.encrypted)
    }

    /// Sends what is due; ready when that is all.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut due = self.meter.due.borrow_mut();
        let payload = due.as_mut().expect("hyper writes one head for each request");
        while payload.has_remaining() {
            let mut slices = [IoSlice::new(&[]); PIECES];
            let count = payload.chunks_vectored(&mut slices);
            match ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, &slices[..count])) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(bytes) => {
                    self.meter.sent.set(true);
                    payload.advance(bytes);
                }
                Err(error) => {
                    self.meter.sent.set(self.meter.sent.get() || self.encrypted);
                    return Poll::Ready(Err(error));
                }
            }
        }
        *due = None;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, into))?;
        if into.filled().len() > before {
            this.meter.received.set(true);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Peek + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, head: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.meter.deaf.get() {
            return Poll::Pending;
        }
        if this.must_be_quiet() {
            this.socket.check_quiet()?;
        }
        let sent = ready!(this.poll_send(cx));
        this.or_deaf(sent.map(|()| head.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.meter.deaf.get() {
            return Poll::Pending;
        }
        let result = ready!(Pin::new(&mut this.socket).poll_flush(cx));
        this.or_deaf(result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
