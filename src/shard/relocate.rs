//! One old message never pins a log: survivors of the oldest segment are written again at its end, so that the segment
//! can be reclaimed. The same for both logs of a shard.
//!
//! Segments go oldest first and no other way, because an outcome must not vanish before the message that it ended. The
//! size of the log stays below twice the live bytes and a constant, whatever lives for ever: relocation begins at one
//! and a half, and writes two bytes for each that is written besides, so that it has been once around before the log
//! has grown by another half. When space is short it goes as fast as the disk and as far as it pays.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::pace::{self, Pace, Pass, Size};
use crate::disk::{Disk, DiskError, while_doing};
use crate::limits::{BLOCK_BYTES, RELOCATE_READS_MAX, RELOCATE_RETRY_MS};
use crate::message::MessageId;
use crate::time::monotonic_now;
use crate::wal::files::{Files, ReadError};
use crate::wal::index::{Index, Location};
use crate::wal::log::{Log, Need};
use crate::wal::reader;
use crate::wal::record::{HEADER_BYTES, Kind};
use crate::wal::recovery;
use crate::wal::scan::Found;
use crate::wal::survey::Surveyed;

/// A live message met in the segment that is being emptied.
pub(super) struct Survivor {
    /// Whose.
    pub id: MessageId,
    /// Where it stood when it was met.
    pub at: Location,
    /// Its record's payload.
    pub payload: Bytes,
}

/// A log whose survivors can be written again: of messages, or of dead letters.
pub(super) trait Relocated<D: Disk> {
    /// What a message's own record is.
    const KIND: Kind;

    /// The log.
    fn log(&self) -> &Log<D>;

    /// Whether all of the log is known, and may be reclaimed.
    fn may_shrink(&self) -> bool;

    /// Asks the index.
    fn look<T>(&self, look: impl FnOnce(&Index) -> T) -> T;

    /// Whether the record at `at` is a live message's own, and may be written again elsewhere.
    fn is_relocatable(&self, id: MessageId, at: Location) -> bool;

    /// Writes survivors again, those that still may be, and waits until they are durable; returns how many bytes that took.
    async fn move_all(&self, survivors: Vec<Survivor>) -> Result<usize, DiskError>;

    /// Deals with a live message whose record is damaged.
    async fn lose(&self, id: MessageId);

    /// Notes that a segment is being emptied, or that none is.
    fn note_relocating(&self, relocating: bool);

    /// Resolves when there may be something to relocate.
    async fn shrink_wanted(&self);

    /// Bytes of all batches written.
    fn written_bytes(&self) -> u64;

    /// Bytes that the log may still grow by.
    fn room_bytes(&self) -> u64;
}

/// Keeps a log small for as long as the shard lives.
pub(super) async fn run<D: Disk, L: Relocated<D>>(relocated: &L) {
    let (mut pace, mut pass) = (Pace::new(monotonic_now()), Pass::default());
    loop {
        let candidate = candidate(relocated, &mut pass);
        relocated.note_relocating(candidate.is_some());
        let Some(segment) = candidate else {
            // Lack of space is not told, so it is looked for every now and then.
            let _ = tokio::time::timeout(Duration::from_secs(1), relocated.shrink_wanted()).await;
            continue;
        };
        if let Err(error) = relocate(relocated, segment, &mut pace).await {
            let shard = relocated.log().files().shard();
            tracing::warn!(shard, segment, %error, cause = %error.source, "a segment could not be emptied and is tried again");
            tokio::time::sleep(Duration::from_millis(RELOCATE_RETRY_MS)).await;
        }
    }
}

/// The oldest segment, if the log is to become smaller and can.
fn candidate<D: Disk, L: Relocated<D>>(relocated: &L, pass: &mut Pass) -> Option<u32> {
    if !relocated.may_shrink() {
        return None;
    }
    let log = relocated.log();
    let (segment, usage, live) =
        relocated.look(|index| (index.first_segment(), index.usage(index.first_segment()), index.live_bytes()));
    let survivors_bytes = usage.filter(|usage| usage.live > 0)?.live_bytes as usize;
    if segment >= log.active_segment() {
        return None;
    }
    let spare = log.spare();
    let used = spare.log_bytes().saturating_sub(spare.spare_bytes());
    let size = Size { used, live, segment: log.segment_bytes() };
    let wanted = pass.is_wanted(size, spare.is_starved());
    // A record may grow by its history, and each batch by its padding.
    let room = log.has_room(Need::Move, survivors_bytes + survivors_bytes / 16 + BLOCK_BYTES);
    (wanted && room).then(|| {
        pass.enter(segment, log.active_segment(), size);
        segment
    })
}

async fn relocate<D: Disk, L: Relocated<D>>(relocated: &L, segment: u32, pace: &mut Pace) -> Result<(), DiskError> {
    let files = relocated.log().files();
    let (path, file) = (files.path(segment), files.get(segment).await?);
    let length = files.disk().length(&file).await.map_err(while_doing("asking the length of", &path))?;
    let one = Surveyed { segment, length, header: None, sealed: None };
    let mut reader = reader::reader(files, std::slice::from_ref(&one), RELOCATE_READS_MAX.min(files.reads_max()));
    let mut reading = reader.begin(&one);
    loop {
        let mut survivors = Vec::new();
        let mut met = |found: Found<'_>| survivors.extend(survivor(relocated, segment, &found));
        let done = reader.advance(&mut reading, &mut met).await?;
        let moved_bytes = relocated.move_all(survivors).await?;
        pause(relocated, pace, moved_bytes).await;
        if done.is_some() {
            break;
        }
    }
    move_rest(relocated, segment).await
}

fn survivor<D: Disk, L: Relocated<D>>(relocated: &L, segment: u32, found: &Found<'_>) -> Option<Survivor> {
    let Found::Record { offset, header, payload } = found else { return None };
    let bytes = u32::try_from(header.bytes).expect("segments are bounded by SEGMENT_BYTES_MAX");
    let at = Location { segment, offset: *offset, bytes };
    let survives = header.kind == L::KIND && relocated.is_relocatable(header.id, at);
    survives.then(|| Survivor { id: header.id, at, payload: Bytes::copy_from_slice(payload) })
}

/// Waits for what was about to end when it was met, and deals with what was not met because it is damaged.
async fn move_rest<D: Disk, L: Relocated<D>>(relocated: &L, segment: u32) -> Result<(), DiskError> {
    loop {
        let mut left: Vec<MessageId> = relocated.look(|index| {
            let live = index.usage(segment).is_some_and(|usage| usage.live > 0);
            if live { index.live_in(segment).into_iter().map(|slot| index.id(slot)).collect() } else { Vec::new() }
        });
        left.sort_unstable();
        if left.is_empty() {
            return Ok(());
        }
        for id in left {
            move_by_id(relocated, id, segment).await?;
        }
        tokio::time::sleep(Duration::from_millis(RELOCATE_RETRY_MS)).await;
    }
}

async fn move_by_id<D: Disk, L: Relocated<D>>(relocated: &L, id: MessageId, segment: u32) -> Result<(), DiskError> {
    let place = relocated.look(|index| index.find(id).map(|slot| index.location(slot)));
    let Some(at) = place.filter(|at| at.segment == segment && relocated.is_relocatable(id, *at)) else { return Ok(()) };
    match relocated.log().files().read_record(at).await {
        Ok(record) => {
            let survivor = Survivor { id, at, payload: record.slice(HEADER_BYTES..) };
            relocated.move_all(vec![survivor]).await.map(drop)
        }
        Err(ReadError::Disk(error)) => Err(error),
        Err(ReadError::Damaged { .. }) => {
            relocated.lose(id).await;
            Ok(())
        }
    }
}

/// Copies the record at `at` aside if it is damaged; returns where to. `None`: it can be read after all, or not be copied,
/// and is kept.
pub(super) async fn set_aside_damaged<D: Disk>(
    files: &Files<D>,
    corrupt: &Path,
    id: MessageId,
    at: Location,
) -> Option<PathBuf> {
    // It may have been the reading that failed.
    if files.read_record(at).await.is_ok() {
        return None;
    }
    let range = at.offset as usize..at.offset as usize + at.bytes as usize;
    match recovery::set_aside(files, corrupt, at.segment, range).await {
        Ok(aside) => Some(aside),
        Err(error) => {
            let (path, shard) = (files.path(at.segment), files.shard());
            tracing::error!(%id, shard, path = %path.display(), %error, cause = %error.source, "a damaged record could not be set aside and is kept");
            None
        }
    }
}

async fn pause<D: Disk, L: Relocated<D>>(relocated: &L, pace: &mut Pace, moved_bytes: usize) {
    pace.spend(moved_bytes);
    while !relocated.log().spare().is_starved() {
        let ratio = pace::ratio(relocated.look(Index::live_bytes), relocated.room_bytes());
        let Some(wait) = pace.wait(monotonic_now(), relocated.written_bytes(), ratio) else { return };
        tokio::time::sleep(wait).await;
    }
}
