//! The outbound side over real sockets: what an origin gets, byte for byte, and what its answers come to.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world fails")]

mod advice;
mod bytes_sent;
mod certificates;
mod connections;
mod dns;
mod hostile;
mod http2;
mod http2_connections;
mod http2_endings;
mod http2_not;
mod http2_origin;
mod https;
mod names;
mod origin;
mod outcomes;
mod stale_answers;
