//! Origins that are down, overloaded, or say what is to become of a message.

use std::time::Duration;

use crate::common::daemon::Daemon;
use crate::common::origin::{Origin, Reply};
use crate::common::{log, run, until};

#[test]
fn an_outage_spends_no_retries_and_few_attempts_and_its_end_is_noticed() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::refusing(None));
        let variables = [("RETRYLIMIT", "5"), ("BREAKER_PROBE_MAX", "100ms")];
        let daemon = Daemon::start(dir.path(), &variables).await;
        let (mut sender, mut ids) = (daemon.sender().await, Vec::new());
        for _ in 0..300 {
            ids.push(sender.post(&origin.host(), b"patient").await);
        }
        daemon.until_metric("breaker_open_origins", |open| open == 1.0).await;
        let before = daemon.metric("attempts_total{class=\"refused\"}").await;
        // Far more than retries of one message, and yet none is given up.
        daemon.until_metric("attempts_total{class=\"refused\"}", |count| count >= before + 15.0).await;
        assert!(before <= 150.0, "{before} attempts until the circuit was open");
        assert_eq!(daemon.metric("messages{state=\"in_flight\"}").await.max(1.0), 1.0, "single probes");
        origin.listen();
        until("all is delivered", || origin.has_all(&ids)).await;
        daemon.until_idle().await;
        assert_eq!(daemon.metric("breaker_open_origins").await, 0.0);
        assert_eq!(log::dead_letters(dir.path()), [""; 0]);
        daemon.stop().await;
    });
}

#[test]
fn an_origin_in_flight_of_one_is_one_over_all_cores() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|_| Reply::Hold);
        let daemon = Daemon::start(dir.path(), &[("ORIGIN_IN_FLIGHT", "1"), ("DEFAULT_TIMEOUT", "60s")]).await;
        let mut ids = Vec::new();
        // Enough connections that both cores have some.
        for _ in 0..16 {
            let mut sender = daemon.sender().await;
            for _ in 0..4 {
                ids.push(sender.post(&origin.host(), b"in single file").await);
            }
        }
        until("one is under way", || origin.count() == 1).await;
        daemon.until_metric("messages{state=\"ready\"}", |ready| ready == 63.0).await;
        assert_eq!((origin.count(), daemon.metric("messages{state=\"in_flight\"}").await), (1, 1.0));
        origin.answer(|_| Reply::Status(200));
        origin.release();
        until("each is delivered", || origin.has_all(&ids)).await;
        assert_eq!(origin.count(), 64);
        daemon.stop().await;
    });
}

#[test]
fn retry_after_holds_back_the_whole_origin_and_no_other() {
    run(async {
        let (dir, origin, other) = (tempfile::tempdir().unwrap(), Origin::start(), Origin::start());
        origin.answer(|request| match request.attempt {
            1 if request.body == b"first" => Reply::With(503, "Retry-After: 2\r\n"),
            _ => Reply::Status(200),
        });
        let daemon = Daemon::start(dir.path(), &[("RETRY_AFTER_MAX", "1m")]).await;
        let mut sender = daemon.sender().await;
        let first = sender.post(&origin.host(), b"first").await;
        daemon.until_metric("messages{state=\"delayed\"}", |count| count == 1.0).await;
        let second = sender.post(&origin.host(), b"second").await;
        let elsewhere = sender.post(&other.host(), b"third").await;
        until("the other origin has its message", || other.has_all([&elsewhere])).await;
        assert_eq!(origin.count(), 1);
        until("both come in the end", || origin.has_all([&first, &second])).await;
        let received = origin.received();
        for request in &received[1..] {
            let waited = request.at - received[0].at;
            assert!(waited >= Duration::from_millis(1990), "{waited:?}");
        }
        daemon.stop().await;
    });
}

#[test]
fn what_an_origin_says_of_a_message_overrides_its_status() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|request| match (request.body.as_slice(), request.attempt) {
            (b"ok", _) => Reply::With(500, "X-Dispatcher-Verdict: ok\r\n"),
            (b"dead", _) => Reply::With(200, "x-dispatcher-verdict: dead\r\n"),
            (b"retry", 1) => Reply::With(410, "X-Dispatcher-Verdict: retry\r\n"),
            (b"gone", _) => Reply::Status(410),
            (b"teapot", _) => Reply::Status(418),
            _ => Reply::Status(200),
        });
        let daemon = Daemon::start(dir.path(), &[("NO_RETRY_STATUS", "418")]).await;
        let (mut sender, mut dead) = (daemon.sender().await, Vec::new());
        for body in [&b"ok"[..], b"dead", b"retry", b"gone", b"teapot"] {
            let id = sender.post(&origin.host(), body).await;
            if !matches!(body, b"ok" | b"retry") {
                dead.push(id);
            }
        }
        daemon.until_idle().await;
        assert_eq!(daemon.metric("delivered_total").await, 2.0);
        assert_eq!(daemon.metric("dead_letters_total{class=\"http_4xx\"}").await, 3.0);
        assert_eq!(log::dead_letters(dir.path()), dead);
        assert_eq!(origin.count(), 6, "only one was tried twice");
        daemon.stop().await;
    });
}

#[test]
fn what_outlives_its_time_is_a_dead_letter_wherever_it_waits() {
    run(async {
        let (dir, origin, refusing) = (tempfile::tempdir().unwrap(), Origin::start(), Origin::refusing(None));
        origin.answer(|_| Reply::Status(404));
        let variables = [
            ("MESSAGE_TTL", "1500ms"),
            ("BACKOFF_BASE", "10m"),
            ("BACKOFF_MAX", "10m"),
            ("BREAKER_FAILURES", "1"),
            ("BREAKER_PROBE_MAX", "10m"),
            ("CORES", "1"),
        ];
        let daemon = Daemon::start(dir.path(), &variables).await;
        let mut sender = daemon.sender().await;
        let mut ids = vec![sender.post(&origin.host(), b"waits for its retry").await];
        ids.push(sender.post(&refusing.host(), b"opens the circuit").await);
        daemon.until_metric("breaker_open_origins", |open| open == 1.0).await;
        ids.push(sender.post(&refusing.host(), b"waits for the circuit").await);
        assert_eq!(log::dead_letters(dir.path()), [""; 0]);
        daemon.until_metric("dead_letters_total{class=\"expired\"}", |count| count == 3.0).await;
        daemon.until_idle().await;
        let mut dead = log::dead_letters(dir.path());
        dead.sort();
        assert_eq!(dead, ids);
        daemon.stop().await;
    });
}
