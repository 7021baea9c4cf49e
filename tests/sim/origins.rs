//! Simulated origins: each answers, fails, hangs or breaks off as its mood has it, and moods change.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use dispatcher::delivery::{Outbound, Transport};
use dispatcher::limits::ANSWER_BYTES_MAX;
use dispatcher::message::{MessageId, Statuses, Xorshift};
use dispatcher::schedule::attempt::{Advice, Attempt, Failure, Outcome, RetryAfter, Verdict, outcome_of_answer};
use dispatcher::time::{Millis, UnixMillis, monotonic_now};

use super::checker::{Arriving, Checker, Ended, Ending, Says, Writing};
use super::clock;
use super::storage::index;
use super::trace::Trace;

/// What an origin is like at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Takes everything, at once or soon.
    Healthy,
    /// Takes everything, about as late as an attempt may last, or later: then it has the request all the same.
    Late,
    /// Answers 5xx, 4xx, 3xx.
    Failing,
    /// Says when it wants to be asked again.
    Busy,
    /// Says what it thinks of a message, whatever the status.
    Judging,
    /// Nothing listens, or nothing is found.
    Refusing,
    /// Breaks off, before or after it has the request.
    Resetting,
    /// Never answers, whether or not it has the request.
    Hanging,
    /// Any of these, by the request.
    Mixed,
}

const MOODS: [Mood; 9] = [
    Mood::Healthy,
    Mood::Late,
    Mood::Failing,
    Mood::Busy,
    Mood::Judging,
    Mood::Refusing,
    Mood::Resetting,
    Mood::Hanging,
    Mood::Mixed,
];

/// What will happen to one attempt.
#[derive(Clone, Copy, Debug)]
struct Script {
    /// When the origin has the request, in milliseconds, if ever.
    reaches: Option<u64>,
    /// When it ends, in milliseconds, if the timeout does not come first.
    ends: u64,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Answer(u16, Advice),
    Broken(Failure),
}

/// What an operator says about answers.
#[derive(Clone, Debug)]
pub struct Judged {
    pub no_retry: Statuses,
    /// In milliseconds.
    pub retry_after_max: u64,
}

/// All origins, as the workers reach them.
pub struct Origins {
    moods: RefCell<Vec<Mood>>,
    random: RefCell<Xorshift>,
    judged: Judged,
    checker: Rc<RefCell<Checker>>,
    trace: Trace,
    /// Whether there is room to write this down about a message of so many bytes.
    room: Box<dyn Fn(Writing, usize) -> bool>,
}

impl Origins {
    /// As many as there are `moods`; they are named `o0`, `o1`, …
    pub fn new(
        moods: Vec<Mood>,
        seed: u64,
        judged: Judged,
        checker: Rc<RefCell<Checker>>,
        trace: Trace,
        room: Box<dyn Fn(Writing, usize) -> bool>,
    ) -> Self {
        let (moods, random) = (RefCell::new(moods), RefCell::new(Xorshift::new(seed)));
        Self { moods, random, judged, checker, trace, room }
    }

    /// Makes all of them healthy.
    pub fn heal(&self) {
        self.moods.borrow_mut().fill(Mood::Healthy);
    }

    /// Changes the mood of one origin.
    pub fn change_mood(&self, random: &mut Xorshift) {
        let mut moods = self.moods.borrow_mut();
        let origin = index(random, moods.len());
        moods[origin] = mood(random);
        self.trace.note(format_args!("origin o{origin} is {:?}", moods[origin]));
    }

    fn script(&self, origin: &str, timeout: u64) -> Script {
        let random = &mut self.random.borrow_mut();
        let origin: usize = origin.strip_prefix('o').and_then(|number| number.parse().ok()).unwrap();
        let mut mood = self.moods.borrow()[origin];
        while mood == Mood::Mixed {
            mood = MOODS[index(random, MOODS.len())];
        }
        let soon = if random.next().is_multiple_of(2) { 0 } else { random.next() % 40 };
        let later = soon + random.next() % 200;
        let late = timeout.saturating_sub(50) + random.next() % 100;
        let status = [500, 503, 503, 429, 404, 301][index(random, 6)];
        let answer = |status| End::Answer(status, Advice::default());
        let either = random.next().is_multiple_of(2);
        match mood {
            Mood::Healthy => Script { reaches: Some(soon), ends: soon, end: answer(200 + u16::from(either) * 2) },
            Mood::Late => Script { reaches: Some(soon), ends: late, end: answer(200) },
            Mood::Failing => Script { reaches: Some(soon), ends: later, end: answer(status) },
            Mood::Busy => {
                let status = [429, 503, 503, 413, 301, 500, 200][index(random, 7)];
                let advice = Advice { verdict: None, retry_after: Some(retry_after(random)) };
                Script { reaches: Some(soon), ends: soon, end: End::Answer(status, advice) }
            }
            Mood::Judging => {
                let status = [200, 410, 404, 429, 500, 503][index(random, 6)];
                let verdict = [None, Some(Verdict::Ok), Some(Verdict::Retry), Some(Verdict::Dead)][index(random, 4)];
                let retry_after = either.then(|| retry_after(random));
                Script { reaches: Some(soon), ends: soon, end: End::Answer(status, Advice { verdict, retry_after }) }
            }
            Mood::Refusing => {
                let failure = [Failure::Refused, Failure::Dns, Failure::Denied][index(random, 3)];
                Script { reaches: None, ends: soon, end: End::Broken(failure) }
            }
            Mood::Resetting => {
                Script { reaches: either.then_some(soon), ends: later, end: End::Broken(Failure::Reset) }
            }
            Mood::Hanging | Mood::Mixed => Script { reaches: either.then_some(soon), ends: u64::MAX, end: answer(200) },
        }
    }

    fn answer(&self) -> Bytes {
        let mut random = self.random.borrow_mut();
        let bytes = [0, 20, 300, ANSWER_BYTES_MAX][index(&mut random, 4)];
        Bytes::from(vec![b'!'; bytes])
    }

    /// Lives through a script; returns how the attempt ended, and its status if it has one.
    async fn play(&self, id: MessageId, script: Script, timeout: u64) -> (End, Ending) {
        let mut lasted = 0;
        if let Some(reaches) = script.reaches.filter(|reaches| *reaches < timeout) {
            pass(reaches).await;
            lasted = reaches;
            self.trace.note(format_args!("{id} is at its origin"));
            self.checker.borrow_mut().attempt_reaches(id);
        }
        pass(script.ends.min(timeout).saturating_sub(lasted)).await;
        if script.ends >= timeout {
            return (End::Broken(Failure::ResponseTimeout), Ending::Unanswered);
        }
        match script.end {
            End::Answer(200..300, Advice { verdict: None, .. })
            | End::Answer(_, Advice { verdict: Some(Verdict::Ok), .. }) => (script.end, Ending::Delivered),
            End::Answer(..) => (script.end, Ending::Answered),
            End::Broken(_) => (script.end, Ending::Unanswered),
        }
    }
}

impl Transport for Origins {
    async fn send(&self, outbound: Outbound) -> Attempt {
        let (id, began) = (outbound.message_id, monotonic_now());
        let origin = outbound.origin.host();
        let arriving = Arriving {
            origin,
            head: &outbound.head,
            body: &outbound.body,
            attempt: outbound.attempt,
            maybe_duplicate: outbound.maybe_duplicate,
            at: clock::lived_ms(),
            wall: clock::CLOCK.now().0,
        };
        let mark = if outbound.maybe_duplicate { ", maybe a duplicate" } else { "" };
        self.trace.note(format_args!("{id} attempt {} at {origin}{mark}", outbound.attempt));
        self.checker.borrow_mut().attempt_begins(id, arriving);
        let timeout = outbound.timeout.0;
        let script = self.script(origin, timeout);
        let (end, ending) = self.play(id, script, timeout).await;
        let (outcome, status, advice) = match end {
            End::Answer(status, advice) => (outcome_of_answer(status, advice.verdict), Some(status), advice),
            End::Broken(failure) => (Outcome::Failed(failure), None, Advice::default()),
        };
        self.trace.note(format_args!("{id} attempt {} ends: {outcome:?} {status:?} {advice:?}", outbound.attempt));
        let bytes = outbound.head.len() + outbound.body.len();
        self.checker
            .borrow_mut()
            .attempt_ends(id, self.judged.ended(ending, end), |writing| (self.room)(writing, bytes));
        let answer = if ending == Ending::Answered { self.answer() } else { Bytes::new() };
        let maybe_received = ending == Ending::Unanswered && script.reaches.is_some_and(|reaches| reaches < timeout);
        Attempt { outcome, status, advice, maybe_received, elapsed: monotonic_now() - began, answer }
    }
}

impl Judged {
    /// What the end of an attempt means.
    fn ended(&self, ending: Ending, end: End) -> Ended {
        let says = match end {
            _ if ending == Ending::Delivered => Says::Alive,
            End::Answer(429 | 500.., _) => Says::Failing,
            End::Answer(..) => Says::Alive,
            End::Broken(Failure::Denied) => Says::Nothing,
            End::Broken(_) => Says::Failing,
        };
        let is_final = match end {
            End::Answer(_, Advice { verdict: Some(verdict), .. }) => verdict == Verdict::Dead,
            End::Answer(status, _) => status == 410 || self.no_retry.contains(status),
            End::Broken(_) => false,
        };
        let pause = match end {
            End::Answer(429 | 503, Advice { retry_after: Some(asked), .. }) if ending != Ending::Delivered => {
                let ms = match asked {
                    RetryAfter::Wait(wait) => wait.0,
                    RetryAfter::At(at) => at.0.saturating_sub(clock::CLOCK.now().0),
                };
                Some(ms.min(self.retry_after_max))
            }
            _ => None,
        };
        Ended { ending, says, is_final, pause, at: clock::lived_ms(), wall: clock::CLOCK.now().0 }
    }
}

/// In seconds or as a date, which may have passed; or more than is heeded.
fn retry_after(random: &mut Xorshift) -> RetryAfter {
    let seconds = [0, 1, 2, 10, 3600][index(random, 5)];
    if random.next().is_multiple_of(2) {
        return RetryAfter::Wait(Millis::from_secs(seconds));
    }
    let second = clock::CLOCK.now().0 / 1000;
    RetryAfter::At(UnixMillis((second + seconds).saturating_sub(1) * 1000))
}

/// A mood; half of the time a good one.
pub fn mood(random: &mut Xorshift) -> Mood {
    if random.next().is_multiple_of(2) { Mood::Healthy } else { MOODS[index(random, MOODS.len())] }
}

async fn pass(ms: u64) {
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}
