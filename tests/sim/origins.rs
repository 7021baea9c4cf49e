//! Simulated origins: each answers, fails, hangs or breaks off as its mood has it, and moods change.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use dispatcher::delivery::{Outbound, Transport};
use dispatcher::limits::ANSWER_BYTES_MAX;
use dispatcher::message::{MessageId, Xorshift};
use dispatcher::schedule::attempt::{Advice, Attempt, Failure, Outcome, outcome_of_answer};
use dispatcher::time::monotonic_now;

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
    /// Nothing listens, or nothing is found.
    Refusing,
    /// Breaks off, before or after it has the request.
    Resetting,
    /// Never answers, whether or not it has the request.
    Hanging,
    /// Any of these, by the request.
    Mixed,
}

const MOODS: [Mood; 7] =
    [Mood::Healthy, Mood::Late, Mood::Failing, Mood::Refusing, Mood::Resetting, Mood::Hanging, Mood::Mixed];

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
    Status(u16),
    Broken(Failure),
}

/// All origins, as the workers reach them.
pub struct Origins {
    moods: RefCell<Vec<Mood>>,
    random: RefCell<Xorshift>,
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
        checker: Rc<RefCell<Checker>>,
        trace: Trace,
        room: Box<dyn Fn(Writing, usize) -> bool>,
    ) -> Self {
        let (moods, random) = (RefCell::new(moods), RefCell::new(Xorshift::new(seed)));
        Self { moods, random, checker, trace, room }
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
        let either = random.next().is_multiple_of(2);
        match mood {
            Mood::Healthy => Script { reaches: Some(soon), ends: soon, end: End::Status(200 + u16::from(either) * 2) },
            Mood::Late => Script { reaches: Some(soon), ends: late, end: End::Status(200) },
            Mood::Failing => Script { reaches: Some(soon), ends: later, end: End::Status(status) },
            Mood::Refusing => {
                let failure = [Failure::Refused, Failure::Dns, Failure::Denied][index(random, 3)];
                Script { reaches: None, ends: soon, end: End::Broken(failure) }
            }
            Mood::Resetting => {
                Script { reaches: either.then_some(soon), ends: later, end: End::Broken(Failure::Reset) }
            }
            Mood::Hanging | Mood::Mixed => {
                Script { reaches: either.then_some(soon), ends: u64::MAX, end: End::Status(200) }
            }
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
            End::Status(200..300) => (script.end, Ending::Delivered),
            End::Status(_) => (script.end, Ending::Answered),
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
        };
        let mark = if outbound.maybe_duplicate { ", maybe a duplicate" } else { "" };
        self.trace.note(format_args!("{id} attempt {} at {origin}{mark}", outbound.attempt));
        self.checker.borrow_mut().attempt_begins(id, arriving);
        let timeout = outbound.timeout.0;
        let script = self.script(origin, timeout);
        let (end, ending) = self.play(id, script, timeout).await;
        let (outcome, status) = match end {
            End::Status(status) => (outcome_of_answer(status, None), Some(status)),
            End::Broken(failure) => (Outcome::Failed(failure), None),
        };
        self.trace.note(format_args!("{id} attempt {} ends: {outcome:?} {status:?}", outbound.attempt));
        let bytes = outbound.head.len() + outbound.body.len();
        let ended = Ended { ending, says: says(end), at: clock::lived_ms() };
        self.checker.borrow_mut().attempt_ends(id, ended, |writing| (self.room)(writing, bytes));
        let answer = if status.is_some_and(|status| status >= 300) { self.answer() } else { Bytes::new() };
        let maybe_received = ending == Ending::Unanswered && script.reaches.is_some_and(|reaches| reaches < timeout);
        Attempt { outcome, status, advice: Advice::default(), maybe_received, elapsed: monotonic_now() - began, answer }
    }
}

/// What the end of an attempt says of its origin.
const fn says(end: End) -> Says {
    match end {
        End::Status(429 | 500..) => Says::Failing,
        End::Status(_) => Says::Alive,
        End::Broken(Failure::Denied) => Says::Nothing,
        End::Broken(_) => Says::Failing,
    }
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
