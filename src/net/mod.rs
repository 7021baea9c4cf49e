//! What a connection needs of a socket: the trait [`Stream`], with buffers that pass by value, as a ring wants them.

// Sockets over epoll.
pub mod portable;
// Sockets over `io_uring`.
pub mod uring;

use std::io;
use std::net::Shutdown;

/// A connected socket.
///
/// Neither reads nor writes may be dropped before they are done: the kernel may own the buffer, and what it reads into
/// a buffer that is gone is lost. Whoever wants to stop one calls [`Stream::shutdown`], which lets it finish.
pub trait Stream: 'static {
    /// Takes over an accepted socket.
    fn accepted(socket: std::net::TcpStream) -> io::Result<Self>
    where
        Self: Sized;

    /// Appends what has arrived to the spare capacity of `buffer`; 0 bytes: the peer has finished sending.
    fn read(&self, buffer: Vec<u8>) -> impl Future<Output = (io::Result<usize>, Vec<u8>)>;

    /// Writes all of `bytes`.
    fn write_all(&self, bytes: Vec<u8>) -> impl Future<Output = (io::Result<()>, Vec<u8>)>;

    /// Ends one or both directions (shutdown(2)); a pending read or write finishes.
    fn shutdown(&self, how: Shutdown);
}
