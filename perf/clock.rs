//! The clock that load generator and sink share, as a number that can go from one to the other.

use std::time::Instant;

use dispatcher::time::monotonic_now;
use rustix::time::{ClockId, clock_gettime};

/// An instant in the past as nanoseconds of the machine's monotonic clock, which is the same for all processes.
pub fn ns_of(instant: Instant) -> u64 {
    let (now, ago) = (clock_gettime(ClockId::Monotonic), monotonic_now().saturating_duration_since(instant));
    let now = i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec);
    let ago = i128::try_from(ago.as_nanos()).expect("no run takes centuries");
    u64::try_from(now - ago).expect("the clock started before the process")
}
