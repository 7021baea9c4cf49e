//! Ids to slots: many small hash tables, so that none takes long to grow.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

use crate::message::{MessageId, Slot};

/// Tables. At five million messages the largest is rehashed in under a millisecond.
const TABLES: u32 = 1 << TABLES_BITS;
const TABLES_BITS: u32 = 10;

/// Slots by the id of their message. Ids are not stored here: whoever asks brings a function that knows the id of a
/// slot.
#[derive(Debug)]
pub struct Ids {
    tables: Box<[HashTable<Slot>]>,
    hasher: DefaultHashBuilder,
    len: usize,
}

impl Default for Ids {
    fn default() -> Self {
        let tables = vec![HashTable::new(); TABLES as usize].into_boxed_slice();
        Self { tables, hasher: DefaultHashBuilder::default(), len: 0 }
    }
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
        let hash = self.hasher.hash_one(id);
        self.tables[table(hash)].find(hash, |slot| id_of(*slot) == id).copied()
    }

    /// Enters an id that is not in it.
    pub fn insert(&mut self, id: MessageId, slot: Slot, id_of: impl Fn(Slot) -> MessageId) {
        let (hash, hasher) = (self.hasher.hash_one(id), &self.hasher);
        self.tables[table(hash)].insert_unique(hash, slot, |slot| hasher.hash_one(id_of(*slot)));
        self.len += 1;
    }

    /// Takes out an id that is in it.
    pub fn remove(&mut self, id: MessageId, slot: Slot) {
        let hash = self.hasher.hash_one(id);
        let entry = self.tables[table(hash)].find_entry(hash, |candidate| *candidate == slot);
        entry.expect("an id that is taken out is in the table").remove();
        self.len -= 1;
    }

    /// All slots, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Slot> + '_ {
        self.tables.iter().flat_map(|table| table.iter().copied())
    }
}

/// The table of a hash. By bits of their own: hashbrown goes by the lowest and the seven highest.
///
/// Tables get unequal parts, each 2^(1/n) times the one before, the last twice the first. So each doubles at a time of
/// its own, and a message costs 7.9 bytes here however many there are; with equal parts all would double together, and
/// it would cost anything from 5.7 bytes to 11.4.
fn table(hash: u64) -> usize {
    let part = (hash >> 32) & 0xFFFF;
    // x (4 - x) / 3 is within 0.3 % of log2(1 + x) for x from 0 to 1, and in whole numbers.
    let log = part * ((4 << 16) - part) / 3;
    usize::try_from(log >> (32 - TABLES_BITS)).expect("the number of a table")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_table_gets_twice_the_part_of_the_first() {
        let mut parts = vec![0_u32; TABLES as usize];
        for part in 0..1 << 16 {
            parts[table(part << 32 | 0xFFFF_0000_FFFF_FFFF)] += 1;
        }
        let last = parts.len() - 16;
        let (first, last): (u32, u32) = (parts[..16].iter().sum(), parts[last..].iter().sum());
        assert!((19..=21).contains(&(last * 10 / first)), "{last} and {first}");
        assert!(parts.iter().all(|part| (40..=100).contains(part)), "{parts:?}");
    }
}
