//! A table with a row per live message, which grows without moving what is in it.

use std::ops::{Index, IndexMut};

use super::Slot;

/// Rows that are allocated together. One table that doubles would have to be copied at millions of rows, while the core
/// stands still; and a chunk of a row of up to 32 bytes stays below the size from which an allocator asks the kernel
/// for each allocation on its own, and rounds it up to pages.
const CHUNK_ROWS: usize = 2048;

/// Rows by [`Slot`]. Rows are only ever added: who empties one keeps account of it.
#[derive(Debug)]
pub struct SlotTable<T> {
    chunks: Vec<Box<[T; CHUNK_ROWS]>>,
    rows: usize,
}

impl<T> Default for SlotTable<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), rows: 0 }
    }
}

impl<T: Copy> SlotTable<T> {
    /// Rows, emptied ones included.
    pub const fn len(&self) -> usize {
        self.rows
    }

    /// Whether there has never been a row.
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Adds a row; its slot is the next number.
    ///
    /// # Panics
    /// At 2^32 - 1 rows. The last number is left out, so that it can stand for none.
    pub fn push(&mut self, row: T) -> Slot {
        let slot = u32::try_from(self.rows).ok().filter(|slot| *slot < u32::MAX);
        let slot = Slot(slot.expect("a shard holds fewer than 2^32 - 1 messages"));
        if self.rows.is_multiple_of(CHUNK_ROWS) {
            let chunk = vec![row; CHUNK_ROWS].into_boxed_slice().try_into();
            self.chunks.push(chunk.unwrap_or_else(|_| unreachable!("the chunk has just so many rows")));
        }
        self.rows += 1;
        self[slot] = row;
        slot
    }

    /// All rows with their slots, emptied ones included.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> + '_ {
        (0_u32..).map(Slot).zip(self.chunks.iter().flat_map(|chunk| chunk.iter()).take(self.rows))
    }
}

impl<T> Index<Slot> for SlotTable<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        assert!(slot.index() < self.rows, "a slot has its row before it is used");
        &self.chunks[slot.index() / CHUNK_ROWS][slot.index() % CHUNK_ROWS]
    }
}

impl<T> IndexMut<Slot> for SlotTable<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        assert!(slot.index() < self.rows, "a slot has its row before it is used");
        &mut self.chunks[slot.index() / CHUNK_ROWS][slot.index() % CHUNK_ROWS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_slots_over_chunks() {
        let mut table = SlotTable::default();
        for number in 0..3 * 2048 + 1_u32 {
            assert_eq!(table.push(number), Slot(number));
        }
        table[Slot(4096)] = 7;
        let rows: Vec<u32> = table.iter().map(|(slot, row)| if slot == Slot(4096) { 4096 } else { *row }).collect();
        assert_eq!(rows, (0..3 * 2048 + 1).collect::<Vec<u32>>());
        assert_eq!((table[Slot(4096)], table.len()), (7, 3 * 2048 + 1));
    }

    #[test]
    #[should_panic(expected = "before it is used")]
    fn a_slot_without_a_row_is_no_row_of_the_chunk() {
        let mut table = SlotTable::default();
        table.push(1);
        let _ = table[Slot(1)];
    }
}
