//! What an attempt means for its message. Pure.

use crate::schedule::attempt::{Attempt, Failure, Outcome};
use crate::schedule::backoff::Backoff;
use crate::time::UnixMillis;
use crate::wal::payload::{Progress, Tried};

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

/// Decides what becomes of a message whose attempt number `attempts` has just ended.
///
/// `history` holds the attempts before it; `maybe_duplicate` says whether one of those may have reached the origin;
/// `random` decides the jitter.
pub fn conclude(
    attempt: &Attempt,
    attempts: u16,
    mut history: Vec<Tried>,
    maybe_duplicate: bool,
    backoff: &Backoff,
    now: UnixMillis,
    random: u64,
) -> Conclusion {
    let failure = match attempt.outcome {
        Outcome::Delivered => return Conclusion::Delivered,
        Outcome::Failed(failure) => failure,
    };
    history.push(Tried { at: now, failure, status: attempt.status });
    let maybe_duplicate = maybe_duplicate || attempt.maybe_received;
    let progress = |due| Progress { due, attempts, maybe_duplicate, history };
    match backoff.wait(attempts, random) {
        Some(wait) => Conclusion::Retry(progress(now.plus(wait))),
        None => Conclusion::GiveUp(failure, progress(now)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::schedule::attempt::Advice;
    use crate::time::Millis;

    const BACKOFF: Backoff = Backoff { base: Millis(100), factor: 2.0, max: Millis(1000), jitter: 0.0, retries_max: 1 };

    fn failed(maybe_received: bool) -> Attempt {
        Attempt {
            outcome: Outcome::Failed(Failure::Http5xx),
            status: Some(503),
            advice: Advice::default(),
            maybe_received,
            elapsed: Duration::ZERO,
            answer: Bytes::new(),
        }
    }

    #[test]
    fn a_failure_is_retried_after_the_backoff_and_remembered() {
        let now = UnixMillis(1_000_000);
        let Conclusion::Retry(progress) = conclude(&failed(false), 1, Vec::new(), false, &BACKOFF, now, 0) else {
            panic!("a retry is left")
        };
        let tried = Tried { at: now, failure: Failure::Http5xx, status: Some(503) };
        let expected =
            Progress { due: UnixMillis(1_000_100), attempts: 1, maybe_duplicate: false, history: vec![tried] };
        assert_eq!(progress, expected);
        let Conclusion::GiveUp(Failure::Http5xx, progress) =
            conclude(&failed(false), 2, progress.history, false, &BACKOFF, now, 0)
        else {
            panic!("no retry is left")
        };
        assert_eq!((progress.attempts, progress.history.len()), (2, 2));
    }

    #[test]
    fn once_maybe_received_always_maybe_a_duplicate() {
        for (before, attempt, after) in
            [(false, false, false), (true, false, true), (false, true, true), (true, true, true)]
        {
            let conclusion = conclude(&failed(attempt), 1, Vec::new(), before, &BACKOFF, UnixMillis(0), 0);
            assert!(matches!(conclusion, Conclusion::Retry(progress) if progress.maybe_duplicate == after));
        }
    }
}
