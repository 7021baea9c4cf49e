//! A connection on which one request can be sent now, in either version of HTTP, and the body of the answer on it.

use std::time::Instant;

use bytes::BytesMut;
use h2::RecvStream;
use http::{HeaderMap, Response};
use hyper::body::Incoming;

use super::Outbound;
use super::http2::Stream;
use super::link::{Broken, Link};
use super::payload::Payload;

/// What a request goes through.
pub(super) enum Via {
    /// A connection of its own, of HTTP/1.1.
    Link(Box<Link>),
    /// A stream of HTTP/2 on a connection that others use too.
    Stream(Stream),
}

/// An answer's body, which is still to be read.
pub(super) enum Body {
    /// On a link.
    Link(Incoming),
    /// On a stream.
    Stream(RecvStream),
}

impl Via {
    /// When the socket below was connected.
    pub(super) fn opened_at(&self) -> Instant {
        match self {
            Self::Link(link) => link.opened_at(),
            Self::Stream(stream) => stream.opened_at(),
        }
    }

    /// Sends a request and waits for the complete head of its final answer. Not cancel-safe: see the two.
    pub(super) async fn exchange(
        &mut self,
        outbound: &Outbound,
        maybe_duplicate: bool,
    ) -> Result<Response<Body>, Broken> {
        match self {
            Self::Link(link) => {
                let payload = Payload::new(outbound, maybe_duplicate);
                link.exchange(payload).await.map(|response| response.map(Body::Link))
            }
            Self::Stream(stream) => {
                stream.exchange(outbound, maybe_duplicate).await.map(|response| response.map(Body::Stream))
            }
        }
    }

    /// Whether bytes of the request may have reached the origin.
    pub(super) fn sent(&self) -> bool {
        match self {
            Self::Link(link) => link.sent(),
            Self::Stream(stream) => stream.sent(),
        }
    }

    /// Tells it that the attempt ended for lack of time. It must not be used again.
    pub(super) fn timed_out(&self) {
        match self {
            // Nobody else uses it.
            Self::Link(_) => {}
            Self::Stream(stream) => stream.timed_out(),
        }
    }

    /// Takes the fields of the answer back: the next one on a link uses their memory.
    pub(super) fn recycle(&mut self, fields: HeaderMap) {
        if let Self::Link(link) = self {
            link.recycle(fields);
        }
    }

    /// Reads an answer's body to its end or to a limit; the first `keep` bytes go to `kept`. Returns the link if it can
    /// be used again. Cancel-safe: `kept` has what was read so far.
    pub(super) async fn drain(self, body: Body, keep: usize, kept: &mut BytesMut) -> Option<Box<Link>> {
        match (self, body) {
            (Self::Link(mut link), Body::Link(mut body)) => {
                let at_end = link.drain(&mut body, keep, kept).await;
                drop(body);
                if at_end && link.is_open_while_idle() { Some(link) } else { None }
            }
            (Self::Stream(mut stream), Body::Stream(mut body)) => {
                stream.drain(&mut body, keep, kept).await;
                None
            }
            (Self::Link(_), Body::Stream(_)) | (Self::Stream(_), Body::Link(_)) => {
                unreachable!("an answer is read where its request was sent")
            }
        }
    }
}
