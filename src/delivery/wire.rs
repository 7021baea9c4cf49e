//! Heads byte for byte: an adapter between hyper and the socket that replaces the head hyper writes by ours.
//!
//! hyper keeps fields in a map, which loses their order across names, their case and how repetitions interleave. So it
//! is given a minimal request (method, `/`, the body) and knows what answer to expect and how the body is framed; what
//! it writes as head is swallowed here, and the head as its sender wrote it goes out instead, in one `writev` with the
//! body.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Slices in one `writev`: our head, its tail, and what hyper queued behind its own.
const SLICES_MAX: usize = 16;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// The side of a connection that its user holds: stages heads, and sees how far an exchange came.
#[derive(Debug, Default)]
pub struct Exchange {
    staged: RefCell<Option<Bytes>>,
    tail: RefCell<Vec<u8>>,
    written: Cell<u64>,
    read: Cell<u64>,
}

impl Exchange {
    /// Stages the head of the request that hyper is handed next: `head` and what `write_tail` appends, the final empty
    /// line included. Counts start again from zero.
    pub fn stage(&self, head: Bytes, write_tail: impl FnOnce(&mut Vec<u8>)) {
        let mut tail = self.tail.borrow_mut();
        tail.clear();
        write_tail(&mut tail);
        let unsent = self.staged.borrow_mut().replace(head);
        assert!(unsent.is_none(), "one request at a time");
        self.written.set(0);
        self.read.set(0);
    }

    /// Bytes of the staged request that went to the socket: if any, the peer may have received it.
    pub const fn written(&self) -> u64 {
        self.written.get()
    }

    /// Bytes read since the request was staged.
    pub const fn read(&self) -> u64 {
        self.read.get()
    }
}

/// A socket under hyper.
pub struct Wire<T> {
    io: T,
    exchange: Rc<Exchange>,
    /// The head that is going out, and how much of it and its tail went.
    head: Option<(Bytes, usize)>,
}

impl<T> Wire<T> {
    /// Over `io`, and the handle for its user.
    pub fn new(io: T) -> (Self, Rc<Exchange>) {
        let exchange = Rc::<Exchange>::default();
        (Self { io, exchange: Rc::clone(&exchange), head: None }, exchange)
    }
}

impl<T: AsyncWrite + Unpin> Wire<T> {
    /// Writes our head and what follows hyper's own in `slices`; returns how much of `slices` is done with.
    fn poll_write_head(&mut self, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let tail = self.exchange.tail.borrow();
        let (head, sent) = self.head.as_mut().expect("called while a head is going out");
        let theirs = head_bytes(slices);
        loop {
            let mut out = [IoSlice::new(&[]); SLICES_MAX];
            let behind = slices.iter().scan(theirs, |skip, slice| {
                let skipped = slice.len().min(*skip);
                *skip -= skipped;
                Some(&slice[skipped..])
            });
            let ours = [&head[(*sent).min(head.len())..], &tail[sent.saturating_sub(head.len())..]];
            let count = out
                .iter_mut()
                .zip(ours.into_iter().chain(behind).filter(|slice| !slice.is_empty()))
                .map(|(out, slice)| *out = IoSlice::new(slice))
                .count();
            let written = ready!(Pin::new(&mut self.io).poll_write_vectored(context, &out[..count]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.exchange.written.update(|total| total + written as u64);
            let left = head.len() + tail.len() - *sent;
            if written >= left {
                self.head = None;
                return Poll::Ready(Ok(theirs + written - left));
            }
            *sent += written;
        }
    }
}

/// Length of the head that hyper wrote at the start of `slices`.
///
/// hyper encodes a head into one buffer and offers that buffer whole until it is written, so it is all there.
fn head_bytes(slices: &[IoSlice<'_>]) -> usize {
    let first = slices.iter().find(|slice| !slice.is_empty()).expect("hyper writes something");
    let end = first.windows(HEAD_END.len()).position(|window| window == HEAD_END);
    end.expect("hyper offers its head whole") + HEAD_END.len()
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Wire<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let staged = self.exchange.staged.borrow_mut().take();
        if let Some(head) = staged {
            assert!(self.head.is_none(), "the request before is complete");
            self.head = Some((head, 0));
        }
        if self.head.is_some() {
            return self.poll_write_head(context, slices);
        }
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(context, slices))?;
        self.exchange.written.update(|total| total + written as u64);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Wire<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        self.exchange.read.update(|total| total + read as u64);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Takes at most so many bytes a call, in turn; 0 is "not now".
    struct Reluctant {
        accepts: Vec<usize>,
        calls: usize,
        got: Vec<u8>,
    }

    impl AsyncWrite for Reluctant {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let accepts = self.accepts[self.calls % self.accepts.len()].min(bytes.len());
            self.calls += 1;
            if accepts == 0 {
                return Poll::Pending;
            }
            self.got.extend_from_slice(&bytes[..accepts]);
            Poll::Ready(Ok(accepts))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn our_head_replaces_the_other_however_reluctantly_the_socket_takes_it(
            mut accepts in prop::collection::vec(0..20_usize, 1..10),
            bodies in prop::collection::vec(any::<Vec<u8>>(), 1..4),
        ) {
            accepts.push(7);
            let (mut wire, exchange) = Wire::new(Reluctant { accepts, calls: 0, got: Vec::new() });
            let mut context = Context::from_waker(std::task::Waker::noop());
            let mut expected = Vec::new();
            for (number, body) in bodies.iter().enumerate() {
                let head = format!("PUT /{number} HTTP/1.1\r\nB: 1\r\na: 2\r\nB: 3\r\n");
                exchange.stage(Bytes::from(head.clone()), |tail| tail.extend_from_slice(b"X: y\r\n\r\n"));
                let request = expected.len();
                expected.extend_from_slice(head.as_bytes());
                expected.extend_from_slice(b"X: y\r\n\r\n");
                expected.extend_from_slice(body);
                let theirs = format!("PUT / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len());
                let mut done = 0;
                while done < theirs.len() + body.len() {
                    let slices = [
                        IoSlice::new(&theirs.as_bytes()[done.min(theirs.len())..]),
                        IoSlice::new(&body[done.saturating_sub(theirs.len())..]),
                    ];
                    if let Poll::Ready(written) = Pin::new(&mut wire).poll_write_vectored(&mut context, &slices) {
                        done += written.expect("never fails");
                    }
                }
                prop_assert_eq!(exchange.written() as usize, expected.len() - request);
            }
            prop_assert_eq!(&wire.io.got, &expected);
        }
    }
}
