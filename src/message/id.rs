//! [`MessageId`], where ids come from, and the random bits in them.

use std::fmt;

use crate::time::UnixMillis;

/// Identity of a message: a `UUIDv7` (RFC 9562 §5.7). Sorts by time of acceptance; unique over cores and nodes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 16]);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl MessageId {
    /// Length of the text form in bytes.
    pub const TEXT_BYTES: usize = uuid::fmt::Hyphenated::LENGTH;

    /// The text form, without an allocation.
    pub fn text(self) -> [u8; Self::TEXT_BYTES] {
        let mut text = [0; Self::TEXT_BYTES];
        uuid::Uuid::from_bytes(self.0).hyphenated().encode_lower(&mut text);
        text
    }

    /// When the message was accepted: the id's timestamp (RFC 9562 §5.7).
    pub fn accepted(self) -> UnixMillis {
        UnixMillis(low_u64(u128::from_be_bytes(self.0) >> 80))
    }

    /// Reads the text form, as an operator would paste it.
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(|id| Self(id.into_bytes()))
    }
}

/// Strictly increasing `UUIDv7`s of one shard: RFC 9562 §6.2 method 2, monotonic random.
///
/// The 74 bits below the timestamp start at random in each millisecond and grow by a random step within it, so that
/// two shards or two nodes meet only by a 2^-73 chance, and a wall clock that jumps back never makes an id smaller.
#[derive(Debug)]
pub struct IdSource {
    unix_ms: u64,
    tail: u128,
    random: Xorshift,
}

const TAIL_BITS: u32 = 74;
const TAIL_MAX: u128 = (1 << TAIL_BITS) - 1;

impl IdSource {
    /// `seed` must differ between shards, restarts and nodes: take it from the operating system.
    pub fn new(seed: u64) -> Self {
        Self { unix_ms: 0, tail: 0, random: Xorshift::new(seed) }
    }

    /// Makes every later id greater than `id`; called for each id that recovery meets.
    pub fn advance_past(&mut self, id: MessageId) {
        let bits = u128::from_be_bytes(id.0);
        let unix_ms = low_u64(bits >> 80);
        let tail = ((bits >> 64) & 0xFFF) << 62 | (bits & ((1 << 62) - 1));
        if (unix_ms, tail) > (self.unix_ms, self.tail) {
            (self.unix_ms, self.tail) = (unix_ms, tail);
        }
    }

    /// The next id, greater than all before it.
    pub fn next(&mut self, now: UnixMillis) -> MessageId {
        let step = u128::from(self.random.next() & 0xFFFF_FFFF) + 1;
        if now.0 > self.unix_ms {
            self.unix_ms = now.0;
            // The top bit stays free, so that a millisecond has room for 2^41 steps at least.
            self.tail = (u128::from(self.random.next()) << 9 | u128::from(self.random.next() >> 55)) & (TAIL_MAX >> 1);
        } else {
            self.tail += step;
            if self.tail > TAIL_MAX {
                self.unix_ms += 1;
                self.tail = step;
            }
        }
        let high = u128::from(self.unix_ms & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | (self.tail >> 62) << 64;
        let low = 0b10 << 62 | (self.tail & ((1 << 62) - 1));
        MessageId((high | low).to_be_bytes())
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the caller has shifted the value into 48 bits")]
const fn low_u64(bits: u128) -> u64 {
    bits as u64
}

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators"): jitter and id tails need
/// spread, not secrecy, and a seed that a simulation can replay.
#[derive(Clone, Debug)]
pub struct Xorshift(u64);

impl Xorshift {
    /// Any seed; zero, the one value the generator cannot leave, is replaced.
    pub fn new(seed: u64) -> Self {
        Self(if seed == 0 { 0x9E37_79B9_7F4A_7C15 } else { seed })
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait, reason = "an endless source is no iterator a caller would adapt")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_strictly_increase_even_when_the_clock_jumps_back() {
        let mut source = IdSource::new(7);
        let mut last = source.next(UnixMillis(1000));
        for step in 0..10_000_u64 {
            let id = source.next(UnixMillis(1000 - step % 7 + step / 100));
            assert!(id > last, "{id} after {last}");
            last = id;
        }
        let uuid = uuid::Uuid::from_bytes(last.0);
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn ids_after_a_restart_are_greater_than_those_recovered() {
        let recovered = IdSource::new(1).next(UnixMillis(5000));
        let mut source = IdSource::new(2);
        source.advance_past(recovered);
        assert!(source.next(UnixMillis(4000)) > recovered);
        assert_eq!(MessageId::parse(&recovered.to_string()), Some(recovered));
        assert_eq!(recovered.to_string().as_bytes(), recovered.text());
    }
}
