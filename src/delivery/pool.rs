//! Idle connections, per origin. Decides which one is used next and which has to go; opens nothing, reads no clock.

use std::rc::Rc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::limits;
use crate::message::Origin;

const IDLE_MAX: Duration = Duration::from_millis(limits::POOL_IDLE_MS_MAX);
const AGE_MAX: Duration = Duration::from_millis(limits::POOL_AGE_MS_MAX);

/// A connection that nobody uses.
struct Idle<C> {
    connection: C,
    opened_at: Instant,
    idle_since: Instant,
}

impl<C> Idle<C> {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.idle_since) < IDLE_MAX
            && now.saturating_duration_since(self.opened_at) < AGE_MAX
    }
}

/// Idle connections of type `C`; a dropped one is closed.
///
/// Each origin's are a stack: the most recently used one is used next, so that those a lull leaves over grow old.
pub(super) struct Pool<C> {
    stacks: HashMap<Rc<Origin>, Vec<Idle<C>>>,
    idle: usize,
    idle_max: usize,
}

impl<C> Pool<C> {
    /// An empty pool, for at most `idle_max` connections.
    pub(super) fn new(idle_max: usize) -> Self {
        Self { stacks: HashMap::new(), idle: 0, idle_max }
    }

    /// Takes the most recently used connection to `origin` that is not too old; closes those met on the way.
    pub(super) fn take(&mut self, origin: &Origin, now: Instant) -> Option<C> {
        let stack = self.stacks.get_mut(origin)?;
        while let Some(idle) = stack.pop() {
            self.idle -= 1;
            if idle.is_fresh(now) {
                return Some(idle.connection);
            }
        }
        None
    }

    /// Gives back a connection that can be used again. At a bound the longest idle one is closed: of this origin, or
    /// of all.
    pub(super) fn put(&mut self, origin: &Rc<Origin>, connection: C, opened_at: Instant, now: Instant) {
        let idle = Idle { connection, opened_at, idle_since: now };
        if !idle.is_fresh(now) {
            return;
        }
        if self.idle >= self.idle_max {
            self.close_longest_idle();
        }
        let stack = match self.stacks.get_mut(&**origin) {
            Some(stack) => stack,
            None => self.stacks.entry(Rc::clone(origin)).or_default(),
        };
        if stack.len() >= limits::POOL_IDLE_PER_ORIGIN_MAX {
            stack.remove(0);
            self.idle -= 1;
        }
        stack.push(idle);
        self.idle += 1;
    }

    /// Closes what is too old and what `is_open` says no to. To be called about once a second.
    pub(super) fn sweep(&mut self, now: Instant, mut is_open: impl FnMut(&mut C) -> bool) {
        let mut kept = 0;
        self.stacks.retain(|_, stack| {
            stack.retain_mut(|idle| idle.is_fresh(now) && is_open(&mut idle.connection));
            kept += stack.len();
            !stack.is_empty()
        });
        self.idle = kept;
    }

    /// Looks at every origin; only met while more origins are busy than there may be idle connections, or when there are no
    /// descriptors. Returns whether there was one.
    pub(super) fn close_longest_idle(&mut self) -> bool {
        let stacks = self.stacks.values_mut().filter(|stack| !stack.is_empty());
        let Some(stack) = stacks.min_by_key(|stack| stack[0].idle_since) else { return false };
        stack.remove(0);
        self.idle -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Scheme;
    use crate::time::monotonic_now;

    impl<C> Pool<C> {
        fn check(&self) {
            assert_eq!(self.idle, self.stacks.values().map(Vec::len).sum::<usize>());
            assert!(self.idle <= self.idle_max);
            for stack in self.stacks.values() {
                assert!(stack.len() <= limits::POOL_IDLE_PER_ORIGIN_MAX);
                assert!(stack.is_sorted_by_key(|idle| idle.idle_since));
            }
        }
    }

    fn origin(port: u16) -> Rc<Origin> {
        Rc::new(Origin::parse(&format!("b:{port}"), Scheme::Http).unwrap())
    }

    #[test]
    fn the_most_recently_used_connection_is_used_next_and_only_for_its_origin() {
        let (mut pool, now) = (Pool::new(limits::POOL_IDLE_MAX), monotonic_now());
        for connection in [1, 2] {
            pool.put(&origin(1), connection, now, now);
        }
        pool.check();
        assert_eq!(pool.take(&origin(2), now), None);
        assert_eq!(pool.take(&origin(1), now), Some(2));
        assert_eq!(pool.take(&origin(1), now), Some(1));
        assert_eq!(pool.take(&origin(1), now), None);
        pool.check();
    }

    #[test]
    fn a_connection_idle_for_too_long_or_too_old_is_not_used() {
        let (mut pool, start) = (Pool::new(limits::POOL_IDLE_MAX), monotonic_now());
        pool.put(&origin(1), 1, start, start);
        assert_eq!(pool.take(&origin(1), start + IDLE_MAX), None);
        pool.put(&origin(1), 2, start, start + AGE_MAX - IDLE_MAX / 2);
        assert_eq!(pool.take(&origin(1), start + AGE_MAX), None);
        pool.put(&origin(1), 3, start, start + AGE_MAX);
        assert_eq!(pool.take(&origin(1), start + AGE_MAX), None, "too old to be kept");
        pool.check();
    }

    #[test]
    fn a_sweep_closes_what_is_too_old_or_no_longer_open() {
        let (mut pool, start) = (Pool::new(limits::POOL_IDLE_MAX), monotonic_now());
        let held: Vec<Rc<u16>> = (0..4).map(Rc::new).collect();
        pool.put(&origin(1), Rc::clone(&held[0]), start, start);
        pool.put(&origin(2), Rc::clone(&held[1]), start, start);
        let later = start + IDLE_MAX / 2;
        pool.put(&origin(1), Rc::clone(&held[2]), start, later);
        pool.put(&origin(1), Rc::clone(&held[3]), start, later);
        pool.sweep(start + IDLE_MAX, |connection| **connection != 3);
        pool.check();
        let open: Vec<usize> = held.iter().map(|held| Rc::strong_count(held) - 1).collect();
        assert_eq!(open, [0, 0, 1, 0]);
        assert_eq!(pool.stacks.len(), 1, "an origin without connections is forgotten");
    }

    #[test]
    fn at_a_bound_the_longest_idle_connection_is_closed() {
        let (mut pool, start) = (Pool::new(limits::POOL_IDLE_MAX), monotonic_now());
        for step in 0..=limits::POOL_IDLE_PER_ORIGIN_MAX {
            pool.put(&origin(1), step, start, start + Duration::from_millis(step as u64));
            pool.check();
        }
        assert_eq!(pool.stacks[&origin(1)][0].connection, 1);

        let mut pool = Pool::new(limits::POOL_IDLE_MAX);
        for step in 0..=limits::POOL_IDLE_MAX {
            let port = u16::try_from(1 + step).unwrap();
            pool.put(&origin(port), step, start, start + Duration::from_millis(step as u64));
        }
        pool.check();
        assert_eq!(pool.take(&origin(1), start), None);
        assert_eq!(pool.take(&origin(2), start), Some(1));
    }
}
