//! Sockets through epoll: where `io_uring` is forbidden.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::pin;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Begin, Stream};

/// A TCP connection on this thread's tokio runtime.
///
/// The cell is borrowed only within a poll, never across an await, so that [`Stream::shutdown`] can come between. Why
/// not `try_read` and `readable`, which need no cell: they would pay a second `read(2)` per message to see `EAGAIN`,
/// where a poll knows from a short read that the socket is empty.
pub struct TcpStream(RefCell<tokio::net::TcpStream>);

impl TcpStream {
    /// Takes over an accepted socket. Never fails, but has the shape of its sibling in `uring.rs`.
    pub const fn new(socket: tokio::net::TcpStream) -> io::Result<Self> {
        Ok(Self(RefCell::new(socket)))
    }
}

impl Stream for TcpStream {
    async fn read(&self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        assert!(buffer.len() < buffer.capacity(), "a read needs room");
        let read = poll_fn(|context| {
            let mut socket = self.0.borrow_mut();
            // This future holds no state of its own: a new one per poll goes on where the last one stopped.
            pin!(socket.read_buf(&mut buffer)).poll(context)
        });
        let read = read.await;
        (read, buffer)
    }

    async fn write_all(&self, buffer: Vec<u8>, _begin: Begin) -> (io::Result<()>, Vec<u8>) {
        let mut sent = 0;
        while sent < buffer.len() {
            let write = poll_fn(|context| {
                let mut socket = self.0.borrow_mut();
                pin!(socket.write(&buffer[sent..])).poll(context)
            });
            match write.await {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
                Ok(written) => sent += written,
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        socket2::SockRef::from(&*self.0.borrow()).shutdown(how)
    }
}
