//! Other versions of the format: a log of an older one is taken over by a start, a newer one is refused and left alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dispatcher::message::{MessageId, OriginRef, Scheme};
use dispatcher::schedule::attempt::Failure;
use dispatcher::time::UnixMillis;
use dispatcher::wal::batch::Batch;
use dispatcher::wal::layout::Position;
use dispatcher::wal::payload::{Accepted, Death, Payload, Progress, Tried};
use dispatcher::wal::segment::SegmentHeader;

use crate::common::daemon::Daemon;
use crate::common::origin::{Origin, Reply};
use crate::common::{log, run, until};

const SMALL: &[(&str, &str)] = &[("SEGMENT_BYTES", "1MiB")];

fn id(number: u8) -> MessageId {
    MessageId([1, 0x8B, 0xCF, 0xE5, 0x68, number, 0x70, 1, 0x80, 2, 3, 4, 5, 6, 7, 8])
}

fn text(number: u8) -> String {
    String::from_utf8(id(number).text().to_vec()).unwrap()
}

/// Writes a segment as format version 1 has it: `tests/wal_format.rs` holds that to the golden files.
fn write_version_1(shard: &Path, records: &[(MessageId, Payload<'_>)]) {
    let begun = UnixMillis(1_699_999_999_999);
    let header = SegmentHeader { shard: 0, segment: 0, salt: None, begun, before: None, floor: None };
    let mut image = header.encode().to_vec();
    assert_eq!(image[8..10], [1, 0]);
    for (number, (id, payload)) in (0..).zip(records) {
        let mut batch = Batch::default();
        batch.push(*id, payload);
        let place = Position { shard: 0, segment: 0, salt: None, offset: 0 }.at(image.len());
        image.extend_from_slice(&batch.seal(number, place).blocks);
    }
    image.resize(1 << 20, 0);
    fs::create_dir_all(shard).unwrap();
    fs::write(shard.join("000000000000.wal"), image).unwrap();
}

#[test]
fn a_log_of_format_version_1_is_delivered_added_to_and_started_again() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let head = format!("POST /old HTTP/1.1\r\nHost: {}\r\nContent-Length: 11\r\n", origin.host());
        let at = UnixMillis(1_700_000_000_000);
        let accepted = |progress| Accepted {
            accepted: at,
            timeout: None,
            origin: OriginRef { scheme: Scheme::Http, host: "127.0.0.1", port: origin.address.port() },
            again: false,
            replays: 0,
            progress,
            head: head.as_bytes(),
            body: b"from before",
        };
        let tried = Tried { at, failure: Failure::Http5xx, status: Some(503), spared: false };
        let once = Progress { due: UnixMillis(0), attempts: 1, maybe_duplicate: false, history: vec![tried] };
        let delivered = Payload::Delivered { at, attempts: 1, status: 200 };
        let dead = Death { at, failure: Failure::Http4xx, status: Some(410), answer: b"gone" };
        write_version_1(
            &dir.path().join("log/shard-00"),
            &[
                (id(1), Payload::Accepted(accepted(Progress::default()))),
                (id(2), Payload::Accepted(accepted(Progress::default()))),
                (id(3), Payload::Accepted(accepted(Progress::default()))),
                (id(2), delivered),
                (id(3), Payload::Retry(once.clone())),
                (id(4), Payload::Accepted(accepted(Progress::default()))),
                (id(4), Payload::DeadLettered { at, failure: Failure::Http4xx }),
            ],
        );
        let letter = Payload::DeadLetter(accepted(once), dead);
        write_version_1(&dir.path().join("log/dead-letter/shard-00"), &[(id(4), letter)]);

        let daemon = Daemon::start(dir.path(), SMALL).await;
        let old = [text(1), text(3)];
        until("what was not delivered yet is", || origin.has_all(&old)).await;
        assert!(origin.received().iter().all(|received| received.body == b"from before"));
        let new = daemon.sender().await.post(&origin.host(), b"since").await;
        until("so is what comes in now", || origin.has_all([&new])).await;
        daemon.until_idle().await;
        assert_eq!(daemon.metric("dead_letters_kept").await, 1.0);
        assert_eq!(daemon.metric("corrupt_records_total").await, 0.0);
        daemon.stop().await;

        let daemon = Daemon::start(dir.path(), SMALL).await;
        assert_eq!(origin.count(), 3, "nothing is sent twice, and the letter is not sent");
        let answer = daemon.admin_by("POST", "/-/dead-letters/replay?all=true").await;
        assert!(answer.contains("\"job\""), "{answer}");
        until("the dead letter is delivered once it is replayed", || origin.has_all([&text(4)])).await;
        daemon.until_metric("dead_letters_kept", |kept| kept == 0.0).await;
        daemon.stop().await;
        assert_eq!(log::set_aside(dir.path()), 0);
    });
}

/// Every file below `dir` with its bytes and every directory, but for the lock, which holds the pid of who looked last.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut contents(&path));
            found.insert(path, None);
        } else if path.file_name().unwrap() != "LOCK" {
            let bytes = fs::read(&path).unwrap();
            found.insert(path, Some(bytes));
        }
    }
    found
}

/// Makes the header of a segment one of version 3: laid out as it is now, or in a way that this program cannot know.
fn make_newer(file: &Path, shard: u32, segment: u32, layout_known: bool) {
    let mut image = fs::read(file).unwrap();
    // The newest one may have been made ready only, and have no header yet.
    image[..12].copy_from_slice(b"DISPWAL\n\x03\0\0\0");
    if layout_known {
        let crc = Position { shard, segment, salt: None, offset: 0 }.crc(&image[..60]);
        image[60..64].copy_from_slice(&crc.to_le_bytes());
    } else {
        image[12..4096].fill(0xA7);
    }
    fs::write(file, image).unwrap();
}

/// Two cores whose logs and dead letter logs have something in them; returns what is to be delivered yet.
async fn leave(dir: &Path, origin: &Origin) -> Vec<String> {
    let gone = Origin::start();
    gone.answer(|_| Reply::Status(410));
    let daemon = Daemon::start(dir, SMALL).await;
    let mut ids = Vec::new();
    // Each connection may be either core's.
    for _ in 0..40 {
        let mut sender = daemon.sender().await;
        ids.push(sender.post(&origin.host(), b"waits").await);
        sender.post(&gone.host(), b"dies").await;
    }
    daemon.until_metric("dead_letters_kept", |kept| kept == 40.0).await;
    daemon.stop().await;
    ids
}

#[test]
fn a_log_of_a_newer_format_is_refused_by_name_and_nothing_is_touched() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::refusing(None));
        let ids = leave(dir.path(), &origin).await;
        let log = dir.path().join("log");
        let (messages, dead) = (log::segments(&log), log::segments(&log.join("dead-letter")));
        let last = |segments: &[(PathBuf, u32, u32)]| segments.last().unwrap().clone();
        let before = contents(&log);
        // In the first segment, in the last, in the dead letters, and where the core that wrote it is no more.
        for ((file, shard, segment), cores) in
            [(messages[0].clone(), "2"), (last(&messages), "2"), (last(&dead), "2"), (last(&messages), "1")]
        {
            for layout_known in [true, false] {
                let image = fs::read(&file).unwrap();
                make_newer(&file, shard, segment, layout_known);
                let newer = contents(&log);
                let mut daemon = Daemon::spawn(dir.path(), &[SMALL, &[("CORES", cores)]].concat());
                assert_eq!(daemon.ended().await.code(), Some(2), "{}", daemon.lines());
                let expected = format!("{} has log format 3, this version reads 1 to 2", file.display());
                assert!(daemon.lines().contains(&expected), "{expected}\n{}", daemon.lines());
                assert!(contents(&log) == newer, "{} is as it was, with all beside it", file.display());
                fs::write(&file, image).unwrap();
            }
        }
        assert!(contents(&log) == before);
        origin.listen();
        let daemon = Daemon::start(dir.path(), SMALL).await;
        until("a version that knows it goes on as if nothing had been", || origin.has_all(&ids)).await;
        assert_eq!(daemon.metric("dead_letters_kept").await, 40.0);
        daemon.stop().await;
    });
}

#[test]
fn a_record_of_a_newer_kind_is_refused_by_name_and_no_damage() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::refusing(None));
        let ids = leave(dir.path(), &origin).await;
        let standing = log::records(&dir.path().join("log")).remove(0);
        let image = fs::read(&standing.file).unwrap();
        let newer = log::with_kind(&standing, 200);
        fs::write(&standing.file, &newer).unwrap();
        let mut daemon = Daemon::spawn(dir.path(), SMALL);
        assert_eq!(daemon.ended().await.code(), Some(2), "{}", daemon.lines());
        let expected = format!("holds a record of kind 200 at offset {}, unknown to this version", standing.offset);
        let lines = daemon.lines();
        assert!(lines.contains(&expected) && lines.contains(standing.file.to_str().unwrap()), "{expected}\n{lines}");
        assert!(fs::read(&standing.file).unwrap() == newer, "its file is as it was");
        assert_eq!(log::set_aside(dir.path()), 0);
        fs::write(&standing.file, image).unwrap();
        origin.listen();
        let daemon = Daemon::start(dir.path(), SMALL).await;
        until("a version that knows it delivers all", || origin.has_all(&ids)).await;
        daemon.stop().await;
    });
}
