//! What was promised, checked against what is seen: a history goes in, objections come out. Knows nothing of a shard.

use std::collections::{BTreeMap, BTreeSet};

use dispatcher::message::MessageId;

use super::rules;

/// What a sender handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
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

/// What the logs have room for when an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// If it is to be retried, a record says so.
    pub retry: bool,
    /// If it is given up, it becomes a dead letter; else it stays and is attempted again.
    pub dead_letter: bool,
}

/// Where a message is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The shard will go on with it.
    pub alive: bool,
    /// It is a dead letter.
    pub dead: bool,
}

/// When is looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// While the shard runs.
    Running,
    /// When it has just recovered, before anything else.
    Recovered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// No attempt of which the shard knows has ended it.
    Pending,
    /// It was delivered; whether that is durable is not known.
    Delivered,
    /// Its last attempt failed; whether that is durable is not known.
    GivenUp,
    /// Its end was seen to be durable.
    Ended,
}

#[derive(Debug)]
struct Message {
    sent: Sent,
    refused: bool,
    /// It was acknowledged, attempted or recovered: from here on it must not be lost.
    durable: bool,
    fate: Fate,
    was_delivered: bool,
    was_given_up: bool,
    buried: bool,
    running: bool,
    /// The running attempt is at the origin, which has not answered.
    in_doubt: bool,
    /// An attempt may have had an effect that a later one would repeat.
    exposed: bool,
    /// Number of the newest attempt.
    attempts: u32,
    /// A failed attempt may not have been written down, for want of space.
    unwritten: bool,
    attempted_in: u32,
    recovered_in: u32,
}

/// What happened in the life that is running, for its metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub acknowledged: u64,
    pub refused: u64,
    pub delivered: u64,
    pub failed: u64,
    pub marked: u64,
    /// Messages found alive after the recovery.
    pub recovered: u64,
}

/// The promises, and every message there was.
#[derive(Debug)]
pub struct Checker {
    retries_max: u16,
    abreast_max: u32,
    life: u32,
    /// A record may fail to be read in this life, and its message is then put off.
    reads_may_fail: bool,
    messages: BTreeMap<MessageId, Message>,
    newest: Option<MessageId>,
    /// By origin, what was recovered, has never been attempted, and is not yet.
    waiting: BTreeMap<String, BTreeSet<MessageId>>,
    tally: Tally,
    objections: Vec<String>,
}

macro_rules! object {
    ($self:ident, $($text:tt)*) => { $self.objections.push(format!($($text)*)) };
}

impl Checker {
    /// For a shard that makes `retries_max` retries, and at most `abreast_max` attempts at one origin at a time.
    pub fn new(retries_max: u16, abreast_max: u32) -> Self {
        Self {
            retries_max,
            abreast_max,
            life: 0,
            reads_may_fail: false,
            messages: BTreeMap::new(),
            newest: None,
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

    /// What happened in this life so far.
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// A process starts.
    pub fn life_begins(&mut self, reads_may_fail: bool) {
        self.life += 1;
        self.reads_may_fail = reads_may_fail;
        self.newest = None;
        self.waiting.clear();
        self.tally = Tally::default();
    }

    /// The process is gone: attempts that ran are cut off.
    pub fn life_ends(&mut self) {
        for message in self.messages.values_mut() {
            message.exposed |= message.in_doubt;
            (message.running, message.in_doubt) = (false, false);
        }
    }

    /// The shard took a message and gave it an id.
    pub fn submitted(&mut self, id: MessageId, sent: Sent) {
        if self.newest.is_some_and(|newest| newest >= id) {
            object!(self, "{id} is not greater than the id before it");
        }
        self.newest = Some(id);
        let message = Message {
            sent,
            refused: false,
            durable: false,
            fate: Fate::Pending,
            was_delivered: false,
            was_given_up: false,
            buried: false,
            running: false,
            in_doubt: false,
            exposed: false,
            attempts: 0,
            unwritten: false,
            attempted_in: 0,
            recovered_in: 0,
        };
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
        if message.running {
            object!(self, "{id} is attempted while another attempt runs");
        }
        match message.fate {
            Fate::Pending => {}
            Fate::Delivered | Fate::GivenUp => object!(self, "{id} is attempted while its end is being written"),
            Fate::Ended => object!(self, "{id} is attempted although its end was durable"),
        }
        if message.buried {
            object!(self, "{id} is attempted although it is a dead letter");
        }
        let first = message.attempted_in != self.life;
        let fewest = match (first, message.unwritten) {
            (false, _) => message.attempts + 1,
            (true, false) => message.attempts.max(1),
            (true, true) => 1,
        };
        if !(fewest..=message.attempts + 1).contains(&arriving.attempt) {
            object!(self, "{id} is at attempt {}, expected {fewest} to {}", arriving.attempt, message.attempts + 1);
        }
        if message.exposed && !arriving.maybe_duplicate {
            object!(self, "{id} may have been received before, and attempt {} does not say so", arriving.attempt);
        }
        let recovered = message.recovered_in == self.life;
        if arriving.maybe_duplicate && !message.exposed && !recovered {
            object!(self, "{id} is said to be a possible duplicate, and cannot be");
        }
        message.durable = true;
        (message.running, message.attempts, message.attempted_in) = (true, arriving.attempt, self.life);
        if !self.reads_may_fail {
            self.check_order(id, arriving.origin);
        }
    }

    /// Orders are given out oldest first, and then each takes its time to be read: no more can be overtaken than are
    /// under way together.
    fn check_order(&mut self, id: MessageId, origin: &str) {
        let Some(waiting) = self.waiting.get_mut(origin) else { return };
        let overtaken = waiting.range(..id).count();
        if waiting.remove(&id) && rules::RECOVERED_ARE_IN_ORDER && overtaken >= self.abreast_max as usize {
            object!(self, "{id} is first attempted before {overtaken} that were accepted before it");
        }
    }

    /// The origin has the request.
    pub fn attempt_reaches(&mut self, id: MessageId) {
        if let Some(message) = self.messages.get_mut(&id) {
            message.in_doubt = true;
        }
    }

    /// An attempt ends. `room`: what the logs have room for.
    pub fn attempt_ends(&mut self, id: MessageId, ending: Ending, room: Room) {
        let Some(message) = self.messages.get_mut(&id) else { return };
        if !std::mem::take(&mut message.running) {
            object!(self, "{id} ends an attempt that does not run");
        }
        if ending == Ending::Delivered {
            self.tally.delivered += 1;
            (message.fate, message.was_delivered, message.exposed) = (Fate::Delivered, true, true);
        } else {
            self.tally.failed += 1;
            message.exposed |= message.in_doubt && ending == Ending::Unanswered;
            if message.attempts <= self.retries_max.into() {
                message.unwritten |= !room.retry;
            } else if room.dead_letter {
                (message.fate, message.was_given_up) = (Fate::GivenUp, true);
            } else {
                message.unwritten = true;
            }
        }
        message.in_doubt = false;
    }

    /// Looks for every message; returns how many are alive.
    pub fn look(&mut self, when: When, seen: impl Fn(MessageId) -> Seen) -> u64 {
        let mut alive = 0;
        for (id, message) in &mut self.messages {
            let Seen { alive: is_alive, dead } = seen(*id);
            alive += u64::from(is_alive);
            if message.refused && (is_alive || dead) {
                object!(self, "{id} was not taken, and is there");
            }
            if message.buried && !dead {
                object!(self, "{id} was a dead letter, and is none");
            }
            if dead && !message.was_given_up {
                object!(self, "{id} is a dead letter, and was not given up");
            }
            message.buried |= dead;
            match (message.fate, is_alive) {
                (Fate::Ended, true) => object!(self, "{id} had ended, and is back"),
                (_, true) if when == When::Recovered => {
                    (message.fate, message.durable, message.recovered_in) = (Fate::Pending, true, self.life);
                }
                (Fate::Ended, false) | (_, true) => {}
                (Fate::Pending, false) if dead => message.fate = Fate::Ended,
                (Fate::Pending, false) => {
                    if message.durable {
                        object!(self, "{id} is lost: {} bytes", message.sent.body.len());
                    }
                }
                (Fate::Delivered, false) => message.fate = Fate::Ended,
                (Fate::GivenUp, false) => {
                    message.fate = Fate::Ended;
                    if !dead {
                        object!(self, "{id} was given up, and is no dead letter");
                    }
                }
            }
        }
        if when == When::Recovered {
            self.tally.recovered = alive;
            for (id, message) in self.messages.iter().filter(|(_, message)| message.recovered_in == self.life) {
                if message.attempts == 0 {
                    self.waiting.entry(message.sent.origin.clone()).or_default().insert(*id);
                }
            }
            // Neither acknowledged nor there: it never was. What was refused is kept, to see that it never comes.
            self.messages.retain(|_, message| message.durable || message.refused);
        }
        alive
    }

    /// A dead letter was read back.
    pub fn dead_letter(&mut self, id: MessageId, body: &[u8]) {
        if self.messages.get(&id).is_none_or(|message| message.sent.body != body) {
            object!(self, "{id} is not what was sent, as a dead letter");
        }
    }

    /// Nothing is left to do: every message must have ended, and well.
    pub fn finished(&mut self) {
        for (id, message) in self.messages.iter().filter(|(_, message)| message.durable) {
            if message.fate != Fate::Ended {
                object!(self, "{id} has not ended: {:?}", message.fate);
            }
            if !message.was_delivered && !message.buried {
                object!(self, "{id} was neither delivered nor is it a dead letter");
            }
        }
    }

    /// Bytes of the messages that are longer than `bytes_min` and alive.
    pub fn bytes_of_alive(&self, bytes_min: usize, is_alive: impl Fn(MessageId) -> bool) -> u64 {
        let sent = self.messages.iter().filter(|(id, _)| is_alive(**id)).map(|(_, message)| &message.sent);
        sent.map(|sent| sent.head.len() + sent.body.len()).filter(|bytes| *bytes > bytes_min).sum::<usize>() as u64
    }

    /// Looks for the dead letters alone.
    pub fn look_dead(&mut self, dead: impl Fn(MessageId) -> bool) {
        for (id, _) in self.messages.iter().filter(|(id, message)| message.buried != dead(**id)) {
            object!(self, "{id} became or ceased to be a dead letter while nothing ran");
        }
    }
}
