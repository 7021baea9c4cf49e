//! Reads a segment piece by piece and tells records, torn tails and damage apart. It sees bytes and touches no disk.
//!
//! The verdicts, where `sealed` is what the header of the next segment says of this one:
//!
//! | batch is intact | an intact one that counts follows | `sealed` says | verdict |
//! |---|---|---|---|
//! | yes | – | nothing, or that it counts | its records |
//! | yes | – | that it does not count | never acknowledged: the log ends before it |
//! | no | yes | – | damage; records in it that are intact stand |
//! | no | no | it counts and is whole | damage; records in it that are intact stand |
//! | no | no | nothing, or that it is torn | torn tail; records in it that are intact stand |
//!
//! Why intact records of a torn tail stand, though nobody was told 202 for them: a bit that flipped in the last,
//! acknowledged batch looks the same, and there the others must not be lost. Delivering a message whose sender lost
//! the connection before its 202 is within the promise; losing an acknowledged one is not.

use std::ops::Range;

use super::layout::Position;
use super::record::{self, HEADER_BYTES, Header, HeaderRead};
use super::segment::{BATCH_HEADER_BYTES, BatchHeader, FIRST_BATCH, Sealed};
use crate::limits::BLOCK_BYTES;

/// What a scan comes upon, in the order of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// An intact record.
    Record {
        /// Where it stands.
        offset: u32,
        /// Its header.
        header: Header,
        /// Its payload, verified.
        payload: &'a [u8],
    },
    /// A record that a newer version wrote: the start must be refused.
    NewerKind {
        /// Where it stands.
        offset: u32,
        /// The unknown code.
        kind: u8,
    },
    /// Acknowledged bytes that are not what was written. Follows the intact records in it.
    Damage(Range<usize>),
}

/// What a segment held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// How it ended: what the next segment's header is to record.
    pub sealed: Sealed,
    /// Where the last batch ends.
    pub end: usize,
}

/// The outcome of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Nothing before so many bytes from the cursor on are known.
    More(usize),
    /// Something was found.
    Found(Found<'a>),
    /// The segment has been read.
    End(Scanned),
}

/// Where the cursor is.
#[derive(Clone, Debug)]
enum Place {
    /// Where a batch should begin.
    Batch,
    /// Among the records of an intact batch header.
    Records(Records),
    /// In bytes that no intact batch header accounts for.
    Gap(Gap),
    /// Behind the last batch, with damage that is still to be told.
    Behind([Option<Range<usize>>; 2], Scanned),
}

#[derive(Clone, Debug)]
struct Records {
    range: Range<usize>,
    /// Where the next batch begins.
    next: usize,
    missing: u32,
    bad: Option<Range<usize>>,
}

#[derive(Clone, Debug)]
struct Gap {
    start: usize,
    /// Where the last intact record in it ends.
    intact_end: usize,
}

/// One segment being read, from its first batch to its end, in one pass and with a window as small as a record.
#[derive(Clone, Debug)]
pub struct Scanner {
    start: Position,
    length: usize,
    sealed: Option<Sealed>,
    at: usize,
    place: Place,
    /// Batches met so far.
    batches: u32,
    /// What is not intact in the newest of them: damage if another follows.
    bad: Option<Range<usize>>,
    /// What is missing from a torn tail.
    torn: Option<Range<usize>>,
}

impl Scanner {
    /// Of the segment at `start`, whose file is `length` bytes long and which ended as `sealed` says; `None`: nobody
    /// knows, it is the newest one.
    pub const fn new(start: Position, length: usize, sealed: Option<Sealed>) -> Self {
        let at = FIRST_BATCH as usize;
        Self { start, length, sealed, at, place: Place::Batch, batches: 0, bad: None, torn: None }
    }

    /// Where the next window must begin.
    pub const fn cursor(&self) -> usize {
        self.at
    }

    /// What is missing from a torn tail, once the end was met. None if the last batch is whole after all.
    pub fn torn(&self) -> Option<Range<usize>> {
        self.torn.clone()
    }

    /// Goes on in `window`, the bytes of the segment from the cursor on, as many as are known.
    ///
    /// A window that reaches the file's end, or holds as many bytes as [`Step::More`] asked for, always leads on.
    pub fn step<'a>(&mut self, window: &'a [u8]) -> Step<'a> {
        let from = self.at;
        loop {
            let rest = window.get(self.at - from..).unwrap_or_default();
            let known = Known { bytes: rest, left: self.length.saturating_sub(self.at) };
            let step = match std::mem::replace(&mut self.place, Place::Batch) {
                Place::Batch => self.batch(known),
                Place::Records(records) => self.record(known, records),
                Place::Gap(gap) => self.gap(known, gap),
                Place::Behind(damage, scanned) => Some(self.end(damage, scanned)),
            };
            if let Some(step) = step {
                return step;
            }
        }
    }

    /// Each of these returns `None` to go on where the cursor and the place are now.
    fn batch<'a>(&mut self, known: Known<'a>) -> Option<Step<'a>> {
        if let Some(sealed) = self.sealed.filter(|sealed| self.batches >= sealed.batches) {
            let (torn, bad) = if sealed.torn { (self.bad.take(), None) } else { (None, self.bad.take()) };
            self.torn = torn;
            return Some(self.end([bad, None], Scanned { sealed, end: self.at }));
        }
        match self.batch_header(known) {
            Err(more) => Some(more),
            Ok(Some(header)) if self.counts(header.number) => {
                // Another batch follows, so what was missing in the one before is no torn tail.
                if let Some(bad) = self.bad.take() {
                    return Some(Step::Found(Found::Damage(bad)));
                }
                self.enter(header);
                None
            }
            Ok(_) => {
                self.place = Place::Gap(Gap { start: self.at, intact_end: self.at });
                None
            }
        }
    }

    fn enter(&mut self, header: BatchHeader) {
        let range = self.at + BATCH_HEADER_BYTES..(self.at + header.bytes as usize).min(self.length);
        let next = (self.at + header.stride()).min(self.length);
        self.at = range.start.min(next);
        self.batches = header.number.saturating_add(1);
        self.place = Place::Records(Records { range, next, missing: header.records, bad: None });
    }

    fn record<'a>(&mut self, known: Known<'a>, mut records: Records) -> Option<Step<'a>> {
        let mut skipped = 0;
        while self.at < records.range.end {
            match self.record_at(known.skip(skipped), records.range.end - self.at) {
                Ok(Some((found, stride))) => {
                    records.missing = records.missing.saturating_sub(1);
                    self.at = (self.at + stride).min(records.next);
                    self.place = Place::Records(records);
                    return Some(Step::Found(found));
                }
                Ok(None) => {
                    let bad = records.bad.get_or_insert(self.at..self.at);
                    bad.end = (self.at + record::ALIGNMENT).min(records.range.end);
                    self.at += record::ALIGNMENT;
                    skipped += record::ALIGNMENT;
                }
                Err(more) => {
                    self.place = Place::Records(records);
                    return Some(more);
                }
            }
        }
        // Fewer than the header says, and none of what is there is bad: the file is shorter than the batch.
        let cut = records.missing > 0 && records.bad.is_none();
        self.bad = if cut { Some(records.range) } else { records.bad };
        self.at = records.next;
        None
    }

    /// An intact batch header that counts ends a gap, and makes it damage.
    fn gap<'a>(&mut self, known: Known<'a>, mut gap: Gap) -> Option<Step<'a>> {
        let mut skipped = 0;
        while self.at < self.length {
            let here = known.skip(skipped);
            if self.at.is_multiple_of(BLOCK_BYTES) {
                match self.batch_header(here) {
                    Err(more) => {
                        self.place = Place::Gap(gap);
                        return Some(more);
                    }
                    Ok(Some(header)) if self.counts(header.number) => {
                        if let Some(bad) = self.bad.take() {
                            self.place = Place::Gap(gap);
                            return Some(Step::Found(Found::Damage(bad)));
                        }
                        return Some(Step::Found(Found::Damage(gap.start..self.at)));
                    }
                    // What counts has ended before here.
                    Ok(Some(_)) => break,
                    Ok(None) => {}
                }
            }
            match self.record_at(here, self.length - self.at) {
                Ok(Some((found, stride))) => {
                    self.at = (self.at + stride).min(self.length);
                    gap.intact_end = self.at;
                    self.place = Place::Gap(gap);
                    return Some(Step::Found(found));
                }
                Ok(None) => {
                    self.at += record::ALIGNMENT;
                    skipped += record::ALIGNMENT;
                }
                Err(more) => {
                    self.place = Place::Gap(gap);
                    return Some(more);
                }
            }
        }
        Some(self.end_in_gap(&gap))
    }

    /// No intact batch that counts follows: what was met since the last one is torn, or damage, or no part of the log.
    fn end_in_gap<'a>(&mut self, gap: &Gap) -> Step<'a> {
        let bad = self.bad.take();
        match self.sealed {
            // A batch at least is missing, so what was bad in the newest that was met is no torn tail.
            Some(sealed) => {
                let stop = self.at.min(self.length);
                let (range, is_torn) = (gap.start..stop, sealed.torn && self.batches + 1 == sealed.batches);
                self.torn = is_torn.then(|| range.clone());
                self.end([bad, (!is_torn).then_some(range)], Scanned { sealed, end: stop })
            }
            // A torn batch may have lost the block of its header and kept others.
            None if gap.intact_end > gap.start => {
                let end = gap.intact_end.next_multiple_of(BLOCK_BYTES).min(self.length);
                self.torn = Some(gap.start..end);
                self.end([bad, None], Scanned { sealed: Sealed { batches: self.batches + 1, torn: true }, end })
            }
            None => {
                let sealed = Sealed { batches: self.batches, torn: bad.is_some() };
                self.torn = bad;
                self.end([None, None], Scanned { sealed, end: gap.start })
            }
        }
    }

    fn end<'a>(&mut self, mut damage: [Option<Range<usize>>; 2], scanned: Scanned) -> Step<'a> {
        let next = damage.iter_mut().find_map(Option::take);
        self.place = Place::Behind(damage, scanned);
        next.map_or(Step::End(scanned), |range| Step::Found(Found::Damage(range)))
    }

    fn counts(&self, number: u32) -> bool {
        self.sealed.is_none_or(|sealed| number < sealed.batches)
    }

    /// The batch header at the cursor, if there is one that may follow the batches met so far.
    fn batch_header<'a>(&self, known: Known<'_>) -> Result<Option<BatchHeader>, Step<'a>> {
        let bytes = known.first(BATCH_HEADER_BYTES)?;
        Ok(BatchHeader::read(bytes, self.start.at(self.at)).filter(|header| header.number >= self.batches))
    }

    /// The intact record at the cursor, if it ends within `limit` bytes, and where the next one may start.
    fn record_at<'a>(&self, known: Known<'a>, limit: usize) -> Result<Option<(Found<'a>, usize)>, Step<'static>> {
        if limit < HEADER_BYTES {
            return Ok(None);
        }
        let position = self.start.at(self.at);
        match Header::read(known.first(HEADER_BYTES)?, position) {
            HeaderRead::Known(header) if header.bytes <= limit => {
                let Some(payload) = known.first(header.bytes)?.get(header.payload()) else { return Ok(None) };
                let found = Found::Record { offset: position.offset, header, payload };
                Ok(header.verifies(payload).then_some((found, header.stride())))
            }
            HeaderRead::Unknown(kind) => {
                Ok(Some((Found::NewerKind { offset: position.offset, kind }, record::ALIGNMENT)))
            }
            HeaderRead::Known(_) | HeaderRead::Damaged => Ok(None),
        }
    }
}

/// Bytes from the cursor on.
#[derive(Clone, Copy)]
struct Known<'a> {
    bytes: &'a [u8],
    /// To the end of the file.
    left: usize,
}

impl<'a> Known<'a> {
    /// What is known `bytes` further on.
    fn skip(self, bytes: usize) -> Self {
        Self { bytes: self.bytes.get(bytes..).unwrap_or_default(), left: self.left.saturating_sub(bytes) }
    }

    /// The next `bytes` bytes, or all up to the file's end.
    fn first(self, bytes: usize) -> Result<&'a [u8], Step<'static>> {
        let bytes = bytes.min(self.left);
        self.bytes.get(..bytes).ok_or(Step::More(bytes))
    }
}

/// Reads the image of a whole segment; `start` is its position, its header block included.
pub fn scan<'a>(image: &'a [u8], start: Position, sealed: Option<Sealed>, visit: &mut dyn FnMut(Found<'a>)) -> Scanned {
    let mut scanner = Scanner::new(start, image.len(), sealed);
    loop {
        match scanner.step(image.get(scanner.cursor()..).unwrap_or_default()) {
            Step::Found(found) => visit(found),
            Step::End(scanned) => return scanned,
            Step::More(bytes) => panic!("{bytes} bytes are wanted where the image has ended"),
        }
    }
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
