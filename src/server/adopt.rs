//! Takes over the log of a shard that no core owns any more, because there are fewer cores than before.
//!
//! Its live messages are written again to the adopter's own log; only when all of them are durable there does the
//! orphan's directory go, in one rename. Nothing is delivered before that, so a crash at any point leaves each message
//! in one of the two logs or in both, undelivered, and the next start does it again, skipping what is known.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::disk::{Disk, DiskError, while_doing};
use crate::limits::{ADOPT_READS_MAX, SPACE_POLL_MS};
use crate::message::MessageId;
use crate::shard::Shard;
use crate::shard::dead_letters::DeadLetters;
use crate::shard::state::State;
use crate::wal::files::{Files, ReadError};
use crate::wal::index::{Index, Location, RecordStart};
use crate::wal::log::{Log, Need};
use crate::wal::payload::{Payload, Progress};
use crate::wal::record::{HEADER_BYTES, Kind};
use crate::wal::recovery::{self, RecoveryError, Visit};
use crate::wal::survey;
use crate::wal::ticket::Ticket;

/// Suffix of a directory whose messages all stand elsewhere; it is removed at the next opportunity.
const ADOPTED: &str = ".adopted";

/// Why an orphan cannot be adopted. Its directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It cannot be recovered.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// A message of it cannot be read back.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A message of it does not fit the adopter's segments.
    #[error("{} holds a message of {bytes} bytes: set SEGMENT_BYTES to at least what it was when that was accepted", path.display())]
    TooLong {
        /// The orphan.
        path: PathBuf,
        /// Bytes of its record.
        bytes: usize,
    },
    /// The adopter's log cannot be written.
    #[error("the messages of {} could not be written to this shard's log", path.display())]
    Unwritten {
        /// The orphan.
        path: PathBuf,
    },
}

/// An orphaned directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Where it is.
    pub dir: PathBuf,
    /// The number of the shard that wrote it.
    pub shard: u32,
}

/// The orphans among the shard directories in `root` that fall to core `shard` of `shards`, each to one core; removes
/// what earlier adoptions of these left. Another core's are not touched: it may be removing them right now.
pub async fn orphans<D: Disk>(disk: &D, root: &Path, shard: u32, shards: u32) -> Result<Vec<Orphan>, DiskError> {
    let mut orphans = Vec::new();
    for name in disk.list(root).await.map_err(while_doing("listing", root))? {
        let dir = root.join(&name);
        let adopted = name.strip_suffix(ADOPTED);
        let number = adopted.unwrap_or(&name).strip_prefix("shard-").and_then(|number| number.parse::<u32>().ok());
        let Some(number) = number.filter(|number| number % shards == shard) else { continue };
        if adopted.is_some() {
            disk.remove(&dir).await.map_err(while_doing("removing", &dir))?;
        } else if number >= shards {
            orphans.push(Orphan { dir, shard: number });
        }
    }
    orphans.sort_by_key(|orphan| orphan.shard);
    Ok(orphans)
}

/// Moves the messages of an orphaned transaction log into `shard`; returns how many.
pub async fn messages<D: Disk>(
    disk: &D,
    orphan: &Orphan,
    corrupt: &Path,
    shard: &Shard<D>,
    mut theirs: State,
) -> Result<u64, AdoptError> {
    let files = Files::new(disk.clone(), orphan.dir.clone(), orphan.shard);
    let survey = survey::survey(&files, 0).await?;
    // Some of it may be delivered before all of it is taken over; then what is left may have been delivered.
    recovery::clean(&files, &survey).await?;
    theirs.add_segments(&survey);
    let fold = &mut |Visit { id, payload, at }: Visit<'_>| theirs.recover(id, &payload, at);
    let replayed = recovery::replay(&files, &survey, Some(corrupt), fold).await?;
    let rested = survey.rested && replayed.damaged == 0;
    let mut live: Vec<_> = theirs.index().iter().filter(|(_, id)| !shard.knows(*id)).collect();
    live.sort_unstable_by_key(|(_, id)| *id);
    let adopted = live.len() as u64;
    let reads = live.into_iter().map(|(slot, id)| {
        let (files, at, retry) = (&files, theirs.index().location(slot), theirs.index().retry_location(slot));
        async move {
            let memory = shard.memory().reading(at.bytes as usize).await;
            let (record, progress) = (files.read_record(at).await?, read_progress(files, retry).await?);
            Ok::<_, AdoptError>((id, record, progress, memory))
        }
    });
    let mut reads = stream::iter(reads).buffered(ADOPT_READS_MAX);
    let mut written = Vec::new();
    while let Some((id, record, progress, _memory)) = reads.try_next().await? {
        let Ok(Payload::Accepted(mut message)) = Payload::decode(Kind::Accepted, &record[HEADER_BYTES..]) else {
            panic!("a record that was applied decodes again")
        };
        if let Some(progress) = progress {
            message.progress = progress;
        }
        message.again = true;
        // Like every recovered message: it may have been in flight when its shard died, unless that came to rest.
        message.progress.maybe_duplicate |= !rested;
        let payload = Payload::Accepted(message);
        check_length(&payload, shard.log(), orphan)?;
        until_room(shard, shard.log(), Need::Outcome, payload.bytes()).await;
        written.push(shard.log().append(id, &payload));
        if shard.log().is_congested() {
            settle(&mut written, orphan).await?;
        }
    }
    settle(&mut written, orphan).await?;
    release(disk, orphan).await?;
    Ok(adopted)
}

/// Moves the dead letters of an orphaned dead letter log into those of `shard`; returns how many.
pub async fn dead_letters<D: Disk>(
    disk: &D,
    orphan: &Orphan,
    corrupt: &Path,
    shard: &Shard<D>,
) -> Result<u64, AdoptError> {
    let dead_letters = shard.dead_letters();
    let files = Files::new(disk.clone(), orphan.dir.clone(), orphan.shard);
    let mut theirs = Index::default();
    let survey = survey::survey(&files, 0).await?;
    theirs.add_segments(&survey);
    let fold = &mut |visit: Visit<'_>| DeadLetters::<D>::fold(&mut theirs, &visit);
    recovery::replay(&files, &survey, Some(corrupt), fold).await?;
    let mut kept: Vec<(MessageId, Location)> = theirs.iter().map(|(slot, id)| (id, theirs.location(slot))).collect();
    kept.sort_unstable_by_key(|(id, _)| *id);
    let (mut adopted, mut written) = (0, Vec::new());
    for (id, at) in kept {
        let record: Bytes = files.read_record(at).await?;
        let Ok(Payload::DeadLetter(letter, death)) = Payload::decode(Kind::DeadLetter, &record[HEADER_BYTES..]) else {
            panic!("a record that was applied decodes again")
        };
        // An adoption that was cut short has left it here already; there it may have been replayed and buried since.
        // One that cannot be read here is written again.
        if dead_letters.find(id).await.ok().flatten().is_some_and(|ours| ours.replays >= letter.replays) {
            continue;
        }
        adopted += 1;
        let payload = Payload::DeadLetter(letter, death);
        check_length(&payload, dead_letters.log(), orphan)?;
        until_room(shard, dead_letters.log(), Need::Move, payload.bytes()).await;
        written.push(dead_letters.log().append(id, &payload));
        if dead_letters.log().is_congested() {
            settle(&mut written, orphan).await?;
        }
    }
    settle(&mut written, orphan).await?;
    release(disk, orphan).await?;
    Ok(adopted)
}

/// Waits for space: what is taken over must leave the adopter's own messages theirs. Only deliveries make room, so they
/// begin; should this start be cut short, some of what they deliver comes again.
async fn until_room<D: Disk>(shard: &Shard<D>, log: &Log<D>, need: Need, bytes: usize) {
    if !log.has_room(need, bytes) {
        shard.settle();
    }
    while !log.has_room(need, bytes) {
        tokio::time::sleep(Duration::from_millis(SPACE_POLL_MS)).await;
    }
}

fn check_length<D: Disk>(payload: &Payload<'_>, log: &Log<D>, orphan: &Orphan) -> Result<(), AdoptError> {
    let bytes = payload.bytes();
    if log.holds(bytes) { Ok(()) } else { Err(AdoptError::TooLong { path: orphan.dir.clone(), bytes }) }
}

async fn read_progress<D: Disk>(files: &Files<D>, at: Option<RecordStart>) -> Result<Option<Progress>, AdoptError> {
    let Some(at) = at else { return Ok(None) };
    let record = files.read_record_at(at).await?;
    Ok(Some(Progress::of_applied_retry(&record[HEADER_BYTES..])))
}

/// Waits until everything appended so far is durable. Each ticket counts: a batch can be refused and the next one not.
async fn settle(written: &mut Vec<Ticket>, orphan: &Orphan) -> Result<(), AdoptError> {
    for ticket in written.drain(..) {
        ticket.await.map_err(|_| AdoptError::Unwritten { path: orphan.dir.clone() })?;
    }
    Ok(())
}

/// Lets go of an orphan in one step; removing its files may take longer and may be interrupted.
async fn release<D: Disk>(disk: &D, orphan: &Orphan) -> Result<(), DiskError> {
    let mut adopted = orphan.dir.clone().into_os_string();
    adopted.push(ADOPTED);
    let adopted = PathBuf::from(adopted);
    disk.rename(&orphan.dir, &adopted).await.map_err(while_doing("renaming", &orphan.dir))?;
    disk.remove(&adopted).await.map_err(while_doing("removing", &adopted))
}

/// The transaction log directory of a shard in `root`.
pub fn shard_dir(root: &Path, shard: u32) -> Rc<Path> {
    root.join(format!("shard-{shard:02}")).into()
}
