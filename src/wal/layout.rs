//! Little-endian fields, and the position that every checksum is bound to.

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
    pub fn crc(self, header: &[u8]) -> u32 {
        let mut place = [0; 16];
        place[0..4].copy_from_slice(&self.shard.to_le_bytes());
        place[4..8].copy_from_slice(&self.segment.to_le_bytes());
        place[8..12].copy_from_slice(&self.offset.to_le_bytes());
        let bytes = match self.salt {
            Some(salt) => {
                place[12..16].copy_from_slice(&salt.to_le_bytes());
                &place[..]
            }
            None => &place[..12],
        };
        crc32c::crc32c_append(crc32c::crc32c(bytes), header)
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
