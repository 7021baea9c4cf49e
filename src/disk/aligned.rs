//! [`AlignedBuf`]: memory that `O_DIRECT` accepts, and its contract with `io_uring`. The only unsafe code of the crate.
#![allow(unsafe_code, reason = "tokio-uring's buffer traits are unsafe to implement")]

use crate::limits::BLOCK_BYTES;

#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_BYTES]);

const _: () = assert!(align_of::<Block>() == BLOCK_BYTES, "alignment is the block size");

/// A byte buffer whose start and capacity are multiples of the block size, zeroed where it was not written.
pub struct AlignedBuf {
    blocks: Box<[Block]>,
    length: usize,
}

impl AlignedBuf {
    /// An empty buffer with room for at least `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { blocks: bytemuck::zeroed_slice_box(bytes.div_ceil(BLOCK_BYTES)), length: 0 }
    }

    /// Bytes that fit without growing.
    pub const fn capacity(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// Bytes written.
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether nothing was written.
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Sets the length within the capacity; bytes never written read as zero.
    pub fn set_len(&mut self, length: usize) {
        assert!(length <= self.capacity(), "length within capacity");
        self.length = length;
    }

    /// Appends, growing by doubling where needed.
    pub fn extend_from_slice(&mut self, bytes: &[u8]) {
        let (start, end) = (self.length, self.length + bytes.len());
        self.reserve(end);
        self.all_mut()[start..end].copy_from_slice(bytes);
        self.length = end;
    }

    /// Makes the capacity at least `bytes`, doubling so that appending stays linear.
    pub fn reserve(&mut self, bytes: usize) {
        if bytes <= self.capacity() {
            return;
        }
        let mut larger = Self::with_capacity(bytes.max(self.capacity() * 2));
        larger.length = self.length;
        larger.copy_from_slice(self);
        *self = larger;
    }

    /// Extends the length to the next multiple of `granularity` bytes with what is there: zeros in a fresh buffer.
    pub fn pad_to(&mut self, granularity: usize) {
        let length = self.length.next_multiple_of(granularity);
        self.reserve(length);
        self.length = length;
    }

    fn all(&self) -> &[u8] {
        bytemuck::cast_slice(&self.blocks)
    }

    fn all_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.blocks)
    }
}

impl std::ops::Deref for AlignedBuf {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.all()[..self.length]
    }
}

impl std::ops::DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        let length = self.length;
        &mut self.all_mut()[..length]
    }
}

impl AsRef<[u8]> for AlignedBuf {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl std::fmt::Debug for AlignedBuf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AlignedBuf").field("length", &self.length).field("capacity", &self.capacity()).finish()
    }
}

// SAFETY: the blocks are a heap allocation that does not move when the struct does and lives until the struct is
// dropped; every byte of it is initialised (zeroed at allocation).
unsafe impl tokio_uring::buf::IoBuf for AlignedBuf {
    fn stable_ptr(&self) -> *const u8 {
        self.all().as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.length
    }

    fn bytes_total(&self) -> usize {
        self.capacity()
    }
}

// SAFETY: as for `IoBuf`; the pointer comes from a mutable borrow, and `set_init` only moves the length up within the
// capacity, over bytes that are initialised anyway.
unsafe impl tokio_uring::buf::IoBufMut for AlignedBuf {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.all_mut().as_mut_ptr()
    }

    unsafe fn set_init(&mut self, pos: usize) {
        if self.length < pos {
            self.set_len(pos);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growing_keeps_the_bytes_and_the_alignment() {
        let mut buffer = AlignedBuf::with_capacity(1);
        assert_eq!(buffer.capacity(), BLOCK_BYTES);
        let pattern: Vec<u8> = (0..3 * BLOCK_BYTES + 5).map(|i| u8::try_from(i % 251).expect("below 251")).collect();
        for piece in pattern.chunks(777) {
            buffer.extend_from_slice(piece);
        }
        assert_eq!(&*buffer, &pattern[..]);
        assert_eq!(buffer.as_ptr().addr() % BLOCK_BYTES, 0);
        buffer.pad_to(BLOCK_BYTES);
        assert_eq!(buffer.len(), 4 * BLOCK_BYTES);
        assert!(buffer[pattern.len()..].iter().all(|byte| *byte == 0));
    }
}
