//! The dead letter log of one shard: the same format in a directory of its own, kept until an operator decides.

use std::cell::RefCell;
use std::rc::Rc;

use crate::disk::Disk;
use crate::message::MessageId;
use crate::schedule::attempt::Failure;
use crate::time::UnixMillis;
use crate::wal::batch::Sealed;
use crate::wal::files::ReadError;
use crate::wal::index::Index;
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
}

/// Messages that were given up.
pub struct DeadLetters<D: Disk> {
    log: Rc<Log<D>>,
    index: RefCell<Index>,
}

impl<D: Disk> DeadLetters<D> {
    /// Over a log whose segments `index` knows.
    pub const fn new(log: Rc<Log<D>>, index: Index) -> Self {
        Self { log, index: RefCell::new(index) }
    }

    /// The fold of the dead letter log.
    pub fn fold(index: &mut Index, visit: &Visit<'_>) {
        if let Payload::DeadLetter(..) = visit.payload {
            index.insert(visit.id, visit.at);
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

    /// Whether a message is a dead letter here.
    pub fn contains(&self, id: MessageId) -> bool {
        self.index.borrow().find(id).is_some()
    }

    /// When and why a message became a dead letter, if it did.
    pub async fn find(&self, id: MessageId) -> Result<Option<Buried>, ReadError> {
        let at = {
            let index = self.index.borrow();
            index.find(id).map(|slot| index.location(slot))
        };
        let Some(at) = at else { return Ok(None) };
        let record = self.log.files().read_record(at).await?;
        match Payload::decode(Kind::DeadLetter, &record[HEADER_BYTES..]) {
            Ok(Payload::DeadLetter(_, death)) => Ok(Some(Buried { at: death.at, failure: death.failure })),
            other => panic!("{other:?} was decoded as a dead letter when it was applied"),
        }
    }

    /// Writes a message down; it is a dead letter when the ticket resolves.
    pub fn append(&self, id: MessageId, message: Accepted<'_>, death: Death<'_>) -> Ticket {
        self.log.append(id, &Payload::DeadLetter(message, death))
    }

    /// Called for each batch that has become durable.
    pub fn apply(&self, sealed: &Sealed) {
        let mut index = self.index.borrow_mut();
        for (at, header, _) in sealed.iter() {
            index.insert(header.id, at);
        }
    }
}
