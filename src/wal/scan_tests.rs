//! The scan against images of segments that crashes and bad disks leave behind.

use std::collections::BTreeSet;

use super::*;
use crate::message::{MessageId, OriginRef, Scheme};
use crate::time::UnixMillis;
use crate::wal::batch::Batch;
use crate::wal::payload::{Accepted, Payload, Progress};
use crate::wal::segment::{SegmentHeader, SegmentHeaderRead};

const START: Position = Position { shard: 3, segment: 42, salt: Some(0x5A17), offset: 0 };
const IMAGE_BYTES: usize = 40 << 10;

fn id(number: u8) -> MessageId {
    MessageId([number; 16])
}

fn message(body: &[u8]) -> Payload<'_> {
    Payload::Accepted(Accepted {
        accepted: UnixMillis(1),
        timeout: None,
        origin: OriginRef { scheme: Scheme::Http, host: "b", port: 80 },
        again: false,
        replays: 0,
        progress: Progress::default(),
        head: b"GET / HTTP/1.1\r\n",
        body,
    })
}

/// A segment with batches of these message numbers, and where each batch starts.
fn image_of(segment: u32, batches: &[&[u8]], body: &[u8]) -> (Vec<u8>, Vec<usize>) {
    let start = Position { segment, ..START };
    let Position { shard, salt, .. } = start;
    let header = SegmentHeader { shard, segment, salt, begun: UnixMillis(9), before: None, floor: Some(id(0)) };
    let mut image = header.encode().to_vec();
    let mut starts = Vec::new();
    for (number, messages) in (0_u32..).zip(batches) {
        let mut batch = Batch::default();
        for message_number in *messages {
            batch.push(id(*message_number), &message(body));
        }
        starts.push(image.len());
        image.extend_from_slice(&batch.seal(number, start.at(image.len())).blocks);
    }
    starts.push(image.len());
    image.resize(IMAGE_BYTES, 0);
    (image, starts)
}

struct Outcome {
    ids: Vec<u8>,
    damage: Vec<Range<usize>>,
    sealed: Sealed,
}

/// Scans the image whole, and once more in windows that hold no byte more than was asked for, which must be the same.
fn scan_image(image: &[u8], sealed: Option<Sealed>) -> Outcome {
    let (mut ids, mut damage) = (Vec::new(), Vec::new());
    let mut whole = Vec::new();
    let scanned = scan(image, START, sealed, &mut |found| {
        whole.push(gist(&found));
        match found {
            Found::Record { header, payload, .. } => {
                assert!(Payload::decode(header.kind, payload).is_ok(), "nothing damaged is handed out");
                ids.push(header.id.0[0]);
            }
            Found::NewerKind { .. } => panic!("no newer version wrote this"),
            Found::Damage(range) => damage.push(range),
        }
    });
    assert_eq!(scan_in_pieces(image, sealed), (whole, scanned));
    Outcome { ids, damage, sealed: scanned.sealed }
}

/// What was found, where, and how much of it.
fn gist(found: &Found<'_>) -> (u8, usize, usize) {
    match found {
        Found::Record { offset, header, .. } => (0, *offset as usize, header.bytes),
        Found::NewerKind { offset, kind } => (1, *offset as usize, (*kind).into()),
        Found::Damage(range) => (2, range.start, range.end),
    }
}

fn scan_in_pieces(image: &[u8], sealed: Option<Sealed>) -> (Vec<(u8, usize, usize)>, Scanned) {
    let (mut found, mut known) = (Vec::new(), 0);
    let mut scanner = Scanner::new(START, image.len(), sealed);
    loop {
        match scanner.step(image.get(scanner.cursor()..known).unwrap_or_default()) {
            Step::Found(one) => found.push(gist(&one)),
            Step::End(scanned) => return (found, scanned),
            Step::More(bytes) => {
                assert!(scanner.cursor() + bytes > known, "asks for something new");
                known = scanner.cursor() + bytes;
                assert!(known <= image.len(), "asks for nothing that is not there");
            }
        }
    }
}

const THREE: &[&[u8]] = &[&[1, 2], &[3], &[4, 5, 6]];
const BODY: &[u8] = &[b'x'; 3000];
const WHOLE: Sealed = Sealed { batches: 3, torn: false };

#[test]
fn an_intact_segment_gives_its_records_in_order() {
    let (image, _) = image_of(START.segment, THREE, BODY);
    for sealed in [None, Some(WHOLE)] {
        let outcome = scan_image(&image, sealed);
        assert_eq!((outcome.ids, outcome.damage), (vec![1, 2, 3, 4, 5, 6], vec![]));
        assert_eq!(outcome.sealed, WHOLE);
    }
}

#[test]
fn a_batch_that_the_next_segment_does_not_count_was_never_acknowledged() {
    let (image, _) = image_of(START.segment, THREE, BODY);
    let outcome = scan_image(&image, Some(Sealed { batches: 2, torn: false }));
    assert_eq!((outcome.ids, outcome.damage), (vec![1, 2, 3], vec![]));
}

#[test]
fn a_former_life_of_the_file_is_never_read() {
    let (stale, _) = image_of(START.segment - 1, &[&[7], &[8], &[9], &[10, 11, 12]], BODY);
    let (fresh, starts) = image_of(START.segment, &[&[1]], BODY);
    let mut image = stale.clone();
    image[..starts[1]].copy_from_slice(&fresh[..starts[1]]);
    let outcome = scan_image(&image, None);
    assert_eq!((outcome.ids, outcome.damage), (vec![1], vec![]));
    assert_eq!(SegmentHeader::read(&stale, START.shard, START.segment), SegmentHeaderRead::Absent);
}

/// A batch is cut at every block, and each subset of its blocks may be the one that reached the disk.
#[test]
fn a_torn_tail_loses_nothing_acknowledged_and_is_no_damage_now_or_later() {
    let (image, starts) = image_of(START.segment, THREE, BODY);
    let blocks = (starts[3] - starts[2]) / BLOCK_BYTES;
    for kept in 0..1_u32 << blocks {
        let mut torn = image.clone();
        for block in 0..blocks {
            if kept & (1 << block) == 0 {
                let at = starts[2] + block * BLOCK_BYTES;
                torn[at..at + BLOCK_BYTES].fill(0);
            }
        }
        let first = scan_image(&torn, None);
        assert_eq!(first.ids[..3], [1, 2, 3], "kept {kept:b}");
        assert!(first.damage.is_empty(), "kept {kept:b}");
        let again = scan_image(&torn, Some(first.sealed));
        assert_eq!((again.ids, again.damage), (first.ids, vec![]), "recovering twice is recovering once: {kept:b}");
    }
}

#[test]
fn a_file_cut_at_every_byte_gives_what_is_whole_and_panics_nowhere() {
    let (image, starts) = image_of(START.segment, THREE, &BODY[..100]);
    for length in 0..=starts[3] {
        let outcome = scan_image(&image[..length], None);
        let whole = starts[1..].iter().filter(|end| **end <= length).count();
        let expected = THREE[..whole].concat();
        assert!(outcome.ids.starts_with(&expected), "cut at {length}");
        scan_image(&image[..length], Some(WHOLE));
    }
}

/// One flipped bit costs at most the one message it stands in, wherever it is.
#[test]
fn one_flipped_bit_costs_at_most_one_message() {
    let (image, starts) = image_of(START.segment, THREE, &BODY[..20]);
    for bit in BLOCK_BYTES * 8..starts[3] * 8 {
        let mut flipped = image.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        for sealed in [None, Some(WHOLE)] {
            let outcome = scan_image(&flipped, sealed);
            let unique: BTreeSet<u8> = outcome.ids.iter().copied().collect();
            assert_eq!(unique.len(), outcome.ids.len(), "bit {bit}: no record twice");
            assert!(unique.len() >= 5, "bit {bit}: {:?}", outcome.ids);
            if unique.len() < 6 && sealed.is_some() {
                assert_eq!(outcome.damage.len(), 1, "bit {bit}: what is lost is reported");
            }
        }
    }
}

#[test]
fn damage_before_an_intact_batch_is_reported_and_the_rest_recovered() {
    let (mut image, starts) = image_of(START.segment, THREE, BODY);
    image[starts[1]..starts[2]].fill(0xAA);
    let outcome = scan_image(&image, None);
    assert_eq!(outcome.ids, [1, 2, 4, 5, 6]);
    assert_eq!(outcome.damage, std::iter::once(starts[1]..starts[2]).collect::<Vec<_>>());
}

/// Whoever sends a body does not know the salt, so what looks like a record in it is none where the log is damaged.
#[test]
fn a_body_that_imitates_records_is_not_read_as_such_in_a_damaged_range() {
    let unsalted = Position { salt: None, ..START };
    for salt in [None, Some(0), Some(0x5A18)] {
        let place = Position { salt, ..unsalted }.at(FIRST_BATCH as usize + BLOCK_BYTES);
        let mut forged = Batch::default();
        forged.push(id(66), &message(b"forged"));
        let blocks = forged.seal(1, place).blocks;
        let (mut image, starts) = image_of(START.segment, &[&[1], &[2]], &[b'x'; 3 * BLOCK_BYTES]);
        image[FIRST_BATCH as usize..][..BLOCK_BYTES].fill(0);
        image[FIRST_BATCH as usize + BLOCK_BYTES..][..BLOCK_BYTES].copy_from_slice(&blocks);
        let outcome = scan_image(&image, None);
        assert_eq!(outcome.ids, [2]);
        assert_eq!(outcome.damage.first(), Some(&(FIRST_BATCH as usize..starts[1])));
    }
}
