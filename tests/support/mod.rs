//! What tests over real sockets share: the daemon as a process of its own, a raw client, and an origin that records.
#![allow(dead_code, unused_imports, reason = "each crate of tests uses its part")]

mod client;
mod daemon;
mod origin;
pub mod tls;

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use dispatcher::time::monotonic_now;

pub use client::{Answer, Client};
pub use daemon::{BACKENDS, Daemon, TLS_VARIABLES, on_all, on_both, on_tls, run};
pub use origin::Origin;

/// How long anything may take that is expected to happen.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A value that one thread changes and another waits on.
#[derive(Default)]
pub struct Shared<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Shared<T> {
    /// Changes the value and wakes who waits.
    pub fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.value.lock().unwrap());
        self.changed.notify_all();
        result
    }

    /// Waits until `find` finds something, or [`DEADLINE`] is over.
    pub fn until<R>(&self, mut find: impl FnMut(&mut T) -> Option<R>) -> Option<R> {
        let start = monotonic_now();
        let mut value = self.value.lock().unwrap();
        loop {
            if let Some(found) = find(&mut value) {
                return Some(found);
            }
            let left = DEADLINE.checked_sub(start.elapsed())?;
            value = self.changed.wait_timeout(value, left).unwrap().0;
        }
    }
}

/// Where `part` begins in `bytes`.
pub fn position(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// The value of the first field called `name` in a head.
pub fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
}
