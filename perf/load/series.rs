//! Latencies second by second, as a table that shows when it was slow.

use std::fmt::Write as _;
use std::time::Instant;

use dispatcher::time::{UnixMillis, monotonic_now, unix_now};
use hdrhistogram::Histogram;

/// Seconds of one series; what is due later is not in it.
const SECONDS_MAX: usize = 4 * 3600;
/// Longest latency told apart, in nanoseconds: 1 minute. Two digits: a histogram a second must stay small.
const LATENCY_NS_MAX: u64 = 60_000_000_000;

/// A histogram for each second of the wall clock, by when messages were due.
#[derive(Clone)]
pub struct Series {
    start: Instant,
    start_at: UnixMillis,
    seconds: Vec<Histogram<u64>>,
}

impl Series {
    /// Begins now.
    pub fn new() -> Self {
        Self { start: monotonic_now(), start_at: unix_now(), seconds: Vec::new() }
    }

    /// Adds the latency of a message that was `due` then.
    pub fn record(&mut self, due: Instant, latency_ns: u64) {
        let ms = u64::try_from(due.saturating_duration_since(self.start).as_millis()).unwrap_or(u64::MAX);
        let second = (self.start_at.0 % 1000).saturating_add(ms) / 1000;
        let Some(second) = usize::try_from(second).ok().filter(|second| *second < SECONDS_MAX) else { return };
        self.reach(second + 1);
        self.seconds[second].saturating_record(latency_ns);
    }

    fn reach(&mut self, seconds: usize) {
        let empty = || Histogram::new_with_bounds(1000, LATENCY_NS_MAX, 2).expect("bounds and digits are valid");
        if self.seconds.len() < seconds {
            self.seconds.resize_with(seconds, empty);
        }
    }

    /// Adds what another thread recorded, whose series is a copy of the same beginning.
    pub fn merge(&mut self, other: &Self) {
        self.reach(other.seconds.len());
        for (mine, theirs) in self.seconds.iter_mut().zip(&other.seconds) {
            mine.add(theirs).expect("both have the same bounds");
        }
    }

    /// A line per second, with a head line: Unix time, 2xx answers to what was due in it, and percentiles in milliseconds.
    pub fn table(&self) -> String {
        let mut text = "unix_s\tacknowledged\tp50_ms\tp99_ms\tp99.9_ms\tmax_ms\n".to_owned();
        for (second, latencies) in (self.start_at.0 / 1000..).zip(&self.seconds) {
            let _ = write!(text, "{second}\t{}", latencies.len());
            for quantile in [0.5, 0.99, 0.999, 1.0] {
                #[allow(clippy::cast_precision_loss, reason = "for reading, not for counting")]
                let ms = latencies.value_at_quantile(quantile) as f64 / 1e6;
                let _ = write!(text, "\t{ms:.3}");
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_latency_stands_in_the_second_of_the_wall_clock_in_which_the_message_was_due() {
        let start = monotonic_now();
        let mut series = Series { start, start_at: UnixMillis(100_900), seconds: Vec::new() };
        let mut other = series.clone();
        series.record(start + Duration::from_millis(99), 1_000_000);
        other.record(start + Duration::from_millis(100), 2_000_000);
        other.record(start + Duration::from_millis(2_100), 5_000_000_000);
        other.record(start + Duration::from_hours(5), 1);
        series.merge(&other);
        let table = series.table();
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split('\t').collect()).collect();
        assert_eq!(rows.len(), 5, "{table}");
        let counts: Vec<&str> = rows.iter().map(|row| row[1]).collect();
        assert_eq!((rows[1][0], &counts[1..]), ("100", ["1", "1", "0", "1"].as_slice()));
        assert!(rows[4][5].parse::<f64>().unwrap() > 4_900.0, "{table}");
    }
}
