//! Bytes out, an [`Attempt`] back.

use std::rc::Rc;

use bytes::Bytes;

use crate::message::Origin;
use crate::schedule::attempt::Attempt;
use crate::time::Millis;

/// One request as it goes over the wire, complete but for the choice of a connection.
#[derive(Clone, Debug)]
pub struct Outbound {
    /// Where it goes.
    pub origin: Rc<Origin>,
    /// The whole head, byte for byte: request line, fields in their order, case and repetition, and the empty line
    /// that ends it. Its framing field, if any, is a `Content-Length` equal to the length of `body`.
    pub head: Bytes,
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
