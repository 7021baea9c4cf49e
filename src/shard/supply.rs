//! Which order is next, and the memory that it needs before it is one.
//!
//! Memory is had before an origin's gate is asked: what the gate has let in begins at once, so that it is still what the
//! origin may be sent. Mostly there is memory, and nothing waits. Where there is none for a large record, its message
//! waits aside and others go on; where there is none for a small one, nothing begins until there is. Who waits is served in
//! order over all cores, and one message of each core at a time waits in that queue, for all of those behind it.

use std::cell::RefCell;

use tokio::sync::Notify;

use super::Shard;
use crate::disk::Disk;
use crate::limits::{SMALL_DELIVERY_BYTES, SPACE_POLL_MS};
use crate::memory::pool::Held;
use crate::schedule::scheduler::{Granted, Next, Now, Order, Supply};
use crate::wal::log::Need;

/// Memory for deliveries that a shard waits for.
#[derive(Debug, Default)]
pub struct Supplies {
    small: Wanted,
    large: Wanted,
}

/// Memory for one delivery of a kind.
#[derive(Debug, Default)]
struct Wanted {
    /// It is wanted, and not granted.
    lacking: Notify,
    /// It is there, and not used yet.
    granted: RefCell<Option<Held>>,
}

impl<D: Disk> Shard<D> {
    /// The next order for a worker, with the memory for its delivery, or how long there is none.
    pub fn next_order(&self) -> Next<(Order, Held)> {
        // What is not put back is given back.
        let [small, large] =
            [&self.supplies.small, &self.supplies.large].map(|wanted| wanted.granted.borrow_mut().take());
        if self.draining() || self.log.is_congested() {
            return Next::Idle;
        }
        let now = self.now();
        // The last space is for relocation, as long as that gives back more than it takes: it does so soon. Else there
        // is nothing to wait for.
        if self.relocating.get() && !self.log.has_room(Need::Outcome, 0) {
            return Next::Wait(now.tick + SPACE_POLL_MS);
        }
        let next = match self.grant(large, now) {
            Granted::Begun(ordered) => Next::Order(ordered),
            Granted::Busy(until) => match (self.next_supplied(small, now), until) {
                (Next::Wait(tick), Some(until)) => Next::Wait(tick.min(until)),
                (Next::Idle, Some(until)) => Next::Wait(until),
                (next, _) => next,
            },
            Granted::Declined => self.next_supplied(small, now),
        };
        let has_granted = self.supplies.large.granted.borrow().is_some();
        if !has_granted && self.state.borrow_mut().first_starved().is_some() {
            self.supplies.large.lacking.notify_one();
        }
        next
    }

    /// Begins what waited for memory, which is there; keeps it, if only a slot is missing, or a place at the origin.
    fn grant(&self, granted: Option<Held>, now: Now) -> Granted<(Order, Held)> {
        let state = &mut self.state.borrow_mut();
        // It may have ended meanwhile, and another be the first.
        let fits = |held: &Held| state.first_starved().is_some_and(|bytes| self.memory.covers(held, bytes));
        let Some(held) = granted.filter(fits) else { return Granted::Declined };
        match state.grant(now) {
            Granted::Begun(order) => Granted::Begun((order, held)),
            Granted::Busy(until) => {
                *self.supplies.large.granted.borrow_mut() = Some(held);
                Granted::Busy(until)
            }
            Granted::Declined => Granted::Declined,
        }
    }

    fn next_supplied(&self, mut small: Option<Held>, now: Now) -> Next<(Order, Held)> {
        let mut had = None;
        let next = self.state.borrow_mut().next(now, |bytes| {
            // What was had for one that did not begin is given back first.
            had = None;
            had = small.take_if(|held| self.memory.covers(held, bytes)).or_else(|| self.memory.try_delivery(bytes));
            match had {
                Some(_) => Supply::Enough,
                None if bytes > SMALL_DELIVERY_BYTES => Supply::NotForThis,
                None => {
                    self.supplies.small.lacking.notify_one();
                    Supply::ForNone
                }
            }
        });
        match next {
            Next::Order(order) => Next::Order((order, had.expect("memory comes before the gate"))),
            Next::Wait(tick) => Next::Wait(tick),
            Next::Idle => Next::Idle,
        }
    }

    /// Waits for the memory that orders lack, for as long as the shard lives.
    pub async fn supply_loop(&self) {
        tokio::join!(self.supply_small(), self.supply_large());
    }

    async fn supply_small(&self) {
        loop {
            self.supplies.small.lacking.notified().await;
            // Enough for any: which will be the next is not known.
            self.supply(&self.supplies.small, SMALL_DELIVERY_BYTES).await;
        }
    }

    async fn supply_large(&self) {
        loop {
            self.supplies.large.lacking.notified().await;
            let first = self.state.borrow_mut().first_starved();
            if let Some(bytes) = first {
                self.supply(&self.supplies.large, bytes).await;
            }
        }
    }

    async fn supply(&self, wanted: &Wanted, record_bytes: usize) {
        let is_granted = wanted.granted.borrow().is_some();
        if !is_granted {
            let held = self.memory.delivery(record_bytes).await;
            *wanted.granted.borrow_mut() = Some(held);
            self.work.notify_one();
        }
    }
}
