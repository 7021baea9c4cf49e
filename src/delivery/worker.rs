//! The workers of one core: take an order, read its message, send it, conclude. Never more at a time than slots.

use std::rc::Rc;

use super::idle::IdleTasks;
use super::{Outbound, Transport};
use crate::disk::Disk;
use crate::memory::pool::Held;
use crate::schedule::scheduler::{Next, Order};
use crate::shard::Shard;

/// Begins deliveries for as long as the shard lives. Each runs in a task of its own, which goes on with the next
/// order when it is done, so that a busy shard needs no wake-up between deliveries; and where there is none it waits to be
/// given one, so that messages that come in batches need no new tasks.
pub async fn run<D: Disk, T: Transport>(shard: Rc<Shard<D>>, transport: Rc<T>) {
    tokio::join!(begin(&shard, &transport), shard.supply_loop());
}

async fn begin<D: Disk, T: Transport>(shard: &Rc<Shard<D>>, transport: &Rc<T>) {
    let idle = Rc::<IdleTasks<Work<D, T>>>::default();
    loop {
        match shard.next_order() {
            Next::Order((order, memory)) => {
                let work = Work { order, memory, shard: Rc::clone(shard), transport: Rc::clone(transport) };
                if let Err(work) = idle.give(work) {
                    tokio::task::spawn_local(deliver_from(work, Rc::clone(&idle)));
                }
            }
            Next::Wait(tick) => {
                let due = shard.instant_of_tick(tick).into();
                // Whichever comes first; both are cancel-safe.
                let _ = tokio::time::timeout_at(due, shard.work()).await;
            }
            Next::Idle => shard.work().await,
        }
    }
}

/// What a delivery task works on. One that is idle has none, and keeps neither the shard nor the transport alive.
struct Work<D: Disk, T> {
    order: Order,
    memory: Held,
    shard: Rc<Shard<D>>,
    transport: Rc<T>,
}

/// Delivers `first` and then one order after another until nothing is left to do and enough others are idle.
async fn deliver_from<D: Disk, T: Transport>(first: Work<D, T>, idle: Rc<IdleTasks<Work<D, T>>>) {
    let mut next = Some(first);
    while let Some(Work { mut order, mut memory, shard, transport }) = next {
        loop {
            deliver(&order, &shard, &*transport).await;
            // Given back first: the next may need it.
            drop(memory);
            match shard.next_order() {
                Next::Order(ordered) => (order, memory) = ordered,
                Next::Wait(_) | Next::Idle => break,
            }
        }
        drop((shard, transport));
        next = idle.wait().await;
    }
}

async fn deliver<D: Disk, T: Transport>(order: &Order, shard: &Shard<D>, transport: &T) {
    let stored = match shard.conclude_buried(order.slot).await {
        Ok(true) => return,
        Ok(false) => shard.fetch(order.slot).await,
        Err(error) => Err(error),
    };
    let stored = match stored {
        Ok(stored) => stored,
        Err(error) => {
            let (id, origin, number) = (shard.id(order.slot), &order.origin, shard.number());
            tracing::error!(%id, %origin, shard = number, %error, "a message could not be read from the log");
            return shard.cannot_read(order.slot, &error).await;
        }
    };
    let message = stored.message();
    if shard.has_expired(&message) {
        return shard.expire(order, &stored).await;
    }
    let outbound = Outbound {
        origin: Rc::clone(&order.origin),
        head: stored.share(message.head),
        message_id: shard.id(order.slot),
        attempt: stored.attempt(order).into(),
        maybe_duplicate: order.maybe_duplicate,
        body: stored.share(message.body),
        timeout: message.timeout.unwrap_or(shard.default_timeout()),
    };
    let attempt = transport.send(outbound).await;
    shard.conclude(order, &stored, &attempt).await;
}
