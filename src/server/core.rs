//! One core from start to drain: recover, adopt, build the shard, run its loops, stop in order.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use socket2::Socket;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};

use super::adopt::{self, AdoptError};
use super::answers;
use super::descriptors::Descriptors;
use super::recovery::{Orphans, Recovery};
use super::shares::{idle_max, ingress_settings, limits, settings, spaces};
use crate::config::Config;
use crate::control::{Control, Phase, ShardInbox};
use crate::delivery::client::{HyperTransport, TransportConfig};
use crate::delivery::names::NameSources;
use crate::delivery::worker;
use crate::disk::{Disk, DiskError, while_doing};
use crate::ingress::tokens::Tokens;
use crate::ingress::{Ingress, listener};
use crate::limits::{BLOCK_BYTES, DRAIN_FLUSH_MS, to_usize};
use crate::memory::Memory;
use crate::message::IdSource;
use crate::metrics::{ShardMetrics, Snapshot};
use crate::net::Stream;
use crate::reload::Publisher;
use crate::schedule::gate::Gates;
use crate::shard::Shard;
use crate::shard::dead_letters::DeadLetters;
use crate::shard::state::State;
use crate::time::{Millis, monotonic_now, unix_now};
use crate::wal::files::Files;
use crate::wal::index::Index;
use crate::wal::log::{Log, Need};
use crate::wal::recovery::{self, RecoveryError, Replayed};
use crate::wal::spare::Space;
use crate::wal::survey::{self, Survey};

/// How often a core looks after its pool and its status.
const TICK: Duration = Duration::from_secs(1);

/// What a core is given.
pub struct CoreStart {
    /// Its number, from 0.
    pub shard: u32,
    /// How many cores there are.
    pub shards: u32,
    /// The configuration.
    pub config: Arc<Config>,
    /// Bound, not listening.
    pub socket: Socket,
    /// The port of the data listener.
    pub own_port: u16,
    /// Roots of trust for https.
    pub tls: Arc<ClientConfig>,
    /// What senders must bring, if anything.
    pub tokens: Option<Arc<Publisher<Arc<Tokens>>>>,
    /// A handle to all cores.
    pub control: Control,
    /// This core's end of it.
    pub inbox: ShardInbox,
    /// What all cores may take of memory.
    pub memory: Arc<Memory>,
    /// What each may take of descriptors.
    pub descriptors: Descriptors,
    /// The origins, as all cores share them.
    pub gates: Arc<Gates>,
    /// Where ticks begin, for all cores.
    pub epoch: Instant,
    /// Turns true when the daemon stops.
    pub stop: watch::Receiver<bool>,
    /// Where this core tells that it takes messages.
    pub ready: mpsc::Sender<u32>,
    /// From the operating system; differs between cores and restarts. Ids tell of it.
    pub seed: u64,
    /// From the operating system too, for the checksums of a new log; nothing tells of it.
    pub salt: u32,
}

/// Why a core ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// Its log cannot be recovered.
    #[error("recovering the log")]
    Recovery(#[from] RecoveryError),
    /// The log of an orphaned shard cannot be taken over.
    #[error("taking over the log of a core that is no more")]
    Adopt(#[from] AdoptError),
    /// The ring for its writes cannot be made.
    #[error("a ring for writes (io_uring)")]
    Ring(#[source] io::Error),
    /// A directory cannot be made.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It cannot listen.
    #[error("listening on port {port}")]
    Listen {
        /// The port.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its log cannot be written any more.
    #[error("the log cannot be written")]
    LogFailed(#[source] DiskError),
}

/// One of a core's two logs.
struct Surveyed<D: Disk> {
    log: Rc<Log<D>>,
    survey: Survey,
}

/// Runs a core until the daemon stops; returns its last metrics. Everything it spawned ends with its runtime.
///
/// `wrap` makes a stream of an accepted socket.
pub async fn run<D: Disk, S: Stream>(
    disk: D,
    wrap: impl Fn(TcpStream) -> io::Result<S> + 'static,
    start: CoreStart,
) -> Result<Snapshot, CoreError> {
    let began = monotonic_now();
    let config = Arc::clone(&start.config);
    let (space, dead_space) = spaces(&start);
    let messages = look(&disk, &start, &config.transaction_log, space, 0).await?;
    let dead = look(&disk, &start, &config.dead_letter, dead_space, messages.survey.longest).await?;
    let (mut state, mut graves) = (State::new(limits(&start), Arc::clone(&start.gates), unix_now()), Index::default());
    state.add_segments(&messages.survey);
    graves.add_segments(&dead.survey);
    let mut ids = IdSource::new(start.seed);
    ids.advance_past(messages.survey.newest.unwrap_or_default());
    let dead_letters = DeadLetters::new(Rc::clone(&dead.log), graves);
    let log = Rc::clone(&messages.log);
    let shard =
        Rc::new(Shard::new(settings(&start), state, log, dead_letters, ids, ShardMetrics::default(), start.seed));
    let status = Arc::clone(&start.inbox.status);
    let recovery = Recovery { shard: Rc::clone(&shard), messages: messages.survey, dead: dead.survey, began, status };
    // Without knowing the newest id, none can be given out that is sure to be greater.
    let replayed = if recovery.messages.newest.is_none() { recovery.replay().await? } else { Replayed::default() };
    let (failed, mut failures) = mpsc::channel(4);
    spawn_log_loops(&shard, &recovery, &failed);
    tokio::select! {
        biased;
        // A log that cannot be begun would be waited for in vain.
        Some(error) = failures.recv() => return Err(error),
        () = shard.log().begun() => {}
    }
    shard.set_log_bytes_max(log_bytes_max(&shard, &config, start.shards).await?);
    let (orphans, failing) = (Orphans::new(disk, &start), failed);
    spawn_local(async move {
        if let Err(error) = recovery.run(replayed, orphans).await {
            // Only the end of this core closes the channel.
            let _ = failing.send(error).await;
        }
    });
    serve(start, wrap, shard, &mut failures).await
}

/// Looks at one of a core's two logs; its segments will be no shorter than `longest` bytes.
async fn look<D: Disk>(
    disk: &D,
    start: &CoreStart,
    root: &std::path::Path,
    space: Space,
    longest: u64,
) -> Result<Surveyed<D>, CoreError> {
    let dir = adopt::shard_dir(root, start.shard);
    disk.create_dir(&dir).await.map_err(while_doing("creating", &dir))?;
    let files = Rc::new(Files::new(disk.clone(), dir.to_path_buf(), start.shard));
    files.set_bounds(start.memory.division().core.reads, to_usize(start.descriptors.segments_open));
    let survey = survey::survey(&files, start.salt).await?;
    recovery::clean(&files, &survey).await?;
    // A message from the time of a larger SEGMENT_BYTES may still have to be written again.
    let longest = survey.longest.max(longest).next_multiple_of(BLOCK_BYTES as u64);
    let space = Space { segment_bytes: start.config.segment_bytes.max(longest), ..space };
    Ok(Surveyed { log: Rc::new(Log::new(files, space, &survey)), survey })
}

/// How far the log of one core may grow: to its share of the bound and of what the disk has left beyond the reserve.
async fn log_bytes_max<D: Disk>(shard: &Shard<D>, config: &Config, shards: u32) -> Result<u64, DiskError> {
    let (files, shards) = (shard.log().files(), u64::from(shards));
    let free =
        files.disk().free_bytes(files.dir()).await.map_err(while_doing("asking the free space of", files.dir()))?;
    let by_disk = shard.log().spare().log_bytes() + free.saturating_sub(config.disk_reserve) / shards;
    Ok(if config.max_log_bytes == 0 { by_disk } else { by_disk.min(config.max_log_bytes / shards) })
}

fn spawn_log_loops<D: Disk>(shard: &Rc<Shard<D>>, recovery: &Recovery<D>, failed: &mpsc::Sender<CoreError>) {
    let (messages, dead) = (recovery.messages.end, recovery.dead.end);
    for log in [shard.log(), shard.dead_letters().log()] {
        let log = Rc::clone(log);
        spawn_local(async move { log.spare().run().await });
    }
    let relocating = Rc::clone(shard);
    spawn_local(async move { relocating.relocate_loop().await });
    let expiring = Rc::clone(shard);
    spawn_local(async move { expiring.expiry_loop().await });
    let (committing, failing) = (Rc::clone(shard), failed.clone());
    spawn_local(async move {
        let error = committing.commit_loop(messages).await;
        let _ = failing.send(CoreError::LogFailed(error)).await;
    });
    let (burying, failing) = (Rc::clone(shard), failed.clone());
    spawn_local(async move {
        let error = burying.dead_letter_loop(dead).await;
        let _ = failing.send(CoreError::LogFailed(error)).await;
    });
}

async fn serve<D: Disk, S: Stream>(
    start: CoreStart,
    wrap: impl Fn(TcpStream) -> io::Result<S> + 'static,
    shard: Rc<Shard<D>>,
    failures: &mut mpsc::Receiver<CoreError>,
) -> Result<Snapshot, CoreError> {
    let config = Arc::clone(&start.config);
    let transport = Rc::new(HyperTransport::new(TransportConfig {
        connect_timeout: config.connect_timeout,
        tls: Arc::clone(&start.tls),
        policy: config.origin_policy.clone(),
        names: NameSources::default(),
        dns_answers_max: start.memory.division().core.dns_answers,
        idle_max: idle_max(&start),
    }));
    let connections = ingress_settings(&start);
    let ingress = Rc::new(Ingress::<S, D>::new(Rc::clone(&shard), start.control, connections));
    let port = start.own_port;
    let listener = listener::listen(start.socket).map_err(|source| CoreError::Listen { port, source })?;
    spawn_local(worker::run(Rc::clone(&shard), Rc::clone(&transport)));
    let inbox = start.inbox;
    let (answering, sending, requests) = (Rc::clone(&shard), Rc::clone(&transport), inbox.requests);
    spawn_local(async move {
        let snapshot = || {
            let links = sending.counts();
            answering.metrics().connections_out(links.open.get(), links.opened.get());
            answering.metrics().snapshot(answering.gauges())
        };
        answers::run(&answering, requests, snapshot).await;
    });
    let replaying = Rc::clone(&shard);
    spawn_local(async move { replaying.replay_loop().await });
    let (watching, status) = (Rc::clone(&shard), Arc::clone(&inbox.status));
    status.set(phase(&watching));
    let turning = Arc::clone(&status);
    spawn_local(async move {
        loop {
            turning.turn();
            tokio::time::sleep(TICK).await;
        }
    });
    let (shards, limits) = (start.shards, Arc::clone(&config));
    spawn_local(async move {
        loop {
            tokio::time::sleep(TICK).await;
            status.set(phase(&watching));
            transport.sweep(monotonic_now());
            // Should it not be known now, what was known last stands.
            if let Ok(bytes) = log_bytes_max(&watching, &limits, shards).await {
                watching.set_log_bytes_max(bytes);
            }
        }
    });
    let receiving = spawn_local(listener::run(listener, wrap, ingress));
    // The other end waits for every core, or is gone because another one failed.
    let _ = start.ready.send(start.shard).await;
    let mut stop = start.stop;
    tokio::select! {
        biased;
        Some(error) = failures.recv() => return Err(error),
        // An error means that the main thread is gone, and that is a stop too.
        _ = stop.wait_for(|stop| *stop) => {}
    }
    inbox.status.set(Phase::Draining);
    drain(&shard, receiving, config.shutdown_timeout, failures).await?;
    Ok(shard.metrics().snapshot(shard.gauges()))
}

/// Stops in order: no new messages, accepted ones answered, attempts in flight concluded as far as time allows, their
/// outcomes durable. What is left is in the log and is delivered after the next start.
async fn drain<D: Disk>(
    shard: &Shard<D>,
    receiving: JoinHandle<()>,
    timeout: Millis,
    failures: &mut mpsc::Receiver<CoreError>,
) -> Result<(), CoreError> {
    shard.start_draining();
    let deadline = monotonic_now() + timeout.duration();
    let concluded = async {
        // Resolves when the last connection has ended. An error would be a panic, and that ends the process elsewhere.
        let _ = receiving.await;
        until_settled(shard, deadline).await;
    };
    tokio::select! {
        biased;
        Some(error) = failures.recv() => return Err(error),
        _ = tokio::time::timeout_at(deadline.into(), concluded) => {}
    }
    // Attempts that did not end are cut off; outcomes already on their way still reach the disk.
    let flushed = monotonic_now() + Duration::from_millis(DRAIN_FLUSH_MS);
    while !shard.is_flushed() && monotonic_now() < flushed {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let _ = tokio::time::timeout_at((flushed + Duration::from_millis(DRAIN_FLUSH_MS)).into(), shard.rest()).await;
    Ok(())
}

async fn until_settled<D: Disk>(shard: &Shard<D>, deadline: Instant) {
    while !shard.is_settled() && monotonic_now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What a core is doing.
pub(super) fn phase<D: Disk>(shard: &Shard<D>) -> Phase {
    if shard.draining() {
        Phase::Draining
    } else if shard.log().is_failing() {
        Phase::LogFailed
    } else if !shard.log().has_room(Need::Message, 0) {
        Phase::LogFull
    } else if !shard.is_recovered() {
        Phase::Recovering
    } else {
        Phase::Ready
    }
}
