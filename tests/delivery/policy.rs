//! Where messages may not go: refused as they come in, or not connected to, and in neither case sent.

use crate::common::daemon::Daemon;
use crate::common::origin::Origin;
use crate::common::{log, run, until};

#[test]
fn a_denied_address_is_refused_in_every_spelling_and_the_answer_names_the_rule() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[("ORIGIN_DENY", "10.0.0.0/8,*.internal")]).await;
        let mut sender = daemon.sender().await;
        let by_default = "169.254.0.0/16 is denied by default";
        let denied = [
            ("169.254.169.254", by_default),
            ("http://2852039166:80", by_default),
            ("0xa9fea9fe", by_default),
            ("0251.0376.0251.0376", by_default),
            ("[::ffff:a9fe:a9fe]", by_default),
            ("169.254.169.254.", by_default),
            ("10.1", "10.0.0.0/8 is in ORIGIN_DENY"),
            ("a.INTERNAL.:81", "*.internal is in ORIGIN_DENY"),
        ];
        for (host, rule) in denied {
            let answer = sender.try_post(host, "", b"never").await.unwrap();
            assert_eq!(answer.status, 403, "{host}");
            let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(problem["header"], "X-Dispatcher-Origin-Host", "{problem}");
            assert_eq!(problem["value"], host, "{problem}");
            assert!(problem["detail"].as_str().unwrap().contains(rule), "{problem}");
        }
        assert_eq!(daemon.metric("refused_total{reason=\"denied\"}").await, denied.len() as f64);
        assert_eq!(daemon.metric("accepted_total").await, 0.0);
        daemon.stop().await;
    });
}

#[test]
fn a_name_that_leads_to_a_denied_address_is_accepted_and_never_connected_to() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let named = origin.host().replace("127.0.0.1", "localhost");
        let variables = [("ORIGIN_DENY", "127.0.0.0/8,::1"), ("RETRYLIMIT", "0")];
        let daemon = Daemon::start(dir.path(), &variables).await;
        let id = daemon.sender().await.post(&named, b"never").await;
        daemon.until_metric("dead_letters_total{class=\"denied\"}", |count| count == 1.0).await;
        daemon.until_idle().await;
        assert_eq!(daemon.metric("connections_opened_total{side=\"out\"}").await, 0.0);
        daemon.stop().await;
        assert_eq!(log::dead_letters(dir.path()), [id]);
        assert_eq!((origin.count(), origin.connections()), (0, 0));
    });
}

#[test]
fn a_message_accepted_before_its_destination_was_denied_is_not_sent_to_it() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::refusing(None));
        let mut daemon = Daemon::start(dir.path(), &[]).await;
        let id = daemon.sender().await.post(&origin.host(), b"too late").await;
        daemon.until_metric("attempts_total{class=\"refused\"}", |count| count >= 1.0).await;
        daemon.kill();
        origin.listen();
        let daemon = Daemon::start(dir.path(), &[("ORIGIN_ALLOW", "b,10.0.0.0/8"), ("RETRYLIMIT", "0")]).await;
        daemon.until_metric("dead_letters_total{class=\"denied\"}", |count| count == 1.0).await;
        daemon.until_idle().await;
        daemon.stop().await;
        assert_eq!(log::dead_letters(dir.path()), [id]);
        assert_eq!(origin.connections(), 0);
    });
}

#[test]
fn what_is_allowed_by_name_or_by_address_is_delivered() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let named = origin.host().replace("127.0.0.1", "localhost");
        for allow in ["localhost", "127.0.0.0/8"] {
            let daemon = Daemon::start(dir.path(), &[("ORIGIN_ALLOW", allow)]).await;
            let mut sender = daemon.sender().await;
            let id = sender.post(&named, b"by name").await;
            until("it is delivered", || origin.has_all([&id])).await;
            let status = sender.try_post(&origin.host(), "", b"by address").await.unwrap().status;
            assert_eq!(status, if allow == "localhost" { 403 } else { 202 }, "{allow}");
            daemon.until_idle().await;
            daemon.stop().await;
        }
    });
}
