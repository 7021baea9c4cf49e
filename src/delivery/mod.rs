//! Bytes out, an [`Attempt`] back.

use std::rc::Rc;

use bytes::Bytes;

use crate::message::{MessageId, Origin};
use crate::schedule::attempt::Attempt;
use crate::time::Millis;

mod advice;
// The transport of the daemon.
pub mod client;
mod connect;
mod failure;
mod http2;
mod idle;
mod link;
// Hosts file and name servers.
pub mod names;
mod payload;
mod pool;
mod resolve;
mod send_queue;
// Whom egress trusts.
pub mod tls;
mod via;
mod wire;
// The workers of a core.
pub mod worker;

pub use link::LinkCounts;

/// One request as it goes over the wire, complete but for the fields that differ per attempt.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Where it goes.
    pub origin: Rc<Origin>,
    /// Request line and fields, byte for byte, in their order, case and repetition, each with its CRLF; without the
    /// empty line that ends a head. Its framing field, if any, is a `Content-Length` equal to the length of `body`.
    pub head: Bytes,
    /// Sent as `X-Dispatcher-Message-Id`.
    pub message_id: MessageId,
    /// Sent as `X-Dispatcher-Attempt`.
    pub attempt: u32,
    /// Sent as `X-Dispatcher-Maybe-Duplicate: true`. A second copy within one attempt carries it in any case.
    pub maybe_duplicate: bool,
    /// The body.
    pub body: Bytes,
    /// Bound on the whole attempt: DNS, connect, TLS, send and the full response head. Queueing is excluded.
    pub timeout: Millis,
}

/// Sends requests. Two implementations: the hyper client, and the simulator's origins.
pub trait Transport: 'static {
    /// Makes one attempt. Cannot fail: every end is an [`Attempt`].
    ///
    /// Cancel-safe in that a dropped future closes its connection; whether the origin got the request is then unknown.
    fn send(&self, outbound: Outbound) -> impl Future<Output = Attempt>;
}
