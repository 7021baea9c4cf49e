//! Why a connection does not get as far as its first request: the ways in which a TLS handshake ends without success.

use std::io;

/// How a handshake ended without success.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer left, or the read side was shut down, before the peer's first byte; or either side was, before the
    /// handshake was over.
    #[error("nothing came")]
    Silent,
    /// The peer speaks, but not TLS: what is written to it now goes out as it is.
    #[error("the peer does not speak TLS")]
    InClear,
    /// It failed, and the peer was told why as far as TLS can say it.
    #[error("the handshake failed ({})", failure.as_str())]
    Failed {
        /// By whose fault.
        failure: HandshakeFailure,
        /// What TLS or the socket said.
        source: io::Error,
    },
}

/// Why a handshake failed: the closed set behind the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// It was not complete in time.
    Timeout,
    /// The client showed no certificate, or one that is not trusted.
    ClientCertificate,
    /// The client does not trust ours.
    ServerCertificate,
    /// The client went away in the middle of it.
    Ended,
    /// No version, cipher or protocol in common, or no TLS behind the first byte.
    Protocol,
}

impl HandshakeFailure {
    /// All of them, in the order of their indices.
    pub const ALL: [Self; 5] =
        [Self::Timeout, Self::ClientCertificate, Self::ServerCertificate, Self::Ended, Self::Protocol];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::ClientCertificate => "client_certificate",
            Self::ServerCertificate => "server_certificate",
            Self::Ended => "ended",
            Self::Protocol => "protocol",
        }
    }
}
