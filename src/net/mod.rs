//! What a connection needs of a socket: the trait [`Stream`]. It opens no sockets and knows no HTTP.

use std::io;
use std::net::Shutdown;

// Sockets through epoll.
pub mod portable;
// Sockets through `io_uring`.
pub mod uring;

/// A connected byte stream. Buffers pass by value and come back, because with `io_uring` the kernel owns them while
/// an operation runs.
///
/// No operation is cancel-safe: a dropped read may swallow bytes, a dropped write may have sent some. To end a pending
/// operation call [`Stream::shutdown`]; it then completes and gives its buffer back.
pub trait Stream: 'static {
    /// Appends what has arrived to `buffer`, within its spare capacity, and returns the bytes read: 0 when the peer
    /// has ended its side or the read side was shut down (what had arrived before comes first).
    ///
    /// `buffer` must have spare capacity. One read at a time.
    fn read(&self, buffer: Vec<u8>) -> impl Future<Output = (io::Result<usize>, Vec<u8>)>;

    /// Writes all of `buffer`. One write at a time. On an error, any part may have been sent.
    fn write_all(&self, buffer: Vec<u8>) -> impl Future<Output = (io::Result<()>, Vec<u8>)>;

    /// Ends one side or both at once (shutdown(2)): a pending read sees the end of the stream, a pending write an
    /// error.
    fn shutdown(&self, how: Shutdown) -> io::Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;
    use std::rc::Rc;

    async fn pair() -> (TcpStream, tokio::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    /// The contract of a stream, run on each implementation.
    async fn keeps_the_contract<S: Stream>(stream: S, peer: TcpStream) {
        use std::io::{Read as _, Write as _};
        let stream = Rc::new(stream);
        let mut peer = peer;
        peer.write_all(b"one").unwrap();
        let mut buffer = Vec::with_capacity(64);
        buffer.extend_from_slice(b"kept ");
        let (read, buffer) = stream.read(buffer).await;
        assert_eq!((read.unwrap(), buffer.as_slice()), (3, &b"kept one"[..]));

        let (written, buffer) = stream.write_all(buffer).await;
        written.unwrap();
        let mut answer = vec![0; buffer.len()];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(answer, b"kept one");

        let pending = tokio::task::spawn_local({
            let stream = Rc::clone(&stream);
            async move { stream.read(Vec::with_capacity(8)).await.0 }
        });
        tokio::task::yield_now().await;
        stream.shutdown(Shutdown::Read).unwrap();
        assert_eq!(pending.await.unwrap().unwrap(), 0, "a shutdown ends a pending read");
        stream.write_all(b"still".to_vec()).await.0.unwrap();

        let pending = tokio::task::spawn_local({
            let stream = Rc::clone(&stream);
            async move { stream.write_all(vec![0; 64 << 20]).await.0 }
        });
        tokio::task::yield_now().await;
        stream.shutdown(Shutdown::Both).unwrap();
        assert!(pending.await.unwrap().is_err(), "a shutdown ends a pending write");
    }

    #[test]
    fn sockets_through_epoll_keep_the_contract_of_a_stream() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let (peer, socket) = pair().await;
            keeps_the_contract(portable::TcpStream::new(socket).unwrap(), peer).await;
        });
    }

    #[test]
    fn sockets_through_io_uring_keep_the_contract_of_a_stream() {
        // Where the kernel forbids rings there is nothing to test: the daemon itself falls back.
        if tokio_uring::Runtime::new(&tokio_uring::builder()).is_err() {
            return;
        }
        tokio_uring::start(async {
            let (peer, socket) = pair().await;
            keeps_the_contract(uring::TcpStream::new(socket).unwrap(), peer).await;
        });
    }
}
