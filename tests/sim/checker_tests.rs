//! The checker objects to every history that breaks a promise, and to none that does not.

use super::checker::{Conditions, Ending, Seen, Sent, When};
use super::history::*;
use super::tally;

#[test]
fn a_history_without_fault_is_fine() {
    History::new()
        .refused(1)
        .accepted([2, 3, 4, 5])
        .delivered(2)
        .begins(3, 1)
        .ends(3, Ending::Answered)
        .begins(3, 2)
        .ends(3, Ending::Answered)
        .looks(When::Running, |number| [GONE, GONE, GONE, DEAD, ALIVE, ALIVE][usize::from(number)])
        .begins(4, 1)
        .reaches(4)
        .ends(4, Ending::Unanswered)
        .begins_marked(4, 2)
        .crashes()
        .begins_marked(4, 2)
        .looks(When::Recovered, |number| [GONE, GONE, GONE, DEAD, ALIVE, ALIVE][usize::from(number)])
        .ends(4, Ending::Delivered)
        .begins_marked(5, 1)
        .ends(5, Ending::Delivered)
        .looks(When::Running, |number| if number == 3 { DEAD } else { GONE })
        .finishes()
        .passes();
}

#[test]
fn a_lost_message_is_objected_to_whenever_it_is_looked_for() {
    let is_lost = "is lost";
    History::new().accepted([1]).finds(GONE).meets(is_lost);
    History::new().accepted([1]).crashes().recovers(GONE).meets(is_lost);
    History::new().accepted([1]).crashes().recovers(ALIVE).crashes().recovers(GONE).meets(is_lost);
    History::new().accepted([1]).begins(1, 1).ends(1, Ending::Answered).finds(GONE).meets(is_lost);
    History::new().accepted([1]).begins(1, 1).crashes().recovers(GONE).meets(is_lost);
    // Nobody was told of it, but it was seen.
    let mut unanswered = History::new();
    unanswered.checker.submitted(id(1), sent(1));
    unanswered.crashes().recovers(ALIVE).crashes().recovers(GONE).meets(is_lost);
    let mut unanswered = History::new();
    unanswered.checker.submitted(id(1), sent(1));
    unanswered.crashes().recovers(GONE).finishes().passes();
    // While the recovery goes on it may still come.
    History::new().accepted([1]).crashes().finds(GONE).passes();
    History::new().accepted([1]).finishes().meets("has not ended");
}

#[test]
fn a_message_that_may_stand_in_two_logs_is_delivered_by_both_and_yet_never_lost() {
    let adopted = || {
        let mut history = History::new().accepted([1]);
        for shards in [0, 1] {
            history.checker.life_ends();
            history.checker.life_begins(shards, Conditions::default());
        }
        history
    };
    let twice = adopted().begins_marked(1, 1).begins_marked(1, 1).ends(1, Ending::Delivered).finds(ALIVE);
    twice.ends(1, Ending::Delivered).recovers(GONE).finishes().passes();
    adopted().recovers(GONE).meets("is lost");
    adopted().begins_marked(1, 1).ends(1, Ending::Answered).recovers(GONE).meets("is lost");
    adopted().begins(1, 1).reaches(1).ends(1, Ending::Unanswered).begins(1, 1).meets("does not say so");
    adopted().begins_as(1, 1, true, &sent(2)).meets("is not what was sent");
    // Once it was seen in its new log, it stands in that one.
    let moved = History::new().accepted([1]).crashes().recovers(Seen { shard: 1, ..ALIVE }).crashes();
    moved.begins_marked(1, 1).begins_marked(1, 1).meets("while another attempt runs");
}

#[test]
fn a_damaged_message_is_objected_to() {
    let damaged = [
        Sent { body: vec![1; 9], ..sent(1) },
        Sent { body: vec![2; 10], ..sent(1) },
        Sent { head: b"heaD".to_vec(), ..sent(1) },
        Sent { origin: "p".to_owned(), ..sent(1) },
    ];
    for arriving in damaged {
        History::new().accepted([1]).begins_as(1, 1, false, &arriving).meets("is not what was sent");
    }
    History::new().begins(1, 1).meets("was never submitted");
    let mut buried = History::new().accepted([1]);
    buried.checker.dead_letter(id(1), &[1; 9]);
    buried.meets("is not what was sent, as a dead letter");
}

#[test]
fn attempts_that_overlap_are_objected_to() {
    History::new().accepted([1]).begins(1, 1).begins(1, 2).meets("while another attempt runs");
    History::new().accepted([1]).begins(1, 1).crashes().begins_marked(1, 1).passes();
    History::new().accepted([1]).delivered(1).begins_marked(1, 2).meets("while its end is being written");
    History::new().accepted([1]).given_up(1).begins(1, 3).meets("while its end is being written");
}

#[test]
fn an_attempt_behind_a_durable_end_is_objected_to() {
    let delivered = || History::new().accepted([1]).delivered(1).finds(GONE).crashes();
    delivered().recovers(ALIVE).meets("had ended, and is back");
    delivered().begins_marked(1, 1).meets("although its end was durable");
    let given_up = || History::new().accepted([1]).given_up(1).finds(DEAD).crashes();
    given_up().begins_marked(1, 2).meets("although its end was durable");
    // Not known to be durable: then it may be back.
    History::new().accepted([1]).delivered(1).crashes().recovers(ALIVE).begins_marked(1, 1).passes();
    // Not in the log of messages yet, but in that of dead letters.
    let seen = Seen { dead: true, ..ALIVE };
    let between = History::new().accepted([1]).given_up(1).crashes().recovers(seen);
    between.begins_marked(1, 2).meets("although it is a dead letter");
}

#[test]
fn a_possible_duplicate_without_its_mark_is_objected_to_and_a_mark_without_need_too() {
    let unmarked = "does not say so";
    let doubtful = || History::new().accepted([1]).begins(1, 1).reaches(1);
    doubtful().ends(1, Ending::Unanswered).begins(1, 2).meets(unmarked);
    doubtful().ends(1, Ending::Unanswered).begins_marked(1, 2).passes();
    doubtful().ends(1, Ending::Answered).begins(1, 2).passes();
    doubtful().crashes().recovers(ALIVE).begins(1, 1).meets(unmarked);
    doubtful().ends(1, Ending::Delivered).crashes().recovers(ALIVE).begins(1, 2).meets(unmarked);
    History::new().accepted([1]).begins(1, 1).ends(1, Ending::Unanswered).begins(1, 2).passes();
    History::new().accepted([1]).begins_marked(1, 1).meets("and cannot be");
    History::new().accepted([1]).crashes().recovers(ALIVE).begins_marked(1, 1).passes();
}

#[test]
fn attempts_that_are_counted_wrongly_are_objected_to() {
    let wrong = "expected";
    History::new().accepted([1]).begins(1, 0).meets(wrong);
    History::new().accepted([1]).begins(1, 2).meets(wrong);
    let once = || History::new().accepted([1]).begins(1, 1).ends(1, Ending::Answered);
    once().begins(1, 1).meets(wrong);
    once().begins(1, 3).meets(wrong);
    // That it failed may have been lost, but not that it was made before.
    once().crashes().begins(1, 1).passes();
    let begun_again = || once().begins(1, 2).crashes().recovers(ALIVE);
    begun_again().begins(1, 2).passes();
    begun_again().begins(1, 1).meets(wrong);
    begun_again().begins(1, 4).meets(wrong);
}

#[test]
fn first_attempts_out_of_order_are_objected_to() {
    let recovered = || History::new().accepted([1, 2, 3, 4]).crashes().recovers(ALIVE);
    recovered().begins(1, 1).begins(2, 1).begins(3, 1).begins(4, 1).passes();
    // Two are under way at a time, and each takes as long as it takes.
    recovered().begins(2, 1).begins(1, 1).begins(4, 1).begins(3, 1).passes();
    recovered().begins(3, 1).meets("first attempted before 2");
    recovered().begins(1, 1).begins(4, 1).meets("first attempted before 2");
    // Before all is recovered too.
    History::new().accepted([1, 2, 3]).crashes().begins(3, 1).meets("first attempted before 2");
    // What a replay has written again stands in the log in an order of its own.
    let mut replayed = History::new().accepted([1, 2, 3]);
    replayed.checker.replay_asked(&[]);
    replayed.crashes().begins(3, 1).passes();
}

#[test]
fn a_refused_message_that_is_there_all_the_same_is_objected_to() {
    History::new().refused(1).begins(1, 1).meets("told that it is not taken");
    History::new().refused(1).crashes().recovers(ALIVE).meets("was not taken, and is there");
    let mut attempted = History::new();
    attempted.checker.submitted(id(1), sent(1));
    let mut attempted = attempted.begins(1, 1);
    attempted.checker.answered(id(1), false);
    attempted.meets("then its sender was told");
}

#[test]
fn a_dead_letter_that_is_lost_or_that_nobody_gave_up_is_objected_to() {
    History::new().accepted([1]).given_up(1).finds(GONE).meets("is no dead letter");
    History::new().accepted([1]).given_up(1).crashes().recovers(GONE).meets("is no dead letter");
    History::new().accepted([1]).given_up(1).finds(DEAD).finds(GONE).meets("was a dead letter, and is none");
    let dead = || History::new().accepted([1]).given_up(1).finds(DEAD);
    dead().crashes().recovers(GONE).meets("was a dead letter, and is none");
    dead().crashes().recovers(DEAD).finishes().passes();
    History::new().accepted([1]).finds(DEAD).meets("was not given up");
    // Delivered and given up in different lives: what counts is how the last attempt ended.
    let both = History::new().accepted([1]).delivered(1).crashes().recovers(ALIVE);
    let both =
        both.begins_marked(1, 1).ends(1, Ending::Answered).begins_marked(1, 2).ends(1, Ending::Answered).crashes();
    both.recovers(GONE).meets("is no dead letter");
}

#[test]
fn ids_that_repeat_or_fall_are_objected_to() {
    History::new().accepted([2, 1]).meets("is not greater");
    History::new().accepted([1]).crashes().accepted([1]).meets("given out twice");
    History::new().accepted([2]).crashes().accepted([1]).passes();
}

#[test]
fn a_counter_that_counts_what_did_not_happen_is_objected_to() {
    let scrape = |accepted: u32, delivered: u32| {
        let counters = ["maybe_duplicates", "recovered_messages", "corrupt_records"];
        let zeros: String = counters.map(|name| format!("dispatcher_{name}_total 0\n")).concat();
        format!(
            "dispatcher_accepted_total {accepted}\ndispatcher_delivered_total 1\n\
            dispatcher_attempts_total{{class=\"delivered\"}} {delivered}\ndispatcher_attempts_total{{class=\"dns\"}} 0\n{zeros}"
        )
    };
    let history = || History::new().accepted([1, 2]).delivered(1);
    let checked = |mut history: History, scrape: &str| {
        tally::check(scrape, 0, &mut history.checker);
        history
    };
    checked(history(), &scrape(2, 1)).passes();
    checked(history(), &scrape(3, 1)).meets("accepted_total is 3, and 2 happened");
    checked(history(), &scrape(2, 2)).meets("attempts_total is 2, and 1 happened");
}
