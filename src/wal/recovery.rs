//! Reads a log directory that has been surveyed, oldest segment first, and hands every intact record to a fold.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::files::Files;
use super::index::Location;
use super::payload::{Payload, PayloadError};
use super::reader;
use super::scan::{Found, Scanned};
use super::segment::{Sealed, VERSION, VERSION_MIN};
use super::survey::{Survey, Surveyed};
use crate::disk::aligned::AlignedBuf;
use crate::disk::{Disk, DiskError, while_doing};
use crate::limits::{BLOCK_BYTES, RECOVERY_READ_BYTES};
use crate::message::MessageId;

/// Why a log cannot be recovered. Damage is no reason: it is set aside and counted.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Another version of the format.
    #[error("{} has log format {found}, this version reads {VERSION_MIN} to {VERSION}: run the version that wrote it", path.display())]
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
    /// Segments of two logs in one directory.
    #[error("{} is too far from {} to be of the same log: move one of them away", path.display(), oldest.display())]
    Apart {
        /// The newest segment.
        path: PathBuf,
        /// The oldest segment.
        oldest: PathBuf,
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

/// What a replay found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Records handed to the fold.
    pub records: u64,
    /// Damaged ranges.
    pub damaged: u64,
    /// Bytes of the segments.
    pub bytes: u64,
}

/// A record as the fold gets it.
#[derive(Clone, Debug)]
pub struct Visit<'a> {
    /// Whose.
    pub id: MessageId,
    /// What it says.
    pub payload: Payload<'a>,
    /// Where it stands.
    pub at: Location,
}

/// Visits every record of a surveyed log in the order in which they were written. Memory is constant, whatever the log's size;
/// other tasks run in between.
///
/// Damaged ranges are copied to `corrupt`, if there is such a place, and reported.
pub async fn replay<D: Disk>(
    files: &Files<D>,
    survey: &Survey,
    corrupt: Option<&Path>,
    fold: &mut dyn FnMut(Visit<'_>),
) -> Result<Replayed, RecoveryError> {
    let mut replayed = Replayed::default();
    let mut reader = reader::reader(files, &survey.segments, files.reads_max());
    for one in &survey.segments {
        let mut pass = Pass { files, segment: one.segment, fold, damage: Vec::new(), refused: None, records: 0 };
        let scanned = reader.scan(one, &mut |found| pass.visit(found)).await?;
        let (damage, refused, records) = (pass.damage, pass.refused, pass.records);
        if let Some(refused) = refused {
            return Err(refused);
        }
        replayed.records += records;
        replayed.bytes += one.length;
        // A segment without a batch may be one whose header could not be written: another was begun in its place.
        let lacks_header = one.header.is_none() && one.sealed.is_none_or(|sealed| sealed.batches > 0);
        if lacks_header && damage.is_empty() {
            tracing::error!(path = %files.path(one.segment).display(), "the header of a segment is damaged");
            replayed.damaged += 1;
        }
        for range in damage {
            replayed.damaged += 1;
            report_damage(files, corrupt, one, range).await;
        }
        report_end(files, one, scanned);
    }
    Ok(replayed)
}

struct Pass<'f, D: Disk> {
    files: &'f Files<D>,
    segment: u32,
    fold: &'f mut dyn FnMut(Visit<'_>),
    damage: Vec<Range<usize>>,
    refused: Option<RecoveryError>,
    records: u64,
}

impl<D: Disk> Pass<'_, D> {
    fn visit(&mut self, found: Found<'_>) {
        match read(self.files, self.segment, found) {
            Ok(Read::Record(visit)) => {
                self.records += 1;
                (self.fold)(visit);
            }
            Ok(Read::Damage(range)) => self.damage.push(range),
            Err(why) => _ = self.refused.get_or_insert(why),
        }
    }
}

/// What a scan found, as it was read.
#[derive(Clone, Debug)]
pub enum Read<'a> {
    /// A record that this version knows.
    Record(Visit<'a>),
    /// Damage, see [`Found::Damage`].
    Damage(Range<usize>),
}

/// Reads what a scan of `segment` found. Errors: a newer version wrote it.
pub fn read<'a, D: Disk>(files: &Files<D>, segment: u32, found: Found<'a>) -> Result<Read<'a>, RecoveryError> {
    match found {
        Found::Damage(range) => Ok(Read::Damage(range)),
        Found::NewerKind { offset, kind } => Err(RecoveryError::Kind { path: files.path(segment), offset, kind }),
        Found::Record { offset, header, payload } => match Payload::decode(header.kind, payload) {
            Ok(payload) => {
                let bytes = u32::try_from(header.bytes).expect("segments are bounded by SEGMENT_BYTES_MAX");
                Ok(Read::Record(Visit { id: header.id, payload, at: Location { segment, offset, bytes } }))
            }
            Err(why) => Err(RecoveryError::Payload { path: files.path(segment), offset, why }),
        },
    }
}

/// Removes what a survey found to be of no use.
pub async fn clean<D: Disk>(files: &Files<D>, survey: &Survey) -> Result<(), DiskError> {
    for path in survey.unfinished.iter().chain(&survey.rested_names) {
        files.disk().remove(path).await.map_err(while_doing("removing", path))?;
    }
    Ok(())
}

/// Tells of damage and copies it aside. That nothing is lost by going on without it is worth a try, not the start: a
/// full disk has no room for it.
async fn report_damage<D: Disk>(files: &Files<D>, corrupt: Option<&Path>, one: &Surveyed, range: Range<usize>) {
    let path = files.path(one.segment);
    tracing::error!(
        path = %path.display(), offset = range.start, bytes = range.len(),
        "damage in the log: intact records around it are recovered"
    );
    let Some(corrupt) = corrupt else { return };
    match set_aside(files, corrupt, one.segment, range).await {
        Ok(aside) => tracing::error!(path = %path.display(), aside = %aside.display(), "the damage is set aside"),
        Err(error) => tracing::error!(%error, cause = %error.source, "damage could not be set aside"),
    }
}

/// Copies a range of a segment aside, in files of bounded size; returns the first of them.
pub async fn set_aside<D: Disk>(
    files: &Files<D>,
    corrupt: &Path,
    segment: u32,
    range: Range<usize>,
) -> Result<PathBuf, DiskError> {
    let disk = files.disk();
    let aside = |offset| corrupt.join(format!("shard-{:02}-{segment:012}-{offset}.damaged", files.shard()));
    disk.create_dir(corrupt).await.map_err(while_doing("creating", corrupt))?;
    let file = files.get(segment).await?;
    let mut at = range.start;
    while at < range.end {
        let first_block = at / BLOCK_BYTES * BLOCK_BYTES;
        let end = range.end.min(first_block + RECOVERY_READ_BYTES);
        let buffer = AlignedBuf::with_capacity(end - first_block);
        let (result, bytes) = disk.read_at(&file, buffer, first_block as u64).await;
        result.map_err(while_doing("reading", &files.path(segment)))?;
        let bytes = bytes.get(at - first_block..bytes.len().min(end - first_block)).unwrap_or_default();
        let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        if written > 0 || at == range.start {
            let path = aside(at);
            let contents = Bytes::copy_from_slice(&bytes[..written]);
            disk.write_aside(&path, contents).await.map_err(while_doing("writing", &path))?;
        }
        at = end;
    }
    Ok(aside(range.start))
}

fn report_end<D: Disk>(files: &Files<D>, one: &Surveyed, scanned: Scanned) {
    let Sealed { torn, .. } = scanned.sealed;
    if torn && one.sealed.is_none() {
        tracing::warn!(
            path = %files.path(one.segment).display(), end = scanned.end,
            "the last batch was cut short by a crash: nobody was told 202 for what it lost"
        );
    }
}
