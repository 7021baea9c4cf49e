//! Between hyper and the socket: drops the head that hyper writes before each request, and counts what passes.
//!
//! ```text
//!   hyper writes   POST / HTTP/1.1 CRLF content-length: N CRLF CRLF | N bytes of payload | next head | ...
//!   the wire       dropped                                          | passed on          | dropped
//! ```
//!
//! The payload ([`super::payload`]) is a whole request with a head of its own.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::failure;

/// What a wire asks of a socket besides reading and writing.
pub(super) trait Peek {
    /// Fails if the kernel holds bytes for us that are unread, or the end, or an error. Asks the kernel itself, not what
    /// the runtime's poller had last seen of it.
    fn check_quiet(&self) -> io::Result<()>;
}

const END_OF_HEAD: &[u8; 4] = b"\r\n\r\n";

/// What hyper's next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// None are due.
    Idle,
    /// Its own head, of which the last `matched` bytes are the start of [`END_OF_HEAD`]; then `payload_bytes`.
    Head { matched: usize, payload_bytes: usize },
    /// This many bytes of payload.
    Payload { left: usize },
}

/// What of the current request went over a wire, shared between the wire, which hyper owns, and its link.
#[derive(Debug)]
pub(super) struct Meter {
    phase: Cell<Phase>,
    sent: Cell<bool>,
    received: Cell<bool>,
    deaf: Cell<bool>,
    /// A request went over it before the current one.
    used: Cell<bool>,
}

impl Meter {
    /// Of a connection without a request.
    pub(super) const fn new() -> Self {
        Self {
            phase: Cell::new(Phase::Idle),
            sent: Cell::new(false),
            received: Cell::new(false),
            deaf: Cell::new(false),
            used: Cell::new(false),
        }
    }

    /// Expects the next request, of `payload_bytes` bytes, and forgets the one before.
    pub(super) fn begin(&self, payload_bytes: usize) {
        assert!(self.phase.get() == Phase::Idle, "a request begins where the one before has ended");
        assert!(payload_bytes > 0, "a request has a head");
        self.phase.set(Phase::Head { matched: 0, payload_bytes });
        self.used.set(self.used.get() || self.sent.get());
        self.sent.set(false);
        self.received.set(false);
    }

    /// Whether bytes of the request may have reached the origin.
    pub(super) fn sent(&self) -> bool {
        self.sent.get()
    }

    /// Whether the origin has sent a byte since the request began.
    pub(super) fn received(&self) -> bool {
        self.received.get()
    }

    /// Takes hyper's head off the front of `bytes`, as far as it is there; returns the length of what was taken.
    fn drop_head(&self, bytes: &[u8]) -> usize {
        let Phase::Head { mut matched, payload_bytes } = self.phase.get() else {
            return 0;
        };
        for (index, byte) in bytes.iter().enumerate() {
            matched = match *byte {
                byte if byte == END_OF_HEAD[matched] => matched + 1,
                b'\r' => 1,
                _ => 0,
            };
            if matched == END_OF_HEAD.len() {
                self.phase.set(Phase::Payload { left: payload_bytes });
                return index + 1;
            }
        }
        self.phase.set(Phase::Head { matched, payload_bytes });
        bytes.len()
    }

    /// Checks that hyper offers no more than the payload.
    fn offered(&self, bytes: usize) {
        let left = match self.phase.get() {
            Phase::Payload { left } => left,
            Phase::Idle | Phase::Head { .. } => 0,
        };
        assert!(bytes <= left, "hyper wrote {bytes} bytes where {left} of the payload were left");
    }

    fn passed(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let Phase::Payload { left } = self.phase.get() else {
            unreachable!("only payload is passed on");
        };
        assert!(bytes <= left, "no more is passed on than was offered");
        self.sent.set(true);
        self.phase.set(if bytes < left { Phase::Payload { left: left - bytes } } else { Phase::Idle });
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

    fn poll_pass(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.meter.deaf.get() {
            return Poll::Pending;
        }
        if self.must_be_quiet() {
            self.socket.check_quiet()?;
        }
        let result = match slices {
            [one] => ready!(Pin::new(&mut self.socket).poll_write(cx, one)),
            many => ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, many)),
        };
        match &result {
            Ok(bytes) => self.meter.passed(*bytes),
            Err(_) if self.encrypted => self.meter.sent.set(true),
            Err(_) => {}
        }
        self.or_deaf(result)
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
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    /// Never answers `Pending` once it has dropped a byte: those bytes are gone, and hyper must not offer them again.
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut dropped = 0;
        let mut rest = slices;
        while let [first, others @ ..] = rest {
            let of_first = this.meter.drop_head(first);
            dropped += of_first;
            if of_first < first.len() {
                if of_first > 0 {
                    // The head ends within this slice; hyper offers what is left of it next.
                    return Poll::Ready(Ok(dropped));
                }
                break;
            }
            rest = others;
        }
        if rest.is_empty() {
            return Poll::Ready(Ok(dropped));
        }
        this.meter.offered(rest.iter().map(|slice| slice.len()).sum());
        match this.poll_pass(cx, rest) {
            Poll::Ready(Ok(passed)) => Poll::Ready(Ok(dropped + passed)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending if dropped > 0 => Poll::Ready(Ok(dropped)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// True, so that hyper queues the payload instead of copying it behind its head.
    fn is_write_vectored(&self) -> bool {
        true
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
