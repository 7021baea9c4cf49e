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
}

impl Cache {
    /// Holding at most `bytes_max` bytes, or one batch.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    /// Keeps a batch just written. Batches come in the order of the log.
    pub fn push(&mut self, segment: u32, offset: u32, blocks: Bytes) {
        self.bytes += blocks.len();
        self.batches.push_back(CachedBatch { segment, offset, blocks });
        while self.bytes > self.bytes_max && self.batches.len() > 1 {
            let oldest = self.batches.pop_front().expect("more than one");
            self.bytes -= oldest.blocks.len();
        }
    }

    /// The record at `at`, if its batch is still here.
    pub fn get(&self, at: Location) -> Option<Bytes> {
        let record = self.get_from(at.start())?;
        (at.bytes as usize <= record.len()).then(|| record.slice(..at.bytes as usize))
    }

    /// What stands from `at` to the end of its batch, if that is still here.
    pub fn get_from(&self, at: RecordStart) -> Option<Bytes> {
        let behind = self.batches.partition_point(|batch| (batch.segment, batch.offset) <= (at.segment, at.offset));
        let batch = &self.batches[behind.checked_sub(1)?];
        let start = (at.offset - batch.offset) as usize;
        (batch.segment == at.segment && start <= batch.blocks.len()).then(|| batch.blocks.slice(start..))
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
        cache.push(1, 4096, Bytes::from_static(b"abcdefgh"));
        cache.push(2, 4096, Bytes::from_static(b"ABCDEFGH"));
        assert_eq!(cache.get(at(1, 4098)), Some(Bytes::from_static(b"cd")));
        assert_eq!(cache.get(at(2, 4102)), Some(Bytes::from_static(b"GH")));
        for missing in [at(0, 4096), at(1, 0), at(1, 4103), at(2, 4104), at(3, 4096)] {
            assert_eq!(cache.get(missing), None, "{missing:?}");
        }
        cache.push(2, 8192, Bytes::from_static(b"x"));
        assert_eq!(cache.get(at(1, 4096)), None);
    }
}
