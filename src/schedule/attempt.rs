//! What came of one try at a delivery, and the closed set of ways in which it can fail.

use std::time::Duration;

use bytes::Bytes;

/// Why an attempt failed. One closed set for metrics, logs, records on disk and dead letters.
///
/// The discriminant is the code on disk: never renumber, only add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Failure {
    /// A redirect; never followed.
    Http3xx = 1,
    /// The origin refused the request.
    Http4xx = 2,
    /// The origin failed.
    Http5xx = 3,
    /// No connection within `CONNECT_TIMEOUT`.
    ConnectTimeout = 4,
    /// Connected, but no complete answer within the attempt's timeout.
    ResponseTimeout = 5,
    /// Connection refused.
    Refused = 6,
    /// The connection broke.
    Reset = 7,
    /// The name did not resolve.
    Dns = 8,
    /// The handshake or the certificate failed.
    Tls = 9,
    /// No route, or another local network error.
    Unreachable = 10,
    /// The answer was not HTTP, or broke a bound.
    Protocol = 11,
    /// The address is denied by policy.
    Denied = 12,
    /// An operator ended the message.
    Cancelled = 13,
    /// The message outlived `MESSAGE_TTL`.
    Expired = 14,
}

impl Failure {
    /// All of them, in the order of their codes.
    pub const ALL: [Self; 14] = [
        Self::Http3xx,
        Self::Http4xx,
        Self::Http5xx,
        Self::ConnectTimeout,
        Self::ResponseTimeout,
        Self::Refused,
        Self::Reset,
        Self::Dns,
        Self::Tls,
        Self::Unreachable,
        Self::Protocol,
        Self::Denied,
        Self::Cancelled,
        Self::Expired,
    ];

    /// The name in metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http3xx => "http_3xx",
            Self::Http4xx => "http_4xx",
            Self::Http5xx => "http_5xx",
            Self::ConnectTimeout => "connect_timeout",
            Self::ResponseTimeout => "response_timeout",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Unreachable => "unreachable",
            Self::Protocol => "protocol",
            Self::Denied => "denied",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The code on disk.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The failure with this code on disk.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.code() == code)
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A final 2xx with a complete head.
    Delivered,
    /// Anything else.
    Failed(Failure),
}

/// Judges a final status (RFC 9110 §15): 2xx is delivered, everything else a failure of its class.
pub const fn outcome_of_status(status: u16) -> Outcome {
    match status {
        200..=299 => Outcome::Delivered,
        300..=399 => Outcome::Failed(Failure::Http3xx),
        400..=499 => Outcome::Failed(Failure::Http4xx),
        500..=599 => Outcome::Failed(Failure::Http5xx),
        _ => Outcome::Failed(Failure::Protocol),
    }
}

/// One try at a delivery: every way it can end is one of these.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Delivered, or the class of the failure.
    pub outcome: Outcome,
    /// The final status, if one came.
    pub status: Option<u16>,
    /// Whether bytes of the request may have reached the origin without a full answer coming back: the next attempt
    /// may then be a duplicate.
    pub maybe_received: bool,
    /// From the first step to the end of the answer.
    pub elapsed: Duration,
    /// The start of a failed answer's body, at most [`crate::limits::ANSWER_BYTES_MAX`] bytes.
    pub answer: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_survives_its_code_and_has_a_name_of_its_own() {
        for failure in Failure::ALL {
            assert_eq!(Failure::from_code(failure.code()), Some(failure));
            assert_eq!(Failure::ALL.iter().filter(|other| other.as_str() == failure.as_str()).count(), 1);
        }
        assert_eq!(Failure::from_code(0), None);
        assert_eq!(Failure::from_code(15), None);
    }

    #[test]
    fn only_a_2xx_delivers() {
        for status in 0..=1000 {
            let delivered = outcome_of_status(status) == Outcome::Delivered;
            assert_eq!(delivered, (200..300).contains(&status), "{status}");
        }
    }
}
