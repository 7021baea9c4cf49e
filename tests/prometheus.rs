//! A real Prometheus scrapes a real daemon: what `deploy/`, `README.md` and the exposition say of each other.
//!
//! Without Prometheus and its promtool these tests are left out and say so on stderr; with `REAL_PEERS=required` they fail.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

#[allow(dead_code, reason = "each crate of tests uses its part")]
#[path = "common_daemon/mod.rs"]
mod common;
#[path = "prometheus/documents.rs"]
mod documents;
#[path = "prometheus/live.rs"]
mod live;
#[allow(dead_code, reason = "each crate of tests uses its part")]
#[path = "real_peers/program.rs"]
mod program;
#[path = "prometheus/rules.rs"]
mod rules;
#[path = "prometheus/server.rs"]
mod server;
