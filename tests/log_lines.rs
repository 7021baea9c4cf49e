//! What the real binary says on stderr: a line for each start, stop, change of state and terminal failure, each of the
//! fields that the README names, and no flood of them.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

#[allow(dead_code, reason = "each crate of tests uses its part")]
#[path = "common_daemon/mod.rs"]
mod common;

use common::daemon::Daemon;
use common::origin::{Origin, Reply};
use common::{run, until};
use dispatcher::limits::LOG_LINES_MAX;
use serde_json::Value;

/// One attempt, then a dead letter, whatever the origin is like.
const GIVES_UP: &[(&str, &str)] = &[("RETRYLIMIT", "0"), ("BREAKER_FAILURES", "0")];

/// Lines that there are in every life, with the fields that each has besides those of all.
const LIFE: &[(&str, &[&str])] = &[
    ("starting", &["version", "backend", "shards", "descriptors", "log"]),
    ("listening", &["version", "backend", "shards", "listen", "admin"]),
    ("recovered", &["shard", "messages", "adopted", "bytes", "took_ms"]),
    ("stopping", &[]),
    ("stopped", &["uptime_ms", "accepted", "delivered", "dead_lettered", "ready", "in_flight", "delayed"]),
];
const DEAD_LETTERED: &[&str] = &["id", "origin", "shard", "attempts", "class", "status"];

/// All lines, each of which must be a JSON object with the fields of all.
fn lines(daemon: &Daemon) -> Vec<Value> {
    let parsed = daemon.lines().lines().map(|line| serde_json::from_str(line).expect(line)).collect::<Vec<Value>>();
    for line in &parsed {
        assert_has(line, &["timestamp", "level", "message", "target"]);
        assert!(dispatcher::time::Rfc3339::parse(line["timestamp"].as_str().unwrap()).is_some(), "{line}");
    }
    parsed
}

#[track_caller]
fn assert_has(line: &Value, fields: &[&str]) {
    for field in fields {
        assert!(line.get(field).is_some(), "{field} is not in {line}");
    }
}

fn saying<'l>(lines: &'l [Value], message: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["message"].as_str().unwrap().starts_with(message)).collect()
}

#[test]
fn a_life_is_told_in_lines_of_json_with_stable_fields_and_ends_with_what_there_was() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let mut daemon = Daemon::start(dir.path(), GIVES_UP).await;
        let mut sender = daemon.sender().await;
        for _ in 0..3 {
            sender.post(&origin.host(), b"taken").await;
        }
        until("they are delivered", || origin.delivered().len() == 3).await;
        origin.answer(|_| Reply::Status(404));
        let dead = sender.post(&origin.host(), b"refused").await;
        until("it is dead", || daemon.said("dead-lettered").is_some()).await;
        daemon.until_idle().await;
        daemon.terminate();
        assert!(daemon.ended().await.success());
        let lines = lines(&daemon);
        for (message, fields) in LIFE {
            let said = saying(&lines, message);
            assert_eq!(said.len(), if *message == "recovered" { 2 } else { 1 }, "{message}: {said:?}");
            said.into_iter().for_each(|line| assert_has(line, fields));
        }
        let letter = saying(&lines, "dead-lettered")[0];
        assert_has(letter, DEAD_LETTERED);
        assert_eq!((letter["id"].as_str(), letter["level"].as_str()), (Some(dead.as_str()), Some("WARN")));
        assert_eq!(letter["origin"], format!("http://{}", origin.host()));
        let stopped = saying(&lines, "stopped")[0];
        let counts = ["accepted", "delivered", "dead_lettered", "ready", "in_flight", "delayed"];
        assert_eq!(counts.map(|field| stopped[field].as_u64()), [4, 3, 1, 0, 0, 0].map(Some), "{stopped}");
        assert!(stopped["uptime_ms"].is_u64() && saying(&lines, "recovered")[0]["took_ms"].is_u64(), "{lines:?}");
        assert_eq!(lines.last(), Some(stopped), "nothing is said after the end");
    });
}

#[test]
fn of_a_storm_of_dead_letters_a_bounded_part_is_told_and_how_many_were_not() {
    run(async {
        const LETTERS: usize = 6 * LOG_LINES_MAX as usize;
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|_| Reply::Status(500));
        let mut daemon = Daemon::start(dir.path(), GIVES_UP).await;
        let mut sender = daemon.sender().await;
        for _ in 0..LETTERS {
            sender.post(&origin.host(), b"dead").await;
        }
        daemon.until_metric("dead_letters_kept", |kept| kept == f64::from(6 * LOG_LINES_MAX)).await;
        daemon.until_idle().await;
        daemon.terminate();
        assert!(daemon.ended().await.success());
        let lines = lines(&daemon);
        let (told, left_out) = (saying(&lines, "dead-lettered"), saying(&lines, "lines were left out"));
        told.iter().for_each(|line| assert_has(line, DEAD_LETTERED));
        // A new while may have begun at any time, each with its own line of what was left out.
        assert!(told.len() <= LOG_LINES_MAX as usize * (left_out.len() + 1), "{} lines", told.len());
        assert!(!left_out.is_empty() && left_out.iter().all(|line| line["line"] == "dead-lettered"), "{left_out:?}");
        let unsaid: u64 = left_out.iter().map(|line| line["left_out"].as_u64().unwrap()).sum();
        assert_eq!(told.len() as u64 + unsaid, LETTERS as u64);
    });
}

#[test]
fn a_circuit_that_opens_and_one_that_closes_is_told_with_its_origin() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|_| Reply::Status(503));
        let variables = [("BREAKER_FAILURES", "2"), ("BREAKER_PROBE_MAX", "1s")];
        let daemon = Daemon::start(dir.path(), &variables).await;
        let id = daemon.sender().await.post(&origin.host(), b"waits").await;
        until("it says so", || daemon.said("circuit open").is_some()).await;
        origin.answer(|_| Reply::Status(200));
        until("it is delivered", || origin.has_all([&id])).await;
        until("it says so", || daemon.said("circuit closed").is_some()).await;
        let lines = lines(&daemon);
        for (message, level, status) in [("circuit open", "WARN", 503), ("circuit closed", "INFO", 200)] {
            let said = saying(&lines, message);
            assert_eq!(said.len(), 1, "{said:?}");
            assert_eq!(said[0]["origin"], format!("http://{}", origin.host()));
            assert_eq!((said[0]["level"].as_str(), said[0]["status"].as_u64()), (Some(level), Some(status)));
        }
        daemon.stop().await;
    });
}

#[test]
fn a_failure_that_ends_the_daemon_is_a_line_of_json_too_or_plain_text_for_people() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let first = Daemon::start(dir.path(), &[]).await;
        for format in ["json", "text"] {
            let mut second = Daemon::spawn(dir.path(), &[("LOG_FORMAT", format)]);
            assert_eq!(second.ended().await.code(), Some(2));
            let pid = first.pid().to_string();
            if format == "json" {
                let lines = lines(&second);
                let failed = saying(&lines, "failed");
                assert!(failed.len() == 1 && failed[0]["error"].as_str().unwrap().contains(&pid), "{lines:?}");
                assert_eq!(failed[0]["exit_status"], 2);
            } else {
                let line = second.lines();
                assert!(line.starts_with("dispatcher: ") && line.contains(&pid) && line.lines().count() == 1, "{line}");
            }
        }
        first.stop().await;
    });
}
