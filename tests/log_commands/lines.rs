//! What a line says of each kind of record, and what it does not say unless asked.

use serde_json::{Value, json};

use crate::image::{accepted, full, golden, id, progress, put, segment, story};
use crate::ran::{Ran, run_on};
use dispatcher::wal::payload::Payload;

fn of<'l>(lines: &'l [Value], record: &str) -> Vec<&'l Value> {
    lines.iter().filter(|line| line["record"] == record).collect()
}

#[test]
fn each_record_is_an_object_with_what_applies_to_it_in_the_order_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    story(dir.path());
    let ran = run_on("cat", dir.path(), &["--dead-letters"]).clean();
    let expected = [
        "accepted 01",
        "accepted 02",
        "accepted 03",
        "retry 02",
        "delivered 01",
        "dead_lettered 03",
        "accepted 04",
        "lost 04",
        "accepted 05",
        "dead_letter 03",
    ];
    assert_eq!(ran.records(), expected);
    let lines = ran.lines();
    let first = json!({
        "shard": 0, "segment": 7, "offset": 4128, "bytes": lines[0]["bytes"], "record": "accepted",
        "id": id(1).to_string(), "at": "2023-11-14T22:13:30.000Z", "origin": "http://a.test", "method": "POST",
        "target": "/hook?…", "attempts": 0, "head_bytes": 99, "body_bytes": 7,
    });
    assert_eq!(lines[0], first);
    let retry = json!({
        "shard": 0, "segment": 7, "offset": 8224, "bytes": lines[3]["bytes"], "record": "retry",
        "id": id(2).to_string(), "at": "2023-11-14T22:13:22.000Z", "due": "2023-11-14T22:13:29.000Z", "attempts": 2,
        "maybe_duplicate": true, "history": [
            {"at": "2023-11-14T22:13:21.000Z", "class": "http_5xx", "status": 503},
            {"at": "2023-11-14T22:13:22.000Z", "class": "reset"},
        ],
    });
    assert_eq!(lines[3], retry);
    for (record, field, value) in [
        ("delivered", "at", json!("2023-11-14T22:14:00.000Z")),
        ("delivered", "status", json!(204)),
        ("delivered", "attempts", json!(1)),
        ("dead_lettered", "class", json!("http_4xx")),
        ("dead_lettered", "segment", json!(8)),
        ("lost", "at", json!("2023-11-14T22:14:30.000Z")),
        ("lost", "shard", json!(1)),
        ("dead_letter", "at", json!("2023-11-14T22:14:10.000Z")),
        ("dead_letter", "class", json!("http_4xx")),
        ("dead_letter", "status", json!(410)),
        ("dead_letter", "answer_bytes", json!(7)),
        ("dead_letter", "origin", json!("http://a.test")),
    ] {
        assert_eq!(of(&lines, record)[0][field], value, "{record} {field}");
    }
    let moved = &lines[8];
    assert_eq!((&moved["again"], &moved["timeout_ms"]), (&json!(true), &json!(2500)));
    assert_eq!((&moved["origin"], &moved["due"]), (&json!("https://c.test:8443"), &retry["due"]));
    assert_eq!(moved["history"], retry["history"]);
}

#[test]
fn nothing_that_may_be_secret_is_printed_unless_it_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    story(dir.path());
    let shows = |ran: &Ran, secrets: &[&str]| secrets.iter().all(|secret| ran.stdout.contains(secret));
    let encoded = ["aHVudGVyNA==", "aHVudGVyNQ=="];
    let plain = run_on("cat", dir.path(), &["--dead-letters"]).clean();
    assert!(!plain.stdout.contains("hunter") && !plain.stdout.contains("token=1"));
    assert!(!encoded.iter().any(|secret| plain.stdout.contains(secret)));
    let heads = run_on("cat", dir.path(), &["--dead-letters", "--heads"]).clean();
    assert!(shows(&heads, &["Bearer hunter2", "session=hunter3"]) && !shows(&heads, &encoded[..1]));
    assert_eq!(heads.lines()[0]["target"], "/hook?token=1");
    assert!(heads.lines()[0]["head"].as_str().unwrap().ends_with("hunter3\r\n"));
    let bodies = run_on("cat", dir.path(), &["--dead-letters", "--bodies"]).clean();
    assert!(shows(&bodies, &encoded) && !bodies.stdout.contains("hunter"));
    let letter = &of(&bodies.lines(), "dead_letter")[0].clone();
    assert_eq!((&letter["body"], &letter["answer"]), (&json!(encoded[0]), &json!(encoded[1])));
    let summary = run_on("verify", dir.path(), &[]).clean();
    assert!(!summary.stdout.contains("hunter") && !summary.stdout.contains("a.test"));
}

#[test]
fn a_head_that_is_not_utf_8_is_printed_without_loss() {
    let dir = tempfile::tempdir().unwrap();
    let mut message = accepted("a.test", 0);
    message.head = b"GET / HTTP/1.1\r\nX: \xFF\r\n";
    put(dir.path(), 0, 0, &segment(0, 0, None, &[vec![(id(1), Payload::Accepted(message))]]));
    let line = &run_on("cat", dir.path(), &["--heads"]).clean().lines()[0];
    assert_eq!((&line["head"], &line["head_base64"]), (&Value::Null, &json!("R0VUIC8gSFRUUC8xLjENClg6IP8NCg==")));
}

#[test]
fn both_versions_of_the_format_are_read() {
    for (text, version, records) in [
        (include_str!("../golden/segment-v1.hex"), 1, 6),
        (include_str!("../golden/segment-v2.hex"), 2, 8),
        (include_str!("../golden/torn-v1.hex"), 1, 2),
        (include_str!("../golden/torn-v2.hex"), 2, 2),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let number = if records == 2 { 43 } else { 42 };
        put(dir.path(), 3, number, &golden(text));
        let printed = run_on("cat", dir.path(), &[]);
        assert_eq!((printed.status, printed.lines().len()), (0, records), "{printed:?}");
        assert_eq!(printed.stderr.contains("torn tail"), records == 2, "{printed:?}");
        let summary = run_on("verify", dir.path(), &["--json"]).clean().lines().remove(0);
        assert_eq!(summary["totals"]["formats"], json!([version]));
        assert_eq!(summary["totals"]["torn_tails"], json!(u8::from(records == 2)));
    }
}

#[test]
fn a_summary_counts_what_is_there_and_what_lives() {
    let dir = tempfile::tempdir().unwrap();
    story(dir.path());
    let summary = run_on("verify", dir.path(), &["--json"]).clean().lines().remove(0);
    assert_eq!((&summary["intact"], summary["shards"].as_array().unwrap().len()), (&json!(true), 3));
    let shard = &summary["shards"][0];
    for (field, value) in [
        ("log", json!("transaction")),
        ("shard", json!(0)),
        ("segments", json!(2)),
        ("batches", json!(3)),
        ("bytes", json!(2 * crate::image::SEGMENT_BYTES)),
        ("formats", json!([2])),
        ("records", json!({"accepted": 3, "dead_lettered": 1, "delivered": 1, "retry": 1})),
        ("live_messages", json!(1)),
        ("torn", json!([])),
        ("damaged", json!([])),
        ("recycled_while_read", json!(0)),
    ] {
        assert_eq!(shard[field], value, "{field}");
    }
    let lines = run_on("cat", dir.path(), &[]).clean().lines();
    assert_eq!(shard["live_bytes"], lines[1]["bytes"], "those of the record of the message that waits");
    assert_eq!(summary["shards"][2]["log"], "dead_letter");
    assert_eq!(summary["totals"]["live_messages"], 3);
    let text = run_on("verify", dir.path(), &[]).clean().stdout;
    for part in ["shard-00\n", "segments  2, ", "1 messages", "no tail", "no part", "\nintact\n"] {
        assert!(text.contains(part), "{part:?} in\n{text}");
    }
}

#[test]
fn a_message_that_was_written_again_is_alive_once() {
    let dir = tempfile::tempdir().unwrap();
    let first = segment(0, 0, None, &[vec![(id(1), Payload::Accepted(accepted("c.test", 0)))]]);
    put(dir.path(), 0, 0, &first);
    let again = vec![(id(1), Payload::Retry(progress())), (id(1), Payload::Accepted(full()))];
    put(dir.path(), 0, 1, &segment(0, 1, crate::image::whole(1), &[again]));
    let summary = run_on("verify", dir.path(), &["--json"]).clean().lines().remove(0);
    let lines = run_on("cat", dir.path(), &[]).clean().lines();
    assert_eq!(summary["totals"]["live_messages"], 1);
    assert_eq!(summary["totals"]["live_bytes"], lines[2]["bytes"]);
}
