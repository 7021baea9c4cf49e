//! The checker objects to every history that breaks a promise, and to none that does not.

use dispatcher::message::MessageId;

use super::checker::{Arriving, Checker, Conditions, Ended, Ending, Says, Seen, Sent, When, Writing};
use super::circuits::Rules;
use super::tally;

const RETRIES_MAX: u16 = 1;
const ABREAST_MAX: u32 = 2;
const TTL: u64 = 1_000_000;
const ORIGINS: Rules = Rules { failures: 0, probe_ms_max: 60_000, in_flight_max: 100 };

/// A history, step by step, over messages that are called by a number.
struct History {
    checker: Checker,
    now: u64,
}

fn id(number: u8) -> MessageId {
    MessageId([number; 16])
}

fn sent(number: u8) -> Sent {
    Sent { shard: 0, accepted: 0, origin: "o".to_owned(), head: b"head".to_vec(), body: vec![number; 10] }
}

const ANSWERED: Ended =
    Ended { ending: Ending::Answered, says: Says::Alive, is_final: false, pause: None, at: 0, wall: 0 };

const GONE: Seen = Seen { alive: false, dead: false, shard: 0 };
const ALIVE: Seen = Seen { alive: true, ..GONE };
const DEAD: Seen = Seen { dead: true, ..GONE };

impl History {
    fn new() -> Self {
        Self::of(ORIGINS)
    }

    fn of(origins: Rules) -> Self {
        Self::with(origins, Some(TTL))
    }

    fn with(origins: Rules, ttl: Option<u64>) -> Self {
        let mut checker = Checker::new(RETRIES_MAX, ttl, ABREAST_MAX, origins, false);
        checker.life_begins(1, Conditions::default());
        Self { checker, now: 0 }
    }

    fn accepted(mut self, numbers: impl IntoIterator<Item = u8>) -> Self {
        for number in numbers {
            self.checker.submitted(id(number), sent(number));
            self.checker.answered(id(number), true);
        }
        self
    }

    fn refused(mut self, number: u8) -> Self {
        self.checker.submitted(id(number), sent(number));
        self.checker.answered(id(number), false);
        self
    }

    fn begins_as(mut self, number: u8, attempt: u32, maybe_duplicate: bool, sent: &Sent) -> Self {
        let Sent { origin, head, body, .. } = sent;
        self.checker.attempt_begins(
            id(number),
            Arriving { origin, head, body, attempt, maybe_duplicate, at: self.now, wall: self.now },
        );
        self
    }

    fn begins(self, number: u8, attempt: u32) -> Self {
        self.begins_as(number, attempt, false, &sent(number))
    }

    fn begins_marked(self, number: u8, attempt: u32) -> Self {
        self.begins_as(number, attempt, true, &sent(number))
    }

    fn reaches(mut self, number: u8) -> Self {
        self.checker.attempt_reaches(id(number));
        self
    }

    fn ends(self, number: u8, ending: Ending) -> Self {
        let says = if ending == Ending::Unanswered { Says::Failing } else { Says::Alive };
        self.ends_as(number, Ended { ending, says, ..ANSWERED }, &|_| true)
    }

    fn ends_as(mut self, number: u8, ended: Ended, room: &dyn Fn(Writing) -> bool) -> Self {
        self.checker.attempt_ends(id(number), Ended { at: self.now, wall: self.now, ..ended }, room);
        self
    }

    fn fails(self, number: u8) -> Self {
        self.ends(number, Ending::Unanswered)
    }

    fn passes_time(mut self, ms: u64) -> Self {
        self.now += ms;
        self
    }

    fn delivered(self, number: u8) -> Self {
        self.begins(number, 1).reaches(number).ends(number, Ending::Delivered)
    }

    fn given_up(self, number: u8) -> Self {
        self.begins(number, 1).ends(number, Ending::Answered).begins(number, 2).ends(number, Ending::Answered)
    }

    fn crashes(mut self) -> Self {
        self.checker.life_ends();
        self.checker.life_begins(1, Conditions::default());
        self
    }

    fn looks(mut self, when: When, seen: impl Fn(u8) -> Seen) -> Self {
        self.checker.note_time(self.now, self.now);
        self.checker.look(when, |id| seen(id.0[0]));
        self
    }

    fn finds(self, seen: Seen) -> Self {
        self.looks(When::Running, |_| seen)
    }

    fn recovers(self, seen: Seen) -> Self {
        self.looks(When::Recovered, |_| seen)
    }

    fn finishes(mut self) -> Self {
        self.checker.finished();
        self
    }

    #[track_caller]
    fn passes(mut self) {
        assert_eq!(self.checker.objections(), Vec::<String>::new());
    }

    #[track_caller]
    fn meets(mut self, what: &str) {
        let objections = self.checker.objections();
        assert!(objections.iter().any(|objection| objection.contains(what)), "{what}: {objections:?}");
    }
}

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
