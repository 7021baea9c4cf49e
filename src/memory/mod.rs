//! What the daemon takes of memory: `MAX_MEMORY` in declared parts, and the accounts that a core keeps of those that grow.

// What each part gets.
pub mod division;
// A part that all cores share.
pub mod pool;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{
    CACHE_BYTES_MAX, DELIVERY_BYTES, INDEX_STEP_BYTES, LETTER_BYTES, ORIGIN_BYTES, PENDING_BYTES, SMALL_DELIVERY_BYTES,
};
use division::{Core, Division, Growing};
use pool::{Account, Held, Pool};

/// The parts that grow, as all cores share them.
#[derive(Debug)]
pub struct Memory {
    division: Division,
    small_messages: Arc<Pool>,
    large_messages: Arc<Pool>,
    small_deliveries: Arc<Pool>,
    large_deliveries: Arc<Pool>,
    index_used: AtomicU64,
}

/// A part of the memory: its name, what is taken of it, and what it may take, in bytes.
pub type Part = (&'static str, u64, u64);

impl Memory {
    /// Of which nothing is taken yet.
    pub fn new(division: Division) -> Arc<Self> {
        let Growing { small_messages, large_messages, small_deliveries, large_deliveries, .. } = division.growing;
        Arc::new(Self {
            small_messages: Pool::new(small_messages),
            large_messages: Pool::new(large_messages),
            small_deliveries: Pool::new(small_deliveries),
            large_deliveries: Pool::new(large_deliveries),
            index_used: AtomicU64::new(0),
            division,
        })
    }

    /// With so many bytes for each part that grows, and nothing declared for the others: for what is no daemon.
    pub fn of_parts(bytes: u64) -> Arc<Self> {
        let core = Core { cache_bytes: CACHE_BYTES_MAX, ..Core::default() };
        Self::new(Division { core, growing: Growing::all(bytes), ..Division::default() })
    }

    /// How it is divided.
    pub const fn division(&self) -> &Division {
        &self.division
    }

    /// All parts; `connections` are open.
    pub fn parts(&self, connections: u64) -> [Part; 5] {
        let used = |small: &Pool, large: &Pool| small.used() + large.used();
        let growing = &self.division.growing;
        [
            ("fixed", self.division.fixed(), self.division.fixed()),
            (
                "connections",
                connections * self.division.connection_bytes,
                self.division.connections * self.division.connection_bytes,
            ),
            (
                "messages",
                used(&self.small_messages, &self.large_messages),
                growing.small_messages + growing.large_messages,
            ),
            (
                "deliveries",
                used(&self.small_deliveries, &self.large_deliveries),
                growing.small_deliveries + growing.large_deliveries,
            ),
            ("index", self.index_used.load(Ordering::Relaxed), growing.index),
        ]
    }
}

/// What pending messages and dead letters take of memory, whatever their size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Indexed {
    /// Pending messages.
    pub messages: u64,
    /// Destinations they are for.
    pub origins: u64,
    /// Dead letters.
    pub letters: u64,
}

impl Indexed {
    const fn bytes(self) -> u64 {
        self.messages * PENDING_BYTES + self.origins * ORIGIN_BYTES + self.letters * LETTER_BYTES
    }
}

/// One core's accounts.
#[derive(Debug)]
pub struct Accounts {
    memory: Arc<Memory>,
    small_messages: Rc<Account>,
    large_messages: Rc<Account>,
    small_deliveries: Rc<Account>,
    large_deliveries: Rc<Account>,
    /// What the others were told that the index of this core takes, in bytes.
    index_told: Cell<u64>,
}

impl Accounts {
    /// With nothing taken.
    pub fn new(memory: Arc<Memory>) -> Self {
        Self {
            small_messages: Account::new(Arc::clone(&memory.small_messages)),
            large_messages: Account::new(Arc::clone(&memory.large_messages)),
            small_deliveries: Account::new(Arc::clone(&memory.small_deliveries)),
            large_deliveries: Account::new(Arc::clone(&memory.large_deliveries)),
            index_told: Cell::new(0),
            memory,
        }
    }

    /// For messages that fit the buffer that every connection has: what they take on their way to the disk. No sender of
    /// a large one, however slow, can use it up.
    pub const fn small_messages(&self) -> &Rc<Account> {
        &self.small_messages
    }

    /// For what connections read beyond that.
    pub const fn large_messages(&self) -> &Rc<Account> {
        &self.large_messages
    }

    /// What one delivery of a record takes, if it is there: the answer, and the message twice, as it may have to become a
    /// dead letter.
    pub fn try_delivery(&self, record_bytes: usize) -> Option<Held> {
        self.deliveries(record_bytes).try_take(delivery_bytes(record_bytes))
    }

    /// The same, once it is there. Large ones wait only for large ones. Cancel-safe.
    pub async fn delivery(&self, record_bytes: usize) -> Held {
        self.deliveries(record_bytes).take(delivery_bytes(record_bytes)).await
    }

    /// Whether `held` is what [`Accounts::delivery`] of a record would be.
    pub fn covers(&self, held: &Held, record_bytes: usize) -> bool {
        held.covers(self.deliveries(record_bytes), delivery_bytes(record_bytes))
    }

    const fn deliveries(&self, record_bytes: usize) -> &Rc<Account> {
        if record_bytes <= SMALL_DELIVERY_BYTES { &self.small_deliveries } else { &self.large_deliveries }
    }

    /// What is read of the log for other reasons than a delivery, once there is that much. Cancel-safe.
    pub async fn reading(&self, bytes: usize) -> Held {
        self.large_deliveries.take(bytes).await
    }

    /// Notes what the index of this core takes. It is told to the others in steps, so that cores do not contend.
    pub fn note_index(&self, indexed: Indexed) {
        let (bytes, told) = (indexed.bytes(), self.index_told.get());
        if bytes.abs_diff(told) >= INDEX_STEP_BYTES {
            self.index_told.set(bytes);
            // Wraps where it becomes less, which takes it back.
            self.memory.index_used.fetch_add(bytes.wrapping_sub(told), Ordering::Relaxed);
        }
    }

    /// Whether the indices of all cores leave room for a message more.
    pub fn index_has_room(&self) -> bool {
        self.memory.index_used.load(Ordering::Relaxed) < self.memory.division.growing.index
    }

    /// What its log may keep of recently written batches, in bytes.
    pub fn cache_bytes(&self) -> usize {
        self.memory.division.core.cache_bytes
    }
}

const fn delivery_bytes(record_bytes: usize) -> usize {
    DELIVERY_BYTES + 2 * record_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_of_all_cores_counts_and_gives_back_what_ends() {
        let memory = Memory::of_parts(2 * INDEX_STEP_BYTES);
        let cores = [Accounts::new(Arc::clone(&memory)), Accounts::new(Arc::clone(&memory))];
        let messages = |messages| Indexed { messages, ..Indexed::default() };
        let step = INDEX_STEP_BYTES.div_ceil(PENDING_BYTES);
        cores[0].note_index(messages(step));
        assert!(cores[1].index_has_room());
        cores[1].note_index(messages(step));
        assert!(!cores[0].index_has_room() && !cores[1].index_has_room());
        cores[0].note_index(messages(step - 1));
        assert!(!cores[0].index_has_room(), "not told in smaller steps");
        cores[0].note_index(messages(0));
        assert!(cores[1].index_has_room());
        assert_eq!(memory.parts(0)[4].1, step * PENDING_BYTES);
    }
}
