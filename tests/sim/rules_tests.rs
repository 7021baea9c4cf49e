//! The checker objects to what breaks the rules of origins, of time, and of operators.

use super::checker::{Conditions, Ended, Ending, Says, Seen, Writing};
use super::circuits::Rules;
use super::history::*;

#[test]
fn more_attempts_at_an_origin_than_may_run_are_objected_to() {
    let two = || History::of(SPARING).accepted([1, 2, 3]).begins(1, 1).begins(2, 1);
    two().ends(1, Ending::Answered).begins(3, 1).passes();
    two().begins(3, 1).meets("as many run at its origin as may");
}

#[test]
fn an_attempt_before_the_time_that_its_origin_asked_for_is_objected_to() {
    let early = "before its origin may be asked again";
    let busy = Ended { says: Says::Failing, pause: Some(500), ..ANSWERED };
    let paused = || History::new().accepted([1, 2, 3]).begins(1, 1).begins(2, 1).ends_as(1, busy, &|_| true);
    paused().passes_time(499).begins(1, 2).meets(early);
    paused().passes_time(500).begins(1, 2).passes();
    let shorter = paused().passes_time(400).ends_as(2, Ended { pause: Some(50), ..busy }, &|_| true);
    shorter.passes_time(99).begins(2, 2).meets(early);
    let longer = paused().passes_time(400).ends_as(2, busy, &|_| true);
    longer.passes_time(499).begins(2, 2).meets(early);
    paused().crashes().begins_marked(1, 1).passes();
}

#[test]
fn an_attempt_behind_an_answer_that_forbids_it_is_objected_to() {
    let last = || {
        let dead = Ended { is_final: true, ..ANSWERED };
        History::new().accepted([1]).begins(1, 1).ends_as(1, dead, &|_| true)
    };
    last().begins(1, 2).meets("while its end is being written");
    last().finds(GONE).meets("is no dead letter");
    last().finds(DEAD).finishes().passes();
}

const SPARING: Rules = Rules { failures: 2, in_flight_max: 2, ..ORIGINS };

/// Two failures in a row, and one that is under way.
fn opened() -> History {
    History::of(SPARING).accepted([1, 2, 3]).begins(1, 1).begins(2, 1).fails(1).begins(3, 1).fails(2)
}

#[test]
fn an_attempt_at_an_open_circuit_that_is_no_probe_is_objected_to() {
    let is_none = "is no probe";
    opened().begins(1, 2).meets(is_none);
    opened().passes_time(999).begins(1, 2).meets(is_none);
    let probed = || opened().passes_time(1000).begins(1, 2);
    probed().passes();
    probed().ends(3, Ending::Unanswered).passes_time(5000).begins(2, 2).meets(is_none);
    probed().ends(1, Ending::Answered).begins(1, 3).begins(2, 2).meets("as many run");
    probed().ends(1, Ending::Answered).ends(3, Ending::Answered).begins(2, 2).begins(3, 2).passes();
    // What was decided on before is read from the disk first.
    let late = |ms_max: u64| {
        let mut history = History::of(SPARING);
        history.checker.life_begins(1, Conditions { read_ms_max: ms_max, ..Conditions::default() });
        history.accepted([1, 2, 3]).begins(1, 1).fails(1).begins(1, 2).fails(1)
    };
    late(5).passes_time(5).begins(2, 1).passes();
    late(5).passes_time(6).begins(2, 1).meets(is_none);
    late(5).passes_time(5).begins(2, 1).begins(3, 1).meets(is_none);
    // A process that starts knows of nothing.
    opened().crashes().begins_marked(1, 2).passes();
}

#[test]
fn a_failure_at_an_open_circuit_does_not_count_and_one_at_a_closed_one_does() {
    let spared = || opened().fails(3).passes_time(1000).begins(3, 2).fails(3).passes_time(9000);
    spared().begins(3, 3).ends(3, Ending::Answered).begins(3, 4).ends(3, Ending::Answered).begins(3, 5).passes();
    spared().finds(DEAD).meets("was not given up");
    let ended = spared().begins(3, 3).ends(3, Ending::Answered).begins(3, 4).ends(3, Ending::Answered);
    ended.begins(3, 5).ends(3, Ending::Answered).begins(3, 6).meets("while its end is being written");
}

#[test]
fn what_was_not_written_down_is_known_by_its_number_until_a_restart() {
    let failing = Ended { says: Says::Failing, ..ANSWERED };
    let unwritten = || History::new().accepted([1]).begins(1, 1).ends_as(1, failing, &|_| false);
    unwritten().begins(1, 2).ends(1, Ending::Answered).finds(DEAD).passes();
    unwritten().begins(1, 1).meets("expected");
    unwritten().crashes().begins_marked(1, 1).passes();
    // What does not count leaves no trace.
    let spared = opened().passes_time(1000).begins(1, 2).ends_as(1, failing, &|_| false);
    spared.passes_time(9000).begins(1, 2).passes();
    // Without room for a letter it goes on.
    let kept = unwritten().begins(1, 2).ends_as(1, failing, &|writing| writing != Writing::Letter);
    kept.begins(1, 3).ends(1, Ending::Answered).finds(DEAD).passes();
}

#[test]
fn a_message_that_is_attempted_or_alive_after_its_time_is_objected_to() {
    let accepted = || History::new().accepted([1]);
    accepted().passes_time(TTL - 1).begins(1, 1).passes();
    accepted().passes_time(TTL).begins(1, 1).meets("after its time");
    let running = || accepted().begins(1, 1).passes_time(TTL);
    running().ends(1, Ending::Delivered).finds(GONE).passes();
    running().ends(1, Ending::Answered).begins(1, 2).meets("while its end is being written");
    // Without an attempt it becomes a dead letter too, and not before.
    accepted().passes_time(TTL).finds(DEAD).finishes().passes();
    accepted().passes_time(TTL - 1).finds(DEAD).meets("was not given up");
    accepted().passes_time(TTL).finds(GONE).meets("is lost");
    let calm = || {
        let mut history = History::new();
        history.checker.life_begins(1, Conditions { is_calm: true, ..Conditions::default() });
        // Waiting messages are judged by their ids.
        history.accepted([1]).recovers(ALIVE).passes_time(id(1).accepted().0)
    };
    calm().passes_time(TTL).finds(ALIVE).passes_time(19_999).finds(ALIVE).passes();
    calm().passes_time(TTL).finds(ALIVE).passes_time(20_000).finds(ALIVE).meets("has outlived its time");
    let dead = |history: History, is_expired: bool| {
        let mut history = history.finds(DEAD);
        history.checker.letter_class(id(1), is_expired);
        history
    };
    dead(accepted().passes_time(TTL), true).passes();
    dead(accepted().passes_time(TTL), false).meets("said to have failed");
    dead(accepted().given_up(1), false).passes();
    dead(accepted().given_up(1), true).meets("said to have expired");
}

#[test]
fn a_letter_that_is_removed_is_gone_for_good_and_else_it_is_not() {
    let letter = || History::new().accepted([1]).given_up(1).finds(DEAD);
    let removing = || {
        let mut history = letter();
        history.checker.removal_begins(id(1));
        history
    };
    let removed = |is_removed: bool| {
        let mut history = removing();
        history.checker.removal_ends(id(1), is_removed);
        history
    };
    removed(true).finds(GONE).crashes().recovers(GONE).finishes().passes();
    removed(true).finds(DEAD).meets("was removed, and is back");
    removed(true).crashes().recovers(ALIVE).meets("was removed, and is back");
    removed(true).begins(1, 1).meets("although it was removed");
    removed(false).finds(GONE).meets("was a dead letter, and is none");
    // Nobody was told: then it is there or not, and that is the truth.
    removing().finds(GONE).crashes().recovers(DEAD).finds(GONE).meets("was a dead letter, and is none");
    removing().finds(GONE).crashes().recovers(GONE).finds(DEAD).meets("was removed, and is back");
    removing().crashes().recovers(ALIVE).meets("was a dead letter, and is none");
    let mut alive = History::new().accepted([1]);
    alive.checker.removal_ends(id(1), true);
    alive.meets("was no dead letter");
}

#[test]
fn a_letter_that_is_replayed_is_a_message_again_and_else_it_is_not() {
    let letter = || History::with(ORIGINS, None).accepted([1]).given_up(1).finds(DEAD);
    letter().finds(ALIVE).meets("was a dead letter, and is none");
    letter().begins(1, 1).meets("although its end was durable");
    let replayed = || {
        let mut history = letter();
        history.checker.replay_asked(&[id(1)]);
        history
    };
    replayed().finds(GONE).finds(ALIVE).begins(1, 1).ends(1, Ending::Delivered).finds(GONE).finishes().passes();
    replayed().begins(1, 1).ends(1, Ending::Answered).begins(1, 2).ends(1, Ending::Answered).finds(DEAD).passes();
    replayed().begins(1, 3).meets("expected 1..=1");
    replayed().finds(ALIVE).finds(GONE).meets("is lost");
    replayed().finds(ALIVE).finds(DEAD).meets("was not given up");
    replayed().crashes().recovers(GONE).meets("was a dead letter, and is none");
    replayed().crashes().recovers(DEAD).finds(ALIVE).meets("was a dead letter, and is none");
    let both = Seen { dead: true, ..ALIVE };
    replayed().crashes().recovers(both).begins_marked(1, 1).ends(1, Ending::Delivered).finds(GONE).passes();
    let delivered = replayed().begins(1, 1).ends(1, Ending::Delivered).finds(GONE);
    delivered.crashes().recovers(DEAD).meets("is a dead letter, and was not given up");
}

#[test]
fn a_letter_that_is_replayed_before_it_was_seen_is_no_loss_unless_it_stays_away() {
    let ask_for_all = |mut history: History| {
        history.checker.replay_asked(&[]);
        history
    };
    // Given up for want of time, and a message again at once.
    let expired = || ask_for_all(History::new().accepted([1]).passes_time(TTL).finds(ALIVE)).finds(GONE);
    expired().finds(ALIVE).begins(1, 1).ends(1, Ending::Delivered).finds(GONE).finishes().passes();
    expired().finishes().meets("has not ended");
    expired().crashes().recovers(GONE).meets("is lost");
    // Given up after its attempts: the number of the next one tells what came of the replay.
    let given_up = || ask_for_all(History::with(ORIGINS, None).accepted([1]).given_up(1));
    let cut = || given_up().finds(GONE).crashes().recovers(ALIVE);
    cut().begins_marked(1, 1).ends(1, Ending::Delivered).finds(GONE).finishes().passes();
    cut().begins_marked(1, 2).ends(1, Ending::Delivered).finds(GONE).finishes().passes();
    cut().begins_marked(1, 4).meets("expected");
    given_up().finds(GONE).crashes().recovers(GONE).meets("is no dead letter");
}
