//! Logs made by the library, block for block as the daemon writes them.

use std::fs;
use std::path::{Path, PathBuf};

use dispatcher::message::{MessageId, OriginRef, Scheme};
use dispatcher::schedule::attempt::Failure;
use dispatcher::time::{Millis, UnixMillis};
use dispatcher::wal::batch::Batch;
use dispatcher::wal::files::segment_name;
use dispatcher::wal::layout::Position;
use dispatcher::wal::payload::{Accepted, Death, Payload, Progress, Tried};
use dispatcher::wal::segment::{Sealed, SegmentHeader};

pub const SALT: u32 = 0xC0FF_EE11;
pub const SEGMENT_BYTES: usize = 64 << 10;
/// 2023-11-14T22:13:20Z.
pub const START: u64 = 1_700_000_000_000;

pub type Records = Vec<(MessageId, Payload<'static>)>;

/// The id that ends with these two digits.
pub fn id(number: u8) -> MessageId {
    MessageId([1, 0x8B, 0xCF, 0xE5, 0x68, 0, 0x70, 1, 0x80, 2, 3, 4, 5, 6, 7, number])
}

/// A message for `host`, accepted so many seconds after the start.
pub fn accepted(host: &'static str, seconds: u64) -> Accepted<'static> {
    Accepted {
        accepted: UnixMillis(START + seconds * 1000),
        timeout: None,
        origin: OriginRef { scheme: Scheme::Http, host, port: 80 },
        again: false,
        replays: 0,
        progress: Progress::default(),
        head: b"POST /hook?token=1 HTTP/1.1\r\nHost: b.test\r\nAuthorization: Bearer hunter2\r\nCookie: session=hunter3\r\n",
        body: b"hunter4",
    }
}

/// A message with everything that a message can have.
pub fn full() -> Accepted<'static> {
    Accepted {
        timeout: Some(Millis(2500)),
        origin: OriginRef { scheme: Scheme::Https, host: "c.test", port: 8443 },
        again: true,
        progress: progress(),
        ..accepted("c.test", 0)
    }
}

/// Two failed attempts, the last of them 2 seconds after the start.
pub fn progress() -> Progress {
    let history = vec![
        Tried { at: UnixMillis(START + 1000), failure: Failure::Http5xx, status: Some(503), spared: false },
        Tried { at: UnixMillis(START + 2000), failure: Failure::Reset, status: None, spared: false },
    ];
    Progress { due: UnixMillis(START + 9000), attempts: 2, maybe_duplicate: true, history }
}

pub fn delivered(seconds: u64) -> Payload<'static> {
    Payload::Delivered { at: UnixMillis(START + seconds * 1000), attempts: 1, status: 204 }
}

pub fn death(seconds: u64) -> Death<'static> {
    let at = UnixMillis(START + seconds * 1000);
    Death { at, failure: Failure::Http4xx, status: Some(410), answer: b"hunter5" }
}

/// A segment of `shard`, padded with zeros to its size.
pub fn segment(shard: u32, number: u32, before: Option<Sealed>, batches: &[Records]) -> Vec<u8> {
    let header = SegmentHeader {
        shard,
        segment: number,
        salt: Some(SALT),
        begun: UnixMillis(START),
        before,
        floor: Some(MessageId::default()),
    };
    let start = Position { shard, segment: number, salt: Some(SALT), offset: 0 };
    let mut image = header.encode().to_vec();
    for (number, records) in (0..).zip(batches) {
        let mut batch = Batch::default();
        for (id, payload) in records {
            batch.push(*id, payload);
        }
        image.extend_from_slice(&batch.seal(number, start.at(image.len())).blocks);
    }
    image.resize(SEGMENT_BYTES.max(image.len()), 0);
    image
}

/// The segment before had so many batches, all of them whole.
pub const fn whole(batches: u32) -> Option<Sealed> {
    Some(Sealed { batches, torn: false })
}

/// Writes a segment to the log at `root`; returns its file.
pub fn put(root: &Path, shard: u32, number: u32, image: &[u8]) -> PathBuf {
    let dir = root.join(format!("shard-{shard:02}"));
    fs::create_dir_all(&dir).unwrap();
    let path = dir.join(segment_name(number));
    fs::write(&path, image).unwrap();
    path
}

/// A log in which each message has come to something else: 01 is delivered, 02 waits for a retry, 03 is a dead letter,
/// 04 is lost, 05 was moved and waits; 01, 02 and 03 are for a.test, in two segments.
pub fn story(root: &Path) {
    let first: Records = vec![
        (id(1), Payload::Accepted(accepted("a.test", 10))),
        (id(2), Payload::Accepted(accepted("a.test", 20))),
        (id(3), Payload::Accepted(accepted("a.test", 30))),
    ];
    let second: Records = vec![(id(2), Payload::Retry(progress())), (id(1), delivered(40))];
    put(root, 0, 7, &segment(0, 7, None, &[first, second]));
    let dead = Payload::DeadLettered { at: UnixMillis(START + 50_000), failure: Failure::Http4xx };
    put(root, 0, 8, &segment(0, 8, whole(2), &[vec![(id(3), dead)]]));
    let other: Records = vec![
        (id(4), Payload::Accepted(accepted("d.test", 60))),
        (id(4), Payload::Lost { at: UnixMillis(START + 70_000) }),
        (id(5), Payload::Accepted(full())),
    ];
    put(root, 1, 0, &segment(1, 0, None, &[other]));
    let letter = Payload::DeadLetter(accepted("a.test", 30), death(50));
    put(&root.join("dead-letter"), 0, 0, &segment(0, 0, None, &[vec![(id(3), letter)]]));
}

/// The image in a golden file: see `tests/wal_format.rs`.
pub fn golden(text: &str) -> Vec<u8> {
    let mut image = Vec::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap().trim()).filter(|line| !line.is_empty()) {
        let (offset, bytes) = line.split_once(':').unwrap();
        image.resize(usize::from_str_radix(offset, 16).unwrap(), 0);
        image.extend(bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    image.resize(image.len().next_multiple_of(4096), 0);
    image
}
