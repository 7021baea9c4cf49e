//! Connections that nginx closes: after so many requests, and when they were idle for so long.

use crate::common::daemon::Daemon;
use crate::common::run;
use crate::messages::{assert_none_dead, burst};
use crate::nginx::{Nginx, assert_exactly_once_at_first};

#[test]
fn a_server_that_closes_after_every_third_request_gets_each_message_once_and_at_the_first_attempt() {
    run(async {
        let Some(nginx) = Nginx::start("location / { keepalive_requests 3; return 200 taken; }").await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        let ids = burst(&daemon, &nginx.host(), 16, 50).await;
        nginx.until_delivered(&ids).await;
        assert_none_dead(&daemon, dir.path()).await;
        assert_exactly_once_at_first(&nginx, &ids);
        let seen = nginx.seen();
        let mut requests = std::collections::HashMap::<u64, u32>::new();
        for seen in &seen {
            *requests.entry(seen.connection).or_default() += 1;
        }
        assert_eq!(requests.values().max(), Some(&3), "its connections are used to their end");
        // It says so in its last answer: no request meets a connection that is being closed.
        assert!(seen.iter().all(|seen| !seen.maybe_duplicate));
        daemon.stop().await;
    });
}

/// The accepting of a message takes about as long as nginx waits: so requests and the end of connections cross.
#[test]
fn a_server_that_closes_idle_connections_at_once_gets_each_message_once_and_at_the_first_attempt() {
    run(async {
        let Some(nginx) = Nginx::start("location / { keepalive_timeout 2ms; return 200 taken; }").await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        let mut ids = Vec::new();
        for senders in [1, 2, 4, 16] {
            ids.extend(burst(&daemon, &nginx.host(), senders, 240 / senders).await);
        }
        nginx.until_delivered(&ids).await;
        assert_none_dead(&daemon, dir.path()).await;
        assert_exactly_once_at_first(&nginx, &ids);
        assert_eq!(daemon.metric("attempts_total{class=\"reset\"}").await, 0.0);
        daemon.stop().await;
    });
}
