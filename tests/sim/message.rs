//! What is known of one message: what was promised, what was tried, and where it was found.

use std::ops::RangeInclusive;

use dispatcher::limits::SMALL_DELIVERY_BYTES;

/// Attempts kept in a record that did not count.
const SPARED_KEPT_MAX: usize = 16;

/// What a sender handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The shard that took it.
    pub shard: u32,
    /// The wall clock then, in milliseconds.
    pub accepted: u64,
    pub origin: String,
    pub head: Vec<u8>,
    pub body: Vec<u8>,
}

/// What an origin is sent.
#[derive(Clone, Copy, Debug)]
pub struct Arriving<'a> {
    pub origin: &'a str,
    pub head: &'a [u8],
    pub body: &'a [u8],
    pub attempt: u32,
    pub maybe_duplicate: bool,
    /// Milliseconds since the life began.
    pub at: u64,
    /// The wall clock, in milliseconds.
    pub wall: u64,
}

/// How an attempt ended, as the transport told it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A complete 2xx.
    Delivered,
    /// A complete answer of another kind.
    Answered,
    /// No complete answer.
    Unanswered,
}

/// What the end of an attempt says of its origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// It answers, and not that it fails.
    Alive,
    /// It fails: 5xx, 429, or no answer.
    Failing,
    /// It was not asked.
    Nothing,
}

/// The end of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    pub ending: Ending,
    pub says: Says,
    /// The answer forbids another attempt.
    pub is_final: bool,
    /// So long, in milliseconds, the origin asks to be left alone.
    pub pause: Option<u64>,
    /// Milliseconds since the life began.
    pub at: u64,
    /// The wall clock, in milliseconds.
    pub wall: u64,
}

/// What is written down about an attempt that failed, if there is room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// That it is due again, and so many attempts.
    Retry(usize),
    /// A dead letter.
    Letter,
}

/// A failed attempt, as the shard remembers it.
#[derive(Clone, Copy, Debug)]
pub struct Tried {
    /// It did not meet an open circuit.
    pub counts: bool,
    /// It is in a record. Else its number is all that tells of it.
    pub written: bool,
}

/// Where a message is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The shard will go on with it.
    pub alive: bool,
    /// It is a dead letter.
    pub dead: bool,
    /// The shard that will go on with it.
    pub shard: u32,
}

/// When is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// While the shard runs. Before it has recovered all, what is not there may still come.
    Running,
    /// Once in a life: everything that the log held is there.
    Recovered,
}

/// What is known of a message's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No attempt of which the shard knows has ended it.
    Pending,
    /// It was delivered; whether that is durable is not known.
    Delivered,
    /// Its last attempt failed; whether that is durable is not known.
    GivenUp,
    /// The process died while its end was being written: it is there or not, and that is the truth.
    Cut {
        /// It had been delivered, else given up.
        delivered: bool,
    },
    /// Its end was seen to be durable.
    Ended,
}

/// One message.
#[derive(Debug)]
pub struct Message {
    pub sent: Sent,
    pub refused: bool,
    /// It was acknowledged, attempted or recovered: from here on it must not be lost.
    pub durable: bool,
    pub fate: Fate,
    pub was_delivered: bool,
    pub was_given_up: bool,
    /// It lives for a limited time.
    pub is_mortal: bool,
    /// The wall clock has said that it outlived its time.
    pub has_expired: bool,
    /// Since when it says so, in milliseconds since the life began, and no attempt runs.
    pub overdue_since: Option<u64>,
    pub buried: bool,
    pub running: bool,
    /// The running attempt is at the origin, which has not answered.
    pub in_doubt: bool,
    /// An attempt may have had an effect that a later one would repeat.
    pub exposed: bool,
    /// Number of the newest attempt.
    pub attempts: u32,
    /// The attempts that failed, as far as the log may tell of them.
    pub tried: Vec<Tried>,
    /// Its shard is no more, and it was not seen since in another one.
    pub is_moving: bool,
    /// It may stand in two logs, of two shards that do not know of each other.
    pub twofold: bool,
    /// The shard where it was seen last.
    pub home: u32,
    /// The life in which a replay was asked for that may take it.
    pub replay_asked_in: Option<u32>,
    /// The life in which a removal of it began, of which nobody knows yet what came of it.
    pub removing_in: Option<u32>,
    /// How many such removals are under way.
    pub removals: u32,
    /// It was a dead letter, and an operator has removed that.
    pub removed: bool,
    /// It was a dead letter, and is a message again: since when is not known.
    pub replayed: bool,
    pub submitted_in: u32,
    pub attempted_in: u32,
    pub ended_in: u32,
}

impl Message {
    /// As it is handed over in life number `life`; `is_mortal`: it lives for a limited time.
    pub const fn new(sent: Sent, life: u32, is_mortal: bool) -> Self {
        Self {
            home: sent.shard,
            sent,
            refused: false,
            durable: false,
            fate: Fate::Pending,
            was_delivered: false,
            was_given_up: false,
            is_mortal,
            has_expired: false,
            overdue_since: None,
            buried: false,
            running: false,
            in_doubt: false,
            exposed: false,
            attempts: 0,
            tried: Vec::new(),
            is_moving: false,
            twofold: false,
            replay_asked_in: None,
            removing_in: None,
            removals: 0,
            removed: false,
            replayed: false,
            submitted_in: life,
            attempted_in: 0,
            ended_in: 0,
        }
    }

    /// Numbers that its next attempt may have. `is_restarted`: it goes by the log and not by what the shard remembers.
    pub fn expected(&self, is_restarted: bool) -> RangeInclusive<u32> {
        let next = u32::try_from(self.tried.len()).unwrap() + 1;
        if !is_restarted {
            return next..=next;
        }
        // What was written down was durable before another attempt could begin.
        let begun = self.tried.iter().take(self.attempts.saturating_sub(1) as usize);
        let durable = begun.enumerate().filter(|(_, tried)| tried.written).map(|(before, _)| before + 1).next_back();
        u32::try_from(durable.unwrap_or(0)).unwrap() + 1..=next
    }

    /// Whether it has outlived its time by this wall clock.
    pub fn is_over(&self, ttl: Option<u64>, wall: u64) -> bool {
        !self.replayed && ttl.is_some_and(|ttl| wall.saturating_sub(self.sent.accepted) >= ttl)
    }

    /// Whether it may have ended for want of time.
    pub fn has_expired_by(&self, ttl: Option<u64>, wall: u64) -> bool {
        self.has_expired || self.is_over(ttl, wall)
    }

    /// Whether others may be sent before it, as its record needs the memory that is for large ones.
    pub const fn may_be_passed(&self) -> bool {
        const FRAMING_BYTES_MAX: usize = 512;
        self.sent.head.len() + self.sent.body.len() + FRAMING_BYTES_MAX > SMALL_DELIVERY_BYTES
    }

    fn spared(&self) -> usize {
        self.tried.iter().filter(|tried| tried.written && !tried.counts).count()
    }

    /// Failed attempts that count against the limit.
    pub fn spent(&self) -> usize {
        // Where some that were spared may be missing in the record, only what is newer than it is known to be missing.
        let newest = self.tried.iter().rposition(|tried| tried.written).filter(|_| self.spared() >= SPARED_KEPT_MAX);
        let counts = |(at, tried): &(usize, &Tried)| match tried.written {
            true => tried.counts,
            false => newest.is_none_or(|newest| *at > newest),
        };
        self.tried.iter().enumerate().filter(counts).count()
    }

    /// Attempts in the record of one that failed more, and that counts or not.
    pub fn history(&self, counts: bool) -> usize {
        let spared = self.spared() + usize::from(!counts);
        let counted = self.tried.iter().filter(|tried| tried.written && tried.counts).count() + usize::from(counts);
        counted + spared.min(SPARED_KEPT_MAX)
    }

    /// Goes by where it was found; `Err` says what is wrong with that.
    pub fn found(&mut self, Seen { alive, dead, shard }: Seen, life: u32) -> Result<(), &'static str> {
        if self.refused && (alive || dead) {
            return Err("was not taken, and is there");
        }
        if self.removed && (alive || dead) {
            return Err("was removed, and is back");
        }
        if self.buried && !dead && !alive && self.removing_in.is_some() {
            if self.removing_in < Some(life) {
                self.remove();
            }
            return Ok(());
        }
        // On its way from the one log to the other.
        let is_dying = self.fate == Fate::GivenUp || self.fate == Fate::Pending && self.has_expired;
        let is_between = self.buried || is_dying;
        if is_between && !dead && !alive && self.replay_asked_in == Some(life) {
            return Ok(());
        }
        // While it becomes a letter it stands in both logs too.
        if self.buried && alive && (self.fate == Fate::Ended || !dead) && self.replay_asked_in.is_some() {
            self.revive();
        }
        // What was asked of the process before this one has come to something, or to nothing.
        if self.removing_in < Some(life) {
            self.removing_in = None;
        }
        if self.replay_asked_in.is_some_and(|asked_in| asked_in < life) && dead && !alive {
            // It may have been a message in between, unseen.
            (self.replay_asked_in, self.ended_in) = (None, life);
        }
        if self.buried && !dead {
            return Err("was a dead letter, and is none");
        }
        // Right after a crash it may stand in both logs for a while, because it was being replayed.
        let dead = dead && !(self.replayed && alive);
        if dead && !self.was_given_up && !self.has_expired {
            return Err("is a dead letter, and was not given up");
        }
        self.buried |= dead;
        self.durable |= dead;
        if alive {
            (self.home, self.is_moving) = (shard, false);
        }
        if self.twofold {
            self.durable |= alive;
            let is_lost = self.durable && !alive && !dead && !self.was_delivered;
            self.fate = if alive { Fate::Pending } else { Fate::Ended };
            return if is_lost { Err("is lost") } else { Ok(()) };
        }
        match (self.fate, alive) {
            (Fate::Ended, true) => return Err("had ended, and is back"),
            (Fate::Cut { .. }, true) => (self.fate, self.durable) = (Fate::Pending, true),
            // One that was submitted may be there before its sender knows.
            (Fate::Pending, true) => self.durable = true,
            (Fate::Delivered | Fate::GivenUp, true) | (Fate::Ended, false) => {}
            (Fate::Pending, false) if dead => self.end(life),
            (Fate::Pending, false) if self.durable => return Err("is lost"),
            (Fate::Pending, false) => {}
            (Fate::Delivered | Fate::Cut { delivered: true }, false) => self.end(life),
            (Fate::GivenUp | Fate::Cut { .. }, false) if dead => self.end(life),
            (Fate::GivenUp | Fate::Cut { .. }, false) => return Err("was given up, and is no dead letter"),
        }
        Ok(())
    }

    /// Was a dead letter, and is a message again, of which nothing was tried.
    pub fn revive(&mut self) {
        self.tried.clear();
        (self.fate, self.durable, self.replayed) = (Fate::Pending, true, true);
        (self.buried, self.was_given_up, self.was_delivered) = (false, false, false);
        (self.attempts, self.attempted_in, self.removing_in) = (0, 0, None);
        // Its time began when the replay came to it.
        (self.has_expired, self.overdue_since) = (self.is_mortal, None);
    }

    /// An operator has ended it.
    pub fn remove(&mut self) {
        (self.removed, self.buried, self.removing_in, self.fate) = (true, false, None, Fate::Ended);
    }

    fn end(&mut self, life: u32) {
        (self.fate, self.ended_in) = (Fate::Ended, life);
    }
}
