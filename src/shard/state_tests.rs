//! The fold over records: what is held, what an origin takes, what may be written again.

use proptest::prelude::*;

use super::*;
use crate::message::Scheme;
use crate::schedule::breaker;
use crate::time::Millis;
use crate::wal::payload::Progress;

const NOW: Now = Now { wall: UnixMillis(1_700_000_000_000), tick: 5 };

fn state() -> State {
    let gates = Gates::new(breaker::Rules { failures: 0, probe_max: Millis(1000), in_flight_max: 8 });
    State::new(Limits { slots: 8, wait_max: Millis(1000) }, gates, NOW.wall)
}

fn id(n: u8) -> MessageId {
    MessageId([n; 16])
}

fn at(segment: u32, offset: u32, bytes: u32) -> Location {
    Location { segment, offset, bytes }
}

fn origin(host: &str) -> OriginRef<'_> {
    OriginRef { scheme: Scheme::Http, host, port: 80 }
}

fn accepted(host: &str) -> Payload<'_> {
    let progress = Progress::default();
    let origin = origin(host);
    Payload::Accepted(Accepted {
        accepted: NOW.wall,
        timeout: None,
        origin,
        again: false,
        replays: 0,
        progress,
        head: b"",
        body: b"",
    })
}

fn retry(due: UnixMillis) -> Payload<'static> {
    Payload::Retry(Progress { due, attempts: 1, ..Progress::default() })
}

const DELIVERED: Payload<'_> = Payload::Delivered { at: NOW.wall, attempts: 1, status: 200 };

fn next(state: &mut State) -> Option<Slot> {
    match state.next(NOW, |_| Supply::Enough) {
        Next::Order(order) => Some(order.slot),
        Next::Wait(_) | Next::Idle => None,
    }
}

#[test]
fn a_recovered_message_waits_for_the_end_of_the_log_but_an_accepted_one_does_not() {
    let mut state = state();
    state.recover(id(1), &accepted("a"), at(0, 4128, 100));
    state.recover(id(2), &accepted("a"), at(0, 4328, 100));
    state.apply(id(3), &accepted("a"), at(7, 4128, 100));
    let accepted = state.index().find(id(3));
    assert_eq!((next(&mut state), next(&mut state)), (accepted, None));
    state.release(accepted.expect("alive"), Signal::Alive, None, NOW.tick);
    // Its end stands further on in the log.
    state.recover(id(1), &DELIVERED, at(1, 4128, 44));
    state.check();
    state.settle();
    let recovered = state.index().find(id(2));
    assert_eq!((next(&mut state), next(&mut state)), (recovered, None));
    assert!(state.progress(recovered.expect("alive")).1, "it may have been in flight");
    state.check();
}

/// Replayed while the record of its end is damaged: it lives since it was replayed, and its id says otherwise.
#[test]
fn a_message_accepted_anew_does_not_expire_by_its_id_though_it_was_known() {
    let mut state = state();
    state.apply(id(1), &accepted("a"), at(0, 4128, 100));
    assert!(state.find_waiting(id(1)).is_some());
    let Payload::Accepted(message) = accepted("a") else { unreachable!("an accepted message") };
    state.apply(id(1), &Payload::Accepted(Accepted { replays: 1, ..message }), at(1, 4128, 100));
    assert_eq!(state.find_waiting(id(1)), None);
    assert_eq!(state.overdue(&mut 0, 10, UnixMillis(u64::MAX)), []);
}

#[test]
fn a_message_in_flight_is_not_ended_but_by_its_worker() {
    let mut state = state();
    state.apply(id(1), &accepted("a"), at(0, 4128, 100));
    let slot = next(&mut state).expect("ready");
    assert!(!state.take_from_schedule(id(1), None), "others must wait");
    state.release(slot, Signal::Alive, None, NOW.tick);
    state.apply(id(1), &DELIVERED, at(0, 4328, 44));
    state.apply(id(2), &accepted("a"), at(0, 4432, 100));
    assert!(state.take_from_schedule(id(2), None));
    state.apply(id(3), &accepted("a"), at(0, 4632, 100));
    let slot = next(&mut state).expect("ready");
    assert!(state.take_from_schedule(id(3), Some(slot)), "its own worker may");
    state.check();
}

#[test]
fn a_message_that_has_ended_stands_nowhere() {
    let mut state = state();
    state.apply(id(1), &accepted("a"), at(0, 4128, 100));
    let slot = next(&mut state).expect("ready");
    assert_eq!(state.places(slot), Some((at(0, 4128, 100), None)));
    state.apply(id(1), &DELIVERED, at(0, 4328, 44));
    assert_eq!(state.places(slot), None);
}

#[test]
fn an_origin_takes_the_bytes_of_its_live_messages() {
    let mut state = state();
    assert_eq!(state.origin_bytes(origin("a")), 0);
    state.apply(id(1), &accepted("a"), at(0, 4128, 100));
    state.apply(id(2), &accepted("a"), at(0, 4328, 50));
    state.apply(id(3), &accepted("b"), at(0, 4528, 7));
    assert_eq!((state.origin_bytes(origin("a")), state.origin_bytes(origin("b"))), (150, 7));
    // Written again, longer by its history.
    state.apply(id(1), &accepted("a"), at(1, 4128, 120));
    assert_eq!(state.origin_bytes(origin("a")), 170);
    for n in [1, 2] {
        state.apply(id(n), &DELIVERED, at(1, 5000, 44));
    }
    assert_eq!((state.origin_bytes(origin("a")), state.origin_bytes(origin("b"))), (0, 7));
    state.check();
}

#[test]
fn a_message_may_be_written_again_unless_its_outcome_is_on_its_way() {
    let mut state = state();
    let place = at(0, 4128, 100);
    state.apply(id(1), &accepted("a"), place);
    let slot = state.index().find(id(1)).expect("alive");
    assert_eq!(state.relocatable(id(1), place.start()), Some(slot));
    assert_eq!(state.relocatable(id(1), at(0, 4136, 100).start()), None, "it does not stand there");
    assert_eq!(state.relocatable(id(2), place.start()), None, "it is not alive");
    assert_eq!(next(&mut state), Some(slot));
    assert_eq!(state.relocatable(id(1), place.start()), Some(slot), "an attempt runs");
    state.release(slot, Signal::Alive, None, NOW.tick);
    assert_eq!(state.relocatable(id(1), place.start()), None, "its outcome is on its way");
    state.apply(id(1), &retry(NOW.wall.plus(Millis(10))), at(0, 4400, 48));
    assert_eq!(state.relocatable(id(1), place.start()), Some(slot));
    state.apply(id(1), &accepted("a"), at(1, 4128, 100));
    assert_eq!(state.relocatable(id(1), place.start()), None, "it stands elsewhere now");
    state.recover(id(3), &accepted("a"), at(2, 4128, 100));
    assert!(state.relocatable(id(3), at(2, 4128, 100).start()).is_some(), "it is held");
}

proptest! {
    #[test]
    fn bytes_and_states_add_up_after_any_records(
        steps in prop::collection::vec((0..20_u8, 0..6_u8, 0..3_u8, 32..500_u32), 1..120),
    ) {
        let mut state = state();
        for (number, (n, what, host, bytes)) in (0_u32..).zip(steps) {
            let host = format!("host{host}");
            let at = at(number / 20, 4096 + number % 20 * 512, bytes);
            match what {
                0 => state.apply(id(n), &accepted(&host), at),
                1 => state.recover(id(n), &accepted(&host), at),
                2 => state.apply(id(n), &retry(NOW.wall.plus(Millis(u64::from(number)))), at),
                3 => state.apply(id(n), &DELIVERED, at),
                4 => {
                    if let Some(slot) = next(&mut state) {
                        state.release(slot, Signal::Alive, None, NOW.tick);
                    }
                }
                _ => state.settle(),
            }
            state.check();
        }
    }
}
