//! Seats: how many connections of a core have requests between their bytes and their answers at a time.
//!
//! A core serves its connections and makes its deliveries on one thread, task by task. Were every connection that has
//! something to say a task that can run, a thousand of them would leave deliveries a small part of the core, and what they
//! said would be accepted faster than it is delivered. So few have a seat at a time, and the others wait for one, first
//! come first served: they are not read, and TCP holds their clients back. Who has waited for as long as a client may be
//! kept waiting is told to come again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{SEAT_WAIT_MS_MAX, SEATS_MAX};

/// The seats of one core; clones are handles to the same ones.
#[derive(Clone)]
pub struct Seats(Arc<Semaphore>);

/// A seat, until it is dropped.
pub struct Seat {
    _permit: OwnedSemaphorePermit,
    /// No other was taken when this one was.
    alone: bool,
}

impl Default for Seats {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(SEATS_MAX)))
    }
}

impl Seats {
    /// A seat if one is free and nobody has waited for it.
    pub fn try_take(&self) -> Option<Seat> {
        let permit = Arc::clone(&self.0).try_acquire_owned().ok()?;
        Some(Seat { _permit: permit, alone: self.one_is_taken() })
    }

    /// Waits for a seat; `None` when it has been waited for too long. Cancel-safe: who no longer waits has lost its place.
    pub async fn take(&self) -> Option<Seat> {
        let wait = Duration::from_millis(SEAT_WAIT_MS_MAX);
        let permit = tokio::time::timeout(wait, Arc::clone(&self.0).acquire_owned()).await;
        permit.ok().and_then(Result::ok).map(|permit| Seat { _permit: permit, alone: false })
    }

    /// Whether all seats are taken.
    pub fn are_taken(&self) -> bool {
        self.0.available_permits() == 0
    }

    /// Whether no other seat was taken when this one was, nor is now.
    pub fn is_only(&self, seat: &Seat) -> bool {
        seat.alone && self.one_is_taken()
    }

    fn one_is_taken(&self) -> bool {
        self.0.available_permits() + 1 == SEATS_MAX
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn seats_are_taken_in_the_order_in_which_they_were_waited_for() {
        let seats = Seats::default();
        let mut taken: Vec<Seat> = std::iter::from_fn(|| seats.try_take()).collect();
        assert_eq!((taken.len(), seats.are_taken()), (SEATS_MAX, true));
        let (mut first, mut second) = (Box::pin(seats.take()), Box::pin(seats.take()));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none());
        drop(taken.pop());
        assert!(seats.try_take().is_none(), "nobody passes those who wait");
        assert!(second.as_mut().now_or_never().is_none());
        let seat = first.await.expect("it was first");
        drop(seat);
        assert!(second.await.is_some());
    }

    #[test]
    fn a_seat_is_the_only_one_if_none_other_was_taken_before_or_is_now() {
        let seats = Seats::default();
        let first = seats.try_take().expect("free");
        assert!(seats.is_only(&first));
        let second = seats.try_take().expect("free");
        assert!(!seats.is_only(&first));
        drop(first);
        assert!(!seats.is_only(&second));
        drop(second);
        assert!(seats.is_only(&seats.try_take().expect("free")));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_so_in_time() {
        let seats = Seats::default();
        let taken: Vec<Seat> = std::iter::from_fn(|| seats.try_take()).collect();
        let began = tokio::time::Instant::now();
        assert!(seats.take().await.is_none());
        let waited = u64::try_from(began.elapsed().as_millis()).unwrap();
        assert!((SEAT_WAIT_MS_MAX..100).contains(&waited), "{waited} ms");
        drop(taken);
        assert!(seats.try_take().is_some(), "whoever has given up is not waited for");
    }
}
