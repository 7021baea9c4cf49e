//! What an origin gets, and when it gets it again.

use std::time::Duration;

use crate::common::daemon::Daemon;
use crate::common::origin::{Origin, Reply};
use crate::common::{run, until};

#[test]
fn an_origin_gets_what_was_sent_with_its_own_host_and_no_control_header() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let daemon = Daemon::start(dir.path(), &[]).await;
        let fields = "X-One: 1\r\nx-two: 2\r\nX-One: 3\r\nX-Dispatcher-Timeout: 5s\r\nConnection: keep-alive, X-Gone\r\nX-Gone: 1\r\n";
        let body: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let id = daemon.sender().await.try_post(&origin.host(), fields, &body).await.unwrap().id();
        until("it is delivered", || origin.count() == 1).await;
        let got = &origin.received()[0];
        assert!(got.head.starts_with("POST /in?a=1 HTTP/1.1\r\n"), "{}", got.head);
        assert!(got.head.contains(&format!("\r\nHost: {}\r\n", origin.host())), "{}", got.head);
        assert!(got.head.contains("X-One: 1\r\nx-two: 2\r\nX-One: 3\r\n"), "{}", got.head);
        for gone in ["Origin-Host", "X-Dispatcher-Timeout", "X-Gone", "Maybe-Duplicate", "User-Agent", "\nDate:"] {
            assert!(!got.head.contains(gone), "{gone} in {}", got.head);
        }
        assert_eq!((got.id.as_str(), got.attempt, &got.body), (id.as_str(), 1, &body));
        daemon.stop().await;
    });
}

#[test]
fn a_message_is_sent_until_its_origin_takes_it_with_one_id_and_counted_attempts() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|request| Reply::Status(if request.attempt < 4 { 503 } else { 200 }));
        let daemon = Daemon::start(dir.path(), &[]).await;
        let id = daemon.sender().await.post(&origin.host(), b"again").await;
        until("it is delivered", || !origin.delivered().is_empty()).await;
        let received = origin.received();
        let attempts: Vec<u32> = received.iter().map(|request| request.attempt).collect();
        assert_eq!(attempts, [1, 2, 3, 4]);
        for (n, request) in received.iter().enumerate() {
            assert_eq!((request.id.as_str(), request.body.as_slice()), (id.as_str(), &b"again"[..]));
            assert!(!request.maybe_duplicate, "a full answer came to attempt {n}: this is no duplicate");
        }
        // 50, 100 and 200 ms, less a fifth; later is the machine's business.
        let waited = received[3].at - received[0].at;
        assert!(waited >= Duration::from_millis(280), "{waited:?}");
        daemon.stop().await;
    });
}

#[test]
fn the_wait_before_a_retry_and_the_count_of_attempts_survive_a_restart() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|request| Reply::Status(if request.attempt == 1 { 503 } else { 200 }));
        let variables = [("BACKOFF_BASE", "3s"), ("BACKOFF_MAX", "3s"), ("BACKOFF_JITTER", "0")];
        let mut daemon = Daemon::start(dir.path(), &variables).await;
        let id = daemon.sender().await.post(&origin.host(), b"later").await;
        daemon.until_metric("messages{state=\"delayed\"}", |count| count == 1.0).await;
        daemon.kill();
        let daemon = Daemon::start(dir.path(), &variables).await;
        until("it is delivered", || !origin.delivered().is_empty()).await;
        let received = origin.received();
        assert_eq!(received.len(), 2);
        assert_eq!((received[1].id.as_str(), received[1].attempt), (id.as_str(), 2));
        let waited = received[1].at - received[0].at;
        assert!(waited >= Duration::from_millis(2950), "{waited:?}");
        daemon.stop().await;
    });
}

#[test]
fn what_waited_when_the_daemon_stopped_in_order_is_no_duplicate_and_what_had_been_cut_off_before_still_may_be_one() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|request| match request.body.as_slice() {
            b"unanswered" => Reply::Close,
            _ => Reply::Status(404),
        });
        let variables = [("BACKOFF_BASE", "10m"), ("BACKOFF_MAX", "10m")];
        let daemon = Daemon::start(dir.path(), &variables).await;
        let mut sender = daemon.sender().await;
        let answered = sender.post(&origin.host(), b"answered").await;
        let unanswered = sender.post(&origin.host(), b"unanswered").await;
        daemon.until_metric("messages{state=\"delayed\"}", |count| count == 2.0).await;
        daemon.stop().await;
        // Stopped twice, and nothing was attempted between.
        let daemon = Daemon::start(dir.path(), &variables).await;
        daemon.stop().await;
        origin.answer(|_| Reply::Status(200));
        // Waits are cut to the longest that these settings know.
        let daemon = Daemon::start(dir.path(), &[]).await;
        until("both are delivered", || origin.has_all([&answered, &unanswered])).await;
        daemon.stop().await;
        let last = origin.received().into_iter().filter(|request| request.attempt == 2);
        let marks: Vec<(bool, bool)> =
            last.map(|request| (request.id == unanswered, request.maybe_duplicate)).collect();
        assert!(marks.len() == 2 && marks.iter().all(|(unanswered, marked)| unanswered == marked), "{marks:?}");
    });
}

#[test]
fn what_a_killed_daemon_may_have_had_in_flight_may_be_a_duplicate_after_orderly_stops_too() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|_| Reply::Hold);
        let mut daemon = Daemon::start(dir.path(), &[("DEFAULT_TIMEOUT", "60s")]).await;
        let id = daemon.sender().await.post(&origin.host(), b"cut off").await;
        until("it is in flight", || origin.count() == 1).await;
        daemon.kill();
        origin.refuse();
        // It cannot be attempted in these lives: its circuit is open, or the process ends before.
        let daemon = Daemon::start(dir.path(), &[("BREAKER_FAILURES", "1"), ("BREAKER_PROBE_MAX", "10m")]).await;
        daemon.stop().await;
        origin.answer(|_| Reply::Status(200));
        origin.listen();
        let daemon = Daemon::start(dir.path(), &[]).await;
        until("it is delivered", || origin.has_all([&id])).await;
        daemon.stop().await;
        assert!(origin.received()[1].maybe_duplicate);
    });
}

#[test]
fn an_attempt_whose_answer_never_came_marks_the_next_as_maybe_a_duplicate() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let reply = |attempt| match attempt {
            1 => Reply::Hold,
            2 => Reply::Close,
            3 => Reply::Status(503),
            _ => Reply::Status(200),
        };
        origin.answer(move |request| reply(request.attempt));
        let daemon = Daemon::start(dir.path(), &[]).await;
        let fields = "X-Dispatcher-Timeout: 200ms\r\n";
        let answer = daemon.sender().await.try_post(&origin.host(), fields, b"once").await.unwrap();
        until("it is delivered", || !origin.delivered().is_empty()).await;
        let marks: Vec<(u32, bool)> =
            origin.received().iter().map(|request| (request.attempt, request.maybe_duplicate)).collect();
        assert_eq!(marks, [(1, false), (2, true), (3, true), (4, true)]);
        assert!(origin.received().iter().all(|request| request.id == answer.id()));
        daemon.until_idle().await;
        for (series, value) in [
            ("attempts_total{class=\"response_timeout\"}", 1.0),
            ("attempts_total{class=\"reset\"}", 1.0),
            ("attempts_total{class=\"http_5xx\"}", 1.0),
            ("attempts_total{class=\"delivered\"}", 1.0),
            ("maybe_duplicates_total", 3.0),
        ] {
            assert_eq!(daemon.metric(series).await, value, "{series}");
        }
        daemon.stop().await;
    });
}
