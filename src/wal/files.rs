//! The files of one log directory: names, open handles, and reading one record back.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;

use super::index::{Location, RecordStart};
use super::layout::Position;
use super::record::{HEADER_BYTES, Header, HeaderRead};
use crate::disk::aligned::AlignedBuf;
use crate::disk::names::UNFINISHED;
use crate::disk::{Disk, DiskError, while_doing};
use crate::limits::{BLOCK_BYTES, RECOVERY_READS_MAX, SEGMENT_BYTES_MAX, SEGMENTS_OPEN_MAX, to_usize};

/// Suffix of a segment's file.
const SUFFIX: &str = ".wal";

/// The name of a segment's file: its sequence number in twelve digits.
pub fn segment_name(segment: u32) -> String {
    format!("{segment:012}{SUFFIX}")
}

/// The sequence number in a segment's file name.
pub fn segment_of_name(name: &str) -> Option<u32> {
    number_of_name(name, SUFFIX)
}

/// Suffix of the name that says of the newest segment that its process had nothing in flight when it ended.
const RESTED_SUFFIX: &str = ".rested";

/// The number of the segment of which a name says that.
pub fn rested_of_name(name: &str) -> Option<u32> {
    number_of_name(name, RESTED_SUFFIX)
}

/// Suffix of a file that is ready to become a segment.
const SPARE_SUFFIX: &str = ".spare";

/// The number in a spare's file name.
pub fn spare_of_name(name: &str) -> Option<u32> {
    number_of_name(name, SPARE_SUFFIX)
}

/// Only as we write it: another spelling is another name.
fn number_of_name(name: &str, suffix: &str) -> Option<u32> {
    let digits = name.strip_suffix(suffix)?;
    (digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// Why a record could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The bytes are not those that were written.
    #[error("the record at offset {} of {} is damaged", at.offset, path.display())]
    Damaged {
        /// The segment's file.
        path: PathBuf,
        /// Where in it.
        at: RecordStart,
    },
}

/// What the checksums of a log are salted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Salt {
    /// Random, one for the whole log.
    pub value: u32,
    /// The first segment that has it: those before are of format version 1.
    pub from: u32,
}

/// Read for a record of unknown length, in bytes: a `Retry` is rarely longer than a block, but may begin at its end.
const PROBE_BYTES: usize = 2 * BLOCK_BYTES;

/// The segments of one shard's log.
pub struct Files<D: Disk> {
    disk: D,
    dir: PathBuf,
    shard: u32,
    /// The salt of the log, and the first segment that has it.
    salt: Cell<Salt>,
    /// Reads in flight when all of it is read.
    reads_max: Cell<usize>,
    /// Segments kept open.
    open_max: Cell<usize>,
    /// The files opened last, newest at the end.
    open: RefCell<VecDeque<(u32, Rc<D::File>)>>,
}

impl<D: Disk> Files<D> {
    /// Of directory `dir`, written by shard number `shard`.
    pub fn new(disk: D, dir: PathBuf, shard: u32) -> Self {
        Self {
            disk,
            dir,
            shard,
            salt: Cell::new(Salt { value: 0, from: u32::MAX }),
            reads_max: Cell::new(RECOVERY_READS_MAX),
            open_max: Cell::new(SEGMENTS_OPEN_MAX),
            open: RefCell::default(),
        }
    }

    /// The disk.
    pub const fn disk(&self) -> &D {
        &self.disk
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The shard that every checksum here is bound to.
    pub const fn shard(&self) -> u32 {
        self.shard
    }

    /// Bounds what it takes: reads in flight when all of it is read, and segments that are kept open.
    pub fn set_bounds(&self, reads: usize, segments_open: usize) {
        self.reads_max.set(reads);
        self.open_max.set(segments_open);
    }

    /// Reads in flight when all of it is read.
    pub const fn reads_max(&self) -> usize {
        self.reads_max.get()
    }

    /// Makes the salt known; before, only segments of version 1 can be read.
    pub fn set_salt(&self, salt: Salt) {
        self.salt.set(salt);
    }

    /// What the checksums at `offset` of `segment` are bound to.
    pub fn position(&self, segment: u32, offset: u32) -> Position {
        let Salt { value, from } = self.salt.get();
        Position { shard: self.shard, segment, salt: (segment >= from).then_some(value), offset }
    }

    /// The path of a segment.
    pub fn path(&self, segment: u32) -> PathBuf {
        self.dir.join(segment_name(segment))
    }

    /// The name that says of a segment that its process had nothing in flight when it ended.
    pub fn rested_path(&self, segment: u32) -> PathBuf {
        self.dir.join(format!("{segment:012}{RESTED_SUFFIX}"))
    }

    /// The path of a spare.
    pub fn spare_path(&self, spare: u32) -> PathBuf {
        self.dir.join(format!("{spare:012}{SPARE_SUFFIX}"))
    }

    /// Makes every name in the directory durable that a failed change of names left in doubt: by changes that succeed.
    pub async fn make_names_durable(&self) -> Result<(), DiskError> {
        let path = self.dir.join(format!("names.{UNFINISHED}"));
        self.disk.write_aside(&path, Bytes::new()).await.map_err(while_doing("writing", &path))?;
        self.disk.remove(&path).await.map_err(while_doing("removing", &path))
    }

    /// Keeps an open segment for reading back, instead of the one kept longest if there are many.
    pub fn keep(&self, segment: u32, file: Rc<D::File>) {
        self.forget(segment);
        let mut open = self.open.borrow_mut();
        if open.len() >= self.open_max.get() {
            open.pop_front();
        }
        open.push_back((segment, file));
    }

    /// Closes a segment that is reclaimed.
    pub fn forget(&self, segment: u32) {
        self.open.borrow_mut().retain(|(kept, _)| *kept != segment);
    }

    /// The open file of a segment.
    pub async fn get(&self, segment: u32) -> Result<Rc<D::File>, DiskError> {
        let kept = self.open.borrow().iter().find(|(kept, _)| *kept == segment).map(|(_, file)| Rc::clone(file));
        if let Some(file) = kept {
            return Ok(file);
        }
        let path = self.path(segment);
        let file = Rc::new(self.disk.open(&path, false).await.map_err(while_doing("opening", &path))?);
        self.keep(segment, Rc::clone(&file));
        Ok(file)
    }

    /// Reads one record back and verifies it; returns the whole record, header included.
    pub async fn read_record(&self, at: Location) -> Result<Bytes, ReadError> {
        let bytes = self.read_from(at.start(), at.bytes as usize).await?;
        self.record_at(at.start(), &bytes)
            .filter(|record| record.len() == at.bytes as usize)
            .ok_or_else(|| self.damaged(at.start()))
    }

    /// The same for a record whose length only its own header tells.
    pub async fn read_record_at(&self, at: RecordStart) -> Result<Bytes, ReadError> {
        let bytes = self.read_from(at, PROBE_BYTES - at.offset as usize % BLOCK_BYTES).await?;
        let length = match self.header_at(at, &bytes) {
            Some(header) if header.bytes > bytes.len() => header.bytes,
            Some(_) | None => return self.record_at(at, &bytes).ok_or_else(|| self.damaged(at)),
        };
        // A header that verifies was written by us; no record passes the end of its segment.
        if length > to_usize(SEGMENT_BYTES_MAX) {
            return Err(self.damaged(at));
        }
        let bytes = self.read_from(at, length).await?;
        self.record_at(at, &bytes).ok_or_else(|| self.damaged(at))
    }

    /// The record that begins `bytes` and stands at `at`, if it is whole and intact.
    pub fn record_at(&self, at: RecordStart, bytes: &Bytes) -> Option<Bytes> {
        let header = self.header_at(at, bytes)?;
        let intact = bytes.get(header.payload()).is_some_and(|payload| header.verifies(payload));
        intact.then(|| bytes.slice(..header.bytes))
    }

    fn header_at(&self, at: RecordStart, bytes: &[u8]) -> Option<Header> {
        match Header::read(bytes, self.position(at.segment, at.offset)) {
            HeaderRead::Known(header) => Some(header),
            HeaderRead::Unknown(_) | HeaderRead::Damaged => None,
        }
    }

    /// Up to `length` bytes from `at`: fewer where the segment ends.
    async fn read_from(&self, at: RecordStart, length: usize) -> Result<Bytes, ReadError> {
        let file = self.get(at.segment).await?;
        let (start, end) = (at.offset as usize, at.offset as usize + length);
        let first_block = start / BLOCK_BYTES * BLOCK_BYTES;
        let buffer = AlignedBuf::with_capacity(end - first_block);
        let (result, buffer) = self.disk.read_at(&file, buffer, first_block as u64).await;
        result.map_err(while_doing("reading", &self.path(at.segment)))?;
        let bytes = Bytes::from_owner(buffer);
        let end = (end - first_block).min(bytes.len());
        Ok(bytes.slice((start - first_block).min(end)..end))
    }

    fn damaged(&self, at: RecordStart) -> ReadError {
        ReadError::Damaged { path: self.path(at.segment), at }
    }
}

const _: () = assert!(PROBE_BYTES >= BLOCK_BYTES + HEADER_BYTES, "a header at a block's end is read whole");

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
