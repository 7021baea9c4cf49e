//! What came of the messages: latencies, statuses, and which were acknowledged.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::arrivals::Times;
use super::series::Series;
use super::table;

/// Longest latency told apart, in nanoseconds: 10 minutes.
const LATENCY_NS_MAX: u64 = 600_000_000_000;
/// Ids remembered; acknowledgements past these are counted but cannot be verified.
const IDS_MAX: u64 = 1 << 30;
/// As many are foreseen.
const IDS_EXPECTED: usize = 1 << 24;

/// A message that was sent.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Its sequence number.
    pub id: u64,
    /// When it was due.
    pub due: Instant,
    /// When it was sent.
    pub sent: Instant,
    /// It is for an origin that is not verified.
    pub beside: bool,
}

/// Everything counted by one thread, or by all.
pub struct Tally {
    /// Requests written.
    pub sent: u64,
    /// Connections that broke with answers missing.
    pub broken: u64,
    /// Connections that could not be made.
    pub connect_errors: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
    /// 2xx answers, in nanoseconds.
    pub latency_ns: Histogram<u64>,
    /// Other answers, in nanoseconds since the request was sent.
    pub refusal_ns: Histogram<u64>,
    /// When messages were due and acknowledged.
    pub times: Times,
    /// Latencies second by second, if they are asked for.
    pub series: Option<Series>,
    /// 2xx answers to messages for origins that are not verified.
    acknowledged_beside: u64,
    acknowledged: Vec<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let histogram = || Histogram::new_with_max(LATENCY_NS_MAX, 3).expect("bounds and digits are valid");
        let (statuses, times, acknowledged) = (BTreeMap::new(), Times::default(), Vec::new());
        let (latency_ns, refusal_ns) = (histogram(), histogram());
        let (series, acknowledged_beside, sent, broken, connect_errors) = (None, 0, 0, 0, 0);
        Self {
            sent,
            broken,
            connect_errors,
            statuses,
            latency_ns,
            refusal_ns,
            times,
            series,
            acknowledged_beside,
            acknowledged,
        }
    }
}

impl Tally {
    /// One that also keeps a series, if there is one to keep.
    pub fn with(series: Option<Series>) -> Self {
        Self { series, ..Self::default() }
    }

    /// Counts an answer that has come `now`.
    pub fn answer(&mut self, asked: Asked, status: u16, now: Instant) {
        let Asked { id, due, sent, beside } = asked;
        let ns_since = |then| u64::try_from(now.saturating_duration_since(then).as_nanos()).unwrap_or(u64::MAX);
        *self.statuses.entry(status).or_default() += 1;
        if !(200..300).contains(&status) {
            self.refusal_ns.saturating_record(ns_since(sent));
            return;
        }
        let latency_ns = ns_since(due);
        self.latency_ns.saturating_record(latency_ns);
        if let Some(series) = &mut self.series {
            series.record(due, latency_ns);
        }
        if beside {
            self.acknowledged_beside += 1;
            return;
        }
        self.times.acknowledge(id, due, now);
        if id < IDS_MAX {
            let word = usize::try_from(id / 64).expect("bounded by IDS_MAX");
            table::grow(&mut self.acknowledged, word, IDS_EXPECTED / 64);
            self.acknowledged[word] |= 1 << (id % 64);
        }
    }

    /// 2xx answers.
    pub fn acknowledged(&self) -> u64 {
        self.statuses.range(200..300).map(|(_, count)| count).sum()
    }

    /// 2xx answers to messages that the sink is to have seen.
    pub fn to_be_seen(&self) -> u64 {
        self.acknowledged() - self.acknowledged_beside
    }

    /// Requests without an answer.
    pub fn unanswered(&self) -> u64 {
        self.sent - self.statuses.values().sum::<u64>()
    }

    /// Acknowledged ids that are not in `seen`, the sink's bits.
    pub fn missing(&self, seen: &[u8]) -> u64 {
        let (words, _) = seen.as_chunks();
        let word = |at: usize| words.get(at).map_or(0, |word| u64::from_le_bytes(*word));
        self.acknowledged.iter().enumerate().map(|(at, bits)| u64::from((bits & !word(at)).count_ones())).sum()
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.broken += other.broken;
        self.connect_errors += other.connect_errors;
        for (status, count) in &other.statuses {
            *self.statuses.entry(*status).or_default() += count;
        }
        self.acknowledged_beside += other.acknowledged_beside;
        self.times.merge(&other.times);
        if let (Some(mine), Some(theirs)) = (&mut self.series, &other.series) {
            mine.merge(theirs);
        }
        self.latency_ns.add(&other.latency_ns).expect("both have the same bounds");
        self.refusal_ns.add(&other.refusal_ns).expect("both have the same bounds");
        if self.acknowledged.len() < other.acknowledged.len() {
            self.acknowledged.resize(other.acknowledged.len(), 0);
        }
        for (mine, theirs) in self.acknowledged.iter_mut().zip(&other.acknowledged) {
            *mine |= theirs;
        }
    }

    /// As JSON; latencies in milliseconds.
    pub fn summary(&self, elapsed: Duration) -> serde_json::Value {
        #[allow(clippy::cast_precision_loss, reason = "for reading, not for counting")]
        let ms = |ns: u64| (ns as f64 / 1e3).round() / 1e3;
        #[allow(clippy::cast_precision_loss, reason = "for reading, not for counting")]
        let per_second = (self.acknowledged() as f64 / elapsed.as_secs_f64()).round();
        let at = |quantile| ms(self.latency_ns.value_at_quantile(quantile));
        let refused_at = |quantile| ms(self.refusal_ns.value_at_quantile(quantile));
        serde_json::json!({
            "seconds": elapsed.as_secs_f64(),
            "sent": self.sent,
            "acknowledged": self.acknowledged(),
            "acknowledged_per_second": per_second,
            "unanswered": self.unanswered(),
            "broken_connections": self.broken,
            "connect_errors": self.connect_errors,
            "statuses": self.statuses,
            "latency_ms": {
                "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99.9": at(0.999), "max": ms(self.latency_ns.max()),
            },
            "refusal_ms": {
                "refusal_p50": refused_at(0.5), "refusal_p99": refused_at(0.99), "refusal_max": ms(self.refusal_ns.max()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledged_id_the_sink_has_not_seen_is_missing_whoever_else_came() {
        let (mut mine, mut other, now) = (Tally::default(), Tally::default(), dispatcher::time::monotonic_now());
        let asked = |id| Asked { id, due: now, sent: now, beside: false };
        for id in [0, 64, 130] {
            mine.answer(asked(id), 202, now);
        }
        other.answer(asked(1), 503, now);
        other.answer(asked(3), 202, now);
        other.answer(Asked { beside: true, ..asked(5) }, 202, now);
        mine.merge(&other);
        let seen: Vec<u8> = [0b1011_u64, 1, 0].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!((mine.acknowledged(), mine.to_be_seen(), mine.missing(&seen)), (5, 4, 1));
        assert_eq!(mine.missing(&[]), 4);
    }
}
