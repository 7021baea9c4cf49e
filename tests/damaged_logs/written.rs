//! Logs as the writer leaves them: several lives of a shard, torn and refused batches, files used before.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::rc::Rc;

use dispatcher::limits::BLOCK_BYTES;
use dispatcher::message::{IdSource, MessageId, OriginRef, Scheme};
use dispatcher::schedule::attempt::Failure;
use dispatcher::time::{Clock, Millis, UnixMillis};
use dispatcher::wal::batch::{Batch, Sealed};
use dispatcher::wal::files::{Files, Salt, segment_name};
use dispatcher::wal::payload::{Accepted, Death, Payload, Progress, Tried};
use dispatcher::wal::record::Kind;
use dispatcher::wal::survey;
use dispatcher::wal::writer::Writer;

use super::choices::Choices;
use super::memory::{Contents, MemoryDisk, run};

/// The unit in which a drive writes.
pub const SECTOR_BYTES: usize = 512;
const LIVES_MAX: usize = 3;
/// Blocks of a segment that is larger than one read of it.
const BLOCKS_MAX: usize = 80;
const SEGMENTS_PER_LIFE_MAX: usize = 3;
const BATCHES_MAX: usize = 5;
const RECORDS_MAX: usize = 4;
/// When the generation before was written, and the present one.
const THEN: UnixMillis = UnixMillis(1_600_000_000_000);
pub const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

pub fn dir() -> PathBuf {
    PathBuf::from("log")
}

pub fn path(segment: u32) -> PathBuf {
    dir().join(segment_name(segment))
}

/// A record as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    pub offset: usize,
    pub bytes: usize,
    pub kind: Kind,
    pub id: MessageId,
    /// Number of its batch.
    pub batch: u32,
}

/// A segment as it was written.
#[derive(Debug, Default)]
pub struct Segment {
    /// Its bytes if every write to it had landed.
    pub image: Vec<u8>,
    /// Its bytes as they are.
    pub left: Vec<u8>,
    pub records: Vec<Record>,
    /// Batches whose writes succeeded.
    pub acknowledged: u32,
    /// The writing of the next one failed, and its senders were told so.
    pub refused: bool,
    /// Written without salt.
    pub unsalted: bool,
}

/// A log, and what else may turn up in its files.
#[derive(Debug)]
pub struct Written {
    pub shard: u32,
    pub salt: u32,
    pub segments: BTreeMap<u32, Segment>,
    /// Files of an earlier log of the same shard, by the numbers of their segments.
    pub generation_before: BTreeMap<u32, Vec<u8>>,
    /// Files of another shard.
    pub other_shard: BTreeMap<u32, Vec<u8>>,
}

impl Written {
    /// Up to `lives` lives of a shard, and its surroundings.
    pub fn new(choices: &mut Choices<'_>, lives: usize) -> Self {
        let shard = u32::try_from(choices.below(3)).unwrap();
        let first = *choices.one_of(&[0, 1, 7, (1 << 22) - 2, 1 << 22, u32::MAX / 2]);
        let before = Author { shard, salt: 0x01D0, clock: Clock::new(|| THEN), former: Vec::new(), old: false };
        // Where version 1 was still in use, no salted log was before.
        let old = choices.one_in(8);
        let before = if old { BTreeMap::new() } else { before.write(choices, first, 1) };
        let other =
            Author { shard: shard + 1, salt: 0x5A17, clock: Clock::new(|| NOW), former: Vec::new(), old: false };
        let other = other.write(choices, first, 1);
        let files = |segments: BTreeMap<u32, Segment>| -> BTreeMap<u32, Vec<u8>> {
            segments.into_iter().map(|(number, segment)| (number, segment.left)).collect()
        };
        let (generation_before, other_shard) = (files(before), files(other));
        let former = generation_before.values().chain(other_shard.values()).cloned().collect();
        let author = Author { shard, salt: 0xC0FF_EE11, clock: Clock::new(|| NOW), former, old };
        let salt = author.salt;
        let lives = 1 + choices.below(lives.min(LIVES_MAX));
        let segments = author.write(choices, first, lives);
        Self { shard, salt, segments, generation_before, other_shard }
    }

    /// The record that was written at this place.
    pub fn record(&self, segment: u32, offset: usize) -> Option<&Record> {
        self.segments.get(&segment)?.records.iter().find(|record| record.offset == offset)
    }
}

/// Who writes a log.
struct Author {
    shard: u32,
    salt: u32,
    clock: Clock,
    /// What stands in the files that become segments.
    former: Vec<Vec<u8>>,
    /// Begins with version 1 of the format.
    old: bool,
}

impl Author {
    fn write(&self, choices: &mut Choices<'_>, first: u32, lives: usize) -> BTreeMap<u32, Segment> {
        let disk = MemoryDisk::default();
        let mut ids = Ids { source: IdSource::new(self.salt.into()), issued: Vec::new(), now: self.clock.now() };
        let mut segments = BTreeMap::new();
        for life in 0..lives {
            let unsalted = self.old && life == 0;
            self.live(&disk, &mut ids, &mut segments, Life { first, unsalted }, choices);
        }
        segments
    }

    /// One life, from a start to a crash.
    fn live(
        &self,
        disk: &MemoryDisk,
        ids: &mut Ids,
        segments: &mut BTreeMap<u32, Segment>,
        life: Life,
        choices: &mut Choices<'_>,
    ) {
        let files = Rc::new(Files::new(disk.clone(), dir(), self.shard));
        let survey = run(survey::survey(&files, self.salt)).unwrap();
        if life.unsalted {
            files.set_salt(Salt { value: self.salt, from: u32::MAX });
        }
        let bytes = BLOCK_BYTES * if choices.one_in(64) { BLOCKS_MAX } else { 3 + choices.below(8) };
        let mut writer = Writer::new(files, bytes as u64, survey.end, self.clock);
        let mut number = survey.next_segment.max(life.first);
        let last = number + u32::try_from(choices.below(SEGMENTS_PER_LIFE_MAX)).unwrap();
        let torn = loop {
            let (segment, file, torn) = self.segment(&mut writer, disk, ids, (number, bytes), choices);
            let refused = segment.refused;
            segments.insert(number, Segment { unsalted: life.unsalted, ..segment });
            if number >= last && !refused {
                break torn.map(|torn| (torn, file));
            }
            number += 1;
        };
        if let Some((Torn { written, before }, file)) = torn {
            tear(&file, written, &before, choices);
            segments.get_mut(&number).unwrap().acknowledged -= 1;
        }
        for (number, segment) in segments {
            segment.left = disk.named(&path(*number)).unwrap().borrow().clone();
        }
    }

    /// One segment; what its last batch stands on, if that is to be torn should the life end here.
    fn segment(
        &self,
        writer: &mut Writer<MemoryDisk>,
        disk: &MemoryDisk,
        ids: &mut Ids,
        (number, bytes): (u32, usize),
        choices: &mut Choices<'_>,
    ) -> (Segment, Contents, Option<Torn>) {
        let mut contents = if self.former.is_empty() { Vec::new() } else { choices.one_of(&self.former).clone() };
        contents.resize(bytes, 0);
        let file = disk.put(&path(number), contents);
        run(writer.roll(number, Rc::new(Rc::clone(&file)), ids.newest())).unwrap();
        let (mut segment, mut torn) = (Segment::default(), None);
        for batch_number in 0..u32::try_from(1 + choices.below(BATCHES_MAX)).unwrap() {
            let batch = ids.batch(writer.room(), &file.borrow(), choices);
            if batch.is_empty() {
                break;
            }
            let sealed = writer.seal(batch);
            let before = file.borrow().clone();
            let start = sealed.position.offset as usize;
            let written = start..start + sealed.blocks.len();
            segment.refused = choices.one_in(16);
            if segment.refused {
                disk.fail_next_write();
            }
            assert_eq!(run(writer.write(&sealed)).is_err(), segment.refused);
            segment.note(batch_number, &sealed);
            if segment.refused {
                segment.image = file.borrow().clone();
                tear(&file, written, &before, choices);
                return (segment, file, None);
            }
            segment.acknowledged += 1;
            torn = choices.one_in(3).then_some(Torn { written, before });
        }
        segment.image = file.borrow().clone();
        (segment, file, torn)
    }
}

#[derive(Clone, Copy)]
struct Life {
    /// Number of the first segment of all.
    first: u32,
    unsalted: bool,
}

/// A batch that a crash is to tear: where it stands, and the file before it.
struct Torn {
    written: Range<usize>,
    before: Vec<u8>,
}

/// Of what was written over `written`, some sectors did not land.
fn tear(file: &Contents, written: Range<usize>, before: &[u8], choices: &mut Choices<'_>) {
    let mut contents = file.borrow_mut();
    for at in written.step_by(SECTOR_BYTES) {
        if choices.below(3) > 0 {
            contents[at..at + SECTOR_BYTES].copy_from_slice(&before[at..at + SECTOR_BYTES]);
        }
    }
}

impl Segment {
    fn note(&mut self, batch: u32, sealed: &Sealed) {
        self.records.extend(sealed.iter().map(|(at, header, _)| Record {
            offset: at.offset as usize,
            bytes: header.bytes,
            kind: header.kind,
            id: header.id,
            batch,
        }));
    }
}

/// What messages there are.
struct Ids {
    source: IdSource,
    issued: Vec<MessageId>,
    now: UnixMillis,
}

impl Ids {
    fn newest(&self) -> MessageId {
        self.issued.iter().copied().max().unwrap_or_default()
    }

    /// A batch that fits `room`; bodies may imitate what stands in `file`.
    fn batch(&mut self, room: usize, file: &[u8], choices: &mut Choices<'_>) -> Batch {
        let mut batch = Batch::with_capacity(BLOCK_BYTES);
        for _ in 0..1 + choices.below(RECORDS_MAX) {
            let body = body(file, choices);
            let (id, payload) = self.record(&body, choices);
            if batch.bytes_with(&payload) > room {
                break;
            }
            batch.push(id, &payload);
            if !self.issued.contains(&id) {
                self.issued.push(id);
            }
        }
        batch
    }

    fn record<'a>(&mut self, body: &'a [u8], choices: &mut Choices<'_>) -> (MessageId, Payload<'a>) {
        let at = self.now;
        let kind = choices.below(10);
        if self.issued.is_empty() || kind < 5 {
            return (self.source.next(self.now), Payload::Accepted(message(body, Progress::default(), false)));
        }
        let id = *choices.one_of(&self.issued);
        let payload = match kind {
            5 => Payload::Retry(progress(choices)),
            6 => Payload::Accepted(message(body, progress(choices), true)),
            7 => Payload::DeadLettered { at, failure: Failure::Http4xx },
            8 if choices.one_in(2) => Payload::Lost { at },
            8 => {
                let death = Death { at, failure: Failure::Expired, status: None, answer: &body[..body.len().min(64)] };
                Payload::DeadLetter(message(body, progress(choices), false), death)
            }
            _ => Payload::Delivered { at, attempts: 1, status: 204 },
        };
        (id, payload)
    }
}

fn progress(choices: &mut Choices<'_>) -> Progress {
    let tried = Tried { at: NOW, failure: *choices.one_of(&Failure::ALL), status: Some(503), spared: false };
    let attempts = choices.below(40);
    Progress {
        due: NOW,
        attempts: u16::try_from(attempts).unwrap(),
        maybe_duplicate: true,
        history: vec![tried; attempts],
    }
}

fn message(body: &[u8], progress: Progress, again: bool) -> Accepted<'_> {
    Accepted {
        accepted: NOW,
        timeout: Some(Millis(2500)),
        origin: OriginRef { scheme: Scheme::Http, host: "b", port: 80 },
        again,
        replays: u16::from(again && body.len().is_multiple_of(3)),
        progress,
        head: b"POST /hook HTTP/1.1\r\nHost: b\r\n",
        body,
    }
}

/// Noise, or what looks like a part of a log.
fn body(file: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    let bytes_max = [16, 600, 5_000, 12_000, 150_000][choices.below(9).min(4)];
    // The large ones are rare, as hardly a segment has room for them.
    let bytes = if bytes_max > 100_000 && file.len() < bytes_max { 40 } else { choices.below(bytes_max) };
    if choices.one_in(3) {
        let start = choices.below(file.len());
        return file[start..(start + bytes).min(file.len())].to_vec();
    }
    choices.garbage(bytes)
}
