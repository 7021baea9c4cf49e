//! The frame of a record: its header, its checksums, its place in a segment. What the payload means is in `payload`.
//!
//! The layout is specified in the module doc of [`super`].

use std::ops::Range;

use super::layout::{self, Position};
use crate::message::MessageId;

/// Header of every record, in bytes.
pub const HEADER_BYTES: usize = 32;
/// Records start at multiples of this, in bytes, so that a damaged length costs one record: the scan finds the next.
pub const ALIGNMENT: usize = 8;

const MAGIC: u16 = 0xD15C;

/// What a record says of its message. The discriminant is the code on disk: never renumber, only add.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The message itself: accepted, or written again where it moved.
    Accepted = 1,
    /// An attempt failed; the next is due later.
    Retry = 2,
    /// Delivered: the message has ended.
    Delivered = 3,
    /// Moved to the dead letter log: the message has ended here.
    DeadLettered = 4,
    /// A dead letter, in the dead letter log only.
    DeadLetter = 5,
    /// The message was found damaged when it was read back, and set aside: it has ended.
    Lost = 6,
    /// A dead letter no more, in the dead letter log only.
    Removed = 7,
}

impl Kind {
    const ALL: [Self; 7] =
        [Self::Accepted, Self::Retry, Self::Delivered, Self::DeadLettered, Self::DeadLetter, Self::Lost, Self::Removed];

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }
}

/// The header of a record, read and verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What kind of record.
    pub kind: Kind,
    /// Whose record.
    pub id: MessageId,
    /// Header and payload, in bytes, without the padding behind it.
    pub bytes: usize,
    payload_crc: u32,
}

/// What stands where a record header may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderRead {
    /// An intact header of a kind this version knows.
    Known(Header),
    /// An intact header of a kind that a newer version wrote.
    Unknown(u8),
    /// No header, or a damaged one.
    Damaged,
}

impl Header {
    /// Reads and verifies the header at the start of `bytes`, which stands at `position`.
    pub fn read(bytes: &[u8], position: Position) -> HeaderRead {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else { return HeaderRead::Damaged };
        if layout::u16_at(header, 0) != MAGIC || layout::u32_at(header, 28) != position.crc(&header[..28]) {
            return HeaderRead::Damaged;
        }
        Self::decode(header)
    }

    /// Reads a header that is known to be as [`write_header`] wrote it: nothing of it is verified.
    pub fn decode(header: &[u8; HEADER_BYTES]) -> HeaderRead {
        let bytes = layout::u32_at(header, 4) as usize;
        if bytes < HEADER_BYTES {
            return HeaderRead::Damaged;
        }
        let Some(kind) = Kind::from_code(header[2]) else { return HeaderRead::Unknown(header[2]) };
        let id = MessageId(*header[8..].first_chunk().expect("a header is longer than 24 bytes"));
        HeaderRead::Known(Self { kind, id, bytes, payload_crc: layout::u32_at(header, 24) })
    }

    /// Whether `payload` is what was written behind this header.
    pub fn verifies(&self, payload: &[u8]) -> bool {
        payload.len() == self.bytes - HEADER_BYTES && crc32c::crc32c(payload) == self.payload_crc
    }

    /// Where the payload stands, relative to the header's start.
    pub const fn payload(&self) -> Range<usize> {
        HEADER_BYTES..self.bytes
    }

    /// From this header's start to the next record's.
    pub const fn stride(&self) -> usize {
        self.bytes.next_multiple_of(ALIGNMENT)
    }
}

/// Writes the header of a record over the placeholder at the start of `record`, all but its position: see [`seal`].
///
/// # Panics
/// If `record` is shorter than a header or longer than `u32::MAX`: the caller bounds messages far below.
pub fn write_header(record: &mut [u8], kind: Kind, id: MessageId) {
    let bytes = u32::try_from(record.len()).expect("records are bounded by SEGMENT_BYTES_MAX");
    let (header, payload) = record.split_at_mut(HEADER_BYTES);
    header.fill(0);
    header[0..2].copy_from_slice(&MAGIC.to_le_bytes());
    header[2] = kind as u8;
    header[4..8].copy_from_slice(&bytes.to_le_bytes());
    header[8..24].copy_from_slice(&id.0);
    header[24..28].copy_from_slice(&crc32c::crc32c(payload).to_le_bytes());
}

/// Binds the header at the start of `record` to its final place, known only when its batch is written.
pub fn seal(record: &mut [u8], position: Position) {
    let crc = position.crc(&record[..28]);
    record[28..32].copy_from_slice(&crc.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(position: Position) -> Vec<u8> {
        let mut record = vec![0; HEADER_BYTES];
        record.extend_from_slice(b"payload");
        write_header(&mut record, Kind::Accepted, MessageId([7; 16]));
        seal(&mut record, position);
        record
    }

    #[test]
    fn a_sealed_record_reads_back_at_its_place_and_nowhere_else() {
        let place = Position { shard: 1, segment: 2, salt: Some(9), offset: 4096 };
        let record = sealed(place);
        let HeaderRead::Known(header) = Header::read(&record, place) else { panic!("intact") };
        assert_eq!((header.kind, header.id, header.bytes), (Kind::Accepted, MessageId([7; 16]), record.len()));
        assert!(header.verifies(&record[header.payload()]));
        for elsewhere in [
            Position { shard: 0, ..place },
            Position { segment: 3, ..place },
            Position { offset: 8192, ..place },
            Position { salt: Some(8), ..place },
            Position { salt: None, ..place },
        ] {
            assert_eq!(Header::read(&record, elsewhere), HeaderRead::Damaged);
        }
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let place = Position { shard: 0, segment: 9, salt: Some(1), offset: 64 };
        let record = sealed(place);
        let intact = |bytes: &[u8]| match Header::read(bytes, place) {
            HeaderRead::Known(header) => bytes.get(header.payload()).is_some_and(|payload| header.verifies(payload)),
            HeaderRead::Unknown(_) | HeaderRead::Damaged => false,
        };
        assert!(intact(&record));
        for bit in 0..record.len() * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(!intact(&flipped), "bit {bit}");
        }
        for length in 0..record.len() {
            assert!(!intact(&record[..length]), "cut at {length}");
        }
    }

    #[test]
    fn a_kind_of_a_newer_version_is_told_from_damage() {
        let place = Position { shard: 0, segment: 0, salt: None, offset: 0 };
        let mut record = sealed(place);
        record[2] = 99;
        seal(&mut record, place);
        assert_eq!(Header::read(&record, place), HeaderRead::Unknown(99));
    }
}
