//! [`AlignedBuf`]: memory that `O_DIRECT` accepts, and its contract with `io_uring`.
#![allow(unsafe_code, reason = "tokio-uring's buffer traits are unsafe to implement")]

use std::cell::RefCell;

use crate::limits::{BLOCK_BYTES, BUFFERS_KEPT_BYTES, BUFFERS_KEPT_MAX};

#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_BYTES]);

const _: () = assert!(align_of::<Block>() == BLOCK_BYTES, "alignment is the block size");

thread_local! {
    /// Memory of buffers that were dropped on this thread, for the next ones: fresh memory must be zeroed whole.
    static KEPT: RefCell<Vec<Box<[Block]>>> = const { RefCell::new(Vec::new()) };
}

/// A byte buffer whose start and capacity are multiples of the block size. What it grows by without being written reads
/// as zero.
pub struct AlignedBuf {
    blocks: Box<[Block]>,
    length: usize,
}

impl AlignedBuf {
    /// An empty buffer with room for at least `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        let count = bytes.div_ceil(BLOCK_BYTES);
        let kept = KEPT.with_borrow_mut(|kept| {
            kept.iter().position(|blocks| blocks.len() == count).map(|place| kept.swap_remove(place))
        });
        Self { blocks: kept.unwrap_or_else(|| bytemuck::zeroed_slice_box(count)), length: 0 }
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

    /// Sets the length within the capacity; what is added reads as zero.
    pub fn set_len(&mut self, length: usize) {
        assert!(length <= self.capacity(), "length within capacity");
        let before = self.length;
        if length > before {
            self.all_mut()[before..length].fill(0);
        }
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

    /// Extends the length to the next multiple of `granularity` bytes with zeros.
    pub fn pad_to(&mut self, granularity: usize) {
        let length = self.length.next_multiple_of(granularity);
        self.reserve(length);
        self.set_len(length);
    }

    fn all(&self) -> &[u8] {
        bytemuck::cast_slice(&self.blocks)
    }

    fn all_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.blocks)
    }
}

impl Drop for AlignedBuf {
    fn drop(&mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        if blocks.is_empty() || blocks.len() * BLOCK_BYTES > BUFFERS_KEPT_BYTES / BUFFERS_KEPT_MAX {
            return;
        }
        // On a thread that ends there is nothing to keep it in.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() == BUFFERS_KEPT_MAX {
                // Sizes that are not asked for any more must not stay for ever.
                kept.remove(0);
            }
            kept.push(blocks);
        });
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
// dropped; every byte of it is initialised (zeroed when it was allocated, for this buffer or one before).
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
// capacity, over bytes that the kernel has written and that were initialised anyway.
unsafe impl tokio_uring::buf::IoBufMut for AlignedBuf {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.all_mut().as_mut_ptr()
    }

    unsafe fn set_init(&mut self, pos: usize) {
        assert!(pos <= self.capacity(), "length within capacity");
        self.length = self.length.max(pos);
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

    #[test]
    fn of_what_a_buffer_held_nothing_is_in_the_next() {
        for bytes in [BLOCK_BYTES, 3 * BLOCK_BYTES] {
            let mut first = AlignedBuf::with_capacity(bytes);
            first.extend_from_slice(&vec![0xAA; bytes]);
            let memory = first.as_ptr();
            drop(first);
            let mut second = AlignedBuf::with_capacity(bytes);
            assert_eq!((second.as_ptr(), second.len(), second.capacity()), (memory, 0, bytes), "the same memory");
            second.set_len(5);
            second.extend_from_slice(b"five.");
            second.pad_to(BLOCK_BYTES);
            assert_eq!(&second[..10], b"\0\0\0\0\0five.");
            assert!(second[10..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn no_more_memory_is_kept_than_the_bound() {
        let small = |_| AlignedBuf::with_capacity(BLOCK_BYTES);
        drop((0..=BUFFERS_KEPT_MAX).map(small).collect::<Vec<_>>());
        drop(AlignedBuf::with_capacity(BUFFERS_KEPT_BYTES));
        let kept: Vec<usize> = KEPT.with_borrow(|kept| kept.iter().map(|blocks| blocks.len()).collect());
        assert_eq!(kept, [1; BUFFERS_KEPT_MAX]);
    }
}
