//! Instants and durations as newtypes, and the only functions that read a clock.
//!
//! Everything that decides takes `now` as an argument; only shells call [`monotonic_now`], [`unix_now`] and
//! [`Clock::now`].

use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// A span of time in whole milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// From whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1000)
    }

    /// The same span as a [`Duration`].
    pub const fn duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl fmt::Display for Millis {
    /// The shortest exact spelling the configuration accepts: `10s`, `500ms`, `6h`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit_ms, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")] {
            if self.0 > 0 && self.0.is_multiple_of(unit_ms) {
                return write!(f, "{}{unit}", self.0 / unit_ms);
            }
        }
        write!(f, "{}ms", self.0)
    }
}

/// A point in wall-clock time: milliseconds since 1970-01-01T00:00:00Z. The only time that is written to disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// This point moved into the future, saturating.
    #[must_use]
    pub const fn plus(self, span: Millis) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span since `earlier`, zero if `earlier` is later (the wall clock may jump back).
    #[must_use]
    pub const fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

/// Reads the wall clock. A clock before 1970 reads as 1970.
#[allow(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn unix_now() -> UnixMillis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMillis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// Time that this process has taken of the processors, user and system.
pub fn process_cpu_time() -> Duration {
    let taken = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(taken).unwrap_or_default()
}

/// A point in time as RFC 3339 has it, in UTC, with milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Rfc3339(pub UnixMillis);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = i64::try_from(self.0.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        match known {
            Some(time) => write!(f, "{time:.3}"),
            // Beyond the year 9999, which no clock shows: RFC 3339 has no spelling for it.
            None => write!(f, "{}ms", self.0.0),
        }
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Rfc3339 {
    /// Reads such a time, in any zone.
    pub fn parse(text: &str) -> Option<UnixMillis> {
        let time: jiff::Timestamp = text.parse().ok()?;
        u64::try_from(time.as_millisecond()).ok().map(UnixMillis)
    }
}

/// A wall clock: the system's, or one that a simulation sets.
///
/// A function and no trait: which clock it is changes no code, and nothing but the present is asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Clock(fn() -> UnixMillis);

impl Clock {
    /// The system's.
    pub const SYSTEM: Self = Self(unix_now);

    /// One that reads as `now` says.
    pub const fn new(now: fn() -> UnixMillis) -> Self {
        Self(now)
    }

    /// Reads it.
    pub fn now(self) -> UnixMillis {
        (self.0)()
    }
}

/// Reads the monotonic clock, for latencies and deadlines; never written to disk.
///
/// By way of tokio, whose clock is the system's unless a test has paused it: then what is waited for and what is
/// measured agree. So measure with this, not with [`Instant::elapsed`], which knows no pause.
pub fn monotonic_now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_prints_as_the_configuration_spells_it() {
        let spans =
            [(0, "0ms"), (500, "500ms"), (10_000, "10s"), (61_000, "61s"), (21_600_000, "6h"), (604_800_000, "7d")];
        for (ms, text) in spans {
            assert_eq!(Millis(ms).to_string(), text);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_clock_measures_exactly_what_was_waited() {
        let began = monotonic_now();
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(monotonic_now() - began, Duration::from_secs(3600));
    }

    #[test]
    fn a_clock_reads_as_it_was_told() {
        assert_eq!(Clock::new(|| UnixMillis(7)).now(), UnixMillis(7));
        assert!(Clock::SYSTEM.now() > UnixMillis(1_600_000_000_000));
    }

    #[test]
    fn a_wall_clock_that_jumps_back_gives_an_empty_span() {
        assert_eq!(UnixMillis(5).since(UnixMillis(9)), Millis(0));
    }
}
