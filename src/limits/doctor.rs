//! Bounds of `dispatcher doctor`: how much it writes, and what it takes for wrong.

/// Writes whose time is taken: 99 of 100 can be told from all, and a slow disk is not held up for long.
pub const DOCTOR_WRITES: u64 = 128;
/// After so many milliseconds no further write is begun: with two a second, there are six.
pub const DOCTOR_WRITES_MS_MAX: u64 = 3000;
/// A write to a disk with a volatile cache takes this many microseconds at least, as its flush does: the fastest flash
/// without capacitors programs a page in more, and disks take milliseconds.
pub const HONEST_WRITE_US_MIN: u64 = 100;
/// A write that takes more milliseconds than this is slow: a disk that turns takes ten.
pub const SLOW_WRITE_MS: u64 = 20;
/// Segments that a core makes when it starts on nothing: one to write, the next one and the reserve; of dead letters two.
pub const SEGMENTS_START: u64 = 5;
/// The first of January 2026, in milliseconds since 1970: before that there was no such program.
pub const SANE_CLOCK_MS: u64 = 1_767_225_600_000;
