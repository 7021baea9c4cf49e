//! What was promised, checked against what is seen: a history goes in, objections come out. Knows nothing of a shard.

use std::collections::{BTreeMap, BTreeSet};

use dispatcher::message::MessageId;

use super::circuits::{Circuits, Rules};
pub use super::message::{Arriving, Ended, Ending, Says, Seen, Sent, When, Writing};
use super::message::{Fate, Message, Tried};
use super::rules;

/// What happened in the life that is running, for its metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub acknowledged: u64,
    pub refused: u64,
    pub delivered: u64,
    pub failed: u64,
    pub marked: u64,
    /// Messages that the log held when the life began: at least, as some may have ended before all were there.
    pub recovered_min: u64,
    /// At most.
    pub recovered_max: u64,
}

macro_rules! object {
    ($self:ident, $($text:tt)*) => { $self.objections.push(format!($($text)*)) };
}

#[path = "letters.rs"]
mod letters;

/// How long an overdue message may stay alive where nothing hinders, in milliseconds.
const OVERDUE_MS_MAX: u64 = 20_000;

/// What a life is like.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditions {
    pub reads_may_fail: bool,
    /// How long it may take to read one message.
    pub read_ms_max: u64,
    /// Nothing hinders what is due.
    pub is_calm: bool,
}

/// The promises, and every message there was.
#[derive(Debug)]
pub struct Checker {
    retries_max: u16,
    /// How long a message lives, in milliseconds.
    ttl: Option<u64>,
    abreast_max: u32,
    origins: Rules,
    circuits: Circuits,
    space_is_short: bool,
    life: u32,
    conditions: Conditions,
    /// Milliseconds since the life began, when the time was noted last.
    at: u64,
    /// When a replay of all dead letters was asked for last.
    all_replayed_at: Option<u64>,
    /// A replay was asked for, in any life: what it writes again stands in the log in an order of its own.
    is_reordered: bool,
    /// Everything that the log held is there.
    recovered: bool,
    /// Some messages may stand in two logs.
    twofold: bool,
    messages: BTreeMap<MessageId, Message>,
    /// By shard, the id given out last.
    newest: BTreeMap<u32, MessageId>,
    /// By shard and origin, what waits for its first attempt since before this life.
    waiting: BTreeMap<(u32, String), BTreeSet<MessageId>>,
    tally: Tally,
    objections: Vec<String>,
}

impl Checker {
    /// For shards that make `retries_max` retries within `ttl`, and of which each has `slots` attempts at a time.
    /// `space_is_short`: there may not be room for everything.
    pub fn new(retries_max: u16, ttl: Option<u64>, slots: u32, origins: Rules, space_is_short: bool) -> Self {
        Self {
            retries_max,
            ttl,
            abreast_max: slots.min(origins.in_flight_max),
            origins,
            circuits: Circuits::new(origins, 0),
            space_is_short,
            life: 0,
            conditions: Conditions::default(),
            at: 0,
            all_replayed_at: None,
            is_reordered: false,
            recovered: false,
            twofold: false,
            messages: BTreeMap::new(),
            newest: BTreeMap::new(),
            waiting: BTreeMap::new(),
            tally: Tally::default(),
            objections: Vec::new(),
        }
    }

    /// Takes what there is to object.
    pub fn objections(&mut self) -> Vec<String> {
        std::mem::take(&mut self.objections)
    }

    /// Adds an objection from elsewhere.
    pub fn object(&mut self, what: String) {
        self.objections.push(what);
    }

    /// Whether some messages may stand in two logs: then they are counted twice.
    pub const fn counts_twofold(&self) -> bool {
        self.twofold
    }

    /// What happened in this life so far.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// A process with so many shards starts.
    pub fn life_begins(&mut self, shards: u32, conditions: Conditions) {
        self.life += 1;
        self.conditions = conditions;
        (self.at, self.all_replayed_at) = (0, None);
        self.circuits = Circuits::new(self.origins, conditions.read_ms_max);
        self.recovered = false;
        self.newest.clear();
        self.waiting.clear();
        for message in self.messages.values_mut().filter(|message| message.fate != Fate::Ended) {
            let is_back = message.is_moving && (message.home < shards || self.space_is_short);
            message.twofold |= is_back && !rules::AN_ADOPTED_SHARD_MAY_COME_BACK;
            message.is_moving |= message.home >= shards;
        }
        self.twofold = self.messages.values().any(|message| message.twofold);
        // What is adopted comes when it comes: a crash may have cut an adoption short.
        let waits = |message: &Message| {
            let is_fresh = message.durable && message.fate == Fate::Pending && message.attempts == 0;
            is_fresh && !message.is_moving && !message.twofold && !message.replayed
        };
        for (id, message) in self.messages.iter().filter(|(_, message)| waits(message)) {
            let lane = (message.home, message.sent.origin.clone());
            self.waiting.entry(lane).or_default().insert(*id);
        }
        self.tally = Tally::default();
    }

    /// The process is gone: attempts that ran are cut off.
    pub fn life_ends(&mut self) {
        for message in self.messages.values_mut() {
            message.exposed |= message.in_doubt;
            (message.running, message.in_doubt) = (false, false);
            message.fate = match message.fate {
                Fate::Delivered => Fate::Cut { delivered: true },
                Fate::GivenUp => Fate::Cut { delivered: false },
                other => other,
            };
        }
    }

    /// The shard took a message and gave it an id.
    pub fn submitted(&mut self, id: MessageId, sent: Sent) {
        if self.newest.insert(sent.shard, id).is_some_and(|newest| newest >= id) {
            object!(self, "{id} is not greater than the id before it");
        }
        let message = Message::new(sent, self.life, self.ttl.is_some());
        if self.messages.insert(id, message).is_some() {
            object!(self, "{id} was given out twice");
        }
    }

    /// Its sender was told 202, or that it is not taken.
    pub fn answered(&mut self, id: MessageId, acknowledged: bool) {
        let Some(message) = self.messages.get_mut(&id) else { return object!(self, "{id} was never submitted") };
        if acknowledged {
            message.durable = true;
            self.tally.acknowledged += 1;
        } else {
            message.refused = true;
            self.tally.refused += 1;
            if message.durable {
                object!(self, "{id} was attempted, and then its sender was told that it is not taken");
            }
        }
    }

    /// An attempt begins.
    pub fn attempt_begins(&mut self, id: MessageId, arriving: Arriving<'_>) {
        self.tally.marked += u64::from(arriving.maybe_duplicate);
        let Some(message) = self.messages.get_mut(&id) else {
            return object!(self, "{id} is delivered and was never submitted");
        };
        let sent = &message.sent;
        if (sent.origin.as_str(), &sent.head[..], &sent.body[..]) != (arriving.origin, arriving.head, arriving.body) {
            object!(self, "{id} is not what was sent, or goes elsewhere");
        }
        if message.refused {
            object!(self, "{id} is delivered although its sender was told that it is not taken");
        }
        if message.exposed && !arriving.maybe_duplicate {
            object!(self, "{id} may have been received before, and attempt {} does not say so", arriving.attempt);
        }
        if let Err(why) = self.circuits.attempt_begins(&message.sent.origin, id, arriving.at) {
            object!(self, "{id} {why}");
        }
        let may_be_letter = message.was_given_up || message.has_expired_by(self.ttl, arriving.wall);
        let is_replayed = message.buried || (may_be_letter && arriving.attempt == 1);
        if is_replayed && message.replay_asked_in.is_some() && !message.removed {
            message.revive();
        }
        if message.is_over(self.ttl, arriving.wall) {
            object!(self, "{id} is attempted after its time");
        }
        message.durable = true;
        if message.twofold {
            return;
        }
        if message.running {
            object!(self, "{id} is attempted while another attempt runs");
        }
        match message.fate {
            Fate::Pending => {}
            Fate::Cut { .. } => message.fate = Fate::Pending,
            Fate::Delivered | Fate::GivenUp => object!(self, "{id} is attempted while its end is being written"),
            Fate::Ended if message.removed => object!(self, "{id} is attempted although it was removed"),
            Fate::Ended => object!(self, "{id} is attempted although its end was durable"),
        }
        if message.buried {
            object!(self, "{id} is attempted although it is a dead letter");
        }
        let expected = message.expected(message.attempted_in != self.life);
        if !expected.contains(&arriving.attempt) {
            object!(self, "{id} is at attempt {}, expected {expected:?}", arriving.attempt);
        }
        // That the others failed was lost.
        message.tried.truncate(arriving.attempt.saturating_sub(1) as usize);
        let recovered = message.submitted_in < self.life;
        if arriving.maybe_duplicate && !message.exposed && !recovered {
            object!(self, "{id} is said to be a possible duplicate, and cannot be");
        }
        (message.running, message.attempts, message.attempted_in) = (true, arriving.attempt, self.life);
        // One that could not be read is put off.
        if !self.conditions.reads_may_fail && !self.is_reordered {
            let lane = (message.home, message.sent.origin.clone());
            self.check_order(id, &lane, arriving.wall);
        }
    }

    /// Orders are given out oldest first, and then each takes its time to be read: no more can be overtaken than are
    /// under way together. But for large ones, which others pass while there is no memory for them.
    fn check_order(&mut self, id: MessageId, lane: &(u32, String), wall: u64) {
        let Some(waiting) = self.waiting.get_mut(lane) else { return };
        let (ttl, messages) = (self.ttl, &self.messages);
        let waits = |id: &&MessageId| {
            messages.get(*id).is_some_and(|message| !message.has_expired_by(ttl, wall) && !message.may_be_passed())
        };
        let overtaken = waiting.range(..id).filter(waits).count();
        if waiting.remove(&id) && overtaken >= self.abreast_max as usize {
            object!(self, "{id} is first attempted before {overtaken} that were accepted before it");
        }
    }

    /// The origin has the request.
    pub fn attempt_reaches(&mut self, id: MessageId) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.in_doubt = true;
        }
    }

    /// An attempt ends. `room` says if there is space to write down that it failed.
    pub fn attempt_ends(&mut self, id: MessageId, ended: Ended, room: impl Fn(Writing) -> bool) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        let (ending, is_over) = (ended.ending, message.is_over(self.ttl, ended.wall));
        message.has_expired |= is_over;
        let counts = self.circuits.attempt_ends(&message.sent.origin, id, ended);
        if !std::mem::take(&mut message.running) && !message.twofold {
            object!(self, "{id} ends an attempt that does not run");
        }
        if ending == Ending::Delivered {
            self.tally.delivered += 1;
            (message.was_delivered, message.exposed) = (true, true);
            message.fate = if message.twofold { message.fate } else { Fate::Delivered };
        } else {
            self.tally.failed += 1;
            message.exposed |= message.in_doubt && ending == Ending::Unanswered;
            if message.twofold {
                message.was_given_up = true;
            } else if ended.is_final || is_over || counts && message.spent() >= self.retries_max.into() {
                if room(Writing::Letter) {
                    (message.fate, message.was_given_up) = (Fate::GivenUp, true);
                    if self.all_replayed_at == Some(ended.at) {
                        message.replay_asked_in = Some(self.life);
                    }
                } else {
                    message.tried.push(Tried { counts: true, written: false });
                }
            } else if room(Writing::Retry(message.history(counts))) {
                message.tried.push(Tried { counts, written: true });
            } else if counts {
                message.tried.push(Tried { counts: true, written: false });
            }
        }
        message.in_doubt = false;
    }

    /// Notes the time, in milliseconds since the life began and of the wall clock. To be called before the wall clock is
    /// set, and after.
    pub fn note_time(&mut self, at: u64, wall: u64) {
        self.at = at;
        for (id, message) in self.messages.iter_mut().filter(|(_, message)| message.fate != Fate::Ended) {
            message.has_expired |= message.is_over(self.ttl, wall);
            // Waiting messages are judged by their ids, which never go back.
            let is_seen =
                !message.running && !message.replayed && self.ttl.is_some_and(|ttl| id.accepted().0 + ttl <= wall);
            message.overdue_since = message.overdue_since.or(Some(at)).filter(|_| is_seen);
        }
    }

    /// Looks for every message; returns how many are alive.
    pub fn look(&mut self, when: When, seen: impl Fn(MessageId) -> Seen) -> u64 {
        self.recovered |= when == When::Recovered;
        let mut alive = 0;
        for (id, message) in &mut self.messages {
            let seen = seen(*id);
            alive += u64::from(seen.alive);
            // Until the log has been read to its end, what is met of it tells nothing.
            if !self.recovered && message.submitted_in < self.life {
                continue;
            }
            let is_late = message.overdue_since.is_some_and(|since| self.at >= since + OVERDUE_MS_MAX);
            let is_between = message.twofold || message.replay_asked_in.is_some();
            if is_late && self.conditions.is_calm && seen.alive && !seen.dead && !is_between {
                object!(self, "{id} has outlived its time and is alive");
            }
            if let Err(why) = message.found(seen, self.life) {
                object!(self, "{id} {why}: {} bytes, {} attempts", message.sent.body.len(), message.attempts);
            }
        }
        if when == When::Recovered {
            self.after_recovery();
        }
        alive
    }

    fn after_recovery(&mut self) {
        let life = self.life;
        for message in self.messages.values_mut() {
            message.overdue_since = None;
        }
        // Neither acknowledged nor there: it never was. What was refused is kept, to see that it never comes.
        self.messages.retain(|_, message| message.durable || message.refused || message.submitted_in == life);
        for message in self.messages.values().filter(|message| message.submitted_in < life && message.durable) {
            let is_pending = message.fate == Fate::Pending;
            let was_pending = is_pending || message.attempted_in == life;
            self.tally.recovered_min += u64::from(was_pending);
            self.tally.recovered_max += u64::from(was_pending || message.ended_in == life);
        }
    }

    /// Nothing is left to do: every message must have ended, and well.
    pub fn finished(&mut self) {
        for (id, message) in self.messages.iter().filter(|(_, message)| message.durable) {
            if message.fate != Fate::Ended {
                object!(self, "{id} has not ended: {:?}", message.fate);
            }
            if !message.was_delivered && !message.buried && !message.removed {
                object!(self, "{id} was neither delivered nor is it a dead letter");
            }
        }
    }

    /// Bytes of the messages that are longer than `bytes_min` and alive.
    pub fn bytes_of_alive(&self, bytes_min: usize, is_alive: impl Fn(MessageId) -> bool) -> u64 {
        let sent = self.messages.iter().filter(|(id, _)| is_alive(**id)).map(|(_, message)| &message.sent);
        sent.map(|sent| sent.head.len() + sent.body.len()).filter(|bytes| *bytes > bytes_min).sum::<usize>() as u64
    }
}
