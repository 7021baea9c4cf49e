//! Python's http.server: it closes after each answer, accepts slowly, does not read what it refuses, and dies.

use std::collections::HashSet;

use dispatcher::schedule::attempt::Failure;

use crate::common::daemon::Daemon;
use crate::common::run;
use crate::messages::{assert_none_dead, burst, letter, send};
use crate::python::{Python, Seen};

/// Fails unless each of `ids` came once, by its first attempt.
#[track_caller]
fn assert_exactly_once_at_first(seen: &[Seen], ids: &[String]) {
    let mut got: Vec<&str> = seen.iter().map(|seen| seen.id.as_str()).collect();
    let mut wanted: Vec<&str> = ids.iter().map(String::as_str).collect();
    got.sort_unstable();
    wanted.sort_unstable();
    assert!(got == wanted, "{} requests of {} messages", got.len(), wanted.len());
    assert!(seen.iter().all(|seen| seen.attempt == 1 && !seen.maybe_duplicate));
}

fn connections(seen: &[Seen]) -> usize {
    seen.iter().map(|seen| seen.connection).collect::<HashSet<_>>().len()
}

#[test]
fn a_server_of_http_1_0_that_closes_after_each_answer_gets_each_message_once_and_at_the_first_attempt() {
    run(async {
        let Some(python) = Python::start("HTTP/1.0").await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        let ids = burst(&daemon, &python.host(), 8, 25).await;
        assert_none_dead(&daemon, dir.path()).await;
        let seen = python.seen();
        assert_exactly_once_at_first(&seen, &ids);
        // Ports are used again, but not within seconds.
        assert_eq!(connections(&seen), ids.len());
        daemon.stop().await;
    });
}

#[test]
fn a_server_of_http_1_1_gets_many_messages_over_one_connection() {
    run(async {
        let Some(python) = Python::start("HTTP/1.1").await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        let (mut sender, mut ids) = (daemon.sender().await, Vec::new());
        for line in ["POST /in", "HEAD /in", "GET /in", "OPTIONS *", "DELETE /in", "POST /interim", "PUT /in"] {
            ids.push(send(&mut sender, &python.host(), line, "", b"body").await);
            assert_none_dead(&daemon, dir.path()).await;
        }
        let seen = python.seen();
        assert_exactly_once_at_first(&seen, &ids);
        assert_eq!(connections(&seen), 1);
        assert_eq!((seen[3].method.as_str(), seen[3].target.as_str()), ("OPTIONS", "*"));
        daemon.stop().await;
    });
}

/// The kernel drops what does not fit the queue, and both sides repeat themselves after seconds: some attempts are slow.
#[test]
fn a_server_with_one_thread_and_a_short_queue_gets_every_message_although_dozens_are_in_flight() {
    run(async {
        let Some(python) = Python::start_single(4).await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        let ids = burst(&daemon, &python.host(), 64, 2).await;
        assert_none_dead(&daemon, dir.path()).await;
        let seen = python.seen();
        let mut got = HashSet::new();
        for seen in &seen {
            assert!(got.insert(seen.id.as_str()) || seen.maybe_duplicate, "a repeat without a mark: {seen:?}");
        }
        assert_eq!(got, ids.iter().map(String::as_str).collect());
        daemon.stop().await;
    });
}

#[test]
fn a_refusal_by_a_server_that_leaves_the_body_unread_is_seen_with_its_status() {
    run(async {
        let Some(python) = Python::start_module().await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[("RETRYLIMIT", "0")]).await;
        let mut sender = daemon.sender().await;
        for bytes in [10, 200_000] {
            let id = send(&mut sender, &python.host(), "POST /", "", &vec![b'b'; bytes]).await;
            let letter = letter(dir.path(), &id).await;
            assert_eq!((letter.class, letter.status), (Failure::Http5xx, Some(501)));
            assert!(String::from_utf8(letter.answer).unwrap().contains("Unsupported method"), "its page is kept");
        }
        send(&mut sender, &python.host(), "GET /", "", b"").await;
        daemon.until_idle().await;
        assert_eq!(daemon.metric("delivered_total").await, 1.0);
        daemon.stop().await;
    });
}

#[test]
fn a_server_that_dies_within_its_answer_gets_the_message_again_once_it_is_back() {
    run(async {
        for (target, is_known, class) in
            [("/dies-in-head-at-first", false, "reset"), ("/dies-in-body-at-first", true, "http_5xx")]
        {
            let Some(mut python) = Python::start("HTTP/1.1").await else { return };
            let dir = tempfile::tempdir().unwrap();
            let daemon = Daemon::start(dir.path(), &[]).await;
            let id = send(&mut daemon.sender().await, &python.host(), &format!("POST {target}"), "", b"again").await;
            python.ended().await;
            daemon.until_metric("attempts_total{class=\"refused\"}", |count| count >= 1.0).await;
            assert_eq!(daemon.metric(&format!("attempts_total{{class=\"{class}\"}}")).await, 1.0);
            python.run().await;
            assert_none_dead(&daemon, dir.path()).await;
            let seen = python.seen();
            assert_eq!(seen.len(), 2);
            assert!(seen[1].attempt > 2 && seen[1].id == id, "{seen:?}");
            assert_eq!(seen[1].maybe_duplicate, !is_known, "whether the answer of the first attempt is known");
            assert_eq!(python.body(&id), b"again");
            daemon.stop().await;
        }
    });
}
