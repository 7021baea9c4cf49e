//! HTTP/2 to https origins that agree on it: a few connections per origin, each shared by many deliveries.
//!
//! Over h2 itself rather than hyper's client on top of it: that starts two more tasks per request and hides what
//! decides whether a request may have been processed (RFC 9113 §8.7), which stream was refused and by what.

mod connection;
mod meter;
mod request;
mod shared;

pub(super) use connection::{Connection, Stream};
pub(super) use shared::{Next, Opened, Shared};
