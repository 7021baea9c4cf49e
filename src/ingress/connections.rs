//! Who is connected to this core, what each waits for, and until when. One reaper for all, so that a request costs no
//! timer.

use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::rc::Rc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use hashbrown::HashMap;
use tokio::sync::Notify;

use crate::net::Stream;
use crate::time::{UnixMillis, monotonic_now};

/// How often deadlines are looked at, and so how late one may be noticed.
pub const REAP_EVERY: Duration = Duration::from_millis(250);

/// What a connection is waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The next request; nobody is owed anything.
    Idle,
    /// The rest of a head or body: when time is up the client is told, so only reading ends.
    Request,
    /// The client to take its answers, or to hang up.
    Peer,
    /// Us.
    Nothing,
}

/// What the reaper must know of one connection.
#[derive(Debug)]
pub struct Watch {
    waiting: Cell<Waiting>,
    deadline: Cell<Instant>,
    timed_out: Cell<bool>,
}

impl Watch {
    /// From now on the connection waits for this until then.
    pub fn wait(&self, waiting: Waiting, deadline: Instant) {
        self.waiting.set(waiting);
        self.deadline.set(deadline);
    }

    /// Whether time ran out on a request.
    pub const fn timed_out(&self) -> bool {
        self.timed_out.get()
    }
}

/// A connection's socket, and what is known of it.
type Open<S> = (Rc<S>, Rc<Watch>);

/// The connections of one core.
#[derive(Debug)]
pub struct Connections<S> {
    open: RefCell<HashMap<u64, Open<S>>>,
    next: Cell<u64>,
    now: Cell<Instant>,
    date: RefCell<String>,
    closed: Notify,
}

/// A connection's entry; it ends when this is dropped.
#[derive(Debug)]
pub struct Entry<S: Stream> {
    connections: Rc<Connections<S>>,
    number: u64,
    watch: Rc<Watch>,
}

impl<S: Stream> Entry<S> {
    /// What the reaper watches.
    pub fn watch(&self) -> &Watch {
        &self.watch
    }
}

impl<S: Stream> Drop for Entry<S> {
    fn drop(&mut self) {
        self.connections.open.borrow_mut().remove(&self.number);
        self.connections.closed.notify_waiters();
    }
}

impl<S: Stream> Default for Connections<S> {
    fn default() -> Self {
        Self {
            open: RefCell::default(),
            next: Cell::new(0),
            now: Cell::new(monotonic_now()),
            date: RefCell::new(httpdate::fmt_http_date(UNIX_EPOCH)),
            closed: Notify::new(),
        }
    }
}

impl<S: Stream> Connections<S> {
    /// Enters a connection.
    pub fn open(self: &Rc<Self>, stream: Rc<S>, deadline: Instant) -> Entry<S> {
        let number = self.next.replace(self.next.get() + 1);
        let watch = Rc::new(Watch {
            waiting: Cell::new(Waiting::Idle),
            deadline: Cell::new(deadline),
            timed_out: Cell::new(false),
        });
        self.open.borrow_mut().insert(number, (stream, Rc::clone(&watch)));
        Entry { connections: Rc::clone(self), number, watch }
    }

    /// Connections open.
    pub fn len(&self) -> usize {
        self.open.borrow().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time of the last reaping: exact enough for deadlines, and free.
    pub const fn now(&self) -> Instant {
        self.now.get()
    }

    /// Now, as the field `Date` has it (RFC 9110 §6.6.1).
    pub fn with_date<T>(&self, use_date: impl FnOnce(&str) -> T) -> T {
        use_date(&self.date.borrow())
    }

    /// Ends what is overdue, and turns the clocks.
    pub fn reap(&self, now: Instant, wall: UnixMillis) {
        self.now.set(now);
        *self.date.borrow_mut() = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(wall.0));
        for (stream, watch) in self.open.borrow().values() {
            if watch.deadline.get() > now {
                continue;
            }
            match watch.waiting.get() {
                Waiting::Nothing => {}
                Waiting::Request => {
                    watch.timed_out.set(true);
                    stream.shutdown(Shutdown::Read);
                }
                Waiting::Idle | Waiting::Peer => stream.shutdown(Shutdown::Both),
            }
        }
    }

    /// Closes the connection that has been idle longest; whether there was one.
    pub fn close_oldest_idle(&self) -> bool {
        let open = self.open.borrow();
        let idle = open.values().filter(|(_, watch)| watch.waiting.get() == Waiting::Idle);
        let oldest = idle.min_by_key(|(_, watch)| watch.deadline.get());
        if let Some((stream, watch)) = oldest {
            // Once is enough: it goes when its task sees the end.
            watch.waiting.set(Waiting::Nothing);
            stream.shutdown(Shutdown::Both);
        }
        oldest.is_some()
    }

    /// Closes every idle connection.
    pub fn close_idle(&self) {
        for (stream, watch) in self.open.borrow().values() {
            if watch.waiting.get() == Waiting::Idle {
                stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Resolves when no connection is open.
    pub async fn all_closed(&self) {
        loop {
            let closed = self.closed.notified();
            if self.is_empty() {
                return;
            }
            closed.await;
        }
    }
}
