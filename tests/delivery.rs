//! What the daemon makes of a message once it has accepted it: what the origin gets, when, how often, and the end of it.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

#[allow(dead_code, reason = "each crate of tests uses its part")]
#[path = "common_daemon/mod.rs"]
mod common;
#[path = "delivery/ends.rs"]
mod ends;
#[path = "delivery/origins.rs"]
mod origins;
#[path = "delivery/outages.rs"]
mod outages;
#[path = "delivery/policy.rs"]
mod policy;
#[path = "delivery/retries.rs"]
mod retries;
