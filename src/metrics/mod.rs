//! Counters and histograms: looks on, never steers.
use crate::schedule::attempt::{Failure, Outcome};
use crate::time::Millis;
use std::time::Duration;
/// stub
pub struct Gauges {
    pub ready: u64,
    pub in_flight: u64,
    pub delayed: u64,
    pub log_bytes: u64,
    pub log_live_bytes: u64,
    pub oldest_pending: Millis,
}
/// stub
#[derive(Default)]
pub struct ShardMetrics;
#[allow(missing_docs)]
impl ShardMetrics {
    pub fn accepted(&self, _n: usize) {}
    pub fn commit(&self, _d: Duration, _n: usize) {}
    pub fn attempt(&self, _o: Outcome, _d: Duration) {}
    pub fn delivered(&self, _d: Millis) {}
    pub fn dead_letter(&self, _f: Failure) {}
}
