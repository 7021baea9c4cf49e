//! A [`Snapshot`] to the text that Prometheus scrapes: OpenMetrics 1.0 by prometheus-client, and the classic format.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{Distribution, RefusedReason, Snapshot};
use crate::schedule::attempt::Failure;

/// What the whole process knows beyond its shards.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Which I/O it runs on.
    pub backend: &'static str,
    /// Bytes that may still be allocated on the log's filesystem, if that could be asked.
    pub disk_free_bytes: Option<u64>,
}

/// Content type of the classic format.
pub const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Content type of OpenMetrics.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of latency buckets in microseconds: 50 µs to 5 minutes, in steps of 1, 2.5, 5.
const LATENCY_BOUNDS_US: [u64; 21] = [
    50,
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    60_000_000,
    120_000_000,
    300_000_000,
];
/// Upper bounds of batch sizes, in messages.
const BATCH_BOUNDS: [u64; 11] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

/// OpenMetrics 1.0 text.
pub fn openmetrics(snapshot: Snapshot, process: Process) -> String {
    let mut registry = Registry::with_prefix("dispatcher");
    registry.register_collector(Box::new(Exposed { snapshot, process }));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("writing to a string cannot fail");
    text
}

/// Classic Prometheus text (0.0.4): as OpenMetrics, but counter families carry `_total` in their own name, and there
/// are neither units nor an end mark.
pub fn classic(snapshot: Snapshot, process: Process) -> String {
    let mut classic = String::new();
    let text = openmetrics(snapshot, process);
    let counters: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for line in text.lines() {
        let family = |rest: &'_ str| rest.split(' ').next().map(|name| counters.contains(&name));
        let comment = ["# HELP ", "# TYPE "].into_iter().find_map(|kind| Some((kind, line.strip_prefix(kind)?)));
        match comment {
            Some((kind, rest)) if family(rest) == Some(true) => {
                let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                classic.extend([kind, name, "_total ", rest, "\n"]);
            }
            None if line.starts_with('#') => {}
            Some(_) | None => classic.extend([line, "\n"]),
        }
    }
    classic
}

#[derive(Debug)]
struct Exposed {
    snapshot: Snapshot,
    process: Process,
}

impl Collector for Exposed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_counters(&mut encoder)?;
        self.encode_gauges(&mut encoder)?;
        self.encode_histograms(&mut encoder)
    }
}

const SIDES: [&str; 2] = ["in", "out"];

impl Exposed {
    fn encode_counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = &self.snapshot.counts;
        let mut plain = |name, help, value| counter(encoder, name, help, None, [("", value)]);
        plain("accepted", "Messages that are durable and were answered with 202", counts.accepted)?;
        plain("delivered", "Messages that their origin took", counts.delivered)?;
        plain("maybe_duplicates", "Attempts sent with X-Dispatcher-Maybe-Duplicate", counts.maybe_duplicates)?;
        plain("recovered_messages", "Undelivered messages found in the log at start", counts.recovered_messages)?;
        plain("corrupt_records", "Damaged ranges and records met in the log", counts.corrupt_records)?;
        let reasons = RefusedReason::ALL.map(|reason| (reason.as_str(), counts.refused[reason as usize]));
        counter(encoder, "refused", "Requests that were answered with an error", Some("reason"), reasons)?;
        let classes = || Failure::ALL.map(|failure| (failure.as_str(), usize::from(failure.code())));
        let attempts = [("delivered", 0)].into_iter().chain(classes());
        let attempts = attempts.map(|(class, index)| (class, counts.attempts[index]));
        counter(encoder, "attempts", "Attempts that ended, by how they ended", Some("class"), attempts)?;
        let dead = classes().map(|(class, index)| (class, counts.dead_letters[index]));
        counter(encoder, "dead_letters", "Messages that were given up, by the last failure", Some("class"), dead)?;
        let opened = [0, 1].map(|side| (SIDES[side], counts.connections_opened[side]));
        counter(encoder, "connections_opened", "Connections opened", Some("side"), opened)
    }

    fn encode_gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (gauges, counts) = (&self.snapshot.gauges, &self.snapshot.counts);
        let states = [("ready", gauges.ready), ("in_flight", gauges.in_flight), ("delayed", gauges.delayed)];
        gauge(encoder, "messages", "Live messages by state", None, Some("state"), states)?;
        let open = [0, 1].map(|side| (SIDES[side], counts.connections[side]));
        gauge(encoder, "connections", "Connections open", None, Some("side"), open)?;
        let mut bytes = |name, help, value| gauge(encoder, name, help, Some(&Unit::Bytes), None, [("", value)]);
        bytes("log", "Size of all log files", gauges.log_bytes)?;
        bytes("log_live", "Size of the records of live messages", gauges.log_live_bytes)?;
        if let Some(free) = self.process.disk_free_bytes {
            bytes("disk_free", "Space left on the filesystem of the log", free)?;
        }
        let oldest = gauges.oldest_pending.duration().as_secs_f64();
        let recovery = self.snapshot.recovery.as_secs_f64();
        for (name, help, value) in [
            ("oldest_pending", "Age of the oldest live message", oldest),
            ("recovery", "Time the log took to recover at start, of the slowest shard", recovery),
        ] {
            encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?.encode_gauge(&value)?;
        }
        let shards = self.snapshot.shards.to_string();
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("backend", self.process.backend), ("shards", &shards)];
        let mut info = encoder.encode_descriptor("build_info", "What runs here", None, MetricType::Gauge)?;
        info.encode_family(&labels)?.encode_gauge(&1_i64)
    }

    fn encode_histograms(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let distributions = &self.snapshot.distributions;
        for (name, help, distribution) in [
            ("accept", "From a complete request to its 202", &distributions.accept),
            ("commit", "One write of the log", &distributions.commit),
            ("attempt", "One attempt, connecting included", &distributions.attempt),
            ("delivery", "From accepted to delivered", &distributions.delivery),
        ] {
            let metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Histogram)?;
            histogram(metric, distribution, &LATENCY_BOUNDS_US, 1e6)?;
        }
        let help = "Messages made durable by one write of the log";
        let metric = encoder.encode_descriptor("commit_batch_messages", help, None, MetricType::Histogram)?;
        histogram(metric, &distributions.commit_batch, &BATCH_BOUNDS, 1.0)
    }
}

fn counter<'v>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: Option<&str>,
    values: impl IntoIterator<Item = (&'v str, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (value, count) in values {
        match label {
            Some(label) => {
                metric.encode_family(&[(label, value)])?.encode_counter::<[(&str, &str); 0], _, u64>(&count, None)?;
            }
            None => metric.encode_counter::<[(&str, &str); 0], _, u64>(&count, None)?,
        }
    }
    Ok(())
}

fn gauge<'v>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    label: Option<&str>,
    values: impl IntoIterator<Item = (&'v str, u64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (value, count) in values {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        match label {
            Some(label) => metric.encode_family(&[(label, value)])?.encode_gauge(&count)?,
            None => metric.encode_gauge(&count)?,
        }
    }
    Ok(())
}

/// Buckets from an hdrhistogram. A value equal to a bound counts below it, to within the histogram's 1 %.
fn histogram(mut metric: MetricEncoder<'_>, from: &Distribution, bounds: &[u64], per: f64) -> fmt::Result {
    let mut below = 0;
    let mut buckets = Vec::with_capacity(bounds.len() + 1);
    for bound in bounds {
        let up_to = from.values.count_between(0, *bound);
        buckets.push((float(*bound) / per, up_to - below));
        below = up_to;
    }
    let count = from.values.len();
    buckets.push((f64::MAX, count - below));
    metric.encode_histogram::<[(&str, &str); 0]>(float(from.sum) / per, count, &buckets, None)
}

#[allow(clippy::cast_precision_loss, reason = "a float is what the format has")]
const fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::{Gauges, ShardMetrics};
    use crate::schedule::attempt::Outcome;

    fn snapshot() -> Snapshot {
        let metrics = ShardMetrics::default();
        metrics.accepted(3);
        metrics.refused(RefusedReason::LogFull);
        for us in [40, 60, 90_000, 400_000_000] {
            metrics.accept(Duration::from_micros(us));
        }
        metrics.commit(Duration::from_micros(130), 64);
        metrics.attempt(Outcome::Failed(Failure::Http5xx), Duration::from_millis(5));
        metrics.snapshot(Gauges { ready: 7, log_bytes: 4096, ..Gauges::default() })
    }

    #[test]
    fn histograms_are_cumulative_and_their_sum_and_count_agree() {
        let text = classic(snapshot(), Process::default());
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).map(str::to_owned);
        for expected in [
            "dispatcher_accept_seconds_bucket{le=\"5e-5\"} 1",
            "dispatcher_accept_seconds_bucket{le=\"0.0001\"} 2",
            "dispatcher_accept_seconds_bucket{le=\"0.1\"} 3",
            "dispatcher_accept_seconds_bucket{le=\"300.0\"} 3",
            "dispatcher_accept_seconds_bucket{le=\"+Inf\"} 4",
            "dispatcher_accept_seconds_count 4",
            "dispatcher_accept_seconds_sum 400.0901",
            "dispatcher_commit_batch_messages_bucket{le=\"64.0\"} 1",
            "dispatcher_commit_batch_messages_bucket{le=\"32.0\"} 0",
        ] {
            let key = expected.rsplit_once(' ').expect("name and value").0;
            assert_eq!(line(key).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn both_formats_carry_every_family_with_its_help_and_type() {
        let process = Process { backend: "uring", disk_free_bytes: Some(5) };
        let (open, classic) = (openmetrics(snapshot(), process.clone()), classic(snapshot(), process));
        assert!(open.ends_with("# EOF\n") && !classic.contains("# EOF") && !classic.contains("# UNIT"));
        assert!(open.contains("# TYPE dispatcher_accepted counter\n"));
        assert!(classic.contains("# TYPE dispatcher_accepted_total counter\ndispatcher_accepted_total 3\n"));
        for sample in [
            "dispatcher_refused_total{reason=\"log_full\"} 1\n",
            "dispatcher_attempts_total{class=\"http_5xx\"} 1\n",
            "dispatcher_messages{state=\"ready\"} 7\n",
            "dispatcher_log_bytes 4096\n",
            "dispatcher_disk_free_bytes 5\n",
            "dispatcher_oldest_pending_seconds 0.0\n",
        ] {
            assert!(open.contains(sample) && classic.contains(sample), "{sample}\n{classic}");
        }
        for line in classic.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().expect("a name");
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(
                classic.contains(&format!("# TYPE {family} ")) && classic.contains(&format!("# HELP {family} ")),
                "{line}"
            );
        }
    }

    #[test]
    fn shards_add_up() {
        let mut merged = snapshot();
        merged.merge(&snapshot());
        let text = classic(merged, Process::default());
        for sample in ["dispatcher_accepted_total 6\n", "dispatcher_accept_seconds_count 8\n", "shards=\"2\"} 1\n"] {
            assert!(text.contains(sample), "{sample}\n{text}");
        }
    }
}
