//! An origin to an open socket: name, TCP, and TLS for https, within one bound.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::net::RecvFlags;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::client::TransportConfig;
use super::failure;
use super::names::Names;
use super::resolve::{Found, ResolveError, alternate, resolve};
use super::tls::{HTTP1_ALPN, HTTP2_ALPN};
use super::wire::Peek;
use crate::limits;
use crate::message::policy::Policy;
use crate::message::{Origin, Scheme};
use crate::schedule::attempt::Failure;

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    /// For http.
    Plain(TcpStream),
    /// For https, after the handshake.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Whether both sides agreed on HTTP/2 in the handshake (ALPN, RFC 7301).
    pub(super) fn agreed_on_http2(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol() == Some(HTTP2_ALPN),
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("resolving the name")]
    Resolve(#[source] ResolveError),
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

/// Which versions of HTTP an https origin may choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// Both.
    Any,
    /// HTTP/1.1 alone.
    Http1,
}

/// Opens sockets.
pub(super) struct Connector {
    tls: TlsConnector,
    tls_http1: TlsConnector,
    timeout: Duration,
    policy: Policy,
    names: Names,
}

impl Connector {
    /// Without a look at where names are looked up.
    pub(super) fn new(config: TransportConfig) -> Self {
        let mut http1 = (*config.tls).clone();
        http1.alpn_protocols = vec![HTTP1_ALPN.to_vec()];
        Self {
            tls: TlsConnector::from(config.tls),
            tls_http1: TlsConnector::from(Arc::new(http1)),
            timeout: config.connect_timeout.duration(),
            policy: config.policy,
            names: Names::new(config.names, config.dns_answers_max),
        }
    }

    /// Connects to `origin`. Cancel-safe: a dropped future leaves no socket.
    pub(super) async fn connect(&self, origin: &Origin, offer: Offer) -> Result<Socket, ConnectError> {
        let until = tokio::time::Instant::now() + self.timeout;
        let found = match tokio::time::timeout_at(until, resolve(origin.host(), &self.names)).await {
            Ok(result) => result.map_err(ConnectError::Resolve)?,
            Err(_elapsed) => return Err(ConnectError::Resolve(ResolveError::Timeout)),
        };
        match tokio::time::timeout_at(until, self.establish(origin, found, offer)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(ConnectError::Timeout),
        }
    }

    async fn establish(&self, origin: &Origin, found: Found, offer: Offer) -> Result<Socket, ConnectError> {
        let permits = |address| match self.policy.judge(origin.host(), address) {
            Ok(()) => Ok(SocketAddr::new(address, origin.port())),
            Err(denial) => Err(format!("{address}: {denial}")),
        };
        let stream = connect_any(found, permits).await?;
        // A request is one write; waiting to fill a packet (Nagle) would only delay the end of a large one.
        // Without it the connection is slower, not wrong.
        let _ = stream.set_nodelay(true);
        match origin.scheme() {
            Scheme::Http => Ok(Socket::Plain(stream)),
            Scheme::Https => {
                let name = server_name(origin.host()).map_err(ConnectError::Tls)?;
                let tls = if offer == Offer::Any { &self.tls } else { &self.tls_http1 };
                let stream = tls.connect(name, stream).await.map_err(ConnectError::Tls)?;
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

/// The first of the addresses that answers. Each next one starts when one fails or has not answered for a while, and then
/// they race (RFC 8305 §5), while the rest of the lookup goes on. The error is that of the last one to fail: a family
/// without a route fails first, and tells less than a refusal.
///
/// `permits` makes a destination of an address, or says why it is denied; then it is not connected to.
async fn connect_any(
    found: Found,
    permits: impl Fn(IpAddr) -> Result<SocketAddr, String>,
) -> Result<TcpStream, ConnectError> {
    let (mut denied, mut failed) = (None, None);
    let mut permitted = |addresses: Vec<IpAddr>| {
        let mut destinations = Vec::new();
        for address in addresses {
            match permits(address) {
                Ok(destination) => destinations.push(destination),
                Err(reason) => denied = Some(reason),
            }
        }
        destinations
    };
    let mut waiting = VecDeque::from(permitted(found.addresses));
    waiting.truncate(limits::ADDRESSES_MAX);
    let mut rest = found.rest;
    let mut racing = FuturesUnordered::new();
    let stagger = Duration::from_millis(limits::CONNECT_STAGGER_MS);
    let mut next_at = tokio::time::Instant::now();
    loop {
        let may_start = racing.is_empty() || tokio::time::Instant::now() >= next_at;
        if may_start && let Some(address) = waiting.pop_front() {
            racing.push(TcpStream::connect(address));
            next_at = tokio::time::Instant::now() + stagger;
        }
        let may_start_next = !waiting.is_empty();
        tokio::select! {
            biased;
            Some(result) = racing.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    failed = Some(error);
                    next_at = tokio::time::Instant::now();
                }
            },
            more = async { rest.as_mut().expect("asked only if there is a rest").await }, if rest.is_some() => {
                rest = None;
                // The other family's turn.
                waiting = alternate(permitted(more), waiting).into();
                waiting.truncate(limits::ADDRESSES_MAX);
            }
            () = tokio::time::sleep_until(next_at), if may_start_next => {}
            else => break,
        }
    }
    Err(match (failed, denied) {
        (Some(error), _) => ConnectError::Tcp(error),
        (None, Some(reason)) => ConnectError::Denied(reason),
        (None, None) => ConnectError::Resolve(ResolveError::NotFound),
    })
}

impl Peek for Socket {
    fn check_quiet(&self) -> io::Result<()> {
        match rustix::net::recv(self.tcp(), &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Err(rustix::io::Errno::AGAIN) => Ok(()),
            Err(errno) => Err(errno.into()),
            Ok((0, _)) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "bytes that answer no request")),
        }
    }

    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.tcp().poll_read_ready(cx).map(drop)
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
        let permits = |address| Ok(SocketAddr::new(address, open.port()));
        let connect = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
            connect_any(Found { addresses, rest: None }, permits)
        };
        assert_eq!(connect(&["127.0.0.2", "127.0.0.1"]).await.unwrap().peer_addr().unwrap(), open);
        let error = connect(&["127.0.0.2", "127.0.0.3"]).await.unwrap_err();
        assert_eq!(error.failure(), Failure::Refused);
    }

    #[test]
    fn each_step_of_connecting_has_its_class() {
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let table = [
            (ConnectError::Resolve(ResolveError::Timeout), Failure::Dns),
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
