//! What an attempt means for its message, and what it tells of its origin. Pure.

use crate::limits::SPARED_KEPT_MAX;
use crate::message::Statuses;
use crate::schedule::attempt::{Attempt, Failure, Outcome, RetryAfter, Verdict, may_ask_to_wait};
use crate::schedule::backoff::Backoff;
use crate::schedule::breaker::Signal;
use crate::time::{Millis, UnixMillis};
use crate::wal::payload::{Progress, Tried};

/// What an operator decides about failures.
#[derive(Clone, Debug)]
pub struct RetryRules {
    /// When to retry, and when to give up.
    pub backoff: Backoff,
    /// Longest wait that an answer may ask for.
    pub retry_after_max: Millis,
    /// Statuses after which there is no retry, besides 410.
    pub no_retry: Statuses,
    /// How long a message lives; `None`: until it is delivered or given up.
    pub message_ttl: Option<Millis>,
}

impl RetryRules {
    /// The longest that a message may have to wait for its next attempt.
    pub fn wait_max(&self) -> Millis {
        self.backoff.longest().max(self.retry_after_max)
    }

    /// Whether a message that was accepted (or replayed) at `accepted` has outlived `MESSAGE_TTL`.
    pub fn has_expired(&self, accepted: UnixMillis, now: UnixMillis) -> bool {
        self.message_ttl.is_some_and(|ttl| now.since(accepted) >= ttl)
    }

    /// The wait that an answer asks for (`Retry-After`), where that is heeded.
    pub fn asked_wait(&self, attempt: &Attempt, now: UnixMillis) -> Option<Millis> {
        if !may_ask_to_wait(attempt.status?) || attempt.outcome == Outcome::Delivered {
            return None;
        }
        let wait = match attempt.advice.retry_after? {
            RetryAfter::Wait(wait) => wait,
            RetryAfter::At(at) => at.since(now),
        };
        Some(wait.min(self.retry_after_max))
    }

    /// Whether an answer is final although it is a failure.
    fn is_permanent(&self, attempt: &Attempt) -> bool {
        match attempt.advice.verdict {
            Some(Verdict::Dead) => true,
            Some(Verdict::Ok | Verdict::Retry) => false,
            None => attempt.status.is_some_and(|status| status == 410 || self.no_retry.contains(status)),
        }
    }
}

/// What an attempt tells of its origin: only 5xx, 429 and the lack of an answer speak against it.
pub const fn signal(attempt: &Attempt) -> Signal {
    match (attempt.outcome, attempt.status) {
        (Outcome::Delivered, _) => Signal::Alive,
        (Outcome::NotMade, _) => Signal::Nothing,
        (Outcome::Failed(Failure::Denied | Failure::Cancelled | Failure::Expired), _) => Signal::Nothing,
        (Outcome::Failed(_), None | Some(429 | 500..)) => Signal::Failing,
        (Outcome::Failed(_), Some(_)) => Signal::Alive,
    }
}

/// Whether an answer's `Retry-After` is about the whole origin and not about its message alone.
pub const fn holds_origin(attempt: &Attempt) -> bool {
    matches!(attempt.status, Some(429 | 503))
}

/// What becomes of a message after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// It has ended.
    Delivered,
    /// It is due again.
    Retry(Progress),
    /// It is dead: why, and everything that was tried.
    GiveUp(Failure, Progress),
}

/// A message as it was when its attempt began.
#[derive(Clone, Debug)]
pub struct Before {
    /// When it was accepted, or replayed.
    pub accepted: UnixMillis,
    /// The number of the attempt.
    pub attempt: u16,
    /// Attempts made by the newest record of it.
    pub written: u16,
    /// The failures that were.
    pub history: Vec<Tried>,
    /// One of the attempts before may have reached the origin.
    pub maybe_duplicate: bool,
}

impl Before {
    /// Attempts that count and are in no record, as there was no space to write them down: those that the history lacks,
    /// unless it may lack some that were spared.
    fn unwritten(&self) -> usize {
        let made = usize::from(self.attempt.saturating_sub(1));
        let spared = self.history.iter().filter(|tried| tried.spared).count();
        let known = if spared < SPARED_KEPT_MAX { self.history.len() } else { self.written.into() };
        made.saturating_sub(known)
    }
}

/// Decides what becomes of a message whose attempt has just ended. Panics: if it was not made.
///
/// `counts` says whether a failure counts against `RETRYLIMIT`: one that met an open circuit does not. `random` decides
/// the jitter.
pub fn conclude(
    attempt: &Attempt,
    before: Before,
    counts: bool,
    rules: &RetryRules,
    now: UnixMillis,
    random: u64,
) -> Conclusion {
    let failure = match attempt.outcome {
        Outcome::Delivered => return Conclusion::Delivered,
        Outcome::Failed(failure) => failure,
        Outcome::NotMade => panic!("what was not made is put back"),
    };
    let unwritten = before.unwritten();
    let Before { accepted, attempt: attempts, mut history, maybe_duplicate, .. } = before;
    remember(&mut history, Tried { at: now, failure, status: attempt.status, spared: !counts });
    let spent = history.iter().filter(|tried| !tried.spared).count();
    let spent = u16::try_from(spent + unwritten).unwrap_or(u16::MAX);
    let maybe_duplicate = maybe_duplicate || attempt.maybe_received;
    let progress = |due| Progress { due, attempts, maybe_duplicate, history };
    if rules.has_expired(accepted, now) {
        return Conclusion::GiveUp(Failure::Expired, progress(now));
    }
    // What was spared is due at once: it is the circuit that it waits for.
    let wait = if counts { rules.backoff.wait(spent, random) } else { Some(Millis(0)) };
    match wait.filter(|_| !rules.is_permanent(attempt)) {
        Some(wait) => {
            let wait = wait.max(rules.asked_wait(attempt, now).unwrap_or(Millis(0)));
            Conclusion::Retry(progress(now.plus(wait)))
        }
        None => Conclusion::GiveUp(failure, progress(now)),
    }
}

/// Adds to a history. All that counted is kept, which `RETRYLIMIT` bounds; of what was spared, which nothing bounds, the
/// newest.
fn remember(history: &mut Vec<Tried>, tried: Tried) {
    history.push(tried);
    let spared = history.iter().filter(|tried| tried.spared).count();
    if spared > SPARED_KEPT_MAX
        && let Some(oldest) = history.iter().position(|tried| tried.spared)
    {
        history.remove(oldest);
    }
}

#[cfg(test)]
#[path = "conclude_tests.rs"]
mod tests;
