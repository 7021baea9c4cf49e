//! How a connection's bytes arrive: the sizes of its reads.

use dispatcher::message::Xorshift;

/// Reads after which the rest comes at once.
const COUNT_MAX: usize = 1000;

/// Sizes of reads, one after the other.
pub struct Reads {
    kind: u8,
    size: usize,
    count: usize,
    random: Xorshift,
}

impl Reads {
    /// As these two bytes choose.
    pub fn new(kind: u8, size: u8) -> Self {
        // Fine where it is small, and up to more than a head.
        let size = usize::from(size) * if kind & 0x80 == 0 { 1 } else { 97 };
        Self { kind, size, count: 0, random: Xorshift::new(u64::from(kind) << 8 | size as u64) }
    }

    /// Bytes of the next read: at least one, at most `left`, which is not zero.
    pub fn next(&mut self, left: usize) -> usize {
        self.count += 1;
        // A long body in single bytes would cost the time of a thousand other inputs.
        if self.count > COUNT_MAX {
            return left;
        }
        let wanted = match self.kind % 4 {
            0 => left,
            // One cut, and the rest at once.
            1 => std::mem::replace(&mut self.size, left),
            2 => self.size,
            _ => usize::try_from(self.random.next() >> 40).expect("24 bits") % (self.size + 1),
        };
        wanted.clamp(1, left)
    }
}
