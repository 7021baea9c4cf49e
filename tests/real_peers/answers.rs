//! Answers that mean delivered, in each of the ways in which nginx and Python end them, and requests of each kind.

use crate::common::daemon::Daemon;
use crate::common::run;
use crate::messages::{assert_none_dead, send};
use crate::nginx::{Nginx, Seen, assert_exactly_once_at_first};

/// Sends messages one after the other, with `fields`; returns how nginx saw them.
async fn one_by_one(server: &str, line: &str, fields: &str) -> Option<Vec<Seen>> {
    let nginx = Nginx::start(server).await?;
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(dir.path(), &[]).await;
    let (mut sender, mut ids) = (daemon.sender().await, Vec::new());
    for _ in 0..10 {
        ids.push(send(&mut sender, &nginx.host(), line, fields, b"").await);
        nginx.until_delivered(&ids).await;
        assert_none_dead(&daemon, dir.path()).await;
    }
    assert_exactly_once_at_first(&nginx, &ids);
    daemon.stop().await;
    Some(nginx.seen())
}

fn connections(seen: &[Seen]) -> usize {
    seen.iter().map(|seen| seen.connection).collect::<std::collections::HashSet<_>>().len()
}

/// Server-side includes are of a length that nginx does not know.
const OF_UNKNOWN_LENGTH: &str =
    "ssi on; ssi_types text/plain; return 200 'said <!--# echo var=\"server_protocol\" --> at length';";

#[test]
fn a_chunked_answer_is_read_to_its_end_and_its_connection_used_again() {
    run(async {
        let Some(seen) = one_by_one(OF_UNKNOWN_LENGTH, "POST /in", "").await else { return };
        assert_eq!(connections(&seen), 1);
    });
}

#[test]
fn a_compressed_answer_is_read_to_its_end_and_its_connection_used_again() {
    run(async {
        let server = format!("gzip on; gzip_min_length 1; gzip_types text/plain; {OF_UNKNOWN_LENGTH}");
        let Some(seen) = one_by_one(&server, "POST /in", "Accept-Encoding: gzip\r\n").await else { return };
        assert_eq!(connections(&seen), 1);
    });
}

#[test]
fn an_answer_that_ends_with_its_connection_is_delivered_like_any_other() {
    run(async {
        let server = format!("chunked_transfer_encoding off; {OF_UNKNOWN_LENGTH}");
        let Some(seen) = one_by_one(&server, "POST /in", "").await else { return };
        assert_eq!(connections(&seen), 10);
        assert!(seen.iter().all(|seen| !seen.maybe_duplicate));
    });
}

#[test]
fn an_answer_to_head_or_without_content_has_no_body_to_wait_for() {
    run(async {
        let Some(seen) = one_by_one("return 200 'as long as this';", "HEAD /in", "").await else { return };
        assert_eq!((connections(&seen), seen[0].method.as_str()), (1, "HEAD"));
    });
}

#[test]
fn an_expectation_is_met_by_the_dispatcher_and_nginx_never_sees_it() {
    run(async {
        let Some(nginx) = Nginx::start("return 200 taken;").await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        let mut sender = daemon.sender().await;
        let head = format!(
            "PUT /in HTTP/1.1\r\nHost: d\r\nX-Dispatcher-Origin-Host: {}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
            nginx.host()
        );
        sender.write(head.as_bytes()).await.unwrap();
        assert_eq!(sender.answer().await.unwrap().status, 100);
        sender.write(b"hello").await.unwrap();
        let ids = [sender.answer().await.unwrap().id()];
        nginx.until_delivered(&ids).await;
        assert_none_dead(&daemon, dir.path()).await;
        assert_exactly_once_at_first(&nginx, &ids);
        let seen = &nginx.seen()[0];
        assert_eq!((seen.method.as_str(), seen.expect.as_str()), ("PUT", "-"));
        daemon.stop().await;
    });
}

#[test]
fn an_answer_longer_than_what_is_kept_or_drained_is_delivered() {
    run(async {
        let Some(nginx) = Nginx::start("root .; location /taken { try_files /large =500; }").await else { return };
        std::fs::write(nginx.dir().join("large"), vec![b'l'; 3 << 20]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        let mut sender = daemon.sender().await;
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(send(&mut sender, &nginx.host(), "GET /taken", "", b"").await);
        }
        nginx.until_delivered(&ids).await;
        assert_none_dead(&daemon, dir.path()).await;
        assert_exactly_once_at_first(&nginx, &ids);
        daemon.stop().await;
    });
}
