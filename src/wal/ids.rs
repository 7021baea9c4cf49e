//! Ids to slots: a hash table that grows by one bucket at a time, and takes 8 bytes per message however many there are.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;

use crate::message::{Chunks, MessageId, Slot};

/// Slots in a bucket, which is a cache line.
const WIDTH: usize = 12;
/// Slots per bucket, on average, above which a bucket is added.
const LOAD_MAX: usize = 10;

/// No bucket.
const NONE: u32 = u32::MAX;
/// The tag of a place without a slot.
const VACANT: u8 = 0;

/// Some of the slots whose hash leads here, from the front; the rest is in the next bucket.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Bucket {
    slots: [u32; WIDTH],
    /// A bit of each one's hash, so that few of the others' ids have to be looked at.
    tags: [u8; WIDTH],
    next: u32,
}

const EMPTY: Bucket = Bucket { slots: [0; WIDTH], tags: [VACANT; WIDTH], next: NONE };

const _: () = assert!(size_of::<Bucket>() == 64, "a bucket is a cache line");

/// Slots by the id of their message: linear hashing (Litwin, "Linear hashing: a new tool for file and table addressing",
/// 1980). Ids are not stored here: whoever asks brings a function that knows the id of a slot.
///
/// Why not hashbrown's table of slots: one that doubles holds the core up for half a second at five million messages. Cut
/// in a thousand it still takes 65 bytes where this takes 60, as what the small ones leave behind when they double is
/// hardly of use to anyone, and as messages that come and go make it double early.
#[derive(Debug, Default)]
pub struct Ids {
    /// Where to look first.
    buckets: Chunks<Bucket>,
    /// What does not fit there.
    overflow: Chunks<Bucket>,
    /// The overflow bucket emptied last; the others hang on it.
    free: Option<u32>,
    hasher: DefaultHashBuilder,
    len: usize,
    /// What a bucket held that is being split.
    split: Vec<Slot>,
}

/// The hash of an id, taken apart.
#[derive(Clone, Copy)]
struct Hash {
    low: u32,
    tag: u8,
}

impl Ids {
    /// Ids in it.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it is empty.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The slot of an id.
    pub fn find(&self, id: MessageId, id_of: impl Fn(Slot) -> MessageId) -> Option<Slot> {
        let hash = self.hash(id);
        let same = |(tag, slot): (&u8, &u32)| (*tag == hash.tag && id_of(Slot(*slot)) == id).then_some(Slot(*slot));
        self.chain(self.first(hash)?).find_map(|bucket| bucket.tags.iter().zip(&bucket.slots).find_map(same))
    }

    /// Enters an id that is not in it.
    pub fn insert(&mut self, id: MessageId, slot: Slot, id_of: impl Fn(Slot) -> MessageId) {
        self.len += 1;
        if self.len > self.buckets.len() * LOAD_MAX {
            self.grow(id_of);
        }
        self.put(self.hash(id), slot);
    }

    /// Takes out an id that is in it.
    pub fn remove(&mut self, id: MessageId, slot: Slot) {
        self.len -= 1;
        let first = self.first(self.hash(id)).expect("an id that is taken out is in the table");
        // The last of the chain takes its place, so that all but the last bucket are full.
        let last = self.last(first);
        let bucket = self.bucket(last);
        let filled = bucket.filled() - 1;
        let (moved, tag) = (bucket.slots[filled], bucket.tags[filled]);
        let mut holder = Some(first);
        while let Some(link) = holder {
            let bucket = self.bucket_mut(link);
            if let Some(place) = bucket.place_of(slot) {
                (bucket.slots[place], bucket.tags[place]) = (moved, tag);
                break;
            }
            holder = bucket.following();
        }
        assert!(holder.is_some(), "an id that is taken out is in the table");
        self.bucket_mut(last).tags[filled] = VACANT;
        if filled == 0 && last != first {
            self.drop_last(first, last);
        }
    }

    /// All slots, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        let filled = |(_, bucket): (u32, &Bucket)| bucket.slots.into_iter().take(bucket.filled()).map(Slot);
        self.buckets.iter().flat_map(filled).chain(self.overflow.iter().flat_map(filled))
    }

    /// Adds a bucket, and deals to it its part of what the one holds that took its place so far.
    fn grow(&mut self, id_of: impl Fn(Slot) -> MessageId) {
        let added = self.buckets.push(EMPTY);
        let Some(half) = added.checked_ilog2() else { return };
        let link = Link::First(added - (1 << half));
        let mut split = std::mem::take(&mut self.split);
        for bucket in self.chain(link) {
            split.extend(bucket.slots.iter().take(bucket.filled()).map(|slot| Slot(*slot)));
        }
        let mut rest = std::mem::replace(self.bucket_mut(link), EMPTY).following();
        while let Some(link) = rest {
            rest = self.bucket(link).following();
            self.free(link);
        }
        for slot in split.drain(..) {
            self.put(self.hash(id_of(slot)), slot);
        }
        self.split = split;
    }

    fn put(&mut self, hash: Hash, slot: Slot) {
        let first = self.first(hash).expect("there is a bucket before anything is in it");
        let mut last = self.last(first);
        let mut filled = self.bucket(last).filled();
        if filled == WIDTH {
            let added = self.take_overflow();
            self.bucket_mut(last).next = added;
            (last, filled) = (Link::Overflow(added), 0);
        }
        let bucket = self.bucket_mut(last);
        (bucket.slots[filled], bucket.tags[filled]) = (slot.0, hash.tag);
    }

    fn hash(&self, id: MessageId) -> Hash {
        let hash = self.hasher.hash_one(id).to_le_bytes();
        let [a, b, c, d, .., tag] = hash;
        Hash { low: u32::from_le_bytes([a, b, c, d]), tag: tag.max(VACANT + 1) }
    }

    /// Where a hash leads: its low bits, as many as tell all buckets apart, or one fewer if that bucket is yet to come.
    fn first(&self, hash: Hash) -> Option<Link> {
        let last = u32::try_from(self.buckets.len()).expect("numbers of buckets have 32 bits").checked_sub(1)?;
        let Some(bits) = last.checked_ilog2() else { return Some(Link::First(0)) };
        let number = hash.low & (u32::MAX >> (31 - bits));
        Some(Link::First(if number <= last { number } else { number ^ (1 << bits) }))
    }

    fn last(&self, first: Link) -> Link {
        let mut link = first;
        while let Some(next) = self.bucket(link).following() {
            link = next;
        }
        link
    }

    fn chain(&self, first: Link) -> impl Iterator<Item = &Bucket> + '_ {
        let bucket = |link| self.bucket(link);
        std::iter::successors(Some(bucket(first)), move |last| last.following().map(bucket))
    }

    fn bucket(&self, link: Link) -> &Bucket {
        match link {
            Link::First(number) => &self.buckets[number],
            Link::Overflow(number) => &self.overflow[number],
        }
    }

    fn bucket_mut(&mut self, link: Link) -> &mut Bucket {
        match link {
            Link::First(number) => &mut self.buckets[number],
            Link::Overflow(number) => &mut self.overflow[number],
        }
    }

    fn take_overflow(&mut self) -> u32 {
        let Some(number) = self.free else { return self.overflow.push(EMPTY) };
        let next = std::mem::replace(&mut self.overflow[number], EMPTY).next;
        self.free = Some(next).filter(|next| *next != NONE);
        number
    }

    /// Takes the last bucket, which is empty, out of the chain that begins at `first`.
    fn drop_last(&mut self, first: Link, last: Link) {
        let mut link = first;
        while let Some(next) = self.bucket(link).following() {
            if next == last {
                self.bucket_mut(link).next = NONE;
                self.free(last);
                return;
            }
            link = next;
        }
    }

    fn free(&mut self, link: Link) {
        if let Link::Overflow(number) = link {
            self.overflow[number] = Bucket { next: self.free.unwrap_or(NONE), ..EMPTY };
            self.free = Some(number);
        }
    }
}

/// Which bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    First(u32),
    Overflow(u32),
}

impl Bucket {
    fn filled(&self) -> usize {
        self.tags.iter().filter(|tag| **tag != VACANT).count()
    }

    fn place_of(&self, slot: Slot) -> Option<usize> {
        (0..self.filled()).find(|place| self.slots[*place] == slot.0)
    }

    fn following(&self) -> Option<Link> {
        Some(Link::Overflow(self.next)).filter(|_| self.next != NONE)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::message::IdSource;
    use crate::time::UnixMillis;
    use proptest::prelude::*;

    impl Ids {
        fn check(&self) {
            let mut used = 0;
            for (number, _) in self.buckets.iter() {
                let chain: Vec<&Bucket> = self.chain(Link::First(number)).collect();
                used += chain.len() - 1;
                for bucket in &chain[..chain.len() - 1] {
                    assert_eq!(bucket.filled(), WIDTH, "only the last of a chain has room");
                }
                assert!(chain.len() == 1 || chain[chain.len() - 1].filled() > 0, "no bucket is there in vain");
                for bucket in chain {
                    assert!(bucket.tags[bucket.filled()..].iter().all(|tag| *tag == VACANT), "filled from the front");
                }
            }
            let next = |number: &u32| Some(self.overflow[*number].next).filter(|next| *next != NONE);
            let free = std::iter::successors(self.free, next).count();
            assert_eq!(used + free, self.overflow.len(), "an overflow bucket is in use or free");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_id_is_found_at_every_size(
            rounds in prop::collection::vec((1..400_usize, 0..400_usize), 1..8),
            seed in 1..1000_u64,
        ) {
            let (mut ids, mut known) = (Ids::default(), BTreeMap::<MessageId, Slot>::new());
            let (mut source, mut by_slot) = (IdSource::new(seed), Vec::new());
            for (added, removed) in rounds {
                for _ in 0..added {
                    let (id, slot) = (source.next(UnixMillis(5)), Slot(u32::try_from(by_slot.len()).expect("a few")));
                    by_slot.push(id);
                    ids.insert(id, slot, |slot| by_slot[slot.index()]);
                    known.insert(id, slot);
                }
                let gone: Vec<MessageId> = known.keys().copied().step_by(2).take(removed).collect();
                for id in gone {
                    ids.remove(id, known.remove(&id).expect("known"));
                    prop_assert_eq!(ids.find(id, |slot| by_slot[slot.index()]), None);
                }
                for (id, slot) in &known {
                    prop_assert_eq!(ids.find(*id, |slot| by_slot[slot.index()]), Some(*slot));
                }
                ids.check();
                let mut slots: Vec<Slot> = ids.iter().collect();
                slots.sort_unstable();
                let mut expected: Vec<Slot> = known.values().copied().collect();
                expected.sort_unstable();
                prop_assert_eq!((slots, ids.len()), (expected, known.len()));
            }
        }
    }

    #[test]
    fn an_id_takes_eight_bytes_or_so_at_any_size() {
        let (mut ids, mut source, mut by_slot) = (Ids::default(), IdSource::new(7), Vec::new());
        for number in 0..100_000_u32 {
            let id = source.next(UnixMillis(5));
            by_slot.push(id);
            ids.insert(id, Slot(number), |slot| by_slot[slot.index()]);
            if number > 10_000 && number % 1000 == 0 {
                let bytes = (ids.buckets.len() + ids.overflow.len()) * size_of::<Bucket>() * 10 / ids.len();
                assert!((75..=86).contains(&bytes), "{bytes} tenths of a byte at {number}");
            }
        }
    }
}
