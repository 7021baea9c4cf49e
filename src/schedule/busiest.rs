//! Which origins the metrics tell apart: the busiest, each with a name. All others are counted together.
//!
//! The first [`NAMED_ORIGINS_MAX`](crate::limits::NAMED_ORIGINS_MAX) get a name when they get their first message. From
//! then on, what comes for an origin without one is counted roughly (Misra and Gries, "Finding repeated elements", 1982:
//! whichever has more than one in [`RISING_ORIGINS_MAX`] of these messages is found, in constant memory), and from time to
//! time the busiest of them take the names of the least busy. A counter is never carried over: an origin that gets a name
//! begins with zero, and what it had before stays with the others. So no counter ever falls, and rates are right.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hashbrown::HashMap;

use crate::limits::RISING_ORIGINS_MAX;
use crate::message::{Origin, OriginRef};

/// What is counted of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// An attempt that delivered its message.
    Delivered,
    /// An attempt that failed.
    Failed,
    /// A message that was given up.
    DeadLettered,
}

/// One count for each [`Counted`].
pub type Ended = [u64; 3];

/// The counts of one origin, or of all without a name. Every core adds to them.
#[derive(Debug, Default)]
struct Counts([AtomicU64; 3]);

impl Counts {
    fn add(&self, what: Counted) {
        self.0[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> Ended {
        [0, 1, 2].map(|what: usize| self.0[what].load(Ordering::Relaxed))
    }

    fn reset(&self) {
        self.0.iter().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

/// What is known of one origin for the metrics.
#[derive(Debug, Default)]
pub struct Tally {
    named: AtomicBool,
    /// Live messages.
    messages: AtomicU64,
    /// Messages since names were last dealt out.
    entered: AtomicU64,
    ended: Counts,
}

impl Tally {
    /// A message for this origin came alive.
    pub fn enter(&self, origin: OriginRef<'_>, others: &Others) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        if self.is_named() {
            self.entered.fetch_add(1, Ordering::Relaxed);
        } else {
            others.note(origin);
        }
    }

    /// A message for this origin has ended.
    pub fn leave(&self) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts for this origin, or for all without a name.
    pub fn count(&self, what: Counted, others: &Others) {
        if self.is_named() { self.ended.add(what) } else { others.ended.add(what) }
    }

    /// Whether it is told apart.
    pub fn is_named(&self) -> bool {
        self.named.load(Ordering::Relaxed)
    }

    /// Gives it a name, and begins with its counts.
    pub fn name(&self) {
        self.ended.reset();
        self.entered.store(0, Ordering::Relaxed);
        self.named.store(true, Ordering::Relaxed);
    }

    /// Takes its name.
    pub fn forget_name(&self) {
        self.named.store(false, Ordering::Relaxed);
    }

    /// Live messages.
    pub fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Its counts, since it has a name.
    pub fn ended(&self) -> Ended {
        self.ended.get()
    }

    /// How busy it has been since this was last asked.
    pub fn take_score(&self) -> u64 {
        self.entered.swap(0, Ordering::Relaxed) + self.messages()
    }
}

/// All origins without a name.
#[derive(Debug, Default)]
pub struct Others {
    ended: Counts,
    /// Those that came up since names were last dealt out, with a lower bound on their messages.
    rising: Mutex<HashMap<Origin, u64>>,
}

impl Others {
    /// Their counts.
    pub fn ended(&self) -> Ended {
        self.ended.get()
    }

    /// Those that came up, with their messages at least; begins anew.
    pub fn take_rising(&self) -> HashMap<Origin, u64> {
        std::mem::take(&mut *self.rising.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Misra and Gries. Nobody waits for another core here: what is missed while one counts changes no order.
    fn note(&self, origin: OriginRef<'_>) {
        let Ok(mut rising) = self.rising.try_lock() else { return };
        if let Some(messages) = rising.get_mut(&origin) {
            *messages += 1;
        } else if rising.len() < RISING_ORIGINS_MAX {
            rising.insert(origin.to_origin(), 1);
        } else {
            rising.retain(|_, messages| {
                *messages -= 1;
                *messages > 0
            });
        }
    }
}

/// What the metrics tell of one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginFigures {
    /// Its name.
    pub origin: String,
    /// Live messages.
    pub messages: u64,
    /// Its counts, since it has a name.
    pub ended: Ended,
    /// Its circuit is open.
    pub is_open: bool,
}

/// What the metrics tell of all origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Those with a name, in the order of their names.
    pub named: Vec<OriginFigures>,
    /// The counts of the others.
    pub others_ended: Ended,
    /// Origins whose circuit is open, with or without a name.
    pub open_origins: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Scheme;

    fn origin(number: usize) -> Origin {
        Origin::parse(&format!("b{number}.example"), Scheme::Http).expect("an origin")
    }

    #[test]
    fn an_origin_with_more_than_its_share_is_found_among_many_in_constant_memory() {
        let (others, tally) = (Others::default(), Tally::default());
        for step in 0..100_000 {
            let number = if step % 50 == 0 { 0 } else { step };
            tally.enter(origin(number).borrowed(), &others);
        }
        let rising = others.take_rising();
        assert!(rising.len() <= RISING_ORIGINS_MAX);
        // 2000 of 100,000; at worst one in RISING_ORIGINS_MAX + 1 of all is missed.
        assert!(rising[&origin(0)] >= 2000 - 100_000 / (RISING_ORIGINS_MAX as u64 + 1), "{}", rising[&origin(0)]);
        assert!(rising.iter().all(|(at, messages)| *at == origin(0) || *messages <= 1));
        assert!(others.take_rising().is_empty(), "it begins anew");
    }

    #[test]
    fn what_is_counted_goes_to_the_origin_from_when_it_has_a_name_and_else_to_the_others() {
        let (others, tally) = (Others::default(), Tally::default());
        tally.count(Counted::Delivered, &others);
        tally.name();
        tally.count(Counted::Failed, &others);
        tally.count(Counted::Failed, &others);
        assert_eq!((tally.ended(), others.ended()), ([0, 2, 0], [1, 0, 0]));
        tally.forget_name();
        tally.count(Counted::DeadLettered, &others);
        assert_eq!(others.ended(), [1, 0, 1]);
        tally.name();
        assert_eq!(tally.ended(), [0; 3], "it begins with zero each time");
    }
}
