//! Little-endian fields, and the position that every checksum is bound to.

/// A position, as a checksum begins with it, at its longest, in bytes.
const PLACE_BYTES_MAX: usize = 16;
/// The longest header, a segment's, as far as its checksum covers it, in bytes.
const SEALED_BYTES_MAX: usize = 60;

/// Where something stands. Every header's checksum starts from its position, so that bytes of a segment's former
/// life, of another shard, or written to the wrong offset never verify; and from a salt that no sender knows, so that
/// no body can imitate a record where the log is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Number of the shard.
    pub shard: u32,
    /// Sequence number of the segment.
    pub segment: u32,
    /// Random, the same for all segments of one log; `None` in format version 1.
    pub salt: Option<u32>,
    /// Offset in the segment, in bytes.
    pub offset: u32,
}

impl Position {
    /// This position, `bytes` further on.
    #[must_use]
    pub const fn plus(self, bytes: u32) -> Self {
        Self { offset: self.offset + bytes, ..self }
    }

    /// The same segment at another offset.
    ///
    /// # Panics
    /// If `offset` is not within a segment.
    #[must_use]
    pub fn at(self, offset: usize) -> Self {
        Self { offset: u32::try_from(offset).expect("segments are bounded by SEGMENT_BYTES_MAX"), ..self }
    }

    /// CRC-32C of `header`, bound to this position.
    ///
    /// # Panics
    /// If `header` is longer than any that there is.
    pub fn crc(self, header: &[u8]) -> u32 {
        // One run over aligned bytes: three short ones would take three times as long.
        let mut words = [0_u64; (PLACE_BYTES_MAX + SEALED_BYTES_MAX).div_ceil(8)];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        bytes[0..4].copy_from_slice(&self.shard.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.segment.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.offset.to_le_bytes());
        let place = match self.salt {
            Some(salt) => {
                bytes[12..16].copy_from_slice(&salt.to_le_bytes());
                PLACE_BYTES_MAX
            }
            None => 12,
        };
        let end = place + header.len();
        bytes[place..end].copy_from_slice(header);
        crc32c::crc32c(&bytes[..end])
    }
}

/// The field at `at`. The caller has checked the length.
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(*bytes[at..].first_chunk().expect("the caller has checked the length"))
}

/// The field at `at`. The caller has checked the length.
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().expect("the caller has checked the length"))
}

/// The field at `at`. The caller has checked the length.
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes[at..].first_chunk().expect("the caller has checked the length"))
}
