//! Counters and histograms of one shard, and their sums over shards. Looks on, never steers.

// Snapshots to Prometheus text.
pub mod exposition;
// Why requests are refused.
mod refused;

use std::cell::{Cell, RefCell};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::net::handshake::HandshakeFailure;
use crate::schedule::attempt::{Failure, Outcome};
use crate::time::Millis;
pub use refused::RefusedReason;

/// Which way a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From a sender.
    In,
    /// To an origin.
    Out,
}

const CLASSES: usize = Failure::ALL.len() + 1;

/// What is only counted. Plain numbers, so that shards add up field by field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    accepted: u64,
    refused: [u64; RefusedReason::ALL.len()],
    handshakes_failed: [u64; HandshakeFailure::ALL.len()],
    /// By failure code; 0 is delivered.
    attempts: [u64; CLASSES],
    delivered: u64,
    dead_letters: [u64; CLASSES],
    letters_replayed: u64,
    letters_removed: u64,
    maybe_duplicates: u64,
    recovered_messages: u64,
    corrupt_records: u64,
    connections_opened: [u64; 2],
    connections: [u64; 2],
}

impl Counts {
    fn add(&mut self, other: &Self) {
        fn add_all<const N: usize>(to: &mut [u64; N], from: &[u64; N]) {
            to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
        }
        self.accepted += other.accepted;
        add_all(&mut self.refused, &other.refused);
        add_all(&mut self.handshakes_failed, &other.handshakes_failed);
        add_all(&mut self.attempts, &other.attempts);
        self.delivered += other.delivered;
        add_all(&mut self.dead_letters, &other.dead_letters);
        self.letters_replayed += other.letters_replayed;
        self.letters_removed += other.letters_removed;
        self.maybe_duplicates += other.maybe_duplicates;
        self.recovered_messages += other.recovered_messages;
        self.corrupt_records += other.corrupt_records;
        add_all(&mut self.connections_opened, &other.connections_opened);
        add_all(&mut self.connections, &other.connections);
    }
}

/// What a shard works out when it is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Messages waiting for a slot.
    pub ready: u64,
    /// Messages of which an attempt runs or whose outcome is being written.
    pub in_flight: u64,
    /// Messages waiting for their due time.
    pub delayed: u64,
    /// Dead letters kept.
    pub dead_letters: u64,
    /// Bytes of all segments.
    pub log_bytes: u64,
    /// Bytes of those that hold nothing.
    pub log_spare_bytes: u64,
    /// Bytes of the records of live messages.
    pub log_live_bytes: u64,
    /// Age of the oldest live message.
    pub oldest_pending: Millis,
}

/// Largest latency told apart, in microseconds: an hour. A longer one counts as an hour (its sum is exact).
const LATENCY_US_MAX: u64 = 3_600_000_000;
/// Largest batch told apart, in messages.
const BATCH_MAX: u64 = 1 << 20;

/// An hdrhistogram and the exact sum of what went in, which buckets alone cannot give.
#[derive(Clone, Debug)]
pub struct Distribution {
    values: Histogram<u64>,
    sum: u64,
}

impl Distribution {
    /// Two significant digits: 1 % is below the noise of any latency, and keeps a shard's histograms small.
    fn new(max: u64) -> Self {
        Self { values: Histogram::new_with_bounds(1, max, 2).expect("1 < max, and 2 digits are allowed"), sum: 0 }
    }

    /// Allocates nothing: the bounds are fixed, and what is beyond them counts in the last bucket.
    fn record(&mut self, value: u64) {
        self.values.saturating_record(value);
        self.sum = self.sum.saturating_add(value);
    }

    fn add(&mut self, other: &Self) {
        self.values.add(&other.values).expect("all are made with the same bounds");
        self.sum = self.sum.saturating_add(other.sum);
    }
}

/// What is distributed: latencies in microseconds, batches in messages.
#[derive(Clone, Debug)]
pub struct Distributions {
    accept: Distribution,
    commit: Distribution,
    commit_batch: Distribution,
    attempt: Distribution,
    delivery: Distribution,
}

impl Default for Distributions {
    fn default() -> Self {
        let latency = || Distribution::new(LATENCY_US_MAX);
        Self {
            accept: latency(),
            commit: latency(),
            commit_batch: Distribution::new(BATCH_MAX),
            attempt: latency(),
            delivery: latency(),
        }
    }
}

impl Distributions {
    fn add(&mut self, other: &Self) {
        self.accept.add(&other.accept);
        self.commit.add(&other.commit);
        self.commit_batch.add(&other.commit_batch);
        self.attempt.add(&other.attempt);
        self.delivery.add(&other.delivery);
    }
}

/// The counters of one shard. Every method but [`ShardMetrics::snapshot`] is cheap and allocates nothing.
#[derive(Debug, Default)]
pub struct ShardMetrics {
    counts: RefCell<Counts>,
    distributions: RefCell<Distributions>,
    recovery: Cell<Duration>,
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

fn class(outcome: Outcome) -> usize {
    match outcome {
        Outcome::Delivered => 0,
        Outcome::Failed(failure) => failure.code().into(),
        Outcome::NotMade => unreachable!("what was not made did not end"),
    }
}

impl ShardMetrics {
    /// This many messages became durable.
    pub fn accepted(&self, messages: usize) {
        self.counts.borrow_mut().accepted += messages as u64;
    }

    /// From a complete request to its 202.
    pub fn accept(&self, took: Duration) {
        self.distributions.borrow_mut().accept.record(micros(took));
    }

    /// A request was refused.
    pub fn refused(&self, reason: RefusedReason) {
        self.counts.borrow_mut().refused[reason as usize] += 1;
    }

    /// A TLS handshake failed.
    pub fn handshake_failed(&self, failure: HandshakeFailure) {
        self.counts.borrow_mut().handshakes_failed[failure as usize] += 1;
    }

    /// A batch of this many messages was written.
    pub fn commit(&self, took: Duration, messages: usize) {
        let mut distributions = self.distributions.borrow_mut();
        distributions.commit.record(micros(took));
        distributions.commit_batch.record(messages as u64);
    }

    /// An attempt ended.
    pub fn attempt(&self, outcome: Outcome, took: Duration) {
        self.counts.borrow_mut().attempts[class(outcome)] += 1;
        self.distributions.borrow_mut().attempt.record(micros(took));
    }

    /// A message was delivered, this long after it was accepted.
    pub fn delivered(&self, since_accepted: Millis) {
        self.counts.borrow_mut().delivered += 1;
        self.distributions.borrow_mut().delivery.record(since_accepted.0.saturating_mul(1000));
    }

    /// A message was given up.
    pub fn dead_letter(&self, failure: Failure) {
        self.counts.borrow_mut().dead_letters[class(Outcome::Failed(failure))] += 1;
    }

    /// A dead letter was accepted anew.
    pub fn letter_replayed(&self) {
        self.counts.borrow_mut().letters_replayed += 1;
    }

    /// A dead letter was deleted.
    pub fn letter_removed(&self) {
        self.counts.borrow_mut().letters_removed += 1;
    }

    /// An attempt was marked as a possible duplicate.
    pub fn maybe_duplicate(&self) {
        self.counts.borrow_mut().maybe_duplicates += 1;
    }

    /// The log was recovered: it held this many undelivered messages, and this many damaged ranges.
    pub fn recovered(&self, took: Duration, messages: u64, damaged: u64) {
        self.recovery.set(took);
        let mut counts = self.counts.borrow_mut();
        counts.recovered_messages += messages;
        counts.corrupt_records += damaged;
    }

    /// A record could not be read back intact.
    pub fn corrupt_record(&self) {
        self.counts.borrow_mut().corrupt_records += 1;
    }

    /// A connection was opened.
    pub fn connection_opened(&self, side: Side) {
        let mut counts = self.counts.borrow_mut();
        counts.connections_opened[side as usize] += 1;
        counts.connections[side as usize] += 1;
    }

    /// Connections to origins: open now, and opened so far.
    pub fn connections_out(&self, open: u64, opened: u64) {
        let mut counts = self.counts.borrow_mut();
        counts.connections[Side::Out as usize] = open;
        counts.connections_opened[Side::Out as usize] = opened;
    }

    /// A connection was closed. Panics: more were closed than opened, a fault of the caller.
    pub fn connection_closed(&self, side: Side) {
        self.counts.borrow_mut().connections[side as usize] -= 1;
    }

    /// Connections open now.
    pub fn connections(&self, side: Side) -> u64 {
        self.counts.borrow().connections[side as usize]
    }

    /// Everything, to be sent to another thread; copies about 130 KiB, so it is for scrapes alone.
    pub fn snapshot(&self, gauges: Gauges) -> Snapshot {
        Snapshot {
            counts: *self.counts.borrow(),
            distributions: self.distributions.borrow().clone(),
            gauges,
            recovery: self.recovery.get(),
        }
    }
}

/// The metrics of one shard, or of several together.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    counts: Counts,
    distributions: Distributions,
    gauges: Gauges,
    recovery: Duration,
}

impl Snapshot {
    /// Connections open.
    pub const fn connections(&self, side: Side) -> u64 {
        self.counts.connections[side as usize]
    }

    /// Messages since the start: accepted, delivered, given up.
    pub fn ends(&self) -> (u64, u64, u64) {
        (self.counts.accepted, self.counts.delivered, self.counts.dead_letters.iter().sum())
    }

    /// What lives: messages that are ready, in flight, delayed.
    pub const fn remaining(&self) -> (u64, u64, u64) {
        (self.gauges.ready, self.gauges.in_flight, self.gauges.delayed)
    }

    /// Adds another shard's. Ages and times do not add up: the largest stands.
    pub fn merge(&mut self, other: &Self) {
        self.counts.add(&other.counts);
        self.distributions.add(&other.distributions);
        self.gauges.ready += other.gauges.ready;
        self.gauges.in_flight += other.gauges.in_flight;
        self.gauges.delayed += other.gauges.delayed;
        self.gauges.dead_letters += other.gauges.dead_letters;
        self.gauges.log_bytes += other.gauges.log_bytes;
        self.gauges.log_spare_bytes += other.gauges.log_spare_bytes;
        self.gauges.log_live_bytes += other.gauges.log_live_bytes;
        self.gauges.oldest_pending = self.gauges.oldest_pending.max(other.gauges.oldest_pending);
        self.recovery = self.recovery.max(other.recovery);
    }
}

#[cfg(test)]
mod tests;
