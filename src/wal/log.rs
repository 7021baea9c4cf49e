//! One log: records appended by anyone on the core, written by one commit loop, batch by batch.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use super::batch::{Batch, Sealed};
use super::files::Files;
use super::payload::Payload;
use super::record::Kind;
use super::segment::Sealed as SegmentEnd;
use super::spare::{For, Space, Spare};
use super::survey::Survey;
use super::ticket::{CommitFailed, Gate, Ticket};
use super::writer::Writer;
use crate::disk::{Disk, DiskError};
use crate::limits::{BATCH_BYTES, BATCH_START_BYTES, BLOCK_BYTES, GATHER_MS, to_usize};
use crate::message::MessageId;
use crate::time::{Clock, monotonic_now};

/// Records waiting to be written at which deliveries pause, in bytes: their outcomes could not be recorded.
const QUEUED_BYTES_MAX: usize = 8 * BATCH_BYTES;

/// The writing side of one log directory.
pub struct Log<D: Disk> {
    files: Rc<Files<D>>,
    spare: Spare<D>,
    space: Space,
    queue: RefCell<VecDeque<Pending>>,
    appended: Notify,
    queued_bytes: Cell<usize>,
    room: Cell<usize>,
    /// Bytes that the batches before needed, for the next one.
    needed: Cell<usize>,
    failing: Cell<bool>,
    begun: Notify,
    /// No message appended so far has a greater id.
    newest: Cell<MessageId>,
    active: Cell<u32>,
}

/// What space is needed for. When no segment can be added, each leaves the space that the later ones need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    /// A new message, which can be refused.
    Message,
    /// A retry, which can be remembered for as long as the process lives.
    Retry,
    /// The end of an attempt: none is begun that could not be concluded.
    Outcome,
    /// A survivor of a segment that then gives back more space than this takes; or a dead letter, whose message then
    /// gives back its own.
    Move,
}

impl Need {
    /// Bytes to be left for what is more needed: a segment and a bit to move survivors into, half as much again for
    /// outcomes, and so on.
    fn leaves(self, segment_bytes: u64) -> usize {
        let segment = to_usize(segment_bytes);
        match self {
            Self::Message => 2 * (segment - BLOCK_BYTES),
            Self::Retry => segment + segment / 2,
            Self::Outcome => segment + segment / 8,
            Self::Move => 0,
        }
    }
}

struct Pending {
    batch: Batch,
    gate: Rc<Gate>,
    /// Someone waits for one of its records.
    awaited: bool,
}

impl<D: Disk> Log<D> {
    /// Behind what a survey found.
    pub fn new(files: Rc<Files<D>>, space: Space, survey: &Survey) -> Self {
        Self {
            spare: Spare::new(Rc::clone(&files), space.clone(), survey),
            files,
            space,
            queue: RefCell::default(),
            appended: Notify::new(),
            queued_bytes: Cell::new(0),
            room: Cell::new(0),
            needed: Cell::new(0),
            failing: Cell::new(false),
            begun: Notify::new(),
            newest: Cell::new(survey.newest.unwrap_or_default()),
            active: Cell::new(survey.next_segment),
        }
    }

    /// The segment that is being written, or is to be next: those before are only read.
    pub const fn active_segment(&self) -> u32 {
        self.active.get()
    }

    /// Size of a segment, in bytes.
    pub const fn segment_bytes(&self) -> u64 {
        self.space.segment_bytes
    }

    /// Makes it known that a message with this id stands in the log.
    pub fn note_id(&self, id: MessageId) {
        self.newest.set(self.newest.get().max(id));
    }

    /// The next segment, and where ended ones go.
    pub const fn spare(&self) -> &Spare<D> {
        &self.spare
    }

    /// The files, for reading back.
    pub const fn files(&self) -> &Rc<Files<D>> {
        &self.files
    }

    /// Resolves when a log that begins at once can be written without waiting for a segment, or no segment can be had.
    pub async fn begun(&self) {
        self.begun.notified().await;
    }

    /// Whether a write failed and no later one has succeeded.
    pub const fn is_failing(&self) -> bool {
        self.failing.get()
    }

    /// Whether a record of `need` with a payload of `bytes` may be appended: always while segments can be had, else as
    /// long as what is more needed keeps its space.
    pub fn has_room(&self, need: Need, bytes: usize) -> bool {
        !self.spare.is_starved()
            || Batch::bytes_of_one(bytes) + need.leaves(self.space.segment_bytes) <= self.free_bytes()
    }

    /// Bytes that can be written without asking the disk for space, those on their way excluded.
    fn free_bytes(&self) -> usize {
        let ready = self.spare.ready() * (to_usize(self.space.segment_bytes) - BLOCK_BYTES);
        (self.room.get() + ready).saturating_sub(self.queued_bytes.get())
    }

    /// Whether a record with a payload of `bytes` fits a segment at all.
    pub const fn holds(&self, bytes: usize) -> bool {
        Batch::bytes_of_one(bytes) <= to_usize(self.space.segment_bytes) - BLOCK_BYTES
    }

    /// Appends a record to the batch that is filling; it is durable when the ticket resolves.
    pub fn append(&self, id: MessageId, payload: &Payload<'_>) -> Ticket {
        if payload.kind() == Kind::Accepted {
            self.note_id(id);
        }
        let mut queue = self.queue.borrow_mut();
        // A record is never split, and a batch never larger than a segment has room for.
        let bytes_max = BATCH_BYTES.min(to_usize(self.space.segment_bytes) - BLOCK_BYTES);
        let full = queue.back().is_none_or(|pending| pending.batch.bytes_with(payload) > bytes_max);
        if full {
            // A power of two, so that the memory of one before fits.
            let capacity = self.needed.get().next_power_of_two();
            let batch = Batch::with_capacity(capacity.clamp(BATCH_START_BYTES, BATCH_BYTES));
            queue.push_back(Pending { batch, gate: Rc::default(), awaited: false });
        }
        let pending = queue.back_mut().expect("one was pushed if there was none");
        let before = if full { 0 } else { pending.batch.bytes() };
        pending.batch.push(id, payload);
        self.queued_bytes.update(|bytes| bytes + pending.batch.bytes() - before);
        let awaited = payload.is_awaited() && !std::mem::replace(&mut pending.awaited, true);
        if full || awaited {
            self.appended.notify_one();
        }
        Ticket::new(Rc::clone(&pending.gate), id, payload.is_refusable())
    }

    /// Whether so much waits to be written that nothing more should be begun that ends in a record.
    pub const fn is_congested(&self) -> bool {
        self.queued_bytes.get() > QUEUED_BYTES_MAX
    }

    /// Whether every appended record is durable.
    pub const fn is_settled(&self) -> bool {
        self.queued_bytes.get() == 0
    }

    /// Writes batches for as long as the log can be written; returns the error after which it cannot.
    ///
    /// While one batch is being written the next one fills, so that nobody waits longer than the write in flight plus
    /// their own; an idle log writes at once what somebody waits for, and gathers the rest (see [`GATHER_MS`]).
    /// `durable` is called for each batch, in the order of the log, with the time its write took. `begin_at_once`: a
    /// segment is begun before the first record needs it. `clock` says when each segment was begun.
    pub async fn commit_loop(
        &self,
        end: Option<SegmentEnd>,
        begin_at_once: bool,
        clock: Clock,
        durable: &mut dyn FnMut(&Sealed, Duration),
    ) -> Result<std::convert::Infallible, DiskError> {
        let mut writer = Writer::new(Rc::clone(&self.files), self.space.segment_bytes, end, clock);
        if begin_at_once {
            // On a full disk not before there is something to write: start after start would use the reserve up.
            if self.spare.has_more_than_the_reserve().await {
                self.roll(&mut writer, For::Outcomes).await?;
            }
            self.begun.notify_one();
        }
        loop {
            let Pending { batch, gate, .. } = self.next_batch().await;
            let queued = batch.bytes();
            // Large and small ones take turns: what was large is forgotten within a few.
            self.needed.update(|needed| queued.max(needed - needed / 8));
            self.commit(&mut writer, batch, &gate, durable).await?;
            self.queued_bytes.update(|bytes| bytes - queued);
            self.room.set(writer.room());
        }
    }

    /// The next batch, once it is to be written.
    async fn next_batch(&self) -> Pending {
        while self.queue.borrow().is_empty() {
            self.appended.notified().await;
        }
        if !self.is_hurried() {
            let hurried = async {
                while !self.is_hurried() {
                    self.appended.notified().await;
                }
            };
            _ = tokio::time::timeout(Duration::from_millis(GATHER_MS), hurried).await;
        }
        self.queue.borrow_mut().pop_front().expect("only this takes from the queue")
    }

    /// Whether there is a batch that is full, or that somebody waits for. While no segment can be added the latter does
    /// not count: a block for each record would take more space than the messages that end give back.
    fn is_hurried(&self) -> bool {
        let queue = self.queue.borrow();
        queue.len() > 1 || !self.spare.is_starved() && queue.front().is_some_and(|next| next.awaited)
    }

    async fn commit(
        &self,
        writer: &mut Writer<D>,
        batch: Batch,
        gate: &Gate,
        durable: &mut dyn FnMut(&Sealed, Duration),
    ) -> Result<(), DiskError> {
        let (outcomes, failed) = match self.try_commit(writer, batch, durable).await {
            Ok(()) => {
                gate.open();
                return Ok(());
            }
            Err(Unwritten { outcomes, error }) => (outcomes, error),
        };
        if let Some(error) = &failed {
            self.failing.set(true);
            let (shard, segment) = (self.files.shard(), self.active.get());
            tracing::error!(shard, segment, %error, cause = %error.source, "a log write failed: the segment is given up, one fresh segment is tried");
        }
        // The header of a fresh segment says that the failed batch is not part of the log; only then may its senders
        // be told so. What is left of the batch are facts about messages accepted earlier: they are written again.
        let why = if failed.is_some() { CommitFailed::Unwritten } else { CommitFailed::NoSpace };
        if let Some(error) = failed
            && !self.roll(writer, For::Rescue).await?
        {
            return Err(error);
        }
        gate.refuse_messages(why);
        if !outcomes.is_empty() {
            match self.try_commit(writer, outcomes, durable).await {
                Ok(()) => {}
                Err(Unwritten { error: Some(error), .. }) => return Err(error),
                Err(Unwritten { error: None, .. }) => {
                    panic!("a batch of outcomes waits for space and is never refused")
                }
            }
        }
        gate.open_outcomes();
        if self.failing.replace(false) {
            tracing::info!(shard = self.files.shard(), segment = self.active.get(), "the log is written again");
        }
        Ok(())
    }

    async fn try_commit(
        &self,
        writer: &mut Writer<D>,
        batch: Batch,
        durable: &mut dyn FnMut(&Sealed, Duration),
    ) -> Result<(), Unwritten> {
        if batch.bytes() > writer.room() {
            let wanted = if batch.messages() > 0 { For::Messages } else { For::Outcomes };
            match self.roll(writer, wanted).await {
                Ok(true) => {}
                Ok(false) => return Err(Unwritten { outcomes: batch.into_outcomes(), error: None }),
                Err(error) => return Err(Unwritten { outcomes: batch.into_outcomes(), error: Some(error) }),
            }
        }
        let sealed = writer.seal(batch);
        let began = monotonic_now();
        match writer.write(&sealed).await {
            Ok(()) => {
                durable(&sealed, monotonic_now() - began);
                Ok(())
            }
            Err(error) => Err(Unwritten { outcomes: sealed.outcomes(), error: Some(error) }),
        }
    }

    /// Goes on in the next segment. `false`: there is none for what it is `wanted` for.
    async fn roll(&self, writer: &mut Writer<D>, wanted: For) -> Result<bool, DiskError> {
        let Some((segment, file)) = self.spare.take(wanted).await else { return Ok(false) };
        self.active.set(segment);
        writer.roll(segment, file, self.newest.get()).await?;
        self.room.set(writer.room());
        Ok(true)
    }
}

/// A batch that is not durable, reduced to its outcomes: the disk failed, or (without an error) there is no space for
/// its messages.
struct Unwritten {
    outcomes: Batch,
    error: Option<DiskError>,
}
