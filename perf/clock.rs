//! The clock that load generator and sink share, as a number that can go from one to the other.

use std::time::Instant;

use dispatcher::time::monotonic_now;
use rustix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds of the machine's monotonic clock, which is the same for all processes.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)).expect("the clock starts at 0")
}

/// A moment in both notations, so that others can be converted without a look at the clock.
#[allow(dead_code, reason = "of the two tools one needs it")]
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    instant: Instant,
    ns: u64,
}

impl Default for Anchor {
    fn default() -> Self {
        Self { instant: monotonic_now(), ns: now_ns() }
    }
}

#[allow(dead_code, reason = "of the two tools one needs it")]
impl Anchor {
    /// `instant` in nanoseconds of the monotonic clock.
    pub fn ns_of(self, instant: Instant) -> u64 {
        let ns = |from: Instant, to: Instant| u64::try_from(to.saturating_duration_since(from).as_nanos());
        let (after, before) = (ns(self.instant, instant), ns(instant, self.instant));
        self.ns + after.expect("no run takes centuries") - before.expect("no run takes centuries")
    }
}
