//! What becomes of a message after each way in which an attempt can end.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::schedule::attempt::{Advice, outcome_of_answer};

const NOW: UnixMillis = UnixMillis(1_000_000);
const BACKOFF: Backoff = Backoff { base: Millis(100), factor: 2.0, max: Millis(1000), jitter: 0.0, retries_max: 2 };

fn rules() -> RetryRules {
    let no_retry = Statuses::parse("404,51x").unwrap();
    RetryRules { backoff: BACKOFF, retry_after_max: Millis(60_000), no_retry, message_ttl: Some(Millis(500_000)) }
}

fn ended(outcome: Outcome, status: Option<u16>, advice: Advice) -> Attempt {
    Attempt { outcome, status, advice, maybe_received: false, elapsed: Duration::ZERO, answer: Bytes::new() }
}

fn answered(status: u16, verdict: Option<Verdict>, retry_after: Option<RetryAfter>) -> Attempt {
    ended(outcome_of_answer(status, verdict), Some(status), Advice { verdict, retry_after })
}

fn broken(failure: Failure) -> Attempt {
    ended(Outcome::Failed(failure), None, Advice::default())
}

fn tried(spared: bool) -> Tried {
    Tried { at: UnixMillis(5), failure: Failure::Reset, status: None, spared }
}

fn before(history: Vec<Tried>) -> Before {
    let attempt = u16::try_from(history.len() + 1).unwrap();
    Before { accepted: NOW, attempt, written: attempt - 1, history, maybe_duplicate: false }
}

/// How long until the next attempt, or why there is none.
fn after(attempt: &Attempt, before: Before, counts: bool) -> Result<u64, Option<Failure>> {
    match conclude(attempt, before, counts, &rules(), NOW, 0) {
        Conclusion::Delivered => Err(None),
        Conclusion::Retry(progress) => Ok(progress.due.since(NOW).0),
        Conclusion::GiveUp(failure, _) => Err(Some(failure)),
    }
}

#[test]
fn a_failure_is_retried_after_the_backoff_and_remembered() {
    let Conclusion::Retry(progress) = conclude(&answered(503, None, None), before(vec![]), true, &rules(), NOW, 0)
    else {
        panic!("a retry is left")
    };
    let tried = Tried { at: NOW, failure: Failure::Http5xx, status: Some(503), spared: false };
    let expected = Progress { due: NOW.plus(Millis(100)), attempts: 1, maybe_duplicate: false, history: vec![tried] };
    assert_eq!(progress, expected);
}

#[test]
fn every_status_and_verdict_has_its_end() {
    for status in 200..600 {
        let class = match status / 100 {
            2 => None,
            3 => Some(Failure::Http3xx),
            4 => Some(Failure::Http4xx),
            _ => Some(Failure::Http5xx),
        };
        let permanent = matches!(status, 404 | 410 | 510..520);
        let expected = if class.is_none() || permanent { Err(class) } else { Ok(100) };
        assert_eq!(after(&answered(status, None, None), before(vec![]), true), expected, "{status}");
        assert_eq!(after(&answered(status, Some(Verdict::Ok), None), before(vec![]), true), Err(None), "{status}");
        assert_eq!(after(&answered(status, Some(Verdict::Retry), None), before(vec![]), true), Ok(100), "{status}");
        let dead = Err(Some(class.unwrap_or(Failure::Http4xx)));
        assert_eq!(after(&answered(status, Some(Verdict::Dead), None), before(vec![]), true), dead, "{status}");
    }
    for failure in Failure::ALL {
        assert_eq!(after(&broken(failure), before(vec![]), true), Ok(100), "{failure:?}");
    }
}

#[test]
fn retries_are_used_up_by_failures_that_count_and_by_no_others() {
    let attempt = answered(503, None, None);
    assert_eq!(after(&attempt, before(vec![tried(false); 1]), true), Ok(200));
    assert_eq!(after(&attempt, before(vec![tried(false); 2]), true), Err(Some(Failure::Http5xx)));
    // However often it met an open circuit.
    for spared in 0..30 {
        let mut history = vec![tried(true); spared];
        history.push(tried(false));
        assert_eq!(after(&attempt, before(history.clone()), true), Ok(200));
        history.push(tried(false));
        assert_eq!(
            after(&attempt, before(history.clone()), false),
            Ok(0),
            "it waits for the circuit, not for its turn"
        );
        assert_eq!(after(&attempt, before(history), true), Err(Some(Failure::Http5xx)));
    }
}

#[test]
fn an_attempt_that_could_not_be_written_down_counts_all_the_same() {
    let attempt = answered(503, None, None);
    let late = |attempt, written, history| Before { attempt, written, ..before(history) };
    assert_eq!(after(&attempt, late(2, 0, vec![]), true), Ok(200));
    assert_eq!(after(&attempt, late(3, 0, vec![]), true), Err(Some(Failure::Http5xx)));
    // One that was not, then one that was.
    assert_eq!(after(&attempt, late(3, 2, vec![tried(false)]), true), Err(Some(Failure::Http5xx)));
    assert_eq!(after(&attempt, late(3, 2, vec![tried(true)]), true), Ok(200));
    // Of what was spared, not all is kept, and that is no reason to give up.
    assert_eq!(after(&attempt, late(501, 500, vec![tried(true); SPARED_KEPT_MAX]), true), Ok(100));
    assert_eq!(after(&attempt, late(502, 500, vec![tried(true); SPARED_KEPT_MAX]), true), Ok(200));
}

#[test]
fn a_history_keeps_all_that_counts_and_the_newest_of_the_rest() {
    let mut history = vec![tried(false)];
    for at in 0..100 {
        remember(&mut history, Tried { at: UnixMillis(at), ..tried(true) });
    }
    remember(&mut history, tried(false));
    assert_eq!(history.len(), SPARED_KEPT_MAX + 2);
    assert_eq!(
        (history[0].spared, history[1].at, history[SPARED_KEPT_MAX].at),
        (false, UnixMillis(84), UnixMillis(99))
    );
}

#[test]
fn an_answer_may_ask_for_a_longer_wait_up_to_the_bound() {
    let wait = |ms| Some(RetryAfter::Wait(Millis(ms)));
    let at = |ms| Some(RetryAfter::At(UnixMillis(ms)));
    for (status, asked, expected) in [
        (503, wait(5000), 5000),
        (429, wait(5000), 5000),
        (413, wait(5000), 5000),
        (301, wait(5000), 5000),
        (503, at(NOW.0 + 7000), 7000),
        (503, at(NOW.0 - 7000), 100),
        (503, wait(50), 100),
        (503, wait(u64::MAX), 60_000),
        (503, at(u64::MAX), 60_000),
        (503, None, 100),
        (500, wait(5000), 100),
        (400, wait(5000), 100),
    ] {
        assert_eq!(after(&answered(status, None, asked), before(vec![]), true), Ok(expected), "{status} {asked:?}");
    }
    assert_eq!(after(&answered(503, None, wait(5000)), before(vec![]), false), Ok(5000));
    // No wait brings a retry back that is not left.
    let exhausted = before(vec![tried(false); 2]);
    assert_eq!(after(&answered(503, None, wait(5000)), exhausted, true), Err(Some(Failure::Http5xx)));
    assert!(holds_origin(&answered(429, None, None)) && holds_origin(&answered(503, None, None)));
    assert!(!holds_origin(&answered(413, None, None)) && !holds_origin(&broken(Failure::Reset)));
}

#[test]
fn a_message_that_has_outlived_its_time_is_not_retried() {
    let old = |ms| Before { accepted: UnixMillis(NOW.0 - ms), ..before(vec![]) };
    assert_eq!(after(&answered(503, None, None), old(499_999), true), Ok(100));
    assert_eq!(after(&answered(503, None, None), old(500_000), true), Err(Some(Failure::Expired)));
    assert_eq!(after(&answered(503, None, None), old(500_000), false), Err(Some(Failure::Expired)));
    assert_eq!(after(&answered(200, None, None), old(500_000), true), Err(None), "delivered is delivered");
    let for_ever = RetryRules { message_ttl: None, ..rules() };
    assert!(!for_ever.has_expired(UnixMillis(0), UnixMillis(u64::MAX)));
}

#[test]
fn once_maybe_received_always_maybe_a_duplicate() {
    for (earlier, attempt, later) in
        [(false, false, false), (true, false, true), (false, true, true), (true, true, true)]
    {
        let attempt = Attempt { maybe_received: attempt, ..broken(Failure::Reset) };
        let before = Before { maybe_duplicate: earlier, ..before(vec![]) };
        let conclusion = conclude(&attempt, before, true, &rules(), NOW, 0);
        assert!(matches!(conclusion, Conclusion::Retry(progress) if progress.maybe_duplicate == later));
    }
}

#[test]
fn only_5xx_429_and_no_answer_speak_against_an_origin() {
    for status in 200..600 {
        let failing = status == 429 || status >= 500;
        let expected = if failing { Signal::Failing } else { Signal::Alive };
        assert_eq!(signal(&answered(status, None, None)), expected, "{status}");
        assert_eq!(signal(&answered(status, Some(Verdict::Ok), None)), Signal::Alive, "{status}");
        for verdict in [Verdict::Retry, Verdict::Dead] {
            assert_eq!(signal(&answered(status, Some(verdict), None)), expected, "{status}");
        }
    }
    for failure in Failure::ALL {
        let untold = matches!(failure, Failure::Denied | Failure::Cancelled | Failure::Expired);
        let expected = if untold { Signal::Nothing } else { Signal::Failing };
        assert_eq!(signal(&broken(failure)), expected, "{failure:?}");
    }
}
