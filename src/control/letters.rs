//! Questions about dead letters, to every shard at once; their answers become one.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{Control, Phase, ShardRequest};
use crate::message::MessageId;
use crate::shard::letter::{Details, Page, Removal, ReplayStatus, Selection, Summary, Tally};
use crate::shard::replay::Replay;

/// Time for a shard to answer. Longer than what a million letters take to be read.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(240);

/// Why a question about dead letters has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// Not all of them are known yet.
    #[error("the log is still being read: ask again when /-/ready says ready")]
    Recovering,
    /// Others are being answered.
    #[error("too many questions about dead letters are being answered: ask again in a moment")]
    Busy,
    /// As many replays run as may.
    #[error("as many replays run as may: wait for one to end, or cancel one")]
    TooManyReplays,
    /// A letter cannot be read.
    #[error("the dead letter cannot be read: {0}")]
    Unreadable(String),
    /// The daemon is stopping, or overwhelmed.
    #[error("a core does not answer")]
    Silent,
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Unanswered>>;

/// A question about dead letters to one shard.
#[derive(Debug)]
pub enum LetterRequest {
    /// A page of a list.
    List {
        /// The letters that are meant.
        selection: Selection,
        /// Only letters with greater ids.
        after: Option<MessageId>,
        /// At most so many.
        limit: usize,
        /// The answer.
        reply: Reply<Page>,
    },
    /// Everything of one.
    Show {
        /// Which.
        id: MessageId,
        /// The answer: `None`, there is none.
        reply: Reply<Option<Details>>,
    },
    /// How many are meant.
    Count {
        /// The letters that are meant.
        selection: Selection,
        /// The answer.
        reply: Reply<Tally>,
    },
    /// Delete them.
    Remove {
        /// The letters that are meant.
        selection: Selection,
        /// The answer.
        reply: Reply<Removal>,
    },
    /// Begin to replay them.
    Replay {
        /// What is asked for.
        replay: Replay,
        /// The answer.
        reply: Reply<()>,
    },
    /// The replays that run or have ended.
    Replays(Reply<Vec<ReplayStatus>>),
    /// End a replay.
    Cancel {
        /// Its number.
        job: u64,
        /// The answer: whether it ran.
        reply: Reply<bool>,
    },
}

impl LetterRequest {
    /// Answers that there is no answer.
    pub fn refuse(self, why: Unanswered) {
        // Who has given up needs no answer.
        let _: bool = match self {
            Self::List { reply, .. } => reply.send(Err(why)).is_ok(),
            Self::Show { reply, .. } => reply.send(Err(why)).is_ok(),
            Self::Count { reply, .. } => reply.send(Err(why)).is_ok(),
            Self::Remove { reply, .. } => reply.send(Err(why)).is_ok(),
            Self::Replay { reply, .. } => reply.send(Err(why)).is_ok(),
            Self::Replays(reply) => reply.send(Err(why)).is_ok(),
            Self::Cancel { reply, .. } => reply.send(Err(why)).is_ok(),
        };
    }
}

impl Control {
    /// The letters with the smallest ids behind `after` that are meant, at most `limit`; and the id to go on behind, if
    /// there may be more.
    pub async fn list_letters(
        &self,
        selection: &Selection,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<(Vec<Summary>, Option<MessageId>), Unanswered> {
        let ask = |reply| LetterRequest::List { selection: selection.clone(), after, limit, reply };
        let pages = self.ask_all(ask).await?;
        Ok(merge(pages, limit))
    }

    /// Everything that a letter holds; `None`: it is none.
    pub async fn show_letter(&self, id: MessageId) -> Result<Option<Details>, Unanswered> {
        Ok(self.ask_all(|reply| LetterRequest::Show { id, reply }).await?.into_iter().flatten().next())
    }

    /// How many letters are meant.
    pub async fn count_letters(&self, selection: &Selection) -> Result<Tally, Unanswered> {
        let tallies = self.ask_all(|reply| LetterRequest::Count { selection: selection.clone(), reply }).await?;
        let mut sum = Tally::default();
        tallies.iter().for_each(|tally| sum.merge(tally));
        Ok(sum)
    }

    /// Deletes the letters that are meant; they are gone for good when this answers.
    pub async fn remove_letters(&self, selection: &Selection) -> Result<Removal, Unanswered> {
        let removals = self.ask_all(|reply| LetterRequest::Remove { selection: selection.clone(), reply }).await?;
        let mut sum = Removal::default();
        for removal in removals {
            sum.removed += removal.removed;
            sum.unreadable += removal.unreadable;
            sum.no_space |= removal.no_space;
        }
        Ok(sum)
    }

    /// Begins a replay of the letters that are meant, at most so many per second over all shards; returns its number.
    pub async fn replay_letters(&self, selection: &Selection, per_second: Option<u32>) -> Result<u64, Unanswered> {
        let job = self.jobs.fetch_add(1, Ordering::Relaxed);
        let shards = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        let interval = per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) * shards / rate);
        let ask = |reply| {
            let replay = Replay { job, selection: selection.clone(), interval };
            LetterRequest::Replay { replay, reply }
        };
        match self.ask_all(ask).await {
            Ok(_) => Ok(job),
            Err(why) => {
                // Some shards may have begun.
                self.cancel_replay(job).await?;
                Err(why)
            }
        }
    }

    /// The replays that run, and those that ended last, by their numbers.
    pub async fn replays(&self) -> Result<Vec<ReplayStatus>, Unanswered> {
        let mut sums: BTreeMap<u64, ReplayStatus> = BTreeMap::new();
        for part in self.ask_all(LetterRequest::Replays).await?.into_iter().flatten() {
            let sum = sums.entry(part.job).or_insert_with(|| ReplayStatus { job: part.job, ..ReplayStatus::default() });
            sum.merge(&part);
        }
        Ok(sums.into_values().collect())
    }

    /// Ends a replay; `false`: there is none with this number that runs.
    pub async fn cancel_replay(&self, job: u64) -> Result<bool, Unanswered> {
        Ok(self.ask_all(|reply| LetterRequest::Cancel { job, reply }).await?.into_iter().any(|ran| ran))
    }

    /// Asks every shard; the answers in their order, or why one of them has none.
    async fn ask_all<T>(&self, ask: impl Fn(Reply<T>) -> LetterRequest) -> Result<Vec<T>, Unanswered> {
        let answers = self.shards.iter().map(|shard| {
            let (sender, answer) = oneshot::channel();
            let request = ShardRequest::Letters(ask(sender));
            async move {
                // It does not read its questions before it serves.
                if shard.status.get() == Phase::Starting {
                    return Err(Unanswered::Recovering);
                }
                let answered = async {
                    shard.requests.send(request).await.map_err(|_| Unanswered::Silent)?;
                    answer.await.map_err(|_| Unanswered::Silent)?
                };
                timeout(ANSWER_TIMEOUT, answered).await.unwrap_or(Err(Unanswered::Silent))
            }
        });
        join_all(answers).await.into_iter().collect()
    }
}

/// One page of those of the shards: as far as all of them have looked.
fn merge(pages: Vec<Page>, limit: usize) -> (Vec<Summary>, Option<MessageId>) {
    let looked_to = pages.iter().filter_map(|page| page.looked_to).min();
    let mut letters: Vec<Summary> = pages.into_iter().flat_map(|page| page.letters).collect();
    letters.sort_unstable_by_key(|letter| letter.id);
    // An adoption that was cut short may have left a letter in two shards.
    letters.dedup_by_key(|letter| letter.id);
    letters.retain(|letter| looked_to.is_none_or(|looked_to| letter.id <= looked_to));
    if letters.len() > limit {
        letters.truncate(limit);
        let next = letters.last().map(|letter| letter.id);
        return (letters, next);
    }
    (letters, looked_to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Origin, Scheme};
    use crate::schedule::attempt::Failure;
    use crate::time::UnixMillis;

    fn id(number: u8) -> MessageId {
        MessageId([number; 16])
    }

    fn page(ids: &[u8], looked_to: Option<u8>) -> Page {
        let letters = ids.iter().map(|number| Summary {
            id: id(*number),
            accepted: UnixMillis(1),
            died: UnixMillis(2),
            origin: Origin::parse("b", Scheme::Http).expect("an origin"),
            class: Failure::Reset,
            status: None,
            attempts: 1,
            replays: 0,
            request_line: Vec::new(),
            body_bytes: 0,
        });
        Page { letters: letters.collect(), looked_to: looked_to.map(id) }
    }

    /// Two shards, pages of three: nothing is left out and nothing told twice, whatever each shard looked at.
    #[test]
    fn a_page_goes_as_far_as_every_shard_has_looked() {
        for (pages, expected, next) in [
            (vec![page(&[], None), page(&[], None)], vec![], None),
            (vec![page(&[1, 4], None), page(&[2], None)], vec![1, 2, 4], None),
            (vec![page(&[1, 2, 3], Some(3)), page(&[4, 5, 6], Some(6))], vec![1, 2, 3], Some(3)),
            (vec![page(&[1, 3, 5], Some(5)), page(&[2, 4, 6], None)], vec![1, 2, 3], Some(3)),
            (vec![page(&[], Some(9)), page(&[2], Some(4))], vec![2], Some(4)),
            (vec![page(&[1], None), page(&[1], None)], vec![1], None),
        ] {
            let (letters, found) = merge(pages, 3);
            assert_eq!(
                letters.iter().map(|letter| letter.id).collect::<Vec<_>>(),
                expected.into_iter().map(id).collect::<Vec<_>>()
            );
            assert_eq!(found, next.map(id));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn while_a_shard_starts_its_letters_are_not_asked_for() {
        let (control, _inboxes) = Control::new(1, crate::control::Shared::in_root());
        assert_eq!(control.replays().await, Err(Unanswered::Recovering));
    }
}
