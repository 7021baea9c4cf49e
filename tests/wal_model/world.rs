//! One life of a shard over the disk: recovered, running, without sockets.
//!
//! Everything that the tests ask of a shard beyond its verbs stands here.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use dispatcher::delivery::{Transport, worker};
use dispatcher::disk::Disk;
use dispatcher::limits::{BLOCK_BYTES, DRAIN_FLUSH_MS};
use dispatcher::memory::Memory;
use dispatcher::message::{Draft, IdSource, Origin, Scheme, Statuses};
use dispatcher::metrics::ShardMetrics;
use dispatcher::metrics::exposition::{self, Process};
use dispatcher::schedule::backoff::Backoff;
use dispatcher::schedule::breaker;
use dispatcher::schedule::gate::Gates;
use dispatcher::schedule::scheduler::Limits;
use dispatcher::server::adopt::{self, AdoptError};
use dispatcher::shard::conclude::RetryRules;
use dispatcher::shard::dead_letters::DeadLetters;
use dispatcher::shard::state::State;
use dispatcher::shard::{Settings, Shard, message_bytes_max};
use dispatcher::time::{Clock, Millis, monotonic_now};
use dispatcher::wal::files::Files;
use dispatcher::wal::index::Index;
use dispatcher::wal::log::{Log, Need};
use dispatcher::wal::payload::TRIED_BYTES;
use dispatcher::wal::recovery::{self, Replayed};
use dispatcher::wal::spare::Space;
use dispatcher::wal::survey::{self, Survey};
use dispatcher::wal::ticket::Ticket;
use futures_util::FutureExt;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::disk::SimDisk;

/// Small, so that a few messages roll it.
pub const SEGMENT_BYTES: u64 = 64 << 10;
/// Retries before a message is given up.
pub const RETRIES_MAX: u16 = 2;
/// Space that only the disk bounds.
pub fn unbounded() -> Space {
    Space { segment_bytes: SEGMENT_BYTES, log_bytes_max: 0, disk_reserve: 0, reserve: 1, used: Rc::default() }
}
/// How long a log may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(60);
pub const HEAD: &[u8] = b"POST /hook HTTP/1.1\r\nHost: b\r\n";

/// What a shard is told by its configuration.
#[derive(Clone, Debug)]
pub struct Setup {
    pub space: Space,
    /// Of the dead letter log.
    pub dead_space: Space,
    pub limits: Limits,
    /// Shared by all shards of a process.
    pub gates: Arc<Gates>,
    pub settings: Settings,
    /// How many shards there are, if this one is to adopt those that are more.
    pub shards: Option<u32>,
}

impl Setup {
    /// Retries at once, and few of them.
    pub fn plain(space: Space) -> Self {
        let backoff = Backoff { base: Millis(0), factor: 1.0, max: Millis(0), jitter: 0.0, retries_max: RETRIES_MAX };
        let retry = RetryRules { backoff, retry_after_max: Millis(1000), no_retry: Statuses::NONE, message_ttl: None };
        let settings = Settings {
            default_timeout: Millis(1000),
            retry,
            epoch: monotonic_now(),
            keep_all: false,
            memory: Memory::of_parts(64 << 20),
            message_bytes_max: message_bytes_max(SEGMENT_BYTES),
            clock: Clock::SYSTEM,
            corrupt: PathBuf::from("corrupt"),
            origin_share: 1.0,
        };
        let dead_space = Space { log_bytes_max: 0, reserve: 0, ..space.clone() };
        Self { space, dead_space, limits: limits(), gates: gates(), settings, shards: None }
    }
}

/// A running shard. Its loops are tasks of the current `LocalSet`.
pub struct World {
    pub shard: Rc<Shard<SimDisk>>,
    /// Why it gave up, if it did.
    pub failed: Rc<RefCell<Option<String>>>,
    pub next_segment: u32,
    failure: Rc<Notify>,
    recovered: Rc<Cell<Option<Recovered>>>,
    recovery: Rc<Notify>,
}

/// What a recovery came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Damaged ranges in both logs.
    pub damaged: u64,
    /// Messages taken over from other shards.
    pub adopted: u64,
}

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `life` on a runtime whose timers do not wait; what it spawned ends with it.
pub fn live<T>(life: impl Future<Output = T>) -> T {
    PANICKED.set(false);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let lived = tokio::task::LocalSet::new().block_on(&runtime, life);
    assert!(!PANICKED.get(), "a task panicked");
    lived
}

/// Starts a task whose panic fails the life that it is part of.
pub fn spawn(task: impl Future<Output = ()> + 'static) {
    spawn_local(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            PANICKED.set(true);
        }
    });
}

/// Lets everything else have a few turns.
pub async fn turns(count: u64) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

/// Waits until `condition` holds; `false` if it does not for a simulated minute.
pub async fn until(mut condition: impl FnMut() -> bool) -> bool {
    for _ in 0..60_000 {
        if condition() {
            return true;
        }
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    false
}

pub fn log_dir(root: &str, shard: u32) -> PathBuf {
    Path::new(root).join(format!("shard-{shard:02}"))
}

pub const fn limits() -> Limits {
    Limits { slots: 16, wait_max: Millis(1000) }
}

/// Of origins that are never spared.
pub fn gates() -> Arc<Gates> {
    Gates::new(breaker::Rules { failures: 0, probe_max: Millis(1000), in_flight_max: 16 })
}

/// A shard with the plain setup, all of which has been recovered.
pub async fn start(disk: &SimDisk, number: u32, space: Space, seed: u64) -> Result<World, String> {
    let world = start_as(disk, number, &Setup::plain(space), seed).await?;
    tokio::select! {
        biased;
        () = world.failure() => return Err(format!("{:?}", world.failed.borrow())),
        _ = world.recovered() => {}
    }
    Ok(world)
}

fn text(error: impl Error) -> String {
    let cause = error.source().map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

/// Looks at one log of a shard; its segments will be no shorter than `longest` bytes.
async fn look(disk: &SimDisk, dir: PathBuf, number: u32, space: Space, longest: u64) -> Result<Surveyed, String> {
    disk.create_dir(&dir).await.map_err(text)?;
    let files = Rc::new(Files::new(disk.clone(), dir, number));
    let survey = survey::survey(&files, 0xBEEF).await.map_err(text)?;
    recovery::clean(&files, &survey).await.map_err(text)?;
    let longest = survey.longest.max(longest).next_multiple_of(BLOCK_BYTES as u64);
    let space = Space { segment_bytes: space.segment_bytes.max(longest), ..space };
    Ok((Rc::new(Log::new(files, space, &survey)), survey))
}

type Surveyed = (Rc<Log<SimDisk>>, Survey);

/// As the start of a core does it. Recovers while it runs; deliveries wait for [`World::serve`].
pub async fn start_as(disk: &SimDisk, number: u32, setup: &Setup, seed: u64) -> Result<World, String> {
    // Both logs of this shard count as one.
    let used = Rc::default();
    let (space, dead_space) =
        (Space { used: Rc::clone(&used), ..setup.space.clone() }, Space { used, ..setup.dead_space.clone() });
    let (log, found) = look(disk, log_dir("log", number), number, space, 0).await?;
    let (dead_log, dead) = look(disk, log_dir("dead", number), number, dead_space, found.longest).await?;
    let (mut state, mut graves) =
        (State::new(setup.limits, Arc::clone(&setup.gates), setup.settings.clock.now()), Index::default());
    state.add_segments(&found);
    graves.add_segments(&dead);
    let mut ids = IdSource::new(seed);
    ids.advance_past(found.newest.unwrap_or_default());
    let (settings, metrics) = (setup.settings.clone(), ShardMetrics::default());
    let dead_letters = DeadLetters::new(dead_log, graves);
    let shard = Rc::new(Shard::new(settings, state, log, dead_letters, ids, metrics, seed));
    let world = World {
        shard: Rc::clone(&shard),
        failed: Rc::default(),
        next_segment: found.next_segment,
        failure: Rc::default(),
        recovered: Rc::default(),
        recovery: Rc::default(),
    };
    // As a core does it: without knowing the newest id, none can be given out that is sure to be greater.
    let replayed = match found.newest {
        Some(_) => None,
        None => Some(shard.recover_messages(&found).await.map_err(text)?),
    };
    for log in [shard.log(), shard.dead_letters().log()] {
        let log = Rc::clone(log);
        spawn(async move { log.spare().run().await });
    }
    let relocating = Rc::clone(&shard);
    spawn(async move { relocating.relocate_loop().await });
    let expiring = Rc::clone(&shard);
    spawn(async move { expiring.expiry_loop().await });
    let replaying = Rc::clone(&shard);
    spawn(async move { replaying.replay_loop().await });
    let (committing, end) = (Rc::clone(&shard), found.end);
    world.spawn_until_failure(async move { committing.commit_loop(end).await.to_string() });
    let (burying, end) = (Rc::clone(&shard), dead.end);
    world.spawn_until_failure(async move { burying.dead_letter_loop(end).await.to_string() });
    tokio::select! {
        biased;
        () = world.failure() => return Err(format!("the log failed: {:?}", world.failed.borrow())),
        () = shard.log().begun() => {}
        () = tokio::time::sleep(BEGIN_MAX) => return Err("the log never began".to_owned()),
    }
    let orphans = (disk.clone(), number, setup.clone());
    let (recovered, recovery) = (Rc::clone(&world.recovered), Rc::clone(&world.recovery));
    world.spawn_until_failure(async move {
        match recover(&shard, &found, replayed, &dead, &orphans).await {
            Ok(found) => recovered.set(Some(found)),
            Err(error) => return error,
        }
        recovery.notify_waiters();
        std::future::pending().await
    });
    Ok(world)
}

async fn recover(
    shard: &Shard<SimDisk>,
    found: &Survey,
    replayed: Option<Replayed>,
    dead: &Survey,
    (disk, number, setup): &(SimDisk, u32, Setup),
) -> Result<Recovered, String> {
    let replayed = match replayed {
        Some(replayed) => replayed,
        None => shard.recover_messages(found).await.map_err(text)?,
    };
    let dead_replayed = shard.recover_dead_letters(dead).await.map_err(text)?;
    let (damaged, messages) = (replayed.damaged + dead_replayed.damaged, shard.recovered_messages());
    let orphans = match setup.shards {
        Some(shards) => adopt::orphans(disk, Path::new("log"), *number, shards).await.map_err(text)?.len(),
        None => 0,
    };
    if orphans == 0 {
        shard.settle();
    }
    let adopted = adopt_orphans(disk, *number, setup, shard).await.map_err(text)?;
    shard.settle();
    shard.note_all_known();
    shard.metrics().recovered(Duration::ZERO, messages, damaged);
    Ok(Recovered { damaged, adopted })
}

async fn adopt_orphans(disk: &SimDisk, number: u32, setup: &Setup, shard: &Shard<SimDisk>) -> Result<u64, AdoptError> {
    let (Some(shards), corrupt) = (setup.shards, &setup.settings.corrupt) else { return Ok(0) };
    let mut adopted = 0;
    for orphan in adopt::orphans(disk, Path::new("dead"), number, shards).await? {
        adopt::dead_letters(disk, &orphan, corrupt, shard).await?;
    }
    for orphan in adopt::orphans(disk, Path::new("log"), number, shards).await? {
        let theirs = State::new(setup.limits, gates(), setup.settings.clock.now());
        adopted += adopt::messages(disk, &orphan, corrupt, shard, theirs).await?;
    }
    Ok(adopted)
}

impl World {
    /// Starts a task that ends only when the process must, and then says why.
    fn spawn_until_failure(&self, task: impl Future<Output = String> + 'static) {
        let (failed, failure) = (Rc::clone(&self.failed), Rc::clone(&self.failure));
        spawn(async move {
            failed.replace(Some(task.await));
            failure.notify_one();
        });
    }

    /// Resolves when it has given up, after which the process ends.
    pub async fn failure(&self) {
        self.failure.notified().await;
    }

    /// Resolves when everything that the log held is there, and that of adopted shards too.
    pub async fn recovered(&self) -> Recovered {
        loop {
            let recovery = self.recovery.notified();
            if let Some(recovered) = self.recovered.get() {
                return recovered;
            }
            recovery.await;
        }
    }

    /// Begins deliveries.
    pub fn serve<T: Transport>(&self, transport: Rc<T>) {
        spawn_local(worker::run(Rc::clone(&self.shard), transport));
    }

    /// Whether new messages are taken.
    pub fn has_room(&self) -> bool {
        self.shard.log().has_room(Need::Message, 0)
    }

    /// Whether a retry is written down after so many attempts that are remembered.
    pub fn notes_retry(shard: &Shard<SimDisk>, tried: usize) -> bool {
        shard.log().has_room(Need::Retry, tried * TRIED_BYTES)
    }

    /// The counters and gauges of the shard, as a scrape shows them.
    pub fn scrape(&self) -> String {
        let process = Process { backend: "simulated", ..Process::default() };
        exposition::classic(self.shard.metrics().snapshot(self.shard.gauges()), process)
    }

    /// Stops in order, as a core does: attempts in flight get `timeout`, outcomes on their way to the disk a little more.
    pub async fn drain(&self, timeout: Duration) {
        self.shard.start_draining();
        let settled = async {
            while !self.shard.is_settled() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let flushed = async {
            while !self.shard.is_flushed() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // Whichever comes first; what is left is in the log.
        let _ = tokio::time::timeout(timeout, settled).await;
        let _ = tokio::time::timeout(Duration::from_millis(DRAIN_FLUSH_MS), flushed).await;
        let _ = tokio::time::timeout(Duration::from_millis(DRAIN_FLUSH_MS), self.shard.rest()).await;
    }

    /// Takes a message as a connection does; `None`: refused.
    pub fn submit(&self, body: &[u8]) -> Option<Ticket> {
        self.shard.admit(HEAD.len() + body.len()).ok()?;
        let origin = Origin::parse("http://b:8080", Scheme::Http).unwrap();
        self.shard.submit(Draft { origin: &origin, timeout: None, head: HEAD, body }).ok()
    }
}
