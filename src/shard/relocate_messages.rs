//! Live messages written again at the end of the transaction log, each with what was tried so far.

use std::rc::Rc;

use futures_util::stream::{self, StreamExt};

use super::Shard;
use super::relocate::{self, Relocated, Survivor};
use crate::disk::{Disk, DiskError};
use crate::limits::ADOPT_READS_MAX;
use crate::message::{MessageId, Origin, Slot};
use crate::wal::files::ReadError;
use crate::wal::index::{Index, Location, RecordStart};
use crate::wal::log::Log;
use crate::wal::payload::{Payload, Progress};
use crate::wal::record::Kind;
use crate::wal::ticket::Ticket;

impl<D: Disk> Relocated<D> for Shard<D> {
    const KIND: Kind = Kind::Accepted;

    fn log(&self) -> &Log<D> {
        &self.log
    }

    fn may_shrink(&self) -> bool {
        !self.settings.keep_all && self.is_recovered()
    }

    fn look<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(self.state.borrow().index())
    }

    fn is_relocatable(&self, id: MessageId, at: Location) -> bool {
        self.state.borrow().relocatable(id, at.start()).is_some()
    }

    async fn move_all(&self, survivors: Vec<Survivor>) -> Result<usize, DiskError> {
        let reads = survivors.into_iter().map(|survivor| async {
            let retry = self.retry_of(&survivor);
            let slot = self.state.borrow().index().find(survivor.id);
            let progress = match slot {
                Some(slot) => self.read_progress(slot, retry, || self.is_in_place(&survivor, retry)).await,
                // It has ended, and is not moved.
                None => Ok(None),
            };
            (survivor, retry, progress)
        });
        let mut reads = stream::iter(reads).buffered(ADOPT_READS_MAX);
        let (mut tickets, mut bytes) = (Vec::new(), 0);
        while let Some(read) = reads.next().await {
            match read {
                (survivor, retry, Ok(progress)) => {
                    bytes += survivor.payload.len();
                    tickets.extend(self.move_one(&survivor, retry, progress));
                }
                (.., Err(ReadError::Disk(error))) => return Err(error),
                // It has moved on.
                (.., Err(ReadError::Damaged { .. })) => {}
            }
        }
        for ticket in tickets {
            // What is written again is never refused, only written once more.
            let _ = ticket.await;
        }
        Ok(bytes)
    }

    async fn lose(&self, id: MessageId) {
        // One that is being attempted is left to its worker, and looked at again.
        self.lose_message(id, None).await;
    }

    fn note_relocating(&self, relocating: bool) {
        self.relocating.set(relocating);
    }

    async fn shrink_wanted(&self) {
        self.shrink.notified().await;
    }

    fn written_bytes(&self) -> u64 {
        self.written_bytes.get()
    }

    fn room_bytes(&self) -> u64 {
        self.log_bytes_max.get().saturating_sub(self.log.spare().log_bytes())
    }
}

impl<D: Disk> Shard<D> {
    fn retry_of(&self, survivor: &Survivor) -> Option<RecordStart> {
        let state = self.state.borrow();
        let slot = state.relocatable(survivor.id, survivor.at.start())?;
        state.index().retry_location(slot)
    }

    fn is_in_place(&self, survivor: &Survivor, retry: Option<RecordStart>) -> bool {
        let state = self.state.borrow();
        let slot = state.relocatable(survivor.id, survivor.at.start());
        slot.is_some_and(|slot| state.index().retry_location(slot) == retry)
    }

    /// Appends a survivor with what was tried so far, if that is still so: it may have ended, or an outcome may be on its
    /// way.
    fn move_one(&self, survivor: &Survivor, retry: Option<RecordStart>, progress: Option<Progress>) -> Option<Ticket> {
        if !self.is_in_place(survivor, retry) {
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

    fn place_of(&self, id: MessageId) -> Option<(Location, Option<RecordStart>)> {
        let state = self.state.borrow();
        state.places(state.index().find(id)?)
    }

    fn origin_of(&self, id: MessageId) -> Option<Rc<Origin>> {
        let state = self.state.borrow();
        Some(Rc::clone(state.origin(state.index().find(id)?)))
    }

    /// Ends a live message whose record is damaged, once that has been set aside; `false`: it is not, or could not
    /// be, or is being attempted. `ordered`: its slot, if the caller attempts it.
    pub(super) async fn lose_message(&self, id: MessageId, ordered: Option<Slot>) -> bool {
        let Some(places) = self.place_of(id) else { return false };
        let files = self.log.files();
        let aside = relocate::set_aside_damaged(files, &self.settings.corrupt, id, places.0).await;
        let Some(aside) = aside else { return false };
        let Some(origin) = self.origin_of(id) else { return false };
        if self.place_of(id) != Some(places) || !self.state.borrow_mut().take_from_schedule(id, ordered) {
            return false;
        }
        let (aside, shard) = (aside.display(), self.number());
        tracing::error!(%id, %origin, shard, %aside, "a message is damaged in the log: it is set aside and given up");
        self.metrics.corrupt_record();
        self.log.append(id, &Payload::Lost { at: self.settings.clock.now() });
        true
    }
}
