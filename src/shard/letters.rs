//! The verbs on dead letters: list, show, count, remove. Each takes turns with the rest of the core.
//!
//! A letter whose message the transaction log still knows is none yet, or none any more: see `wal`, "One message in two
//! logs". Nothing is told of it and nothing done to it.

use std::collections::BinaryHeap;

use futures_util::future::join_all;

use super::Shard;
use super::dead_letters::Letter;
use super::letter::{Details, Page, Removal, Selection, Summary, Tally, Walk};
use crate::disk::Disk;
use crate::limits::{LETTER_PAGE_READS_MAX, LETTER_READ_BYTES_MAX, LETTER_READS_MAX};
use crate::memory::pool::Held;
use crate::message::MessageId;
use crate::wal::files::ReadError;
use crate::wal::log::Need;

/// A note that a letter is removed, in bytes, its record header included, rounded up.
const NOTE_BYTES: usize = 64;

/// A letter as it was read, if it was and if it is one.
pub(super) type ReadLetter = (MessageId, Result<Option<Letter>, ReadError>);

impl<D: Disk> Shard<D> {
    /// Whether both logs and those of shards that no core owns any more have been read, so that dead letters may be told
    /// of and changed.
    pub const fn knows_all_letters(&self) -> bool {
        self.all_known.get()
    }

    /// Ends the last part of a recovery: there is nothing more to take over.
    pub fn note_all_known(&self) {
        self.all_known.set(true);
    }

    /// Whether a message is a dead letter and nothing else.
    pub fn is_letter(&self, id: MessageId) -> bool {
        self.dead_letters.contains(id) && !self.knows(id)
    }

    /// The letters with the smallest ids behind `after` that are meant, at most `limit`.
    pub async fn list_letters(&self, selection: &Selection, after: Option<MessageId>, limit: usize) -> Page {
        let looked_at_max = if selection.needs_record() { LETTER_PAGE_READS_MAX.max(limit) } else { limit };
        let (candidates, mut looked_to) = self.first_letters(selection, after, looked_at_max).await;
        let mut letters = Vec::new();
        let mut left = &candidates[..];
        while letters.len() < limit && !left.is_empty() {
            let group = self.readable_together(left);
            let _memory = self.memory_for(&left[..group]).await;
            for (id, read) in self.read_letters(&left[..group]).await {
                let Some(letter) = self.told(id, read) else { continue };
                let (message, death) = letter.parts();
                if selection.takes(&message, &death) {
                    letters.push(Summary::new(id, &message, &death));
                }
            }
            left = &left[group..];
        }
        if letters.len() > limit {
            letters.truncate(limit);
            looked_to = letters.last().map(|letter| letter.id);
        } else if !left.is_empty() {
            looked_to = candidates[..candidates.len() - left.len()].last().copied();
        }
        Page { letters, looked_to }
    }

    /// The smallest ids of letters behind `after`, in order, and the last of them if there are more.
    async fn first_letters(
        &self,
        selection: &Selection,
        after: Option<MessageId>,
        most: usize,
    ) -> (Vec<MessageId>, Option<MessageId>) {
        let mut first = BinaryHeap::with_capacity(most.min(4096) + 1);
        let mut more = false;
        let mut walk = Walk::new(selection);
        while let Some(piece) = self.dead_letters.look(|index| walk.next_piece(index, usize::MAX)) {
            for id in piece.into_iter().filter(|id| after.is_none_or(|after| *id > after)) {
                if first.len() == most && first.peek().is_some_and(|greatest| id > *greatest) {
                    more = true;
                } else if self.is_letter(id) {
                    first.push(id);
                    if first.len() > most {
                        first.pop();
                        more = true;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
        let mut first = first.into_sorted_vec();
        first.dedup();
        let last = first.last().copied().filter(|_| more);
        (first, last)
    }

    /// Everything that a letter holds; `None`: it is none.
    pub async fn show_letter(&self, id: MessageId) -> Result<Option<Details>, ReadError> {
        let _memory = self.memory_for(&[id]).await;
        let Some(letter) = self.dead_letters.read(id).await?.filter(|_| self.is_letter(id)) else { return Ok(None) };
        let (message, death) = letter.parts();
        Ok(Some(Details {
            summary: Summary::new(id, &message, &death),
            timeout: message.timeout,
            maybe_duplicate: message.progress.maybe_duplicate,
            head: message.head.to_vec(),
            body: message.body.to_vec(),
            history: message.progress.history,
            answer: death.answer.to_vec(),
        }))
    }

    /// How many letters are meant.
    pub async fn count_letters(&self, selection: &Selection) -> Tally {
        let (mut tally, mut walk) = (Tally::default(), Walk::new(selection));
        while let Some(piece) = self.next_letters(&mut walk) {
            let mut left = &piece[..];
            while !left.is_empty() {
                let group = self.readable_together(left);
                let _memory = self.memory_for(&left[..group]).await;
                for (id, read) in self.read_letters(&left[..group]).await {
                    let Some(letter) = self.told(id, read) else { continue };
                    let (message, death) = letter.parts();
                    if selection.takes(&message, &death) {
                        tally.add(&message.origin.to_origin(), death.failure.as_str(), 1);
                    }
                }
                left = &left[group..];
            }
            tokio::task::yield_now().await;
        }
        tally
    }

    /// Ends the letters that are meant; they are gone for good when this is over.
    pub async fn remove_letters(&self, selection: &Selection) -> Removal {
        let (mut removal, mut walk) = (Removal::default(), Walk::new(selection));
        while let Some(piece) = self.next_letters(&mut walk) {
            let mut left = &piece[..];
            while !left.is_empty() {
                let group = self.readable_together(left);
                let meant = self.meant(selection, &left[..group], &mut removal).await;
                if !self.remove_all(&meant, &mut removal).await {
                    return removal;
                }
                left = &left[group..];
            }
            tokio::task::yield_now().await;
        }
        removal
    }

    /// Those that a selection means.
    async fn meant(&self, selection: &Selection, ids: &[MessageId], removal: &mut Removal) -> Vec<MessageId> {
        if !selection.needs_record() {
            return ids.to_vec();
        }
        let mut meant = Vec::new();
        let _memory = self.memory_for(ids).await;
        for (id, read) in self.read_letters(ids).await {
            removal.unreadable += u64::from(read.is_err());
            let Some(letter) = self.told(id, read) else { continue };
            let (message, death) = letter.parts();
            if selection.takes(&message, &death) {
                meant.push(id);
            }
        }
        meant
    }

    /// `false`: there is no space to note so many.
    async fn remove_all(&self, ids: &[MessageId], removal: &mut Removal) -> bool {
        let log = self.dead_letters.log();
        if !log.has_room(Need::Move, ids.len() * NOTE_BYTES) {
            removal.no_space = true;
            return false;
        }
        let now = self.settings.clock.now();
        let claimed: Vec<_> = ids.iter().filter(|id| self.is_letter(**id) && self.dead_letters.claim(**id)).collect();
        let tickets: Vec<_> = claimed.into_iter().map(|id| self.dead_letters.remove(*id, now)).collect();
        for ticket in tickets {
            if ticket.await.is_ok() {
                removal.removed += 1;
                self.metrics.letter_removed();
            }
        }
        true
    }

    /// The next letters of a walk.
    pub(super) fn next_letters(&self, walk: &mut Walk) -> Option<Vec<MessageId>> {
        let mut piece = self.dead_letters.look(|index| walk.next_piece(index, usize::MAX))?;
        piece.retain(|id| self.is_letter(*id));
        Some(piece)
    }

    /// How many of these are read together: their bytes are in memory at the same time.
    pub(super) fn readable_together(&self, ids: &[MessageId]) -> usize {
        let mut bytes = 0;
        let fits = |id: &&MessageId| {
            bytes += self.dead_letters.place(**id).map_or(0, |at| u64::from(at.bytes));
            bytes <= LETTER_READ_BYTES_MAX
        };
        ids.iter().take(LETTER_READS_MAX).take_while(fits).count().max(1)
    }

    /// The memory for reading them, and for writing them anew.
    pub(super) async fn memory_for(&self, ids: &[MessageId]) -> Held {
        let bytes: usize = ids.iter().filter_map(|id| self.dead_letters.place(*id)).map(|at| at.bytes as usize).sum();
        self.memory.reading(2 * bytes).await
    }

    /// Reads them, in their order.
    pub(super) async fn read_letters(&self, ids: &[MessageId]) -> Vec<ReadLetter> {
        join_all(ids.iter().map(|id| async move { (*id, self.dead_letters.read(*id).await) })).await
    }

    /// A letter that was read and still is one. One that cannot be read is told to the operator.
    pub(super) fn told(&self, id: MessageId, read: Result<Option<Letter>, ReadError>) -> Option<Letter> {
        match read {
            Ok(letter) => letter.filter(|_| self.is_letter(id)),
            Err(error) => {
                tracing::error!(%id, shard = self.number(), %error, "a dead letter could not be read");
                None
            }
        }
    }
}
