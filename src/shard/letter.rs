//! What is told of dead letters to those who ask from outside, and how they say which they mean.

use std::collections::BTreeMap;

use crate::limits::{LETTER_ORIGINS_MAX, LETTER_SLOTS_MAX};
use crate::message::{MessageId, Origin, Slot};
use crate::schedule::attempt::Failure;
use crate::time::{Millis, UnixMillis};
use crate::wal::index::Index;
use crate::wal::payload::{Accepted, Death, Tried};

/// Which dead letters are meant: those that meet all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// One of these; empty: any.
    pub ids: Vec<MessageId>,
    /// For this origin.
    pub origin: Option<Origin>,
    /// Given up for this reason.
    pub class: Option<Failure>,
    /// Given up then or later.
    pub since: Option<UnixMillis>,
    /// Given up before then.
    pub until: Option<UnixMillis>,
}

impl Selection {
    /// Whether only the record of a letter tells if it is meant.
    pub const fn needs_record(&self) -> bool {
        self.origin.is_some() || self.class.is_some() || self.since.is_some() || self.until.is_some()
    }

    /// Whether a letter is meant, its id aside.
    pub fn takes(&self, message: &Accepted<'_>, death: &Death<'_>) -> bool {
        self.origin.as_ref().is_none_or(|origin| message.origin == origin.borrowed())
            && self.class.is_none_or(|class| death.failure == class)
            && self.since.is_none_or(|since| death.at >= since)
            && self.until.is_none_or(|until| death.at < until)
    }
}

/// A walk over all that a selection may mean, piece by piece, while letters come and go.
#[derive(Debug)]
pub enum Walk {
    /// Over these.
    Ids(std::vec::IntoIter<MessageId>),
    /// Over every slot from this one on.
    Slots(usize),
}

impl Walk {
    /// From the start.
    pub fn new(selection: &Selection) -> Self {
        if selection.ids.is_empty() { Self::Slots(0) } else { Self::Ids(selection.ids.clone().into_iter()) }
    }

    /// Ids of the next piece, at most `most`; `None`: there is no more.
    pub fn next_piece(&mut self, index: &Index, most: usize) -> Option<Vec<MessageId>> {
        match self {
            Self::Ids(ids) => Some(ids.take(most).collect::<Vec<_>>()).filter(|piece| !piece.is_empty()),
            Self::Slots(next) => {
                let end = index.slots().min(*next + LETTER_SLOTS_MAX);
                let mut piece = Vec::new();
                if *next >= end {
                    return None;
                }
                while *next < end && piece.len() < most {
                    let slot = Slot(u32::try_from(*next).expect("slots are numbered in 32 bits"));
                    piece.extend(index.id_in(slot));
                    *next += 1;
                }
                Some(piece)
            }
        }
    }
}

/// A dead letter in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The message.
    pub id: MessageId,
    /// When it was accepted; if it was replayed, the last time.
    pub accepted: UnixMillis,
    /// When it was given up.
    pub died: UnixMillis,
    /// Where it was to go.
    pub origin: Origin,
    /// Why it was given up.
    pub class: Failure,
    /// The last status, if an answer came.
    pub status: Option<u16>,
    /// Attempts made.
    pub attempts: u16,
    /// How often it had been replayed before.
    pub replays: u16,
    /// The first line of its head.
    pub request_line: Vec<u8>,
    /// Bytes of its body.
    pub body_bytes: usize,
}

impl Summary {
    /// Of a letter.
    pub fn new(id: MessageId, message: &Accepted<'_>, death: &Death<'_>) -> Self {
        let line = message.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        Self {
            id,
            accepted: message.accepted,
            died: death.at,
            origin: message.origin.to_origin(),
            class: death.failure,
            status: death.status,
            attempts: message.progress.attempts,
            replays: message.replays,
            request_line: line.to_vec(),
            body_bytes: message.body.len(),
        }
    }
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Letters by id.
    pub letters: Vec<Summary>,
    /// Letters with greater ids were not looked at; `None`: there are none.
    pub looked_to: Option<MessageId>,
}

/// Everything that a dead letter holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// What a list tells.
    pub summary: Summary,
    /// Bound on each attempt, if the message brought one.
    pub timeout: Option<Millis>,
    /// An attempt may have reached the origin.
    pub maybe_duplicate: bool,
    /// The head as it was sent, but for the fields that differ per attempt.
    pub head: Vec<u8>,
    /// The body.
    pub body: Vec<u8>,
    /// Every attempt since it was accepted last.
    pub history: Vec<Tried>,
    /// The start of the last answer's body.
    pub answer: Vec<u8>,
}

/// How many letters are meant, by origin and class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Letters.
    pub letters: u64,
    /// By origin, as many as are told apart.
    pub origins: BTreeMap<Origin, u64>,
    /// Letters for other origins.
    pub other_origins: u64,
    /// By class.
    pub classes: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Counts letters of one origin and class.
    pub fn add(&mut self, origin: &Origin, class: &'static str, letters: u64) {
        self.letters += letters;
        *self.classes.entry(class).or_default() += letters;
        self.add_origin(origin, letters);
    }

    fn add_origin(&mut self, origin: &Origin, letters: u64) {
        if let Some(known) = self.origins.get_mut(origin) {
            *known += letters;
        } else if self.origins.len() < LETTER_ORIGINS_MAX {
            self.origins.insert(origin.clone(), letters);
        } else {
            self.other_origins += letters;
        }
    }

    /// Adds another shard's.
    pub fn merge(&mut self, other: &Self) {
        self.letters += other.letters;
        self.other_origins += other.other_origins;
        for (origin, letters) in &other.origins {
            self.add_origin(origin, *letters);
        }
        for (class, letters) in &other.classes {
            *self.classes.entry(class).or_default() += letters;
        }
    }
}

/// What a deletion came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removal {
    /// Letters that are durably gone.
    pub removed: u64,
    /// Letters that could not be read, and are kept.
    pub unreadable: u64,
    /// It ended early: there is no space to note more.
    pub no_space: bool,
}

/// What a replay has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayStatus {
    /// Its number.
    pub job: u64,
    /// Letters there were when it began, or ids that it was given: what it has to look at.
    pub letters: u64,
    /// Letters that it has looked at.
    pub looked_at: u64,
    /// Letters that are messages again.
    pub replayed: u64,
    /// Letters that are meant and wait until their origins take more.
    pub waiting: u64,
    /// Letters that could not be read or are too long for this log now, and are kept.
    pub unreadable: u64,
    /// It goes on.
    pub running: bool,
    /// It was cancelled.
    pub cancelled: bool,
}

impl ReplayStatus {
    /// Adds another shard's part.
    pub fn merge(&mut self, other: &Self) {
        self.letters += other.letters;
        self.looked_at += other.looked_at;
        self.replayed += other.replayed;
        self.waiting += other.waiting;
        self.unreadable += other.unreadable;
        self.running |= other.running;
        self.cancelled |= other.cancelled;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Scheme;
    use crate::wal::index::Location;
    use crate::wal::payload::Progress;

    fn origin(text: &str) -> Origin {
        Origin::parse(text, Scheme::Http).expect("an origin")
    }

    #[test]
    fn a_selection_means_letters_that_meet_all_of_it() {
        let b = origin("b:81");
        let message = Accepted {
            accepted: UnixMillis(1),
            timeout: None,
            origin: b.borrowed(),
            again: false,
            replays: 0,
            progress: Progress::default(),
            head: b"",
            body: b"",
        };
        let death = Death { at: UnixMillis(50), failure: Failure::Reset, status: None, answer: b"" };
        let all = Selection::default;
        for (selection, meant) in [
            (all(), true),
            (Selection { origin: Some(b.clone()), class: Some(Failure::Reset), ..all() }, true),
            (Selection { origin: Some(origin("b:82")), class: Some(Failure::Reset), ..all() }, false),
            (Selection { origin: Some(b.clone()), class: Some(Failure::Tls), ..all() }, false),
            (Selection { since: Some(UnixMillis(50)), until: Some(UnixMillis(51)), ..all() }, true),
            (Selection { since: Some(UnixMillis(51)), ..all() }, false),
            (Selection { until: Some(UnixMillis(50)), ..all() }, false),
        ] {
            assert_eq!(selection.takes(&message, &death), meant, "{selection:?}");
        }
    }

    #[test]
    fn a_walk_meets_every_letter_that_stays_and_no_piece_is_long() {
        let mut index = Index::default();
        let id = |number: u32| MessageId(u128::from(number).to_be_bytes());
        let at = Location { segment: 0, offset: 4096, bytes: 64 };
        let count = u32::try_from(LETTER_SLOTS_MAX * 2 + 7).expect("few");
        for number in 0..count {
            index.insert(id(number), at);
        }
        let (mut walk, mut met, mut pieces) = (Walk::new(&Selection::default()), Vec::new(), 0);
        while let Some(piece) = walk.next_piece(&index, usize::MAX) {
            if pieces == 0 {
                let gone = index.find(id(count - 1)).expect("there");
                index.remove(gone);
                index.insert(id(0), Location { segment: 1, ..at });
            }
            met.extend(piece);
            pieces += 1;
        }
        met.sort_unstable();
        assert_eq!(met, (0..count - 1).map(id).collect::<Vec<_>>());
        assert_eq!(pieces, 3);
        let named = Selection { ids: vec![id(3), id(9)], ..Selection::default() };
        let mut walk = Walk::new(&named);
        assert_eq!(walk.next_piece(&index, 1), Some(vec![id(3)]));
        assert_eq!(walk.next_piece(&index, 9), Some(vec![id(9)]));
        assert_eq!(walk.next_piece(&index, 9), None);
    }

    #[test]
    fn tallies_of_shards_add_up_and_tell_so_many_origins_apart() {
        let mut sum = Tally::default();
        for number in 0..LETTER_ORIGINS_MAX + 5 {
            let mut one = Tally::default();
            one.add(&origin(&format!("o{number}")), "reset", 2);
            sum.merge(&one);
        }
        assert_eq!(sum.origins.len(), LETTER_ORIGINS_MAX);
        assert_eq!((sum.letters, sum.other_origins), (2 * (LETTER_ORIGINS_MAX as u64 + 5), 10));
        assert_eq!(sum.classes, BTreeMap::from([("reset", sum.letters)]));
    }
}
