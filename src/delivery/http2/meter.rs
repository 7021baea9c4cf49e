//! Between h2 and the socket: counts what passes, and goes on reading from a peer that no longer reads.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::delivery::failure;

/// What has gone over a connection, shared between the socket, which h2 owns, and those who use the connection.
#[derive(Debug, Default)]
pub(super) struct Meter {
    writes: Cell<u64>,
    reads: Cell<u64>,
    deaf: Cell<bool>,
    ended: Cell<bool>,
}

impl Meter {
    /// How often something was written. While it stands still, nothing has been sent.
    pub(super) fn writes(&self) -> u64 {
        self.writes.get()
    }

    /// How often something was read. While it stands still, nothing has come.
    pub(super) fn reads(&self) -> u64 {
        self.reads.get()
    }
}

/// A socket as h2 sees it.
#[derive(Debug)]
pub(super) struct Metered<S> {
    socket: S,
    meter: Rc<Meter>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Metered<S> {
    /// Counts in `meter`.
    pub(super) fn new(socket: S, meter: Rc<Meter>) -> Self {
        Self { socket, meter }
    }

    /// Turns a failed write to a peer that hung up into waiting for as long as there may be something to read: it may
    /// have answered before it closed. (`delivery/wire.rs` does the same for HTTP/1.1.)
    fn or_deaf<T>(&self, result: io::Result<T>) -> Poll<io::Result<T>> {
        match result {
            Err(error) if failure::has_hung_up(&error) => {
                self.meter.deaf.set(true);
                self.poll_deaf()
            }
            other => Poll::Ready(other),
        }
    }

    /// No waker: the end of what there is to read wakes the one task that both reads and writes.
    fn poll_deaf<T>(&self) -> Poll<io::Result<T>> {
        if self.meter.ended.get() { Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())) } else { Poll::Pending }
    }

    fn wrote(&self, result: io::Result<usize>) -> Poll<io::Result<usize>> {
        // A failed write may have sent something: a TLS session sends record by record.
        self.meter.writes.set(self.meter.writes.get() + 1);
        self.or_deaf(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Metered<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = into.filled().len();
        let result = ready!(Pin::new(&mut this.socket).poll_read(cx, into));
        if result.is_ok() && into.filled().len() > before {
            this.meter.reads.set(this.meter.reads.get() + 1);
        } else {
            this.meter.ended.set(true);
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.meter.deaf.get() {
            return this.poll_deaf();
        }
        let result = ready!(Pin::new(&mut this.socket).poll_write_vectored(cx, slices));
        this.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.meter.deaf.get() {
            return this.poll_deaf();
        }
        let result = ready!(Pin::new(&mut this.socket).poll_flush(cx));
        this.or_deaf(result)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(cx)
    }
}
