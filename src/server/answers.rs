//! Answers what the outside asks of a core, between messages.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::control::ShardRequest;
use crate::control::letters::{LetterRequest, Unanswered};
use crate::disk::Disk;
use crate::limits::LETTER_QUESTIONS_MAX;
use crate::metrics::Snapshot;
use crate::shard::Shard;

/// Answers until nobody can ask any more. Scrapes are never held up by other questions.
pub async fn run<D: Disk>(
    shard: &Shard<D>,
    mut requests: mpsc::Receiver<ShardRequest>,
    snapshot: impl Fn() -> Snapshot,
) {
    let mut answering = FuturesUnordered::new();
    loop {
        let request = tokio::select! {
            biased;
            Some(()) = answering.next() => continue,
            request = requests.recv() => request,
        };
        match request {
            None => return,
            // A scrape that has given up is no loss.
            Some(ShardRequest::Snapshot(reply)) => drop(reply.send(snapshot())),
            Some(ShardRequest::Letters(request)) if !shard.knows_all_letters() => {
                request.refuse(Unanswered::Recovering);
            }
            Some(ShardRequest::Letters(request)) if answering.len() >= LETTER_QUESTIONS_MAX => {
                request.refuse(Unanswered::Busy);
            }
            Some(ShardRequest::Letters(request)) => answering.push(answer(shard, request)),
        }
    }
}

/// Who has given up on an answer needs none; what was begun is done all the same.
async fn answer<D: Disk>(shard: &Shard<D>, request: LetterRequest) {
    match request {
        LetterRequest::List { selection, after, limit, reply } => {
            drop(reply.send(Ok(shard.list_letters(&selection, after, limit).await)));
        }
        LetterRequest::Show { id, reply } => {
            let shown = shard.show_letter(id).await;
            drop(reply.send(shown.map_err(|error| Unanswered::Unreadable(error.to_string()))));
        }
        LetterRequest::Count { selection, reply } => drop(reply.send(Ok(shard.count_letters(&selection).await))),
        LetterRequest::Remove { selection, reply } => drop(reply.send(Ok(shard.remove_letters(&selection).await))),
        LetterRequest::Replay { replay, reply } => {
            let begun = shard.replay(replay);
            drop(reply.send(if begun { Ok(()) } else { Err(Unanswered::TooManyReplays) }));
        }
        LetterRequest::Replays(reply) => drop(reply.send(Ok(shard.replays()))),
        LetterRequest::Cancel { job, reply } => drop(reply.send(Ok(shard.cancel_replay(job)))),
    }
}
