//! Messages that wait for memory: others pass them, their turn comes, and their origin's bounds are what they were.

use std::sync::Arc;

use proptest::prelude::*;

use crate::limits::{BREAKER_PROBE_MS_MIN, STARVED_LOOKS_MAX};
use crate::message::{OriginRef, Scheme, Slot};
use crate::schedule::breaker::{Rules, Signal};
use crate::schedule::gate::Gates;
use crate::schedule::scheduler::{Granted, Limits, Next, Now, Order, Scheduler, Supply};
use crate::time::{Millis, UnixMillis};

const LIMITS: Limits = Limits { slots: 4, wait_max: Millis(1_000_000) };
const RULES: Rules = Rules { failures: 1, probe_max: Millis(8000), in_flight_max: 2 };

fn scheduler() -> Scheduler {
    Scheduler::new(LIMITS, Gates::new(RULES), at(0).wall)
}

fn at(ms: u64) -> Now {
    Now { wall: UnixMillis(1_000_000 + ms), tick: ms }
}

fn add(scheduler: &mut Scheduler, slot: u32, host: &str) {
    scheduler.add(Slot(slot), OriginRef { scheme: Scheme::Http, host, port: 80 }, UnixMillis(0), 0, false);
}

/// Slots from 100 on are large.
const fn small_only(slot: Slot) -> Supply {
    if slot.0 < 100 { Supply::Enough } else { Supply::NotForThis }
}

/// What begins at `ms`, while there is memory for small ones only.
fn begun(scheduler: &mut Scheduler, ms: u64) -> Vec<u32> {
    let mut slots = Vec::new();
    while let Next::Order(order) = scheduler.next(at(ms), small_only) {
        slots.push(order.slot.0);
        scheduler.check();
    }
    slots
}

fn granted(scheduler: &mut Scheduler, ms: u64) -> Option<u32> {
    let granted = match scheduler.grant(at(ms)) {
        Granted::Begun(order) => Some(order.slot.0),
        Granted::Busy(_) | Granted::Declined => None,
    };
    scheduler.check();
    granted
}

fn end(scheduler: &mut Scheduler, slot: u32, signal: Signal, ms: u64) {
    scheduler.release(Slot(slot), signal, None, ms);
    scheduler.remove(Slot(slot));
    scheduler.check();
}

#[test]
fn what_waits_for_memory_is_passed_and_takes_no_slot_and_its_origins_take_turns() {
    let mut scheduler = scheduler();
    for (slot, host) in [(100, "a"), (101, "a"), (102, "a"), (103, "b"), (0, "a"), (1, "b")] {
        add(&mut scheduler, slot, host);
    }
    assert_eq!(begun(&mut scheduler, 0), [1, 0]);
    assert_eq!(scheduler.counts().ready, 4);
    assert_eq!(scheduler.first_starved(), Some(Slot(100)));
    assert_eq!([granted(&mut scheduler, 0), granted(&mut scheduler, 0)], [Some(100), Some(103)]);
    assert_eq!(scheduler.first_starved(), Some(Slot(101)));
}

#[test]
fn a_circuit_that_opens_while_a_message_waits_for_memory_is_no_circuit_it_passes() {
    let mut scheduler = scheduler();
    for slot in [100, 101, 0] {
        add(&mut scheduler, slot, "down");
    }
    add(&mut scheduler, 102, "up");
    assert_eq!(begun(&mut scheduler, 0), [0]);
    end(&mut scheduler, 0, Signal::Failing, 1);
    assert_eq!(granted(&mut scheduler, 1), None, "the circuit is open");
    assert_eq!(granted(&mut scheduler, 1), Some(102), "others need not wait for it");
    let Next::Wait(probe) = scheduler.next(at(1), small_only) else { panic!("a probe comes") };
    // As the probe it needs memory again, and is the only one.
    assert_eq!(begun(&mut scheduler, probe), [0_u32; 0]);
    assert_eq!(granted(&mut scheduler, probe), Some(100));
    assert_eq!(granted(&mut scheduler, probe), None, "while the probe is under way");
    assert_eq!(begun(&mut scheduler, probe + BREAKER_PROBE_MS_MIN), [0_u32; 0]);
    end(&mut scheduler, 100, Signal::Alive, probe);
    scheduler.next(at(probe + BREAKER_PROBE_MS_MIN), small_only);
    assert_eq!(granted(&mut scheduler, probe + BREAKER_PROBE_MS_MIN), Some(101));
}

#[test]
fn memory_that_is_there_is_kept_for_the_next_place_at_a_busy_origin() {
    let gates = Gates::new(RULES);
    let mut cores = [0, 1].map(|_| Scheduler::new(LIMITS, Arc::clone(&gates), at(0).wall));
    add(&mut cores[0], 100, "busy");
    for slot in 0..8 {
        add(&mut cores[0], slot, "busy");
        add(&mut cores[1], slot, "busy");
    }
    assert_eq!(begun(&mut cores[0], 0), [0, 1]);
    assert_eq!(begun(&mut cores[1], 0), [0_u32; 0]);
    assert!(matches!(cores[0].grant(at(1)), Granted::Busy(None)), "its own are under way");
    end(&mut cores[0], 0, Signal::Alive, 2);
    assert!(matches!(cores[0].grant(at(2)), Granted::Busy(Some(_))), "the other core was first");
    assert_eq!(begun(&mut cores[1], 2), [0]);
    end(&mut cores[0], 1, Signal::Alive, 3);
    assert_eq!(granted(&mut cores[0], 3), Some(100));
}

#[test]
fn a_backlog_of_large_messages_is_put_aside_in_pieces() {
    let mut scheduler = scheduler();
    let count = u32::try_from(2 * STARVED_LOOKS_MAX).unwrap();
    for slot in 0..count {
        add(&mut scheduler, 100 + slot, "a");
    }
    add(&mut scheduler, 0, "a");
    let mut tick = 0;
    let order = loop {
        match scheduler.next(at(tick), small_only) {
            Next::Order(order) => break order,
            Next::Wait(until) => assert_eq!(std::mem::replace(&mut tick, until) + 1, until),
            Next::Idle => panic!("a small one is there"),
        }
    };
    assert_eq!((order.slot, tick), (Slot(0), 1));
    scheduler.check();
}

#[test]
fn where_there_is_memory_for_none_nothing_moves() {
    let mut scheduler = scheduler();
    for (slot, host) in [(0, "a"), (1, "b"), (2, "c")] {
        add(&mut scheduler, slot, host);
    }
    for _ in 0..3 {
        assert!(matches!(scheduler.next(at(0), |_| Supply::ForNone), Next::Idle));
    }
    assert_eq!(scheduler.first_starved(), None);
    assert_eq!(begun(&mut scheduler, 0), [0, 1, 2]);
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32, u8),
    /// What there is memory for, by the number of the slot.
    Next(u64, u32),
    Grant(u64),
    End(usize, bool),
    Retry(usize),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..64_u32, 0..4_u8).prop_map(|(slot, host)| Step::Add(slot, host)),
        6 => (0..500_u64, 0..64_u32).prop_map(|(ahead, below)| Step::Next(ahead, below)),
        3 => (0..500_u64).prop_map(Step::Grant),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, fails)| Step::End(which, fails)),
        2 => any::<usize>().prop_map(Step::Retry),
        2 => any::<usize>().prop_map(Step::Remove),
    ]
}

proptest! {
    #[test]
    fn whatever_lacks_memory_bounds_hold_and_everything_is_delivered_once_there_is_some(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut scheduler = scheduler();
        let (mut now, mut live, mut running) = (0, Vec::<u32>::new(), Vec::<(u32, String)>::new());
        for step in steps {
            let mut ordered: Option<Order> = None;
            match step {
                Step::Add(slot, host) if !live.contains(&slot) => {
                    add(&mut scheduler, slot, &format!("host{host}"));
                    live.push(slot);
                }
                Step::Next(ahead, below) => {
                    now += ahead;
                    let supply = |slot: Slot| if slot.0 < below { Supply::Enough } else { Supply::NotForThis };
                    if let Next::Order(order) = scheduler.next(at(now), supply) {
                        prop_assert!(order.slot.0 < below, "it begins without memory");
                        ordered = Some(order);
                    }
                }
                Step::Grant(ahead) => {
                    now += ahead;
                    let first = scheduler.first_starved();
                    if let Granted::Begun(order) = scheduler.grant(at(now)) {
                        prop_assert_eq!(Some(order.slot), first);
                        ordered = Some(order);
                    }
                }
                Step::End(which, fails) if !running.is_empty() => {
                    let (slot, _) = running.swap_remove(which % running.len());
                    scheduler.release(Slot(slot), if fails { Signal::Failing } else { Signal::Alive }, None, now);
                    scheduler.reschedule(Slot(slot), at(now + 10).wall, 1, true);
                }
                Step::Retry(which) if !live.is_empty() => {
                    let slot = live[which % live.len()];
                    scheduler.reschedule(Slot(slot), at(now + 100).wall, 2, false);
                    running.retain(|(other, _)| *other != slot);
                }
                Step::Remove(which) if !live.is_empty() => {
                    let slot = live.swap_remove(which % live.len());
                    scheduler.remove(Slot(slot));
                    running.retain(|(other, _)| *other != slot);
                }
                _ => {}
            }
            if let Some(order) = ordered {
                prop_assert!(live.contains(&order.slot.0) && running.iter().all(|(slot, _)| *slot != order.slot.0));
                running.push((order.slot.0, order.origin.host().to_owned()));
                let beside = running.iter().filter(|(_, host)| *host == order.origin.host()).count();
                prop_assert!(beside <= 2, "more than may be in flight to one origin");
            }
            scheduler.check();
        }
        for (slot, _) in running.drain(..) {
            end(&mut scheduler, slot, Signal::Alive, now);
            live.retain(|other| *other != slot);
        }
        for _ in 0..1000 {
            now += 10_000;
            let begun = match scheduler.grant(at(now)) {
                Granted::Begun(order) => Some(order),
                Granted::Busy(_) | Granted::Declined => match scheduler.next(at(now), |_| Supply::Enough) {
                    Next::Order(order) => Some(order),
                    Next::Wait(_) | Next::Idle => None,
                },
            };
            if let Some(Order { slot, .. }) = begun {
                end(&mut scheduler, slot.0, Signal::Alive, now);
                live.retain(|other| *other != slot.0);
            }
        }
        prop_assert!(live.is_empty(), "{live:?} are left");
    }
}
