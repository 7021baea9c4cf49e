//! A shard's durable state: the fold over its log. [`State::apply`] is the only function that changes it, live and in
//! recovery alike.

use crate::message::{MessageId, Slot};
use crate::schedule::scheduler::{Counts, Limits, Next, Now, Scheduler};
use crate::time::UnixMillis;
use crate::wal::index::{Index, Inserted, Location};
use crate::wal::payload::Payload;
use crate::wal::survey::Survey;

/// Which messages are alive, where they stand, and whose turn it is.
#[derive(Debug)]
pub struct State {
    index: Index,
    schedule: Scheduler,
}

impl State {
    /// Empty.
    pub fn new(limits: Limits) -> Self {
        Self { index: Index::default(), schedule: Scheduler::new(limits) }
    }

    /// Applies one durable record.
    ///
    /// A record of an unknown message is ignored: its message has ended and its place was reclaimed, which happens
    /// oldest first, so that no outcome outlives the need for it in the other direction.
    pub fn apply(&mut self, id: MessageId, payload: &Payload<'_>, at: Location) {
        self.index.add_segment(at.segment);
        match payload {
            Payload::Accepted(message) => {
                if let Inserted::New(slot) = self.index.insert(id, at) {
                    let progress = &message.progress;
                    let (due, attempts) = (progress.due, progress.attempts);
                    self.schedule.add(slot, message.origin, due, attempts, progress.maybe_duplicate);
                }
            }
            Payload::Retry(progress) => {
                if let Some(slot) = self.index.find(id) {
                    self.index.set_retry(slot, at.start());
                    self.schedule.reschedule(slot, progress.due, progress.attempts, progress.maybe_duplicate);
                }
            }
            Payload::Delivered { .. } | Payload::DeadLettered { .. } | Payload::Lost { .. } => {
                if let Some(slot) = self.index.find(id) {
                    self.schedule.remove(slot);
                    self.index.remove(slot);
                }
            }
            // Of the other log.
            Payload::DeadLetter(..) => {}
        }
    }

    /// Makes the segments of a log known, so that each is reclaimed even if it holds nothing.
    pub fn add_segments(&mut self, survey: &Survey) {
        self.index.add_segments(survey);
    }

    /// Ends a recovery: every message may have been in flight when the process died.
    pub fn settle(&mut self) {
        self.schedule.mark_maybe_duplicate();
    }

    /// The next order, or how long there is none.
    pub fn next(&mut self, now: Now) -> Next {
        self.schedule.next(now)
    }

    /// The attempt on an order is over; its outcome is on its way.
    pub fn release(&mut self, slot: Slot) {
        self.schedule.release(slot);
    }

    /// Makes a message due again without a record of it, for as long as the process lives: a restart goes by the log.
    pub fn postpone(&mut self, slot: Slot, due: UnixMillis, attempts: u16, maybe_duplicate: bool) {
        self.schedule.reschedule(slot, due, attempts, maybe_duplicate);
    }

    /// Where live messages stand.
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// Attempts made on a message, and whether one of them may have reached the origin.
    pub fn progress(&self, slot: Slot) -> (u16, bool) {
        self.schedule.progress(slot)
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
        let scheduled = counts.ready + counts.delayed + counts.in_flight;
        assert_eq!(scheduled, self.index.len(), "every live message is scheduled");
    }
}
