//! A first look at a log directory: which segments there are, how the newest one ended, and where to go on. It reads
//! headers and the end of the log only, so that a shard can take messages before the rest has been read. Never writes.

use std::path::PathBuf;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::files::{self, Files, Salt};
use super::reader;
use super::record::Kind;
use super::recovery::RecoveryError;
use super::scan::{Found, Scanned};
use super::segment::{Sealed, SegmentHeader, SegmentHeaderRead};
use crate::disk::aligned::AlignedBuf;
use crate::disk::names::UNFINISHED;
use crate::disk::{Disk, while_doing};
use crate::limits::{BLOCK_BYTES, RECOVERY_READS_MAX, SEGMENT_BYTES_MAX, SEGMENTS_MAX};
use crate::message::MessageId;

/// A segment that is part of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Surveyed {
    /// Its number.
    pub segment: u32,
    /// Bytes of its file.
    pub length: u64,
    /// Its header, if that is intact.
    pub header: Option<SegmentHeader>,
    /// How it ended, by the header of the next one.
    pub sealed: Option<Sealed>,
}

/// What a log directory holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The segments that were begun, oldest first.
    pub segments: Vec<Surveyed>,
    /// Segments that have their name and were never begun, or by a write that failed: nothing is in them.
    pub unbegun: Vec<u32>,
    /// Files that are ready to become segments, by the numbers in their names.
    pub spares: Vec<u32>,
    /// Files to be removed: a crash cut their making short, or nobody knows which numbers they had.
    pub unfinished: Vec<PathBuf>,
    /// How the newest segment ended.
    pub end: Option<Sealed>,
    /// The number for the next segment.
    pub next_segment: u32,
    /// Length of the longest segment, in bytes: a message in it may need as much again.
    pub longest: u64,
    /// No message in the log has a greater id; zero: there is none. `None`: only reading all of it would tell.
    pub newest: Option<MessageId>,
    /// The process that wrote the log last had nothing in flight when it ended. True of an empty log.
    pub rested: bool,
    /// What says so, for whatever segment: to be removed before anything is attempted.
    pub rested_names: Vec<PathBuf>,
}

/// Looks at the directory of `files`. `salt` is for what will be written, if nothing there has one yet; `files` knows
/// afterwards which one counts.
pub async fn survey<D: Disk>(files: &Files<D>, salt: u32) -> Result<Survey, RecoveryError> {
    let mut survey = Survey::default();
    let mut found = list(files, &mut survey).await?;
    if found.is_empty() {
        // Numbers begin anew, and each of these may hold the segment that it was when it had such a number: given that
        // name again and not begun yet, it would be read as that segment.
        let spares = std::mem::take(&mut survey.spares);
        survey.unfinished.extend(spares.into_iter().map(|spare| files.spare_path(spare)));
    }
    let salted = find_salt(files, &mut found, salt).await?;
    // Numbers do not go back, even if no segment of those that are there was begun; unless they would soon end.
    let lasting = found.first().filter(|oldest| oldest.segment <= u32::MAX - SEGMENTS_MAX);
    survey.next_segment = lasting.map_or(0, |oldest| oldest.segment);
    for position in 1..found.len() {
        let (earlier, later) = (found[position - 1].segment, found[position]);
        // Only of its own predecessor does a header tell the end: a segment between the two may be missing.
        if later.segment == earlier + 1 {
            found[position - 1].sealed = later.header.and_then(|header| header.before);
        }
    }
    let newest = newest_begun(files, &mut found, &mut survey).await?;
    // The next one counts too: it is begun before any can be reclaimed.
    if let (Some(oldest), Some(newest)) = (found.first(), found.last())
        && newest.segment - oldest.segment >= SEGMENTS_MAX - 1
    {
        return Err(RecoveryError::Apart { path: files.path(newest.segment), oldest: files.path(oldest.segment) });
    }
    survey.longest = found.iter().map(|one| one.length).max().unwrap_or(0);
    match newest {
        None => (survey.newest, survey.rested) = (Some(MessageId::default()), true),
        Some(End { scanned, accepted, floor }) => {
            survey.end = Some(scanned.sealed);
            survey.rested =
                found.last().is_some_and(|newest| survey.rested_names.contains(&files.rested_path(newest.segment)));
            survey.newest = floor.map(|floor| floor.max(accepted));
            survey.next_segment = found.last().map_or(0, |newest| newest.segment + 1);
        }
    }
    if !salted {
        files.set_salt(Salt { value: salt, from: survey.next_segment });
    }
    survey.segments = found;
    Ok(survey)
}

/// Makes the salt of the log known; `false`: no segment has one, and what will be written has `fresh`. What is not a
/// header of this log is taken out of `found`: what it says of its neighbour is not true of this one's.
async fn find_salt<D: Disk>(files: &Files<D>, found: &mut [Surveyed], fresh: u32) -> Result<bool, RecoveryError> {
    let has_salt = |one: &Surveyed, value| one.header.is_some_and(|header| header.salt == Some(value));
    let known = last_salt(found).and_then(|value| Some((value, found.iter().position(|one| has_salt(one, value))?)));
    let Some((value, first)) = known else {
        files.set_salt(Salt { value: fresh, from: u32::MAX });
        return Ok(false);
    };
    for (position, one) in found.iter_mut().enumerate() {
        // A log turns from version 1 to salted ones once.
        one.header = one.header.filter(|header| header.salt.map_or(position < first, |salt| salt == value));
    }
    // Between the last header of version 1 and the first with a salt, only records tell what they were written with.
    let unknown = found[..first].iter().rposition(|one| one.header.is_some()).map_or(0, |last| last + 1);
    let mut from = found[first].segment;
    for one in found[unknown..first].iter().rev() {
        files.set_salt(Salt { value, from: one.segment });
        let mut intact = false;
        reader::scan(files, one, &mut |found| intact |= !matches!(found, Found::Damage(_))).await?;
        if intact {
            from = one.segment;
        }
    }
    files.set_salt(Salt { value, from });
    Ok(true)
}

/// The salt that was begun with last: a file of an earlier log of the same shard may have been put back in place of one
/// of this log's, and must not cost all others. Not the salt that most have: there may come to be fewer of them as
/// segments are reclaimed, and what was acknowledged since the last start must not depend on that.
fn last_salt(found: &[Surveyed]) -> Option<u32> {
    let salted = found.iter().filter_map(|one| one.header).filter(|header| header.salt.is_some());
    salted.max_by_key(|header| header.begun)?.salt
}

/// The segments in the directory with their headers and lengths, in order.
async fn list<D: Disk>(files: &Files<D>, survey: &mut Survey) -> Result<Vec<Surveyed>, RecoveryError> {
    let names = files.disk().list(files.dir()).await.map_err(while_doing("listing", files.dir()))?;
    let mut segments = Vec::new();
    for name in names {
        if let Some(segment) = files::segment_of_name(&name) {
            segments.push(segment);
        } else if let Some(spare) = files::spare_of_name(&name) {
            survey.spares.push(spare);
        } else if files::rested_of_name(&name).is_some() {
            survey.rested_names.push(files.dir().join(name));
        } else if name.ends_with(UNFINISHED) {
            survey.unfinished.push(files.dir().join(name));
        }
    }
    segments.sort_unstable();
    survey.spares.sort_unstable();
    let looks = segments.into_iter().map(|segment| async move { look(files, segment).await.map(|(one, _)| one) });
    stream::iter(looks).buffered(RECOVERY_READS_MAX).try_collect().await
}

/// A segment by itself, and its first block: while that stays as it is, nothing else of the segment was taken for another.
pub async fn look<D: Disk>(files: &Files<D>, segment: u32) -> Result<(Surveyed, AlignedBuf), RecoveryError> {
    let path = files.path(segment);
    let file = files.get(segment).await?;
    let length = files.disk().length(&file).await.map_err(while_doing("asking the length of", &path))?;
    if length > SEGMENT_BYTES_MAX {
        return Err(RecoveryError::TooLong { path, bytes: length });
    }
    let buffer = AlignedBuf::with_capacity(BLOCK_BYTES);
    let (result, block) = files.disk().read_at(&file, buffer, 0).await;
    result.map_err(while_doing("reading the header of", &path))?;
    let header = match SegmentHeader::read(&block, files.shard(), segment) {
        SegmentHeaderRead::Known(header) => Some(header),
        SegmentHeaderRead::OtherVersion(found) => return Err(RecoveryError::Version { path, found }),
        SegmentHeaderRead::Absent => None,
    };
    Ok((Surveyed { segment, length, header, sealed: None }, block))
}

/// What the end of a log says.
struct End {
    scanned: Scanned,
    /// The greatest id of a message in the newest segment.
    accepted: MessageId,
    /// No message before has a greater one.
    floor: Option<MessageId>,
}

/// Finds the newest segment that was begun, and takes those behind it out of `found`: they were made ready, or begun
/// by a write that failed. One without a header counts as begun if anything intact stands in it.
async fn newest_begun<D: Disk>(
    files: &Files<D>,
    found: &mut Vec<Surveyed>,
    survey: &mut Survey,
) -> Result<Option<End>, RecoveryError> {
    while let Some(newest) = found.last().copied() {
        let (mut accepted, mut intact) = (MessageId::default(), false);
        let scanned = reader::scan(files, &newest, &mut |found| {
            intact |= !matches!(found, Found::Damage(_));
            if let Found::Record { header, .. } = found
                && header.kind == Kind::Accepted
            {
                accepted = accepted.max(header.id);
            }
        })
        .await?;
        if intact || newest.header.is_some() || scanned.sealed.batches > 0 {
            return Ok(Some(End { scanned, accepted, floor: newest.header.and_then(|header| header.floor) }));
        }
        survey.unbegun.push(newest.segment);
        found.pop();
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::disk::portable::PortableDisk;
    use crate::wal::recovery;

    #[test]
    fn spares_of_a_log_without_segments_are_removed_and_else_kept() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let files = Files::new(PortableDisk, dir.path().to_owned(), 0);
            let (spare, segment) = (files.spare_path(7), files.path(3));
            let put =
                async |path: &PathBuf| files.disk().write_aside(path, Bytes::from(vec![0; 2 * BLOCK_BYTES])).await;
            let look = async || {
                let survey = survey(&files, 1).await.expect("a directory");
                recovery::clean(&files, &survey).await.expect("a temporary directory");
                (survey.spares, survey.next_segment)
            };
            put(&spare).await.expect("a temporary directory");
            assert_eq!(look().await, (vec![], 0), "it may have been segment 0 once");
            assert!(!spare.exists());
            put(&spare).await.expect("a temporary directory");
            put(&segment).await.expect("a temporary directory");
            assert_eq!(look().await, (vec![7], 3), "it can only have been an earlier one");
            assert!(spare.exists());
        });
    }
}
