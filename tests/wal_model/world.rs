//! One life of a shard over the disk: recovered, running, without sockets; and what a recovery alone would find.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use dispatcher::message::{Draft, IdSource, MessageId, Origin, Scheme};
use dispatcher::metrics::ShardMetrics;
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
pub const HEAD: &[u8] = b"POST /hook HTTP/1.1\r\nHost: b\r\n";

/// A running shard. Its loops are tasks of the current `LocalSet`.
pub struct World {
    pub shard: Rc<Shard<SimDisk>>,
    /// Why a log gave up, if one did.
    pub failed: Rc<RefCell<Option<String>>>,
    pub next_segment: u32,
    pub damaged: u64,
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

/// As the start of a core does it.
pub async fn start(disk: &SimDisk, number: u32, space: Space, seed: u64) -> Result<World, String> {
    let text = |error: recovery::RecoveryError| error.to_string();
    let mut state = State::new(limits(), unix_now());
    let mut ids = IdSource::new(seed);
    let files = Rc::new(Files::new(disk.clone(), log_dir("log", number), number));
    let found = survey::survey(&files, 0xBEEF).await.map_err(text)?;
    recovery::clean(&files, &found).await.map_err(|error| error.to_string())?;
    state.add_segments(&found);
    let space = Space { used: Rc::default(), ..space };
    let log = Rc::new(Log::new(files, space.clone(), &found));
    ids.advance_past(found.newest.unwrap_or_default());
    let mut graves = Index::default();
    let files = Rc::new(Files::new(disk.clone(), log_dir("dead", number), number));
    let dead = survey::survey(&files, 0xBEEF).await.map_err(text)?;
    recovery::clean(&files, &dead).await.map_err(|error| error.to_string())?;
    graves.add_segments(&dead);
    let dead_log = Rc::new(Log::new(files, Space { log_bytes_max: 0, reserve: 0, ..space }, &dead));
    let settings = Settings {
        default_timeout: Millis(1000),
        backoff: Backoff { base: Millis(0), factor: 1.0, max: Millis(0), jitter: 0.0, retries_max: RETRIES_MAX },
        keep_all: false,
        memory_max: 64 << 20,
        message_bytes_max: message_bytes_max(SEGMENT_BYTES),
        clock: Clock::SYSTEM,
        corrupt: PathBuf::from("corrupt"),
    };
    let dead_letters = DeadLetters::new(dead_log, graves);
    let shard = Rc::new(Shard::new(settings, state, log, dead_letters, ids, ShardMetrics::default(), seed));
    let failed = Rc::new(RefCell::new(None));
    for log in [shard.log(), shard.dead_letters().log()] {
        let log = Rc::clone(log);
        spawn(async move { log.spare().run().await });
    }
    let (committing, failing) = (Rc::clone(&shard), Rc::clone(&failed));
    spawn(async move {
        let error = committing.commit_loop(found.end).await;
        failing.replace(Some(error.to_string()));
    });
    let (burying, failing) = (Rc::clone(&shard), Rc::clone(&failed));
    spawn(async move {
        let error = burying.dead_letter_loop(dead.end).await;
        failing.replace(Some(error.to_string()));
    });
    // A log that cannot even begin ends its loop instead.
    tokio::select! {
        biased;
        () = shard.log().begun() => {}
        failed = until(|| failed.borrow().is_some()) => return Err(format!("the log failed ({failed}) or never began")),
    }
    let relocating = Rc::clone(&shard);
    spawn(async move { relocating.relocate_loop().await });
    let replayed = shard.recover_messages(&found).await.map_err(text)?;
    let dead_replayed = shard.recover_dead_letters(&dead).await.map_err(text)?;
    shard.settle();
    let damaged = replayed.damaged + dead_replayed.damaged;
    Ok(World { shard, failed, next_segment: found.next_segment, damaged })
}

impl World {
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
