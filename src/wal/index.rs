//! Where every live message stands, and how much of each segment is alive. A fold over records: pure.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::survey::Survey;
use crate::message::{MessageId, Slot};
use crate::time::UnixMillis;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Sequence number of the segment.
    pub segment: u32,
    /// Offset in the segment, in bytes.
    pub offset: u32,
    /// The record's length, in bytes, header included.
    pub bytes: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    id: MessageId,
    at: Location,
}

/// What the index knows of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages whose record stands there and that have not ended.
    pub live: u32,
    /// The bytes of those records.
    pub live_bytes: u64,
    /// When the first message in it was accepted, whether or not it has ended.
    oldest: Option<UnixMillis>,
}

/// Up to this many live messages, the oldest is looked for one by one.
const EXACT_MAX: usize = 1 << 16;

/// Ids to places, and live counts per segment.
#[derive(Debug, Default)]
pub struct Index {
    slots: HashTable<Slot>,
    hasher: DefaultHashBuilder,
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
    /// The newest `Retry` record of those messages that have one.
    retries: HashMap<Slot, Location>,
    first_segment: u32,
    segments: VecDeque<Usage>,
    live_bytes: u64,
}

impl Index {
    /// Live messages.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether no message is alive.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Bytes of the records of all live messages.
    pub const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// The slot of a live message.
    pub fn find(&self, id: MessageId) -> Option<Slot> {
        self.slots.find(self.hash(id), |slot| self.entry(*slot).id == id).copied()
    }

    /// The id of the live message in `slot`.
    pub fn id(&self, slot: Slot) -> MessageId {
        self.entry(slot).id
    }

    /// Where the live message in `slot` stands.
    pub fn location(&self, slot: Slot) -> Location {
        self.entry(slot).at
    }

    /// Where the newest `Retry` record of the live message in `slot` stands.
    pub fn retry_location(&self, slot: Slot) -> Option<Location> {
        self.retries.get(&slot).copied()
    }

    /// Enters a message, or moves one that is known: then what it was retried is in the new record, and its old
    /// place is dead.
    pub fn insert(&mut self, id: MessageId, at: Location) -> Inserted {
        if let Some(slot) = self.find(id) {
            self.forget_place(slot);
            self.retries.remove(&slot);
            self.entries[slot.index()] = Some(Entry { id, at });
            self.count_place(id, at);
            return Inserted::Moved(slot);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            let next = u32::try_from(self.entries.len()).expect("a shard holds fewer than 2^32 messages");
            self.entries.push(None);
            Slot(next)
        });
        self.entries[slot.index()] = Some(Entry { id, at });
        self.count_place(id, at);
        let (hash, entries, hasher) = (self.hash(id), &self.entries, &self.hasher);
        self.slots.insert_unique(hash, slot, |slot| {
            hasher.hash_one(entries[slot.index()].expect("slots in the table are live").id)
        });
        Inserted::New(slot)
    }

    /// Notes the newest `Retry` record of a live message.
    pub fn set_retry(&mut self, slot: Slot, at: Location) {
        self.retries.insert(slot, at);
    }

    /// Ends a live message.
    pub fn remove(&mut self, slot: Slot) {
        let hash = self.hash(self.id(slot));
        self.slots.find_entry(hash, |candidate| *candidate == slot).expect("a live message is in the table").remove();
        self.forget_place(slot);
        self.retries.remove(&slot);
        self.entries[slot.index()] = None;
        self.free.push(slot);
    }

    /// Makes the segments of a log known, and the one that is to follow: should its first write fail, it must still be
    /// reclaimed, and before the segment behind it, which tells that what that write left is not part of the log.
    pub fn add_segments(&mut self, survey: &Survey) {
        for one in &survey.segments {
            self.add_segment(one.segment);
        }
        self.add_segment(survey.next_segment);
    }

    /// Makes `segment` known, so that it can be reclaimed even if nothing in it is alive. Segments come in order.
    pub fn add_segment(&mut self, segment: u32) {
        if self.segments.is_empty() {
            self.first_segment = segment;
        }
        while self.first_segment + u32::try_from(self.segments.len()).unwrap_or(u32::MAX) <= segment {
            self.segments.push_back(Usage::default());
        }
    }

    /// The oldest segment, if nothing in it is alive and it is older than `before`. Only ever the oldest: an outcome
    /// must not vanish before the message that it ended.
    pub fn reclaimable(&self, before: u32) -> Option<u32> {
        let oldest = self.segments.front()?;
        (oldest.live == 0 && self.first_segment < before).then_some(self.first_segment)
    }

    /// Forgets the oldest segment, which has been reclaimed.
    pub fn drop_oldest(&mut self) {
        let dropped = self.segments.pop_front().expect("only a known segment is reclaimed");
        assert_eq!(dropped.live, 0, "a segment with live messages is never reclaimed");
        self.first_segment += 1;
    }

    /// Segments known.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// When the oldest live message was accepted. Exact for a small backlog; for a large one never later, and earlier
    /// by at most what one segment spans.
    pub fn oldest(&self) -> Option<UnixMillis> {
        if self.len() <= EXACT_MAX {
            return self.iter().map(|(_, id)| id.accepted()).min();
        }
        self.segments.iter().filter(|usage| usage.live > 0).filter_map(|usage| usage.oldest).min()
    }

    /// Every live message, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, MessageId)> + '_ {
        self.slots.iter().map(|slot| (*slot, self.id(*slot)))
    }

    /// Checks what must always hold; for tests.
    pub fn check(&self) {
        assert_eq!(self.slots.len() + self.free.len(), self.entries.len(), "a slot is live or free");
        let (mut live, mut live_bytes) = (0, 0);
        for usage in &self.segments {
            live += usage.live as usize;
            live_bytes += usage.live_bytes;
        }
        assert_eq!((live, live_bytes), (self.len(), self.live_bytes), "counts of segments add up");
        assert!(self.retries.keys().all(|slot| self.entries[slot.index()].is_some()), "only live messages are retried");
    }

    fn entry(&self, slot: Slot) -> Entry {
        self.entries[slot.index()].expect("the slot is live")
    }

    fn hash(&self, id: MessageId) -> u64 {
        self.hasher.hash_one(id)
    }

    fn usage(&mut self, segment: u32) -> &mut Usage {
        let position = segment.checked_sub(self.first_segment).expect("a live message's segment is not reclaimed");
        &mut self.segments[position as usize]
    }

    fn count_place(&mut self, id: MessageId, at: Location) {
        self.add_segment(at.segment);
        self.live_bytes += u64::from(at.bytes);
        let usage = self.usage(at.segment);
        usage.live += 1;
        usage.live_bytes += u64::from(at.bytes);
        usage.oldest = Some(usage.oldest.map_or(id.accepted(), |oldest| oldest.min(id.accepted())));
    }

    fn forget_place(&mut self, slot: Slot) {
        let at = self.location(slot);
        self.live_bytes -= u64::from(at.bytes);
        let usage = self.usage(at.segment);
        usage.live -= 1;
        usage.live_bytes -= u64::from(at.bytes);
    }
}

/// What [`Index::insert`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The message was unknown.
    New(Slot),
    /// The message was known and stands elsewhere now.
    Moved(Slot),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> MessageId {
        MessageId([n; 16])
    }

    fn at(segment: u32, offset: u32) -> Location {
        Location { segment, offset, bytes: 100 }
    }

    #[test]
    fn a_segment_is_reclaimed_oldest_first_and_only_when_all_in_it_has_ended() {
        let mut index = Index::default();
        index.insert(id(1), at(5, 0));
        index.insert(id(2), at(6, 0));
        index.add_segment(7);
        let second = index.find(id(2)).expect("live");
        index.remove(second);
        index.check();
        assert_eq!(index.reclaimable(7), None, "5 is alive, and 6 waits for it");
        let first = index.find(id(1)).expect("live");
        index.remove(first);
        assert_eq!(index.reclaimable(7), Some(5));
        index.drop_oldest();
        assert_eq!(index.reclaimable(7), Some(6));
        index.drop_oldest();
        assert_eq!(index.reclaimable(7), None, "the active segment stays");
        index.check();
    }

    #[test]
    fn a_message_written_again_frees_its_old_place() {
        let mut index = Index::default();
        let Inserted::New(slot) = index.insert(id(1), at(0, 0)) else { panic!("unknown before") };
        index.set_retry(slot, at(1, 0));
        assert_eq!(index.insert(id(1), at(2, 64)), Inserted::Moved(slot));
        assert_eq!((index.location(slot), index.retry_location(slot)), (at(2, 64), None));
        assert_eq!((index.reclaimable(2), index.live_bytes()), (Some(0), 100));
        index.check();
    }

    #[test]
    fn slots_are_reused() {
        let mut index = Index::default();
        for round in 0..10_u8 {
            for n in 0..100 {
                index.insert(id(n), at(round.into(), n.into()));
            }
            for n in 0..100 {
                let slot = index.find(id(n)).expect("live");
                index.remove(slot);
            }
            index.check();
        }
        assert_eq!(index.entries.len(), 100);
    }
}
