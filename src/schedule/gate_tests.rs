//! An origin between cores: the bound is exact, turns are fair, and nobody waits for nothing.

use std::sync::atomic::AtomicUsize;
use std::task::Wake;

use proptest::prelude::*;

use super::*;
use crate::message::Scheme;
use crate::time::Millis;

const RULES: Rules = Rules { failures: 3, probe_max: Millis(8000), in_flight_max: 4 };
const ORIGIN: OriginRef<'_> = OriginRef { scheme: Scheme::Http, host: "b", port: 80 };

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A core with one lane to the origin.
struct Core {
    bell: Arc<Bell>,
    woken: Arc<Woken>,
    own: u32,
}

impl Core {
    fn new() -> Self {
        let (bell, woken) = (Arc::<Bell>::default(), Arc::<Woken>::default());
        bell.set_waker(Arc::clone(&woken).into());
        Self { bell, woken, own: 0 }
    }

    fn caller(&self) -> Caller<'_> {
        Caller { bell: &self.bell, lane: 7 }
    }

    fn enter(&mut self, gate: &Gate, now: u64) -> Entry {
        let entry = gate.enter(self.caller(), self.own, now);
        self.own += u32::from(matches!(entry, Entry::Entered { .. }));
        entry
    }

    fn leave(&mut self, gate: &Gate, signal: Signal, now: u64) -> bool {
        self.own -= 1;
        gate.leave(self.caller(), None, signal, None, now)
    }
}

const ENTERED: Entry = Entry::Entered { probe: None };

#[test]
fn the_bound_is_over_all_cores_and_who_waits_is_woken_when_it_is_its_turn() {
    let gate = Gates::new(RULES).open(ORIGIN);
    let (mut a, mut b) = (Core::new(), Core::new());
    for _ in 0..4 {
        assert_eq!(a.enter(&gate, 0), ENTERED);
    }
    assert_eq!(a.enter(&gate, 0), Entry::AllOwn, "only its own end will help it");
    assert_eq!(b.enter(&gate, 0), Entry::Turn(TURN_MS_MAX));
    assert_eq!((b.bell.rung(), b.woken.0.load(Ordering::Relaxed)), (vec![], 0));
    a.leave(&gate, Signal::Alive, 1);
    assert_eq!((b.bell.rung(), b.woken.0.load(Ordering::Relaxed)), (vec![7], 1));
    assert_eq!(a.enter(&gate, 1), Entry::Turn(1 + TURN_MS_MAX), "it is the other's turn");
    assert_eq!(b.enter(&gate, 1), ENTERED);
}

#[test]
fn an_origin_that_takes_one_at_a_time_is_shared_in_turns() {
    let gate = Gates::new(Rules { in_flight_max: 1, ..RULES }).open(ORIGIN);
    let mut cores = [Core::new(), Core::new(), Core::new()];
    let mut turns = [0; 3];
    for now in 0..300 {
        for (number, core) in cores.iter_mut().enumerate() {
            if core.own > 0 {
                core.leave(&gate, Signal::Alive, now);
                // Whoever has just had it wants it again at once.
                assert_ne!(core.enter(&gate, now), ENTERED);
            } else if core.enter(&gate, now) == ENTERED {
                turns[number] += 1;
            }
        }
    }
    assert!(turns.iter().all(|count| (70..=150).contains(count)), "{turns:?}");
}

#[test]
fn a_turn_that_is_not_taken_passes_on() {
    let gate = Gates::new(Rules { in_flight_max: 1, ..RULES }).open(ORIGIN);
    let (mut a, mut b, mut c) = (Core::new(), Core::new(), Core::new());
    assert_eq!(a.enter(&gate, 0), ENTERED);
    b.enter(&gate, 0);
    c.enter(&gate, 0);
    a.leave(&gate, Signal::Alive, 5);
    assert_eq!(c.enter(&gate, 6), Entry::Turn(6 + TURN_MS_MAX), "b comes first");
    assert_eq!(c.enter(&gate, 6 + TURN_MS_MAX), ENTERED, "but does not come");
    // One that says so passes it on at once.
    b.enter(&gate, 40);
    a.enter(&gate, 40);
    c.leave(&gate, Signal::Alive, 40);
    gate.withdraw(b.caller(), 40);
    assert_eq!(a.bell.rung(), [7]);
    assert_eq!(a.enter(&gate, 40), ENTERED);
}

#[test]
fn a_core_that_is_first_and_has_no_use_for_it_holds_nobody_up() {
    let gate = Gates::new(Rules { in_flight_max: 1, ..RULES }).open(ORIGIN);
    let (mut a, mut b) = (Core::new(), Core::new());
    a.enter(&gate, 0);
    a.own = 0;
    gate.leave(a.caller(), None, Signal::Failing, Some(5000), 0);
    assert_eq!([a.enter(&gate, 1), b.enter(&gate, 1)], [Entry::Shut(5000); 2]);
    // The time is up by itself, and no delivery ends that would tell the first of its turn: its slots may all be taken.
    assert_eq!(b.enter(&gate, 5000), Entry::Turn(5000 + TURN_MS_MAX));
    assert_eq!((a.bell.rung(), a.woken.0.load(Ordering::Relaxed)), (vec![7], 1));
    assert_eq!(b.enter(&gate, 5000 + TURN_MS_MAX), ENTERED);
}

#[test]
fn while_the_circuit_is_open_one_core_probes_and_the_others_hear_of_its_success() {
    let gates = Gates::new(RULES);
    let gate = gates.open(ORIGIN);
    let (mut a, mut b) = (Core::new(), Core::new());
    for _ in 0..RULES.failures {
        a.enter(&gate, 0);
        assert!(a.leave(&gate, Signal::Failing, 0));
    }
    assert_eq!(gates.open_origins().load(Ordering::Relaxed), 1);
    assert_eq!([a.enter(&gate, 0), b.enter(&gate, 0)], [Entry::Shut(1000); 2]);
    assert_eq!(b.enter(&gate, 1000), Entry::Turn(1000 + TURN_MS_MAX), "a was first");
    let Entry::Entered { probe: Some(probe) } = a.enter(&gate, 1000) else { panic!("a probe is due") };
    assert_eq!(b.enter(&gate, 1000), Entry::Shut(1000 + BREAKER_PROBE_MS_MIN));
    assert!(!gate.leave(a.caller(), Some(probe), Signal::Alive, None, 1200));
    assert_eq!(b.bell.rung(), [7]);
    assert_eq!(gates.open_origins().load(Ordering::Relaxed), 0);
    assert_eq!(b.enter(&gate, 1200), ENTERED);
}

#[test]
fn an_origin_that_asks_to_be_left_alone_is_so_by_all_cores() {
    let gate = Gates::new(RULES).open(ORIGIN);
    let (mut a, mut b) = (Core::new(), Core::new());
    a.enter(&gate, 0);
    a.own = 0;
    gate.leave(a.caller(), None, Signal::Failing, Some(5000), 0);
    assert_eq!([a.enter(&gate, 10), b.enter(&gate, 10)], [Entry::Shut(5000); 2]);
    assert_eq!(a.enter(&gate, 5000), ENTERED);
}

#[test]
fn what_is_known_of_an_origin_outlives_its_messages_within_bounds() {
    let gates = Gates::new(RULES);
    let fail = |host: &str, times| {
        let origin = OriginRef { host, ..ORIGIN };
        for _ in 0..times {
            let (gate, mut core) = (gates.open(origin), Core::new());
            core.enter(&gate, 0);
            core.leave(&gate, Signal::Failing, 0);
            gates.close(&origin.to_origin(), 0);
        }
    };
    fail("b", RULES.failures);
    assert_eq!(gates.open_origins().load(Ordering::Relaxed), 1, "each failure was of a message alone");
    assert_eq!(Core::new().enter(&gates.open(ORIGIN), 0), Entry::Shut(1000));
    gates.close(&ORIGIN.to_origin(), 0);
    for number in 0..2 * ORIGINS_REMEMBERED_MAX {
        fail(&format!("host{number}"), 1);
    }
    let table = locked(&gates.table);
    assert!(table.gates.len() <= ORIGINS_REMEMBERED_MAX && table.idle.len() <= ORIGINS_REMEMBERED_MAX);
    assert_eq!(gates.open_origins().load(Ordering::Relaxed), 0, "what is forgotten is not counted");
}

#[test]
fn an_origin_without_trouble_is_forgotten_with_its_last_message() {
    let gates = Gates::new(RULES);
    let (first, second) = (gates.open(ORIGIN), gates.open(ORIGIN));
    assert!(Arc::ptr_eq(&first, &second));
    let mut core = Core::new();
    core.enter(&first, 0);
    core.leave(&first, Signal::Alive, 0);
    gates.close(&ORIGIN.to_origin(), 0);
    assert_eq!(locked(&gates.table).gates.len(), 1);
    gates.close(&ORIGIN.to_origin(), 0);
    assert!(locked(&gates.table).gates.is_empty());
}

#[test]
fn cores_on_threads_never_pass_the_bound() {
    let gate = Gates::new(RULES).open(ORIGIN);
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut core = Core::new();
                for now in 0..20_000 {
                    if core.enter(&gate, now) == ENTERED {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        running.fetch_sub(1, Ordering::SeqCst);
                        core.leave(&gate, Signal::Alive, now);
                    }
                    core.bell.rung();
                }
                gate.withdraw(core.caller(), 20_000);
            });
        }
    });
    let most = most.into_inner();
    assert!((1..=4).contains(&most), "{most}");
}

proptest! {
    #[test]
    fn whatever_cores_do_the_bound_holds_and_who_comes_again_gets_in(
        steps in prop::collection::vec((0..3_usize, 0..4_u8, 0..30_u64), 1..300),
    ) {
        let gate = Gates::new(Rules { failures: 0, ..RULES }).open(ORIGIN);
        let mut cores = [Core::new(), Core::new(), Core::new()];
        let mut now = 0;
        for (number, step, ahead) in steps {
            now += ahead;
            let core = &mut cores[number];
            match step {
                0 | 1 => drop(core.enter(&gate, now)),
                2 if core.own > 0 => drop(core.leave(&gate, Signal::Failing, now)),
                _ => gate.withdraw(core.caller(), now),
            }
            prop_assert!(cores.iter().map(|core| core.own).sum::<u32>() <= RULES.in_flight_max);
        }
        for core in &mut cores {
            while core.own > 0 {
                core.leave(&gate, Signal::Alive, now);
            }
        }
        for core in &mut cores {
            // At the latest when those before it have let their turns pass.
            let entered = (0..4).any(|round| core.enter(&gate, now + round * TURN_MS_MAX) == ENTERED);
            prop_assert!(entered);
            core.leave(&gate, Signal::Alive, now + 4 * TURN_MS_MAX);
            now += 4 * TURN_MS_MAX;
        }
    }
}
