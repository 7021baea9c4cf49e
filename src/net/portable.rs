//! Sockets through tokio's epoll: where `io_uring` is forbidden.

use std::io;
use std::net::Shutdown;

use tokio::net::TcpStream;

use super::Stream;

impl Stream for TcpStream {
    fn accepted(socket: std::net::TcpStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Self::from_std(socket)
    }

    async fn read(&self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        loop {
            // Never past the capacity: growing is the caller's decision.
            let spare = buffer.capacity() - buffer.len();
            match self.try_read_buf(&mut bytes::BufMut::limit(&mut buffer, spare)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = self.readable().await {
                        return (Err(error), buffer);
                    }
                }
                result => return (result, buffer),
            }
        }
    }

    async fn write_all(&self, bytes: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let mut written = 0;
        while written < bytes.len() {
            match self.try_write(&bytes[written..]) {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), bytes),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if let Err(error) = self.writable().await {
                        return (Err(error), bytes);
                    }
                }
                Err(error) => return (Err(error), bytes),
            }
        }
        (Ok(()), bytes)
    }

    fn shutdown(&self, how: Shutdown) {
        // An error means that the connection is gone already.
        let _ = socket2::SockRef::from(self).shutdown(how);
    }
}
