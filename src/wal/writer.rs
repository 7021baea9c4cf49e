//! Writes batches to the active segment, in order, one at a time, and rolls to the next segment.

use std::rc::Rc;

use bytes::Bytes;

use super::batch::{Batch, Sealed};
use super::files::Files;
use super::segment::{FIRST_BATCH, Sealed as SegmentEnd, SegmentHeader};
use crate::disk::aligned::AlignedBuf;
use crate::disk::{Disk, DiskError, while_doing};
use crate::limits::{BLOCK_BYTES, to_usize};
use crate::message::MessageId;
use crate::time::Clock;

/// The end of one log.
pub struct Writer<D: Disk> {
    files: Rc<Files<D>>,
    segment_bytes: u64,
    active: Option<Active<D>>,
    before: Option<SegmentEnd>,
    clock: Clock,
}

struct Active<D: Disk> {
    file: Rc<D::File>,
    segment: u32,
    end: u32,
    batches: u32,
}

impl<D: Disk> Writer<D> {
    /// Behind a segment that ended as `before` says; nothing can be written until [`Writer::roll`].
    ///
    /// Recovery never continues a segment: what a torn batch left behind in it must not be overwritten, so that
    /// recovering twice finds the same.
    pub const fn new(files: Rc<Files<D>>, segment_bytes: u64, before: Option<SegmentEnd>, clock: Clock) -> Self {
        Self { files, segment_bytes, active: None, before, clock }
    }

    /// Bytes that still fit the active segment.
    pub fn room(&self) -> usize {
        self.active.as_ref().map_or(0, |active| to_usize(self.segment_bytes) - active.end as usize)
    }

    /// The active segment.
    pub fn segment(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.segment)
    }

    /// Begins `segment`: its header, which says how the one before ended, is durable before its first batch. No message
    /// written before has an id greater than `floor`.
    pub async fn roll(&mut self, segment: u32, file: Rc<D::File>, floor: MessageId) -> Result<(), DiskError> {
        let before =
            self.active.take().map_or(self.before, |active| Some(SegmentEnd { batches: active.batches, torn: false }));
        // Should its header fail, then this is how `segment` ended, for whichever comes next.
        self.before = Some(SegmentEnd { batches: 0, torn: false });
        let salt = self.files.position(segment, 0).salt;
        let header = SegmentHeader {
            shard: self.files.shard(),
            segment,
            salt,
            begun: self.clock.now(),
            before,
            floor: Some(floor),
        };
        let mut block = AlignedBuf::with_capacity(BLOCK_BYTES);
        block.extend_from_slice(&header.encode());
        let path = self.files.path(segment);
        let written = self.files.disk().write_at(&file, Bytes::from_owner(block), 0).await;
        written.map_err(while_doing("writing the header of", &path))?;
        self.files.keep(segment, Rc::clone(&file));
        self.active = Some(Active { file, segment, end: FIRST_BATCH, batches: 0 });
        Ok(())
    }

    /// Binds `batch` to the end of the active segment.
    ///
    /// # Panics
    /// If it does not fit: ask [`Writer::room`] first.
    pub fn seal(&self, batch: Batch) -> Sealed {
        assert!(batch.bytes() <= self.room(), "a batch fits the segment it is sealed for");
        let active = self.active.as_ref().expect("room is zero without an active segment");
        batch.seal(active.batches, self.files.position(active.segment, active.end))
    }

    /// Writes a batch sealed for the end of the active segment. After an error nothing more may be written to that
    /// segment: what its blocks hold is unknown, and the kernel may have dropped the pages (fsyncgate).
    pub async fn write(&mut self, sealed: &Sealed) -> Result<(), DiskError> {
        let files = Rc::clone(&self.files);
        let active = self.active.as_mut().expect("a batch is sealed for an active segment");
        assert_eq!((active.segment, active.end), (sealed.position.segment, sealed.position.offset), "in order");
        let bytes = u32::try_from(sealed.blocks.len()).expect("batches are bounded by SEGMENT_BYTES_MAX");
        let written = files.disk().write_at(&active.file, sealed.blocks.clone(), active.end.into()).await;
        // The path is made for the error only: there is a batch for each few messages.
        written.map_err(|error| while_doing("writing", &files.path(active.segment))(error))?;
        active.end += bytes;
        active.batches += 1;
        Ok(())
    }
}
