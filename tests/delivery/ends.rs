//! How messages end: delivered, or as dead letters, and what the metrics say of it.

use crate::common::daemon::Daemon;
use crate::common::origin::{Origin, Reply};
use crate::common::{log, run, until};

#[test]
fn without_retries_each_kind_of_failure_ends_as_a_dead_letter_of_its_class_and_stays_one() {
    run(async {
        let (dir, origin, refusing) = (tempfile::tempdir().unwrap(), Origin::start(), Origin::refusing(None));
        origin.answer(|request| match request.body.as_slice() {
            b"http_3xx" => Reply::Status(302),
            b"http_4xx" => Reply::Status(404),
            b"http_5xx" => Reply::Status(500),
            b"response_timeout" => Reply::Hold,
            b"reset" => Reply::Close,
            _ => Reply::Status(200),
        });
        let daemon = Daemon::start(dir.path(), &[("RETRYLIMIT", "0")]).await;
        let (mut sender, mut ids) = (daemon.sender().await, Vec::new());
        let classes = ["http_3xx", "http_4xx", "http_5xx", "response_timeout", "reset", "refused"];
        for class in classes {
            let host = if class == "refused" { refusing.host() } else { origin.host() };
            let answer = sender.try_post(&host, "X-Dispatcher-Timeout: 300\r\n", class.as_bytes()).await.unwrap();
            ids.push(answer.id());
        }
        for class in classes {
            let series = format!("dead_letters_total{{class=\"{class}\"}}");
            daemon.until_metric(&series, |count| count == 1.0).await;
        }
        daemon.until_idle().await;
        assert_eq!(log::dead_letters(dir.path()), ids);
        daemon.stop().await;
        let sent = origin.count();
        assert_eq!(sent, 5);
        refusing.listen();
        let daemon = Daemon::start(dir.path(), &[]).await;
        for origin in [&origin, &refusing] {
            let id = daemon.sender().await.post(&origin.host(), b"alive").await;
            until("a message after the restart is delivered", || origin.has_all([&id])).await;
        }
        daemon.until_idle().await;
        assert_eq!((origin.count(), refusing.count()), (sent + 1, 1), "a dead letter is not sent again");
        assert_eq!(log::dead_letters(dir.path()), ids);
        daemon.stop().await;
    });
}

#[test]
fn a_message_has_one_attempt_more_than_retries_and_the_dead_letter_keeps_it_whole() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|_| Reply::Status(503));
        let daemon = Daemon::start(dir.path(), &[("RETRYLIMIT", "2")]).await;
        let body = vec![b'k'; 10_000];
        let id = daemon.sender().await.post(&origin.host(), &body).await;
        daemon.until_metric("dead_letters_total{class=\"http_5xx\"}", |count| count == 1.0).await;
        daemon.until_idle().await;
        let attempts: Vec<u32> = origin.received().iter().map(|request| request.attempt).collect();
        assert_eq!(attempts, [1, 2, 3]);
        daemon.stop().await;
        let kept = log::records(&dir.path().join("log/dead-letter"));
        assert_eq!(kept.iter().map(|record| &record.id).collect::<Vec<_>>(), [&id]);
        for part in [&body[..], b"POST /in?a=1 HTTP/1.1\r\n", b"said"] {
            assert!(kept[0].payload.windows(part.len()).any(|window| window == part));
        }
    });
}

#[test]
fn a_message_whose_attempt_a_crash_cut_off_is_sent_again_as_maybe_a_duplicate() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|_| Reply::Hold);
        let mut daemon = Daemon::start(dir.path(), &[]).await;
        let id = daemon.sender().await.post(&origin.host(), b"twice").await;
        until("it is in flight", || origin.count() == 1).await;
        daemon.kill();
        origin.answer(|_| Reply::Status(200));
        let daemon = Daemon::start(dir.path(), &[]).await;
        until("it is delivered", || origin.has_all([&id])).await;
        let received = origin.received();
        assert_eq!(received.len(), 2);
        assert!(received[1].maybe_duplicate && received[1].body == b"twice", "{:?}", received[1]);
        daemon.stop().await;
    });
}

#[test]
fn metrics_agree_with_what_was_sent_and_received() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        // Every third message needs a second attempt.
        origin.answer(|request| {
            let fails = request.attempt == 1 && request.body[0].is_multiple_of(3);
            Reply::Status(if fails { 500 } else { 200 })
        });
        let daemon = Daemon::start(dir.path(), &[]).await;
        let (mut sender, mut ids) = (daemon.sender().await, Vec::new());
        for n in 0..30_u8 {
            ids.push(sender.post(&origin.host(), &[n; 100]).await);
        }
        for (fields, body, status) in [("X-Dispatcher-Tmeout: 1\r\n", &b""[..], 400), ("", &[0; 300 << 10][..], 413)] {
            let mut sender = daemon.sender().await;
            let answer = sender.try_post(&origin.host(), fields, body).await.unwrap();
            assert_eq!(answer.status, status, "{answer:?}");
        }
        until("all are delivered", || origin.has_all(&ids)).await;
        daemon.until_idle().await;
        for (series, value) in [
            ("accepted_total", 30.0),
            ("delivered_total", 30.0),
            ("attempts_total{class=\"delivered\"}", 30.0),
            ("attempts_total{class=\"http_5xx\"}", 10.0),
            ("refused_total{reason=\"control_header\"}", 1.0),
            ("refused_total{reason=\"body_too_large\"}", 1.0),
            ("maybe_duplicates_total", 0.0),
            ("corrupt_records_total", 0.0),
            ("delivery_seconds_count", 30.0),
            ("attempt_seconds_count", 40.0),
            ("accept_seconds_count", 30.0),
            ("log_live_bytes", 0.0),
        ] {
            assert_eq!(daemon.metric(series).await, value, "{series}");
        }
        assert_eq!(origin.count(), 40);
        ids.sort();
        let mut delivered = origin.delivered();
        delivered.sort();
        assert_eq!(delivered, ids, "each exactly once");
        daemon.stop().await;
    });
}

/// A wait longer than the settings now allow is cut short in memory only, so after a crash during that early attempt the
/// log says that the message was not due yet.
#[test]
fn an_attempt_made_before_its_logged_time_and_cut_off_marks_the_next() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|_| Reply::Status(503));
        let mut daemon = Daemon::start(dir.path(), &[("BACKOFF_BASE", "10m"), ("BACKOFF_MAX", "10m")]).await;
        let id = daemon.sender().await.post(&origin.host(), b"early").await;
        daemon.until_metric("messages{state=\"delayed\"}", |count| count == 1.0).await;
        daemon.kill();
        origin.answer(|_| Reply::Hold);
        let mut daemon = Daemon::start(dir.path(), &[]).await;
        until("it is in flight before it was due", || origin.count() == 2).await;
        daemon.kill();
        origin.answer(|_| Reply::Status(200));
        let daemon = Daemon::start(dir.path(), &[]).await;
        until("it is delivered", || origin.has_all([&id])).await;
        assert!(origin.received()[2].maybe_duplicate);
        daemon.stop().await;
    });
}
