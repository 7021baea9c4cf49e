//! Sockets through `io_uring`: reads and writes are submitted together, once per turn of the loop.

use std::io;
use std::net::Shutdown;

use tokio_uring::buf::BoundedBuf;
use tokio_uring::net::TcpStream;

use super::Stream;

impl Stream for TcpStream {
    fn accepted(socket: std::net::TcpStream) -> io::Result<Self> {
        // With O_NONBLOCK the ring would answer EAGAIN instead of waiting.
        socket.set_nonblocking(false)?;
        Ok(Self::from_std(socket))
    }

    async fn read(&self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        let filled = buffer.len();
        let (result, buffer) = Self::read(self, buffer.slice(filled..)).await;
        (result, buffer.into_inner())
    }

    async fn write_all(&self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        Self::write_all(self, bytes).await
    }

    fn shutdown(&self, how: Shutdown) {
        // An error means that the connection is gone already.
        let _ = Self::shutdown(self, how);
    }
}
