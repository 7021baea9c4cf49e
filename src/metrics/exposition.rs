//! A [`Snapshot`] to the text that Prometheus scrapes: OpenMetrics 1.0 by prometheus-client, and the classic format.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{Distribution, RefusedReason, Snapshot};
use crate::net::handshake::HandshakeFailure;
use crate::schedule::attempt::Failure;
use crate::schedule::busiest::{Counted, Figures, OriginFigures};
use crate::time::UnixMillis;

/// What the whole process knows beyond its shards.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Which I/O it runs on.
    pub backend: &'static str,
    /// Shards it has, whether or not they answered, by what they are doing.
    pub shards: Vec<(&'static str, u64)>,
    /// Bytes that may still be allocated on the log's filesystem, if that could be asked.
    pub disk_free_bytes: Option<u64>,
    /// `DISK_RESERVE`, in bytes.
    pub disk_reserve_bytes: u64,
    /// `MAX_LOG_BYTES`, in bytes; 0: none.
    pub log_bytes_max: u64,
    /// What is told of origins.
    pub origins: Figures,
    /// Parts of the memory: name, bytes taken, bytes that may be.
    pub memory: Vec<(&'static str, u64, u64)>,
    /// When the process started, what it took of the processors and holds of memory.
    pub usage: Usage,
}

/// What every process has.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// When it started, by the wall clock, in milliseconds.
    pub started: UnixMillis,
    /// Time on processors, user and system.
    pub cpu: Duration,
    /// Bytes of memory that are resident, if that could be asked.
    pub resident_bytes: Option<u64>,
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

/// Whether a scraper's `Accept` (RFC 9110 §12.5.1) takes OpenMetrics. What takes neither format gets the classic one.
pub fn takes_openmetrics(accept: &str) -> bool {
    accept.split(',').any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts.next().is_some_and(|media| media.eq_ignore_ascii_case("application/openmetrics-text"));
        let weight = |part: &str| part.strip_prefix(['q', 'Q'])?.trim_start().strip_prefix('=')?.trim().parse().ok();
        let refused = parts.any(|part| weight(part).is_some_and(|weight: f32| weight <= 0.0));
        named && !refused
    })
}

/// OpenMetrics 1.0 text.
pub fn openmetrics(snapshot: Snapshot, process: Process) -> String {
    // As every process calls them.
    let mut common = Registry::with_prefix("process");
    common.register_collector(Box::new(process.usage));
    let mut own = Registry::with_prefix("dispatcher");
    own.register_collector(Box::new(Exposed { snapshot, process }));
    let mut text = String::new();
    let encoded = text::encode_registry(&mut text, &own).and_then(|()| text::encode(&mut text, &common));
    encoded.expect("writing to a string cannot fail");
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
        self.encode_log(&mut encoder)?;
        self.encode_origins(&mut encoder)?;
        self.encode_histograms(&mut encoder)
    }
}

/// No labels.
type NoLabels = [(&'static str, &'static str); 0];
const SIDES: [&str; 2] = ["in", "out"];
/// The label of all origins without a name of their own. No origin is called that: they all have a scheme.
const OTHER: &str = "other";

impl Exposed {
    fn encode_counters(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counts = &self.snapshot.counts;
        let mut plain = |name, help, value| counter(encoder, name, help, None, [("", value)]);
        plain("accepted", "Messages that are durable and were answered with 202", counts.accepted)?;
        plain("delivered", "Messages that their origin took", counts.delivered)?;
        plain("maybe_duplicates", "Attempts sent with X-Dispatcher-Maybe-Duplicate", counts.maybe_duplicates)?;
        plain("recovered_messages", "Undelivered messages found in the log at start", counts.recovered_messages)?;
        plain("corrupt_records", "Damaged ranges and records met in the log", counts.corrupt_records)?;
        plain("dead_letters_replayed", "Dead letters that an operator had accepted again", counts.letters_replayed)?;
        plain("dead_letters_removed", "Dead letters that an operator deleted", counts.letters_removed)?;
        let reasons = RefusedReason::ALL.map(|reason| (reason.as_str(), counts.refused[reason as usize]));
        counter(encoder, "refused", "Requests that were answered with an error", Some("reason"), reasons)?;
        let failed =
            HandshakeFailure::ALL.map(|failure| (failure.as_str(), counts.handshakes_failed[failure as usize]));
        counter(encoder, "tls_handshakes_failed", "TLS handshakes that failed", Some("reason"), failed)?;
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
        // Not `dead_letters`: in OpenMetrics that is the name of the counter's family.
        let kept = [("", gauges.dead_letters)];
        gauge(encoder, "dead_letters_kept", "Dead letters that there are", None, None, kept)?;
        let open = [0, 1].map(|side| (SIDES[side], counts.connections[side]));
        gauge(encoder, "connections", "Connections open", None, Some("side"), open)?;
        let circuits = [("", self.process.origins.open_origins)];
        gauge(encoder, "breaker_open_origins", "Origins whose circuit is open", None, None, circuits)?;
        let phases = self.process.shards.iter().copied();
        gauge(encoder, "shards", "Cores of the daemon by what they are doing", None, Some("phase"), phases)?;
        let memory = &self.process.memory;
        let (taken, most) = (memory.iter().map(|part| (part.0, part.1)), memory.iter().map(|part| (part.0, part.2)));
        let (unit, part) = (Some(&Unit::Bytes), Some("part"));
        gauge(encoder, "memory", "Memory that is taken, by what it is declared for", unit, part, taken)?;
        gauge(encoder, "memory_limit", "Memory that may be taken at most; the sum is MAX_MEMORY", unit, part, most)?;
        let oldest = gauges.oldest_pending.duration().as_secs_f64();
        let recovery = self.snapshot.recovery.as_secs_f64();
        for (name, help, value) in [
            ("oldest_pending", "Age of the oldest live message", oldest),
            ("recovery", "Time the log took to recover at start, of the slowest shard", recovery),
        ] {
            encoder.encode_descriptor(name, help, Some(&Unit::Seconds), MetricType::Gauge)?.encode_gauge(&value)?;
        }
        let shards = self.process.shards.iter().map(|(_, shards)| shards).sum::<u64>().to_string();
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("backend", self.process.backend), ("shards", &shards)];
        let mut info = encoder.encode_descriptor("build_info", "What runs here", None, MetricType::Gauge)?;
        info.encode_family(&labels)?.encode_gauge(&1_i64)
    }

    fn encode_log(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (gauges, process) = (&self.snapshot.gauges, &self.process);
        let mut bytes = |name, help, value| gauge(encoder, name, help, Some(&Unit::Bytes), None, [("", value)]);
        bytes("log", "Size of all log files, those of dead letters included", gauges.log_bytes)?;
        bytes("log_spare", "Size of the log files that hold nothing and are written next", gauges.log_spare_bytes)?;
        bytes("log_live", "Size of the records of live messages", gauges.log_live_bytes)?;
        bytes("disk_reserve", "Space that new messages leave free: DISK_RESERVE", process.disk_reserve_bytes)?;
        if let Some(free) = process.disk_free_bytes {
            bytes("disk_free", "Space left on the filesystem of the log", free)?;
        }
        let by_disk =
            process.disk_free_bytes.map(|free| gauges.log_bytes + free.saturating_sub(process.disk_reserve_bytes));
        let by_setting = Some(process.log_bytes_max).filter(|most| *most > 0);
        if let Some(limit) = by_disk.into_iter().chain(by_setting).min() {
            let help = "Size that all log files may reach now, by MAX_LOG_BYTES and what the disk has left";
            bytes("log_limit", help, limit)?;
        }
        Ok(())
    }

    /// The named ones, and all others as `other`.
    fn encode_origins(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (gauges, Figures { named, others_ended, open_origins }) = (&self.snapshot.gauges, &self.process.origins);
        let sum = |of: fn(&OriginFigures) -> u64| named.iter().map(of).sum::<u64>();
        // Not from one moment.
        let others = OriginFigures {
            origin: OTHER.to_owned(),
            messages: (gauges.ready + gauges.in_flight + gauges.delayed).saturating_sub(sum(|origin| origin.messages)),
            ended: *others_ended,
            is_open: false,
        };
        let others_open = open_origins.saturating_sub(sum(|origin| origin.is_open.into()));
        let all = || named.iter().chain([&others]);
        let messages = all().map(|origin| (&*origin.origin, origin.messages));
        let help = "Live messages by origin: the busiest, and the rest as other";
        gauge(encoder, "origin_messages", help, None, Some("origin"), messages)?;
        let open = named.iter().map(|origin| (&*origin.origin, origin.is_open.into())).chain([(OTHER, others_open)]);
        gauge(encoder, "origin_breaker_open", "Circuits that are open by origin", None, Some("origin"), open)?;
        let help = "Messages that were given up by origin";
        let dead = all().map(|origin| (&*origin.origin, origin.ended[Counted::DeadLettered as usize]));
        counter(encoder, "origin_dead_letters", help, Some("origin"), dead)?;
        let help = "Attempts that ended by origin and by how they ended";
        let mut attempts = encoder.encode_descriptor("origin_attempts", help, None, MetricType::Counter)?;
        for origin in all() {
            for (outcome, what) in [("delivered", Counted::Delivered), ("failed", Counted::Failed)] {
                let labels = [("origin", &*origin.origin), ("outcome", outcome)];
                let mut metric = attempts.encode_family(&labels)?;
                metric.encode_counter::<NoLabels, _, u64>(&origin.ended[what as usize], None)?;
            }
        }
        Ok(())
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

impl Collector for Usage {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (seconds, encoder) = (Some(&Unit::Seconds), &mut encoder);
        let started = Duration::from_millis(self.started.0).as_secs_f64();
        let help = "When the process started, in Unix time";
        encoder.encode_descriptor("start_time", help, seconds, MetricType::Gauge)?.encode_gauge(&started)?;
        let help = "Time on processors, user and system";
        let mut cpu = encoder.encode_descriptor("cpu", help, seconds, MetricType::Counter)?;
        cpu.encode_counter::<NoLabels, _, u64>(&self.cpu.as_secs_f64(), None)?;
        let Some(resident) = self.resident_bytes else { return Ok(()) };
        gauge(encoder, "resident_memory", "Memory that is resident", Some(&Unit::Bytes), None, [("", resident)])
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
                metric.encode_family(&[(label, value)])?.encode_counter::<NoLabels, _, u64>(&count, None)?;
            }
            None => metric.encode_counter::<NoLabels, _, u64>(&count, None)?,
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

/// Buckets from an hdrhistogram, in one pass over it; `per` is how many of its units make one of the metric's. A value
/// counts below a bound if it cannot be told from it, so a bucket is exact to the histogram's 1 %.
fn histogram(mut metric: MetricEncoder<'_>, from: &Distribution, bounds: &[u64], per: f64) -> fmt::Result {
    let upper = bounds.iter().map(|bound| float(*bound) / per).chain([f64::INFINITY]);
    let mut buckets: Vec<(f64, u64)> = upper.map(|bound| (bound, 0)).collect();
    for recorded in from.values.iter_recorded() {
        let lowest = from.values.lowest_equivalent(recorded.value_iterated_to());
        buckets[bounds.partition_point(|bound| *bound < lowest)].1 += recorded.count_at_value();
    }
    metric.encode_histogram::<NoLabels>(float(from.sum) / per, from.values.len(), &buckets, None)
}

#[allow(clippy::cast_precision_loss, reason = "a float is what the format has")]
const fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
#[path = "exposition_tests.rs"]
mod tests;
