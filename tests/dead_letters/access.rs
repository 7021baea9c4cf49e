//! Who may read and change dead letters.

use super::common::daemon::Daemon;
use super::common::origin::{Origin, Reply};
use super::common::run;
use super::tools::{ask, bury};

const TOKEN: &str = "a-token-of-the-tests-0";
const EVERY_ADDRESS: (&str, &str) = ("ADMIN_LISTEN", "0.0.0.0:0");

#[test]
fn with_a_token_letters_are_for_those_who_bring_it_and_it_is_never_told() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let variables =
            [("RETRYLIMIT", "0"), ("BREAKER_FAILURES", "0"), ("ADMIN_TOKEN", TOKEN), ("LOG_LEVEL", "debug")];
        let daemon = Daemon::start(dir.path(), &variables).await;
        let ids = bury(&daemon, &origin, 2).await;
        origin.answer(|_| Reply::Status(200));
        let (right, wrong) =
            (format!("Authorization: Bearer {TOKEN}\r\n"), "Authorization: Bearer another-token-of-0\r\n");
        let one = format!("/-/dead-letters/{}", ids[0]);
        for (method, target) in [
            ("GET", "/-/dead-letters"),
            ("GET", &one),
            ("GET", "/-/replays"),
            ("POST", "/-/dead-letters/replay?all=true&dry_run=true"),
            ("POST", "/-/dead-letters/delete?all=true&dry_run=true"),
            ("DELETE", &one),
        ] {
            for fields in ["", wrong] {
                let answer = ask(&daemon, method, target, fields).await;
                assert_eq!(answer.status, 401, "{method} {target} {answer:?}");
                assert!(answer.head.to_ascii_lowercase().contains("www-authenticate: bearer"), "{answer:?}");
            }
            assert_eq!(ask(&daemon, method, target, &right).await.status, 200, "{method} {target}");
        }
        for open in ["/metrics", "/-/healthy", "/-/ready"] {
            assert_eq!(ask(&daemon, "GET", open, "").await.status, 200, "{open}");
        }
        assert!(!daemon.lines().contains(TOKEN));
    });
}

#[test]
fn off_loopback_without_a_token_nothing_is_changed_and_the_start_says_so() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let daemon = Daemon::start(dir.path(), &[("RETRYLIMIT", "0"), ("BREAKER_FAILURES", "0"), EVERY_ADDRESS]).await;
        bury(&daemon, &origin, 1).await;
        assert!(daemon.said("ADMIN_LISTEN is not on loopback and ADMIN_TOKEN is not set").is_some());
        assert_eq!(ask(&daemon, "GET", "/-/dead-letters", "").await.status, 200);
        for (method, target) in [
            ("POST", "/-/dead-letters/replay?all=true"),
            ("POST", "/-/dead-letters/delete?all=true"),
            ("DELETE", "/-/replays/1"),
        ] {
            let answer = ask(&daemon, method, target, "Authorization: Bearer anything-at-all\r\n").await;
            assert!(
                answer.status == 403 && answer.body["detail"].as_str().unwrap().contains("ADMIN_TOKEN"),
                "{answer:?}"
            );
        }
        assert_eq!(daemon.metric("dead_letters_kept").await, 1.0);
    });
}

#[test]
fn a_page_of_another_site_can_change_nothing() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let daemon = Daemon::start(dir.path(), &[("RETRYLIMIT", "0"), ("BREAKER_FAILURES", "0")]).await;
        bury(&daemon, &origin, 1).await;
        let form = "Content-Type: application/x-www-form-urlencoded\r\n";
        for fields in [
            "Origin: http://evil.example\r\n",
            "Origin: null\r\n",
            "Sec-Fetch-Site: cross-site\r\n",
            "Sec-Fetch-Site: same-site\r\nAccept-Language: en\r\n",
        ] {
            let answer = ask(&daemon, "POST", "/-/dead-letters/delete?all=true", &format!("{form}{fields}")).await;
            assert_eq!(answer.status, 403, "{fields}");
        }
        assert_eq!(daemon.metric("dead_letters_kept").await, 1.0);
    });
}
