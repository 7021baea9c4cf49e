//! An origin to an open socket: name, TCP, and TLS for https, within one bound.

use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::failure;
use super::resolve::resolve;
use crate::limits;
use crate::message::policy::Policy;
use crate::message::{Origin, Scheme};
use crate::schedule::attempt::Failure;
use crate::time::Millis;

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    /// For http.
    Plain(TcpStream),
    /// For https, after the handshake.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("resolving the name")]
    Resolve(#[source] io::Error),
    #[error("{0}")]
    Denied(String),
    #[error("connecting")]
    Tcp(#[source] io::Error),
    #[error("in the TLS handshake")]
    Tls(#[source] io::Error),
    #[error("not connected in time")]
    Timeout,
}

impl ConnectError {
    /// Its class.
    pub(super) fn failure(&self) -> Failure {
        match self {
            Self::Resolve(_) => Failure::Dns,
            Self::Denied(_) => Failure::Denied,
            Self::Tcp(error) => failure::of_connect(error),
            Self::Tls(error) => failure::of_handshake(error),
            Self::Timeout => Failure::ConnectTimeout,
        }
    }
}

/// Opens sockets.
pub(super) struct Connector {
    tls: TlsConnector,
    timeout: Duration,
    policy: Policy,
}

impl Connector {
    /// `timeout` bounds name, TCP and TLS together; `policy` says which addresses may be connected to.
    pub(super) fn new(tls: Arc<rustls::ClientConfig>, timeout: Millis, policy: Policy) -> Self {
        Self { tls: TlsConnector::from(tls), timeout: timeout.duration(), policy }
    }

    /// Connects to `origin`. Cancel-safe: a dropped future leaves no socket.
    pub(super) async fn connect(&self, origin: &Origin) -> Result<Socket, ConnectError> {
        match tokio::time::timeout(self.timeout, self.establish(origin)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ConnectError::Timeout),
        }
    }

    /// Those of `addresses` that may be connected to; at least one.
    fn permitted(&self, host: &str, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, ConnectError> {
        let mut denied = None;
        addresses.retain(|address| match self.policy.judge(host, address.ip()) {
            Ok(()) => true,
            Err(denial) => {
                denied.get_or_insert_with(|| format!("{} is denied: {denial}", address.ip()));
                false
            }
        });
        match denied {
            Some(denied) if addresses.is_empty() => Err(ConnectError::Denied(denied)),
            _ => Ok(addresses),
        }
    }

    async fn establish(&self, origin: &Origin) -> Result<Socket, ConnectError> {
        let addresses = resolve(origin.host(), origin.port()).await.map_err(ConnectError::Resolve)?;
        let addresses = self.permitted(origin.host(), addresses)?;
        let stream = connect_any(&addresses).await.map_err(ConnectError::Tcp)?;
        // A request is one write; waiting to fill a packet (Nagle) would only delay the end of a large one.
        // Without it the connection is slower, not wrong.
        let _ = stream.set_nodelay(true);
        match origin.scheme() {
            Scheme::Http => Ok(Socket::Plain(stream)),
            Scheme::Https => {
                let name = server_name(origin.host()).map_err(ConnectError::Tls)?;
                let stream = self.tls.connect(name, stream).await.map_err(ConnectError::Tls)?;
                Ok(Socket::Tls(Box::new(stream)))
            }
        }
    }
}

/// What the certificate must name: an address is looked for among its IP names and is not sent as SNI, and a name is
/// sent without the final dot of an absolute one (RFC 6066 §3).
fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    match host.parse::<IpAddr>() {
        Ok(address) => Ok(ServerName::from(address)),
        Err(_) => {
            let name = host.strip_suffix('.').unwrap_or(host).to_owned();
            ServerName::try_from(name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
        }
    }
}

/// The first of `addresses` that answers. Each next one starts when one fails or has not answered for a while, and then
/// they race (RFC 8305 §5). The error is that of the last one to fail: a family without a route fails first, and tells
/// less than a refusal.
async fn connect_any(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = addresses.iter();
    let mut racing = FuturesUnordered::new();
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            racing.push(TcpStream::connect(*address));
        }
        let may_start_next = waiting.len() > 0;
        tokio::select! {
            biased;
            Some(result) = racing.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            },
            () = tokio::time::sleep(Duration::from_millis(limits::CONNECT_STAGGER_MS)), if may_start_next => {}
            else => return Err(failed),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, into),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, into),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let closed = TcpListener::bind("127.0.0.2:0").await.unwrap().local_addr().unwrap();
        let stream = connect_any(&[closed, open]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), open);
        let error = connect_any(&[closed, closed]).await.unwrap_err();
        assert_eq!(failure::of_connect(&error), Failure::Refused);
    }

    #[test]
    fn each_step_of_connecting_has_its_class() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let table = [
            (ConnectError::Resolve(refused()), Failure::Dns),
            (ConnectError::Denied(String::new()), Failure::Denied),
            (ConnectError::Tcp(refused()), Failure::Refused),
            (ConnectError::Tls(io::ErrorKind::UnexpectedEof.into()), Failure::Tls),
            (ConnectError::Timeout, Failure::ConnectTimeout),
        ];
        for (error, failure) in table {
            assert_eq!(error.failure(), failure, "{error}");
        }
    }

    #[test]
    fn a_certificate_is_checked_against_the_name_or_the_address() {
        assert!(matches!(server_name("b.example").unwrap(), ServerName::DnsName(_)));
        assert!(matches!(server_name("::1").unwrap(), ServerName::IpAddress(_)));
        assert!(matches!(server_name("10.0.0.1").unwrap(), ServerName::IpAddress(_)));
    }
}
