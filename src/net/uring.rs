//! Sockets through `io_uring`.

use std::io;
use std::net::Shutdown;

use tokio_uring::buf::BoundedBuf;

use super::Stream;

/// A TCP connection whose reads and writes are submitted to the ring of this thread's runtime.
pub struct TcpStream(tokio_uring::net::TcpStream);

impl TcpStream {
    /// Takes over an accepted socket. It is made blocking: with `O_NONBLOCK` the ring answers `EAGAIN` at once instead
    /// of waiting for the socket.
    pub fn new(socket: tokio::net::TcpStream) -> io::Result<Self> {
        let socket = socket.into_std()?;
        socket.set_nonblocking(false)?;
        Ok(Self(tokio_uring::net::TcpStream::from_std(socket)))
    }
}

impl Stream for TcpStream {
    async fn read(&self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        assert!(buffer.len() < buffer.capacity(), "a read needs room");
        let used = buffer.len();
        let (read, room) = self.0.read(buffer.slice(used..)).await;
        (read, room.into_inner())
    }

    async fn write_all(&self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        // Sends that the peer no longer wants end in EPIPE: Rust's runtime ignores SIGPIPE.
        self.0.write_all(buffer).await
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.shutdown(how)
    }
}
