//! Reads one log directory, oldest segment first, and hands every intact record to a fold.

use std::io;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::files::{self, Files};
use super::index::Location;
use super::payload::{Payload, PayloadError};
use super::segment::{self, Found, Scanned, Sealed, SegmentHeader, SegmentHeaderRead, VERSION};
use crate::disk::aligned::AlignedBuf;
use crate::disk::names::UNFINISHED;
use crate::disk::{Disk, DiskError, while_doing};
use crate::limits::{BLOCK_BYTES, RECOVERY_READ_BYTES, RECOVERY_READS_MAX, SEGMENT_BYTES_MAX, to_usize};
use crate::message::MessageId;

/// Why a log cannot be recovered. Damage is no reason: it is set aside and counted.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another version of the format.
    #[error("{} has log format {found}, this version reads {VERSION}: run the version that wrote it", path.display())]
    Version {
        /// The segment's file.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// A record that only a newer version knows.
    #[error("{} holds a record of kind {kind} at offset {offset}, unknown to this version: run the version that wrote it", path.display())]
    Kind {
        /// The segment's file.
        path: PathBuf,
        /// Where in it.
        offset: u32,
        /// The unknown code.
        kind: u8,
    },
    /// A record whose content only a newer version knows.
    #[error("{} holds a record at offset {offset} that this version cannot read: {why}", path.display())]
    Payload {
        /// The segment's file.
        path: PathBuf,
        /// Where in it.
        offset: u32,
        /// What is unknown.
        why: PayloadError,
    },
    /// Not a file this program made.
    #[error("{} is {bytes} bytes long, more than a segment can be", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
}

/// What a log held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// How the newest segment that was begun ended.
    pub end: Option<Sealed>,
    /// The number for the next segment.
    pub next_segment: u32,
    /// Segments from the oldest to the newest, those that are missing between them included.
    pub segments: u64,
    /// Damaged ranges set aside.
    pub damaged: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Length of the longest segment, in bytes: a message in it may need as much again.
    pub longest: u64,
}

/// Visits every record of the log in `files` in the order in which they were written, and calls `begin` once per
/// segment before its records.
///
/// Reads one segment at a time: memory is one segment, whatever the log's size. Damaged ranges are copied to
/// `corrupt` and reported. Leftovers of a crash (unfinished files, a segment made ready but never begun) are removed.
pub async fn replay<D: Disk>(
    files: &Files<D>,
    corrupt: &std::path::Path,
    fold: &mut dyn FnMut(Visit<'_>),
) -> Result<Recovered, RecoveryError> {
    let mut segments = list_segments(files).await?;
    segments.sort_unstable();
    let mut recovered = Recovered::default();
    // A segment's end is known from the header of the next one, so that is read first.
    let mut ends = Vec::with_capacity(segments.len());
    for segment in &segments {
        ends.push(read_header(files, *segment).await?);
    }
    let newest_begun = ends.iter().rposition(|header| header.is_some());
    for (position, segment) in segments.iter().copied().enumerate() {
        // Only of its own predecessor does a header tell the end: a segment between the two may be missing.
        let adjoining = segments.get(position + 1) == Some(&(segment + 1));
        let sealed = if adjoining { ends[position + 1].and_then(|next| next.before) } else { None };
        let image = read_image(files, segment).await?;
        recovered.bytes += image.len() as u64;
        recovered.longest = recovered.longest.max(image.len() as u64);
        let mut pass = Pass { files, segment, fold, damage: Vec::new(), refused: None, records: 0 };
        pass.begin();
        let scanned = segment::scan(&image, files.shard(), segment, sealed, &mut |found| pass.visit(found));
        let (damage, refused, records) = (pass.damage, pass.refused, pass.records);
        if let Some(refused) = refused {
            return Err(refused);
        }
        let begun = ends[position].is_some() || records > 0 || !damage.is_empty();
        if !begun && newest_begun.is_none_or(|newest| position > newest) {
            remove(files, segment).await?;
            continue;
        }
        recovered.segments = u64::from(segment + 1 - segments[0]);
        // A segment without a batch may be one whose header could not be written: another was begun in its place.
        let lacks_header = ends[position].is_none() && sealed.is_none_or(|sealed| sealed.batches > 0);
        if lacks_header && damage.is_empty() {
            tracing::error!(path = %files.path(segment).display(), "the header of a segment is damaged");
            recovered.damaged += 1;
        }
        for range in damage {
            recovered.damaged += 1;
            set_aside(files, corrupt, segment, &image, range).await?;
        }
        report_end(files, segment, scanned, sealed);
        recovered.end = Some(scanned.sealed);
        recovered.next_segment = segment + 1;
    }
    Ok(recovered)
}

/// What a replay hands to the fold.
#[derive(Clone, Debug)]
pub enum Visit<'a> {
    /// The records that follow are in this segment.
    Segment(u32),
    /// A record.
    Record {
        /// Whose.
        id: MessageId,
        /// What it says.
        payload: Payload<'a>,
        /// Where it stands.
        at: Location,
    },
}

struct Pass<'f, D: Disk> {
    files: &'f Files<D>,
    segment: u32,
    fold: &'f mut dyn FnMut(Visit<'_>),
    damage: Vec<std::ops::Range<usize>>,
    refused: Option<RecoveryError>,
    records: u64,
}

impl<D: Disk> Pass<'_, D> {
    fn begin(&mut self) {
        (self.fold)(Visit::Segment(self.segment));
    }

    fn visit(&mut self, found: Found<'_>) {
        match found {
            Found::Damage(range) => self.damage.push(range),
            Found::NewerKind { offset, kind } => {
                self.refuse(RecoveryError::Kind { path: self.files.path(self.segment), offset, kind });
            }
            Found::Record { offset, header, payload } => match Payload::decode(header.kind, payload) {
                Ok(payload) => {
                    let bytes = u32::try_from(header.bytes).expect("segments are bounded by SEGMENT_BYTES_MAX");
                    self.records += 1;
                    let at = Location { segment: self.segment, offset, bytes };
                    (self.fold)(Visit::Record { id: header.id, payload, at });
                }
                Err(why) => self.refuse(RecoveryError::Payload { path: self.files.path(self.segment), offset, why }),
            },
        }
    }

    fn refuse(&mut self, why: RecoveryError) {
        self.refused.get_or_insert(why);
    }
}

/// The segments in the directory; unfinished files are removed.
async fn list_segments<D: Disk>(files: &Files<D>) -> Result<Vec<u32>, DiskError> {
    let names = files.disk().list(files.dir()).await.map_err(while_doing("listing", files.dir()))?;
    let mut segments = Vec::new();
    for name in names {
        if let Some(segment) = files::segment_of_name(&name) {
            segments.push(segment);
        } else if name.ends_with(UNFINISHED) {
            let path = files.dir().join(name);
            files.disk().remove(&path).await.map_err(while_doing("removing", &path))?;
        }
    }
    Ok(segments)
}

async fn read_header<D: Disk>(files: &Files<D>, segment: u32) -> Result<Option<SegmentHeader>, RecoveryError> {
    let path = files.path(segment);
    let file = files.get(segment).await?;
    let buffer = AlignedBuf::with_capacity(BLOCK_BYTES);
    let (result, block) = files.disk().read_at(&file, buffer, 0).await;
    result.map_err(while_doing("reading the header of", &path))?;
    match SegmentHeader::read(&block, files.shard(), segment) {
        SegmentHeaderRead::Known(header) => Ok(Some(header)),
        SegmentHeaderRead::OtherVersion(found) => Err(RecoveryError::Version { path, found }),
        SegmentHeaderRead::Absent => Ok(None),
    }
}

/// Reads a whole segment, several reads at a time.
pub async fn read_image<D: Disk>(files: &Files<D>, segment: u32) -> Result<AlignedBuf, RecoveryError> {
    let path = files.path(segment);
    let file = files.get(segment).await?;
    let length = files.disk().length(&file).await.map_err(while_doing("asking the length of", &path))?;
    if length > SEGMENT_BYTES_MAX {
        return Err(RecoveryError::TooLong { path, bytes: length });
    }
    let mut image = AlignedBuf::with_capacity(to_usize(length));
    image.set_len(to_usize(length));
    let end = image.len();
    let pieces = (0..end).step_by(RECOVERY_READ_BYTES).map(|start| {
        let (file, bytes) = (Rc::clone(&file), (end - start).min(RECOVERY_READ_BYTES));
        async move {
            let buffer = AlignedBuf::with_capacity(bytes);
            let (result, piece) = files.disk().read_at(&file, buffer, start as u64).await;
            // What a short read left out must not be taken for damage, nor for the end of the log.
            let whole = result? >= bytes;
            if whole { Ok((start, piece)) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        }
    });
    let mut pieces = stream::iter(pieces).buffer_unordered(RECOVERY_READS_MAX);
    while let Some((start, piece)) = pieces.try_next().await.map_err(while_doing("reading", &path))? {
        let end = (start + piece.len()).min(image.len());
        image[start..end].copy_from_slice(&piece[..end - start]);
    }
    Ok(image)
}

async fn remove<D: Disk>(files: &Files<D>, segment: u32) -> Result<(), DiskError> {
    let path = files.path(segment);
    files.forget(segment);
    files.disk().remove(&path).await.map_err(while_doing("removing", &path))
}

/// Copies a damaged range aside, so that nothing is lost by going on without it.
async fn set_aside<D: Disk>(
    files: &Files<D>,
    corrupt: &std::path::Path,
    segment: u32,
    image: &[u8],
    range: std::ops::Range<usize>,
) -> Result<(), DiskError> {
    let written = image[range.clone()].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let range = range.start..range.start + written;
    let name = format!("shard-{:02}-{segment:012}-{}.damaged", files.shard(), range.start);
    let path = corrupt.join(name);
    tracing::error!(
        path = %files.path(segment).display(), offset = range.start, bytes = written, aside = %path.display(),
        "damage in the log: the range is set aside, intact records around it are recovered"
    );
    let disk = files.disk();
    disk.create_dir(corrupt).await.map_err(while_doing("creating", corrupt))?;
    disk.write_aside(&path, Bytes::copy_from_slice(&image[range])).await.map_err(while_doing("writing", &path))
}

fn report_end<D: Disk>(files: &Files<D>, segment: u32, scanned: Scanned, sealed: Option<Sealed>) {
    if scanned.sealed.torn && sealed.is_none() {
        tracing::warn!(
            path = %files.path(segment).display(), end = scanned.end,
            "the last batch was cut short by a crash: nobody was told 202 for what it lost"
        );
    }
}
