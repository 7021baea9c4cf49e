//! The nouns: [`MessageId`], [`Origin`], and the [`Draft`] of a message that is not durable yet.

// Large tables.
mod chunks;
// Ids.
mod id;
// Destinations.
mod origin;
// Sets of statuses.
mod statuses;
// Where messages may be sent.
pub mod policy;

pub use chunks::Chunks;
pub use id::{IdSource, MessageId, Xorshift};
pub use origin::{Origin, OriginError, OriginRef, Scheme};
pub use statuses::Statuses;

use std::borrow::Cow;

use crate::time::Millis;

/// A request target for who did not ask for what may be secret: that there is a query, and not which.
pub fn without_query(target: &str) -> Cow<'_, str> {
    target.split_once('?').map_or(Cow::Borrowed(target), |(path, _)| Cow::Owned(format!("{path}?…")))
}

/// Number of a live message within its shard: an index into tables, reused when the message has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

impl Slot {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A message as the ingress hands it over: borrowed from the connection's buffers, copied once, into the batch.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// Where it is to go.
    pub origin: &'a Origin,
    /// `X-Dispatcher-Timeout`; `None` means `DEFAULT_TIMEOUT` as it is when an attempt starts.
    pub timeout: Option<Millis>,
    /// The outbound head as it will be sent, without the fields that differ per attempt and without the final empty
    /// line: request line, then fields, each with its CRLF.
    pub head: &'a [u8],
    /// The decoded body, in order.
    pub body: &'a [u8],
}
