//! A part of the memory that all cores share, exactly, and a core's account with it.
//!
//! A core keeps a little of what was given back to it, so that messages of usual size cost no look at what other cores
//! have. Who finds too little waits, first come first served over all cores: a large one is not passed by small ones for
//! ever. While anybody on a core waits, that core keeps nothing.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::limits::{MEMORY_KEPT_BYTES, to_usize};

/// What is counted, in bytes: less is a unit.
const UNIT_BYTES: usize = 1 << 10;
/// What a core takes at a time at least, and keeps at most, in units.
const KEPT_UNITS: usize = MEMORY_KEPT_BYTES / UNIT_BYTES;

/// A part of the memory.
#[derive(Debug)]
pub struct Pool {
    units: Semaphore,
    units_max: usize,
}

impl Pool {
    /// Of `bytes` bytes, none of them taken.
    pub fn new(bytes: u64) -> Arc<Self> {
        let units_max = (to_usize(bytes) / UNIT_BYTES).min(Semaphore::MAX_PERMITS);
        Arc::new(Self { units: Semaphore::new(units_max), units_max })
    }

    /// Bytes that cores have taken, what they keep included.
    pub fn used(&self) -> u64 {
        ((self.units_max - self.units.available_permits()) * UNIT_BYTES) as u64
    }
}

/// A core's account with a pool.
#[derive(Debug)]
pub struct Account {
    pool: Arc<Pool>,
    /// Units that are kept.
    kept: Cell<usize>,
    waiting: Cell<usize>,
}

impl Account {
    /// Which keeps nothing yet.
    pub fn new(pool: Arc<Pool>) -> Rc<Self> {
        Rc::new(Self { pool, kept: Cell::new(0), waiting: Cell::new(0) })
    }

    /// Takes `bytes`, if they are there.
    pub fn try_take(self: &Rc<Self>, bytes: usize) -> Option<Held> {
        let units = bytes.div_ceil(UNIT_BYTES);
        let kept = self.kept.get();
        if units > kept {
            let missing = units - kept;
            let taken = [missing.max(KEPT_UNITS), missing].into_iter().find(|wanted| self.acquire(*wanted))?;
            self.kept.set(kept + taken);
        }
        self.kept.update(|kept| kept - units);
        Some(Held { account: Rc::clone(self), units })
    }

    fn acquire(&self, units: usize) -> bool {
        let wanted = u32::try_from(units).ok();
        let permit = wanted.and_then(|wanted| self.pool.units.try_acquire_many(wanted).ok());
        permit.map(tokio::sync::SemaphorePermit::forget).is_some()
    }

    /// Takes `bytes`, or all there is in the pool if that is less, when its turn has come. Cancel-safe: who gives up
    /// leaves the queue.
    pub async fn take(self: &Rc<Self>, bytes: usize) -> Held {
        if let Some(held) = self.try_take(bytes) {
            return held;
        }
        // A message from the time of a larger MAX_MEMORY must not wait for ever.
        let units = bytes.div_ceil(UNIT_BYTES).min(self.pool.units_max);
        let _waiting = Waiting::new(self);
        let wanted = u32::try_from(units).unwrap_or(u32::MAX);
        let permit = self.pool.units.acquire_many(wanted).await.expect("a pool is never closed");
        permit.forget();
        Held { account: Rc::clone(self), units: wanted as usize }
    }

    fn give(&self, units: usize) {
        let all = self.kept.get() + units;
        let kept = match self.waiting.get() {
            0 if all <= 2 * KEPT_UNITS => all,
            0 => KEPT_UNITS,
            _ => 0,
        };
        self.kept.set(kept);
        self.pool.units.add_permits(all - kept);
    }
}

/// One that waits on this core.
struct Waiting<'a>(&'a Account);

impl<'a> Waiting<'a> {
    fn new(account: &'a Account) -> Self {
        account.waiting.update(|waiting| waiting + 1);
        account.give(0);
        Self(account)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.update(|waiting| waiting - 1);
    }
}

/// Memory that is taken until this is dropped.
#[derive(Debug)]
pub struct Held {
    account: Rc<Account>,
    units: usize,
}

impl Held {
    /// Adds what was taken from the same account.
    pub fn join(&mut self, mut other: Self) {
        assert!(Rc::ptr_eq(&self.account, &other.account), "of one account");
        self.units += std::mem::take(&mut other.units);
    }

    /// Whether it is of this account, and as much as taking `bytes` from it gives.
    pub fn covers(&self, account: &Rc<Account>, bytes: usize) -> bool {
        Rc::ptr_eq(&self.account, account) && self.units >= bytes.div_ceil(UNIT_BYTES).min(account.pool.units_max)
    }

    /// Bytes, rounded up.
    pub const fn bytes(&self) -> usize {
        self.units * UNIT_BYTES
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.account.give(self.units);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::join;

    use super::*;

    const MAX: usize = 10 * MEMORY_KEPT_BYTES;

    fn pool() -> Arc<Pool> {
        Pool::new(MAX as u64)
    }

    #[test]
    fn what_is_taken_is_exact_over_cores_but_for_the_little_that_each_keeps() {
        let pool = pool();
        let cores = [Account::new(Arc::clone(&pool)), Account::new(Arc::clone(&pool))];
        let small: Vec<Held> = (0..100).map(|_| cores[0].try_take(1).unwrap()).collect();
        assert!(pool.used() <= (100 * UNIT_BYTES + MEMORY_KEPT_BYTES) as u64);
        assert!(cores[1].try_take(MAX).is_none());
        drop(small);
        assert!(pool.used() <= 2 * MEMORY_KEPT_BYTES as u64);
        let large = cores[1].try_take(MAX - 2 * MEMORY_KEPT_BYTES).unwrap();
        assert!(cores[0].try_take(MEMORY_KEPT_BYTES).is_some(), "of what it kept");
        drop(large);
        let all = cores[0].try_take(MAX - 2 * MEMORY_KEPT_BYTES);
        assert!(all.is_some_and(|held| held.bytes() == MAX - 2 * MEMORY_KEPT_BYTES));
    }

    #[test]
    fn who_waits_is_served_in_order_and_a_large_one_is_not_passed_by_small_ones() {
        let account = Account::new(pool());
        let half = account.try_take(MAX / 2).unwrap();
        let mut large = std::pin::pin!(account.take(MAX));
        assert!(large.as_mut().now_or_never().is_none());
        let mut small = std::pin::pin!(account.take(1));
        assert!(small.as_mut().now_or_never().is_none() && account.try_take(1).is_none(), "behind the large one");
        drop(half);
        let held = large.now_or_never().expect("all is there");
        assert!(small.as_mut().now_or_never().is_none());
        drop(held);
        assert!(small.now_or_never().is_some());
    }

    #[test]
    fn who_gives_up_waiting_leaves_no_trace() {
        let account = Account::new(pool());
        let all = account.try_take(MAX).unwrap();
        {
            let mut waiting = std::pin::pin!(account.take(MAX));
            assert!(waiting.as_mut().now_or_never().is_none());
        }
        drop(all);
        assert!(account.try_take(MAX - 2 * MEMORY_KEPT_BYTES).is_some());
        assert_eq!(account.waiting.get(), 0);
    }

    #[tokio::test]
    async fn what_is_larger_than_the_pool_takes_all_of_it() {
        let account = Account::new(pool());
        let held = account.take(2 * MAX).await;
        assert_eq!(held.bytes(), MAX);
        let (next, ()) = join(account.take(1), async { drop(held) }).await;
        assert_eq!(next.bytes(), UNIT_BYTES);
    }
}
