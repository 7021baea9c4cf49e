//! Reads the log of one shard, whether or not a daemon is writing it: every record in order, and what is damaged. Never
//! writes.
//!
//! What a running daemon does meanwhile, and why it is never taken for damage:
//!
//! | it does | so here |
//! |---|---|
//! | appends to the newest segment | its end is looked for first, then it is read up to there: by then that is on the disk |
//! | is writing the last batch | that batch is looked at again, a few times, before its tail counts as torn |
//! | begins the next segment | its header is asked again for how this one ended; a segment begun behind an end that was looked for is left out |
//! | reuses a segment whose messages have ended | its header is written before anything else; so a first block that is another one afterwards tells, and what seemed damaged does not count |
//! | moves messages to the end of the log, and releases the segment they stood in | after a segment went like that, the log is read on to its present end |
//!
//! Records need no such care: their checksums are bound to shard, segment and offset, so that what is intact was written
//! for where it stands.

use std::io;
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::time::Duration;

use crate::disk::aligned::AlignedBuf;
use crate::disk::{Disk, while_doing};
use crate::limits::{BLOCK_BYTES, INSPECT_ROUNDS_MAX, INSPECT_SETTLE_MS, INSPECT_SETTLES_MAX};
use crate::wal::files::{Files, Salt, segment_of_name};
use crate::wal::reader;
use crate::wal::recovery::{self, Read, RecoveryError, Visit};
use crate::wal::scan::{Found, Scanned};
use crate::wal::segment::{SegmentHeader, VERSION, VERSION_MIN};
use crate::wal::survey::{self, Surveyed};

/// A segment that was read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its file.
    pub path: PathBuf,
    /// The version of its format, if its header is intact.
    pub version: Option<u16>,
    /// Bytes of its file.
    pub length: u64,
    /// Batches that are part of the log.
    pub batches: u32,
    /// What is not as it was written, in bytes.
    pub damage: Vec<Range<usize>>,
    /// What a crash kept from the last batch, in bytes.
    pub torn: Option<Range<usize>>,
}

/// What is met.
#[derive(Debug)]
pub enum Event<'a> {
    /// An intact record.
    Record(&'a Visit<'a>),
    /// The end of a segment. Follows its records.
    Segment(&'a Segment),
    /// Segments that the log should have, by their numbers.
    Missing(Range<u32>),
    /// A segment was reused while it was read, or before it could be: its messages had ended, or moved.
    Recycled,
    /// The log turned over faster than it was read: messages that moved may have been missed.
    Overtaken,
}

/// Who is told; `Break` ends the walk.
pub type Watch<'w> = &'w mut dyn FnMut(Event<'_>) -> ControlFlow<()>;

/// Reads the log of `files`, oldest segment first, and tells `watch`. Memory does not grow with the log.
///
/// Everything that was durable when it began is met, but for messages that ended meanwhile.
pub async fn walk<D: Disk>(files: &Files<D>, watch: Watch<'_>) -> Result<ControlFlow<()>, RecoveryError> {
    let mut walk = Walk { files, watch, previous: None, open_end: None };
    for round in 0..=INSPECT_ROUNDS_MAX {
        let Some(listed) = walk.list().await? else { return Ok((walk.watch)(Event::Overtaken)) };
        if round == 0 {
            files.set_salt(walk.salt(&listed).await?);
        }
        let mut recycled = false;
        for segment in listed {
            walk.look_for_missing(segment).await?;
            let read = walk.segment(segment).await?;
            files.forget(segment);
            walk.previous = Some(segment);
            match read {
                Next::GoOn => {}
                Next::GoOnWithout => recycled = true,
                Next::Beyond => return Ok(ControlFlow::Continue(())),
                Next::Stop => return Ok(ControlFlow::Break(())),
            }
        }
        // What had moved before an open end was looked for stands before that end.
        if !recycled || walk.open_end.is_some() {
            return Ok(ControlFlow::Continue(()));
        }
    }
    Ok((walk.watch)(Event::Overtaken))
}

/// How it goes on behind a segment.
enum Next {
    GoOn,
    /// The segment was reused.
    GoOnWithout,
    /// The segment was begun after the end of the log was looked for.
    Beyond,
    /// Nobody listens any more.
    Stop,
}

/// A segment as it is found, and its first block.
type Look = (Surveyed, AlignedBuf);

struct Walk<'f, 'w, D: Disk> {
    files: &'f Files<D>,
    watch: Watch<'w>,
    /// The segment before.
    previous: Option<u32>,
    /// The newest segment so far whose end no header told: what follows it was not begun when it was looked for.
    open_end: Option<u32>,
}

impl<D: Disk> Walk<'_, '_, D> {
    /// The segments that were not read yet; `None`: the directory is gone, as another shard has taken it over.
    async fn list(&self) -> Result<Option<Vec<u32>>, RecoveryError> {
        let names = match self.files.disk().list(self.files.dir()).await {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            names => names.map_err(while_doing("listing", self.files.dir()))?,
        };
        let segments = names.iter().filter_map(|name| segment_of_name(name));
        let mut segments: Vec<u32> =
            segments.filter(|segment| self.previous.is_none_or(|last| *segment > last)).collect();
        segments.sort_unstable();
        Ok(Some(segments))
    }

    /// What the checksums are salted with. Ends with the first header that says so, which is one of the first.
    async fn salt(&self, listed: &[u32]) -> Result<Salt, RecoveryError> {
        let mut from = 0;
        for segment in listed {
            let look = self.look(*segment).await?;
            self.files.forget(*segment);
            match look.and_then(|(one, _)| one.header).map(|header| header.salt) {
                Some(Some(value)) => return Ok(Salt { value, from }),
                Some(None) => from = segment + 1,
                None => {}
            }
        }
        Ok(Salt { value: 0, from: u32::MAX })
    }

    /// `None`: it is gone.
    async fn look(&self, segment: u32) -> Result<Option<Look>, RecoveryError> {
        match survey::look(self.files, segment).await {
            Err(RecoveryError::Disk(error)) if error.source.kind() == io::ErrorKind::NotFound => Ok(None),
            look => look.map(Some),
        }
    }

    /// Segments are numbered without gaps and released oldest first: while the one before a gap is there, what lacks was
    /// not released.
    async fn look_for_missing(&mut self, segment: u32) -> Result<(), RecoveryError> {
        let Some(previous) = self.previous.filter(|previous| previous + 1 < segment) else { return Ok(()) };
        let is_there = self.look(previous).await?.is_some();
        self.files.forget(previous);
        if is_there {
            // That a listener has left shows at the next record.
            let _ = (self.watch)(Event::Missing(previous + 1..segment));
        }
        Ok(())
    }

    /// The header of the segment behind `segment`, if that was begun.
    async fn next_header(&self, segment: u32) -> Result<Option<SegmentHeader>, RecoveryError> {
        let next = self.look(segment + 1).await?;
        self.files.forget(segment + 1);
        Ok(next.and_then(|(one, _)| one.header))
    }

    async fn segment(&mut self, segment: u32) -> Result<Next, RecoveryError> {
        let Some((mut one, block)) = self.look(segment).await? else { return Ok(self.recycled()) };
        let next = self.next_header(segment).await?;
        one.sealed = next.and_then(|next| next.before);
        let is_open = next.is_none();
        if is_open {
            let (scanned, holds_something) = self.look_for_end(&one).await?;
            if one.header.is_none() && !holds_something {
                return Ok(Next::GoOn);
            }
            let next = self.next_header(segment).await?;
            one.sealed = Some(next.and_then(|next| next.before).unwrap_or(scanned.sealed));
        }
        let begun = match one.header {
            Some(header) => Some(header),
            None => self.look(segment).await?.and_then(|(now, _)| now.header),
        };
        if begun.is_some() && segment > 0 && self.open_end == Some(segment - 1) {
            return Ok(Next::Beyond);
        }
        self.open_end = is_open.then_some(segment);
        let mut read = match self.read(&one).await? {
            ControlFlow::Continue(read) => read,
            ControlFlow::Break(()) => return Ok(Next::Stop),
        };
        if is_open && read.torn.is_some() {
            read.torn = self.settle(&one).await?;
        }
        match self.look(segment).await? {
            Some((now, after)) if after[..] == block[..] || (one.header.is_none() && now.header.is_some()) => {
                if begun.is_none() && (read.records > 0 || read.batches > 0) {
                    read.damage.insert(0, 0..BLOCK_BYTES);
                }
                let version = begun.map(|header| if header.salt.is_some() { VERSION } else { VERSION_MIN });
                Ok(self.end(&one, version, read))
            }
            _ => Ok(self.recycled()),
        }
    }

    fn recycled(&mut self) -> Next {
        self.open_end = None;
        match (self.watch)(Event::Recycled) {
            ControlFlow::Continue(()) => Next::GoOnWithout,
            ControlFlow::Break(()) => Next::Stop,
        }
    }

    fn end(&mut self, one: &Surveyed, version: Option<u16>, read: ReadThrough) -> Next {
        let ReadThrough { batches, damage, torn, .. } = read;
        let path = self.files.path(one.segment);
        let segment = Segment { path, version, length: one.length, batches, damage, torn };
        match (self.watch)(Event::Segment(&segment)) {
            ControlFlow::Continue(()) => Next::GoOn,
            ControlFlow::Break(()) => Next::Stop,
        }
    }

    /// Where a segment ends that nothing tells of, and whether anything intact stands in it. What it says of the inside
    /// does not count: what was read first may have been read before it was written, and what was read last after.
    async fn look_for_end(&self, one: &Surveyed) -> Result<(Scanned, bool), RecoveryError> {
        let mut intact = false;
        let mut visit = |found: Found<'_>| intact |= !matches!(found, Found::Damage(_));
        let scanned = reader::scan(self.files, one, &mut visit).await?;
        Ok((scanned, intact || scanned.sealed.batches > 0))
    }

    async fn read(&mut self, one: &Surveyed) -> Result<ControlFlow<(), ReadThrough>, RecoveryError> {
        let mut through = ReadThrough { records: 0, batches: 0, damage: Vec::new(), torn: None };
        let mut reader = reader::reader(self.files, std::slice::from_ref(one), self.files.reads_max());
        let mut reading = reader.begin(one);
        loop {
            let (mut flow, mut refused) = (ControlFlow::Continue(()), None);
            let mut visit = |found: Found<'_>| match recovery::read(self.files, one.segment, found) {
                _ if flow.is_break() || refused.is_some() => {}
                Ok(Read::Record(visit)) => {
                    through.records += 1;
                    flow = (self.watch)(Event::Record(&visit));
                }
                Ok(Read::Damage(range)) => through.damage.push(range),
                Err(why) => refused = Some(why),
            };
            let scanned = reader.advance(&mut reading, &mut visit).await?;
            if let Some(refused) = refused {
                return Err(refused);
            }
            if flow.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if let Some(scanned) = scanned {
                through.batches = scanned.sealed.batches;
                through.torn = reading.torn();
                return Ok(ControlFlow::Continue(through));
            }
        }
    }

    /// What is torn from the last batch, unless that was still being written.
    async fn settle(&self, one: &Surveyed) -> Result<Option<Range<usize>>, RecoveryError> {
        let mut torn = None;
        for _ in 0..INSPECT_SETTLES_MAX {
            tokio::time::sleep(Duration::from_millis(INSPECT_SETTLE_MS)).await;
            let mut reader = reader::reader(self.files, std::slice::from_ref(one), self.files.reads_max());
            let mut reading = reader.begin(one);
            while reader.advance(&mut reading, &mut |_| {}).await?.is_none() {}
            torn = reading.torn();
            if torn.is_none() {
                break;
            }
        }
        Ok(torn)
    }
}

/// A segment from its first batch to its end.
struct ReadThrough {
    records: u64,
    batches: u32,
    damage: Vec<Range<usize>>,
    torn: Option<Range<usize>>,
}
