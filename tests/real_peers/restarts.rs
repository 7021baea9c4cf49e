//! nginx reloaded and restarted while messages arrive, and an nginx whose own upstream dies.

use std::collections::{HashMap, HashSet};

use crate::common::daemon::Daemon;
use crate::common::run;
use crate::messages::{assert_none_dead, burst, send};
use crate::nginx::{Nginx, Seen, assert_exactly_once_at_first, delivered};
use crate::python::Python;

/// Without lingering: an nginx that is stopped does not log requests that it has answered and whose connections linger.
const SERVER: &str = "lingering_close off; return 200 taken;";

/// Whether a message that was delivered more than once said so, and each was delivered at all.
fn check_repeats(seen: &[Seen], ids: &[String]) {
    let mut times = HashMap::<&str, usize>::new();
    for seen in delivered(seen) {
        let before = times.entry(&seen.id).or_default();
        assert!(*before == 0 || seen.maybe_duplicate, "a repeat without a mark: {seen:?}");
        *before += 1;
    }
    let wanted: HashSet<&str> = ids.iter().map(String::as_str).collect();
    assert_eq!(times.keys().copied().collect::<HashSet<_>>(), wanted);
}

#[test]
fn a_reload_of_nginx_under_load_costs_no_message_and_no_attempt() {
    run(async {
        let Some(nginx) = Nginx::start(SERVER).await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        let (host, mut ids) = (nginx.host(), Vec::new());
        for _ in 0..3 {
            let (more, ()) = tokio::join!(burst(&daemon, &host, 8, 40), nginx.reload());
            ids.extend(more);
        }
        nginx.until_delivered(&ids).await;
        assert_none_dead(&daemon, dir.path()).await;
        assert_exactly_once_at_first(&nginx, &ids);
        daemon.stop().await;
    });
}

#[test]
fn a_restart_of_nginx_under_load_costs_no_message_and_repeats_are_marked() {
    run(async {
        let Some(mut nginx) = Nginx::start(SERVER).await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        let host = nginx.host();
        let restarts = async {
            for _ in 0..3 {
                nginx.stop().await;
                daemon.until_metric("attempts_total{class=\"refused\"}", |count| count > 0.0).await;
                nginx.run().await;
            }
        };
        let (ids, ()) = tokio::join!(burst(&daemon, &host, 8, 100), restarts);
        nginx.until_delivered(&ids).await;
        assert_none_dead(&daemon, dir.path()).await;
        check_repeats(&nginx.seen(), &ids);
        daemon.stop().await;
    });
}

#[test]
fn a_request_passes_a_proxy_unchanged_to_a_server_of_http_1_0() {
    run(async {
        let Some(python) = Python::start("HTTP/1.0").await else { return };
        let server = format!("location / {{ proxy_pass http://{}; proxy_set_header Host $http_host; }}", python.host());
        let Some(nginx) = Nginx::start(&server).await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        let body: Vec<u8> = (0..=255).cycle().take(200_000).collect();
        let ids = [send(
            &mut daemon.sender().await,
            &nginx.host(),
            "PATCH /a%20b?c=d&c=e",
            "X-Two: 1\r\nx-two: 2\r\n",
            &body,
        )
        .await];
        nginx.until_delivered(&ids).await;
        assert_none_dead(&daemon, dir.path()).await;
        assert_exactly_once_at_first(&nginx, &ids);
        let got = &python.seen()[0];
        assert_eq!((got.id.as_str(), got.attempt), (ids[0].as_str(), 1));
        assert_eq!((got.method.as_str(), got.target.as_str()), ("PATCH", "/a%20b?c=d&c=e"));
        assert_eq!(
            (got.host.as_str(), got.twos.as_slice()),
            (nginx.host().as_str(), &["1".to_owned(), "2".to_owned()][..])
        );
        assert_eq!(python.body(&ids[0]), body);
        daemon.stop().await;
    });
}

#[test]
fn a_proxy_whose_upstream_dies_is_tried_until_the_upstream_is_back() {
    run(async {
        let Some(mut python) = Python::start("HTTP/1.0").await else { return };
        let server = format!("location / {{ proxy_pass http://{}; }}", python.host());
        let Some(nginx) = Nginx::start(&server).await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        let mut ids = burst(&daemon, &nginx.host(), 4, 5).await;
        python.kill().await;
        ids.extend(burst(&daemon, &nginx.host(), 4, 5).await);
        daemon.until_metric("attempts_total{class=\"http_5xx\"}", |count| count >= 3.0).await;
        python.run().await;
        nginx.until_delivered(&ids).await;
        assert_none_dead(&daemon, dir.path()).await;
        let seen = nginx.seen();
        assert!(seen.iter().any(|seen| seen.status == 502));
        check_repeats(&seen, &ids);
        daemon.stop().await;
    });
}
