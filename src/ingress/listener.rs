//! Listening and accepting: one socket per core on the same port (SO_REUSEPORT), so that the kernel deals connections
//! out and cores share nothing.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::connection::{self, Ingress};
use super::reply::{Persistence, Refusal};
use crate::config::Listen;
use crate::disk::Disk;
use crate::net::Stream;

/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 4096;
/// First and longest pause when the process is out of descriptors or memory.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// See [`PAUSE_MIN`].
const PAUSE_MAX: Duration = Duration::from_secs(1);

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

/// Binds one socket per core to the same address, without listening yet: until a core has recovered, clients are
/// refused and try another instance. A free port, if one is asked for, is chosen once for all.
pub fn bind(listen: Listen, cores: usize) -> Result<(Vec<Socket>, SocketAddr), BindError> {
    let failed = |error: io::Error| match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS) => BindError::Privileged { listen },
        Some(Errno::ADDRINUSE) => BindError::InUse { name: "LISTEN", listen },
        _ => BindError::Io { name: "LISTEN", listen, source: error },
    };
    let first = bind_one(listen).map_err(failed)?;
    let address = first.local_addr().map_err(failed)?.as_socket().ok_or_else(|| failed(io::ErrorKind::Other.into()))?;
    let mut sockets = vec![first];
    for _ in 1..cores {
        sockets.push(bind_one(Listen { host: listen.host, port: address.port() }).map_err(failed)?);
    }
    Ok((sockets, address))
}

fn bind_one(listen: Listen) -> io::Result<Socket> {
    let every = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), listen.port);
    let address = listen.host.map_or(every, |host| SocketAddr::new(host, listen.port));
    let bound = bind_address(address, listen.host.is_none());
    match bound {
        // A machine without IPv6.
        Err(error) if listen.host.is_none() && error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()) => {
            bind_address(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), listen.port), false)
        }
        bound => bound,
    }
}

fn bind_address(address: SocketAddr, both_families: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if both_families {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Starts listening on a bound socket.
pub fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts until dropped; each connection runs in a task of its own. Cancel-safe.
pub async fn accept<S: Stream, D: Disk>(listener: TcpListener, ingress: Rc<Ingress<S, D>>) -> Infallible {
    let mut pause = PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((socket, _)) => {
                pause = PAUSE_MIN;
                admit(socket, &ingress);
            }
            Err(error) if is_exhaustion(&error) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "connections cannot be accepted for a while");
                // An idle connection gives its descriptor back.
                ingress.connections.close_oldest_idle();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
            // The client gave up while it waited.
            Err(_) => {}
        }
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

fn admit<S: Stream, D: Disk>(socket: tokio::net::TcpStream, ingress: &Rc<Ingress<S, D>>) {
    if ingress.connections.len() >= ingress.connections_max && !ingress.connections.close_oldest_idle() {
        let refusal = Refusal::too_many_connections();
        ingress.shard.metrics().refused(refusal.reason);
        let mut answer = Vec::new();
        ingress.connections.with_date(|date| refusal.write(&mut answer, date, Persistence::Close, false));
        // What the socket does not take at once is not worth waiting for.
        let _ = socket.try_write(&answer);
        return;
    }
    let Ok(local) = socket.local_addr() else { return };
    let _ = socket.set_nodelay(true);
    let Ok(stream) = socket.into_std().and_then(S::accepted) else { return };
    tokio::task::spawn_local(connection::serve(stream, local.ip(), Rc::clone(ingress)));
}
