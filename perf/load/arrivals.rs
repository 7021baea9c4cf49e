//! When messages were due and acknowledged, to be compared with when the sink got them.

use std::time::Instant;

use hdrhistogram::Histogram;

use super::clock::Anchor;
use super::table;

/// Messages whose times are remembered; later ones are counted and verified, not timed.
const TIMED_MAX: u64 = 1 << 24;
/// Longest time told apart, in nanoseconds: 10 minutes.
const TIME_NS_MAX: u64 = 600_000_000_000;

/// Times of acknowledged messages by sequence number, in nanoseconds of the monotonic clock; 0 where there is none.
#[derive(Default)]
pub struct Times {
    anchor: Anchor,
    due_ns: Vec<u64>,
    acknowledged_ns: Vec<u64>,
}

impl Times {
    /// Remembers an acknowledgement that has come `now` to a message that was due at `due`.
    pub fn acknowledge(&mut self, id: u64, due: Instant, now: Instant) {
        if id >= TIMED_MAX {
            return;
        }
        let at = usize::try_from(id).expect("bounded by TIMED_MAX");
        let expected = usize::try_from(TIMED_MAX).expect("a count in memory");
        table::grow(&mut self.due_ns, at, expected);
        table::grow(&mut self.acknowledged_ns, at, expected);
        self.due_ns[at] = self.anchor.ns_of(due);
        self.acknowledged_ns[at] = self.anchor.ns_of(now);
    }

    /// Adds what another thread remembers.
    pub fn merge(&mut self, other: &Self) {
        let length = self.due_ns.len().max(other.due_ns.len());
        self.due_ns.resize(length, 0);
        self.acknowledged_ns.resize(length, 0);
        for (at, due) in other.due_ns.iter().enumerate().filter(|(_, due)| **due > 0) {
            self.due_ns[at] = *due;
            self.acknowledged_ns[at] = other.acknowledged_ns[at];
        }
    }

    /// Adds to `summary` how long after both times each message came, by the sink's words for `/-/arrivals`, and how many
    /// had come by `end`. One that came before its sender had read the 202 came after 0.
    pub fn summarize(&self, arrivals: &[u8], end: Instant, summary: &mut serde_json::Value) {
        let (words, _) = arrivals.as_chunks();
        let in_time = 1..=self.anchor.ns_of(end);
        let by_the_end = words.iter().filter(|word| in_time.contains(&u64::from_le_bytes(**word))).count();
        summary["delivered_by_the_end"] = by_the_end.into();
        for (name, since) in [("after_due_ms", &self.due_ns), ("after_202_ms", &self.acknowledged_ns)] {
            let mut took = Histogram::<u64>::new_with_max(TIME_NS_MAX, 3).expect("bounds and digits are valid");
            for (arrived, since) in words.iter().map(|word| u64::from_le_bytes(*word)).zip(since) {
                if arrived > 0 && *since > 0 {
                    took.saturating_record(arrived.saturating_sub(*since));
                }
            }
            for (quantile, value) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)]
                .map(|(name, at)| (name, took.value_at_quantile(at)))
            {
                #[allow(clippy::cast_precision_loss, reason = "for reading, not for counting")]
                let ms = (value as f64 / 1e3).round() / 1e3;
                summary[format!("{name}_{quantile}")] = ms.into();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_from_both_moments_and_messages_that_never_came_do_not() {
        let (mut mine, mut other) = (Times::default(), Times::default());
        let now = dispatcher::time::monotonic_now();
        mine.acknowledge(0, now, now);
        other.acknowledge(3, now, now);
        mine.acknowledge(2, now, now);
        mine.merge(&other);
        mine.due_ns[3] = mine.acknowledged_ns[3] - 1_000_000;
        let arrivals = [0, 0, mine.acknowledged_ns[2] - 5, mine.acknowledged_ns[3] + 2_000_000];
        let mut summary = serde_json::json!({});
        let words: Vec<u8> = arrivals.iter().flat_map(|ns: &u64| ns.to_le_bytes()).collect();
        mine.summarize(&words, now + std::time::Duration::from_millis(1), &mut summary);
        assert_eq!(summary["delivered_by_the_end"], 1);
        let near = |name: &str, ms: f64| assert!((summary[name].as_f64().unwrap() - ms).abs() < 0.01, "{summary}");
        near("after_202_ms_p50", 0.0);
        near("after_202_ms_max", 2.0);
        near("after_due_ms_max", 3.0);
    }
}
