//! The verbs of the workers: read the message of an order, conclude what came of it.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;

use super::Shard;
use super::conclude::{self, Before, Conclusion};
use crate::disk::Disk;
use crate::limits::{
    ANSWER_BYTES_MAX, BLOCK_BYTES, EXHAUSTED_PAUSE_MS, HISTORY_MAX, LETTER_NOTES_SHARE, POSTPONE_MS, to_usize,
};
use crate::message::{MessageId, Origin, Slot};
use crate::schedule::attempt::{Attempt, Failure, Outcome};
use crate::schedule::breaker::Signal;
use crate::schedule::busiest::Counted;
use crate::schedule::gate::{Left, Turned};
use crate::schedule::scheduler::{Now, Order};
use crate::time::{Millis, UnixMillis, monotonic_now};
use crate::wal::files::ReadError;
use crate::wal::index::{Location, RecordStart};
use crate::wal::log::Need;
use crate::wal::payload::{Accepted, Death, Payload, Progress, TRIED_BYTES};
use crate::wal::record::{HEADER_BYTES, Kind};

/// A message read back for delivery.
#[derive(Clone, Debug)]
pub struct Stored {
    record: Bytes,
    accepted: UnixMillis,
    /// By its newest retry.
    progress: Progress,
}

impl Stored {
    /// The message.
    pub fn message(&self) -> Accepted<'_> {
        decoded(&self.record)
    }

    /// The exact number of an ordered attempt, from 1: the schedule counts no further than it must.
    pub fn attempt(&self, order: &Order) -> u16 {
        order.attempt.max(self.progress.attempts.saturating_add(1))
    }

    /// A part of the message as bytes of their own, without a copy.
    pub fn share(&self, part: &[u8]) -> Bytes {
        self.record.slice_ref(part)
    }
}

fn decoded(record: &[u8]) -> Accepted<'_> {
    let payload = Payload::decode(Kind::Accepted, record);
    let Ok(Payload::Accepted(message)) = payload else { panic!("decoded once already, when it became durable") };
    message
}

impl<D: Disk> Shard<D> {
    /// Resolves when [`Shard::next_order`] may have something new.
    pub async fn work(&self) {
        self.work.0.notified().await;
    }

    /// The monotonic tick that [`Next::Wait`](crate::schedule::scheduler::Next::Wait) counts in, as an instant.
    pub fn instant_of_tick(&self, tick: u64) -> Instant {
        self.settings.epoch + Millis(tick).duration()
    }

    /// Id of a message in flight.
    pub fn id(&self, slot: Slot) -> MessageId {
        self.state.borrow().index().id(slot)
    }

    /// Bound on one attempt of a message that brought none.
    pub const fn default_timeout(&self) -> Millis {
        self.settings.default_timeout
    }

    /// Reads a live message, from memory if it was written lately, else from the log, verified. One that is not ordered
    /// may end meanwhile: then what comes of it means nothing.
    pub async fn fetch(&self, slot: Slot) -> Result<Stored, ReadError> {
        let mut places = self.places(slot).expect("a live message stands somewhere");
        loop {
            let fetched = self.fetch_from(slot, places).await;
            match self.places(slot) {
                // It was relocated meanwhile, and its former place may be in use for something else.
                Some(moved) if fetched.is_err() && moved != places => places = moved,
                _ => return fetched,
            }
        }
    }

    fn places(&self, slot: Slot) -> Option<(Location, Option<RecordStart>)> {
        self.state.borrow().places(slot)
    }

    async fn fetch_from(&self, slot: Slot, places: (Location, Option<RecordStart>)) -> Result<Stored, ReadError> {
        let (at, retry) = places;
        let record = self.read(at).await?;
        let newest = self.read_progress(slot, retry, || self.places(slot) == Some(places)).await?;
        let record = record.slice(HEADER_BYTES..);
        let Accepted { accepted, progress, .. } = decoded(&record);
        Ok(Stored { progress: newest.unwrap_or(progress), accepted, record })
    }

    /// What was tried, by the newest retry. If that is still the newest, and damaged, it costs the history and not the
    /// message.
    pub(super) async fn read_progress(
        &self,
        slot: Slot,
        at: Option<RecordStart>,
        is_newest: impl FnOnce() -> bool,
    ) -> Result<Option<Progress>, ReadError> {
        let Some(at) = at else { return Ok(None) };
        match self.read_retry(at).await {
            Ok(record) => Ok(Some(Progress::of_applied_retry(&record[HEADER_BYTES..]))),
            Err(ReadError::Damaged { .. }) if is_newest() => {
                let (id, shard, RecordStart { segment, offset, .. }) = (self.id(slot), self.number(), at);
                let origin = Rc::clone(self.state.borrow().origin(slot));
                tracing::error!(%id, %origin, shard, segment, offset, "a retry is damaged in the log: its history is lost");
                self.metrics.corrupt_record();
                // That it may be a duplicate is in no record any more, if the retry said so.
                self.unwritten_marks.set(true);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn read(&self, at: Location) -> Result<Bytes, ReadError> {
        let cached = self.cache.borrow().get(at);
        match cached {
            Some(record) => Ok(record),
            None => self.log.files().read_record(at).await,
        }
    }

    async fn read_retry(&self, at: RecordStart) -> Result<Bytes, ReadError> {
        let files = self.log.files();
        let cached = self.cache.borrow().get_from(at).and_then(|bytes| files.record_at(at, &bytes));
        match cached {
            Some(record) => Ok(record),
            None => files.read_record_at(at).await,
        }
    }

    /// Deals with an ordered message that could not be read, which is not its origin's fault: puts it back for a while,
    /// or ends it if its record is damaged and has been set aside.
    pub async fn cannot_read(&self, slot: Slot, error: &ReadError) {
        let lost = match error {
            ReadError::Damaged { .. } => self.lose_message(self.id(slot), Some(slot)).await,
            ReadError::Disk(_) => false,
        };
        if !lost {
            let (attempts, maybe_duplicate) = self.state.borrow().progress(slot);
            self.put_off(slot, attempts, maybe_duplicate);
        }
    }

    /// Puts an ordered message back whose attempt was not made, for a moment.
    fn put_back(&self, slot: Slot, maybe_received: bool) {
        let (attempts, maybe_duplicate) = self.state.borrow().progress(slot);
        let due = self.settings.clock.now().plus(Millis(EXHAUSTED_PAUSE_MS));
        self.postpone(slot, due, attempts, maybe_duplicate || maybe_received);
    }

    fn put_off(&self, slot: Slot, attempts: u16, maybe_duplicate: bool) {
        self.postpone(slot, self.settings.clock.now().plus(Millis(POSTPONE_MS)), attempts, maybe_duplicate);
    }

    /// Makes a message due again without a record of it.
    fn postpone(&self, slot: Slot, due: UnixMillis, attempts: u16, maybe_duplicate: bool) {
        self.unwritten_marks.update(|unwritten| unwritten || maybe_duplicate);
        self.state.borrow_mut().postpone(slot, due, attempts, maybe_duplicate);
        self.work.notify_one();
    }

    /// Turns what came of an order into a record. The slot is free at once; the message is in flight until its
    /// outcome is durable.
    pub async fn conclude(&self, order: &Order, stored: &Stored, attempt: &Attempt) {
        if attempt.outcome == Outcome::NotMade {
            return self.put_back(order.slot, attempt.maybe_received);
        }
        let Now { wall: now, tick } = self.now();
        let (id, rules) = (self.id(order.slot), &self.settings.retry);
        self.metrics.attempt(attempt.outcome, attempt.elapsed);
        let delivered = attempt.outcome == Outcome::Delivered;
        self.state.borrow().count(order.slot, if delivered { Counted::Delivered } else { Counted::Failed });
        if order.maybe_duplicate {
            self.metrics.maybe_duplicate();
        }
        let asked = rules.asked_wait(attempt, now).filter(|_| conclude::holds_origin(attempt));
        let hold_until = asked.map(|wait| tick.saturating_add(wait.0));
        let Left { counts, turned } =
            self.state.borrow_mut().release(order.slot, conclude::signal(attempt), hold_until, tick);
        if let Some(turned) = turned {
            self.tell_circuit(turned, &order.origin, attempt);
        }
        let random = self.random.borrow_mut().next();
        let before = Before {
            accepted: stored.accepted,
            attempt: stored.attempt(order),
            written: stored.progress.attempts,
            history: stored.progress.history.clone(),
            maybe_duplicate: order.maybe_duplicate,
        };
        match conclude::conclude(attempt, before, counts, rules, now, random) {
            Conclusion::Delivered => {
                self.metrics.delivered(now.since(stored.accepted));
                let (attempts, status) = (stored.attempt(order), attempt.status.unwrap_or(0));
                self.log.append(id, &Payload::Delivered { at: now, attempts, status });
            }
            // A full log must not grow with the retries of an origin that is down; it needs its last space for ends.
            // What is not written down is an attempt more after a restart.
            Conclusion::Retry(progress) if !self.log.has_room(Need::Retry, progress.history.len() * TRIED_BYTES) => {
                let Progress { due, maybe_duplicate, .. } = progress;
                // The number is all that tells of it, and what does not count must not.
                let attempts = if counts { order.attempt } else { order.attempt - 1 };
                self.postpone(order.slot, due, attempts, maybe_duplicate);
            }
            Conclusion::Retry(progress) => {
                tracing::debug!(%id, origin = %order.origin, attempt = progress.attempts, outcome = name(attempt.outcome), counts, "will be retried");
                self.log.append(id, &Payload::Retry(progress));
            }
            Conclusion::GiveUp(failure, progress) => {
                let death = Death { at: now, failure, status: attempt.status, answer: &attempt.answer };
                self.give_up(order.slot, Accepted { progress, ..stored.message() }, death).await;
            }
        }
    }

    fn tell_circuit(&self, turned: Turned, origin: &Origin, attempt: &Attempt) {
        let (shard, class, status) = (self.number(), name(attempt.outcome), attempt.status);
        match turned {
            Turned::Open => tracing::warn!(%origin, shard, class, status, "circuit open: its messages wait"),
            Turned::Closed => tracing::info!(%origin, shard, status, "circuit closed"),
        }
    }

    /// Whether a message that is about to be attempted has outlived `MESSAGE_TTL`.
    pub fn has_expired(&self, message: &Accepted<'_>) -> bool {
        let rules = &self.settings.retry;
        rules.message_ttl.is_some() && rules.has_expired(message.accepted, self.settings.clock.now())
    }

    /// Ends an ordered message that has outlived `MESSAGE_TTL`, without an attempt.
    pub async fn expire(&self, order: &Order, stored: &Stored) {
        self.state.borrow_mut().release(order.slot, Signal::Nothing, None, self.now().tick);
        self.give_up_expired(order.slot, stored).await;
    }

    /// Makes a dead letter of a message in the schedule's hands that has outlived `MESSAGE_TTL`.
    pub(super) async fn give_up_expired(&self, slot: Slot, stored: &Stored) {
        let (attempts, maybe_duplicate) = self.state.borrow().progress(slot);
        let progress = &stored.progress;
        let attempts = attempts.max(progress.attempts);
        let progress = Progress { due: UnixMillis(0), attempts, maybe_duplicate, history: progress.history.clone() };
        let status = progress.history.last().and_then(|tried| tried.status);
        let death = Death { at: self.settings.clock.now(), failure: Failure::Expired, status, answer: &[] };
        self.give_up(slot, Accepted { progress, ..stored.message() }, death).await;
    }

    /// Makes a dead letter of a message whose slot of delivery is free. Where there is no room for one it stays where it
    /// is; the attempts that are made meanwhile are extra.
    async fn give_up(&self, slot: Slot, message: Accepted<'_>, death: Death<'_>) {
        let (id, failure, status) = (self.id(slot), death.failure, death.status);
        let origin = message.origin.to_origin();
        let Progress { attempts, maybe_duplicate, .. } = message.progress;
        if !self.can_bury(message.head.len() + message.body.len()) {
            tracing::warn!(%id, %origin, shard = self.number(), "no space for a dead letter: the message is put off");
            return self.put_off(slot, attempts, maybe_duplicate);
        }
        // Others need not wait for the disk.
        self.work.notify_one();
        self.bury(slot, message, death).await;
        tracing::warn!(%id, %origin, shard = self.number(), attempts, class = failure.as_str(), status, "dead-lettered");
    }

    /// Whether the dead letter log has room for a message of `message_bytes`, head and body.
    pub fn can_bury(&self, message_bytes: usize) -> bool {
        let log = self.dead_letters.log();
        // Some space is left for the notes of letters that are removed: only those make room on a disk full of letters.
        let for_notes = to_usize(log.segment_bytes()) / LETTER_NOTES_SHARE;
        let bytes = message_bytes + HISTORY_MAX * TRIED_BYTES + ANSWER_BYTES_MAX + BLOCK_BYTES + for_notes;
        log.has_room(Need::Move, bytes)
    }

    /// Makes a dead letter durable before the transaction log lets go of the message.
    async fn bury(&self, slot: Slot, message: Accepted<'_>, death: Death<'_>) {
        let (id, at, failure) = (self.id(slot), death.at, death.failure);
        let ticket = self.dead_letters.append(id, message, death);
        if ticket.await.is_ok() {
            self.metrics.dead_letter(failure);
            self.state.borrow().count(slot, Counted::DeadLettered);
            self.note_dead_letter(id, failure, at);
        }
    }

    fn note_dead_letter(&self, id: MessageId, failure: Failure, at: UnixMillis) {
        self.log.append(id, &Payload::DeadLettered { at, failure });
    }

    /// Whether the ordered message is a dead letter already, because the process died between the two logs. Then this
    /// ends it in the transaction log too. If it died while the message was being replayed, the letter is ended instead;
    /// nothing is attempted before that is durable, or a letter could be left of what was delivered.
    pub async fn conclude_buried(&self, slot: Slot) -> Result<bool, ReadError> {
        let id = self.id(slot);
        self.dead_letters.until_left(id).await;
        let death = match self.dead_letters.find(id).await {
            Ok(Some(death)) => death,
            Ok(None) => return Ok(false),
            // The message is still here.
            Err(ReadError::Damaged { .. }) if self.lose_letter(id).await => {
                self.dead_letters.until_left(id).await;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if death.replays < self.fetch(slot).await?.message().replays {
            self.dead_letters.remove(id, self.settings.clock.now());
            self.dead_letters.until_left(id).await;
            return Ok(false);
        }
        self.state.borrow_mut().release(slot, Signal::Nothing, None, self.now().tick);
        self.note_dead_letter(id, death.failure, death.at);
        Ok(true)
    }

    pub(super) fn now(&self) -> Now {
        let elapsed = monotonic_now().saturating_duration_since(self.settings.epoch).as_millis();
        Now { wall: self.settings.clock.now(), tick: u64::try_from(elapsed).unwrap_or(u64::MAX) }
    }
}

const fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Failed(failure) => failure.as_str(),
        Outcome::NotMade => "not_made",
    }
}
