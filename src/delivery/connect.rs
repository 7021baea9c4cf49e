//! A new connection to an origin: name, address, TCP, TLS.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::message::{Origin, Scheme};

/// Head start of one address over the next (RFC 8305 §5, "Connection Attempt Delay").
const STAGGER: Duration = Duration::from_millis(250);
/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 16;

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    /// The name did not resolve.
    Dns(io::Error),
    /// No address could be reached; this is the last one's error.
    Tcp(io::Error),
    /// The handshake failed, or the certificate is not the origin's.
    Tls(io::Error),
}

/// A connected socket, plain or encrypted.
#[derive(Debug)]
pub enum Socket {
    /// http
    Plain(TcpStream),
    /// https
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects to `origin`. Cancel-safe: a dropped future closes what it opened.
pub async fn connect(origin: &Origin, tls: &Arc<ClientConfig>) -> Result<Socket, ConnectError> {
    let addresses = resolve(origin).await.map_err(ConnectError::Dns)?;
    let stream = connect_any(addresses).await.map_err(ConnectError::Tcp)?;
    // Not fatal: delays only.
    let _ = stream.set_nodelay(true);
    match origin.scheme() {
        Scheme::Http => Ok(Socket::Plain(stream)),
        Scheme::Https => {
            let bad_name = |_| ConnectError::Tls(io::Error::other("the host cannot be in a certificate"));
            let name = ServerName::try_from(origin.host().trim_end_matches('.').to_owned()).map_err(bad_name)?;
            let connected = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
            connected.map(|stream| Socket::Tls(Box::new(stream))).map_err(ConnectError::Tls)
        }
    }
}

/// The addresses of an origin, the families taking turns (RFC 8305 §4). Names go to the system's resolver on a helper
/// thread, so that a slow one holds up no core.
async fn resolve(origin: &Origin) -> io::Result<Vec<SocketAddr>> {
    if let Ok(address) = origin.host().parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, origin.port())]);
    }
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((origin.host(), origin.port())).await?.collect();
    let first_family = addresses.first().map(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|address| Some(address.is_ipv6()) == first_family);
    let longer = first.len().max(second.len());
    let turns = (0..longer).flat_map(|turn| [first.get(turn), second.get(turn)]).flatten();
    let turns: Vec<SocketAddr> = turns.copied().take(ADDRESSES_MAX).collect();
    if turns.is_empty() { Err(io::Error::other("the name has no address")) } else { Ok(turns) }
}

/// The first address that answers; each gets a head start over the next, and none waits for one that has failed.
async fn connect_any(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = addresses.into_iter();
    let mut running = FuturesUnordered::new();
    let mut failed = io::Error::other("there is no address");
    loop {
        if let Some(address) = waiting.next() {
            running.push(TcpStream::connect(address));
        } else if running.is_empty() {
            return Err(failed);
        }
        let head_start = tokio::time::sleep(STAGGER);
        tokio::pin!(head_start);
        tokio::select! {
            biased;
            Some(result) = running.next() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            },
            () = &mut head_start, if waiting.len() > 0 => {}
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
