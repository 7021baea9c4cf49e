//! The process: one pinned thread per core, the admin listener and the signals on the main thread.

// Taking over the logs of cores that are no more.
pub mod adopt;
// Answers for the outside.
mod answers;
// Which I/O to run on.
pub mod backend;
// One core.
pub mod core;
// Who may have how many descriptors.
pub mod descriptors;
// What the service manager is told.
mod manager;
// What a core reads while it serves.
mod recovery;
// What is read again on SIGHUP.
pub mod reload;
// What each part is told by the configuration.
pub mod shares;
// How the daemon is stopped.
mod stop;
// What senders must bring.
mod tokens;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustix::process::Resource;
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};

use self::backend::Backend;
use self::core::{CoreError, CoreStart};
use self::descriptors::Descriptors;
use self::manager::Manager;
use self::reload::{Reloader, Reloads};
use self::stop::Stop;
use self::tokens::TokenFileError;
use crate::admin;
use crate::config::{Config, Listen};
use crate::control::{Control, Shared};
use crate::delivery::tls::{self, TlsError};
use crate::disk::portable::PortableDisk;
use crate::disk::uring::UringDisk;
use crate::ingress::listener::{self, BindError};
use crate::metrics::Snapshot;
use crate::net::certificate::{TlsFileError, TlsFiles, server_config};
use crate::net::tls::TlsStream;
use crate::net::{portable, uring};
use crate::reload::Current;
use crate::schedule::gate::Gates;
use crate::time::{monotonic_now, unix_now};
use crate::wal::lock::{self, LockError};
use crate::wal::recovery::RecoveryError;
use crate::wal::versions;

/// Why the daemon did not start, or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// `IO_BACKEND=uring`, and the kernel does not let us.
    #[error("IO_BACKEND=uring: {}", backend::REMEDY)]
    Backend(#[source] io::Error),
    /// The log is another's, or cannot be made.
    #[error("the log")]
    Lock(#[from] LockError),
    /// The log is of a version that is not known, or cannot be looked at.
    #[error(transparent)]
    Format(#[from] RecoveryError),
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// `TLS_CA` cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// `TLS_CERT`, `TLS_KEY` or `TLS_CLIENT_CA` cannot be used.
    #[error(transparent)]
    Certificate(#[from] TlsFileError),
    /// `AUTH_TOKEN_FILE` cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    /// `MAX_MEMORY` is not enough for what descriptors allow.
    #[error("MAX_MEMORY: expected more")]
    Memory,
    /// The system allows fewer descriptors than files need.
    #[error(
        "RLIMIT_NOFILE={allowed}: expected {least} at least for {cores} core(s): raise it (ulimit -n, LimitNOFILE=), or set CORES"
    )]
    Descriptors {
        /// What it allows.
        allowed: u64,
        /// What is needed.
        least: u64,
        /// For so many cores.
        cores: u64,
    },
    /// The operating system refused something every process needs.
    #[error("starting")]
    System(#[from] io::Error),
    /// A core ended.
    #[error("core {shard}")]
    Core {
        /// Which.
        shard: u32,
        /// Why.
        source: CoreError,
    },
    /// A core's thread died. Its messages are in the log.
    #[error("the thread of core {shard} died")]
    Died {
        /// Which.
        shard: u32,
    },
}

impl ServerError {
    /// 3 if the log cannot be written any more, 2 if something cannot be used as it is.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Core { source: CoreError::LogFailed(_), .. } | Self::Died { .. } => 3,
            Self::Backend(_)
            | Self::Lock(_)
            | Self::Format(_)
            | Self::Bind(_)
            | Self::Tls(_)
            | Self::Certificate(_)
            | Self::Tokens(_)
            | Self::Memory
            | Self::Descriptors { .. }
            | Self::System(_)
            | Self::Core { .. } => 2,
        }
    }
}

/// Runs the daemon until it is told to stop (SIGTERM, SIGINT) or cannot go on.
///
/// SIGHUP ends it at no time: from the start on it is heard, and makes it read again what [`reload`] names.
pub fn run(config: Arc<Config>) -> Result<(), ServerError> {
    let started = unix_now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let hangup = runtime.block_on(async { signal(SignalKind::hangup()) })?;
    let descriptors_max = raise_descriptor_limit();
    let cores = config.cores.len() as u64;
    let least = Descriptors::least(cores);
    if descriptors_max < least {
        return Err(ServerError::Descriptors { allowed: descriptors_max, least, cores });
    }
    let (descriptors, memory) = shares::divide(&config, descriptors_max).ok_or(ServerError::Memory)?;
    let _locks = [lock::lock(&config.transaction_log)?, lock::lock(&config.dead_letter)?];
    for log in [&config.transaction_log, &config.dead_letter] {
        versions::check(log)?;
    }
    let backend = backend::choose(config.io_backend).map_err(ServerError::Backend)?;
    let tls = tls::client_config(config.tls_ca.as_deref())?;
    let mut reloads = Reloads::default();
    let certificate =
        tls_files(&config).map(|files| reloads.add("TLS_CERT", move || server_config(&files))).transpose()?;
    let tokens = tokens::publisher(&config, &mut reloads)?;
    let (sockets, data) = listener::bind(config.listen, config.cores.len())?;
    let admin = bind_admin(config.admin_listen)?;
    let gates = Gates::new(shares::origin_rules(&config));
    let epoch = monotonic_now();
    let shared = Shared {
        log_dir: config.transaction_log.clone(),
        disk_reserve_bytes: config.disk_reserve,
        log_bytes_max: config.max_log_bytes,
        backend: backend.as_str(),
        gates: Arc::clone(&gates),
        epoch,
        started,
        memory: Arc::clone(&memory),
    };
    let (control, inboxes) = Control::new(config.cores.len(), shared);
    let (stop, _) = watch::channel(false);
    let (ready, readies) = mpsc::channel(config.cores.len());
    let shards = u32::try_from(config.cores.len()).expect("CORES_MAX is small");
    let mut threads = Vec::new();
    for ((shard, socket), inbox) in (0..shards).zip(sockets).zip(inboxes) {
        let start = CoreStart {
            shard,
            shards,
            config: Arc::clone(&config),
            socket,
            own_port: data.port(),
            tls: Arc::clone(&tls),
            tokens: tokens.clone(),
            control: control.clone(),
            inbox,
            memory: Arc::clone(&memory),
            descriptors,
            gates: Arc::clone(&gates),
            epoch,
            stop: stop.subscribe(),
            ready: ready.clone(),
            seed: u64::from_le_bytes(random()?),
            salt: u32::from_le_bytes(random()?),
        };
        let certificate = certificate.as_ref().map(|published| published.subscribe());
        threads.push(spawn_core(backend, certificate, start)?);
    }
    drop(ready);
    let manager = Manager::from_env().map(Arc::new);
    let reloader = reloads.start(manager.clone())?;
    shares::tell_memory(&config, &memory);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"), backend = backend.as_str(), shards, descriptors = descriptors_max,
        log = %config.transaction_log.display(), "starting"
    );
    let local = tokio::task::LocalSet::new();
    let settings = admin::Settings { token: config.admin_token.clone(), origin_scheme: config.origin_scheme };
    if let Some(manager) = manager.clone() {
        let control = control.clone();
        local.spawn_local(async move { manager.attend(&control).await });
    }
    let stop = Stop::new(stop, manager, shares::stop_ms_max(&config));
    let attending =
        attend(Attended { admin, settings, data, control, stop, readies, threads, backend, hangup, reloader, epoch });
    local.block_on(&runtime, attending)
}

struct Attended {
    admin: std::net::TcpListener,
    settings: admin::Settings,
    data: SocketAddr,
    control: Control,
    stop: Stop,
    readies: mpsc::Receiver<u32>,
    threads: Vec<CoreThread>,
    backend: Backend,
    hangup: Signal,
    reloader: Reloader,
    epoch: Instant,
}

struct CoreThread {
    shard: u32,
    /// How the core ended; dropped without a word if its thread panicked.
    end: oneshot::Receiver<Result<Snapshot, ServerError>>,
}

/// What the main thread does while the cores work.
async fn attend(mut attended: Attended) -> Result<(), ServerError> {
    let admin_address = attended.admin.local_addr()?;
    let admin = tokio::net::TcpListener::from_std(attended.admin)?;
    let control = attended.control.clone();
    tokio::task::spawn_local(async move { control.serve_scrapes().await });
    tokio::task::spawn_local(admin::serve(admin, attended.control, attended.settings));
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let shards = attended.threads.len();
    let mut waiting = shards;
    let mut cores = futures_util::stream::FuturesUnordered::new();
    for thread in attended.threads {
        cores.push(async move { thread.end.await.unwrap_or(Err(ServerError::Died { shard: thread.shard })) });
    }
    let mut last = Snapshot::default();
    loop {
        tokio::select! {
            biased;
            ended = futures_util::StreamExt::next(&mut cores) => match ended {
                None => {
                    stop::tell_stopped(&last, monotonic_now() - attended.epoch);
                    return Ok(());
                }
                Some(ended) => last.merge(&ended?),
            },
            _ = terminate.recv() => attended.stop.signalled(),
            _ = interrupt.recv() => attended.stop.signalled(),
            _ = attended.hangup.recv() => attended.reloader.reload(),
            Some(_) = attended.readies.recv(), if waiting > 0 => {
                waiting -= 1;
                if waiting == 0 {
                    tracing::info!(
                        listen = %attended.data, admin = %admin_address, backend = attended.backend.as_str(), shards,
                        version = env!("CARGO_PKG_VERSION"), "listening"
                    );
                }
            }
        }
    }
}

/// The end is told before the core's runtime is dropped, which would wait for every helper thread: a filesystem that hangs
/// must not hold up the exit.
fn spawn_core(
    backend: Backend,
    certificate: Option<Current<Arc<ServerConfig>>>,
    start: CoreStart,
) -> Result<CoreThread, ServerError> {
    let (ended, end) = oneshot::channel();
    let shard = start.shard;
    let cpu = start.config.cores[shard as usize];
    let tell = move |result: Result<Snapshot, CoreError>| {
        // Nobody listens only when the process is on its way out.
        let _ = ended.send(result.map_err(|source| ServerError::Core { shard, source }));
    };
    let body = move || {
        pin(cpu);
        let ran = match (backend, certificate) {
            (Backend::Uring { modern }, None) => backend::run(backend, async move {
                tell(match UringDisk::new(modern) {
                    Ok(disk) => core::run(disk, uring::TcpStream::new, start).await,
                    Err(error) => Err(CoreError::Ring(error)),
                });
            }),
            (Backend::Uring { modern }, Some(certificate)) => backend::run(backend, async move {
                tell(match UringDisk::new(modern) {
                    Ok(disk) => core::run(disk, under_tls(certificate), start).await,
                    Err(error) => Err(CoreError::Ring(error)),
                });
            }),
            (Backend::Portable, None) => backend::run(backend, async move {
                tell(core::run(PortableDisk, portable::TcpStream::new, start).await);
            }),
            (Backend::Portable, Some(certificate)) => backend::run(backend, async move {
                tell(core::run(PortableDisk, under_tls(certificate), start).await);
            }),
        };
        if let Err(error) = ran {
            tracing::error!(shard, %error, "the loop of a core could not be made");
        }
    };
    std::thread::Builder::new().name(format!("core-{shard}")).spawn(body)?;
    Ok(CoreThread { shard, end })
}

/// Each new connection gets the certificate that holds then, and keeps it.
fn under_tls(certificate: Current<Arc<ServerConfig>>) -> impl Fn(TcpStream) -> io::Result<TlsStream> {
    move |socket| Ok(TlsStream::new(socket, certificate.with(Arc::clone)))
}

/// Certificate and key of the data listener, if it is to speak TLS.
pub fn tls_files(config: &Config) -> Option<TlsFiles> {
    let (certificate, key) = (config.tls_cert.clone()?, config.tls_key.clone()?);
    Some(TlsFiles { certificate, key, client_ca: config.tls_client_ca.clone() })
}

fn pin(cpu: usize) {
    let mut mask = rustix::thread::CpuSet::new();
    mask.set(cpu);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &mask) {
        tracing::warn!(cpu, %error, "a core's thread could not be pinned");
    }
}

/// The socket of the admin listener, waiting for connections from now on.
pub fn bind_admin(listen: Listen) -> Result<std::net::TcpListener, BindError> {
    let every = std::net::IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
    let name = "ADMIN_LISTEN";
    let address = SocketAddr::new(listen.host.unwrap_or(every), listen.port);
    let bound = listener::while_in_use(|| std::net::TcpListener::bind(address)).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { name, listen },
        _ => BindError::Io { name, listen, source },
    })
}

/// Raises the bound on descriptors to what the system allows; returns what was got.
pub fn raise_descriptor_limit() -> u64 {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
        if rustix::process::setrlimit(Resource::Nofile, raised).is_ok() {
            limit.current = limit.maximum;
        }
    }
    limit.current.unwrap_or(u64::MAX)
}

fn random<const BYTES: usize>() -> Result<[u8; BYTES], ServerError> {
    let mut bytes = [0; BYTES];
    getrandom::fill(&mut bytes).map_err(|error| ServerError::System(error.into()))?;
    Ok(bytes)
}
