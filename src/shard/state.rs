//! A shard's durable state: the fold over its log. [`State::apply`] is the only function that changes it, live and, as
//! [`State::recover`], in recovery alike.

use std::rc::Rc;
use std::sync::Arc;

use crate::message::{MessageId, Origin, OriginRef, Slot};
use crate::schedule::bell::Bell;
use crate::schedule::breaker::Signal;
use crate::schedule::busiest::Counted;
use crate::schedule::gate::{Gates, Left};
use crate::schedule::links::NodeState;
use crate::schedule::scheduler::{Counts, Granted, Limits, Next, Now, Order, Scheduler, Supply};
use crate::time::UnixMillis;
use crate::wal::index::{Index, Inserted, Location, RecordStart};
use crate::wal::payload::{Accepted, Payload, Progress};
use crate::wal::survey::Survey;

/// Which messages are alive, where they stand, and whose turn it is.
#[derive(Debug)]
pub struct State {
    index: Index,
    schedule: Scheduler,
    /// Bytes of the records of live messages, by lane.
    lane_bytes: Vec<u64>,
}

impl State {
    /// Empty; `wall` is the present.
    pub fn new(limits: Limits, gates: Arc<Gates>, wall: UnixMillis) -> Self {
        Self { index: Index::default(), schedule: Scheduler::new(limits, gates, wall), lane_bytes: Vec::new() }
    }

    /// Rung when [`State::next`] may have something new because of what other shards did.
    pub const fn bell(&self) -> &Arc<Bell> {
        self.schedule.bell()
    }

    /// Applies one record that has just become durable.
    ///
    /// A record of an unknown message is ignored: its message has ended and its place was reclaimed, which happens
    /// oldest first, so that no outcome outlives the need for it in the other direction.
    pub fn apply(&mut self, id: MessageId, payload: &Payload<'_>, at: Location) {
        self.fold(id, payload, at, false);
    }

    /// Applies one record of the log as it was found. The message is held until [`State::settle`], as its end may stand
    /// further on; messages that are accepted meanwhile are not.
    pub fn recover(&mut self, id: MessageId, payload: &Payload<'_>, at: Location) {
        self.fold(id, payload, at, true);
    }

    /// The fold. `hold`: whether what became of a message that is met for the first time may be known only later.
    fn fold(&mut self, id: MessageId, payload: &Payload<'_>, at: Location, hold: bool) {
        self.index.add_segment(at.segment);
        match payload {
            Payload::Accepted(message) => match self.index.insert(id, at) {
                Inserted::New(slot) => {
                    // Written again and yet unknown: taken over from another shard, and not all of it is here yet.
                    self.schedule(slot, message, hold || message.again);
                    if message.replays > 0 {
                        self.schedule.set_replayed(slot);
                    }
                    *self.bytes_beside(slot) += u64::from(at.bytes);
                }
                Inserted::Moved { slot, from } => {
                    let bytes = self.bytes_beside(slot);
                    *bytes = *bytes - u64::from(from.bytes) + u64::from(at.bytes);
                    // Accepted anew and yet known: the record of its end, as a dead letter, was damaged.
                    if message.is_replay() {
                        self.schedule.set_replayed(slot);
                        let Progress { due, attempts, maybe_duplicate, .. } = message.progress;
                        self.schedule.reschedule(slot, due, attempts, maybe_duplicate);
                    }
                }
            },
            Payload::Retry(progress) => {
                if let Some(slot) = self.index.find(id) {
                    self.index.set_retry(slot, at.start());
                    self.schedule.reschedule(slot, progress.due, progress.attempts, progress.maybe_duplicate);
                }
            }
            Payload::Delivered { .. } | Payload::DeadLettered { .. } | Payload::Lost { .. } => {
                if let Some(slot) = self.index.find(id) {
                    *self.bytes_beside(slot) -= u64::from(self.index.location(slot).bytes);
                    self.schedule.remove(slot);
                    self.index.remove(slot);
                }
            }
            // Of the other log.
            Payload::DeadLetter(..) | Payload::Removed { .. } => {}
        }
    }

    fn schedule(&mut self, slot: Slot, message: &Accepted<'_>, hold: bool) {
        let (origin, index) = (message.origin, &self.index);
        let (due, attempts) = (message.progress.due, message.progress.attempts);
        let maybe_duplicate = message.progress.maybe_duplicate;
        if hold {
            self.schedule.hold(slot, origin, due, attempts, maybe_duplicate, |slot| index.id(slot));
        } else {
            self.schedule.add(slot, origin, due, attempts, maybe_duplicate);
        }
    }

    /// Bytes of the records of all live messages in the lane of this one.
    fn bytes_beside(&mut self, slot: Slot) -> &mut u64 {
        let lane = self.schedule.lane(slot) as usize;
        if self.lane_bytes.len() <= lane {
            self.lane_bytes.resize(lane + 1, 0);
        }
        &mut self.lane_bytes[lane]
    }

    /// Makes the segments of a log known, so that each is reclaimed even if it holds nothing.
    pub fn add_segments(&mut self, survey: &Survey) {
        self.index.add_segments(survey);
    }

    /// Says that what is recovered was not in flight when its process ended.
    pub fn set_rested(&mut self) {
        self.schedule.set_rested();
    }

    /// Whether an earlier attempt at anything that is alive may have reached its origin. Looks at all of it.
    pub fn is_any_marked(&self) -> bool {
        self.schedule.is_any_marked()
    }

    /// Ends a recovery: what is held becomes due, oldest first, within the next calls of [`State::next`]. Each message
    /// may have been in flight when the process died. A later recovery, of another log, holds and settles in its turn.
    pub fn settle(&mut self) {
        self.schedule.release_held();
    }

    /// The next order, or how long there is none. `supply` says whether there is memory for the delivery of a record of so
    /// many bytes; what is had for one that is not ordered is to be given back.
    pub fn next(&mut self, now: Now, mut supply: impl FnMut(usize) -> Supply) -> Next {
        let index = &self.index;
        self.schedule.place_released(|slot| index.id(slot));
        self.schedule.next(now, |slot| supply(index.location(slot).bytes as usize))
    }

    /// Bytes of the record that is to be granted memory first, among those for which there was none.
    pub fn first_starved(&mut self) -> Option<usize> {
        let slot = self.schedule.first_starved()?;
        Some(self.index.location(slot).bytes as usize)
    }

    /// Begins [`State::first_starved`], if it may.
    pub fn grant(&mut self, now: Now) -> Granted<Order> {
        self.schedule.grant(now)
    }

    /// The attempt on an order is over; its outcome is on its way. See [`Scheduler::release`].
    pub fn release(&mut self, slot: Slot, signal: Signal, hold_until: Option<u64>, now: u64) -> Left {
        self.schedule.release(slot, signal, hold_until, now)
    }

    /// Takes a live message out of the schedule: its end is on its way. `ordered` is the slot of the one whose attempt
    /// the caller has in hand; `false`: it is another's, who will conclude it.
    pub fn take_from_schedule(&mut self, id: MessageId, ordered: Option<Slot>) -> bool {
        let Some(slot) = self.index.find(id) else { return false };
        match self.schedule.state(slot) {
            NodeState::InFlight if ordered != Some(slot) => return false,
            NodeState::Concluding | NodeState::Vacant => return false,
            NodeState::InFlight | NodeState::Ready | NodeState::Landed | NodeState::Delayed | NodeState::Held => {}
        }
        self.schedule.conclude(slot);
        true
    }

    /// Messages older than `before` that wait for an attempt, among `count` slots from `from` on; moves `from` on. Not
    /// those that were replayed, whose record alone says since when they live.
    pub fn overdue(&self, from: &mut u32, count: u32, before: UnixMillis) -> Vec<MessageId> {
        let slots = self.schedule.slots();
        let start = if *from < slots { *from } else { 0 };
        let end = slots.min(start.saturating_add(count));
        *from = end;
        let waiting = (start..end).map(Slot).filter(|slot| self.schedule.may_expire(*slot));
        waiting.map(|slot| self.index.id(slot)).filter(|id| id.accepted() <= before).collect()
    }

    /// The slot of a message that waits for an attempt.
    pub fn find_waiting(&self, id: MessageId) -> Option<Slot> {
        self.index.find(id).filter(|slot| self.schedule.may_expire(*slot))
    }

    /// Makes a message due again without a record of it, for as long as the process lives: a restart goes by the log.
    pub fn postpone(&mut self, slot: Slot, due: UnixMillis, attempts: u16, maybe_duplicate: bool) {
        self.schedule.reschedule(slot, due, attempts, maybe_duplicate);
    }

    /// Where the message in a slot stands, and its newest retry; `None`: it has ended.
    pub fn places(&self, slot: Slot) -> Option<(Location, Option<RecordStart>)> {
        self.index.id_in(slot)?;
        Some((self.index.location(slot), self.index.retry_location(slot)))
    }

    /// Where live messages stand.
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// Attempts made on a message, and whether one of them may have reached the origin.
    pub fn progress(&self, slot: Slot) -> (u16, bool) {
        self.schedule.progress(slot)
    }

    /// Counts for the metrics of a live message's origin.
    pub fn count(&self, slot: Slot, what: Counted) {
        self.schedule.count(slot, what);
    }

    /// Where a live message goes to.
    pub fn origin(&self, slot: Slot) -> &Rc<Origin> {
        self.schedule.origin(slot)
    }

    /// Origins that live messages are for, or were a moment ago.
    pub fn origins(&self) -> usize {
        self.schedule.lanes()
    }

    /// Bytes of the records of all live messages for one origin.
    pub fn origin_bytes(&self, origin: OriginRef<'_>) -> u64 {
        let lane = self.schedule.lane_of(origin);
        lane.and_then(|lane| self.lane_bytes.get(lane as usize)).copied().unwrap_or(0)
    }

    /// Messages for an origin that wait for their turn.
    pub fn ready_of(&self, origin: OriginRef<'_>) -> u32 {
        self.schedule.ready_of(origin)
    }

    /// The live message whose own record begins at `at`, if it may be written again elsewhere. Not while an outcome of
    /// it is on its way to the disk: what is written again would take the place of that outcome.
    pub fn relocatable(&self, id: MessageId, at: RecordStart) -> Option<Slot> {
        let slot = self.index.find(id).filter(|slot| self.index.location(*slot).start() == at)?;
        match self.schedule.state(slot) {
            NodeState::Ready | NodeState::Landed | NodeState::Delayed | NodeState::Held | NodeState::InFlight => {
                Some(slot)
            }
            NodeState::Concluding | NodeState::Vacant => None,
        }
    }

    /// Messages by state.
    pub const fn counts(&self) -> Counts {
        self.schedule.counts()
    }

    /// Takes the oldest segment out if nothing in it is alive and it is older than `before`.
    pub fn reclaim(&mut self, before: u32) -> Option<u32> {
        let segment = self.index.reclaimable(before)?;
        self.index.drop_oldest();
        Some(segment)
    }

    /// Checks what must always hold; for tests.
    pub fn check(&self) {
        self.index.check();
        self.schedule.check();
        let counts = self.counts();
        let scheduled = counts.ready + counts.delayed + counts.in_flight + counts.held;
        assert_eq!(scheduled, self.index.len(), "every live message is scheduled");
        let mut lane_bytes = vec![0; self.lane_bytes.len()];
        for (slot, _) in self.index.iter() {
            lane_bytes[self.schedule.lane(slot) as usize] += u64::from(self.index.location(slot).bytes);
        }
        assert_eq!(lane_bytes, self.lane_bytes, "the bytes of a lane are those of its messages");
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
