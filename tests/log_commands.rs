//! `dispatcher log cat` and `dispatcher log verify`, by the real binary: on logs that the library made, whole, damaged or
//! of another version, and beside a running daemon.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

#[path = "log_commands/access.rs"]
mod access;
#[allow(dead_code, reason = "each crate of tests uses its part")]
#[path = "common_daemon/mod.rs"]
mod common;
#[path = "log_commands/damage.rs"]
mod damage;
#[path = "log_commands/filters.rs"]
mod filters;
#[path = "log_commands/image.rs"]
mod image;
#[path = "log_commands/lines.rs"]
mod lines;
#[path = "log_commands/live.rs"]
mod live;
#[path = "log_commands/ran.rs"]
mod ran;
