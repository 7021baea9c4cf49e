//! An origin that is down for a day, and what waits for it: two cores' schedules in simulated time, without disk or
//! sockets.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use dispatcher::message::{MessageId, OriginRef, Scheme, Slot, Statuses};
use dispatcher::schedule::attempt::{Advice, Attempt, Failure, Outcome};
use dispatcher::schedule::backoff::Backoff;
use dispatcher::schedule::breaker::Rules;
use dispatcher::schedule::gate::Gates;
use dispatcher::schedule::scheduler::{Limits, Next, Now, Scheduler, Supply};
use dispatcher::shard::conclude::{self, Before, Conclusion, RetryRules};
use dispatcher::time::{Millis, UnixMillis};
use dispatcher::wal::payload::Tried;

const DAY_MS: u64 = 86_400_000;
const BEGAN: u64 = 1_800_000_000_000;
const RULES: Rules = Rules { failures: 5, probe_max: Millis(60_000), in_flight_max: 64 };
const MESSAGES: u32 = 100_000;
const CORES: u32 = 2;
const ANSWER_MS: u64 = 5;

const fn retry_rules() -> RetryRules {
    let backoff =
        Backoff { base: Millis(1000), factor: 3.0, max: Millis::from_secs(6 * 3600), jitter: 0.2, retries_max: 10 };
    let retry_after_max = Millis::from_secs(86_400);
    RetryRules { backoff, retry_after_max, no_retry: Statuses::NONE, message_ttl: None }
}

/// Two cores, and an origin that is up from a certain tick on.
struct World {
    cores: Vec<Scheduler>,
    up_from: u64,
    tick: u64,
    /// When each attempt under way ends: tick, core, slot.
    ends: BinaryHeap<Reverse<(u64, usize, u32)>>,
    histories: HashMap<(usize, u32), Vec<Tried>>,
    attempts: u64,
    delivered: u32,
    most_in_flight: usize,
}

/// Ids that are as old as slots are low.
fn id_of(slot: Slot) -> MessageId {
    MessageId(u128::from(slot.0).to_be_bytes())
}

const ORIGIN: OriginRef<'_> = OriginRef { scheme: Scheme::Http, host: "b", port: 80 };

impl World {
    fn new(up_from: u64) -> Self {
        let limits = Limits { slots: 320, wait_max: retry_rules().wait_max() };
        let gates = Gates::new(RULES);
        let core = |_| Scheduler::new(limits, gates.clone(), UnixMillis(BEGAN));
        Self {
            cores: (0..CORES).map(core).collect(),
            up_from,
            tick: 0,
            ends: BinaryHeap::new(),
            histories: HashMap::new(),
            attempts: 0,
            delivered: 0,
            most_in_flight: 0,
        }
    }

    fn now(&self) -> Now {
        Now { wall: UnixMillis(BEGAN + self.tick), tick: self.tick }
    }

    /// Begins what may begin on every core; returns the next tick at which there is something to do.
    fn turn(&mut self) -> Option<u64> {
        let now = self.now();
        let mut waits = Vec::new();
        for (number, core) in self.cores.iter_mut().enumerate() {
            core.place_released(id_of);
            loop {
                match core.next(now, |_| Supply::Enough) {
                    Next::Order(order) => {
                        self.attempts += 1;
                        let lasts = if self.tick >= self.up_from { ANSWER_MS } else { 1 };
                        self.ends.push(Reverse((self.tick + lasts, number, order.slot.0)));
                    }
                    Next::Wait(until) => break waits.push(until),
                    Next::Idle => break,
                }
            }
        }
        self.most_in_flight = self.most_in_flight.max(self.ends.len());
        waits.into_iter().chain(self.ends.peek().map(|Reverse((end, ..))| *end)).min()
    }

    /// Ends the attempt that ends first, if it is due by now.
    fn end_one(&mut self) -> bool {
        let Some(Reverse((end, core, slot))) = self.ends.peek().copied() else { return false };
        if end > self.tick {
            return false;
        }
        self.ends.pop();
        let is_up = self.tick >= self.up_from + ANSWER_MS;
        let outcome = if is_up { Outcome::Delivered } else { Outcome::Failed(Failure::Refused) };
        let (status, answer) = (is_up.then_some(200), Bytes::new());
        let advice = Advice::default();
        let attempt = Attempt { outcome, status, advice, maybe_received: false, elapsed: Duration::ZERO, answer };
        let (now, scheduler) = (self.now(), &mut self.cores[core]);
        let counts = scheduler.release(Slot(slot), conclude::signal(&attempt), None, now.tick).counts;
        let history = self.histories.remove(&(core, slot)).unwrap_or_default();
        let number = u16::try_from(history.len() + 1).unwrap();
        let before =
            Before { accepted: now.wall, attempt: number, written: number - 1, history, maybe_duplicate: false };
        match conclude::conclude(&attempt, before, counts, &retry_rules(), now.wall, end.wrapping_mul(0x9E37_79B9)) {
            Conclusion::Delivered => {
                self.delivered += 1;
                scheduler.remove(Slot(slot));
            }
            Conclusion::Retry(progress) => {
                scheduler.reschedule(Slot(slot), progress.due, progress.attempts, false);
                self.histories.insert((core, slot), progress.history);
            }
            Conclusion::GiveUp(failure, progress) => panic!("{slot} is given up: {failure:?} {progress:?}"),
        }
        true
    }

    /// Lives until nothing is left to do, or until a tick.
    fn live(&mut self, until: u64, mut look: impl FnMut(&Self)) {
        while let Some(next) = self.turn().filter(|next| *next <= until) {
            look(self);
            self.tick = self.tick.max(next);
            while self.end_one() {}
        }
    }
}

/// Checks that nothing runs ahead of the ramp: one at first, twice as many with each success.
fn drain(world: &mut World) {
    let delivered_before = world.delivered;
    world.live(u64::MAX, |world| {
        let successes = (world.delivered - delivered_before).saturating_sub(1);
        let bound = 1_usize << successes.min(6);
        assert!(world.ends.len() <= bound, "{} in flight after {successes} successes", world.ends.len());
    });
    assert_eq!(world.delivered, MESSAGES);
    assert_eq!(world.most_in_flight, 64, "in the end the origin gets all that it may");
}

#[test]
fn a_day_of_outage_costs_few_attempts_and_no_message_and_then_the_backlog_ramps_up() {
    let mut world = World::new(DAY_MS);
    for slot in 0..MESSAGES {
        let core = &mut world.cores[(slot % CORES) as usize];
        core.add(Slot(slot / CORES), ORIGIN, UnixMillis(0), 0, false);
    }
    world.live(DAY_MS - 1, |_| {});
    assert_eq!(world.delivered, 0);
    assert!(world.attempts < 2000, "{} attempts", world.attempts);
    eprintln!("a day of outage: {} attempts", world.attempts);
    world.tick = DAY_MS;
    drain(&mut world);
    eprintln!("and {} in all, drained {} ms after the end of the outage", world.attempts, world.tick - DAY_MS);
}

#[test]
fn a_backlog_that_is_overdue_after_a_restart_ramps_up_and_does_not_stampede() {
    let mut world = World::new(0);
    world.tick = ANSWER_MS;
    for slot in 0..MESSAGES {
        let core = &mut world.cores[(slot % CORES) as usize];
        let due = UnixMillis(BEGAN - u64::from(slot));
        core.hold(Slot(slot / CORES), ORIGIN, due, 3, false, id_of);
    }
    for core in &mut world.cores {
        core.release_held();
    }
    let mut successes = 0;
    world.live(u64::MAX, |world| {
        successes = world.delivered;
        let bound = 1_usize << successes.min(6);
        assert!(world.ends.len() <= bound, "{} in flight after {successes} successes", world.ends.len());
    });
    assert_eq!((world.delivered, world.attempts), (MESSAGES, MESSAGES.into()));
}
