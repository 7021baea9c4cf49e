//! Deliveries to the servers that others run: nginx and Python's http.server, each started by the test that needs it.
//!
//! Our own stubs behave as we read the RFCs; these behave as they do. Without such a program its tests are left out and
//! say so on stderr; with `REAL_PEERS=required` they fail.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

#[path = "real_peers/answers.rs"]
mod answers;
#[allow(dead_code, reason = "each crate of tests uses its part")]
#[path = "common_daemon/mod.rs"]
mod common;
#[path = "real_peers/http2.rs"]
mod http2;
#[path = "real_peers/kept_connections.rs"]
mod kept_connections;
#[path = "real_peers/messages.rs"]
mod messages;
#[path = "real_peers/nginx.rs"]
mod nginx;
#[path = "real_peers/program.rs"]
mod program;
#[path = "real_peers/python.rs"]
mod python;
#[path = "real_peers/python_peers.rs"]
mod python_peers;
#[path = "real_peers/refusals.rs"]
mod refusals;
#[path = "real_peers/restarts.rs"]
mod restarts;
#[path = "real_peers/tls.rs"]
mod tls;
