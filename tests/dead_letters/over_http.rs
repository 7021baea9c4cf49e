//! The admin listener: list, show, replay by each filter, delete.

use serde_json::json;

use super::common::daemon::Daemon;
use super::common::origin::{Origin, Reply};
use super::common::{run, until};
use super::tools::{GIVES_UP, ask, bury, ended, listed, told};

#[test]
fn a_dead_letter_shows_all_that_it_holds() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let daemon = Daemon::start(dir.path(), GIVES_UP).await;
        origin.answer(|_| Reply::Status(500));
        let fields = "Authorization: Bearer hunter2\r\nX-Dispatcher-Timeout: 5s\r\nx-Odd-case: a,  b\r\n";
        let id = daemon.sender().await.try_post(&origin.host(), fields, b"\x00body").await.unwrap().id();
        daemon.until_metric("dead_letters_kept", |kept| kept == 1.0).await;
        daemon.until_idle().await;
        let shown = told(&daemon, "GET", &format!("/-/dead-letters/{id}")).await;
        assert_eq!(shown["request_line"], "POST /in?a=1 HTTP/1.1");
        let has = |name: &str, value: &str| shown["fields"].as_array().unwrap().contains(&json!([name, value]));
        assert!(
            has("Host", &origin.host()) && has("Authorization", "Bearer hunter2") && has("x-Odd-case", "a,  b"),
            "{shown}"
        );
        assert_eq!((&shown["body_base64"], &shown["body_bytes"]), (&json!("AGJvZHk="), &json!(5)));
        assert_eq!(
            (&shown["class"], &shown["status"], &shown["answer"]),
            (&json!("http_5xx"), &json!(500), &json!("said"))
        );
        assert_eq!((&shown["attempts"], &shown["timeout_ms"], &shown["replays"]), (&json!(1), &json!(5000), &json!(0)));
        let history = shown["history"].as_array().unwrap();
        assert_eq!((history.len(), &history[0]["class"], &history[0]["status"]), (1, &json!("http_5xx"), &json!(500)));
        assert_eq!(shown["origin"], format!("http://{}", origin.host()));
        assert_eq!(ask(&daemon, "GET", "/-/dead-letters/01a20bd2-02f3-7548-aec6-07ca29d3aca6", "").await.status, 404);
        assert!(!daemon.lines().contains("hunter2"), "never in a log line");
    });
}

#[test]
fn pages_over_two_cores_have_every_letter_once_in_order() {
    run(async {
        let (dir, one, two) = (tempfile::tempdir().unwrap(), Origin::start(), Origin::start());
        let daemon = Daemon::start(dir.path(), GIVES_UP).await;
        let mut expected = Vec::new();
        // Each connection is a core's, and the kernel chooses which.
        for _ in 0..8 {
            expected.extend(bury(&daemon, &one, 3).await);
            expected.extend(bury(&daemon, &two, 1).await);
        }
        expected.sort();
        for limit in [1, 5, 32, 1000] {
            assert_eq!(listed(&daemon, &format!("limit={limit}")).await, expected);
        }
        let of_two = listed(&daemon, &format!("limit=3&origin={}", two.host())).await;
        assert_eq!(of_two.len(), 8);
        assert!(of_two.iter().all(|id| expected.contains(id)) && of_two.is_sorted());
    });
}

#[test]
fn a_dry_run_counts_and_changes_nothing() {
    run(async {
        let (dir, one, two) = (tempfile::tempdir().unwrap(), Origin::start(), Origin::start());
        let daemon = Daemon::start(dir.path(), GIVES_UP).await;
        let mut all = bury(&daemon, &one, 3).await;
        all.extend(bury(&daemon, &two, 2).await);
        for verb in ["replay", "delete"] {
            let counted = told(&daemon, "POST", &format!("/-/dead-letters/{verb}?all=true&dry_run=true")).await;
            assert_eq!(counted["letters"], 5);
            assert_eq!(counted["classes"], json!([{"class": "http_5xx", "letters": 5}]));
            let origins = counted["origins"].as_array().unwrap();
            assert!(origins.contains(&json!({"origin": format!("http://{}", one.host()), "letters": 3})), "{counted}");
        }
        assert_eq!(listed(&daemon, "limit=10").await.len(), all.len());
    });
}

#[test]
fn each_filter_replays_the_letters_that_it_means_and_they_keep_their_ids() {
    run(async {
        let (dir, one, two) = (tempfile::tempdir().unwrap(), Origin::start(), Origin::start());
        let daemon = Daemon::start(dir.path(), GIVES_UP).await;
        let of_one = bury(&daemon, &one, 4).await;
        let of_two = bury(&daemon, &two, 3).await;
        two.answer(|_| Reply::Status(404));
        let other_class = daemon.sender().await.post(&two.host(), b"").await;
        daemon.until_metric("dead_letters_kept", |kept| kept == 8.0).await;
        one.answer(|_| Reply::Status(200));
        two.answer(|_| Reply::Status(200));
        for (filter, replayed) in [
            (format!("id={}&id={}", of_one[0], of_one[1]), 2),
            ("class=http_4xx".to_owned(), 1),
            ("until=1h".to_owned(), 0),
            (format!("origin={}&since=1h", two.host()), 3),
            ("all=true".to_owned(), 2),
            ("all=true".to_owned(), 0),
        ] {
            let begun = told(&daemon, "POST", &format!("/-/dead-letters/replay?{filter}")).await;
            let status = ended(&daemon, &begun["job"]).await;
            assert_eq!(status["replayed"], replayed, "{filter}: {status}");
        }
        daemon.until_idle().await;
        assert!(one.has_all(&of_one) && two.has_all(&of_two) && two.has_all([&other_class]));
        assert_eq!(one.delivered().len() + two.delivered().len(), 8, "each once");
        let received = one.received();
        let replayed: Vec<_> = received.iter().skip(4).collect();
        assert!(replayed.iter().all(|received| received.attempt == 1 && !received.maybe_duplicate), "{replayed:?}");
        assert_eq!(daemon.metric("dead_letters_kept").await, 0.0);
        assert_eq!(daemon.metric("dead_letters_replayed_total").await, 8.0);
        assert!(listed(&daemon, "limit=10").await.is_empty());
    });
}

#[test]
fn a_replay_that_is_given_up_again_is_a_letter_that_says_so() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let daemon = Daemon::start(dir.path(), GIVES_UP).await;
        let ids = bury(&daemon, &origin, 20).await;
        let begun = told(&daemon, "POST", "/-/dead-letters/replay?all=true").await;
        let status = ended(&daemon, &begun["job"]).await;
        assert_eq!(status["replayed"], 20, "each once, though each comes back");
        until("each was given up again", || origin.count() == 40).await;
        daemon.until_metric("dead_letters_total{class=\"http_5xx\"}", |buried| buried == 40.0).await;
        daemon.until_idle().await;
        let page = told(&daemon, "GET", "/-/dead-letters?limit=100").await;
        let letters = page["letters"].as_array().unwrap();
        assert_eq!(letters.iter().map(|letter| letter["id"].as_str().unwrap()).collect::<Vec<_>>(), ids);
        assert!(letters.iter().all(|letter| letter["replays"] == 1 && letter["attempts"] == 1), "{page}");
    });
}

#[test]
fn a_rate_is_kept_and_a_cancelled_replay_leaves_the_rest() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let daemon = Daemon::start(dir.path(), GIVES_UP).await;
        let ids = bury(&daemon, &origin, 30).await;
        origin.answer(|_| Reply::Status(200));
        let begun = told(&daemon, "POST", "/-/dead-letters/replay?all=true&rate=2").await;
        until("some were replayed", || !origin.delivered().is_empty()).await;
        let job = begun["job"].as_u64().unwrap();
        told(&daemon, "DELETE", &format!("/-/replays/{job}")).await;
        let status = ended(&daemon, &begun["job"]).await;
        assert_eq!(status["cancelled"], true);
        daemon.until_idle().await;
        let (delivered, left) = (origin.delivered(), listed(&daemon, "limit=100").await);
        assert!(delivered.len() < 15, "{}", delivered.len());
        let mut all = [delivered, left].concat();
        all.sort();
        assert_eq!(all, ids, "each is delivered or still a letter");
        assert_eq!(ask(&daemon, "DELETE", &format!("/-/replays/{job}"), "").await.status, 404);
    });
}

/// The origin that takes nothing more holds up its own letters and no others.
#[test]
fn an_origin_that_is_slow_stalls_its_own_part_of_a_replay() {
    run(async {
        let (dir, slow, quick) = (tempfile::tempdir().unwrap(), Origin::start(), Origin::start());
        let variables = [("RETRYLIMIT", "0"), ("BREAKER_FAILURES", "0"), ("CORES", "1"), ("DEFAULT_TIMEOUT", "60s")];
        let daemon = Daemon::start(dir.path(), &variables).await;
        let of_slow = bury(&daemon, &slow, 600).await;
        let of_quick = bury(&daemon, &quick, 400).await;
        slow.answer(|_| Reply::Hold);
        quick.answer(|_| Reply::Status(200));
        let begun = told(&daemon, "POST", "/-/dead-letters/replay?all=true").await;
        until("the others have gone on", || quick.has_all(&of_quick)).await;
        let replays = told(&daemon, "GET", "/-/replays").await;
        let status = &replays["replays"][0];
        assert_eq!(status["running"], true, "{status}");
        assert!(status["replayed"].as_u64().unwrap() < 800, "the slow one is not run over: {status}");
        slow.release();
        assert_eq!(ended(&daemon, &begun["job"]).await["replayed"], 1000);
        until("all of them have come", || slow.has_all(&of_slow)).await;
    });
}

#[test]
fn what_is_deleted_is_gone_over_a_restart_too() {
    run(async {
        let (dir, one, two) = (tempfile::tempdir().unwrap(), Origin::start(), Origin::start());
        let mut daemon = Daemon::start(dir.path(), GIVES_UP).await;
        let of_one = bury(&daemon, &one, 3).await;
        bury(&daemon, &two, 3).await;
        let removed = told(&daemon, "POST", &format!("/-/dead-letters/delete?origin={}", two.host())).await;
        assert_eq!(removed["removed"], 3);
        told(&daemon, "DELETE", &format!("/-/dead-letters/{}", of_one[0])).await;
        assert_eq!(ask(&daemon, "DELETE", &format!("/-/dead-letters/{}", of_one[0]), "").await.status, 404);
        daemon.kill();
        let daemon = Daemon::start(dir.path(), GIVES_UP).await;
        assert_eq!(listed(&daemon, "limit=10").await, of_one[1..]);
        assert_eq!(one.count(), 3, "nothing is attempted again");
    });
}

#[test]
fn an_unknown_parameter_or_a_bad_value_is_named_with_what_was_expected() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), GIVES_UP).await;
        for (method, target, parameter) in [
            ("GET", "/-/dead-letters?orign=b", "orign"),
            ("GET", "/-/dead-letters?since=yesterday", "since"),
            ("GET", "/-/dead-letters?limit=0", "limit"),
            ("GET", "/-/dead-letters?all=true", "all"),
            ("POST", "/-/dead-letters/replay", "all"),
            ("POST", "/-/dead-letters/replay?class=5xx", "class"),
            ("POST", "/-/dead-letters/replay?all=true&rate=0", "rate"),
            ("POST", "/-/dead-letters/delete?dry_run=true", "all"),
            ("POST", "/-/dead-letters/delete?all=true&rate=1", "rate"),
        ] {
            let answer = ask(&daemon, method, target, "").await;
            assert_eq!((answer.status, &answer.body["parameter"]), (400, &json!(parameter)), "{target}: {answer:?}");
            assert!(answer.head.contains("application/problem+json"), "{answer:?}");
            assert!(answer.body["expected"].as_str().is_some_and(|expected| !expected.is_empty()), "{answer:?}");
        }
        let answer = ask(&daemon, "GET", "/-/dead-letters/replay", "").await;
        assert!(answer.status == 405 && answer.head.to_ascii_lowercase().contains("allow: post"), "{answer:?}");
    });
}
