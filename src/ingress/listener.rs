//! The sockets that accept: one per shard on the same address (`SO_REUSEPORT`), so that the kernel deals connections
//! out and no core hands them over.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::Ingress;
use super::connection::serve;
use super::refusal::Refusal;
use super::reply::Persistence;
use crate::config::Listen;
use crate::disk::Disk;
use crate::limits::{ACCEPT_BACKLOG, ACCEPT_PAUSE_MS_MAX, ACCEPT_PAUSE_MS_MIN, EXHAUSTED_LINE_MS, READ_BYTES_MIN};
use crate::metrics::RefusedReason;
use crate::net::Stream;
use crate::time::monotonic_now;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A port below 1024 needs a privilege.
    #[error(
        "LISTEN={listen}: expected a port this user may listen on; ports below 1024 need CAP_NET_BIND_SERVICE, try LISTEN=:8080"
    )]
    Privileged {
        /// The address.
        listen: Listen,
    },
    /// Somebody else listens there.
    #[error("{name}={listen}: expected a free address; another process listens there")]
    InUse {
        /// The variable.
        name: &'static str,
        /// The address.
        listen: Listen,
    },
    /// Anything else.
    #[error("{name}={listen}: expected an address this machine can listen on")]
    Io {
        /// The variable.
        name: &'static str,
        /// The address.
        listen: Listen,
        /// What the kernel said.
        source: io::Error,
    },
}

/// How long a port in use is waited for, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(1);
/// See [`PATIENCE`].
const TRY_EVERY: Duration = Duration::from_millis(20);

/// Binds one socket per core to the same address, without listening yet: until a core has recovered, clients are
/// refused and try another instance. A free port, if one is asked for, is chosen once for all.
pub fn bind(listen: Listen, cores: usize) -> Result<(Vec<Socket>, SocketAddr), BindError> {
    let failed = |source: io::Error| match Errno::from_io_error(&source) {
        Some(Errno::ACCESS) => BindError::Privileged { listen },
        Some(Errno::ADDRINUSE) => BindError::InUse { name: "LISTEN", listen },
        _ => BindError::Io { name: "LISTEN", listen, source },
    };
    if listen.port != 0 {
        // Sockets that share a port do so with any process of the same user: another daemon would get half of our
        // clients. One that does not share is refused beside a listener, and is gone before ours are bound.
        drop(while_in_use(|| bind_one(listen, false)).map_err(failed)?);
    }
    let first = bind_one(listen, true).map_err(failed)?;
    let address = first.local_addr().map_err(failed)?.as_socket().ok_or_else(|| failed(io::ErrorKind::Other.into()))?;
    let mut sockets = vec![first];
    for _ in 1..cores {
        sockets.push(bind_one(Listen { host: listen.host, port: address.port() }, true).map_err(failed)?);
    }
    Ok((sockets, address))
}

/// Binds, and tries again for a second while the address is in use: a daemon that was just killed may hold its listeners
/// for a moment longer than its lock.
pub fn while_in_use<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let deadline = monotonic_now() + PATIENCE;
    loop {
        match bind() {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && monotonic_now() < deadline => {
                std::thread::park_timeout(TRY_EVERY);
            }
            settled => return settled,
        }
    }
}

/// Every address is IPv4 and IPv6 through one socket, or IPv4 alone where the kernel has no IPv6.
fn bind_one(listen: Listen, shares_port: bool) -> io::Result<Socket> {
    let Some(host) = listen.host else {
        return match bind_address((Ipv6Addr::UNSPECIFIED, listen.port).into(), true, shares_port) {
            Err(error) if has_no_ipv6(&error) => {
                bind_address((Ipv4Addr::UNSPECIFIED, listen.port).into(), false, shares_port)
            }
            bound => bound,
        };
    };
    bind_address(SocketAddr::new(host, listen.port), false, shares_port)
}

fn has_no_ipv6(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

fn bind_address(address: SocketAddr, dual_stack: bool, shares_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    // A restart need not wait for TIME_WAIT of the connections before it.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shares_port)?;
    // Inherited by what is accepted, which saves a system call per connection: answers are written whole, so that
    // waiting for more to send with them (Nagle) only costs time.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Starts listening on a bound socket.
pub fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(ACCEPT_BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Whether an address is one of this host's own: only those can be bound. A socket that is never used tells it without
/// a list of interfaces that would grow stale.
pub fn is_own_address(address: IpAddr) -> bool {
    std::net::UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

/// Accepts and serves connections until the shard drains; then closes those that are idle and resolves when the last
/// has ended. `wrap` makes a stream of an accepted socket. Must run where `spawn_local` can.
///
/// Cancel-safe: if dropped, no more is accepted and deadlines are no longer enforced, but connections live on.
pub async fn run<S: Stream, D: Disk>(
    listener: TcpListener,
    wrap: impl Fn(TcpStream) -> io::Result<S>,
    ingress: Rc<Ingress<S, D>>,
) {
    let accepting = async {
        tokio::select! {
            biased;
            () = ingress.shard.drain_started() => {}
            () = accept_forever(&listener, &wrap, &ingress) => {}
        }
        // Who has connected may have sent a request already: it gets its 503 rather than a reset.
        while let Some(Ok((socket, _))) = listener.accept().now_or_never() {
            take(socket, &wrap, &ingress);
        }
        drop(listener);
        ingress.connections.close_idle();
        ingress.connections.all_ended().await;
    };
    tokio::select! {
        biased;
        () = accepting => {}
        () = ingress.sweep_forever() => {}
    }
}

/// Accepts for ever. Cancel-safe: nothing is accepted and then lost.
async fn accept_forever<S: Stream, D: Disk>(
    listener: &TcpListener,
    wrap: &impl Fn(TcpStream) -> io::Result<S>,
    ingress: &Rc<Ingress<S, D>>,
) {
    let (mut pause_ms, mut told) = (ACCEPT_PAUSE_MS_MIN, None);
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                pause_ms = ACCEPT_PAUSE_MS_MIN;
                take(socket, wrap, ingress);
            }
            Err(error) if is_exhaustion(&error) => {
                let pause = Duration::from_millis(EXHAUSTED_LINE_MS);
                if told.is_none_or(|told| monotonic_now().saturating_duration_since(told) >= pause) {
                    told = Some(monotonic_now());
                    tracing::warn!(%error, "connections cannot be accepted for a while");
                }
                // It gives its descriptor back.
                ingress.make_room();
                tokio::time::sleep(Duration::from_millis(pause_ms)).await;
                pause_ms = (pause_ms * 2).min(ACCEPT_PAUSE_MS_MAX);
            }
            // The peer went away before it was accepted, or one of the network errors that accept(2) passes on:
            // they belong to one connection, and the next call sees the next one.
            Err(error) => tracing::debug!(%error, "a connection was lost before it was accepted"),
        }
    }
}

/// Of descriptors or memory: the connection stays in the queue, so that another accept at once would fail again.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// Serves an accepted connection, for which an idle one may have to make room.
fn take<S: Stream, D: Disk>(
    socket: TcpStream,
    wrap: &impl Fn(TcpStream) -> io::Result<S>,
    ingress: &Rc<Ingress<S, D>>,
) {
    let connections = &ingress.connections;
    if connections.open() >= ingress.settings.connections_max && !ingress.make_room() {
        return refuse(socket, ingress);
    }
    match wrap(socket) {
        Ok(stream) => {
            let lease = ingress.open(stream);
            // It ends by itself: every wait has a deadline, and `run` waits for all of them.
            drop(tokio::task::spawn_local(serve(lease, Rc::clone(ingress))));
        }
        Err(error) => tracing::warn!(%error, "an accepted connection cannot be served"),
    }
}

/// Answers 503 and closes. Nothing waits: the send buffer of a new socket holds the answer, and only what has arrived
/// already is read, so that closing does not make the kernel reset the connection over it (RFC 9112 §9.6). Before a
/// handshake there is no way to answer, and to make one is what there is no room for: such a connection is only closed.
fn refuse<S: Stream, D: Disk>(socket: TcpStream, ingress: &Ingress<S, D>) {
    let refusal = Refusal::new(RefusedReason::Connections, "MAX_CONNECTIONS are open, and all of them are busy.");
    let mut answer = Vec::new();
    ingress.refuse(&mut answer, &refusal, Persistence::Close, false);
    // An error, here and below, means that the peer has gone.
    let Ok(mut socket) = socket.into_std() else { return };
    if S::IN_CLEAR {
        let _ = socket.write_all(&answer);
    }
    let _ = socket.shutdown(Shutdown::Write);
    let _ = socket.read(&mut [0; READ_BYTES_MIN]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn cores_share_a_port_that_the_kernel_chose_for_the_first() {
        let (sockets, address) = bind(Listen { host: Some(LOOPBACK), port: 0 }, 2).unwrap();
        assert_eq!(sockets.len(), 2);
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap().as_socket() == Some(address)));
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens before a core is ready");
        sockets[0].listen(1).unwrap();
        std::net::TcpStream::connect(address).unwrap();
    }

    #[test]
    fn every_address_is_reached_through_one_socket() {
        let (sockets, address) = bind(Listen { host: None, port: 0 }, 1).unwrap();
        sockets[0].listen(2).unwrap();
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, address.port())).unwrap();
        if address.is_ipv6() && is_own_address(Ipv6Addr::LOCALHOST.into()) {
            std::net::TcpStream::connect((Ipv6Addr::LOCALHOST, address.port())).unwrap();
        }
    }

    #[test]
    fn an_address_that_cannot_be_had_says_so_by_the_variable() {
        let holder = std::net::TcpListener::bind((LOOPBACK, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        let taken = bind(Listen { host: Some(LOOPBACK), port }, 1).unwrap_err().to_string();
        assert_eq!(taken, format!("LISTEN=127.0.0.1:{port}: expected a free address; another process listens there"));
        let foreign = bind(Listen { host: Some([192, 0, 2, 1].into()), port: 0 }, 1).unwrap_err().to_string();
        assert_eq!(foreign, "LISTEN=192.0.2.1:0: expected an address this machine can listen on");
    }

    #[test]
    fn own_addresses_are_told_from_others() {
        assert!(is_own_address(Ipv4Addr::LOCALHOST.into()));
        assert!(!is_own_address([192, 0, 2, 1].into()));
    }
}
