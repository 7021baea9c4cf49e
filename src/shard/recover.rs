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
            self.note_index();
        })
        .await?;
        // Of what is damaged, nobody knows what it said.
        if survey.rested && replayed.damaged == 0 {
            self.state.borrow_mut().set_rested();
        } else {
            self.unwritten_marks.set(true);
        }
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

    /// Leaves word that nothing is in flight, if that is so: then the next start knows that none of what waits has been
    /// received already. Called when the process has drained and is about to end; if it is cut short, the next start
    /// takes it that everything may have been.
    ///
    /// A name and no record: its removal must be durable before anything is attempted, also on a disk that is full.
    pub async fn rest(&self) {
        // What is known of a message and stands in no record would be forgotten.
        let is_forgetting = self.unwritten_marks.get() && self.state.borrow().is_any_marked();
        let may_rest = self.draining() && self.is_recovered() && self.is_settled() && !is_forgetting;
        if may_rest {
            let files = self.log.files();
            // Without it the next start knows less, and that is all.
            let _ = files.disk().create_dir(&files.rested_path(self.log.active_segment())).await;
        }
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
