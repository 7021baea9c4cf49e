//! What an operator can do with dead letters: over HTTP, by the command, and across crashes of the real binary.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

#[path = "dead_letters/access.rs"]
mod access;
#[path = "dead_letters/by_command.rs"]
mod by_command;
#[allow(dead_code, reason = "each crate of tests uses its part")]
#[path = "common_daemon/mod.rs"]
mod common;
#[path = "dead_letters/crash.rs"]
mod crash;
#[path = "dead_letters/over_http.rs"]
mod over_http;
#[path = "dead_letters/tools.rs"]
mod tools;
