//! Dead letters written again at the end of their log, as they are.

use super::Shard;
use super::relocate::{self, Relocated, Survivor};
use crate::disk::{Disk, DiskError};
use crate::message::MessageId;
use crate::wal::index::{Index, Location};
use crate::wal::log::Log;
use crate::wal::payload::Payload;
use crate::wal::record::Kind;

/// The dead letters of a shard, to be relocated.
pub(super) struct Letters<'a, D: Disk>(pub &'a Shard<D>);

impl<D: Disk> Relocated<D> for Letters<'_, D> {
    const KIND: Kind = Kind::DeadLetter;

    fn log(&self) -> &Log<D> {
        self.0.dead_letters.log()
    }

    fn may_shrink(&self) -> bool {
        !self.0.settings.keep_all && self.0.is_recovered()
    }

    fn look<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        self.0.dead_letters.look(look)
    }

    fn is_relocatable(&self, id: MessageId, at: Location) -> bool {
        self.0.dead_letters.slot_at(id, at).is_some()
    }

    async fn move_all(&self, survivors: Vec<Survivor>) -> Result<usize, DiskError> {
        let (mut tickets, mut bytes) = (Vec::new(), 0);
        for survivor in survivors.iter().filter(|survivor| self.is_relocatable(survivor.id, survivor.at)) {
            bytes += survivor.payload.len();
            let letter =
                Payload::decode(Kind::DeadLetter, &survivor.payload).expect("it was decoded when it was applied");
            tickets.push(self.log().append(survivor.id, &letter));
        }
        for ticket in tickets {
            // A letter is never refused.
            let _ = ticket.await;
        }
        Ok(bytes)
    }

    async fn lose(&self, id: MessageId) {
        self.0.lose_letter(id).await;
    }

    // No delivery needs the space that relocation is about to give back here.
    fn note_relocating(&self, _: bool) {}

    async fn shrink_wanted(&self) {
        self.0.dead_letters.shrink_wanted().await;
    }

    fn written_bytes(&self) -> u64 {
        self.0.dead_letters.written_bytes()
    }

    fn room_bytes(&self) -> u64 {
        // Letters are kept whatever the bound says.
        u64::MAX
    }
}

impl<D: Disk> Shard<D> {
    /// Ends a letter whose record is damaged, once that has been set aside; `false`: it is not, or could not be.
    pub(super) async fn lose_letter(&self, id: MessageId) -> bool {
        let Some(at) = self.dead_letters.place(id) else { return false };
        let files = self.dead_letters.log().files();
        let aside = relocate::set_aside_damaged(files, &self.settings.corrupt, id, at).await;
        let Some(aside) = aside else { return false };
        if self.dead_letters.place(id) != Some(at) {
            return false;
        }
        let (aside, shard) = (aside.display(), self.number());
        tracing::error!(%id, shard, %aside, "a dead letter is damaged in its log: it is set aside and ended");
        self.metrics.corrupt_record();
        self.dead_letters.remove(id, self.settings.clock.now());
        true
    }
}
