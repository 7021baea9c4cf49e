//! One life of a shard over the disk: recovered, running, without sockets; and what a recovery alone would find.
//!
//! Everything that the tests ask of a shard beyond its verbs stands here.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use dispatcher::delivery::{Transport, worker};
use dispatcher::limits::DRAIN_FLUSH_MS;
use dispatcher::message::{Draft, IdSource, MessageId, Origin, Scheme};
use dispatcher::metrics::ShardMetrics;
use dispatcher::metrics::exposition::{self, Process};
use dispatcher::schedule::backoff::Backoff;
use dispatcher::schedule::scheduler::Limits;
use dispatcher::shard::dead_letters::DeadLetters;
use dispatcher::shard::state::State;
use dispatcher::shard::{Settings, Shard, message_bytes_max};
use dispatcher::time::{Clock, Millis, unix_now};
use dispatcher::wal::files::Files;
use dispatcher::wal::index::Index;
use dispatcher::wal::log::Log;
use dispatcher::wal::payload::{Payload, Progress};
use dispatcher::wal::record::{HEADER_BYTES, Kind};
use dispatcher::wal::recovery::{self, Visit};
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

/// A running shard. Its loops are tasks of the current `LocalSet`.
pub struct World {
    pub shard: Rc<Shard<SimDisk>>,
    /// Why a log gave up, if one did.
    pub failed: Rc<RefCell<Option<String>>>,
    /// What the logs held, for messages and dead letters.
    pub surveys: (Survey, Survey),
    /// Damaged ranges in both logs.
    pub damaged: Cell<u64>,
    failure: Rc<Notify>,
}

/// What a shard is told by its configuration.
#[derive(Clone, Debug)]
pub struct Setup {
    pub space: Space,
    pub limits: Limits,
    pub settings: Settings,
}

impl Setup {
    /// Retries at once, and few of them; dead letters without a bound.
    pub fn plain(space: Space) -> Self {
        let backoff = Backoff { base: Millis(0), factor: 1.0, max: Millis(0), jitter: 0.0, retries_max: RETRIES_MAX };
        let settings = Settings {
            default_timeout: Millis(1000),
            backoff,
            keep_all: false,
            memory_max: 64 << 20,
            message_bytes_max: message_bytes_max(SEGMENT_BYTES),
            clock: Clock::SYSTEM,
            corrupt: PathBuf::from("corrupt"),
            origin_share: 1.0,
        };
        Self { space, limits: limits(), settings }
    }
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
    Limits { slots: 16, lane_in_flight: 16, wait_max: Millis(1000) }
}

/// A shard with the plain setup.
pub async fn start(disk: &SimDisk, number: u32, space: Space, seed: u64) -> Result<World, String> {
    let world = start_as(disk, number, &Setup::plain(space), seed).await?;
    world.damaged.set(world.recover().await?);
    Ok(world)
}

/// As the start of a core does it, but for reading the log: see [`World::recover`].
pub async fn start_as(disk: &SimDisk, number: u32, setup: &Setup, seed: u64) -> Result<World, String> {
    let text = |error: recovery::RecoveryError| format!("{error}: {:?}", error.source());
    let space = Space { used: Rc::default(), ..setup.space.clone() };
    let mut state = State::new(setup.limits, setup.settings.clock.now());
    let mut ids = IdSource::new(seed);
    let files = Rc::new(Files::new(disk.clone(), log_dir("log", number), number));
    let found = survey::survey(&files, 0xBEEF).await.map_err(text)?;
    recovery::clean(&files, &found).await.map_err(|error| error.to_string())?;
    state.add_segments(&found);
    let messages_end = found.end;
    let log = Rc::new(Log::new(files, space.clone(), &found));
    ids.advance_past(found.newest.unwrap_or_default());
    let mut graves = Index::default();
    let files = Rc::new(Files::new(disk.clone(), log_dir("dead", number), number));
    let dead = survey::survey(&files, 0xBEEF).await.map_err(text)?;
    recovery::clean(&files, &dead).await.map_err(|error| error.to_string())?;
    graves.add_segments(&dead);
    let dead_end = dead.end;
    let dead_space = Space { log_bytes_max: 0, disk_reserve: 0, reserve: 0, ..space };
    let dead_log = Rc::new(Log::new(files, dead_space, &dead));
    let dead_letters = DeadLetters::new(dead_log, graves);
    let metrics = ShardMetrics::default();
    let shard = Rc::new(Shard::new(setup.settings.clone(), state, log, dead_letters, ids, metrics, seed));
    let failed = Rc::new(RefCell::new(None));
    let failure = Rc::new(Notify::new());
    for log in [shard.log(), shard.dead_letters().log()] {
        let log = Rc::clone(log);
        spawn(async move { log.spare().run().await });
    }
    let (committing, failing, gone) = (Rc::clone(&shard), Rc::clone(&failed), Rc::clone(&failure));
    spawn(async move {
        let error = committing.commit_loop(messages_end).await;
        failing.replace(Some(error.to_string()));
        gone.notify_one();
    });
    let (burying, failing, gone) = (Rc::clone(&shard), Rc::clone(&failed), Rc::clone(&failure));
    spawn(async move {
        let error = burying.dead_letter_loop(dead_end).await;
        failing.replace(Some(error.to_string()));
        gone.notify_one();
    });
    // A log that cannot even begin ends its loop instead.
    tokio::select! {
        biased;
        () = shard.log().begun() => {}
        () = failure.notified() => return Err(format!("the log failed: {:?}", failed.borrow())),
        () = tokio::time::sleep(BEGIN_MAX) => return Err("the log never began".to_owned()),
    }
    let relocating = Rc::clone(&shard);
    spawn(async move { relocating.relocate_loop().await });
    Ok(World { shard, failed, surveys: (found, dead), damaged: Cell::new(0), failure })
}

impl World {
    /// Reads both logs, as a core does while it serves; returns the number of damaged ranges.
    pub async fn recover(&self) -> Result<u64, String> {
        let text = |error: recovery::RecoveryError| format!("{error}: {:?}", error.source());
        let replayed = self.shard.recover_messages(&self.surveys.0).await.map_err(text)?;
        let dead = self.shard.recover_dead_letters(&self.surveys.1).await.map_err(text)?;
        let damaged = replayed.damaged + dead.damaged;
        self.shard.metrics().recovered(Duration::ZERO, self.shard.recovered_messages(), damaged);
        self.shard.settle();
        Ok(damaged)
    }

    /// Resolves when a log has given up, after which the process ends.
    pub async fn failure(&self) {
        self.failure.notified().await;
    }

    /// Begins deliveries.
    pub fn serve<T: Transport>(&self, transport: Rc<T>) {
        spawn_local(worker::run(Rc::clone(&self.shard), transport));
    }

    /// The counters and gauges of the shard, as a scrape shows them.
    pub fn scrape(&self) -> String {
        let process = Process { backend: "simulated", shards: 1, disk_free_bytes: None };
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
    }

    /// Takes a message as a connection does; `None`: refused.
    pub fn submit(&self, body: &[u8]) -> Option<Ticket> {
        let _permit = self.shard.admit(HEAD.len() + body.len()).ok()?;
        let origin = Origin::parse("http://b:8080", Scheme::Http).unwrap();
        self.shard.submit(Draft { origin: &origin, timeout: None, head: HEAD, body }).ok()
    }
}

/// A message as a recovery finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub body: Vec<u8>,
    pub progress: Progress,
}

/// What a recovery finds in both logs of a shard.
#[derive(Debug, PartialEq, Eq)]
pub struct Folded {
    pub live: BTreeMap<MessageId, Found>,
    pub dead: BTreeMap<MessageId, Vec<u8>>,
    pub found: Survey,
    pub damaged: u64,
}

/// Recovers both logs and reads every message back, as deliveries do.
pub async fn fold(disk: &SimDisk, number: u32) -> Folded {
    let files = Files::new(disk.clone(), log_dir("log", number), number);
    let mut state = State::new(limits(), unix_now());
    let found = survey::survey(&files, 0).await.unwrap();
    state.add_segments(&found);
    let fold = &mut |Visit { id, payload, at }: Visit<'_>| state.recover(id, &payload, at);
    let replayed = recovery::replay(&files, &found, Some(Path::new("corrupt")), fold).await.unwrap();
    state.check();
    let mut live = BTreeMap::new();
    for (slot, id) in state.index().iter() {
        let record = files.read_record(state.index().location(slot)).await.unwrap();
        let Ok(Payload::Accepted(message)) = Payload::decode(Kind::Accepted, &record[HEADER_BYTES..]) else {
            panic!("{id} is no message")
        };
        assert_eq!(message.head, HEAD);
        let mut progress = message.progress;
        if let Some(at) = state.index().retry_location(slot) {
            let record = files.read_record_at(at).await.unwrap();
            let Ok(Payload::Retry(newest)) = Payload::decode(Kind::Retry, &record[HEADER_BYTES..]) else {
                panic!("{id} has no retry where the index says")
            };
            progress = newest;
        }
        live.insert(id, Found { body: message.body.to_vec(), progress });
    }
    let files = Files::new(disk.clone(), log_dir("dead", number), number);
    let (mut graves, mut dead) = (Index::default(), BTreeMap::new());
    let fold = &mut |visit: Visit<'_>| {
        DeadLetters::<SimDisk>::fold(&mut graves, &visit);
        if let Payload::DeadLetter(message, _) = visit.payload {
            dead.insert(visit.id, message.body.to_vec());
        }
    };
    let found_dead = survey::survey(&files, 0).await.unwrap();
    let found_dead = recovery::replay(&files, &found_dead, Some(Path::new("corrupt")), fold).await.unwrap();
    graves.check();
    assert_eq!(graves.len(), dead.len());
    Folded { live, dead, found, damaged: replayed.damaged + found_dead.damaged }
}

/// Recovers twice, which must be the same, and nothing a crash or a failed write does is damage.
pub fn fold_twice(disk: &SimDisk, number: u32) -> Folded {
    let first = live(fold(disk, number));
    let again = live(fold(disk, number));
    assert_eq!(first.live, again.live, "recovering twice is recovering once");
    assert_eq!(first.dead, again.dead, "recovering twice is recovering once");
    assert_eq!((first.found.end, first.found.next_segment), (again.found.end, again.found.next_segment));
    assert_eq!(first.damaged, 0, "no damage is seen where there is none");
    first
}
