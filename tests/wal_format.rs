//! The bytes of the log, format versions 1 and 2: what is written is what the golden files say, and they read back.
//!
//! A golden file names every byte that is not zero: `offset: bytes  # what`. A log on a disk somewhere looks like this,
//! so a change here is a new version of the format, with files of its own beside these.
#![allow(clippy::unwrap_used, reason = "a test that cannot read its files fails")]

use dispatcher::message::{MessageId, OriginRef, Scheme};
use dispatcher::schedule::attempt::Failure;
use dispatcher::time::{Millis, UnixMillis};
use dispatcher::wal::batch::Batch;
use dispatcher::wal::layout::Position;
use dispatcher::wal::payload::{Accepted, Death, Payload, Progress, Tried};
use dispatcher::wal::scan::{Found, scan};
use dispatcher::wal::segment::{Sealed, SegmentHeader, SegmentHeaderRead};

const SHARD: u32 = 3;
const SEGMENT: u32 = 42;
const SALT: Option<u32> = Some(0xC0FF_EE11);
const BODY: &[u8] = &[b'x'; 5000];

/// Reads a golden file.
fn image_of(text: &str) -> Vec<u8> {
    let mut image = Vec::new();
    for line in text.lines().map(|line| line.split('#').next().unwrap().trim()).filter(|line| !line.is_empty()) {
        let (offset, bytes) = line.split_once(':').unwrap();
        image.resize(usize::from_str_radix(offset, 16).unwrap(), 0);
        image.extend(bytes.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()));
    }
    image.resize(image.len().next_multiple_of(4096), 0);
    image
}

fn id(number: u8) -> MessageId {
    MessageId([1, 0x8B, 0xCF, 0xE5, 0x68, number, 0x70, 1, 0x80, 2, 3, 4, 5, 6, 7, 8])
}

fn progress() -> Progress {
    let history = vec![
        Tried { at: UnixMillis(1_700_000_001_000), failure: Failure::Http5xx, status: Some(503), spared: false },
        Tried { at: UnixMillis(1_700_000_002_000), failure: Failure::Reset, status: None, spared: false },
    ];
    Progress { due: UnixMillis(1_700_000_009_000), attempts: 2, maybe_duplicate: true, history }
}

fn full() -> Accepted<'static> {
    Accepted {
        accepted: UnixMillis(1_700_000_000_000),
        timeout: Some(Millis(2500)),
        origin: OriginRef { scheme: Scheme::Https, host: "b.test", port: 8443 },
        again: false,
        replays: 0,
        progress: progress(),
        head: b"PUT /a HTTP/1.1\r\nHost: b.test:8443\r\n",
        body: b"body",
    }
}

fn plain(body: &[u8]) -> Accepted<'_> {
    Accepted {
        accepted: UnixMillis(1_700_000_000_001),
        timeout: None,
        origin: OriginRef { scheme: Scheme::Http, host: "b", port: 80 },
        again: false,
        replays: 0,
        progress: Progress::default(),
        head: b"GET / HTTP/1.1\r\nHost: b\r\n",
        body,
    }
}

/// The records of the golden segment of version 2, batch by batch.
fn every_kind() -> Vec<Vec<(MessageId, Payload<'static>)>> {
    let mut batches = every_kind_of_version_1();
    let again = Accepted { again: true, ..full() };
    let lost = Payload::Lost { at: UnixMillis(1_700_000_003_000) };
    batches.push(vec![(id(10), Payload::Accepted(again)), (id(11), lost)]);
    batches
}

/// What version 2 got later: replays and removed dead letters.
fn replays() -> Vec<Vec<(MessageId, Payload<'static>)>> {
    let at = UnixMillis(1_700_000_003_000);
    let death = Death { at, failure: Failure::Http4xx, status: Some(410), answer: b"gone" };
    let replayed = Accepted { replays: 2, ..plain(b"x") };
    let letter = Accepted { replays: 0x0102, ..full() };
    vec![
        vec![(id(12), Payload::Accepted(replayed)), (id(13), Payload::Removed { at })],
        vec![(id(14), Payload::DeadLetter(letter, death))],
    ]
}

/// The records of the golden segment of version 1, batch by batch.
fn every_kind_of_version_1() -> Vec<Vec<(MessageId, Payload<'static>)>> {
    let at = UnixMillis(1_700_000_003_000);
    let death = Death { at, failure: Failure::Http4xx, status: Some(410), answer: b"gone" };
    vec![
        vec![(id(1), Payload::Accepted(plain(b""))), (id(2), Payload::Accepted(full()))],
        vec![
            (id(3), Payload::Retry(progress())),
            (id(4), Payload::Delivered { at, attempts: 3, status: 204 }),
            (id(5), Payload::DeadLettered { at, failure: Failure::Http4xx }),
            (id(6), Payload::DeadLetter(full(), death)),
        ],
    ]
}

/// The records of the torn segment; its last block never reached the disk.
fn torn() -> Vec<Vec<(MessageId, Payload<'static>)>> {
    vec![
        vec![(id(7), Payload::Accepted(plain(b"whole")))],
        vec![(id(8), Payload::Accepted(plain(b"whole too"))), (id(9), Payload::Accepted(plain(BODY)))],
    ]
}

fn header(segment: u32, salt: Option<u32>, before: Option<Sealed>) -> SegmentHeader {
    let begun = UnixMillis(1_699_999_999_999);
    SegmentHeader { shard: SHARD, segment, salt, begun, before, floor: salt.map(|_| id(0)) }
}

fn written(header: &SegmentHeader, batches: &[Vec<(MessageId, Payload<'_>)>]) -> Vec<u8> {
    let mut image = header.encode().to_vec();
    for (number, records) in (0..).zip(batches) {
        let mut batch = Batch::default();
        for (id, payload) in records {
            batch.push(*id, payload);
        }
        image.extend_from_slice(&batch.seal(number, start_of(header).at(image.len())).blocks);
    }
    image
}

const fn start_of(header: &SegmentHeader) -> Position {
    Position { shard: header.shard, segment: header.segment, salt: header.salt, offset: 0 }
}

/// Every record in an image, and how the segment ended.
fn read<'a>(image: &'a [u8], header: &SegmentHeader) -> (Vec<(MessageId, Payload<'a>)>, Sealed) {
    let mut records = Vec::new();
    let scanned = scan(image, start_of(header), None, &mut |found| match found {
        Found::Record { header, payload, .. } => {
            records.push((header.id, Payload::decode(header.kind, payload).unwrap()));
        }
        Found::NewerKind { offset, kind } => panic!("kind {kind} at {offset}"),
        Found::Damage(range) => panic!("damage at {range:?}"),
    });
    (records, scanned.sealed)
}

fn assert_same(written: &[u8], golden: &[u8]) {
    let differs = written.iter().zip(golden).position(|(a, b)| a != b);
    assert_eq!(differs.map(|at| format!("{at:#x}")), None, "the first byte that is not as in the golden file");
    assert_eq!(written.len(), golden.len());
}

/// A golden segment with every kind of record reads back, and is what is written.
fn assert_whole(text: &str, salt: Option<u32>, batches: &[Vec<(MessageId, Payload<'_>)>]) {
    let golden = image_of(text);
    let header = header(SEGMENT, salt, None);
    assert_same(&written(&header, batches), &golden);
    assert_eq!(SegmentHeader::read(&golden, SHARD, SEGMENT), SegmentHeaderRead::Known(header));
    let (records, sealed) = read(&golden, &header);
    assert_eq!(records, batches.concat());
    let batches = u32::try_from(batches.len()).unwrap();
    assert_eq!(sealed, Sealed { batches, torn: false });
}

/// A golden segment whose last block is missing reads back but for that.
fn assert_torn(text: &str, salt: Option<u32>) {
    let golden = image_of(text);
    let header = header(SEGMENT + 1, salt, Some(Sealed { batches: 2, torn: true }));
    let whole = written(&header, &torn());
    assert_same(&whole[..golden.len()], &golden);
    assert_eq!(whole.len(), golden.len() + 4096, "the last block is the one that is missing");
    assert_eq!(SegmentHeader::read(&golden, SHARD, SEGMENT + 1), SegmentHeaderRead::Known(header));
    let mut on_disk = golden;
    on_disk.resize(64 << 10, 0);
    let (records, sealed) = read(&on_disk, &header);
    assert_eq!(records, torn().concat()[..2]);
    assert_eq!(sealed, Sealed { batches: 2, torn: true });
}

#[test]
fn a_segment_with_every_kind_of_record_is_written_as_version_2_has_it_and_reads_back() {
    assert_whole(include_str!("golden/segment-v2.hex"), SALT, &every_kind());
}

#[test]
fn replays_and_removed_letters_are_written_as_version_2_has_them_and_read_back() {
    assert_whole(include_str!("golden/replays-v2.hex"), SALT, &replays());
}

#[test]
fn a_torn_tail_of_version_2_gives_what_is_whole() {
    assert_torn(include_str!("golden/torn-v2.hex"), SALT);
}

#[test]
fn a_segment_of_version_1_reads_back() {
    assert_whole(include_str!("golden/segment-v1.hex"), None, &every_kind_of_version_1());
}

#[test]
fn a_torn_tail_of_version_1_reads_back() {
    assert_torn(include_str!("golden/torn-v1.hex"), None);
}
