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
        gate.leave(self.caller(), None, signal, None, now).counts
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
    assert_eq!(gates.figures(0).open_origins, 1);
    assert_eq!([a.enter(&gate, 0), b.enter(&gate, 0)], [Entry::Shut(1000); 2]);
    assert_eq!(b.enter(&gate, 1000), Entry::Turn(1000 + TURN_MS_MAX), "a was first");
    let Entry::Entered { probe: Some(probe) } = a.enter(&gate, 1000) else { panic!("a probe is due") };
    assert_eq!(b.enter(&gate, 1000), Entry::Shut(1000 + BREAKER_PROBE_MS_MIN));
    assert_eq!(
        gate.leave(a.caller(), Some(probe), Signal::Alive, None, 1200),
        Left { counts: false, turned: Some(Turned::Closed) }
    );
    assert_eq!(b.bell.rung(), [7]);
    assert_eq!(gates.figures(0).open_origins, 0);
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
    let gates = without_names();
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
    assert_eq!(gates.figures(0).open_origins, 1, "each failure was of a message alone");
    assert_eq!(Core::new().enter(&gates.open(ORIGIN), 0), Entry::Shut(1000));
    gates.close(&ORIGIN.to_origin(), 0);
    for number in 0..2 * ORIGINS_REMEMBERED_MAX {
        fail(&format!("host{number}"), 1);
    }
    let remembered = locked(&gates.table).gates.len() - NAMED_ORIGINS_MAX;
    assert!(remembered <= ORIGINS_REMEMBERED_MAX, "{remembered}");
    assert!(locked(&gates.table).idle.len() <= ORIGINS_REMEMBERED_MAX);
    assert_eq!(gates.figures(0).open_origins, 0, "what is forgotten is not counted");
}

#[test]
fn an_origin_without_trouble_is_forgotten_with_its_last_message() {
    let gates = without_names();
    let (first, second) = (gates.open(ORIGIN), gates.open(ORIGIN));
    assert!(Arc::ptr_eq(&first, &second));
    let mut core = Core::new();
    core.enter(&first, 0);
    core.leave(&first, Signal::Alive, 0);
    gates.close(&ORIGIN.to_origin(), 0);
    assert_eq!(locked(&gates.table).gates.len(), NAMED_ORIGINS_MAX + 1);
    gates.close(&ORIGIN.to_origin(), 0);
    assert_eq!(locked(&gates.table).gates.len(), NAMED_ORIGINS_MAX);
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

fn origin(number: usize) -> Origin {
    Origin::parse(&format!("b{number}.example"), Scheme::Http).expect("an origin")
}

/// Opens a gate and has so many messages come for it and end.
fn busy(gates: &Gates, number: usize, messages: usize) -> Arc<Gate> {
    let gate = gates.open(origin(number).borrowed());
    for _ in 0..messages {
        gate.add_message(origin(number).borrowed());
        gate.count(Counted::Delivered);
        gate.remove_message();
    }
    gates.close(&origin(number), 0);
    gate
}

/// Gates of which others have all names.
fn without_names() -> Arc<Gates> {
    let gates = Gates::new(RULES);
    (0..NAMED_ORIGINS_MAX).for_each(|number| drop(busy(&gates, number, 0)));
    gates
}

fn names(figures: &Figures) -> Vec<String> {
    figures.named.iter().map(|named| named.origin.clone()).collect()
}

#[test]
fn the_first_origins_have_names_in_the_metrics_though_they_come_and_go_and_the_others_are_one() {
    let gates = Gates::new(RULES);
    for number in 0..NAMED_ORIGINS_MAX + 10 {
        busy(&gates, number, 3);
    }
    let figures = gates.figures(0);
    let mut expected: Vec<String> = (0..NAMED_ORIGINS_MAX).map(|number| origin(number).to_string()).collect();
    expected.sort();
    assert_eq!(names(&figures), expected);
    assert!(figures.named.iter().all(|named| (named.ended, named.messages) == ([3, 0, 0], 0)));
    assert_eq!(figures.others_ended, [30, 0, 0]);
    assert_eq!(locked(&gates.table).gates.len(), NAMED_ORIGINS_MAX, "of the others nothing is remembered");
}

#[test]
fn the_busiest_get_names_a_few_at_a_time_and_no_counter_falls() {
    let gates = Gates::new(RULES);
    // Named, and as busy as their number.
    (0..NAMED_ORIGINS_MAX).for_each(|number| drop(busy(&gates, number, number)));
    let busier = 100..100 + NAMES_DEALT_MAX + 3;
    busier.clone().for_each(|number| drop(busy(&gates, number, number * 10)));
    // As busy as the least of them, or less than twice as busy: no reason to change names.
    busy(&gates, 90, 1);
    let others = gates.figures(NAMES_DEALT_MS_MIN - 1).others_ended;
    let before = names(&gates.figures(NAMES_DEALT_MS_MIN - 1));
    assert!(busier.clone().all(|number| !before.contains(&origin(number).to_string())), "too soon");
    let dealt = gates.figures(NAMES_DEALT_MS_MIN);
    let gone = (0..NAMES_DEALT_MAX).map(|number| origin(number).to_string());
    let come = busier.rev().take(NAMES_DEALT_MAX).map(|number| origin(number).to_string());
    assert!(gone.into_iter().all(|name| !names(&dealt).contains(&name)), "{:?}", names(&dealt));
    for name in come {
        let named = dealt.named.iter().find(|named| named.origin == name).expect("it is busy");
        assert_eq!(named.ended, [0; 3], "what it had stays with the others");
    }
    assert_eq!(dealt.others_ended, others);
    assert_eq!((dealt.named.len(), locked(&gates.table).gates.len()), (NAMED_ORIGINS_MAX, NAMED_ORIGINS_MAX));
}

#[test]
fn an_origin_whose_circuit_is_open_is_told_with_its_name_and_is_remembered_when_it_loses_it() {
    let gates = Gates::new(RULES);
    let (gate, mut core) = (gates.open(origin(0).borrowed()), Core::new());
    for _ in 0..RULES.failures {
        assert_eq!(core.enter(&gate, 0), ENTERED);
        core.leave(&gate, Signal::Failing, 0);
    }
    (1..NAMED_ORIGINS_MAX).for_each(|number| drop(busy(&gates, number, 1000)));
    gates.close(&origin(0), 0);
    let figures = gates.figures(0);
    let open: Vec<_> = figures.named.iter().filter(|named| named.is_open).map(|named| &*named.origin).collect();
    assert_eq!((open, figures.open_origins), (vec!["http://b0.example"], 1));
    busy(&gates, 77, 10);
    let figures = gates.figures(NAMES_DEALT_MS_MIN);
    assert!(!names(&figures).contains(&"http://b0.example".to_owned()));
    assert_eq!(figures.open_origins, 1);
    assert!(Arc::ptr_eq(&gate, &gates.open(origin(0).borrowed())), "its circuit is still known");
}

#[test]
fn a_live_backlog_keeps_a_name_though_nothing_comes_for_it_any_more() {
    let gates = Gates::new(RULES);
    let gate = gates.open(origin(0).borrowed());
    (0..500).for_each(|_| gate.add_message(origin(0).borrowed()));
    (1..NAMED_ORIGINS_MAX).for_each(|number| drop(busy(&gates, number, 1000)));
    for round in 1..4 {
        (1..NAMED_ORIGINS_MAX).for_each(|number| drop(busy(&gates, number, 1000)));
        busy(&gates, 200, 900);
        let figures = gates.figures(round * NAMES_DEALT_MS_MIN);
        let first = figures.named.iter().find(|named| named.origin == "http://b0.example").expect("it has a name");
        assert_eq!(first.messages, 500);
    }
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
