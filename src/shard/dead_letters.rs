//! The dead letter log of one shard: the same format in a directory of its own, kept until an operator decides.
//!
//! A letter that is removed or replayed is *leaving* from the moment that is decided: it is no letter any more for
//! anyone who asks, though its `removed` is not durable yet.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use hashbrown::HashSet;
use tokio::sync::Notify;

use crate::disk::Disk;
use crate::message::{MessageId, Slot};
use crate::schedule::attempt::Failure;
use crate::time::UnixMillis;
use crate::wal::batch::Sealed;
use crate::wal::files::ReadError;
use crate::wal::index::{Index, Location};
use crate::wal::log::Log;
use crate::wal::payload::{Accepted, Death, Payload};
use crate::wal::record::{HEADER_BYTES, Kind};
use crate::wal::recovery::Visit;
use crate::wal::ticket::Ticket;

/// When and why a message became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buried {
    /// When.
    pub at: UnixMillis,
    /// Why.
    pub failure: Failure,
    /// How often it had been replayed by then.
    pub replays: u16,
}

/// A dead letter, read back.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Where it stood; while it stands there, it is this one.
    pub at: Location,
    payload: Bytes,
}

impl Letter {
    /// The message, and why it is dead.
    pub fn parts(&self) -> (Accepted<'_>, Death<'_>) {
        match Payload::decode(Kind::DeadLetter, &self.payload) {
            Ok(Payload::DeadLetter(message, death)) => (message, death),
            other => panic!("{other:?} was decoded as a dead letter when it was applied"),
        }
    }
}

/// Messages that were given up.
pub struct DeadLetters<D: Disk> {
    log: Rc<Log<D>>,
    index: RefCell<Index>,
    leaving: RefCell<HashSet<MessageId>>,
    /// Something that was leaving has left.
    left: Notify,
    /// Bytes of all batches written.
    written_bytes: Cell<u64>,
    /// There may be something to relocate.
    shrink: Notify,
}

impl<D: Disk> DeadLetters<D> {
    /// Over a log whose segments `index` knows.
    pub fn new(log: Rc<Log<D>>, index: Index) -> Self {
        Self {
            log,
            index: RefCell::new(index),
            leaving: RefCell::default(),
            left: Notify::new(),
            written_bytes: Cell::new(0),
            shrink: Notify::new(),
        }
    }

    /// The fold of the dead letter log.
    pub fn fold(index: &mut Index, visit: &Visit<'_>) {
        Self::fold_one(index, visit.id, visit.payload.kind(), visit.at);
    }

    fn fold_one(index: &mut Index, id: MessageId, kind: Kind, at: Location) {
        index.add_segment(at.segment);
        match kind {
            Kind::DeadLetter => _ = index.insert(id, at),
            // Of a letter that is unknown, it is older than all that is left, like an outcome of an unknown message.
            Kind::Removed => {
                if let Some(slot) = index.find(id) {
                    index.remove(slot);
                }
            }
            // Of the other log.
            Kind::Accepted | Kind::Retry | Kind::Delivered | Kind::DeadLettered | Kind::Lost => {}
        }
    }

    /// Applies one record of the log as it was found.
    pub fn recover(&self, visit: &Visit<'_>) {
        Self::fold(&mut self.index.borrow_mut(), visit);
    }

    /// The log.
    pub const fn log(&self) -> &Rc<Log<D>> {
        &self.log
    }

    /// Dead letters, those that are leaving included.
    pub fn len(&self) -> usize {
        self.index.borrow().len()
    }

    /// Bytes of their records.
    pub fn live_bytes(&self) -> u64 {
        self.index.borrow().live_bytes()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a message is a dead letter here.
    pub fn contains(&self, id: MessageId) -> bool {
        self.place(id).is_some()
    }

    /// Where a dead letter stands.
    pub fn place(&self, id: MessageId) -> Option<Location> {
        if self.leaving.borrow().contains(&id) {
            return None;
        }
        let index = self.index.borrow();
        index.find(id).map(|slot| index.location(slot))
    }

    /// Asks the index.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.index.borrow())
    }

    /// The letter whose record begins at `at` and which may be written again elsewhere. Not one that is leaving: what is
    /// written behind its `removed` would bring it back.
    pub(super) fn slot_at(&self, id: MessageId, at: Location) -> Option<Slot> {
        self.place(id).filter(|place| *place == at)?;
        self.index.borrow().find(id)
    }

    /// Reads a dead letter back, verified; `None`: there is none.
    pub async fn read(&self, id: MessageId) -> Result<Option<Letter>, ReadError> {
        loop {
            let Some(at) = self.place(id) else { return Ok(None) };
            match self.log.files().read_record(at).await {
                Ok(record) => return Ok(Some(Letter { at, payload: record.slice(HEADER_BYTES..) })),
                // Else it has moved on meanwhile, and its former place be in use for something else.
                Err(error) if self.place(id) == Some(at) => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// When and why a message became a dead letter, if it did.
    pub async fn find(&self, id: MessageId) -> Result<Option<Buried>, ReadError> {
        let Some(letter) = self.read(id).await? else { return Ok(None) };
        let (message, death) = letter.parts();
        Ok(Some(Buried { at: death.at, failure: death.failure, replays: message.replays }))
    }

    /// Writes a message down; it is a dead letter when the ticket resolves.
    pub fn append(&self, id: MessageId, message: Accepted<'_>, death: Death<'_>) -> Ticket {
        self.log.append(id, &Payload::DeadLetter(message, death))
    }

    /// Makes a letter no letter any more, before what comes of that is durable; `false`: it was none.
    pub(super) fn claim(&self, id: MessageId) -> bool {
        self.contains(id) && self.leaving.borrow_mut().insert(id)
    }

    /// Ends a letter; it never comes back once the ticket has resolved.
    pub(super) fn remove(&self, id: MessageId, at: UnixMillis) -> Ticket {
        self.leaving.borrow_mut().insert(id);
        self.log.append(id, &Payload::Removed { at })
    }

    /// Resolves when the letter with this id, should it be leaving, never comes back.
    pub(super) async fn until_left(&self, id: MessageId) {
        loop {
            let left = self.left.notified();
            if !self.leaving.borrow().contains(&id) {
                return;
            }
            left.await;
        }
    }

    /// Called for each batch that has become durable.
    pub fn apply(&self, sealed: &Sealed) {
        let mut index = self.index.borrow_mut();
        let mut leaving = self.leaving.borrow_mut();
        for (at, header, _) in sealed.iter() {
            Self::fold_one(&mut index, header.id, header.kind, at);
            if header.kind == Kind::Removed {
                leaving.remove(&header.id);
            }
        }
        drop((index, leaving));
        self.written_bytes.update(|bytes| bytes + sealed.blocks.len() as u64);
        self.left.notify_waiters();
    }

    /// Gives segments back whose letters have all left. Only when all of the log is known.
    pub(super) fn reclaim(&self) {
        let mut index = self.index.borrow_mut();
        while let Some(segment) = index.reclaimable(self.log.active_segment()) {
            index.drop_oldest();
            self.log.spare().reclaim(segment);
        }
        drop(index);
        self.shrink.notify_one();
    }

    /// Bytes of all batches written by this process.
    pub(super) const fn written_bytes(&self) -> u64 {
        self.written_bytes.get()
    }

    /// Resolves when there may be something to relocate.
    pub(super) async fn shrink_wanted(&self) {
        self.shrink.notified().await;
    }
}
