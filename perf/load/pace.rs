//! Which message is sent next, and when: at once (closed loop) or when it is due (open loop).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The plan of all threads.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Messages per second over all threads; none: as fast as answers come.
    pub rate: Option<f64>,
    /// No message is due later than this after the start.
    pub duration: Duration,
    /// Messages over all threads.
    pub messages: u64,
    /// Threads; thread `t` sends ids `t`, `t + threads`, …
    pub threads: u64,
}

/// The plan of one thread.
#[derive(Debug)]
pub struct Pace {
    plan: Plan,
    start: Instant,
    id: u64,
    due: VecDeque<(u64, Instant)>,
}

impl Pace {
    /// Starts now.
    pub fn new(plan: Plan, thread: u64, start: Instant) -> Self {
        Self { plan, start, id: thread, due: VecDeque::new() }
    }

    /// The next message to send now, and the instant from which its latency counts: in the open loop when it was due,
    /// not when a connection was free for it, so that a slow server does not hide its own queue ("coordinated
    /// omission").
    pub fn take(&mut self, now: Instant) -> Option<(u64, Instant)> {
        if self.plan.rate.is_some() {
            return self.due.pop_front();
        }
        let more = self.id < self.plan.messages && now < self.start + self.plan.duration;
        more.then(|| (self.advance(), now))
    }

    /// Queues what has become due and returns how much, and when the next message is due.
    pub fn fall_due(&mut self, now: Instant) -> (usize, Option<Instant>) {
        let before = self.due.len();
        loop {
            match self.next_due() {
                Some(due) if due <= now => {
                    let id = self.advance();
                    self.due.push_back((id, due));
                }
                next => return (self.due.len() - before, next),
            }
        }
    }

    /// Whether nothing is left to send.
    pub fn is_finished(&self, now: Instant) -> bool {
        let more_to_come = if self.plan.rate.is_some() {
            self.next_due().is_some()
        } else {
            self.id < self.plan.messages && now < self.start + self.plan.duration
        };
        self.due.is_empty() && !more_to_come
    }

    fn next_due(&self) -> Option<Instant> {
        let rate = self.plan.rate?;
        #[allow(clippy::cast_precision_loss, reason = "ids are far below 2^52")]
        let after = Duration::from_secs_f64(self.id as f64 / rate);
        (self.id < self.plan.messages && after < self.plan.duration).then(|| self.start + after)
    }

    fn advance(&mut self) -> u64 {
        let id = self.id;
        self.id += self.plan.threads;
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: Plan = Plan { rate: Some(100.0), duration: Duration::from_secs(1), messages: u64::MAX, threads: 2 };

    #[test]
    fn latency_counts_from_when_a_message_was_due() {
        let start = dispatcher::time::monotonic_now();
        let mut pace = Pace::new(PLAN, 1, start);
        let (due, next) = pace.fall_due(start + Duration::from_millis(35));
        assert_eq!((due, next), (2, Some(start + Duration::from_millis(50))));
        let late = start + Duration::from_secs(5);
        assert_eq!(pace.take(late), Some((1, start + Duration::from_millis(10))));
        assert_eq!(pace.take(late), Some((3, start + Duration::from_millis(30))));
        assert_eq!(pace.take(late), None);
        assert!(!pace.is_finished(late));
    }

    #[test]
    fn the_plan_ends_with_its_duration_or_its_messages() {
        let start = dispatcher::time::monotonic_now();
        let late = start + Duration::from_secs(60);
        let mut open = Pace::new(PLAN, 0, start);
        assert_eq!(open.fall_due(late), (50, None));
        let mut closed = Pace::new(Plan { rate: None, messages: 5, ..PLAN }, 0, start);
        let ids: Vec<u64> = std::iter::from_fn(|| closed.take(start)).map(|(id, _)| id).collect();
        assert_eq!(ids, [0, 2, 4]);
        assert!(closed.is_finished(start));
        assert!(Pace::new(Plan { rate: None, ..PLAN }, 0, start).take(late).is_none());
    }
}
