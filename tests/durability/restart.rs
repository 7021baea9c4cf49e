//! Orderly stops, and starts with another number of cores.

use std::io::ErrorKind;

use crate::common::daemon::Daemon;
use crate::common::origin::{Origin, Reply};
use crate::common::sender::Sender;
use crate::common::{log, run, until};

#[test]
fn sigterm_lets_an_attempt_in_flight_end_and_exits_0() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|_| Reply::Hold);
        let mut daemon = Daemon::start(dir.path(), &[]).await;
        let id = daemon.sender().await.post(&origin.host(), b"in flight").await;
        until("it is in flight", || origin.count() == 1).await;
        daemon.terminate();
        until("it stops", || daemon.said("stopping").is_some()).await;
        until("it takes no connections", || {
            std::net::TcpStream::connect(daemon.address())
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        })
        .await;
        let ready = daemon.admin("/-/ready").await;
        assert!(ready.starts_with("HTTP/1.1 503 ") && ready.contains("stopping"), "{ready}");
        assert!(origin.delivered().is_empty());
        origin.release();
        assert_eq!(daemon.ended().await.code(), Some(0));
        assert_eq!(origin.delivered(), [id]);
        let daemon = Daemon::start(dir.path(), &[]).await;
        daemon.until_idle().await;
        assert_eq!(daemon.metric("recovered_messages_total").await, 0.0, "its outcome is in the log");
        daemon.stop().await;
        assert_eq!(origin.count(), 1);
    });
}

#[test]
fn a_request_admitted_before_sigterm_is_answered_and_delivered_after_the_next_start() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let mut daemon = Daemon::start(dir.path(), &[]).await;
        let mut sender = daemon.sender().await;
        let head = format!(
            "PUT /late HTTP/1.1\r\nHost: d\r\nX-Dispatcher-Origin-Host: {}\r\nExpect: 100-continue\r\nContent-Length: 8\r\n\r\n",
            origin.host()
        );
        sender.write(head.as_bytes()).await.unwrap();
        assert_eq!(sender.answer().await.unwrap().status, 100);
        sender.write(b"half").await.unwrap();
        daemon.terminate();
        until("it stops", || daemon.said("stopping").is_some()).await;
        sender.write(b"half").await.unwrap();
        let id = sender.answer().await.unwrap().id();
        assert_eq!(daemon.ended().await.code(), Some(0));
        let daemon = Daemon::start(dir.path(), &[]).await;
        until("it is delivered", || origin.has_all([&id])).await;
        assert_eq!(origin.received()[0].body, b"halfhalf");
        daemon.stop().await;
    });
}

#[test]
fn an_attempt_that_outlasts_shutdown_timeout_is_cut_off_and_made_again_as_maybe_a_duplicate() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|_| Reply::Hold);
        let daemon = Daemon::start(dir.path(), &[("SHUTDOWN_TIMEOUT", "300ms")]).await;
        let id = daemon.sender().await.post(&origin.host(), b"cut off").await;
        until("it is in flight", || origin.count() == 1).await;
        daemon.stop().await;
        origin.answer(|_| Reply::Status(200));
        let daemon = Daemon::start(dir.path(), &[]).await;
        until("it is delivered", || origin.has_all([&id])).await;
        assert!(origin.received()[1].maybe_duplicate);
        daemon.stop().await;
    });
}

/// Posts over several connections, so that every core gets some.
async fn post_to_all(daemon: &Daemon, host: &str, messages: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for n in 0..messages {
        ids.push(Sender::connect(daemon.address()).await.unwrap().post(host, &vec![b'm'; n * 500]).await);
    }
    ids
}

#[test]
fn another_number_of_cores_loses_no_message_delayed_message_or_dead_letter() {
    run(async {
        let (dir, dead) = (tempfile::tempdir().unwrap(), Origin::start());
        let (refusing, failing) = (Origin::refusing(None), Origin::start());
        dead.answer(|_| Reply::Status(404));
        failing.answer(|_| Reply::Status(409));
        let daemon = Daemon::start(dir.path(), &[("RETRYLIMIT", "0")]).await;
        let mut dead_ids = post_to_all(&daemon, &dead.host(), 40).await;
        daemon.until_metric("dead_letters_total{class=\"http_4xx\"}", |count| count == 40.0).await;
        daemon.stop().await;
        dead_ids.sort();
        let mut ids = (Vec::new(), Vec::new());
        for cores in ["2", "1", "2", "1"] {
            let mut daemon = Daemon::start(dir.path(), &[("CORES", cores)]).await;
            ids.0.extend(post_to_all(&daemon, &refusing.host(), 20).await);
            ids.1.extend(post_to_all(&daemon, &failing.host(), 20).await);
            daemon.until_metric("messages{state=\"delayed\"}", |count| count >= 1.0).await;
            assert_eq!(log::dead_letters(dir.path()), dead_ids, "with {cores} cores");
            daemon.kill();
        }
        refusing.listen();
        failing.answer(|_| Reply::Status(200));
        let daemon = Daemon::start(dir.path(), &[]).await;
        until("all are delivered", || refusing.has_all(&ids.0) && failing.has_all(&ids.1)).await;
        daemon.until_idle().await;
        assert_eq!(daemon.metric("corrupt_records_total").await, 0.0);
        daemon.stop().await;
        let daemon = Daemon::start(dir.path(), &[("CORES", "1")]).await;
        daemon.stop().await;
        assert_eq!(log::dead_letters(dir.path()), dead_ids);
        assert_eq!(dead.count(), 40, "a dead letter is not sent again");
        let delivered = refusing.delivered().len();
        assert_eq!(delivered, ids.0.len(), "what never reached its origin is delivered once");
    });
}
