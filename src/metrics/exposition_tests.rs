//! What is exposed: every family once, in both formats, and nothing that a scraper could not read.

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
        "dispatcher_accept_seconds_bucket{le=\"0.00005\"} 1",
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
fn every_bucket_holds_at_least_the_one_before_and_the_last_holds_all() {
    let text = classic(snapshot(), Process::default());
    let value = |line: &str| line.rsplit_once(' ').and_then(|(_, value)| value.parse::<u64>().ok()).expect("a count");
    for family in ["accept_seconds", "commit_seconds", "commit_batch_messages", "attempt_seconds", "delivery_seconds"] {
        let lines = |end: &str| -> Vec<u64> {
            text.lines().filter(|line| line.starts_with(&format!("dispatcher_{family}_{end}"))).map(value).collect()
        };
        let (buckets, count) = (lines("bucket{"), lines("count "));
        assert!(buckets.len() >= 12 && buckets.is_sorted(), "{family} {buckets:?}");
        assert_eq!(buckets.last(), count.first(), "{family}");
    }
}

#[test]
fn both_formats_carry_the_samples_and_each_its_own_frame() {
    let process = Process {
        backend: "uring",
        shards: vec![("ready", 2), ("draining", 0)],
        disk_free_bytes: Some(5),
        origins: Figures { open_origins: 3, ..Figures::default() },
        memory: vec![("index", 6, 9)],
        usage: Usage { started: UnixMillis(1500), cpu: Duration::from_millis(250), resident_bytes: Some(11) },
        ..Process::default()
    };
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
        "dispatcher_breaker_open_origins 3\n",
        "dispatcher_shards{phase=\"ready\"} 2\n",
        "process_start_time_seconds 1.5\n",
        "process_cpu_seconds_total 0.25\n",
        "process_resident_memory_bytes 11\n",
        "dispatcher_memory_bytes{part=\"index\"} 6\n",
        "dispatcher_memory_limit_bytes{part=\"index\"} 9\n",
        "dispatcher_oldest_pending_seconds 0.0\n",
        "backend=\"uring\",shards=\"2\"} 1\n",
    ] {
        assert!(open.contains(sample) && classic.contains(sample), "{sample}\n{classic}");
    }
}

/// What the classic format calls every family, with its type.
const FAMILIES: [(&str, &str); 40] = [
    ("dispatcher_accepted_total", "counter"),
    ("dispatcher_refused_total", "counter"),
    ("dispatcher_tls_handshakes_failed_total", "counter"),
    ("dispatcher_attempts_total", "counter"),
    ("dispatcher_delivered_total", "counter"),
    ("dispatcher_dead_letters_total", "counter"),
    ("dispatcher_dead_letters_replayed_total", "counter"),
    ("dispatcher_dead_letters_removed_total", "counter"),
    ("dispatcher_dead_letters_kept", "gauge"),
    ("dispatcher_maybe_duplicates_total", "counter"),
    ("dispatcher_recovered_messages_total", "counter"),
    ("dispatcher_corrupt_records_total", "counter"),
    ("dispatcher_connections_opened_total", "counter"),
    ("dispatcher_messages", "gauge"),
    ("dispatcher_connections", "gauge"),
    ("dispatcher_breaker_open_origins", "gauge"),
    ("dispatcher_oldest_pending_seconds", "gauge"),
    ("dispatcher_log_bytes", "gauge"),
    ("dispatcher_log_live_bytes", "gauge"),
    ("dispatcher_disk_free_bytes", "gauge"),
    ("dispatcher_memory_bytes", "gauge"),
    ("dispatcher_memory_limit_bytes", "gauge"),
    ("dispatcher_log_spare_bytes", "gauge"),
    ("dispatcher_log_limit_bytes", "gauge"),
    ("dispatcher_disk_reserve_bytes", "gauge"),
    ("dispatcher_shards", "gauge"),
    ("dispatcher_origin_messages", "gauge"),
    ("dispatcher_origin_breaker_open", "gauge"),
    ("dispatcher_origin_dead_letters_total", "counter"),
    ("dispatcher_origin_attempts_total", "counter"),
    ("process_start_time_seconds", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_resident_memory_bytes", "gauge"),
    ("dispatcher_recovery_seconds", "gauge"),
    ("dispatcher_build_info", "gauge"),
    ("dispatcher_accept_seconds", "histogram"),
    ("dispatcher_commit_seconds", "histogram"),
    ("dispatcher_commit_batch_messages", "histogram"),
    ("dispatcher_attempt_seconds", "histogram"),
    ("dispatcher_delivery_seconds", "histogram"),
];

#[test]
fn a_daemon_that_has_done_nothing_exposes_every_family_and_no_other() {
    let process = Process {
        shards: vec![("ready", 0)],
        disk_free_bytes: Some(0),
        memory: vec![("fixed", 0, 0)],
        usage: Usage { resident_bytes: Some(0), ..Usage::default() },
        ..Process::default()
    };
    let text = classic(Snapshot::default(), process);
    for (name, kind) in FAMILIES {
        let help = text.lines().filter(|line| line.starts_with(&format!("# HELP {name} ")));
        assert_eq!(help.count(), 1, "{name}");
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
        assert!(text.lines().any(|line| line.starts_with(name)), "{name}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE ")).count(), FAMILIES.len());
}

#[test]
fn origins_without_a_name_are_one_and_make_up_what_the_others_leave() {
    let origin = |number: u64| OriginFigures {
        origin: format!("http://b{number}.example"),
        messages: 2,
        ended: [5, 6, 7],
        is_open: number == 1,
    };
    let named = vec![origin(1), origin(2)];
    let origins = Figures { named, others_ended: [1, 2, 3], open_origins: 4 };
    let text = classic(snapshot(), Process { origins, ..Process::default() });
    for sample in [
        "origin_messages{origin=\"http://b1.example\"} 2\n",
        "origin_messages{origin=\"other\"} 3\n",
        "origin_breaker_open{origin=\"http://b1.example\"} 1\n",
        "origin_breaker_open{origin=\"http://b2.example\"} 0\n",
        "origin_breaker_open{origin=\"other\"} 3\n",
        "origin_attempts_total{origin=\"http://b2.example\",outcome=\"failed\"} 6\n",
        "origin_attempts_total{origin=\"other\",outcome=\"delivered\"} 1\n",
        "origin_dead_letters_total{origin=\"other\"} 3\n",
    ] {
        assert!(text.contains(&format!("\ndispatcher_{sample}")), "{sample}\n{text}");
    }
}

#[test]
fn the_log_may_grow_to_its_bound_or_to_what_the_disk_has_left_beyond_the_reserve() {
    // The log has 4096 bytes.
    for (free, reserve, most, limit) in [
        (Some(1000), 100, 0, Some(4996)),
        (Some(50), 100, 0, Some(4096)),
        (Some(1000), 100, 4500, Some(4500)),
        (None, 100, 4500, Some(4500)),
        (None, 100, 0, None),
    ] {
        let process =
            Process { disk_free_bytes: free, disk_reserve_bytes: reserve, log_bytes_max: most, ..Process::default() };
        let text = classic(snapshot(), process);
        let told = text.lines().find_map(|line| line.strip_prefix("dispatcher_log_limit_bytes ")?.parse().ok());
        assert_eq!(told, limit, "{free:?} {reserve} {most}");
    }
}

#[test]
fn openmetrics_is_given_to_those_who_ask_for_it() {
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.3,*/*;q=0.2";
    for (accept, expected) in [
        (prometheus, true),
        ("text/plain, Application/OpenMetrics-Text", true),
        ("application/openmetrics-text; q=0.001", true),
        ("application/openmetrics-text; q=0, */*", false),
        ("application/openmetrics-textual", false),
        ("*/*", false),
        ("", false),
    ] {
        assert_eq!(takes_openmetrics(accept), expected, "{accept}");
    }
}
