//! What comes before a connection's first request: the TLS handshake, in its time, and what follows if it fails.

use tokio::time::timeout;

use super::Ingress;
use super::refusal::Refusal;
use super::watch::Watched;
use crate::disk::Disk;
use crate::metrics::RefusedReason;
use crate::net::Stream;
use crate::net::handshake::{HandshakeError, HandshakeFailure};

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Requests can be read; at once if there is no handshake.
    Done,
    /// The peer speaks plain HTTP, or anything else that is not TLS, and can be told so in the clear.
    InClear,
    /// It failed; the peer was told why, and should get to read it.
    Failed,
    /// The connection is of no more use.
    Over,
}

/// Waits for the handshake, from now on for as long as a head may take: a client begins by itself. Until its first byte is
/// there the connection counts as idle, so that those who only connect make room for others.
pub async fn wait<S: Stream, D: Disk>(watched: &Watched<S>, ingress: &Ingress<S, D>) -> Handshake {
    let begun = || watched.enter_handshake();
    let failure = match timeout(ingress.settings.head_timeout.duration(), watched.stream.handshake(begun)).await {
        Ok(Ok(())) => return Handshake::Done,
        Ok(Err(HandshakeError::InClear)) => return Handshake::InClear,
        Ok(Err(HandshakeError::Silent)) => return Handshake::Over,
        Ok(Err(HandshakeError::Failed { failure, source })) => {
            tracing::debug!(reason = failure.as_str(), error = %source, "a TLS handshake failed");
            failure
        }
        Err(_) => HandshakeFailure::Timeout,
    };
    ingress.shard.metrics().handshake_failed(failure);
    match failure {
        HandshakeFailure::Timeout | HandshakeFailure::Ended => Handshake::Over,
        HandshakeFailure::ClientCertificate | HandshakeFailure::ServerCertificate | HandshakeFailure::Protocol => {
            Handshake::Failed
        }
    }
}

/// To a client that speaks plain HTTP.
pub fn speaks_tls() -> Refusal {
    Refusal::new(RefusedReason::Malformed, "This port speaks TLS: use https:// instead of http://.")
}
