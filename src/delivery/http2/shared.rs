//! Who shares what: the HTTP/2 connections of each https origin, and those that are being opened.
//!
//! Deliveries to an origin that are begun together must not each open a connection before it is known that one is enough:
//! the first opens it, the others wait for what comes of that.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use tokio::sync::Notify;

use super::connection::{Connection, Stream};
use crate::limits;
use crate::message::Origin;
use crate::schedule::attempt::Failure;

const AGE_MAX: Duration = Duration::from_millis(limits::POOL_AGE_MS_MAX);

/// What came of opening a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::delivery) enum Opened {
    /// A connection to be shared.
    Http2,
    /// The origin prefers HTTP/1.1: to each his own.
    Http1,
    /// None.
    Failed(Failure),
    /// Whoever was opening it gave up.
    Abandoned,
}

/// How a delivery gets its connection.
#[derive(Debug)]
pub(in crate::delivery) enum Next {
    /// It has one.
    Stream(Stream),
    /// It waits for one that is being opened, and asks again.
    Wait(Rc<Opening>),
    /// It opens one, for itself and for those who wait.
    Open(Opener),
    /// It opens one for itself.
    OpenAlone,
    /// It opens one of HTTP/1.1 for itself.
    OpenHttp1,
}

/// A connection that is being opened.
#[derive(Debug, Default)]
pub(in crate::delivery) struct Opening {
    opened: Cell<Option<Opened>>,
    told: Notify,
}

impl Opening {
    /// Waits until it is open, or will not be. Cancel-safe.
    pub(in crate::delivery) async fn opened(&self) -> Opened {
        loop {
            if let Some(opened) = self.opened.get() {
                return opened;
            }
            self.told.notified().await;
        }
    }
}

/// Whoever holds it is opening a connection, and tells those who wait.
#[derive(Debug)]
pub(in crate::delivery) struct Opener(Rc<Opening>);

impl Opener {
    /// Tells what came of it.
    pub(in crate::delivery) fn tell(self, opened: Opened) {
        self.0.opened.set(Some(opened));
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.opened.set(self.0.opened.get().or(Some(Opened::Abandoned)));
        self.0.told.notify_waiters();
    }
}

#[derive(Debug, Default)]
struct Entry {
    connections: Vec<Rc<Connection>>,
    opening: Option<Rc<Opening>>,
    /// When it last preferred HTTP/1.1.
    http1_since: Option<Instant>,
    /// When it last refused HTTP/2 although it had agreed on it.
    http1_required_since: Option<Instant>,
}

impl Entry {
    fn opening(&self) -> Option<&Rc<Opening>> {
        self.opening.as_ref().filter(|opening| opening.opened.get().is_none())
    }

    fn prefers_http1(&self, now: Instant) -> bool {
        self.http1_since.is_some_and(|since| now.saturating_duration_since(since) < AGE_MAX)
    }

    fn requires_http1(&self, now: Instant) -> bool {
        self.http1_required_since.is_some_and(|since| now.saturating_duration_since(since) < AGE_MAX)
    }
}

/// The HTTP/2 connections of one core.
#[derive(Debug, Default)]
pub(in crate::delivery) struct Shared {
    origins: HashMap<Rc<Origin>, Entry>,
}

impl Shared {
    /// A stream on a connection to `origin` that is open and has room.
    pub(in crate::delivery) fn ready(&mut self, origin: &Origin, now: Instant) -> Option<Stream> {
        let entry = self.origins.get_mut(origin).filter(|entry| !entry.requires_http1(now))?;
        entry.connections.retain(|connection| connection.takes_streams(now));
        entry.connections.iter().find(|one| one.has_room()).map(Connection::stream)
    }

    /// A stream on a connection to `origin` that was opened at `since` or later, or how to get one.
    ///
    /// The oldest connection with room: so that those which a lull leaves over grow idle.
    pub(in crate::delivery) fn next(&mut self, origin: &Rc<Origin>, since: Option<Instant>, now: Instant) -> Next {
        let entry = match self.origins.get_mut(&**origin) {
            Some(entry) => entry,
            None => self.origins.entry(Rc::clone(origin)).or_default(),
        };
        if entry.requires_http1(now) {
            return Next::OpenHttp1;
        }
        entry.connections.retain(|connection| connection.takes_streams(now));
        let is_fresh = |connection: &Connection| since.is_none_or(|since| connection.opened_at() >= since);
        if let Some(connection) = entry.connections.iter().find(|one| is_fresh(one) && one.has_room()) {
            return Next::Stream(connection.stream());
        }
        if entry.prefers_http1(now) {
            return Next::OpenAlone;
        }
        if let Some(opening) = entry.opening() {
            return Next::Wait(Rc::clone(opening));
        }
        let opening = Rc::<Opening>::default();
        entry.opening = Some(Rc::clone(&opening));
        Next::Open(Opener(opening))
    }

    /// Adds a new connection. At the bound, one that nobody uses is closed.
    pub(in crate::delivery) fn add(&mut self, origin: &Rc<Origin>, connection: Rc<Connection>) {
        let entries = self.origins.values();
        if entries.map(|entry| entry.connections.len()).sum::<usize>() >= limits::POOL_IDLE_MAX {
            self.close_an_idle_one();
        }
        let entry = self.origins.entry(Rc::clone(origin)).or_default();
        entry.http1_since = None;
        entry.connections.push(connection);
    }

    fn close_an_idle_one(&mut self) {
        for entry in self.origins.values_mut() {
            if let Some(index) = entry.connections.iter().position(|connection| connection.is_idle()) {
                entry.connections.remove(index);
                return;
            }
        }
    }

    /// Remembers for a while that an origin prefers HTTP/1.1, so that no delivery to it waits for another.
    pub(in crate::delivery) fn prefers_http1(&mut self, origin: &Rc<Origin>, now: Instant) {
        if self.origins.len() <= limits::POOL_IDLE_MAX || self.origins.contains_key(&**origin) {
            self.origins.entry(Rc::clone(origin)).or_default().http1_since = Some(now);
        }
    }

    /// Remembers for a while that an origin refuses HTTP/2 although it agrees on it.
    pub(in crate::delivery) fn requires_http1(&mut self, origin: &Rc<Origin>, now: Instant) {
        if let Some(entry) = self.origins.get_mut(&**origin) {
            entry.http1_required_since = Some(now);
        }
    }

    /// Closes connections that are idle for too long, and lets go of those that are too old or ending. To be called
    /// about once a second.
    pub(in crate::delivery) fn sweep(&mut self, now: Instant) {
        self.origins.retain(|_, entry| {
            entry.connections.retain(|one| one.takes_streams(now) && !one.was_idle_for_too_long(now));
            !entry.connections.is_empty()
                || entry.opening().is_some()
                || entry.prefers_http1(now)
                || entry.requires_http1(now)
        });
    }
}
