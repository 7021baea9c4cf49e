//! Sockets through `io_uring`.
#![allow(unsafe_code, reason = "tokio-uring does not lend the descriptor of a stream")]

use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};

use rustix::io::Errno;
use rustix::net::SendFlags;
use tokio_uring::buf::BoundedBuf;

use super::{Begin, Stream};

/// A TCP connection that waits in the ring of this thread's runtime: for what is to be read, and for room to write.
pub struct TcpStream {
    ring: tokio_uring::net::TcpStream,
    /// Of the same socket.
    descriptor: RawFd,
}

impl TcpStream {
    /// Takes over an accepted socket. It is made blocking: with `O_NONBLOCK` the ring answers `EAGAIN` at once instead
    /// of waiting for the socket.
    pub fn new(socket: tokio::net::TcpStream) -> io::Result<Self> {
        let socket = socket.into_std()?;
        socket.set_nonblocking(false)?;
        let descriptor = socket.as_raw_fd();
        Ok(Self { ring: tokio_uring::net::TcpStream::from_std(socket), descriptor })
    }

    /// Sends what the socket has room for now, and returns the bytes of it.
    fn send_now(&self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the stream owns the socket and closes it when it is dropped, which it cannot be while it is borrowed.
        let socket = unsafe { BorrowedFd::borrow_raw(self.descriptor) };
        match rustix::net::send(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => Ok(sent),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(error) => Err(error.into()),
        }
    }
}

impl Stream for TcpStream {
    async fn read(&self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        assert!(buffer.len() < buffer.capacity(), "a read needs room");
        let used = buffer.len();
        let (read, room) = self.ring.read(buffer.slice(used..)).await;
        (read, room.into_inner())
    }

    /// What is given to the ring is submitted when the loop has nothing else to do, behind the deliveries of the same turn.
    async fn write_all(&self, buffer: Vec<u8>, begin: Begin) -> (io::Result<()>, Vec<u8>) {
        let mut sent = 0;
        if begin == Begin::Now {
            sent = match self.send_now(&buffer) {
                Ok(sent) if sent == buffer.len() => return (Ok(()), buffer),
                Ok(sent) => sent,
                Err(error) => return (Err(error), buffer),
            };
        }
        // Sends that the peer no longer wants end in EPIPE: Rust's runtime ignores SIGPIPE.
        let (written, rest) = self.ring.write_all(buffer.slice(sent..)).await;
        (written, rest.into_inner())
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.ring.shutdown(how)
    }
}
