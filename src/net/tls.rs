//! Sockets under TLS: a rustls session over a socket of tokio's, on either backend.
//!
//! Not over the ring: rustls wants to read and write bytes when it has a use for them, in the middle of what it does, and a
//! ring has them some time later in a buffer that it owns until then. A copy more in each direction would be the price, for
//! what TLS makes a small part of the cost.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::Shutdown;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use rustls::{AlertDescription, ServerConfig};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::{TlsAcceptor, server};

use super::handshake::{HandshakeError, HandshakeFailure};
use super::{Begin, Stream};
use crate::limits::TLS_UNSENT_BYTES_MAX;

/// What each TLS connection begins with (RFC 8446 §5.1), and no request does.
const HANDSHAKE_RECORD: u8 = 0x16;

/// A connection of this thread's tokio runtime under TLS, once [`Stream::handshake`] has succeeded.
///
/// The cell is borrowed only within a poll, never across an await, so that [`Stream::shutdown`] can come between.
pub struct TlsStream {
    config: Arc<ServerConfig>,
    link: RefCell<Link>,
    /// A write is pending.
    writing: Cell<bool>,
    /// The write side is to be ended, and the peer's buffers did not take word of it yet.
    ending: Cell<bool>,
    /// Ends a handshake that is under way, and so has the socket.
    no_more: Notify,
}

enum Link {
    /// Before the handshake, or after one that failed: bytes pass as they are.
    Clear(TcpStream),
    /// A handshake has the socket.
    Shaking,
    /// Bytes pass under TLS.
    Secret(Box<server::TlsStream<TcpStream>>),
}

impl TlsStream {
    /// Takes over an accepted socket, with the certificate and the rules that hold now.
    pub const fn new(socket: TcpStream, config: Arc<ServerConfig>) -> Self {
        let link = RefCell::new(Link::Clear(socket));
        Self { config, link, writing: Cell::new(false), ending: Cell::new(false), no_more: Notify::const_new() }
    }

    /// Waits for the first byte and leaves it where it is; `None` at the end of the stream.
    async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut first = [0];
        let peeked = poll_fn(|context| match &*self.link.borrow() {
            Link::Clear(socket) => socket.poll_peek(context, &mut ReadBuf::new(&mut first)),
            Link::Shaking | Link::Secret(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        });
        Ok((peeked.await? > 0).then_some(first[0]))
    }
}

impl Stream for TlsStream {
    const IN_CLEAR: bool = false;

    async fn handshake(&self, begun: impl FnOnce()) -> Result<(), HandshakeError> {
        // An error means that the peer was quicker to leave.
        let Ok(Some(first)) = self.first_byte().await else { return Err(HandshakeError::Silent) };
        begun();
        if first != HANDSHAKE_RECORD {
            return Err(HandshakeError::InClear);
        }
        let link = self.link.replace(Link::Shaking);
        let Link::Clear(socket) = link else { return Err(HandshakeError::Silent) };
        let acceptor = TlsAcceptor::from(Arc::clone(&self.config));
        let limited = acceptor.accept_with(socket, |session| session.set_buffer_limit(Some(TLS_UNSENT_BYTES_MAX)));
        let shaken = tokio::select! {
            biased;
            () = self.no_more.notified() => return Err(HandshakeError::Silent),
            shaken = limited.into_fallible() => shaken,
        };
        match shaken {
            Ok(session) => {
                self.link.replace(Link::Secret(Box::new(session)));
                Ok(())
            }
            Err((source, socket)) => {
                self.link.replace(Link::Clear(socket));
                Err(HandshakeError::Failed { failure: failure(&source), source })
            }
        }
    }

    async fn read(&self, mut buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        assert!(buffer.len() < buffer.capacity(), "a read needs room");
        let read = poll_fn(|context| match &mut *self.link.borrow_mut() {
            Link::Clear(socket) => pin!(socket.read_buf(&mut buffer)).poll(context),
            Link::Shaking => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Link::Secret(session) => {
                if self.ending.get() && Pin::new(&mut **session).poll_shutdown(context).is_ready() {
                    self.ending.set(false);
                }
                match ready!(pin!(session.read_buf(&mut buffer)).poll(context)) {
                    // Without close_notify anybody could have ended it (RFC 8446 §6.1). That is no harm here: framing tells
                    // whether a request is complete.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Poll::Ready(Ok(0)),
                    read => Poll::Ready(read),
                }
            }
        });
        let read = read.await;
        (read, buffer)
    }

    async fn write_all(&self, buffer: Vec<u8>, _begin: Begin) -> (io::Result<()>, Vec<u8>) {
        let mut sent = 0;
        self.writing.set(true);
        let written = poll_fn(|context| {
            let link = &mut *self.link.borrow_mut();
            while sent < buffer.len() {
                match ready!(link.poll_write(context, &buffer[sent..]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => sent += written,
                }
            }
            // Until then the session may hold the end of it.
            link.poll_flush(context)
        });
        let written = written.await;
        self.writing.set(false);
        (written, buffer)
    }

    /// The write side ends with a close_notify, so that the peer can tell it from an end that somebody else made.
    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match &mut *self.link.borrow_mut() {
            Link::Secret(session) if how == Shutdown::Write && !self.writing.get() => {
                let mut nobody = Context::from_waker(Waker::noop());
                match Pin::new(&mut **session).poll_shutdown(&mut nobody) {
                    Poll::Ready(ended) => ended,
                    // The next read goes on with it.
                    Poll::Pending => {
                        self.ending.set(true);
                        Ok(())
                    }
                }
            }
            Link::Secret(session) => SockRef::from(session.get_ref().0).shutdown(how),
            Link::Clear(socket) => SockRef::from(&*socket).shutdown(how),
            Link::Shaking => {
                self.no_more.notify_one();
                Ok(())
            }
        }
    }
}

impl Drop for TlsStream {
    /// Whoever ends a connection without a word, such as an idle one, still ends it properly.
    fn drop(&mut self) {
        if matches!(self.link.get_mut(), Link::Secret(_)) {
            // An error means that the peer has gone.
            let _ = self.shutdown(Shutdown::Write);
        }
    }
}

impl Link {
    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Clear(socket) => Pin::new(socket).poll_write(context, bytes),
            Self::Shaking => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Self::Secret(session) => Pin::new(&mut **session).poll_write(context, bytes),
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Clear(_) => Poll::Ready(Ok(())),
            Self::Shaking => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Self::Secret(session) => Pin::new(&mut **session).poll_flush(context),
        }
    }
}

/// By whose fault a handshake failed.
fn failure(error: &io::Error) -> HandshakeFailure {
    use AlertDescription as Alert;
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        None => HandshakeFailure::Ended,
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
            HandshakeFailure::ClientCertificate
        }
        Some(rustls::Error::AlertReceived(
            Alert::UnknownCA
            | Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown,
        )) => HandshakeFailure::ServerCertificate,
        Some(_) => HandshakeFailure::Protocol,
    }
}
