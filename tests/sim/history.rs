//! A history for the checker, step by step, and what the checker says of it.

use dispatcher::message::MessageId;

use super::checker::{Arriving, Checker, Conditions, Ended, Ending, Says, Seen, Sent, When, Writing};
use super::circuits::Rules;

pub const RETRIES_MAX: u16 = 1;
pub const ABREAST_MAX: u32 = 2;
pub const TTL: u64 = 1_000_000;
pub const ORIGINS: Rules = Rules { failures: 0, probe_ms_max: 60_000, in_flight_max: 100 };

/// A history, step by step, over messages that are called by a number.
pub struct History {
    pub checker: Checker,
    pub now: u64,
}

pub fn id(number: u8) -> MessageId {
    MessageId([number; 16])
}

pub fn sent(number: u8) -> Sent {
    Sent { shard: 0, accepted: 0, origin: "o".to_owned(), head: b"head".to_vec(), body: vec![number; 10] }
}

pub const ANSWERED: Ended =
    Ended { ending: Ending::Answered, says: Says::Alive, is_final: false, pause: None, at: 0, wall: 0 };

pub const GONE: Seen = Seen { alive: false, dead: false, shard: 0 };
pub const ALIVE: Seen = Seen { alive: true, ..GONE };
pub const DEAD: Seen = Seen { dead: true, ..GONE };

impl History {
    pub fn new() -> Self {
        Self::of(ORIGINS)
    }

    pub fn of(origins: Rules) -> Self {
        Self::with(origins, Some(TTL))
    }

    pub fn with(origins: Rules, ttl: Option<u64>) -> Self {
        let mut checker = Checker::new(RETRIES_MAX, ttl, ABREAST_MAX, origins, false);
        checker.life_begins(1, Conditions::default());
        Self { checker, now: 0 }
    }

    pub fn accepted(mut self, numbers: impl IntoIterator<Item = u8>) -> Self {
        for number in numbers {
            self.checker.submitted(id(number), sent(number));
            self.checker.answered(id(number), true);
        }
        self
    }

    pub fn refused(mut self, number: u8) -> Self {
        self.checker.submitted(id(number), sent(number));
        self.checker.answered(id(number), false);
        self
    }

    pub fn begins_as(mut self, number: u8, attempt: u32, maybe_duplicate: bool, sent: &Sent) -> Self {
        let Sent { origin, head, body, .. } = sent;
        self.checker.attempt_begins(
            id(number),
            Arriving { origin, head, body, attempt, maybe_duplicate, at: self.now, wall: self.now },
        );
        self
    }

    pub fn begins(self, number: u8, attempt: u32) -> Self {
        self.begins_as(number, attempt, false, &sent(number))
    }

    pub fn begins_marked(self, number: u8, attempt: u32) -> Self {
        self.begins_as(number, attempt, true, &sent(number))
    }

    pub fn reaches(mut self, number: u8) -> Self {
        self.checker.attempt_reaches(id(number));
        self
    }

    pub fn ends(self, number: u8, ending: Ending) -> Self {
        let says = if ending == Ending::Unanswered { Says::Failing } else { Says::Alive };
        self.ends_as(number, Ended { ending, says, ..ANSWERED }, &|_| true)
    }

    pub fn ends_as(mut self, number: u8, ended: Ended, room: &dyn Fn(Writing) -> bool) -> Self {
        self.checker.attempt_ends(id(number), Ended { at: self.now, wall: self.now, ..ended }, room);
        self
    }

    pub fn fails(self, number: u8) -> Self {
        self.ends(number, Ending::Unanswered)
    }

    pub fn passes_time(mut self, ms: u64) -> Self {
        self.now += ms;
        self
    }

    pub fn delivered(self, number: u8) -> Self {
        self.begins(number, 1).reaches(number).ends(number, Ending::Delivered)
    }

    pub fn given_up(self, number: u8) -> Self {
        self.begins(number, 1).ends(number, Ending::Answered).begins(number, 2).ends(number, Ending::Answered)
    }

    pub fn crashes(mut self) -> Self {
        self.checker.life_ends();
        self.checker.life_begins(1, Conditions::default());
        self
    }

    pub fn looks(mut self, when: When, seen: impl Fn(u8) -> Seen) -> Self {
        self.checker.note_time(self.now, self.now);
        self.checker.look(when, |id| seen(id.0[0]));
        self
    }

    pub fn finds(self, seen: Seen) -> Self {
        self.looks(When::Running, |_| seen)
    }

    pub fn recovers(self, seen: Seen) -> Self {
        self.looks(When::Recovered, |_| seen)
    }

    pub fn finishes(mut self) -> Self {
        self.checker.finished();
        self
    }

    #[track_caller]
    pub fn passes(mut self) {
        assert_eq!(self.checker.objections(), Vec::<String>::new());
    }

    #[track_caller]
    pub fn meets(mut self, what: &str) {
        let objections = self.checker.objections();
        assert!(objections.iter().any(|objection| objection.contains(what)), "{what}: {objections:?}");
    }
}
