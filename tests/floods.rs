//! Floods of connections against the real binary: it stays within `MAX_MEMORY`, serves who means it, leaks nothing, and is
//! as before when the flood ends.
//!
//! `FLOODS=full cargo test --release --test floods -- --nocapture` for the sizes of a real attack; without it a tenth.
//! Latencies are reported and decide nothing: this machine may be busy.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world fails")]

#[path = "floods/attacks.rs"]
mod attacks;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "common_daemon/mod.rs"]
mod common;
#[path = "floods/descriptors.rs"]
mod descriptors;
#[path = "floods/honest.rs"]
mod honest;
#[path = "floods/process.rs"]
mod process;
#[path = "floods/within_memory.rs"]
mod within_memory;
