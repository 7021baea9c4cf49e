//! What a check of a log found: for machines as JSON, for people as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;

use serde::Serialize;

use super::line;
use super::places::{Log, Place};
use super::walk::Segment;
use crate::wal::record::Kind;

/// All of it.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    intact: bool,
    totals: Counts,
    shards: Vec<Shard>,
}

/// What there is of everything.
#[derive(Clone, Debug, Default, Serialize)]
struct Counts {
    segments: u64,
    batches: u64,
    bytes: u64,
    /// Versions of the format.
    formats: BTreeSet<u16>,
    records: BTreeMap<&'static str, u64>,
    /// Messages that have not ended; dead letters, where these are kept.
    live_messages: u64,
    live_bytes: u64,
    /// Segments that a daemon reused while they were read.
    recycled_while_read: u64,
    torn_tails: u64,
    damaged_ranges: u64,
    missing_segments: u64,
}

/// One shard of one log.
#[derive(Debug, Serialize)]
pub struct Shard {
    log: Log,
    shard: u32,
    dir: PathBuf,
    #[serde(flatten)]
    counts: Counts,
    /// Whether the log turned over faster than it was read, so that messages that moved meanwhile may not be counted.
    overtaken: bool,
    torn: Vec<Part>,
    damaged: Vec<Part>,
    missing: Vec<Gap>,
}

/// A part of a file.
#[derive(Clone, Debug, Serialize)]
struct Part {
    file: PathBuf,
    offset: usize,
    bytes: usize,
}

/// Segments that are not there.
#[derive(Clone, Debug, Serialize)]
struct Gap {
    first: u32,
    last: u32,
}

impl Report {
    /// Of these shards.
    pub fn new(shards: Vec<Shard>) -> Self {
        let mut totals = Counts::default();
        for Shard { counts, .. } in &shards {
            totals.add(counts);
        }
        Self { intact: totals.damaged_ranges == 0 && totals.missing_segments == 0, totals, shards }
    }

    /// Whether nothing is damaged.
    pub const fn is_intact(&self) -> bool {
        self.intact
    }
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.segments += other.segments;
        self.batches += other.batches;
        self.bytes += other.bytes;
        self.formats.extend(&other.formats);
        for (kind, count) in &other.records {
            *self.records.entry(kind).or_default() += count;
        }
        self.live_messages += other.live_messages;
        self.live_bytes += other.live_bytes;
        self.recycled_while_read += other.recycled_while_read;
        self.torn_tails += other.torn_tails;
        self.damaged_ranges += other.damaged_ranges;
        self.missing_segments += other.missing_segments;
    }
}

impl Shard {
    /// Of which nothing was read yet.
    pub fn new(place: &Place) -> Self {
        Self {
            log: place.log,
            shard: place.shard,
            dir: place.dir.clone(),
            counts: Counts::default(),
            overtaken: false,
            torn: Vec::new(),
            damaged: Vec::new(),
            missing: Vec::new(),
        }
    }

    /// Counts a record.
    pub fn add_record(&mut self, kind: Kind) {
        *self.counts.records.entry(line::record_name(kind)).or_default() += 1;
    }

    /// Counts a segment whose records were counted.
    pub fn add_segment(&mut self, segment: &Segment) {
        let part = |range: &Range<usize>| Part { file: segment.path.clone(), offset: range.start, bytes: range.len() };
        self.counts.segments += 1;
        self.counts.batches += u64::from(segment.batches);
        self.counts.bytes += segment.length;
        self.counts.formats.extend(segment.version);
        self.torn.extend(segment.torn.as_ref().map(part));
        self.damaged.extend(segment.damage.iter().map(part));
    }

    /// Counts segments that are not there.
    pub fn add_missing(&mut self, segments: &Range<u32>) {
        self.counts.missing_segments += u64::from(segments.end - segments.start);
        self.missing.push(Gap { first: segments.start, last: segments.end - 1 });
    }

    /// Counts a segment that was reused.
    pub const fn add_recycled(&mut self) {
        self.counts.recycled_while_read += 1;
    }

    /// Notes that not all may have been read.
    pub const fn overtake(&mut self) {
        self.overtaken = true;
    }

    /// Ends it with what is alive.
    #[must_use]
    pub fn end(mut self, live_messages: u64, live_bytes: u64) -> Self {
        self.counts.live_messages = live_messages;
        self.counts.live_bytes = live_bytes;
        self.counts.torn_tails = self.torn.len() as u64;
        self.counts.damaged_ranges = self.damaged.len() as u64;
        self
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shards.iter().try_for_each(|shard| shard.fmt(f))?;
        writeln!(f, "in all\n{}", self.totals)?;
        f.write_str(if self.intact { "intact\n" } else { "damaged\n" })
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}", self.dir.display(), self.counts)?;
        for Part { file, offset, bytes } in &self.torn {
            writeln!(f, "  torn tail in {} at offset {offset}, {bytes} bytes", file.display())?;
        }
        for Part { file, offset, bytes } in &self.damaged {
            writeln!(f, "  damage in {} at offset {offset}, {bytes} bytes", file.display())?;
        }
        for Gap { first, last } in &self.missing {
            writeln!(f, "  the segments from {first} to {last} are missing")?;
        }
        if self.overtaken {
            writeln!(f, "  rewritten faster than it could be read: not all may be counted")?;
        }
        Ok(())
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let formats: Vec<String> = self.formats.iter().map(u16::to_string).collect();
        let records: Vec<String> = self.records.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        let or_none = |list: Vec<String>| if list.is_empty() { "none".to_owned() } else { list.join(", ") };
        writeln!(f, "  segments  {}, {} bytes, {} batches", self.segments, self.bytes, self.batches)?;
        writeln!(f, "  formats   {}", or_none(formats))?;
        writeln!(f, "  records   {}", or_none(records))?;
        writeln!(f, "  live      {} messages, {} bytes", self.live_messages, self.live_bytes)?;
        if self.recycled_while_read > 0 {
            writeln!(f, "  recycled  {} segments while they were read", self.recycled_while_read)?;
        }
        let or_no = |count: u64| if count == 0 { "no".to_owned() } else { count.to_string() };
        let damaged = or_no(self.damaged_ranges + self.missing_segments);
        write!(f, "  torn      {} tail\n  damaged   {damaged} part", or_no(self.torn_tails))
    }
}
