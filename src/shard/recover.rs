//! From the log to the state, while the shard serves: what is accepted now is delivered now; what is found is held
//! until the log has been read, because its end may stand further on.

use super::Shard;
use crate::disk::Disk;
use crate::message::MessageId;
use crate::wal::recovery::{self, RecoveryError, Replayed};
use crate::wal::survey::Survey;

impl<D: Disk> Shard<D> {
    /// Reads the transaction log as it was when it was surveyed.
    pub async fn recover_messages(&self, survey: &Survey) -> Result<Replayed, RecoveryError> {
        let mut newest = MessageId::default();
        let replayed = recovery::replay(self.log.files(), survey, Some(&self.settings.corrupt), &mut |visit| {
            newest = newest.max(visit.id);
            self.state.borrow_mut().recover(visit.id, &visit.payload, visit.at);
        })
        .await?;
        // Known before from the survey, but for logs of format version 1.
        self.log.note_id(newest);
        self.ids.borrow_mut().advance_past(newest);
        Ok(replayed)
    }

    /// Reads the dead letter log as it was when it was surveyed.
    pub async fn recover_dead_letters(&self, survey: &Survey) -> Result<Replayed, RecoveryError> {
        let files = self.dead_letters.log().files();
        let fold = &mut |visit: recovery::Visit<'_>| self.dead_letters.recover(&visit);
        recovery::replay(files, survey, Some(&self.settings.corrupt), fold).await
    }

    /// Ends a recovery: both logs have been read, so what is held is due, and what has ended is reclaimed. Called again
    /// when the log of an orphan has been taken over.
    pub fn settle(&self) {
        self.state.borrow_mut().settle();
        self.recovered.set(true);
        self.reclaim();
        self.reclaim_letters();
        self.work.notify_one();
    }

    /// Messages that were found and not yet settled.
    pub fn recovered_messages(&self) -> u64 {
        self.state.borrow().counts().held as u64
    }

    /// Whether the log has been read to its end.
    pub const fn is_recovered(&self) -> bool {
        self.recovered.get()
    }
}
