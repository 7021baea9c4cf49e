//! Which records were asked for.

use std::collections::{HashMap, HashSet};

use super::line;
use crate::message::{MessageId, Origin};
use crate::time::UnixMillis;
use crate::wal::payload::Payload;
use crate::wal::recovery::Visit;

/// What became of a message, as far as a log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum State {
    /// Accepted, and no end is in the log
    Pending,
    /// Delivered
    Delivered,
    /// Given up
    DeadLettered,
    /// Found damaged when it was read back
    Lost,
}

/// Where a record stands: in which of the directories that are read, in which segment, at which offset.
pub type Spot = (usize, u32, u32);

/// The state of every message of a log: a fold over its records.
#[derive(Debug, Default)]
pub struct States {
    /// With how often the message had been replayed then.
    of: HashMap<MessageId, (u16, State)>,
    /// The last record of each directory: what follows it came later and says nothing of the states.
    last: HashMap<usize, (u32, u32)>,
}

impl States {
    /// Takes a record into account, in the order of the log. An end is final, wherever the message stands besides.
    pub fn apply(&mut self, (dir, segment, offset): Spot, visit: &Visit<'_>) {
        self.last.insert(dir, (segment, offset));
        let known = self.of.get(&visit.id).map(|(replays, _)| *replays);
        let (replays, state) = match &visit.payload {
            // Only a replay gives it another end.
            Payload::Accepted(message) if known.is_some_and(|replays| message.replays <= replays) => return,
            Payload::Accepted(message) => (message.replays, State::Pending),
            // The dead letter log does not tell when its letters were written as seen from the other log.
            Payload::DeadLetter(message, _) if known.is_some_and(|replays| message.replays < replays) => return,
            Payload::DeadLetter(message, _) => (message.replays, State::DeadLettered),
            // Of a message that is known from its own record; what was removed had become a dead letter, and stays that.
            Payload::Retry(_) | Payload::Removed { .. } => return,
            Payload::Delivered { .. } => (known.unwrap_or(0), State::Delivered),
            Payload::DeadLettered { .. } => (known.unwrap_or(0), State::DeadLettered),
            Payload::Lost { .. } => (known.unwrap_or(0), State::Lost),
        };
        self.of.insert(visit.id, (replays, state));
    }

    fn is(&self, id: MessageId, state: State) -> bool {
        self.of.get(&id).is_some_and(|(_, known)| *known == state)
    }

    fn cover(&self, (dir, segment, offset): Spot) -> bool {
        self.last.get(&dir).is_some_and(|last| (segment, offset) <= *last)
    }
}

/// What was asked for; a record must meet all of it.
#[derive(Debug, Default)]
pub struct Filter {
    /// Of one of these messages; empty: of any.
    pub ids: Vec<MessageId>,
    /// Of messages for this origin.
    pub origin: Option<Origin>,
    /// Of messages that came to this.
    pub state: Option<(State, States)>,
    /// Of what happened then or later.
    pub since: Option<UnixMillis>,
    /// Messages for the origin: only their own records name it.
    pub met: HashSet<MessageId>,
}

impl Filter {
    /// Whether a record was asked for. To be called for each record, in the order of the log.
    pub fn takes(&mut self, spot: Spot, visit: &Visit<'_>) -> bool {
        if let (Some(origin), Payload::Accepted(message) | Payload::DeadLetter(message, _)) =
            (&self.origin, &visit.payload)
            && message.origin == origin.borrowed()
        {
            self.met.insert(visit.id);
        }
        let is_recent = |since: UnixMillis| line::time_of(&visit.payload).is_none_or(|at| at >= since);
        (self.ids.is_empty() || self.ids.contains(&visit.id))
            && (self.origin.is_none() || self.met.contains(&visit.id))
            && self.state.as_ref().is_none_or(|(state, all)| all.cover(spot) && all.is(visit.id, *state))
            && self.since.is_none_or(is_recent)
    }
}
