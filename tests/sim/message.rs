//! What is known of one message: what was promised, what was tried, and where it was found.

/// What a sender handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The shard that took it.
    pub shard: u32,
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
    pub buried: bool,
    pub running: bool,
    /// The running attempt is at the origin, which has not answered.
    pub in_doubt: bool,
    /// An attempt may have had an effect that a later one would repeat.
    pub exposed: bool,
    /// Number of the newest attempt.
    pub attempts: u32,
    /// A failed attempt may not have been written down, for want of space.
    pub unwritten: bool,
    /// Its shard is no more, and it was not seen since in another one.
    pub is_moving: bool,
    /// It may stand in two logs, of two shards that do not know of each other.
    pub twofold: bool,
    /// The shard where it was seen last.
    pub home: u32,
    pub submitted_in: u32,
    pub attempted_in: u32,
    pub ended_in: u32,
}

impl Message {
    /// As it is handed over in life number `life`.
    pub const fn new(sent: Sent, life: u32) -> Self {
        Self {
            home: sent.shard,
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
            is_moving: false,
            twofold: false,
            submitted_in: life,
            attempted_in: 0,
            ended_in: 0,
        }
    }

    /// Goes by where it was found; `Err` says what is wrong with that.
    pub fn found(&mut self, Seen { alive, dead, shard }: Seen, life: u32) -> Result<(), &'static str> {
        if self.refused && (alive || dead) {
            return Err("was not taken, and is there");
        }
        if self.buried && !dead {
            return Err("was a dead letter, and is none");
        }
        if dead && !self.was_given_up {
            return Err("is a dead letter, and was not given up");
        }
        self.buried |= dead;
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

    fn end(&mut self, life: u32) {
        (self.fate, self.ended_in) = (Fate::Ended, life);
    }
}
