//! What a 202 is worth: kills, restarts, full and damaged logs, against the real binary and its files.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

#[allow(dead_code, reason = "each crate of tests uses its part")]
#[path = "common_daemon/mod.rs"]
mod common;
#[path = "durability/damage.rs"]
mod damage;
#[path = "durability/kill.rs"]
mod kill;
#[path = "durability/restart.rs"]
mod restart;
#[path = "durability/space.rs"]
mod space;
#[path = "durability/upgrade.rs"]
mod upgrade;
