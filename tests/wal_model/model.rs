//! What was promised: every message that was submitted, and what the log has said of it since.

use std::collections::BTreeMap;

use dispatcher::message::MessageId;
use dispatcher::shard::Shard;

use super::disk::SimDisk;
use super::folded::Folded;
use super::world::HEAD;

/// What is known of a message's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No outcome that ends it was appended.
    Live,
    /// One was appended; nobody knows yet whether it is durable.
    Ending,
    /// One was durable.
    Ended,
}

/// One message.
#[derive(Clone, Debug)]
pub struct Entry {
    pub body: Vec<u8>,
    /// Its ticket resolved with `Ok`, or it was recovered: it must not be lost from here on.
    pub acknowledged: bool,
    /// Its ticket resolved with `Err`: it must never be seen.
    pub refused: bool,
    pub fate: Fate,
    /// Its end is a dead letter.
    pub given_up: bool,
    /// Attempts of which a durable record tells, and those of the record that was appended last.
    pub attempts: (u16, u16),
    /// The newest attempt that was begun.
    pub begun: u16,
    /// A failed attempt was not written down, for want of space.
    pub unwritten: bool,
    /// An attempt may have reached the origin although no record says so: later ones must say it.
    pub exposed: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Model {
    pub messages: BTreeMap<MessageId, Entry>,
}

impl Model {
    pub fn submitted(&mut self, id: MessageId, body: Vec<u8>) {
        let entry = Entry {
            body,
            acknowledged: false,
            refused: false,
            fate: Fate::Live,
            given_up: false,
            attempts: (0, 0),
            begun: 0,
            unwritten: false,
            exposed: false,
        };
        assert!(self.messages.insert(id, entry).is_none(), "{id} was given out twice");
    }

    pub fn entry(&mut self, id: MessageId) -> &mut Entry {
        self.messages.get_mut(&id).unwrap()
    }

    /// An attempt begins; everything before it is durable.
    pub fn begin(&mut self, id: MessageId, attempt: u16, maybe_duplicate: bool) {
        let entry = self.entry(id);
        assert_eq!(entry.fate, Fate::Live, "{id} is delivered although it has ended");
        assert!(!entry.refused, "{id} is delivered although its sender was told 503");
        assert_eq!(attempt, entry.begun + 1, "{id}");
        assert!(maybe_duplicate || !entry.exposed, "{id} was tried before, and nobody says so");
        entry.attempts.0 = entry.attempts.1;
        entry.begun = attempt;
    }

    /// Notes which ends a life has seen to be durable.
    pub fn note_ended(&mut self, shard: &Shard<SimDisk>) {
        for (id, entry) in &mut self.messages {
            if entry.fate == Fate::Ending && !shard.knows(*id) {
                entry.fate = Fate::Ended;
            }
        }
    }

    /// Checks what a recovery found, and goes on from there.
    pub fn recovered(&mut self, found: &Folded) {
        for (id, live) in &found.live {
            let entry = self.messages.get_mut(id).unwrap_or_else(|| panic!("{id} was never submitted"));
            assert!(!entry.refused, "{id} was refused and is back");
            assert_ne!(entry.fate, Fate::Ended, "{id} had ended and is back");
            assert!(live.head == HEAD && entry.body == live.body, "{id} is not what was sent");
            let (durable, appended) = entry.attempts;
            let attempts = live.progress.attempts;
            assert!((durable..=appended).contains(&attempts), "{id}: {attempts} of {durable} to {appended} attempts");
            let remembered = live.progress.history.len() == usize::from(attempts);
            assert!(remembered || entry.unwritten, "{id}: {} of {attempts} attempts", live.progress.history.len());
            entry.exposed |= entry.begun > attempts;
            (entry.acknowledged, entry.fate, entry.given_up) = (true, Fate::Live, false);
            (entry.attempts, entry.begun) = ((attempts, attempts), attempts);
        }
        self.messages.retain(|id, entry| {
            if found.live.contains_key(id) {
                return true;
            }
            let lost = entry.acknowledged && entry.fate == Fate::Live;
            assert!(!lost, "{id} was acknowledged and is lost: {} bytes", entry.body.len());
            if entry.fate == Fate::Ending {
                entry.fate = Fate::Ended;
            }
            // Neither acknowledged nor there: it never was. Refused ones are kept, to see that they never come.
            entry.fate == Fate::Ended || entry.refused
        });
        for (id, entry) in self.messages.iter().filter(|(_, entry)| entry.given_up && entry.fate == Fate::Ended) {
            assert_eq!(found.dead.get(id), Some(&entry.body), "{id} was given up and is no dead letter");
        }
    }
}
