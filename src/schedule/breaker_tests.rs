//! What opens a circuit, what closes it, and how an origin is begun with again.

use super::*;
use proptest::prelude::*;

const RULES: Rules = Rules { failures: 3, probe_max: Millis(8000), in_flight_max: 10 };

fn opened_at(now: u64) -> Breaker {
    let mut breaker = Breaker::new(RULES);
    for _ in 0..RULES.failures {
        assert!(breaker.ended(Signal::Failing, None, now), "the failures that open it were met while it was closed");
    }
    assert!(breaker.is_open());
    breaker
}

fn probe(breaker: &mut Breaker, signal: Signal, now: u64) {
    assert_eq!(breaker.permission(0, now), Permission::Probe);
    let number = breaker.begin_probe();
    assert_eq!(breaker.permission(1, now), Permission::Some(0), "one probe at a time");
    let counts = breaker.ended(signal, Some(number), now);
    assert_eq!(counts, signal == Signal::Nothing, "an outage costs its message nothing");
}

#[test]
fn only_failures_in_a_row_open_it() {
    let mut breaker = Breaker::new(RULES);
    for _ in 0..100 {
        for signal in [Signal::Failing, Signal::Failing, Signal::Alive] {
            assert!(breaker.ended(signal, None, 0));
        }
    }
    assert!(!breaker.is_open());
    for signal in [Signal::Failing, Signal::Nothing, Signal::Failing, Signal::Nothing, Signal::Failing] {
        breaker.ended(signal, None, 0);
    }
    assert!(breaker.is_open(), "an attempt that was not made says nothing");
}

#[test]
fn without_a_number_of_failures_it_never_opens_and_a_slow_start_still_ends() {
    let mut breaker = Breaker::new(Rules { failures: 0, ..RULES });
    breaker.start_slowly();
    for _ in 0..1000 {
        assert!(breaker.ended(Signal::Failing, None, 0));
    }
    assert_eq!(breaker.permission(0, 0), Permission::Some(10));
}

#[test]
fn probes_come_after_a_second_then_after_twice_as_long_up_to_the_bound() {
    let mut breaker = opened_at(500);
    let mut now = 500;
    for wait in [1000, 2000, 4000, 8000, 8000, 8000] {
        assert_eq!(breaker.permission(0, now), Permission::Wait(now + wait));
        assert_eq!(breaker.permission(0, now + wait - 1), Permission::Wait(now + wait));
        now += wait;
        probe(&mut breaker, Signal::Failing, now);
    }
}

#[test]
fn a_bound_below_a_second_bounds_the_first_wait_too() {
    let mut breaker = Breaker::new(Rules { probe_max: Millis(50), ..RULES });
    for _ in 0..RULES.failures {
        breaker.ended(Signal::Failing, None, 0);
    }
    assert_eq!(breaker.permission(0, 0), Permission::Wait(50));
}

#[test]
fn what_was_in_flight_when_it_opened_neither_counts_nor_lengthens_the_wait_but_its_success_closes_it() {
    let mut breaker = opened_at(0);
    for _ in 0..50 {
        assert!(!breaker.ended(Signal::Failing, None, 900));
    }
    assert_eq!(breaker.permission(0, 900), Permission::Wait(1000));
    assert!(!breaker.ended(Signal::Alive, None, 950));
    assert_eq!(breaker.permission(0, 950), Permission::Some(1));
}

#[test]
fn a_probe_that_was_not_made_may_be_made_by_another_at_once() {
    let mut breaker = opened_at(0);
    probe(&mut breaker, Signal::Nothing, 1000);
    probe(&mut breaker, Signal::Alive, 1000);
}

/// A destination that is denied says nothing of the origin: spared, it would be tried again at once and for ever.
#[test]
fn what_was_not_asked_of_an_open_origin_is_not_put_down_to_its_outage() {
    let mut breaker = opened_at(0);
    assert_eq!(breaker.permission(0, 1000), Permission::Probe);
    let number = breaker.begin_probe();
    assert!(breaker.ended(Signal::Nothing, Some(number), 1000));
    assert!(breaker.ended(Signal::Nothing, None, 1000));
    assert!(breaker.is_open());
}

#[test]
fn after_a_success_it_ramps_up_from_one_doubling_per_success() {
    let mut breaker = opened_at(0);
    probe(&mut breaker, Signal::Alive, 1000);
    for allowed in [1, 2, 4, 8, 10, 10] {
        assert_eq!(breaker.permission(0, 1000), Permission::Some(allowed));
        assert_eq!(breaker.permission(allowed, 1000), Permission::Some(0));
        assert!(breaker.ended(Signal::Alive, None, 1000));
    }
    assert!(breaker.is_fresh(1000));
}

#[test]
fn a_failure_on_the_ramp_halves_it_and_failures_in_a_row_open_it_again_from_the_start() {
    let mut breaker = opened_at(0);
    probe(&mut breaker, Signal::Failing, 1000);
    probe(&mut breaker, Signal::Alive, 3000);
    for _ in 0..3 {
        breaker.ended(Signal::Alive, None, 3000);
    }
    breaker.ended(Signal::Failing, None, 3000);
    assert_eq!(breaker.permission(0, 3000), Permission::Wait(3010), "after a pause");
    assert_eq!(breaker.permission(0, 3010), Permission::Some(4));
    breaker.ended(Signal::Failing, None, 3000);
    breaker.ended(Signal::Failing, None, 3000);
    assert_eq!(breaker.permission(0, 3000), Permission::Wait(4000));
}

/// A token each so many milliseconds, of which it keeps one: what others answer 429 or 503 to.
#[test]
fn an_origin_that_limits_its_rate_gets_a_good_part_of_it_and_is_seldom_taken_for_dead() {
    for spacing in [5, 10, 50, 200] {
        let mut breaker = Breaker::new(Rules { failures: 5, in_flight_max: 64, ..RULES });
        let (mut now, mut token_from, mut taken, mut tried) = (0_u64, 0, 0_u64, 0_u64);
        while now < 60_000 {
            let (free, probe) = match breaker.permission(0, now) {
                Permission::Some(free) => (free, None),
                Permission::Probe => (1, Some(breaker.begin_probe())),
                Permission::Wait(until) => {
                    now = until;
                    continue;
                }
            };
            for _ in 0..free {
                let takes = now >= token_from;
                token_from = if takes { now + spacing } else { token_from };
                breaker.ended(if takes { Signal::Alive } else { Signal::Failing }, probe, now + 1);
                (taken, tried) = (taken + u64::from(takes), tried + 1);
            }
            now += 1;
        }
        let most = 60_000 / spacing;
        assert!(taken * 6 >= most, "{taken} of {most} at one each {spacing} ms, with {tried} attempts");
        assert!(tried <= 8 * taken, "{tried} attempts for {taken} at one each {spacing} ms");
    }
}

#[test]
fn an_origin_that_asks_for_it_is_left_alone_and_then_begun_with_slowly() {
    let mut breaker = Breaker::new(RULES);
    breaker.hold(5000);
    breaker.hold(2000);
    assert_eq!(breaker.permission(0, 4999), Permission::Wait(5000));
    assert_eq!(breaker.permission(0, 5000), Permission::Some(1));
    let mut breaker = opened_at(0);
    breaker.hold(5000);
    assert_eq!(breaker.permission(0, 0), Permission::Wait(5000));
    assert_eq!(breaker.permission(0, 1000), Permission::Wait(5000));
    assert_eq!(breaker.permission(0, 5000), Permission::Probe);
}

#[test]
fn a_probe_that_outlives_its_outage_is_none_of_the_next() {
    let mut breaker = opened_at(0);
    assert_eq!(breaker.permission(0, 1000), Permission::Probe);
    let old = breaker.begin_probe();
    breaker.ended(Signal::Alive, None, 1000);
    for _ in 0..RULES.failures {
        breaker.ended(Signal::Failing, None, 1000);
    }
    assert_eq!(breaker.permission(0, 2000), Permission::Probe);
    breaker.begin_probe();
    breaker.ended(Signal::Failing, Some(old), 2000);
    assert_eq!(breaker.permission(1, 2000), Permission::Some(0), "the new probe is under way");
}

proptest! {
    #[test]
    fn whatever_happens_it_bears_no_more_than_the_bound_and_never_refuses_for_ever(
        steps in prop::collection::vec((0..4_u8, any::<bool>(), 0..3000_u64), 1..300),
    ) {
        let mut breaker = Breaker::new(RULES);
        let (mut now, mut in_flight, mut probing) = (0, 0_u32, None);
        for (step, flag, ahead) in steps {
            now += ahead;
            match (step, breaker.permission(in_flight, now)) {
                (0, Permission::Some(free)) => in_flight += free.min(1),
                (0, Permission::Probe) => {
                    probing = Some(breaker.begin_probe());
                    in_flight += 1;
                }
                (1 | 2, _) if in_flight > 0 => {
                    let probe = if flag || in_flight == 1 { probing.take() } else { None };
                    in_flight -= 1;
                    let signal = if step == 1 { Signal::Failing } else if flag { Signal::Alive } else { Signal::Nothing };
                    let was_open = breaker.is_open();
                    prop_assert_eq!(breaker.ended(signal, probe, now), !was_open || signal == Signal::Nothing);
                }
                (3, _) if flag => breaker.hold(now + ahead),
                _ => {}
            }
            prop_assert!(in_flight <= RULES.in_flight_max);
            if let Permission::Wait(until) = breaker.permission(in_flight, now) {
                prop_assert!(until > now && until <= now + 8000);
            }
        }
    }
}
