//! What a recovery must make of a log, whatever happened to it: nothing damaged, nothing untouched lost, no failed start.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use dispatcher::limits::{BLOCK_BYTES, SEGMENTS_MAX};
use dispatcher::message::MessageId;
use dispatcher::schedule::breaker;
use dispatcher::schedule::gate::Gates;
use dispatcher::schedule::scheduler::Limits;
use dispatcher::shard::state::State;
use dispatcher::time::{Clock, Millis, UnixMillis};
use dispatcher::wal::batch::Batch;
use dispatcher::wal::files::Files;
use dispatcher::wal::layout::Position;
use dispatcher::wal::payload::Payload;
use dispatcher::wal::record::HEADER_BYTES;
use dispatcher::wal::recovery::{self, RecoveryError, Visit};
use dispatcher::wal::segment::{BATCH_HEADER_BYTES, Sealed, SegmentHeader, SegmentHeaderRead};
use dispatcher::wal::survey::{self, Survey};
use dispatcher::wal::writer::Writer;

use super::choices::Choices;
use super::harms::Image;
use super::memory::{MemoryDisk, run};
use super::scanned::{records, scan_every_way};
use super::written::{Record, Segment, Written, dir, path};

/// Segment and offset of a record.
pub type Place = (u32, usize);

/// What a recovery gave.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered {
    pub survey: Survey,
    pub places: Vec<Place>,
    pub damaged: u64,
    /// Live messages, each where it stands.
    pub live: BTreeMap<MessageId, Place>,
}

/// Reads the log and folds it, as a start does.
pub fn recover(disk: &MemoryDisk, shard: u32, visit: &dyn Fn(&Visit<'_>)) -> Result<Recovered, RecoveryError> {
    run(async {
        let files = Files::new(disk.clone(), dir(), shard);
        let survey = survey::survey(&files, 0xF4E5).await?;
        let limits = Limits { slots: 16, wait_max: Millis(1000) };
        let gates = Gates::new(breaker::Rules { failures: 0, probe_max: Millis(1000), in_flight_max: 16 });
        let mut state = State::new(limits, gates, UnixMillis(0));
        state.add_segments(&survey);
        let mut places = Vec::new();
        let replayed = recovery::replay(&files, &survey, None, &mut |one| {
            visit(&one);
            places.push((one.at.segment, one.at.offset as usize));
            state.recover(one.id, &one.payload, one.at);
        })
        .await?;
        state.check();
        let mut live = BTreeMap::new();
        for (slot, id) in state.index().iter() {
            let at = state.index().location(slot);
            files.read_record(at).await.expect("what was recovered is read back");
            if let Some(retry) = state.index().retry_location(slot) {
                files.read_record_at(retry).await.expect("so is the newest retry");
            }
            live.insert(id, (at.segment, at.offset as usize));
        }
        Ok(Recovered { survey, places, damaged: replayed.damaged, live })
    })
}

/// Checks what recovering the image gives; `None`: it is refused, as it must be.
pub fn check(written: &Written, image: &Image) -> Option<Recovered> {
    let disk = image.to_disk();
    let first = check_once(written, image, &disk)?;
    if whose(written, image) == Whose::Other {
        return Some(first);
    }
    check_survey(written, image, &first);
    let visit = |one: &Visit<'_>| is_as_written(written, image, one);
    let again = recover(&disk, written.shard, &visit).expect("recovered before");
    assert_eq!(again, first, "recovering twice is recovering once");
    check_going_on(&disk, written, image, &first);
    Some(first)
}

/// The same without what comes after: recovering once.
pub fn check_once(written: &Written, image: &Image, disk: &MemoryDisk) -> Option<Recovered> {
    if whose(written, image) == Whose::Other {
        // To all who see it, it is that other log: it is read without a panic, whatever it gives.
        return recover(disk, written.shard, &|_| ()).ok();
    }
    let visit = |one: &Visit<'_>| is_as_written(written, image, one);
    let first = match recover(disk, written.shard, &visit) {
        Ok(recovered) => recovered,
        Err(refused) => return check_refusal(image, &refused),
    };
    let places: BTreeSet<Place> = first.places.iter().copied().collect();
    assert_eq!(places.len(), first.places.len(), "each record once");
    for place in must_be_found(written, image) {
        assert!(places.contains(&place), "{place:?} is untouched and lost");
    }
    if loses_what_is_sealed(written, image, &places) {
        assert!(first.damaged > 0, "what is lost is reported");
    }
    for (number, segment) in &written.segments {
        if segment.refused && is_sealed(written, image, *number) && stops(segment, image, *number) {
            let found = |record: &Record| places.contains(&(*number, record.offset));
            let refused = segment.records.iter().find(|record| record.batch >= segment.acknowledged && found(record));
            assert!(refused.is_none(), "{refused:?} was refused");
        }
    }
    Some(first)
}

/// A record is handed out where it was written, as it was written, if nothing of it was touched.
fn is_as_written(written: &Written, image: &Image, visit: &Visit<'_>) {
    let (segment, offset) = (visit.at.segment, visit.at.offset as usize);
    let Some(record) = written.record(segment, offset) else { panic!("no record was written at {segment}, {offset}") };
    let original = &written.segments[&segment];
    assert!(is_intact(original, record, image, segment), "the record at {segment}, {offset} is damaged");
    assert_eq!((visit.id, visit.at.bytes as usize), (record.id, record.bytes));
    let payload = &original.image[offset + HEADER_BYTES..offset + record.bytes];
    assert_eq!(Payload::decode(record.kind, payload).as_ref(), Ok(&visit.payload));
}

fn is_intact(segment: &Segment, record: &Record, image: &Image, number: u32) -> bool {
    let range = record.offset..record.offset + record.bytes;
    let now = image.segments.get(&number).and_then(|contents| contents.get(range.clone()));
    now == Some(&segment.image[range])
}

/// Whether it was whole when its segment ended.
fn is_left(segment: &Segment, record: &Record) -> bool {
    let range = record.offset..record.offset + record.bytes;
    segment.left[range.clone()] == segment.image[range]
}

/// Only what a newer version wrote, and what cannot be of one log, is refused.
fn check_refusal(image: &Image, refused: &RecoveryError) -> Option<Recovered> {
    let (first, last) = (image.segments.keys().next(), image.segments.keys().next_back());
    match refused {
        RecoveryError::Version { .. } | RecoveryError::Kind { .. } => assert!(image.newer, "{refused}"),
        RecoveryError::Apart { .. } => {
            assert!(last.zip(first).is_some_and(|(last, first)| last - first + 1 >= SEGMENTS_MAX), "{refused}");
        }
        RecoveryError::Disk(_) | RecoveryError::Payload { .. } | RecoveryError::TooLong { .. } => panic!("{refused}"),
    }
    None
}

/// The header in a segment's file, if one is intact.
fn header(written: &Written, image: &Image, number: u32) -> Option<SegmentHeader> {
    match SegmentHeader::read(image.segments.get(&number)?, written.shard, number) {
        SegmentHeaderRead::Known(header) => Some(header),
        SegmentHeaderRead::OtherVersion(_) | SegmentHeaderRead::Absent => None,
    }
}

/// Whose log it is, by the headers that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Own,
    Other,
    /// No header with a salt is left: only what was written without can be read.
    Nobodys,
}

/// The header that was begun last tells; those of the generation before are earlier.
pub fn whose(written: &Written, image: &Image) -> Whose {
    let salts = image.segments.keys().filter_map(|number| header(written, image, *number)?.salt);
    let (own, foreign): (Vec<u32>, Vec<u32>) = salts.partition(|salt| *salt == written.salt);
    match (own.is_empty(), foreign.is_empty()) {
        (true, true) => Whose::Nobodys,
        (false, _) => Whose::Own,
        (true, false) => Whose::Other,
    }
}

/// Records that must be found: not touched, not refused, in a log whose salt is known.
fn must_be_found(written: &Written, image: &Image) -> Vec<Place> {
    let whose = whose(written, image);
    let mut places = Vec::new();
    for (number, segment) in &written.segments {
        if whose == Whose::Nobodys && !segment.unsalted {
            continue;
        }
        let counts = |record: &&Record| !segment.refused || record.batch < segment.acknowledged;
        // What a crash had cut and some harm made whole again was not counted by the start in between.
        let intact = |record: &&Record| is_left(segment, record) && is_intact(segment, record, image, *number);
        let found = segment.records.iter().filter(counts).filter(intact);
        places.extend(found.map(|record| (*number, record.offset)));
    }
    places
}

/// Whether an acknowledged record is lost of which the next segment's header knows.
fn loses_what_is_sealed(written: &Written, image: &Image, found: &BTreeSet<Place>) -> bool {
    let acknowledged = |segment: &Segment, record: &Record| record.batch < segment.acknowledged;
    written.segments.iter().filter(|(number, _)| is_sealed(written, image, **number)).any(|(number, segment)| {
        let lost = |record: &&Record| !found.contains(&(*number, record.offset));
        segment.records.iter().filter(lost).any(|record| acknowledged(segment, record))
    })
}

/// Whether the header of the next segment tells how this one ended.
fn is_sealed(written: &Written, image: &Image, number: u32) -> bool {
    let (Some(next), true) = (written.segments.get(&(number + 1)), image.segments.contains_key(&number)) else {
        return false;
    };
    let salt = (!next.unsalted).then_some(written.salt);
    let header = header(written, image, number + 1).filter(|header| header.salt == salt && header.before.is_some());
    header.is_some() && whose(written, image) == Whose::Own
}

/// Whether the header of the first batch that does not count is there to say so.
fn stops(segment: &Segment, image: &Image, number: u32) -> bool {
    let Some(first) = segment.records.iter().find(|record| record.batch == segment.acknowledged) else { return false };
    let header = first.offset - BATCH_HEADER_BYTES..first.offset;
    let now = image.segments.get(&number).and_then(|contents| contents.get(header.clone()));
    now == Some(&segment.image[header])
}

/// Ids and numbers go on behind what was found.
fn check_survey(written: &Written, image: &Image, first: &Recovered) {
    let accepted = first.places.iter().map(|(segment, offset)| written.record(*segment, *offset).unwrap());
    let newest =
        accepted.filter(|record| record.kind == dispatcher::wal::record::Kind::Accepted).map(|one| one.id).max();
    if let (Some(newest), Some(surveyed)) = (newest, first.survey.newest) {
        assert!(newest <= surveyed, "a new message would get an id that is taken");
    }
    let last = first.places.iter().map(|(segment, _)| *segment).max();
    assert!(last.is_none_or(|last| last < first.survey.next_segment), "the next segment is a new one");
    let known: BTreeSet<u32> =
        first.survey.segments.iter().map(|one| one.segment).chain(first.survey.unbegun.iter().copied()).collect();
    assert!(image.segments.keys().eq(known.iter()), "each segment is part of the log, or free");
}

/// The next segment seals what was found: after it is begun, a recovery finds the same and what is written there.
fn check_going_on(disk: &MemoryDisk, written: &Written, image: &Image, first: &Recovered) {
    let next = first.survey.next_segment;
    if first.survey.segments.first().is_some_and(|oldest| next - oldest.segment >= SEGMENTS_MAX - 1) {
        // The last number that is not too far from the oldest: there is none to follow it until that is reclaimed.
        return;
    }
    let files = Rc::new(Files::new(disk.clone(), dir(), written.shard));
    let survey = run(survey::survey(&files, 0xF4E5)).expect("surveyed before");
    let mut writer = Writer::new(files, 2 * BLOCK_BYTES as u64, survey.end, Clock::new(|| UnixMillis(1)));
    let file = disk.put(&path(next), vec![0; 2 * BLOCK_BYTES]);
    let mut batch = Batch::with_capacity(BLOCK_BYTES);
    let id = MessageId([0xEE; 16]);
    batch.push(id, &Payload::Lost { at: UnixMillis(7) });
    run(async {
        writer.roll(next, Rc::new(file), first.survey.newest.unwrap_or_default()).await.expect("it is only memory");
        let sealed = writer.seal(batch);
        writer.write(&sealed).await.expect("it is only memory");
    });
    let seen = RefCell::new(Vec::new());
    let visit = |one: &Visit<'_>| {
        if one.at.segment == next {
            seen.borrow_mut().push(one.id);
        } else {
            is_as_written(written, image, one);
        }
    };
    let mut again = recover(disk, written.shard, &visit).expect("its own segment is no reason to refuse a log");
    assert_eq!(seen.take(), [id], "what is written next is found");
    again.places.retain(|(segment, _)| *segment != next);
    assert_eq!(again.places, first.places, "recovered again behind a new segment");
    assert_eq!(again.live, first.live);
}

/// Checks the scans of each segment alone, by what is known of how it ended.
pub fn check_scans(written: &Written, image: &Image, choices: &mut Choices<'_>) {
    for (number, segment) in &written.segments {
        let Some(contents) = image.segments.get(number) else { continue };
        let salt = (!segment.unsalted).then_some(written.salt);
        let start = Position { shard: written.shard, segment: *number, salt, offset: 0 };
        let counted = Sealed { batches: segment.acknowledged, torn: false };
        let sealed = choices.one_in(2).then_some(counted);
        let (found, _) = scan_every_way(contents, start, sealed, choices);
        let places = records(&found);
        let unique: BTreeSet<usize> = places.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(unique.len(), places.len(), "each record once");
        for (offset, bytes) in places {
            let record = written.record(*number, offset).expect("a record was written there");
            assert_eq!(record.bytes, bytes);
            assert!(is_intact(segment, record, image, *number), "the record at {offset} is damaged");
        }
        let counts = |record: &&Record| sealed.is_none_or(|sealed| record.batch < sealed.batches);
        if stops(segment, image, *number) {
            let uncounted = segment.records.iter().find(|one| !counts(one) && unique.contains(&one.offset));
            assert!(uncounted.is_none(), "segment {number}, {sealed:?}: {uncounted:?} does not count");
        }
        for record in segment.records.iter().filter(counts) {
            let lost = is_intact(segment, record, image, *number) && !unique.contains(&record.offset);
            assert!(!lost, "segment {number}, {sealed:?}: {record:?} is untouched and lost");
        }
    }
}
