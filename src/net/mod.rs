//! What a connection needs of a socket: the trait [`Stream`]. It opens no sockets and knows no HTTP.

use std::io;
use std::net::Shutdown;

// Certificate and key.
pub mod certificate;
// How a handshake ends.
pub mod handshake;
// Sockets through epoll.
pub mod portable;
// Sockets under TLS.
pub mod tls;
// Sockets through `io_uring`.
pub mod uring;

use handshake::HandshakeError;

/// When a write begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// Before anything else is done.
    Now,
    /// With the other writes of this turn of the loop, if that is cheaper; before the loop waits.
    Together,
}

/// A connected byte stream. Buffers pass by value and come back, because with `io_uring` the kernel owns them while
/// an operation runs.
///
/// No operation is cancel-safe: a dropped read may swallow bytes, a dropped write may have sent some. To end a pending
/// operation call [`Stream::shutdown`]; it then completes and gives its buffer back.
pub trait Stream: 'static {
    /// Whether bytes pass as they are, without a handshake.
    const IN_CLEAR: bool = true;

    /// Does what comes before the first read: under TLS, the handshake. `begun` is called when the peer's first byte is
    /// there, if it is waited for.
    ///
    /// Unlike the other operations it may be dropped; then the stream is of no more use. So it is after an error, unless
    /// that says otherwise.
    fn handshake(&self, begun: impl FnOnce()) -> impl Future<Output = Result<(), HandshakeError>> {
        drop(begun);
        std::future::ready(Ok(()))
    }

    /// Appends what has arrived to `buffer`, within its spare capacity, and returns the bytes read: 0 when the peer
    /// has ended its side or the read side was shut down (what had arrived before comes first).
    ///
    /// `buffer` must have spare capacity. One read at a time.
    fn read(&self, buffer: Vec<u8>) -> impl Future<Output = (io::Result<usize>, Vec<u8>)>;

    /// Writes all of `buffer`. One write at a time. On an error, any part may have been sent.
    fn write_all(&self, buffer: Vec<u8>, begin: Begin) -> impl Future<Output = (io::Result<()>, Vec<u8>)>;

    /// Ends one side or both at once (shutdown(2)): a pending read sees the end of the stream, a pending write an
    /// error.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

#[cfg(test)]
mod contract_tests;
