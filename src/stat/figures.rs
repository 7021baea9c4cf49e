//! Two scrapes to what happened between them: rates, percentiles, and what there is now.

use serde::Serialize;

use super::scrape::Scrape;

/// Everything that is shown of one interval. Times in seconds, sizes in bytes, rates per second.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// What answers.
    pub daemon: Daemon,
    /// Length of the interval; `None`: there is nothing to compare with, so no rate or latency is known.
    pub seconds: Option<f64>,
    /// What happened.
    pub rates: Rates,
    /// How long it took.
    pub latencies: Vec<Latency>,
    /// What lives.
    pub messages: Messages,
    /// The busiest destinations first.
    pub origins: Vec<OriginFigures>,
    /// Where it is kept.
    pub log: Space,
    /// What it takes besides.
    pub memory: Usage,
}

/// What answers.
#[derive(Clone, Debug, Serialize)]
pub struct Daemon {
    /// Its version.
    pub version: String,
    /// Its I/O.
    pub backend: String,
    /// Its cores.
    pub shards: u64,
    /// What they are doing, and how many each.
    pub phases: Vec<(String, u64)>,
    /// Seconds since it started, if it tells.
    pub uptime: Option<f64>,
}

/// Per second.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Rates {
    /// Messages that were answered with 202.
    pub accepted: f64,
    /// Messages that their destination took.
    pub delivered: f64,
    /// Requests that were answered with an error.
    pub refused: f64,
    /// Attempts that failed.
    pub failed: f64,
    /// Messages that were given up.
    pub dead_lettered: f64,
    /// Refusals by reason, those that there were.
    pub refused_by: Vec<(String, f64)>,
    /// Failures by class, those that there were.
    pub failed_by: Vec<(String, f64)>,
}

/// A distribution of the interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Latency {
    /// Of what.
    pub what: &'static str,
    /// How many there were.
    pub count: f64,
    /// Half took no longer.
    pub p50: Option<f64>,
    /// Nine of ten took no longer.
    pub p90: Option<f64>,
    /// 99 of 100 took no longer.
    pub p99: Option<f64>,
}

/// What lives.
#[derive(Clone, Debug, Serialize)]
pub struct Messages {
    /// They wait for a slot.
    pub ready: u64,
    /// An attempt is under way.
    pub in_flight: u64,
    /// They wait for their due time.
    pub delayed: u64,
    /// Age of the oldest.
    pub oldest: f64,
    /// Dead letters kept.
    pub dead_letters: u64,
    /// Destinations whose circuit is open.
    pub open_circuits: u64,
}

/// One destination.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OriginFigures {
    /// Its name, or `other`.
    pub origin: String,
    /// What waits for it.
    pub messages: u64,
    /// Attempts that succeeded, per second.
    pub delivered: f64,
    /// Attempts that failed, per second.
    pub failed: f64,
    /// Circuits that are open: none or one, of `other` perhaps more.
    pub open_circuits: u64,
}

/// Sizes of the log and of its disk.
#[derive(Clone, Debug, Serialize)]
pub struct Space {
    /// All files.
    pub bytes: u64,
    /// Records of live messages.
    pub live: u64,
    /// What all files may reach now.
    pub bound: Option<u64>,
    /// What the disk has left.
    pub disk_free: Option<u64>,
    /// What new messages leave free.
    pub reserve: Option<u64>,
}

/// Memory and connections.
#[derive(Clone, Debug, Serialize)]
pub struct Usage {
    /// What is taken of `MAX_MEMORY`.
    pub taken: u64,
    /// `MAX_MEMORY`.
    pub most: u64,
    /// What the process has resident.
    pub resident: Option<u64>,
    /// Connections from senders.
    pub connections_in: u64,
    /// Connections to destinations.
    pub connections_out: u64,
}

impl Figures {
    /// Of `now`; if there is a scrape from `seconds` before by the same process, with what happened since. `unix_seconds`
    /// is the present.
    pub fn of(now: &Scrape, before: Option<(&Scrape, f64)>, unix_seconds: f64) -> Self {
        let before = before.filter(|(before, seconds)| *seconds > 0.0 && !now.is_before(before));
        let since = Since { now, before };
        let by = |name, label| now.by(name, label).map(|(value, count)| (value.to_owned(), whole(count)));
        let started = now.sum("process_start_time_seconds");
        Self {
            daemon: Daemon {
                version: now.label("dispatcher_build_info", "version").unwrap_or("?").to_owned(),
                backend: now.label("dispatcher_build_info", "backend").unwrap_or("?").to_owned(),
                shards: now
                    .label("dispatcher_build_info", "shards")
                    .and_then(|shards| shards.parse().ok())
                    .unwrap_or(0),
                phases: by("dispatcher_shards", "phase").filter(|(_, shards)| *shards > 0).collect(),
                uptime: started.map(|started| (unix_seconds - started).max(0.0)),
            },
            seconds: before.map(|(_, seconds)| seconds),
            rates: since.rates(),
            latencies: ["accept", "commit", "attempt", "delivery"].map(|what| since.latency(what)).into(),
            messages: Messages {
                ready: state(now, "ready"),
                in_flight: state(now, "in_flight"),
                delayed: state(now, "delayed"),
                oldest: now.sum("dispatcher_oldest_pending_seconds").unwrap_or(0.0),
                dead_letters: size(now, "dispatcher_dead_letters_kept").unwrap_or(0),
                open_circuits: size(now, "dispatcher_breaker_open_origins").unwrap_or(0),
            },
            origins: since.origins(),
            log: Space {
                bytes: size(now, "dispatcher_log_bytes").unwrap_or(0),
                live: size(now, "dispatcher_log_live_bytes").unwrap_or(0),
                bound: size(now, "dispatcher_log_limit_bytes"),
                disk_free: size(now, "dispatcher_disk_free_bytes"),
                reserve: size(now, "dispatcher_disk_reserve_bytes"),
            },
            memory: Usage {
                taken: size(now, "dispatcher_memory_bytes").unwrap_or(0),
                most: size(now, "dispatcher_memory_limit_bytes").unwrap_or(0),
                resident: size(now, "process_resident_memory_bytes"),
                connections_in: now.of("dispatcher_connections", "side", "in").map_or(0, whole),
                connections_out: now.of("dispatcher_connections", "side", "out").map_or(0, whole),
            },
        }
    }
}

/// A scrape, and the one before it with the seconds in between.
struct Since<'s> {
    now: &'s Scrape,
    before: Option<(&'s Scrape, f64)>,
}

impl Since<'_> {
    /// What `value` grew by, per second.
    fn rate(&self, value: impl Fn(&Scrape) -> Option<f64>) -> f64 {
        let Some((before, seconds)) = self.before else { return 0.0 };
        let grown = value(self.now).unwrap_or(0.0) - value(before).unwrap_or(0.0);
        grown.max(0.0) / seconds
    }

    fn rates_by(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let of = |(value, _): (&str, f64)| (value.to_owned(), self.rate(|scrape| scrape.of(name, label, value)));
        self.now.by(name, label).map(of).filter(|(_, rate)| *rate > 0.0).collect()
    }

    fn rates(&self) -> Rates {
        let total = |name: &str| self.rate(|scrape| scrape.sum(name));
        let mut failed_by = self.rates_by("dispatcher_attempts_total", "class");
        failed_by.retain(|(class, _)| class != "delivered");
        Rates {
            accepted: total("dispatcher_accepted_total"),
            delivered: total("dispatcher_delivered_total"),
            refused: total("dispatcher_refused_total"),
            // Not `sum`, which is -0 of none.
            failed: failed_by.iter().fold(0.0, |sum, (_, rate)| sum + rate),
            dead_lettered: total("dispatcher_dead_letters_total"),
            refused_by: self.rates_by("dispatcher_refused_total", "reason"),
            failed_by,
        }
    }

    fn latency(&self, what: &'static str) -> Latency {
        let name = format!("dispatcher_{what}_seconds_bucket");
        let before = self.before.map(|(before, _)| before);
        let count = |bound: &str, total: f64| {
            total - before.map_or(total, |before| before.of(&name, "le", bound).unwrap_or(0.0))
        };
        let buckets: Vec<(f64, f64)> = self
            .now
            .by(&name, "le")
            .filter_map(|(bound, total)| Some((bound.parse().ok()?, count(bound, total))))
            .collect();
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|part| quantile(&buckets, part));
        Latency { what, count: buckets.last().map_or(0.0, |(_, count)| *count), p50, p90, p99 }
    }

    fn origins(&self) -> Vec<OriginFigures> {
        const ATTEMPTS: &str = "dispatcher_origin_attempts_total";
        let of = |(origin, messages): (&str, f64)| {
            let ended =
                |outcome| self.rate(|scrape| scrape.of_both(ATTEMPTS, ("origin", origin), ("outcome", outcome)));
            OriginFigures {
                origin: origin.to_owned(),
                messages: whole(messages),
                delivered: ended("delivered"),
                failed: ended("failed"),
                open_circuits: self.now.of("dispatcher_origin_breaker_open", "origin", origin).map_or(0, whole),
            }
        };
        let mut origins: Vec<_> = self.now.by("dispatcher_origin_messages", "origin").map(of).collect();
        origins.retain(|origin| origin.messages + origin.open_circuits > 0 || origin.delivered + origin.failed > 0.0);
        let busy = |origin: &OriginFigures| origin.delivered + origin.failed;
        origins.sort_by(|one, other| other.messages.cmp(&one.messages).then(busy(other).total_cmp(&busy(one))));
        origins
    }
}

/// The value that a part of all is at most, by buckets of which each counts those before it too: as far into its bucket as
/// the part is into the bucket's count. Beyond the last bound nothing is known but that bound.
fn quantile(buckets: &[(f64, f64)], part: f64) -> Option<f64> {
    let total = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    let rank = part * total;
    let at = buckets.iter().position(|(_, count)| *count >= rank)?;
    let (lower, below) = if at == 0 { (0.0, 0.0) } else { buckets[at - 1] };
    let (upper, count) = buckets[at];
    if upper.is_infinite() {
        return Some(lower);
    }
    Some(lower + (upper - lower) * ((rank - below) / (count - below)).clamp(0.0, 1.0))
}

fn state(scrape: &Scrape, state: &str) -> u64 {
    scrape.of("dispatcher_messages", "state", state).map_or(0, whole)
}

fn size(scrape: &Scrape, name: &str) -> Option<u64> {
    scrape.sum(name).map(whole)
}

/// Counts and sizes, which the text has as numbers without a fraction.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float saturates, and no count is negative"
)]
const fn whole(value: f64) -> u64 {
    value as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "dispatcher_accepted_total 10\ndispatcher_attempts_total{class=\"delivered\"} 4\n\
        dispatcher_attempts_total{class=\"http_5xx\"} 1\ndispatcher_accept_seconds_bucket{le=\"0.001\"} 10\n\
        dispatcher_accept_seconds_bucket{le=\"0.002\"} 10\ndispatcher_accept_seconds_bucket{le=\"+Inf\"} 10\n";
    const AFTER: &str = "dispatcher_build_info{version=\"1.2.3\",backend=\"uring\",shards=\"2\"} 1\n\
        dispatcher_accepted_total 30\ndispatcher_attempts_total{class=\"delivered\"} 14\n\
        dispatcher_attempts_total{class=\"http_5xx\"} 5\ndispatcher_accept_seconds_bucket{le=\"0.001\"} 10\n\
        dispatcher_accept_seconds_bucket{le=\"0.002\"} 28\ndispatcher_accept_seconds_bucket{le=\"+Inf\"} 30\n\
        dispatcher_origin_messages{origin=\"http://idle\"} 0\ndispatcher_origin_messages{origin=\"http://b\"} 2\n\
        dispatcher_origin_messages{origin=\"http://c\"} 7\ndispatcher_origin_breaker_open{origin=\"http://c\"} 1\n\
        dispatcher_messages{state=\"ready\"} 9\nprocess_start_time_seconds 90\n";

    #[test]
    fn what_happened_is_what_two_scrapes_differ_by() {
        let [before, after] = [BEFORE, AFTER].map(Scrape::parse);
        let figures = Figures::of(&after, Some((&before, 2.0)), 100.0);
        assert_eq!((figures.rates.accepted, figures.rates.failed), (10.0, 2.0));
        assert_eq!(figures.rates.failed_by, [("http_5xx".to_owned(), 2.0)]);
        let accept = &figures.latencies[0];
        // 20 in the interval: 18 between the bounds, two beyond them.
        assert_eq!((accept.count, accept.p99), (20.0, Some(0.002)));
        assert!((accept.p50.expect("known") - 0.001_555).abs() < 1e-5, "{accept:?}");
        assert_eq!(figures.latencies[1].p50, None, "nothing was written");
        let origins: Vec<_> = figures.origins.iter().map(|origin| (&*origin.origin, origin.open_circuits)).collect();
        assert_eq!(origins, [("http://c", 1), ("http://b", 0)], "the busiest first, and none without anything");
        assert_eq!((figures.daemon.uptime, figures.messages.ready), (Some(10.0), 9));
    }

    #[test]
    fn after_a_restart_nothing_is_compared_and_what_there_is_now_is_shown() {
        let [before, after] = [AFTER, BEFORE].map(Scrape::parse);
        let figures = Figures::of(&after, Some((&before, 2.0)), 100.0);
        assert_eq!((figures.seconds, figures.rates.accepted, figures.latencies[0].p50), (None, 0.0, None));
        assert_eq!(figures.rates.failed.to_string(), "0");
    }
}
