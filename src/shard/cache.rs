//! Recently written batches, so that a delivery soon after acceptance reads memory and not the disk. Pure.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::wal::index::{Location, RecordStart};

/// The newest batches of one log, oldest first, bounded in bytes.
#[derive(Debug, Default)]
pub struct Cache {
    batches: VecDeque<CachedBatch>,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug)]
struct CachedBatch {
    segment: u32,
    offset: u32,
    blocks: Bytes,
    memory_bytes: usize,
}

impl Cache {
    /// Holding at most `bytes_max` bytes of memory.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// Keeps a batch just written, which takes `memory_bytes`. Batches come in the order of the log.
    pub fn push(&mut self, segment: u32, offset: u32, blocks: Bytes, memory_bytes: usize) {
        if memory_bytes > self.bytes_max {
            return;
        }
        self.bytes += memory_bytes;
        self.batches.push_back(CachedBatch { segment, offset, blocks, memory_bytes });
        while self.bytes > self.bytes_max {
            let oldest = self.batches.pop_front().expect("the newest alone is not too much");
            self.bytes -= oldest.memory_bytes;
        }
    }

    /// The record at `at`, if its batch is still here. A copy, unless it is most of its batch: else one message that is
    /// long on its way would keep all of a batch in memory, and a thousand such a thousand batches.
    pub fn get(&self, at: Location) -> Option<Bytes> {
        let batch = self.batch_of(at.start())?;
        let (start, bytes) = ((at.offset - batch.offset) as usize, at.bytes as usize);
        let record = batch.blocks.get(start..start + bytes)?;
        Some(if 2 * bytes < batch.blocks.len() {
            Bytes::copy_from_slice(record)
        } else {
            batch.blocks.slice_ref(record)
        })
    }

    /// What stands from `at` to the end of its batch, if that is still here.
    pub fn get_from(&self, at: RecordStart) -> Option<Bytes> {
        let batch = self.batch_of(at)?;
        Some(batch.blocks.slice((at.offset - batch.offset) as usize..))
    }

    fn batch_of(&self, at: RecordStart) -> Option<&CachedBatch> {
        let behind = self.batches.partition_point(|batch| (batch.segment, batch.offset) <= (at.segment, at.offset));
        let batch = &self.batches[behind.checked_sub(1)?];
        let start = (at.offset - batch.offset) as usize;
        (batch.segment == at.segment && start <= batch.blocks.len()).then_some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u32, offset: u32) -> Location {
        Location { segment, offset, bytes: 2 }
    }

    #[test]
    fn a_record_is_found_in_its_batch_until_the_batch_is_pushed_out() {
        let mut cache = Cache::new(16);
        cache.push(1, 4096, Bytes::from_static(b"abcdefgh"), 8);
        cache.push(2, 4096, Bytes::from_static(b"ABCDEFGH"), 8);
        assert_eq!(cache.get(at(1, 4098)), Some(Bytes::from_static(b"cd")));
        assert_eq!(cache.get(at(2, 4102)), Some(Bytes::from_static(b"GH")));
        for missing in [at(0, 4096), at(1, 0), at(1, 4103), at(2, 4104), at(3, 4096)] {
            assert_eq!(cache.get(missing), None, "{missing:?}");
        }
        cache.push(2, 8192, Bytes::from_static(b"xy"), 2);
        assert_eq!(cache.get(at(1, 4096)), None);
        cache.push(2, 12288, Bytes::from_static(b"of longer memory"), 17);
        assert_eq!((cache.get(at(2, 12288)), cache.get(at(2, 8192))), (None, Some(Bytes::from_static(b"xy"))));
    }
}
