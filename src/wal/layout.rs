//! Little-endian fields, and the position that every checksum is bound to.

/// Where something stands. Every header's checksum starts from its position, so that bytes of a segment's former
/// life, of another shard, or written to the wrong offset never verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Number of the shard.
    pub shard: u32,
    /// Sequence number of the segment.
    pub segment: u32,
    /// Offset in the segment, in bytes.
    pub offset: u32,
}

impl Position {
    /// CRC-32C of `header`, bound to this position.
    pub fn crc(self, header: &[u8]) -> u32 {
        let mut place = [0; 12];
        place[0..4].copy_from_slice(&self.shard.to_le_bytes());
        place[4..8].copy_from_slice(&self.segment.to_le_bytes());
        place[8..12].copy_from_slice(&self.offset.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&place), header)
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
