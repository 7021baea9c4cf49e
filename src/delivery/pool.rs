//! Idle connections per origin: reused newest first, closed when they have been idle or alive too long. Opens nothing.

use std::rc::Rc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;

use crate::limits::{POOL_AGE_MS_MAX, POOL_IDLE_MS_MAX, POOL_PER_ORIGIN_MAX};
use crate::message::Origin;

const IDLE_MAX: Duration = Duration::from_millis(POOL_IDLE_MS_MAX);
const AGE_MAX: Duration = Duration::from_millis(POOL_AGE_MS_MAX);

#[derive(Debug)]
struct Idle<C> {
    connection: C,
    born: Instant,
    since: Instant,
}

/// Idle connections of one core.
#[derive(Debug)]
pub struct Pool<C> {
    idle: HashMap<Rc<Origin>, Vec<Idle<C>>>,
}

impl<C> Default for Pool<C> {
    fn default() -> Self {
        Self { idle: HashMap::new() }
    }
}

impl<C> Pool<C> {
    /// The most recently used connection to `origin` that is young enough and `usable`, and when it was born. Those
    /// found unfit on the way are dropped.
    pub fn take(&mut self, origin: &Rc<Origin>, now: Instant, usable: impl Fn(&C) -> bool) -> Option<(C, Instant)> {
        let idle = self.idle.get_mut(origin)?;
        while let Some(newest) = idle.pop() {
            if is_fresh(&newest, now) && usable(&newest.connection) {
                return Some((newest.connection, newest.born));
            }
        }
        None
    }

    /// Puts a connection back. Beyond the bound per origin, or past its age, it is dropped.
    pub fn put(&mut self, origin: &Rc<Origin>, connection: C, born: Instant, now: Instant) {
        let entry = Idle { connection, born, since: now };
        if !is_fresh(&entry, now) {
            return;
        }
        let idle = match self.idle.get_mut(origin) {
            Some(idle) => idle,
            None => self.idle.entry(Rc::clone(origin)).or_default(),
        };
        if idle.len() < POOL_PER_ORIGIN_MAX {
            idle.push(entry);
        }
    }

    /// Drops what is too old or not `usable`, and forgets origins without connections.
    pub fn sweep(&mut self, now: Instant, usable: impl Fn(&C) -> bool) {
        self.idle.retain(|_, idle| {
            idle.retain(|entry| is_fresh(entry, now) && usable(&entry.connection));
            !idle.is_empty()
        });
    }
}

fn is_fresh<C>(entry: &Idle<C>, now: Instant) -> bool {
    now.saturating_duration_since(entry.since) < IDLE_MAX && now.saturating_duration_since(entry.born) < AGE_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Scheme;
    use crate::time::monotonic_now;

    #[test]
    fn the_newest_usable_connection_is_taken_and_old_ones_go() {
        let origin = Rc::new(Origin::parse("b", Scheme::Http).expect("an origin"));
        let (start, mut pool) = (monotonic_now(), Pool::default());
        for number in 0..4 {
            pool.put(&origin, number, start, start);
        }
        assert_eq!(pool.take(&origin, start, |number| *number != 3), Some((2, start)));
        assert_eq!(pool.take(&origin, start + IDLE_MAX, |_| true), None, "idle too long");
        pool.put(&origin, 5, start, start + AGE_MAX);
        assert_eq!(pool.take(&origin, start + AGE_MAX, |_| true), None, "alive too long");
        pool.put(&origin, 6, start, start);
        pool.sweep(start + IDLE_MAX, |_| true);
        assert!(pool.idle.is_empty(), "an origin without connections costs nothing");
    }

    #[test]
    fn an_origin_keeps_a_bounded_number_of_connections() {
        let origin = Rc::new(Origin::parse("b", Scheme::Http).expect("an origin"));
        let (start, mut pool) = (monotonic_now(), Pool::default());
        for number in 0..POOL_PER_ORIGIN_MAX + 5 {
            pool.put(&origin, number, start, start);
        }
        assert_eq!(pool.idle[&origin].len(), POOL_PER_ORIGIN_MAX);
    }
}
