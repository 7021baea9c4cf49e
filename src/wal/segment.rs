//! Segment and batch headers. The layout is specified in the module doc of [`super`].

use super::layout::{Position, u16_at, u32_at, u64_at};
use crate::limits::BLOCK_BYTES;
use crate::message::MessageId;
use crate::time::UnixMillis;

/// Version of the format that this program writes.
pub const VERSION: u16 = 2;
/// The oldest version that it reads: without salt, floor and second copy of the header.
pub const VERSION_MIN: u16 = 1;
/// Where the first batch of a segment starts: behind the header block.
pub const FIRST_BATCH: u32 = 4096;
/// Header of every batch, in bytes.
pub const BATCH_HEADER_BYTES: usize = 32;

const SEGMENT_MAGIC: &[u8; 8] = b"DISPWAL\n";
const BATCH_MAGIC: u32 = 0xBA7C_D15C;
const NOTHING_BEFORE: u32 = u32::MAX;
const HEADER_BYTES: usize = 64;
/// Where the header stands a second time: in another sector, so that one bad sector does not cost the salt.
const COPY: usize = BLOCK_BYTES / 2;

/// The first block of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Number of the shard that wrote it.
    pub shard: u32,
    /// Sequence number, equal to the file's name.
    pub segment: u32,
    /// Bound into every checksum of the segment; `None`: written by version 1.
    pub salt: Option<u32>,
    /// When it was begun.
    pub begun: UnixMillis,
    /// How the segment before it ended; `None` where there was no such segment.
    pub before: Option<Sealed>,
    /// No message in the segments before has a greater id; zero: none has been accepted. `None`: written by version 1.
    pub floor: Option<MessageId>,
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
    /// An intact header of a version that is read.
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
        let version = if self.salt.is_some() { VERSION } else { VERSION_MIN };
        block[0..8].copy_from_slice(SEGMENT_MAGIC);
        block[8..10].copy_from_slice(&version.to_le_bytes());
        block[12..16].copy_from_slice(&self.shard.to_le_bytes());
        block[16..20].copy_from_slice(&self.segment.to_le_bytes());
        block[20..24].copy_from_slice(&self.salt.unwrap_or(0).to_le_bytes());
        block[24..32].copy_from_slice(&self.begun.0.to_le_bytes());
        let batches = self.before.map_or(NOTHING_BEFORE, |before| before.batches);
        block[32..36].copy_from_slice(&batches.to_le_bytes());
        block[36] = u8::from(self.before.is_some_and(|before| before.torn));
        block[40..56].copy_from_slice(&self.floor.unwrap_or_default().0);
        let crc = place(self.shard, self.segment).crc(&block[..60]);
        block[60..64].copy_from_slice(&crc.to_le_bytes());
        if version > VERSION_MIN {
            let (header, rest) = block.split_at_mut(COPY);
            rest[..HEADER_BYTES].copy_from_slice(&header[..HEADER_BYTES]);
        }
        block
    }

    /// Reads the header of segment `segment` of shard `shard` from the segment's first block: where it stands first is
    /// damaged, its copy.
    pub fn read(block: &[u8], shard: u32, segment: u32) -> SegmentHeaderRead {
        let copies = || [0, COPY].into_iter().filter_map(|at| block.get(at..)?.first_chunk::<HEADER_BYTES>());
        match copies().find(|header| is_intact(header, shard, segment)) {
            Some(header) => Self::decode(header),
            None => copies()
                .find_map(|header| newer(header, shard, segment))
                .map_or(SegmentHeaderRead::Absent, SegmentHeaderRead::OtherVersion),
        }
    }

    fn decode(header: &[u8; HEADER_BYTES]) -> SegmentHeaderRead {
        let version = u16_at(header, 8);
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return SegmentHeaderRead::OtherVersion(version);
        }
        let salted = version > VERSION_MIN;
        SegmentHeaderRead::Known(Self {
            shard: u32_at(header, 12),
            segment: u32_at(header, 16),
            salt: salted.then(|| u32_at(header, 20)),
            begun: UnixMillis(u64_at(header, 24)),
            before: Some(Sealed { batches: u32_at(header, 32), torn: header[36] != 0 })
                .filter(|before| before.batches != NOTHING_BEFORE),
            floor: salted.then(|| MessageId(*header[40..].first_chunk().expect("a header is longer than 56 bytes"))),
        })
    }
}

fn is_intact(header: &[u8; HEADER_BYTES], shard: u32, segment: u32) -> bool {
    header[0..8] == *SEGMENT_MAGIC && u32_at(header, 60) == place(shard, segment).crc(&header[..60])
}

/// The version of a header that is not laid out as those of this program, so that it cannot be checked. Taken for damage it
/// would be set aside, and its file used again. `None`: it is damage, or was intact but for its version.
fn newer(header: &[u8; HEADER_BYTES], shard: u32, segment: u32) -> Option<u16> {
    let version = u16_at(header, 8);
    // What stands in the first twelve bytes is the same in every version; so much of it is hardly ever there by accident.
    let says = header[0..8] == *SEGMENT_MAGIC && version > VERSION && header[10..12] == [0, 0];
    let is_ours = |known: u16| {
        let mut header = *header;
        header[8..10].copy_from_slice(&known.to_le_bytes());
        is_intact(&header, shard, segment)
    };
    (says && !(VERSION_MIN..=VERSION).any(is_ours)).then_some(version)
}

/// The header carries the salt, so its own checksum is without.
const fn place(shard: u32, segment: u32) -> Position {
    Position { shard, segment, salt: None, offset: 0 }
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

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader {
        shard: 3,
        segment: 42,
        salt: Some(0x5A17),
        begun: UnixMillis(77),
        before: Some(Sealed { batches: 12, torn: true }),
        floor: Some(MessageId([7; 16])),
    };

    #[test]
    fn headers_survive_their_encoding_and_other_versions_are_told_apart() {
        let old = SegmentHeader { salt: None, floor: None, ..HEADER };
        for header in [HEADER, old] {
            let block = header.encode();
            assert_eq!(SegmentHeader::read(&block, 3, 42), SegmentHeaderRead::Known(header));
            for (shard, segment) in [(2, 42), (3, 41)] {
                assert_eq!(SegmentHeader::read(&block, shard, segment), SegmentHeaderRead::Absent);
            }
        }
        for version in [0, VERSION + 1] {
            let mut block = HEADER.encode();
            block[8..10].copy_from_slice(&version.to_le_bytes());
            let crc = place(3, 42).crc(&block[..60]);
            block[60..64].copy_from_slice(&crc.to_le_bytes());
            assert_eq!(SegmentHeader::read(&block, 3, 42), SegmentHeaderRead::OtherVersion(version));
        }
    }

    #[test]
    fn a_header_that_only_a_newer_version_can_check_is_no_damage_and_a_flipped_bit_is_no_newer_version() {
        let mut newer = [0xA7; BLOCK_BYTES];
        newer[0..8].copy_from_slice(SEGMENT_MAGIC);
        newer[8..12].copy_from_slice(&[3, 0, 0, 0]);
        assert_eq!(SegmentHeader::read(&newer, 3, 42), SegmentHeaderRead::OtherVersion(3));
        newer[11] = 1;
        assert_eq!(SegmentHeader::read(&newer, 3, 42), SegmentHeaderRead::Absent, "that is damage");
        let old = SegmentHeader { salt: None, floor: None, ..HEADER }.encode();
        for bit in 0..16 {
            let mut flipped = old;
            flipped[8 + bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::read(&flipped, 3, 42), SegmentHeaderRead::Absent, "bit {bit}");
        }
    }

    #[test]
    fn no_flipped_bit_and_no_lost_sector_costs_the_header() {
        let block = HEADER.encode();
        for bit in 0..BLOCK_BYTES * 8 {
            let mut flipped = block;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::read(&flipped, 3, 42), SegmentHeaderRead::Known(HEADER), "bit {bit}");
        }
        for sector in 0..BLOCK_BYTES / 512 {
            let mut lost = block;
            lost[sector * 512..][..512].fill(0xEE);
            assert_eq!(SegmentHeader::read(&lost, 3, 42), SegmentHeaderRead::Known(HEADER), "sector {sector}");
        }
    }
}
