//! The hub: one core's messages and the verbs on them. Connections submit, workers take and conclude, the commit loop
//! makes durable; none of them knows the others.

// Whether one more message is taken.
mod admission;
// Recently written batches.
pub mod cache;
// What an attempt means for its message.
pub mod conclude;
// Messages that were given up.
pub mod dead_letters;
// Messages that have outlived their time.
mod expiry;
// What is told of dead letters.
pub mod letter;
// List, show, count, remove.
mod letters;
// The verbs of the workers.
mod orders;
// When to relocate, and how fast.
mod pace;
// From the log to the state, while the shard serves.
mod recover;
// One old message never pins a log.
mod relocate;
// Dead letters written again.
mod relocate_letters;
// Messages written again.
mod relocate_messages;
// Dead letters become messages again.
pub mod replay;
// The fold.
pub mod state;
// Memory before orders.
mod supply;

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Wake;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::disk::{Disk, DiskError};
use crate::limits::{BLOCK_BYTES, to_usize};
use crate::memory::{Accounts, Indexed, Memory};
use crate::message::{Draft, IdSource, MessageId, Xorshift};
use crate::metrics::{Gauges, ShardMetrics};
use crate::time::{Clock, Millis};
use crate::wal::batch::{Batch, Sealed};
use crate::wal::log::Log;
use crate::wal::payload::{Accepted, Payload, Progress};
use crate::wal::segment::Sealed as SegmentEnd;
use crate::wal::ticket::Ticket;
pub use admission::Refused;
use conclude::RetryRules;
use dead_letters::DeadLetters;
pub use orders::Stored;
use state::State;

/// What a shard is told by the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bound on an attempt of a message that brought none.
    pub default_timeout: Millis,
    /// When to retry, and when to give up.
    pub retry: RetryRules,
    /// Where ticks begin: the same for all shards, as they share gates.
    pub epoch: Instant,
    /// Nothing is ever reclaimed.
    pub keep_all: bool,
    /// What all cores may take of memory.
    pub memory: Arc<Memory>,
    /// Longest message the log can hold, in bytes.
    pub message_bytes_max: usize,
    /// Where damaged ranges of the log are set aside.
    pub corrupt: PathBuf,
    /// The part of the log that messages for one origin may fill, above 0 and at most 1.
    pub origin_share: f64,
    /// The wall clock: what ids, due times and records say.
    pub clock: Clock,
}

/// One core's messages. Shared by the tasks of its core as `Rc<Shard<D>>`, never leaves its thread.
pub struct Shard<D: Disk> {
    settings: Settings,
    state: RefCell<State>,
    log: Rc<Log<D>>,
    dead_letters: DeadLetters<D>,
    cache: RefCell<cache::Cache>,
    ids: RefCell<IdSource>,
    random: RefCell<Xorshift>,
    metrics: ShardMetrics,
    memory: Accounts,
    supplies: supply::Supplies,
    work: Arc<Work>,
    draining: Cell<bool>,
    drain: Notify,
    /// The log has been read to its end.
    recovered: Cell<bool>,
    /// So have the logs of orphans.
    all_known: Cell<bool>,
    replays: replay::Replays,
    /// Messages may be marked as possible duplicates that no record says so of.
    unwritten_marks: Cell<bool>,
    /// Bytes of all batches written.
    written_bytes: Cell<u64>,
    /// There may be something to relocate.
    shrink: Notify,
    /// A segment is being emptied.
    relocating: Cell<bool>,
    /// Bytes that the log may grow to.
    log_bytes_max: Cell<u64>,
}

/// Tells the workers that there may be something to do; other cores do so too.
#[derive(Debug, Default)]
struct Work(Notify);

impl Work {
    fn notify_one(&self) {
        self.0.notify_one();
    }
}

impl Wake for Work {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl<D: Disk> Shard<D> {
    /// Over logs that were surveyed: `state` and `dead_letters` know their segments, which are then to be read
    /// ([`Shard::recover_messages`]). `seed` differs between shards and restarts.
    pub fn new(
        settings: Settings,
        state: State,
        log: Rc<Log<D>>,
        dead_letters: DeadLetters<D>,
        ids: IdSource,
        metrics: ShardMetrics,
        seed: u64,
    ) -> Self {
        let work = Arc::new(Work::default());
        let memory = Accounts::new(Arc::clone(&settings.memory));
        state.bell().set_waker(Arc::clone(&work).into());
        Self {
            settings,
            state: RefCell::new(state),
            log,
            dead_letters,
            cache: RefCell::new(cache::Cache::new(memory.cache_bytes())),
            ids: RefCell::new(ids),
            random: RefCell::new(Xorshift::new(seed)),
            metrics,
            memory,
            supplies: supply::Supplies::default(),
            work,
            draining: Cell::new(false),
            drain: Notify::new(),
            recovered: Cell::new(false),
            all_known: Cell::new(false),
            replays: replay::Replays::default(),
            unwritten_marks: Cell::new(false),
            written_bytes: Cell::new(0),
            shrink: Notify::new(),
            relocating: Cell::new(false),
            log_bytes_max: Cell::new(u64::MAX),
        }
    }

    /// Counters and histograms.
    pub const fn metrics(&self) -> &ShardMetrics {
        &self.metrics
    }

    /// The transaction log.
    pub const fn log(&self) -> &Rc<Log<D>> {
        &self.log
    }

    /// What this core takes of memory.
    pub const fn memory(&self) -> &Accounts {
        &self.memory
    }

    /// The dead letter log.
    pub const fn dead_letters(&self) -> &DeadLetters<D> {
        &self.dead_letters
    }

    /// Whether a message is alive here.
    pub fn knows(&self, id: MessageId) -> bool {
        self.state.borrow().index().find(id).is_some()
    }

    /// Appends a message to the batch that is filling. It is accepted when the ticket resolves.
    pub fn submit(&self, draft: Draft<'_>) -> Result<Ticket, Refused> {
        if self.log.is_failing() {
            return Err(Refused::LogFailed);
        }
        let now = self.settings.clock.now();
        let id = self.ids.borrow_mut().next(now);
        let message = Accepted {
            accepted: now,
            timeout: draft.timeout,
            origin: draft.origin.borrowed(),
            again: false,
            replays: 0,
            progress: Progress::default(),
            head: draft.head,
            body: draft.body,
        };
        Ok(self.log.append(id, &Payload::Accepted(message)))
    }

    /// Runs the transaction log; returns the error after which it cannot be written.
    pub async fn commit_loop(&self, end: Option<SegmentEnd>) -> DiskError {
        let mut durable = |sealed: &Sealed, took: Duration| {
            self.apply_durable(sealed);
            self.metrics.commit(took, sealed.messages());
        };
        match self.log.commit_loop(end, true, self.settings.clock, &mut durable).await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    /// Keeps both logs small for as long as the shard lives.
    pub async fn relocate_loop(&self) {
        let letters = relocate_letters::Letters(self);
        tokio::join!(relocate::run(self), relocate::run(&letters));
    }

    /// Runs the dead letter log.
    pub async fn dead_letter_loop(&self, end: Option<SegmentEnd>) -> DiskError {
        let mut durable = |sealed: &Sealed, _: Duration| {
            self.dead_letters.apply(sealed);
            self.note_index();
            self.reclaim_letters();
        };
        match self.dead_letters.log().commit_loop(end, false, self.settings.clock, &mut durable).await {
            Err(error) => error,
            Ok(never) => match never {},
        }
    }

    fn apply_durable(&self, sealed: &Sealed) {
        let segment = sealed.position.segment;
        let offset = sealed.position.offset;
        self.cache.borrow_mut().push(segment, offset, sealed.blocks.clone(), sealed.memory_bytes);
        let mut state = self.state.borrow_mut();
        for (at, header, payload) in sealed.iter() {
            let payload = Payload::decode(header.kind, payload).expect("written by this process");
            state.apply(header.id, &payload, at);
            // Now and not by whoever replays it: before any attempt could bury it again.
            if matches!(&payload, Payload::Accepted(message) if message.is_replay()) {
                self.dead_letters.remove(header.id, self.settings.clock.now());
            }
        }
        self.metrics.accepted(sealed.messages());
        drop(state);
        self.note_index();
        self.written_bytes.update(|bytes| bytes + sealed.blocks.len() as u64);
        self.reclaim();
        self.work.notify_one();
    }

    /// Tells the other cores what the index of this one takes.
    fn note_index(&self) {
        let state = self.state.borrow();
        let (messages, origins) = (state.index().len() as u64, state.origins() as u64);
        self.memory.note_index(Indexed { messages, origins, letters: self.dead_letters.len() as u64 });
    }

    /// Gives segments back whose messages have all ended. Only when all of the log is known: before, a segment may seem
    /// empty whose messages have not been met.
    fn reclaim(&self) {
        if self.settings.keep_all || !self.recovered.get() {
            return;
        }
        let mut state = self.state.borrow_mut();
        while let Some(ended) = state.reclaim(self.log.active_segment()) {
            self.log.spare().reclaim(ended);
        }
        drop(state);
        self.shrink.notify_one();
    }

    /// The same for the dead letter log.
    fn reclaim_letters(&self) {
        if !self.settings.keep_all && self.recovered.get() {
            self.dead_letters.reclaim();
        }
    }

    /// Stops taking messages and beginning attempts.
    pub fn start_draining(&self) {
        self.draining.set(true);
        self.drain.notify_waiters();
        self.work.notify_one();
    }

    /// Whether [`Shard::start_draining`] was called.
    pub const fn draining(&self) -> bool {
        self.draining.get()
    }

    /// Resolves when draining starts. Cancel-safe.
    pub async fn drain_started(&self) {
        let started = self.drain.notified();
        if !self.draining() {
            started.await;
        }
    }

    /// Whether no attempt runs and every outcome is durable.
    pub fn is_settled(&self) -> bool {
        self.state.borrow().counts().in_flight == 0 && self.is_flushed()
    }

    /// Whether every outcome so far is durable.
    pub fn is_flushed(&self) -> bool {
        self.log.is_settled() && self.dead_letters.log().is_settled()
    }

    /// Messages ready (or held), in flight and delayed.
    pub fn remaining(&self) -> (usize, usize, usize) {
        let counts = self.state.borrow().counts();
        (counts.ready + counts.held, counts.in_flight, counts.delayed)
    }

    /// Its number, as log lines have it.
    pub fn number(&self) -> u32 {
        self.log.files().shard()
    }

    /// What a scrape asks of the shard beyond its counters.
    pub fn gauges(&self) -> Gauges {
        let state = self.state.borrow();
        let counts = state.counts();
        let (messages, letters) = (self.log.spare(), self.dead_letters.log().spare());
        Gauges {
            ready: (counts.ready + counts.held) as u64,
            in_flight: counts.in_flight as u64,
            delayed: counts.delayed as u64,
            log_bytes: messages.log_bytes() + letters.log_bytes(),
            log_spare_bytes: messages.spare_bytes() + letters.spare_bytes(),
            dead_letters: self.dead_letters.len() as u64,
            log_live_bytes: state.index().live_bytes(),
            oldest_pending: state.index().oldest().map_or(Millis(0), |oldest| self.settings.clock.now().since(oldest)),
        }
    }
}

/// Longest message a segment of `segment_bytes` can hold, in bytes, head and body.
pub fn message_bytes_max(segment_bytes: u64) -> usize {
    let overhead = Batch::bytes_of_one(0) + BLOCK_BYTES * 4;
    to_usize(segment_bytes).saturating_sub(overhead)
}
