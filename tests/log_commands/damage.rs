//! Damage, torn tails, what is missing, what is newer: told in a line each, and by the exit status.

use std::fs;
use std::path::{Path, PathBuf};

use dispatcher::wal::layout::Position;
use dispatcher::wal::payload::Payload;
use dispatcher::wal::record;
use dispatcher::wal::segment::Sealed;
use serde_json::{Value, json};

use crate::image::{Records, SALT, accepted, id, put, segment, whole};
use crate::ran::run_on;

const THREE: u8 = 3;

fn one(number: u8) -> Records {
    vec![(id(number), Payload::Accepted(accepted("a.test", number.into())))]
}

/// Three batches of one message each, a block each.
fn three() -> [Records; 3] {
    [1, 2, THREE].map(one)
}

fn flip(path: &Path, offset: usize) {
    let mut image = fs::read(path).unwrap();
    image[offset] ^= 0x10;
    fs::write(path, image).unwrap();
}

fn log(batches: &[Records]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), 0, 0, &segment(0, 0, None, batches));
    (dir, path)
}

fn summary(dir: &Path) -> (i32, Value) {
    let ran = run_on("verify", dir, &["--json"]);
    (ran.status, ran.lines().remove(0))
}

#[test]
fn damage_is_told_with_file_and_place_and_what_is_intact_around_it_is_printed() {
    let (dir, path) = log(&three());
    // In the body of the second message.
    flip(&path, 8192 + 200);
    let ran = run_on("cat", dir.path(), &[]);
    assert_eq!((ran.status, ran.records()), (1, vec!["accepted 01".to_owned(), "accepted 03".to_owned()]));
    let file = path.to_str().unwrap();
    let line = format!("dispatcher: damage in {file} at offset 8224, ");
    assert!(ran.stderr.starts_with(&line) && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    let (status, summary) = summary(dir.path());
    assert_eq!((status, &summary["intact"]), (1, &json!(false)));
    let damaged = &summary["shards"][0]["damaged"];
    assert_eq!((&damaged[0]["file"], &damaged[0]["offset"]), (&json!(file), &json!(8224)));
    assert_eq!(damaged.as_array().unwrap().len(), 1);
    let text = run_on("verify", dir.path(), &[]);
    assert!(text.stdout.contains(&format!("damage in {file} at offset 8224")), "{}", text.stdout);
    assert!(text.status == 1 && text.stdout.ends_with("\ndamaged\n"), "{text:?}");
}

#[test]
fn a_torn_tail_is_told_and_is_no_damage() {
    let (dir, path) = log(&three());
    flip(&path, 3 * 4096 + 200);
    let ran = run_on("cat", dir.path(), &[]);
    assert_eq!((ran.status, ran.lines().len()), (0, 2));
    assert!(ran.stderr.starts_with("dispatcher: torn tail") && ran.stderr.lines().count() == 1, "{}", ran.stderr);
    let (status, summary) = summary(dir.path());
    assert_eq!((status, &summary["intact"], &summary["totals"]["torn_tails"]), (0, &json!(true), &json!(1)));
    assert_eq!(summary["shards"][0]["torn"][0]["offset"], 3 * 4096 + 32);
    // The next segment seals it, then it is the same; or says that it was whole, then it is damage.
    for (torn, status) in [(true, 0), (false, 1)] {
        put(dir.path(), 0, 1, &segment(0, 1, Some(Sealed { batches: 3, torn }), &[]));
        assert_eq!(run_on("cat", dir.path(), &[]).status, status);
        assert_eq!(run_on("verify", dir.path(), &[]).status, status);
    }
}

#[test]
fn what_was_never_acknowledged_is_not_printed() {
    let (dir, _) = log(&three());
    put(dir.path(), 0, 1, &segment(0, 1, whole(2), &[one(4)]));
    assert_eq!(run_on("cat", dir.path(), &[]).clean().records(), ["accepted 01", "accepted 02", "accepted 04"]);
}

#[test]
fn a_header_that_is_lost_is_damage_and_costs_no_record() {
    for damaged in [0, 1] {
        let (dir, first) = log(&three());
        let second = put(dir.path(), 0, 1, &segment(0, 1, whole(3), &[one(4)]));
        let path = [&first, &second][damaged];
        flip(path, 20);
        assert_eq!(run_on("cat", dir.path(), &[]).clean().lines().len(), 4, "there is a second copy");
        flip(path, 2048 + 20);
        let ran = run_on("cat", dir.path(), &[]);
        assert_eq!((ran.status, ran.lines().len()), (1, 4), "{ran:?}");
        assert!(ran.stderr.contains("offset 0, 4096 bytes"), "{ran:?}");
    }
}

#[test]
fn a_segment_that_is_missing_between_others_is_damage() {
    let (dir, _) = log(&three());
    for number in [1, 4] {
        put(dir.path(), 0, number, &segment(0, number, whole(3), &three()));
    }
    let ran = run_on("cat", dir.path(), &[]);
    assert_eq!((ran.status, ran.lines().len()), (1, 9));
    assert!(ran.stderr.contains("lacks the segments from 2 to 3"), "{}", ran.stderr);
    let (status, summary) = summary(dir.path());
    assert_eq!((status, &summary["shards"][0]["missing"]), (1, &json!([{"first": 2, "last": 3}])));
}

#[test]
fn a_segment_that_is_ready_and_was_never_begun_is_no_part_of_the_log() {
    let (dir, path) = log(&three());
    // What stands in it is of a former life.
    put(dir.path(), 0, 1, &fs::read(path).unwrap());
    fs::write(dir.path().join("shard-00/000000000000.spare"), [7; 4096]).unwrap();
    assert_eq!(run_on("cat", dir.path(), &[]).clean().lines().len(), 3);
    let (status, summary) = summary(dir.path());
    assert_eq!((status, &summary["totals"]["segments"]), (0, &json!(1)));
}

#[test]
fn a_log_of_a_newer_version_is_refused_with_a_line_that_says_so() {
    let (dir, path) = log(&three());
    let mut image = fs::read(&path).unwrap();
    let place = Position { shard: 0, segment: 0, salt: None, offset: 0 };
    image[8] = 99;
    let crc = place.crc(&image[..60]);
    image[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, image).unwrap();
    for command in ["cat", "verify"] {
        run_on(command, dir.path(), &[]).refused(&[
            "dispatcher: ",
            path.to_str().unwrap(),
            "format 99",
            "reads 1 to 2",
        ]);
    }
}

#[test]
fn a_record_of_a_newer_version_is_refused_behind_what_stands_before_it() {
    let (dir, path) = log(&three());
    let mut image = fs::read(&path).unwrap();
    let offset = 8192 + 32;
    image[offset + 2] = 99;
    record::seal(&mut image[offset..], Position { shard: 0, segment: 0, salt: Some(SALT), offset: 8224 });
    fs::write(&path, image).unwrap();
    let ran = run_on("cat", dir.path(), &[]);
    ran.refused(&["kind 99", "offset 8224"]);
    assert_eq!(ran.records(), ["accepted 01"]);
    run_on("verify", dir.path(), &[]).refused(&["kind 99", "offset 8224"]);
}
