//! The log's size: what has ended gives its space back, and at a bound new messages are refused while old ones drain.

use crate::common::daemon::Daemon;
use crate::common::origin::Origin;
use crate::common::{log, run, until};

/// One core, so that the bounds are those of one log.
const SMALL: &[(&str, &str)] = &[("CORES", "1"), ("SEGMENT_BYTES", "1MiB")];

/// Passes `messages` of 200 KiB through, a few at a time; returns their ids and the largest size of the log.
async fn pass_through(daemon: &Daemon, origin: &Origin, dir: &std::path::Path, messages: usize) -> (Vec<String>, u64) {
    let (mut sender, mut ids, mut largest) = (daemon.sender().await, Vec::new(), 0);
    for n in 0..messages {
        ids.push(sender.post(&origin.host(), &vec![b'm'; 200 << 10]).await);
        if n % 4 == 3 {
            until("they are delivered", || origin.delivered().len() == ids.len()).await;
            largest = largest.max(log::bytes(dir));
        }
    }
    daemon.until_idle().await;
    (ids, largest)
}

#[test]
fn segments_are_recycled_so_that_the_log_stays_small_whatever_passes_through() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let daemon = Daemon::start(dir.path(), SMALL).await;
        let (ids, largest) = pass_through(&daemon, &origin, dir.path(), 200).await;
        assert!(largest <= 8 << 20, "{largest} bytes for messages of 1 MiB at a time");
        assert!(daemon.metric("log_bytes").await <= f64::from(10 << 20), "with the dead letter log's next segment");
        daemon.stop().await;
        let daemon = Daemon::start(dir.path(), SMALL).await;
        assert_eq!(daemon.metric("recovered_messages_total").await, 0.0);
        assert_eq!(daemon.metric("corrupt_records_total").await, 0.0, "former lives of recycled segments are not read");
        daemon.stop().await;
        assert_eq!(origin.delivered().len(), ids.len());
    });
}

#[test]
fn with_event_sourcing_every_message_stays_in_the_log_and_none_is_delivered_again() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let variables = [SMALL, &[("EVENT_SOURCING", "true")]].concat();
        let daemon = Daemon::start(dir.path(), &variables).await;
        let (ids, largest) = pass_through(&daemon, &origin, dir.path(), 40).await;
        assert!(largest >= 8_000_000, "{largest} bytes hold 8 MB of messages");
        daemon.stop().await;
        let daemon = Daemon::start(dir.path(), &variables).await;
        daemon.until_idle().await;
        daemon.stop().await;
        let numbers: Vec<u32> = log::segments(&dir.path().join("log")).iter().map(|(.., number)| *number).collect();
        assert!(numbers.iter().copied().eq(0..u32::try_from(numbers.len()).unwrap()), "{numbers:?}");
        let records = log::records(&dir.path().join("log"));
        let of = |kind| records.iter().filter(move |record| record.kind == kind).map(|record| &record.id);
        assert!(of(dispatcher::wal::record::Kind::Accepted).eq(&ids));
        assert_eq!(of(dispatcher::wal::record::Kind::Delivered).count(), ids.len());
        assert_eq!(origin.delivered().len(), ids.len());
    });
}

#[test]
fn at_max_log_bytes_new_messages_get_507_and_service_resumes_when_the_origin_does() {
    run(async {
        const BOUND: u64 = 8 << 20;
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::refusing(None));
        let bound = BOUND.to_string();
        let backoff = [
            ("MAX_LOG_BYTES", bound.as_str()),
            ("ORIGIN_LOG_SHARE", "1"),
            ("BACKOFF_BASE", "100ms"),
            ("BACKOFF_MAX", "100ms"),
            ("RETRYLIMIT", "1000"),
            ("BREAKER_FAILURES", "0"),
        ];
        let daemon = Daemon::start(dir.path(), &[SMALL, &backoff].concat()).await;
        let (mut sender, mut ids) = (daemon.sender().await, Vec::new());
        let refused = loop {
            assert!(ids.len() < 200, "more than the bound was accepted");
            let answer = sender.try_post(&origin.host(), "", &vec![b'f'; 100 << 10]).await.unwrap();
            if answer.status != 202 {
                break answer;
            }
            ids.push(answer.id());
        };
        assert_eq!(refused.status, 507, "{refused:?}");
        assert!(refused.field("Retry-After").is_some_and(|after| after.parse::<u32>().is_ok()), "{refused:?}");
        until("it says so", || daemon.said("not ready").is_some_and(|line| line["reason"] == "out of log space")).await;
        assert!(ids.len() >= 20, "{} messages of 100 KiB is early for 8 MiB", ids.len());
        let bytes = log::bytes(dir.path());
        assert!(bytes <= BOUND, "{bytes}");
        assert!(daemon.metric("refused_total{reason=\"log_full\"}").await >= 1.0);
        let tried = daemon.metric("attempts_total{class=\"refused\"}").await;
        daemon.until_metric("attempts_total{class=\"refused\"}", |count| count >= tried + 1000.0).await;
        let bytes = log::bytes(dir.path());
        assert!(bytes <= BOUND, "{bytes}: retries of an origin that is down do not fill the disk");
        origin.listen();
        until("every accepted message is delivered", || origin.has_all(&ids)).await;
        daemon.until_idle().await;
        let start = dispatcher::time::monotonic_now();
        loop {
            let mut sender = daemon.sender().await;
            let answer = sender.try_post(&origin.host(), "", b"again").await.unwrap();
            if answer.status == 202 {
                ids.push(answer.id());
                break;
            }
            assert!(start.elapsed() < crate::common::PATIENCE, "{answer:?}\n{}", daemon.lines());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        until("service has resumed", || origin.has_all(&ids)).await;
        until("it says so", || daemon.said("ready again").is_some()).await;
        daemon.stop().await;
    });
}

#[test]
fn an_origin_that_is_down_fills_its_share_of_the_log_and_the_others_are_served() {
    run(async {
        let (dir, dead, healthy) = (tempfile::tempdir().unwrap(), Origin::refusing(None), Origin::start());
        let share = [
            ("MAX_LOG_BYTES", "32MiB"),
            ("ORIGIN_LOG_SHARE", "0.125"),
            ("BACKOFF_BASE", "10m"),
            ("BACKOFF_MAX", "10m"),
        ];
        let daemon = Daemon::start(dir.path(), &[SMALL, &share].concat()).await;
        let (mut sender, mut ids) = (daemon.sender().await, Vec::new());
        let refused = loop {
            assert!(ids.len() < 50, "more than its share was accepted");
            let answer = sender.try_post(&dead.host(), "", &vec![b'd'; 100 << 10]).await.unwrap();
            if answer.status != 202 {
                break answer;
            }
            ids.push(answer.id());
        };
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.field("Retry-After").is_some_and(|after| after.parse::<u32>().is_ok()), "{refused:?}");
        // What is on its way when it is decided counts a moment later.
        assert!((39..=45).contains(&ids.len()), "{} messages of 100 KiB for an eighth of 32 MiB", ids.len());
        assert!(daemon.metric("refused_total{reason=\"origin_share\"}").await >= 1.0);
        // The refusal has cost the connection its body was sent on.
        let (mut sender, mut others) = (daemon.sender().await, Vec::new());
        for n in 0..100 {
            others.push(sender.post(&healthy.host(), &vec![b'h'; 100 << 10]).await);
            if n % 10 == 9 {
                until("the others are served", || healthy.has_all(&others)).await;
            }
        }
        daemon.stop().await;
    });
}
