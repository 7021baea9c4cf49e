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
        shards: 2,
        disk_free_bytes: Some(5),
        open_origins: 3,
        memory: vec![("index", 6, 9)],
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
        "dispatcher_memory_bytes{part=\"index\"} 6\n",
        "dispatcher_memory_limit_bytes{part=\"index\"} 9\n",
        "dispatcher_oldest_pending_seconds 0.0\n",
        "backend=\"uring\",shards=\"2\"} 1\n",
    ] {
        assert!(open.contains(sample) && classic.contains(sample), "{sample}\n{classic}");
    }
}

/// What the classic format calls every family, with its type.
const FAMILIES: [(&str, &str); 29] = [
    ("accepted_total", "counter"),
    ("refused_total", "counter"),
    ("tls_handshakes_failed_total", "counter"),
    ("attempts_total", "counter"),
    ("delivered_total", "counter"),
    ("dead_letters_total", "counter"),
    ("dead_letters_replayed_total", "counter"),
    ("dead_letters_removed_total", "counter"),
    ("dead_letters_kept", "gauge"),
    ("maybe_duplicates_total", "counter"),
    ("recovered_messages_total", "counter"),
    ("corrupt_records_total", "counter"),
    ("connections_opened_total", "counter"),
    ("messages", "gauge"),
    ("connections", "gauge"),
    ("breaker_open_origins", "gauge"),
    ("oldest_pending_seconds", "gauge"),
    ("log_bytes", "gauge"),
    ("log_live_bytes", "gauge"),
    ("disk_free_bytes", "gauge"),
    ("memory_bytes", "gauge"),
    ("memory_limit_bytes", "gauge"),
    ("recovery_seconds", "gauge"),
    ("build_info", "gauge"),
    ("accept_seconds", "histogram"),
    ("commit_seconds", "histogram"),
    ("commit_batch_messages", "histogram"),
    ("attempt_seconds", "histogram"),
    ("delivery_seconds", "histogram"),
];

#[test]
fn a_daemon_that_has_done_nothing_exposes_every_family_and_no_other() {
    let process = Process { disk_free_bytes: Some(0), memory: vec![("fixed", 0, 0)], ..Process::default() };
    let text = classic(Snapshot::default(), process);
    for (name, kind) in FAMILIES {
        let help = text.lines().filter(|line| line.starts_with(&format!("# HELP dispatcher_{name} ")));
        assert_eq!(help.count(), 1, "{name}");
        assert!(text.contains(&format!("# TYPE dispatcher_{name} {kind}\n")), "{name}");
        assert!(text.lines().any(|line| line.starts_with(&format!("dispatcher_{name}"))), "{name}");
    }
    assert_eq!(text.lines().filter(|line| line.starts_with("# TYPE ")).count(), FAMILIES.len());
}

#[test]
fn promtool_where_it_is_installed_finds_nothing_to_say() {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut check = Command::new("promtool");
    let check = check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut running) = check.spawn() else { return };
    let text = classic(snapshot(), Process { backend: "uring", shards: 1, ..Process::default() });
    running.stdin.take().expect("piped").write_all(text.as_bytes()).expect("promtool reads");
    let said = running.wait_with_output().expect("promtool ends");
    let complaints = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
    assert!(said.status.success() && complaints.is_empty(), "{complaints}");
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
