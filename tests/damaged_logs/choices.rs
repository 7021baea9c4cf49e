//! Where the contents of a log and its harms come from: a fuzzer's bytes, or a seed.

use dispatcher::message::Xorshift;

/// A source of small decisions. The same source makes the same decisions.
pub enum Choices<'a> {
    /// One to four bytes per decision; the first of all alternatives when they are used up.
    Bytes(&'a [u8]),
    /// Without end.
    Seed(Xorshift),
}

impl Choices<'static> {
    pub fn of_seed(seed: u64) -> Self {
        let mut random = Xorshift::new(seed.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // Neighbouring seeds begin alike.
        random.next();
        Self::Seed(random)
    }
}

impl Choices<'_> {
    /// A number below `count`, which is not zero.
    pub fn below(&mut self, count: usize) -> usize {
        match self {
            Self::Seed(random) => usize::try_from((random.next() >> 16) % count as u64).unwrap(),
            Self::Bytes(bytes) => {
                let taken = match count {
                    0..=0x100 => 1,
                    0x101..=0x1_0000 => 2,
                    _ => 4,
                };
                let (now, later) = bytes.split_at(taken.min(bytes.len()));
                *bytes = later;
                now.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)) % count
            }
        }
    }

    /// Once in so many times; never when the bytes are used up.
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == count - 1
    }

    /// One of these, which are not none.
    pub fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    /// Bytes without meaning. Not the fuzzer's own: it watches comparisons, and would learn to forge a checksum.
    pub fn garbage(&mut self, bytes: usize) -> Vec<u8> {
        let mut random = Xorshift::new(self.below(0x1_0000) as u64 + 1);
        let mut garbage = Vec::with_capacity(bytes + 8);
        while garbage.len() < bytes {
            garbage.extend_from_slice(&random.next().to_le_bytes());
        }
        garbage.truncate(bytes);
        garbage
    }
}
