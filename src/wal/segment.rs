//! Segment and batch headers, and the scan that tells a torn tail from damage. The layout is specified in the module
//! doc of [`super`]; this file reads an image of a segment and touches no disk.

use std::ops::Range;

use super::layout::{Position, u16_at, u32_at, u64_at};
use super::record::{self, HEADER_BYTES, HeaderRead};
use crate::limits::BLOCK_BYTES;
use crate::time::UnixMillis;

/// Version of the format that this program writes, and the only one it reads.
pub const VERSION: u16 = 1;
/// Where the first batch of a segment starts: behind the header block.
pub const FIRST_BATCH: u32 = 4096;
/// Header of every batch, in bytes.
pub const BATCH_HEADER_BYTES: usize = 32;

const SEGMENT_MAGIC: &[u8; 8] = b"DISPWAL\n";
const BATCH_MAGIC: u32 = 0xBA7C_D15C;
const NOTHING_BEFORE: u32 = u32::MAX;

/// The first block of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Number of the shard that wrote it.
    pub shard: u32,
    /// Sequence number, equal to the file's name.
    pub segment: u32,
    /// When it was begun.
    pub begun: UnixMillis,
    /// How the segment before it ended; `None` where there was no such segment.
    pub before: Option<Sealed>,
}

/// How a segment ended, as the header of the next one records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Batches that are part of the log; what the segment holds beyond them was never acknowledged.
    pub batches: u32,
    /// The last of them was cut short by a crash: what is missing from it is no damage.
    pub torn: bool,
}

/// What stands in a segment's first block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentHeaderRead {
    /// An intact header of this version.
    Known(SegmentHeader),
    /// A header of another version of the format.
    OtherVersion(u16),
    /// Zeros, the header of a former life, or damage.
    Absent,
}

impl SegmentHeader {
    /// The header block.
    pub fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut block = [0; BLOCK_BYTES];
        block[0..8].copy_from_slice(SEGMENT_MAGIC);
        block[8..10].copy_from_slice(&VERSION.to_le_bytes());
        block[12..16].copy_from_slice(&self.shard.to_le_bytes());
        block[16..20].copy_from_slice(&self.segment.to_le_bytes());
        block[24..32].copy_from_slice(&self.begun.0.to_le_bytes());
        let batches = self.before.map_or(NOTHING_BEFORE, |before| before.batches);
        block[32..36].copy_from_slice(&batches.to_le_bytes());
        block[36] = u8::from(self.before.is_some_and(|before| before.torn));
        let crc = Position { shard: self.shard, segment: self.segment, offset: 0 }.crc(&block[..60]);
        block[60..64].copy_from_slice(&crc.to_le_bytes());
        block
    }

    /// Reads the header of segment `segment` of shard `shard`.
    pub fn read(image: &[u8], shard: u32, segment: u32) -> SegmentHeaderRead {
        let Some(header) = image.first_chunk::<64>() else { return SegmentHeaderRead::Absent };
        let position = Position { shard, segment, offset: 0 };
        if &header[0..8] != SEGMENT_MAGIC || u32_at(header, 60) != position.crc(&header[..60]) {
            return SegmentHeaderRead::Absent;
        }
        if u16_at(header, 8) != VERSION {
            return SegmentHeaderRead::OtherVersion(u16_at(header, 8));
        }
        SegmentHeaderRead::Known(Self {
            shard: u32_at(header, 12),
            segment: u32_at(header, 16),
            begun: UnixMillis(u64_at(header, 24)),
            before: Some(Sealed { batches: u32_at(header, 32), torn: header[36] != 0 })
                .filter(|before| before.batches != NOTHING_BEFORE),
        })
    }
}

/// The header of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Number within the segment, from 0.
    pub number: u32,
    /// Header and records, in bytes, without the padding to the next block.
    pub bytes: u32,
    /// Records.
    pub records: u32,
}

impl BatchHeader {
    /// Writes the header to the first bytes of a batch that will stand at `position`.
    pub fn write(&self, batch: &mut [u8], position: Position) {
        batch[0..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        batch[4..8].copy_from_slice(&self.number.to_le_bytes());
        batch[8..12].copy_from_slice(&self.bytes.to_le_bytes());
        batch[12..16].copy_from_slice(&self.records.to_le_bytes());
        batch[16..28].fill(0);
        let crc = position.crc(&batch[..28]);
        batch[28..32].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads and verifies the header at the start of `bytes`, which stands at `position`.
    pub fn read(bytes: &[u8], position: Position) -> Option<Self> {
        let header = bytes.first_chunk::<BATCH_HEADER_BYTES>()?;
        let intact = u32_at(header, 0) == BATCH_MAGIC && u32_at(header, 28) == position.crc(&header[..28]);
        let read = Self { number: u32_at(header, 4), bytes: u32_at(header, 8), records: u32_at(header, 12) };
        (intact && read.bytes as usize >= BATCH_HEADER_BYTES).then_some(read)
    }

    /// From this batch's start to the next batch's.
    pub const fn stride(&self) -> usize {
        (self.bytes as usize).next_multiple_of(BLOCK_BYTES)
    }
}

/// What a scan comes upon, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// An intact record.
    Record {
        /// Where it stands.
        offset: u32,
        /// Its header.
        header: record::Header,
        /// Its payload, verified.
        payload: &'a [u8],
    },
    /// A record that a newer version wrote: the start must be refused.
    NewerKind {
        /// Where it stands.
        offset: u32,
        /// The unknown code.
        kind: u8,
    },
    /// Acknowledged bytes that are not what was written.
    Damage(Range<usize>),
}

/// What a segment held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// How it ended: what the next segment's header is to record.
    pub sealed: Sealed,
    /// Where the last batch ends.
    pub end: usize,
}

/// Reads the image of one segment and hands everything in it to `visit`.
///
/// `sealed` is what the following segment's header says of this one, `None` if there is none. The verdicts:
///
/// | batch is intact | it is the last | `sealed` says | verdict |
/// |---|---|---|---|
/// | yes | – | it counts | its records |
/// | yes | – | it does not count | never acknowledged: the log ends before it |
/// | no | no: an intact batch follows | – | damage; records in it that are intact stand |
/// | no | yes | it counts and is whole | damage; records in it that are intact stand |
/// | no | yes | nothing, or that it is torn | torn tail; records in it that are intact stand |
///
/// Why intact records of a torn tail stand, though nobody was told 202 for them: a bit that flipped in the last,
/// acknowledged batch looks the same, and there the others must not be lost. Delivering a message whose sender lost
/// the connection before its 202 is within the promise; losing an acknowledged one is not.
pub fn scan<'a>(
    image: &'a [u8],
    shard: u32,
    segment: u32,
    sealed: Option<Sealed>,
    visit: &mut dyn FnMut(Found<'a>),
) -> Scanned {
    let scan = Scan { image, shard, segment };
    let mut done = Scanned { sealed: Sealed { batches: 0, torn: false }, end: FIRST_BATCH as usize };
    let counts = |number: u32| sealed.is_none_or(|sealed| number < sealed.batches);
    while counts(done.sealed.batches) {
        let next = scan.next_batch(done.end, done.sealed.batches).filter(|(_, header)| counts(header.number));
        let Some((start, header)) = next else {
            scan.visit_tail(&mut done, sealed, visit);
            break;
        };
        if start > done.end {
            scan.salvage(done.end..start, visit);
        }
        let end = (start + header.stride()).min(image.len());
        let records = start + BATCH_HEADER_BYTES..(start + header.bytes as usize).min(image.len());
        if let Some(bad) = scan.visit_batch(records, header.records, visit) {
            let torn = match sealed {
                Some(sealed) => sealed.torn && header.number + 1 == sealed.batches,
                None => scan.next_batch(end, header.number + 1).is_none(),
            };
            if torn { done.sealed.torn = true } else { visit(Found::Damage(bad)) }
        }
        (done.sealed.batches, done.end) = (header.number + 1, end);
    }
    done
}

struct Scan<'a> {
    image: &'a [u8],
    shard: u32,
    segment: u32,
}

impl<'a> Scan<'a> {
    fn position(&self, offset: usize) -> Position {
        let offset = u32::try_from(offset).expect("segments are bounded by SEGMENT_BYTES_MAX");
        Position { shard: self.shard, segment: self.segment, offset }
    }

    /// The first intact batch header at or behind block `from`, numbered `number` or later. Batch headers of another
    /// life of the file never verify, so this ends at the image's end only where the log does, or where all behind
    /// is damaged.
    fn next_batch(&self, from: usize, number: u32) -> Option<(usize, BatchHeader)> {
        (from..self.image.len()).step_by(BLOCK_BYTES).find_map(|start| {
            let header = BatchHeader::read(&self.image[start..], self.position(start))?;
            (header.number >= number).then_some((start, header))
        })
    }

    /// No intact batch follows that counts: the log ends here, or what follows is torn or damaged.
    fn visit_tail(&self, done: &mut Scanned, sealed: Option<Sealed>, visit: &mut dyn FnMut(Found<'a>)) {
        let rest = done.end..self.image.len();
        match sealed {
            Some(sealed) => {
                let torn = sealed.torn && done.sealed.batches + 1 == sealed.batches;
                if !torn {
                    visit(Found::Damage(rest.clone()));
                }
                self.visit_intact(rest, visit);
                *done = Scanned { sealed, end: self.image.len() };
            }
            None => {
                // A torn batch may have lost the block of its header and kept others.
                let end = self.visit_intact(rest.clone(), visit);
                if end > rest.start {
                    let sealed = Sealed { batches: done.sealed.batches + 1, torn: true };
                    *done = Scanned { sealed, end: end.next_multiple_of(BLOCK_BYTES) };
                }
            }
        }
    }

    /// Visits the intact records in a damaged range, and reports the range.
    fn salvage(&self, range: Range<usize>, visit: &mut dyn FnMut(Found<'a>)) {
        visit(Found::Damage(range.clone()));
        self.visit_intact(range, visit);
    }

    /// Visits the records of a batch; returns the range that is not intact, if any.
    fn visit_batch(&self, range: Range<usize>, records: u32, visit: &mut dyn FnMut(Found<'a>)) -> Option<Range<usize>> {
        let (mut at, mut count, mut damaged): (usize, u32, Option<Range<usize>>) = (range.start, 0, None);
        while at < range.end {
            match self.record_at(at, range.end) {
                Some((found, next)) => {
                    visit(found);
                    count += 1;
                    at = next;
                }
                None => {
                    let bad = damaged.get_or_insert(at..at);
                    at += record::ALIGNMENT;
                    bad.end = at.min(range.end);
                }
            }
        }
        if count < records && damaged.is_none() {
            // Cut short in the image itself: the file is shorter than its header says.
            damaged = Some(range);
        }
        damaged
    }

    /// Visits every intact record in `range`, wherever it starts; returns where the last one ends.
    fn visit_intact(&self, range: Range<usize>, visit: &mut dyn FnMut(Found<'a>)) -> usize {
        let (mut at, mut end) = (range.start, range.start);
        while at + HEADER_BYTES <= range.end {
            match self.record_at(at, range.end) {
                Some((found, next)) => {
                    visit(found);
                    (at, end) = (next, next);
                }
                None => at += record::ALIGNMENT,
            }
        }
        end
    }

    /// The intact record at `at`, and where the next one may start.
    fn record_at(&self, at: usize, end: usize) -> Option<(Found<'a>, usize)> {
        let bytes = &self.image[at..end];
        // Cheap first: most of what a salvage steps over is no record.
        if bytes.len() < HEADER_BYTES {
            return None;
        }
        let offset = self.position(at).offset;
        match record::Header::read(bytes, self.position(at)) {
            HeaderRead::Known(header) => {
                let payload = bytes.get(header.payload())?;
                let found = Found::Record { offset, header, payload };
                header.verifies(payload).then_some((found, at + header.stride()))
            }
            HeaderRead::Unknown(kind) => Some((Found::NewerKind { offset, kind }, at + record::ALIGNMENT)),
            HeaderRead::Damaged => None,
        }
    }
}

#[cfg(test)]
#[path = "segment_tests.rs"]
mod tests;
