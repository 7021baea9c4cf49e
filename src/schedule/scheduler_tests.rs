//! Fairness, bounds and bookkeeping of the scheduler.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::message::Scheme;
use crate::schedule::breaker::Rules;

const LIMITS: Limits = Limits { slots: 8, wait_max: Millis(1_000_000) };
const RULES: Rules = Rules { failures: 0, probe_max: Millis(8000), in_flight_max: 6 };

fn scheduler() -> Scheduler {
    Scheduler::new(LIMITS, Gates::new(RULES), at(0).wall)
}

fn release(scheduler: &mut Scheduler, slot: u32, now: u64) {
    scheduler.release(Slot(slot), Signal::Alive, None, now);
}

fn origin(name: &str) -> OriginRef<'_> {
    OriginRef { scheme: Scheme::Http, host: name, port: 80 }
}

fn at(ms: u64) -> Now {
    Now { wall: UnixMillis(1_000_000 + ms), tick: ms }
}

fn orders(scheduler: &mut Scheduler, now: Now) -> Vec<(u32, String)> {
    let mut orders = Vec::new();
    while let Next::Order(order) = scheduler.next(now, |_| Supply::Enough) {
        orders.push((order.slot.0, order.origin.host().to_owned()));
        scheduler.check();
    }
    orders
}

fn add(scheduler: &mut Scheduler, slot: u32, host: &str, due: UnixMillis) {
    scheduler.add(Slot(slot), origin(host), due, 0, false);
}

#[test]
fn lanes_take_turns_and_keep_their_own_order() {
    let mut scheduler = scheduler();
    for (slot, host) in [(0, "a"), (1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "c")] {
        add(&mut scheduler, slot, host, UnixMillis(0));
    }
    let slots: Vec<u32> = orders(&mut scheduler, at(0)).into_iter().map(|(slot, _)| slot).collect();
    assert_eq!(slots, [0, 3, 5, 1, 4, 2]);
}

#[test]
fn a_lane_never_passes_origin_in_flight() {
    let mut scheduler = scheduler();
    for slot in 0..20 {
        add(&mut scheduler, slot, "hangs", UnixMillis(0));
    }
    assert_eq!(orders(&mut scheduler, at(0)).len(), 6);
    release(&mut scheduler, 0, 0);
    assert_eq!(orders(&mut scheduler, at(0)), [(6, "hangs".to_owned())]);
}

#[test]
fn a_lane_holds_at_most_half_of_the_slots_while_others_have_work() {
    let mut scheduler = scheduler();
    for slot in 0..20 {
        add(&mut scheduler, slot, "busy", UnixMillis(0));
        add(&mut scheduler, 20 + slot, "other", UnixMillis(0));
    }
    let orders = orders(&mut scheduler, at(0));
    assert_eq!(orders.len(), 8);
    assert_eq!(orders.iter().filter(|(_, host)| host == "busy").count(), 4);
}

#[test]
fn a_delayed_message_comes_at_its_due_time_and_not_before() {
    let mut scheduler = scheduler();
    add(&mut scheduler, 0, "a", at(500).wall);
    let Next::Wait(until) = scheduler.next(at(0), |_| Supply::Enough) else { panic!("nothing is due") };
    assert!(until <= 500);
    assert_eq!(orders(&mut scheduler, at(499)).len(), 0);
    assert_eq!(orders(&mut scheduler, at(500)).len(), 1);
}

#[test]
fn a_due_time_far_ahead_of_a_wrong_clock_is_clamped() {
    let mut scheduler = scheduler();
    add(&mut scheduler, 0, "a", UnixMillis(u64::MAX / 2));
    assert!(matches!(scheduler.next(at(0), |_| Supply::Enough), Next::Wait(_)));
    assert_eq!(orders(&mut scheduler, at(LIMITS.wait_max.0)).len(), 1);
}

#[test]
fn a_wall_clock_that_jumps_either_way_changes_no_wait_that_has_begun() {
    for jumped in [0, 1_000_000_000] {
        let mut scheduler = scheduler();
        add(&mut scheduler, 0, "a", at(500).wall);
        assert!(matches!(scheduler.next(at(0), |_| Supply::Enough), Next::Wait(_)));
        let wall = UnixMillis(jumped);
        assert!(matches!(scheduler.next(Now { wall, tick: 499 }, |_| Supply::Enough), Next::Wait(500)));
        assert!(matches!(scheduler.next(Now { wall, tick: 500 }, |_| Supply::Enough), Next::Order(_)));
    }
}

#[test]
fn two_shards_share_the_bound_on_an_origin_and_wake_each_other() {
    let gates = Gates::new(RULES);
    let mut shards = [0, 1].map(|_| Scheduler::new(LIMITS, Arc::clone(&gates), at(0).wall));
    for shard in &mut shards {
        for slot in 0..20 {
            add(shard, slot, "b", UnixMillis(0));
        }
    }
    assert_eq!(orders(&mut shards[0], at(0)).len(), 6);
    assert_eq!(orders(&mut shards[1], at(0)).len(), 0, "the bound is used up");
    for slot in 0..3 {
        release(&mut shards[0], slot, 1);
    }
    assert_eq!(orders(&mut shards[0], at(1)).len(), 2, "one place is the other's");
    assert_eq!(orders(&mut shards[1], at(1)), [(0, "b".to_owned())], "it was told of its turn");
    release(&mut shards[1], 0, 2);
    assert_eq!(orders(&mut shards[1], at(2)).len(), 0);
    assert_eq!(orders(&mut shards[0], at(2)).len(), 1, "now it is the first one's turn again");
    shards.iter().for_each(Scheduler::check);
}

#[test]
fn while_a_circuit_is_open_its_lane_waits_and_others_go_on() {
    let gates = Gates::new(Rules { failures: 2, ..RULES });
    let mut scheduler = Scheduler::new(LIMITS, gates, at(0).wall);
    for slot in 0..10 {
        add(&mut scheduler, slot, "down", UnixMillis(0));
    }
    assert_eq!(orders(&mut scheduler, at(0)).len(), 6);
    let met_closed: Vec<bool> =
        (0..6).map(|slot| scheduler.release(Slot(slot), Signal::Failing, None, 0).counts).collect();
    assert_eq!(met_closed, [true, true, false, false, false, false]);
    (0..6).for_each(|slot| scheduler.remove(Slot(slot)));
    assert!(matches!(scheduler.next(at(0), |_| Supply::Enough), Next::Wait(1000)));
    add(&mut scheduler, 20, "up", UnixMillis(0));
    assert_eq!(orders(&mut scheduler, at(500)), [(20, "up".to_owned())]);
    assert_eq!(orders(&mut scheduler, at(1000)), [(6, "down".to_owned())], "a probe");
    assert!(!scheduler.release(Slot(6), Signal::Alive, None, 1001).counts);
    scheduler.remove(Slot(6));
    assert_eq!(orders(&mut scheduler, at(1001)), [(7, "down".to_owned())], "the ramp");
    scheduler.check();
}

#[test]
fn a_probe_that_ends_without_an_attempt_leaves_the_next_one_free() {
    let gates = Gates::new(Rules { failures: 1, ..RULES });
    let mut scheduler = Scheduler::new(LIMITS, gates, at(0).wall);
    for slot in 0..5 {
        add(&mut scheduler, slot, "down", UnixMillis(0));
    }
    assert_eq!(orders(&mut scheduler, at(0)).len(), 5);
    for slot in 0..5 {
        scheduler.release(Slot(slot), Signal::Failing, None, 0);
        scheduler.reschedule(Slot(slot), UnixMillis(0), 1, false);
    }
    assert_eq!(orders(&mut scheduler, at(1000)), [(0, "down".to_owned())]);
    // It ends by a record that was found meanwhile.
    scheduler.remove(Slot(0));
    assert_eq!(orders(&mut scheduler, at(1000)), [(1, "down".to_owned())]);
    scheduler.check();
}

/// Ids that are as old as slots are low.
fn id_of(slot: Slot) -> MessageId {
    MessageId(u128::from(slot.0).to_be_bytes())
}

fn hold(scheduler: &mut Scheduler, slot: u32, due: UnixMillis) {
    scheduler.hold(Slot(slot), origin("a"), due, 0, false, id_of);
}

fn slots(scheduler: &mut Scheduler, now: Now) -> Vec<u32> {
    scheduler.place_released(id_of);
    let mut slots = Vec::new();
    // Few at first: an origin whose messages waited for a restart is begun with slowly.
    loop {
        let orders = orders(scheduler, now);
        if orders.is_empty() {
            return slots;
        }
        for (slot, _) in orders {
            release(scheduler, slot, now.tick);
            slots.push(slot);
        }
    }
}

#[test]
fn what_is_held_comes_only_when_released_and_may_be_a_duplicate_but_what_comes_meanwhile_is_not() {
    let mut scheduler = scheduler();
    hold(&mut scheduler, 0, UnixMillis(0));
    hold(&mut scheduler, 1, at(1000).wall);
    add(&mut scheduler, 2, "a", UnixMillis(0));
    scheduler.check();
    assert_eq!((slots(&mut scheduler, at(0)), scheduler.counts().held), (vec![2], 2));
    assert!(matches!(scheduler.next(at(400), |_| Supply::Enough), Next::Idle));
    scheduler.release_held();
    assert!(matches!(scheduler.next(at(400), |_| Supply::Enough), Next::Wait(_)));
    assert_eq!(slots(&mut scheduler, at(500)), [0]);
    assert_eq!(slots(&mut scheduler, at(1000)), [1]);
    assert_eq!([0, 1, 2].map(|slot| scheduler.progress(Slot(slot)).1), [true, true, false]);
}

#[test]
fn what_becomes_known_of_a_held_message_counts_once_it_is_released() {
    let mut scheduler = scheduler();
    for slot in 0..4 {
        hold(&mut scheduler, slot, UnixMillis(0));
    }
    scheduler.reschedule(Slot(0), at(700).wall, 3, false);
    scheduler.remove(Slot(2));
    scheduler.check();
    assert_eq!(slots(&mut scheduler, at(0)), [0; 0]);
    scheduler.release_held();
    assert_eq!(slots(&mut scheduler, at(0)), [1, 3]);
    assert_eq!(slots(&mut scheduler, at(700)), [0]);
    assert_eq!(scheduler.progress(Slot(0)), (3, true));
}

#[test]
fn a_release_takes_its_time_and_lets_others_pass() {
    let mut scheduler = scheduler();
    let held = u32::try_from(2 * RELEASED_MAX + 1).expect("a few");
    for slot in 0..held {
        hold(&mut scheduler, slot, at(1_000_000).wall);
    }
    scheduler.release_held();
    add(&mut scheduler, held, "b", UnixMillis(0));
    // Held again while the first are on their way.
    hold(&mut scheduler, held + 1, UnixMillis(0));
    for left in [RELEASED_MAX + 2, 2, 1, 1] {
        scheduler.place_released(id_of);
        assert_eq!(scheduler.counts().held, left);
        match scheduler.next(at(0), |_| Supply::Enough) {
            Next::Order(order) => assert_eq!(order.slot, Slot(held)),
            Next::Wait(tick) => assert!(tick == 1 || left == 1, "it goes on soon"),
            Next::Idle => panic!("messages are delayed"),
        }
    }
    scheduler.release_held();
    assert_eq!(slots(&mut scheduler, at(0)), [held + 1]);
    scheduler.check();
}

proptest! {
    #[test]
    fn what_is_held_in_any_order_is_released_oldest_first(
        generations in prop::collection::vec(prop::collection::btree_set(0..1000_u32, 0..60), 1..8),
        taken in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
        half in any::<bool>(),
    ) {
        // As in a log whose survivors were written again, some of them again and again: each generation is in order.
        let gates = Gates::new(Rules { in_flight_max: 1000, ..RULES });
        let mut scheduler = Scheduler::new(Limits { slots: 1000, ..LIMITS }, gates, at(0).wall);
        let mut live = Vec::new();
        for slot in generations.into_iter().flatten() {
            if !live.contains(&slot) {
                hold(&mut scheduler, slot, UnixMillis(0));
                live.push(slot);
            }
        }
        if half {
            scheduler.release_held();
        }
        for which in taken {
            if !live.is_empty() {
                scheduler.remove(Slot(live.swap_remove(which.index(live.len()))));
                scheduler.check();
            }
        }
        scheduler.release_held();
        live.sort_unstable();
        prop_assert_eq!(slots(&mut scheduler, at(0)), live);
    }
}

#[test]
fn an_origin_without_messages_costs_nothing() {
    let mut scheduler = scheduler();
    for round in 0..1000 {
        let host = format!("host{round}");
        add(&mut scheduler, 0, &host, UnixMillis(0));
        assert_eq!(orders(&mut scheduler, at(round)).len(), 1);
        release(&mut scheduler, 0, round);
        scheduler.remove(Slot(0));
    }
    let (lanes, origins) = scheduler.lanes.sizes();
    assert!(lanes <= 3 && origins <= 2, "{lanes} lanes of {origins} origins");
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32, u8, u64),
    Hold(u32, u8, u64),
    Settle,
    Next(u64),
    Release(usize),
    Retry(usize, u64),
    Remove(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..64_u32, 0..5_u8, prop_oneof![Just(0), 1..5000_u64]).prop_map(|(slot, host, due)| Step::Add(slot, host, due)),
        2 => (0..64_u32, 0..5_u8, prop_oneof![Just(0), 1..5000_u64]).prop_map(|(slot, host, due)| Step::Hold(slot, host, due)),
        1 => Just(Step::Settle),
        6 => (0..500_u64).prop_map(Step::Next),
        3 => any::<usize>().prop_map(Step::Release),
        2 => (any::<usize>(), 1..5000_u64).prop_map(|(which, due)| Step::Retry(which, due)),
        2 => any::<usize>().prop_map(Step::Remove),
    ]
}

proptest! {
    #[test]
    fn every_message_is_in_one_state_whatever_happens_and_none_is_ordered_twice(steps in prop::collection::vec(step(), 1..200)) {
        let mut scheduler = scheduler();
        let (mut now, mut live, mut running, mut held) = (0, Vec::<u32>::new(), Vec::<u32>::new(), BTreeSet::new());
        for step in steps {
            match step {
                Step::Add(slot, host, due) if !live.contains(&slot) => {
                    let due = if due == 0 { UnixMillis(0) } else { at(now + due).wall };
                    add(&mut scheduler, slot, &format!("host{host}"), due);
                    live.push(slot);
                }
                Step::Hold(slot, host, due) if !live.contains(&slot) => {
                    let due = if due == 0 { UnixMillis(0) } else { at(now + due).wall };
                    scheduler.hold(Slot(slot), origin(&format!("host{host}")), due, 0, false, id_of);
                    live.push(slot);
                    held.insert(slot);
                }
                Step::Settle => {
                    scheduler.release_held();
                    held.clear();
                }
                Step::Next(ahead) => {
                    now += ahead;
                    scheduler.place_released(id_of);
                    if let Next::Order(order) = scheduler.next(at(now), |_| Supply::Enough) {
                        prop_assert!(live.contains(&order.slot.0) && !running.contains(&order.slot.0));
                        prop_assert!(!held.contains(&order.slot.0));
                        running.push(order.slot.0);
                    }
                }
                Step::Release(which) if !running.is_empty() => {
                    let slot = running[which % running.len()];
                    release(&mut scheduler, slot, now);
                    scheduler.reschedule(Slot(slot), at(now + 10).wall, 1, true);
                    running.retain(|other| *other != slot);
                }
                Step::Retry(which, due) if !live.is_empty() => {
                    let slot = live[which % live.len()];
                    scheduler.reschedule(Slot(slot), at(now + due).wall, 2, false);
                    running.retain(|other| *other != slot);
                }
                Step::Remove(which) if !live.is_empty() => {
                    let slot = live.swap_remove(which % live.len());
                    scheduler.remove(Slot(slot));
                    running.retain(|other| *other != slot);
                    held.remove(&slot);
                }
                _ => {}
            }
            scheduler.check();
        }
        // In the end all that is left can be delivered.
        for slot in running.drain(..) {
            release(&mut scheduler, slot, now);
            scheduler.remove(Slot(slot));
            live.retain(|other| *other != slot);
        }
        now += 1_000_000;
        scheduler.release_held();
        scheduler.place_released(id_of);
        while let Next::Order(order) = scheduler.next(at(now), |_| Supply::Enough) {
            release(&mut scheduler, order.slot.0, now);
            scheduler.remove(order.slot);
            live.retain(|other| *other != order.slot.0);
            scheduler.check();
        }
        prop_assert!(live.is_empty());
    }
}
