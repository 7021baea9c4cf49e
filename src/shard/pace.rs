//! When to make the log smaller, and how fast.

use std::time::{Duration, Instant};

use crate::limits::{RECOVERY_READ_BYTES, RELOCATE_BYTES_PER_SECOND, RELOCATE_SLACK_SEGMENTS, RELOCATE_WAIT_MS_MAX};

/// Bytes relocated for each byte that is written besides, at least and at most: see [`ratio`].
const RATIO_MIN: u64 = 2;
/// See [`RATIO_MIN`].
const RATIO_MAX: u64 = 64;
/// Reading a piece to find survivors costs as much as writing this part of it.
const READ_SHARE: usize = 4;

/// Bytes to relocate for each byte that is written besides: as many as it takes to have been once around before the log,
/// of which `live` bytes are alive, has filled the `room` that is left to it.
pub fn ratio(live: u64, room: u64) -> u64 {
    (live / room.max(1)).clamp(RATIO_MIN, RATIO_MAX)
}

/// How fast survivors are written again: never so that those who wait for a commit would notice.
#[derive(Debug)]
pub struct Pace {
    debt: u64,
    seen: Instant,
    written: u64,
    /// Bytes of ours among those written.
    own: u64,
}

impl Pace {
    /// From `now` on.
    pub const fn new(now: Instant) -> Self {
        Self { debt: 0, seen: now, written: 0, own: 0 }
    }

    /// Notes that a piece was read, and `bytes` of it written again.
    pub fn spend(&mut self, bytes: usize) {
        self.own += bytes as u64;
        self.debt += (bytes + RECOVERY_READ_BYTES / READ_SHARE) as u64;
    }

    /// How long to wait before the next piece, if at all; `written`: the bytes of all batches so far; `ratio`: the bytes
    /// to relocate for each that is written besides.
    pub fn wait(&mut self, now: Instant, written: u64, ratio: u64) -> Option<Duration> {
        let elapsed_us = u64::try_from((now - self.seen).as_micros()).unwrap_or(u64::MAX);
        let others = written.saturating_sub(self.written).saturating_sub(self.own);
        (self.seen, self.written, self.own) = (now, written, 0);
        let earned = elapsed_us.saturating_mul(RELOCATE_BYTES_PER_SECOND) / 1_000_000 + ratio * others;
        self.debt = self.debt.saturating_sub(earned);
        if self.debt == 0 {
            return None;
        }
        let ms = (self.debt * 1000 / RELOCATE_BYTES_PER_SECOND).clamp(1, RELOCATE_WAIT_MS_MAX);
        Some(Duration::from_millis(ms))
    }
}

/// How large a log is, and how much of it is needed, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Of the segments that hold something.
    pub used: u64,
    /// Of the records of live messages.
    pub live: u64,
    /// Of a segment.
    pub segment: u64,
}

impl Size {
    const fn dead(self) -> u64 {
        self.used.saturating_sub(self.live)
    }

    /// What is not alive and is more than is always left alone. Never more than what is: a segment that holds one record
    /// is at least half full, or a second one would fit.
    fn waste_permille(self) -> u64 {
        let waste = self.dead().saturating_sub(RELOCATE_SLACK_SEGMENTS * self.segment);
        (waste.saturating_mul(1000) / self.live.max(1)).min(1000)
    }
}

/// One time around the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pass {
    /// The segment that was the newest when it began; it ends with it.
    until: Option<u32>,
    /// What was not alive when the last one ended, in thousandths of what was: padding and ends of segments that too
    /// long a record left empty. Going around again would not make that less.
    waste_permille: u64,
}

impl Pass {
    /// Whether survivors of the oldest segment are to be written again; `pressed`: no segment can be added.
    pub fn is_wanted(&self, size: Size, pressed: bool) -> bool {
        // A bit more than it was, so that it is not gone around for a bit more.
        let waste = size.live.saturating_mul(self.waste_permille) / 1000;
        let waste = (waste + waste / 8).min(size.live);
        let (dead, slack) = (size.dead(), RELOCATE_SLACK_SEGMENTS * size.segment);
        if pressed {
            return dead > waste + size.segment + size.used / 16;
        }
        dead > waste.max(size.live / 2) + slack
    }

    /// Notes that `oldest` is being emptied while `newest` is written.
    pub fn enter(&mut self, oldest: u32, newest: u32, size: Size) {
        match self.until {
            Some(until) if oldest <= until => return,
            Some(_) => self.waste_permille = size.waste_permille(),
            None => {}
        }
        self.until = Some(newest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::to_usize;

    const SEGMENT: u64 = 64 << 20;
    const SLACK: u64 = RELOCATE_SLACK_SEGMENTS * SEGMENT;

    const fn size(used: u64, live: u64) -> Size {
        Size { used, live, segment: SEGMENT }
    }

    #[test]
    fn a_log_is_made_smaller_from_one_and_a_half_times_what_lives_on_and_earlier_when_space_is_short() {
        let pass = Pass::default();
        for live in [0, SEGMENT, 100 * SEGMENT] {
            assert!(!pass.is_wanted(size(live + live / 2 + SLACK, live), false));
            assert!(pass.is_wanted(size(live + live / 2 + SLACK + 1, live), false));
        }
        assert!(pass.is_wanted(size(16 * SEGMENT, 13 * SEGMENT), true));
        assert!(!pass.is_wanted(size(16 * SEGMENT, 14 * SEGMENT), true), "too little to gain");
    }

    /// One message a segment, of a bit more than half its size: going around changes nothing.
    #[test]
    fn what_going_around_does_not_make_less_is_not_gone_around_for() {
        let mut pass = Pass::default();
        let full = size(100 * SEGMENT, 51 * SEGMENT);
        for oldest in 0..=100 {
            assert!(pass.is_wanted(full, false));
            pass.enter(oldest, 100 + oldest, full);
        }
        pass.enter(101, 201, full);
        assert!(!pass.is_wanted(full, false));
        assert!(pass.is_wanted(size(130 * SEGMENT, 51 * SEGMENT), false), "more has died since");
        assert!(pass.is_wanted(size(100 * SEGMENT, 10 * SEGMENT), false), "less lives now");
    }

    #[test]
    fn survivors_are_written_at_a_rate_of_their_own_and_twice_as_fast_as_others_write() {
        let start = crate::time::monotonic_now();
        let mut pace = Pace::new(start);
        let bytes = to_usize(RELOCATE_BYTES_PER_SECOND);
        pace.spend(bytes);
        let debt = (bytes + RECOVERY_READ_BYTES / READ_SHARE) as u64;
        assert!(pace.wait(start, 0, RATIO_MIN).is_some());
        assert!(pace.wait(start + Duration::from_millis(900), 0, RATIO_MIN).is_some());
        assert_eq!(pace.wait(start + Duration::from_millis(1100), 0, RATIO_MIN), None);
        pace.spend(bytes);
        let now = start + Duration::from_millis(1100);
        assert!(pace.wait(now, bytes as u64, RATIO_MIN).is_some(), "its own bytes earn nothing");
        assert_eq!(pace.wait(now, bytes as u64 + debt.div_ceil(RATIO_MIN), RATIO_MIN), None);
    }

    #[test]
    fn the_nearer_the_bound_the_more_is_relocated_for_each_byte_that_comes() {
        let ratios = [u64::MAX, 50 << 20, 10 << 20, 1 << 20, 0].map(|room| ratio(100 << 20, room));
        assert_eq!(ratios, [RATIO_MIN, RATIO_MIN, 10, RATIO_MAX, RATIO_MAX]);
    }
}
