//! Where a message's records stand, in 16 bytes.

use super::record::ALIGNMENT;
use crate::limits::{SEGMENT_BYTES_MAX, SEGMENTS_MAX};

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Sequence number of the segment.
    pub segment: u32,
    /// Offset in the segment, in bytes.
    pub offset: u32,
    /// The record's length, in bytes, header included.
    pub bytes: u32,
}

impl Location {
    /// Where it begins.
    pub const fn start(self) -> RecordStart {
        RecordStart { segment: self.segment, offset: self.offset }
    }
}

/// Where a record begins; how long it is stands in its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordStart {
    /// Sequence number of the segment.
    pub segment: u32,
    /// Offset in the segment, in bytes.
    pub offset: u32,
}

/// The place of a message's own record and of its newest `Retry` record, or of no message.
///
/// ```text
/// bit  0  22 segment   22  27 offset / 8   49  30 bytes; 0: no message
///     79  22 segment  101  27 offset / 8 of the retry; 0: never retried, as a segment begins with its header
/// ```
///
/// Segments are numbers modulo [`SEGMENTS_MAX`]: no more exist at a time, so that the number of the oldest tells which
/// are meant. The retry's length is left out, as there is no room for it: who reads that record meets its header first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u128);

const SEGMENT: Bits = Bits { shift: 0, width: 22 };
const OFFSET: Bits = Bits { shift: 22, width: 27 };
const BYTES: Bits = Bits { shift: 49, width: 30 };
const RETRY_SEGMENT: Bits = Bits { shift: 79, width: 22 };
const RETRY_OFFSET: Bits = Bits { shift: 101, width: 27 };
const UNIT: u32 = 8;

const _: () = assert!(RETRY_OFFSET.shift + RETRY_OFFSET.width == u128::BITS, "the fields fill the number");
const _: () = assert!(SEGMENTS_MAX == 1 << SEGMENT.width, "segments are told apart");
const _: () = assert!(UNIT as usize == ALIGNMENT, "records begin at multiples of the unit");
const _: () = assert!(SEGMENT_BYTES_MAX <= (UNIT as u64) << OFFSET.width, "every offset fits");
const _: () = assert!(SEGMENT_BYTES_MAX <= 1 << BYTES.width, "every record is shorter than its segment, and fits");

impl Place {
    /// Of no message.
    pub const VACANT: Self = Self(0);

    /// Of a message that was not retried since it was written at `at`.
    ///
    /// # Panics
    /// If no segment could hold a record there.
    pub fn new(at: Location) -> Self {
        assert!(at.bytes > 0, "a record has a header");
        let start = SEGMENT.put(at.segment % SEGMENTS_MAX) | OFFSET.put(units(at.offset));
        Self(start | BYTES.put(at.bytes))
    }

    /// Whether it is of no message.
    pub const fn is_vacant(self) -> bool {
        BYTES.get(self.0) == 0
    }

    /// Where the message stands; `oldest` is the number of the oldest segment that exists.
    pub const fn message(self, oldest: u32) -> Location {
        let RecordStart { segment, offset } = self.start(SEGMENT, OFFSET, oldest);
        Location { segment, offset, bytes: BYTES.get(self.0) }
    }

    /// Where its newest `Retry` record stands, if it has one.
    pub fn retry(self, oldest: u32) -> Option<RecordStart> {
        let start = self.start(RETRY_SEGMENT, RETRY_OFFSET, oldest);
        Some(start).filter(|start| start.offset > 0)
    }

    /// The same with another newest `Retry` record.
    ///
    /// # Panics
    /// If no segment could hold a record there.
    #[must_use]
    pub fn with_retry(self, at: RecordStart) -> Self {
        assert!(at.offset > 0, "a segment begins with its header");
        let kept = self.0 & !(RETRY_SEGMENT.mask() | RETRY_OFFSET.mask());
        Self(kept | RETRY_SEGMENT.put(at.segment % SEGMENTS_MAX) | RETRY_OFFSET.put(units(at.offset)))
    }

    const fn start(self, segment: Bits, offset: Bits, oldest: u32) -> RecordStart {
        let ahead = segment.get(self.0).wrapping_sub(oldest) % SEGMENTS_MAX;
        RecordStart { segment: oldest.wrapping_add(ahead), offset: offset.get(self.0) * UNIT }
    }
}

fn units(offset: u32) -> u32 {
    assert!(offset.is_multiple_of(UNIT), "records begin at multiples of the unit");
    offset / UNIT
}

/// Some of the bits of a number.
#[derive(Clone, Copy)]
struct Bits {
    shift: u32,
    width: u32,
}

impl Bits {
    const fn mask(self) -> u128 {
        ((1 << self.width) - 1) << self.shift
    }

    #[allow(clippy::cast_possible_truncation, reason = "no field is wider than 32 bits")]
    const fn get(self, from: u128) -> u32 {
        ((from & self.mask()) >> self.shift) as u32
    }

    fn put(self, value: u32) -> u128 {
        assert!(u64::from(value) < 1 << self.width, "the value fits its bits");
        u128::from(value) << self.shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    prop_compose! {
        fn start(oldest: u32)(
            ahead in prop_oneof![Just(0), Just(SEGMENTS_MAX - 1), 0..SEGMENTS_MAX],
            offset in prop_oneof![Just(1), Just((1 << 27) - 1), 1..1_u32 << 27],
        ) -> RecordStart {
            RecordStart { segment: oldest + ahead, offset: offset * 8 }
        }
    }

    fn case() -> impl Strategy<Value = (u32, RecordStart, u32, Vec<RecordStart>)> {
        let oldest =
            prop_oneof![Just(0), Just(SEGMENTS_MAX - 1), Just(u32::MAX - SEGMENTS_MAX), 0..u32::MAX - SEGMENTS_MAX];
        let bytes = prop_oneof![Just(1), Just((1 << 30) - 1), 1..1_u32 << 30];
        oldest.prop_flat_map(move |oldest| {
            (Just(oldest), start(oldest), bytes.clone(), prop::collection::vec(start(oldest), 0..3))
        })
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_whatever_the_segments_numbers((oldest, start, bytes, retries) in case()) {
            let at = Location { segment: start.segment, offset: start.offset, bytes };
            let mut place = Place::new(at);
            prop_assert_eq!((place.message(oldest), place.retry(oldest)), (at, None));
            for retry in retries {
                place = place.with_retry(retry);
                prop_assert_eq!((place.message(oldest), place.retry(oldest)), (at, Some(retry)));
            }
            prop_assert!(!place.is_vacant());
        }
    }

    #[test]
    fn a_vacant_place_is_told_from_the_first_of_a_log() {
        assert!(Place::VACANT.is_vacant());
        assert!(!Place::new(Location { segment: 0, offset: 0, bytes: 32 }).is_vacant());
    }
}
