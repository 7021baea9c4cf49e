//! One old message never pins the log: survivors of the oldest segment are written again at its end, so that the
//! segment can be reclaimed.
//!
//! Segments go oldest first and no other way, because an outcome must not vanish before the message that it ended. The
//! size of the log stays below twice the live bytes and a constant, whatever lives for ever: relocation begins at one
//! and a half, and writes two bytes for each that is written besides, so that it has been once around before the log
//! has grown by another half. When space is short it goes as fast as the disk and as far as it pays.

use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use super::Shard;
use super::pace::{self, Pace, Pass, Size};
use crate::disk::{Disk, DiskError, while_doing};
use crate::limits::{ADOPT_READS_MAX, BLOCK_BYTES, RELOCATE_RETRY_MS};
use crate::message::MessageId;
use crate::time::monotonic_now;
use crate::wal::files::ReadError;
use crate::wal::index::{Location, RecordStart};
use crate::wal::log::Need;
use crate::wal::payload::{Payload, Progress};
use crate::wal::reader;
use crate::wal::record::{HEADER_BYTES, Kind};
use crate::wal::recovery;
use crate::wal::scan::Found;
use crate::wal::survey::Surveyed;
use crate::wal::ticket::Ticket;

/// A live message met in the segment that is being emptied.
struct Survivor {
    id: MessageId,
    at: RecordStart,
    payload: Bytes,
    retry: Option<RecordStart>,
}

impl<D: Disk> Shard<D> {
    /// Keeps the log small for as long as the shard lives.
    pub async fn relocate_loop(&self) {
        let (mut pace, mut pass) = (Pace::new(monotonic_now()), Pass::default());
        loop {
            let candidate = self.candidate(&mut pass);
            self.relocating.set(candidate.is_some());
            let Some(segment) = candidate else {
                // Lack of space is not told, so it is looked for every now and then.
                let _ = tokio::time::timeout(Duration::from_secs(1), self.shrink.notified()).await;
                continue;
            };
            if let Err(error) = self.relocate(segment, &mut pace).await {
                tracing::warn!(segment, %error, cause = %error.source, "a segment could not be emptied and is tried again");
                tokio::time::sleep(Duration::from_millis(RELOCATE_RETRY_MS)).await;
            }
        }
    }

    /// The oldest segment, if the log is to become smaller and can.
    fn candidate(&self, pass: &mut Pass) -> Option<u32> {
        if self.settings.keep_all || !self.is_recovered() {
            return None;
        }
        let state = self.state.borrow();
        let index = state.index();
        let segment = index.first_segment();
        let survivors_bytes = index.usage(segment).filter(|usage| usage.live > 0)?.live_bytes as usize;
        if segment >= self.log.active_segment() {
            return None;
        }
        let spare = self.log.spare();
        let used = spare.log_bytes().saturating_sub(spare.spare_bytes());
        let size = Size { used, live: index.live_bytes(), segment: self.log.segment_bytes() };
        let wanted = pass.is_wanted(size, spare.is_starved());
        // A record may grow by its history, and each batch by its padding.
        let room = self.log.has_room(Need::Move, survivors_bytes + survivors_bytes / 16 + BLOCK_BYTES);
        (wanted && room).then(|| {
            pass.enter(segment, self.log.active_segment(), size);
            segment
        })
    }

    async fn relocate(&self, segment: u32, pace: &mut Pace) -> Result<(), DiskError> {
        let files = self.log.files();
        let (path, file) = (files.path(segment), files.get(segment).await?);
        let length = files.disk().length(&file).await.map_err(while_doing("asking the length of", &path))?;
        let one = Surveyed { segment, length, header: None, sealed: None };
        let mut reader = reader::reader(files, std::slice::from_ref(&one));
        let mut reading = reader.begin(&one);
        loop {
            let mut survivors = Vec::new();
            let done =
                reader.advance(&mut reading, &mut |found| survivors.extend(self.survivor(segment, &found))).await?;
            let moved_bytes = self.move_all(survivors).await?;
            self.pause(pace, moved_bytes).await;
            if done.is_some() {
                break;
            }
        }
        self.move_rest(segment).await
    }

    fn survivor(&self, segment: u32, found: &Found<'_>) -> Option<Survivor> {
        let Found::Record { offset, header, payload } = found else { return None };
        if header.kind != Kind::Accepted {
            return None;
        }
        let at = RecordStart { segment, offset: *offset };
        let state = self.state.borrow();
        let slot = state.relocatable(header.id, at)?;
        let retry = state.index().retry_location(slot);
        Some(Survivor { id: header.id, at, payload: Bytes::copy_from_slice(payload), retry })
    }

    /// Writes survivors again and waits until they are durable; returns how many bytes that took.
    async fn move_all(&self, survivors: Vec<Survivor>) -> Result<usize, DiskError> {
        let reads = survivors.into_iter().map(|survivor| async {
            let progress = self.read_progress(survivor.retry, || self.is_in_place(&survivor)).await;
            (survivor, progress)
        });
        let mut reads = stream::iter(reads).buffered(ADOPT_READS_MAX);
        let (mut tickets, mut bytes) = (Vec::new(), 0);
        while let Some(read) = reads.next().await {
            match read {
                (survivor, Ok(progress)) => {
                    bytes += survivor.payload.len();
                    tickets.extend(self.move_one(&survivor, progress));
                }
                (_, Err(ReadError::Disk(error))) => return Err(error),
                // It has moved on.
                (_, Err(ReadError::Damaged { .. })) => {}
            }
        }
        for ticket in tickets {
            // What is written again is never refused, only written once more.
            let _ = ticket.await;
        }
        Ok(bytes)
    }

    fn is_in_place(&self, survivor: &Survivor) -> bool {
        let state = self.state.borrow();
        let slot = state.relocatable(survivor.id, survivor.at);
        slot.is_some_and(|slot| state.index().retry_location(slot) == survivor.retry)
    }

    /// Appends a survivor with what was tried so far, if that is still so: it may have ended, or an outcome may be on its
    /// way.
    fn move_one(&self, survivor: &Survivor, progress: Option<Progress>) -> Option<Ticket> {
        if !self.is_in_place(survivor) {
            return None;
        }
        let Ok(Payload::Accepted(mut message)) = Payload::decode(Kind::Accepted, &survivor.payload) else {
            panic!("a record that was applied decodes again")
        };
        if let Some(progress) = progress {
            message.progress = progress;
        }
        message.again = true;
        Some(self.log.append(survivor.id, &Payload::Accepted(message)))
    }

    /// Waits for what was about to end when it was met, and deals with what was not met because it is damaged.
    async fn move_rest(&self, segment: u32) -> Result<(), DiskError> {
        loop {
            let mut left: Vec<MessageId> = {
                let state = self.state.borrow();
                let index = state.index();
                let live = index.usage(segment).is_some_and(|usage| usage.live > 0);
                if live { index.live_in(segment).into_iter().map(|slot| index.id(slot)).collect() } else { Vec::new() }
            };
            left.sort_unstable();
            if left.is_empty() {
                return Ok(());
            }
            for id in left {
                self.move_by_id(id, segment).await?;
            }
            tokio::time::sleep(Duration::from_millis(RELOCATE_RETRY_MS)).await;
        }
    }

    async fn move_by_id(&self, id: MessageId, segment: u32) -> Result<(), DiskError> {
        let Some((at, retry)) = self.place_of(id).filter(|(at, _)| at.segment == segment) else { return Ok(()) };
        if self.state.borrow().relocatable(id, at.start()).is_none() {
            return Ok(());
        }
        match self.log.files().read_record(at).await {
            Ok(record) => {
                let survivor = Survivor { id, at: at.start(), payload: record.slice(HEADER_BYTES..), retry };
                self.move_all(vec![survivor]).await.map(drop)
            }
            Err(ReadError::Disk(error)) => Err(error),
            Err(ReadError::Damaged { .. }) => {
                self.lose(id).await;
                Ok(())
            }
        }
    }

    fn place_of(&self, id: MessageId) -> Option<(Location, Option<RecordStart>)> {
        let state = self.state.borrow();
        let slot = state.index().find(id)?;
        Some((state.index().location(slot), state.index().retry_location(slot)))
    }

    /// Ends a live message whose record is damaged, once that has been set aside; `false`: it is not, or could not be.
    pub(super) async fn lose(&self, id: MessageId) -> bool {
        let Some(places) = self.place_of(id) else { return false };
        let (files, at) = (self.log.files(), places.0);
        // It may have been the reading that failed.
        if files.read_record(at).await.is_ok() {
            return false;
        }
        let range = at.offset as usize..at.offset as usize + at.bytes as usize;
        let aside = match recovery::set_aside(files, &self.settings.corrupt, at.segment, range).await {
            Ok(aside) => aside,
            Err(error) => {
                tracing::error!(%id, %error, cause = %error.source, "a damaged message could not be set aside and is kept");
                return false;
            }
        };
        if self.place_of(id) != Some(places) {
            return false;
        }
        tracing::error!(%id, aside = %aside.display(), "a message is damaged in the log: it is set aside and given up");
        self.metrics.corrupt_record();
        self.state.borrow_mut().conclude(id);
        self.log.append(id, &Payload::Lost { at: self.settings.clock.now() });
        true
    }

    async fn pause(&self, pace: &mut Pace, moved_bytes: usize) {
        pace.spend(moved_bytes);
        while !self.log.spare().is_starved() {
            let room = self.log_bytes_max.get().saturating_sub(self.log.spare().log_bytes());
            let ratio = pace::ratio(self.state.borrow().index().live_bytes(), room);
            let Some(wait) = pace.wait(monotonic_now(), self.written_bytes.get(), ratio) else { return };
            tokio::time::sleep(wait).await;
        }
    }
}
