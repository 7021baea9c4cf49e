//! What the daemon promises over its sockets, tested over sockets against the real binary. Requests are raw bytes, and
//! what an origin must see of them is compared byte for byte.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world fails")]

#[path = "http_contract/authentication.rs"]
mod authentication;
#[path = "http_contract/bodies.rs"]
mod bodies;
#[path = "http_contract/connections.rs"]
mod connections;
#[path = "http_contract/expectations.rs"]
mod expectations;
#[path = "http_contract/forwarding.rs"]
mod forwarding;
#[path = "http_contract/in_process.rs"]
mod in_process;
#[path = "http_contract/machine.rs"]
mod machine;
#[path = "http_contract/over_sockets.rs"]
mod over_sockets;
#[path = "http_contract/own_paths.rs"]
mod own_paths;
#[path = "http_contract/pipelines.rs"]
mod pipelines;
#[path = "http_contract/process.rs"]
mod process;
#[path = "http_contract/refusals.rs"]
mod refusals;
mod support;
#[path = "http_contract/table/mod.rs"]
mod table;
#[path = "http_contract/timeouts.rs"]
mod timeouts;
