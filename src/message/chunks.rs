//! A table for millions of rows, which grows without moving what is in it.

use std::ops::{Index, IndexMut};

use super::Slot;

/// Rows that are allocated together, in bytes at most. A table that doubles would have to be copied when it is large,
/// while the core stands still. Large, so that the allocator gets each chunk from the kernel and not from between
/// batches that come and go, where it would leave holes; what is not used of it costs addresses and no memory.
const CHUNK_BYTES: usize = 4 << 20;

/// Rows by number, or by [`Slot`]. Rows are only ever added: who empties one keeps account of it.
#[derive(Debug)]
pub struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    rows: u32,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), rows: 0 }
    }
}

impl<T> Chunks<T> {
    const CHUNK_ROWS: usize = 1 << (CHUNK_BYTES / size_of::<T>()).ilog2();

    /// Rows, emptied ones included.
    pub const fn len(&self) -> usize {
        self.rows as usize
    }

    /// Whether there has never been a row.
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// All rows with their numbers, emptied ones included.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> + '_ {
        (0..self.rows).zip(self.chunks.iter().flatten())
    }
}

impl<T: Copy> Chunks<T> {
    /// Adds a row and returns its number, one more than that of the last.
    ///
    /// # Panics
    /// At 2^32 - 1 rows: the last number is left out, so that it can stand for none.
    pub fn push(&mut self, row: T) -> u32 {
        let number = self.rows;
        assert!(number < u32::MAX, "a shard holds fewer than 2^32 - 1 messages");
        if self.len().is_multiple_of(Self::CHUNK_ROWS) {
            self.chunks.push(Vec::with_capacity(Self::CHUNK_ROWS));
        }
        self.chunks.last_mut().expect("one was just added if there was none").push(row);
        self.rows += 1;
        number
    }
}

impl<T> Index<u32> for Chunks<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        assert!(number < self.rows, "a row is used after it was added");
        &self.chunks[number as usize / Self::CHUNK_ROWS][number as usize % Self::CHUNK_ROWS]
    }
}

impl<T> IndexMut<u32> for Chunks<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        assert!(number < self.rows, "a row is used after it was added");
        &mut self.chunks[number as usize / Self::CHUNK_ROWS][number as usize % Self::CHUNK_ROWS]
    }
}

impl<T> Index<Slot> for Chunks<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        &self[slot.0]
    }
}

impl<T> IndexMut<Slot> for Chunks<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        &mut self[slot.0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_numbers_over_chunks() {
        let mut table = Chunks::default();
        let rows = 3 * (CHUNK_BYTES as u64 / 16) + 1;
        for number in 0..rows {
            // A row that does not divide a chunk.
            assert_eq!(u64::from(table.push([number; 3])), number);
        }
        table[Slot(4096)] = [7; 3];
        assert!(table.iter().all(|(number, row)| row[2] == if number == 4096 { 7 } else { number.into() }));
        assert_eq!((table[4096], table.len() as u64, table.iter().count() as u64), ([7; 3], rows, rows));
    }

    #[test]
    #[should_panic(expected = "after it was added")]
    fn what_a_chunk_has_room_for_is_no_row_yet() {
        let mut table = Chunks::default();
        table.push(1);
        let _ = table[1];
    }
}
