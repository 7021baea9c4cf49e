//! Where every live message stands, and how much of each segment is alive. A fold over records: pure.

use super::ids::Ids;
use super::place::Place;
pub use super::place::{Location, RecordStart};
use super::survey::Survey;
pub use super::usage::Usage;
use super::usage::Usages;
use crate::message::{Chunks, MessageId, Slot};
use crate::time::UnixMillis;

/// A live message, or a slot for the next one: then the id is the number of a further free slot.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: MessageId,
    place: Place,
}

const _: () = assert!(size_of::<Entry>() == 32, "a live message takes 32 bytes here, also once retried");

/// With so many slots at most, the oldest message is looked for in the order of memory, which takes little for each.
const EXACT_SLOTS_MAX: usize = 1 << 16;
/// With more of them, as after a large backlog, it is looked for one by one among so many messages at most.
const EXACT_MAX: usize = 1 << 13;

/// Ids to places, and live counts per segment.
#[derive(Debug, Default)]
pub struct Index {
    ids: Ids,
    entries: Chunks<Entry>,
    /// The slot emptied last; the others hang on it.
    free: Option<Slot>,
    usages: Usages,
    live_bytes: u64,
}

impl Index {
    /// Live messages.
    pub const fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no message is alive.
    pub const fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Bytes of the records of all live messages.
    pub const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The slot of a live message.
    pub fn find(&self, id: MessageId) -> Option<Slot> {
        self.ids.find(id, |slot| self.entries[slot].id)
    }

    /// The id of the live message in `slot`.
    pub fn id(&self, slot: Slot) -> MessageId {
        self.entry(slot).id
    }

    /// Where the live message in `slot` stands.
    pub fn location(&self, slot: Slot) -> Location {
        self.entry(slot).place.message(self.usages.first())
    }

    /// Where the newest `Retry` record of the live message in `slot` stands.
    pub fn retry_location(&self, slot: Slot) -> Option<RecordStart> {
        self.entry(slot).place.retry(self.usages.first())
    }

    /// Enters a message, or moves one that is known: then what it was retried is in the new record, and its old
    /// place is dead.
    pub fn insert(&mut self, id: MessageId, at: Location) -> Inserted {
        let known = self.find(id).map(|slot| (slot, self.forget_place(slot)));
        self.usages.add(at.segment);
        self.usages.count(at.segment, at.bytes, id.accepted());
        self.live_bytes += u64::from(at.bytes);
        let entry = Entry { id, place: Place::new(at) };
        if let Some((slot, from)) = known {
            self.entries[slot] = entry;
            return Inserted::Moved { slot, from };
        }
        let slot = match self.free {
            Some(slot) => {
                self.free = self.entries[slot].next_free();
                self.entries[slot] = entry;
                slot
            }
            None => Slot(self.entries.push(entry)),
        };
        let entries = &self.entries;
        self.ids.insert(id, slot, |slot| entries[slot].id);
        Inserted::New(slot)
    }

    /// Notes the newest `Retry` record of a live message.
    pub fn set_retry(&mut self, slot: Slot, at: RecordStart) {
        self.usages.add(at.segment);
        let place = self.entry(slot).place.with_retry(at);
        self.entries[slot].place = place;
    }

    /// Ends a live message.
    pub fn remove(&mut self, slot: Slot) {
        self.ids.remove(self.id(slot), slot);
        self.forget_place(slot);
        self.entries[slot] = Entry::free(self.free);
        self.free = Some(slot);
    }

    /// Makes the segments of a log known, and the one that is to follow: should its first write fail, it must still be
    /// reclaimed, and before the segment behind it, which tells that what that write left is not part of the log.
    pub fn add_segments(&mut self, survey: &Survey) {
        for one in &survey.segments {
            self.add_segment(one.segment);
        }
        self.add_segment(survey.next_segment);
    }

    /// Makes `segment` known, so that it can be reclaimed even if nothing in it is alive, and with it every number
    /// between it and those known. In any order.
    ///
    /// # Panics
    /// If the oldest and the newest are then `SEGMENTS_MAX` apart or more: the caller keeps such a one away.
    pub fn add_segment(&mut self, segment: u32) {
        self.usages.add(segment);
    }

    /// The oldest segment, if nothing in it is alive and it is older than `before`. Only ever the oldest: an outcome
    /// must not vanish before the message that it ended.
    pub fn reclaimable(&self, before: u32) -> Option<u32> {
        let first = self.usages.first();
        let oldest = self.usages.get(first)?;
        (oldest.live == 0 && first < before).then_some(first)
    }

    /// Forgets the oldest segment, which has been reclaimed.
    pub fn drop_oldest(&mut self) {
        self.usages.drop_first();
    }

    /// Segments known.
    pub fn segments(&self) -> usize {
        self.usages.len()
    }

    /// The oldest segment known; the next one, if none is.
    pub fn first_segment(&self) -> u32 {
        self.usages.first()
    }

    /// How much of a known segment is alive.
    pub fn usage(&self, segment: u32) -> Option<Usage> {
        self.usages.get(segment)
    }

    /// The live messages whose record stands in `segment`, in no order. Looks at every live message: O(n), so not for
    /// what happens often.
    pub fn live_in(&self, segment: u32) -> Vec<Slot> {
        self.ids.iter().filter(|slot| self.location(*slot).segment == segment).collect()
    }

    /// When the oldest live message was accepted. Exact for a small backlog; for a large one never later, and earlier
    /// by at most what one segment spans.
    pub fn oldest(&self) -> Option<UnixMillis> {
        // A core that is asked for its metrics does nothing else meanwhile.
        if self.slots() <= EXACT_SLOTS_MAX {
            let slots = (0..).map(Slot).take(self.slots());
            return slots.filter_map(|slot| self.id_in(slot)).map(MessageId::accepted).min();
        }
        if self.len() <= EXACT_MAX {
            return self.iter().map(|(_, id)| id.accepted()).min();
        }
        self.usages.oldest()
    }

    /// Every live message, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, MessageId)> + '_ {
        self.ids.iter().map(|slot| (slot, self.id(slot)))
    }

    /// Slots, those without a message included. A message keeps its slot wherever it moves, so a walk over them piece by
    /// piece meets each that was there before it began and is still.
    pub const fn slots(&self) -> usize {
        self.entries.len()
    }

    /// The id of the live message in `slot`, if there is one.
    pub fn id_in(&self, slot: Slot) -> Option<MessageId> {
        let entry = &self.entries[slot];
        (!entry.place.is_vacant()).then_some(entry.id)
    }

    /// Checks what must always hold; for tests.
    pub fn check(&self) {
        let (mut live, mut live_bytes) = (0, 0);
        for (_, usage) in self.usages.iter() {
            live += usage.live as usize;
            live_bytes += u64::from(usage.live_bytes);
        }
        assert_eq!((live, live_bytes), (self.len(), self.live_bytes), "counts of segments add up");
        let occupied = self.entries.iter().filter(|(_, entry)| !entry.place.is_vacant());
        for (slot, entry) in occupied {
            assert_eq!(self.find(entry.id), Some(Slot(slot)), "a live message is found by its id");
            live -= 1;
        }
        assert_eq!(live, 0, "every live message has an entry");
        let free = std::iter::successors(self.free, |slot| self.entries[*slot].next_free()).count();
        assert_eq!(self.len() + free, self.entries.len(), "a slot is live or free");
    }

    fn entry(&self, slot: Slot) -> &Entry {
        let entry = &self.entries[slot];
        assert!(!entry.place.is_vacant(), "the slot is live");
        entry
    }

    fn forget_place(&mut self, slot: Slot) -> Location {
        let at = self.location(slot);
        self.live_bytes -= u64::from(at.bytes);
        self.usages.uncount(at.segment, at.bytes);
        at
    }
}

impl Entry {
    /// Of a slot without a message; `next` is the one emptied before.
    fn free(next: Option<Slot>) -> Self {
        // No slot has the highest number.
        let mut id = [0xFF; 16];
        if let Some(Slot(next)) = next {
            id[..4].copy_from_slice(&next.to_le_bytes());
        }
        Self { id: MessageId(id), place: Place::VACANT }
    }

    fn next_free(&self) -> Option<Slot> {
        assert!(self.place.is_vacant(), "only a free slot leads to another");
        let [a, b, c, d, ..] = self.id.0;
        Some(u32::from_le_bytes([a, b, c, d])).filter(|next| *next != u32::MAX).map(Slot)
    }
}

/// What [`Index::insert`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The message was unknown.
    New(Slot),
    /// The message was known and stands elsewhere now.
    Moved {
        /// Its number.
        slot: Slot,
        /// Where it stood.
        from: Location,
    },
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
