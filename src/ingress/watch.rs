//! The open connections of a shard: what each waits for, until when, and how it is ended.
//!
//! A pending read cannot be dropped (the kernel owns its buffer), so a connection is ended by shutting its socket down,
//! whereupon its read completes. One sweep about every 250 ms looks at all of them; a message costs two or three
//! stores, and no timer. Deadlines are therefore met late by up to two sweeps, never early.

use std::cell::{Cell, RefCell};
use std::net::Shutdown;
use std::rc::Rc;

use tokio::sync::Notify;

use crate::limits::PATIENCE_MS;
use crate::net::Stream;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The first byte of a request, or of a TLS handshake.
    Idle,
    /// The rest of a TLS handshake.
    Handshake,
    /// The rest of a head.
    Head,
    /// The rest of a body.
    Body,
    /// The disk, or something of ours: without a deadline, since their owners have one.
    Answer,
    /// The peer to take an answer.
    Write,
    /// The peer to end its side after the last answer.
    Linger,
}

/// Why a connection's read side was shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What it waited for did not come in time.
    Overdue,
    /// It was idle and its place is needed, or the daemon is stopping: what has arrived already is still answered.
    Closing,
}

const NEVER: u64 = u64::MAX;

/// One open connection.
pub struct Watched<S> {
    /// Its socket.
    pub stream: S,
    /// How many were taken before it.
    number: u64,
    phase: Cell<Phase>,
    /// Milliseconds of the shard's clock.
    since_ms: Cell<u64>,
    deadline_ms: Cell<u64>,
    cut: Cell<Option<Cut>>,
}

impl<S: Stream> Watched<S> {
    /// What it waits for.
    pub const fn phase(&self) -> Phase {
        self.phase.get()
    }

    /// Begins to wait for something, until `deadline_ms` of the shard's clock.
    pub fn enter(&self, phase: Phase, now_ms: u64, deadline_ms: u64) {
        self.phase.set(phase);
        self.since_ms.set(now_ms);
        self.deadline_ms.set(deadline_ms);
    }

    /// Begins to wait for something of ours.
    pub fn enter_answer(&self) {
        self.phase.set(Phase::Answer);
        self.deadline_ms.set(NEVER);
    }

    /// Begins to wait for a handshake to end, whose first byte is there.
    pub fn enter_handshake(&self) {
        self.phase.set(Phase::Handshake);
        self.deadline_ms.set(NEVER);
    }

    /// Whether and why its read side was shut down.
    pub const fn cut(&self) -> Option<Cut> {
        self.cut.get()
    }

    /// Ends it when what has arrived already has been answered.
    pub fn close(&self) {
        self.end(Cut::Closing, Shutdown::Read);
    }

    /// Ends the wait if it is over. A head or body keeps its write side, for the 408.
    fn sweep(&self, now_ms: u64) {
        if now_ms < self.deadline_ms.get() {
            return;
        }
        self.deadline_ms.set(NEVER);
        match self.phase.get() {
            Phase::Idle | Phase::Head | Phase::Body => self.end(Cut::Overdue, Shutdown::Read),
            Phase::Write | Phase::Linger => self.end(Cut::Overdue, Shutdown::Both),
            // Whoever waits for a handshake gives up by itself.
            Phase::Handshake | Phase::Answer => {}
        }
    }

    /// Whether it is idle and not being closed.
    const fn is_idle(&self) -> bool {
        matches!(self.phase.get(), Phase::Idle) && self.cut.get().is_none()
    }

    /// Whether it has waited for its peer for long.
    const fn is_slow(&self, now_ms: u64) -> bool {
        let waits_for_peer =
            matches!(self.phase.get(), Phase::Handshake | Phase::Head | Phase::Body | Phase::Write | Phase::Linger);
        waits_for_peer && self.cut.get().is_none() && self.since_ms.get().saturating_add(PATIENCE_MS) <= now_ms
    }

    fn end(&self, cut: Cut, how: Shutdown) {
        self.cut.set(Some(cut));
        // An error means that the peer was first.
        let _ = self.stream.shutdown(how);
    }
}

/// The open connections of a shard.
pub struct Connections<S> {
    slots: RefCell<Slots<S>>,
    ended: Notify,
}

struct Slots<S> {
    used: Vec<Option<Rc<Watched<S>>>>,
    free: Vec<usize>,
    taken: u64,
}

impl<S> Default for Connections<S> {
    fn default() -> Self {
        let slots = Slots { used: Vec::new(), free: Vec::new(), taken: 0 };
        Self { slots: RefCell::new(slots), ended: Notify::new() }
    }
}

impl<S: Stream> Connections<S> {
    /// How many are open.
    pub fn open(&self) -> usize {
        let slots = self.slots.borrow();
        slots.used.len() - slots.free.len()
    }

    /// Takes a new one, idle until `deadline_ms`, until the lease is dropped.
    pub fn add(self: &Rc<Self>, stream: S, now_ms: u64, deadline_ms: u64) -> Lease<S> {
        let mut slots = self.slots.borrow_mut();
        slots.taken += 1;
        let watched = Rc::new(Watched {
            stream,
            number: slots.taken - 1,
            phase: Cell::new(Phase::Idle),
            since_ms: Cell::new(now_ms),
            deadline_ms: Cell::new(deadline_ms),
            cut: Cell::new(None),
        });
        let slot = slots.free.pop().unwrap_or(slots.used.len());
        if slot == slots.used.len() {
            slots.used.push(None);
        }
        slots.used[slot] = Some(Rc::clone(&watched));
        Lease { watched, slot, connections: Rc::clone(self) }
    }

    /// Ends every wait that is over at `now_ms`.
    pub fn sweep(&self, now_ms: u64) {
        self.each(|watched| watched.sweep(now_ms));
    }

    /// Closes the one that has been idle longest; if none is, the one that has waited longest for its peer and for
    /// [`PATIENCE_MS`] at least: for the rest of a handshake or head, more of a body, or the peer to take an answer. So those who send
    /// slowly on purpose cannot hold every place. Returns whether there was one. The clock is coarse: among those that
    /// began to wait at one reading of it, the one that was opened first, or a new connection could be next.
    ///
    /// Looks at all: this happens only at `MAX_CONNECTIONS`, and an order kept at hand would cost every message.
    pub fn make_room(&self, now_ms: u64) -> bool {
        let slots = self.slots.borrow();
        let may_go = |watched: &&Rc<Watched<S>>| watched.is_idle() || watched.is_slow(now_ms);
        let first = slots.used.iter().flatten().filter(may_go);
        let first = first.min_by_key(|watched| (!watched.is_idle(), watched.since_ms.get(), watched.number));
        let Some(watched) = first else { return false };
        if watched.is_idle() {
            watched.close();
        } else {
            // Without an answer, for which it would have to stay.
            watched.deadline_ms.set(NEVER);
            watched.end(Cut::Closing, Shutdown::Both);
        }
        true
    }

    /// Closes all that are idle.
    pub fn close_idle(&self) {
        self.each(|watched| {
            if watched.is_idle() {
                watched.close();
            }
        });
    }

    /// Resolves when none is open. Cancel-safe.
    pub async fn all_ended(&self) {
        while self.open() > 0 {
            self.ended.notified().await;
        }
    }

    fn each(&self, act: impl FnMut(&Rc<Watched<S>>)) {
        self.slots.borrow().used.iter().flatten().for_each(act);
    }
}

/// A connection's place among the open ones, given back when dropped.
pub struct Lease<S: Stream> {
    watched: Rc<Watched<S>>,
    slot: usize,
    connections: Rc<Connections<S>>,
}

impl<S: Stream> std::ops::Deref for Lease<S> {
    type Target = Watched<S>;

    fn deref(&self) -> &Watched<S> {
        &self.watched
    }
}

impl<S: Stream> Drop for Lease<S> {
    fn drop(&mut self) {
        let mut slots = self.connections.slots.borrow_mut();
        slots.used[self.slot] = None;
        slots.free.push(self.slot);
        // A permit, if nobody waits yet: the waiter looks at the count before it waits, and after every wake-up.
        self.connections.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Begin;
    use std::io;

    /// A socket that only remembers how it was shut down.
    #[derive(Default)]
    struct Fake(Cell<Option<Shutdown>>);

    impl Stream for Fake {
        async fn read(&self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
            (Ok(0), buffer)
        }

        async fn write_all(&self, buffer: Vec<u8>, _begin: Begin) -> (io::Result<()>, Vec<u8>) {
            (Ok(()), buffer)
        }

        fn shutdown(&self, how: Shutdown) -> io::Result<()> {
            self.0.set(Some(how));
            Ok(())
        }
    }

    #[test]
    fn what_is_overdue_is_shut_down_so_that_it_can_still_be_answered() {
        let connections = Rc::new(Connections::default());
        let cases = [
            (Phase::Idle, Some(Shutdown::Read)),
            (Phase::Head, Some(Shutdown::Read)),
            (Phase::Body, Some(Shutdown::Read)),
            (Phase::Write, Some(Shutdown::Both)),
            (Phase::Linger, Some(Shutdown::Both)),
        ];
        for (phase, expected) in cases {
            let lease = connections.add(Fake::default(), 0, 10);
            lease.enter(phase, 0, 20);
            connections.sweep(19);
            assert_eq!((lease.stream.0.get(), lease.cut()), (None, None), "{phase:?}");
            connections.sweep(20);
            assert_eq!((lease.stream.0.get(), lease.cut()), (expected, Some(Cut::Overdue)), "{phase:?}");
        }
        for enter in [Watched::enter_answer, Watched::enter_handshake] {
            let lease = connections.add(Fake::default(), 0, 10);
            enter(&lease);
            connections.sweep(u64::MAX - 1);
            assert_eq!(lease.stream.0.get(), None);
        }
    }

    #[test]
    fn the_oldest_idle_connection_makes_room_and_a_busy_one_never() {
        let connections = Rc::new(Connections::default());
        let leases: Vec<_> = [30, 10, 20].map(|now| connections.add(Fake::default(), now, NEVER)).into();
        leases[1].enter(Phase::Head, 0, NEVER);
        let cut = || leases.iter().map(|lease| lease.cut().is_some()).collect::<Vec<_>>();
        assert!(connections.make_room(30));
        assert_eq!(cut(), [false, false, true]);
        assert!(connections.make_room(30));
        assert_eq!(cut(), [true, false, true]);
        assert!(!connections.make_room(30));
        connections.close_idle();
        assert_eq!(cut(), [true, false, true]);
        drop(leases);
        assert_eq!(connections.open(), 0);
        assert!(connections.add(Fake::default(), 0, 0).slot < 3, "places are used again");
    }

    #[test]
    fn where_none_is_idle_the_one_that_has_waited_longest_for_its_peer_makes_room_and_one_that_waits_for_us_never() {
        let connections = Rc::new(Connections::default());
        let phases = [Phase::Answer, Phase::Handshake, Phase::Head, Phase::Body, Phase::Write, Phase::Linger];
        let leases: Vec<_> = phases.map(|_| connections.add(Fake::default(), 0, NEVER)).into();
        for (number, (lease, phase)) in leases.iter().zip(phases).enumerate() {
            lease.enter(phase, 10 - number as u64, NEVER);
        }
        assert!(!connections.make_room(PATIENCE_MS), "all of them have only begun");
        for gone in (1..phases.len()).rev() {
            assert!(connections.make_room(10 + PATIENCE_MS));
            assert_eq!((leases[gone].cut(), leases[gone].stream.0.get()), (Some(Cut::Closing), Some(Shutdown::Both)));
            assert!(leases[1..gone].iter().all(|lease| lease.cut().is_none()));
        }
        assert!(!connections.make_room(NEVER) && leases[0].cut().is_none());
    }

    #[test]
    fn of_two_idle_since_the_same_reading_of_the_clock_the_one_opened_first_makes_room() {
        let connections = Rc::new(Connections::default());
        let first = connections.add(Fake::default(), 0, NEVER);
        let second = connections.add(Fake::default(), 0, NEVER);
        drop(first);
        let third = connections.add(Fake::default(), 0, NEVER);
        assert!(third.slot < second.slot, "the newest has the first place");
        assert!(connections.make_room(0));
        assert_eq!((second.cut(), third.cut()), (Some(Cut::Closing), None));
    }
}
