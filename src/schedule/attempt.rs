//! What came of one try at a delivery, and the closed set of ways in which it can fail.

use std::time::Duration;

use bytes::Bytes;

use crate::time::{Millis, UnixMillis};

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
    /// It was not made: this machine had no descriptor or memory for a connection. Says nothing of the origin, and costs
    /// the message nothing.
    NotMade,
}

/// What an answer's `X-Dispatcher-Verdict` says: the origin's own judgement, whatever the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Delivered.
    Ok,
    /// To be tried again.
    Retry,
    /// Never to be tried again.
    Dead,
}

impl Verdict {
    /// Reads the value of the field: a word in any case. Anything else says nothing.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let words = [(&b"ok"[..], Self::Ok), (b"retry", Self::Retry), (b"dead", Self::Dead)];
        words.into_iter().find(|(word, _)| value.trim_ascii().eq_ignore_ascii_case(word)).map(|(_, verdict)| verdict)
    }
}

/// When an answer asks for the next attempt (`Retry-After`, RFC 9110 §10.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// After this long.
    Wait(Millis),
    /// At this time of the wall clock.
    At(UnixMillis),
}

/// Whether `Retry-After` is heeded on an answer with this status: where RFC 9110 §10.2.3, RFC 9110 §15.5.14 and RFC 6585
/// §4 give it a meaning.
pub const fn may_ask_to_wait(status: u16) -> bool {
    matches!(status, 300..=399 | 413 | 429 | 503)
}

/// What an answer says besides its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Advice {
    /// Overrides the status.
    pub verdict: Option<Verdict>,
    /// Lengthens the wait.
    pub retry_after: Option<RetryAfter>,
}

/// Judges a final answer: by its verdict, else by its status (RFC 9110 §15), of which 2xx is delivered and everything
/// else a failure of its class. A verdict against a 2xx is a failure of the class that it means.
pub const fn outcome_of_answer(status: u16, verdict: Option<Verdict>) -> Outcome {
    match (status, verdict) {
        (_, Some(Verdict::Ok)) | (200..=299, None) => Outcome::Delivered,
        (200..=299, Some(Verdict::Retry)) => Outcome::Failed(Failure::Http5xx),
        (200..=299, Some(Verdict::Dead)) => Outcome::Failed(Failure::Http4xx),
        (300..=399, _) => Outcome::Failed(Failure::Http3xx),
        (400..=499, _) => Outcome::Failed(Failure::Http4xx),
        (500..=599, _) => Outcome::Failed(Failure::Http5xx),
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
    /// What the answer says besides.
    pub advice: Advice,
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
    fn a_status_without_a_verdict_is_judged_by_its_class() {
        for status in 0..=1000 {
            let expected = match status / 100 {
                2 => Outcome::Delivered,
                3 => Outcome::Failed(Failure::Http3xx),
                4 => Outcome::Failed(Failure::Http4xx),
                5 => Outcome::Failed(Failure::Http5xx),
                _ => Outcome::Failed(Failure::Protocol),
            };
            assert_eq!(outcome_of_answer(status, None), expected, "{status}");
        }
    }

    #[test]
    fn a_verdict_overrides_every_status() {
        for status in 0..=1000 {
            assert_eq!(outcome_of_answer(status, Some(Verdict::Ok)), Outcome::Delivered);
            for verdict in [Verdict::Retry, Verdict::Dead] {
                let outcome = outcome_of_answer(status, Some(verdict));
                assert_ne!(outcome, Outcome::Delivered, "{status} {verdict:?}");
                if !(200..300).contains(&status) {
                    assert_eq!(outcome, outcome_of_answer(status, None), "{status} keeps its class");
                }
            }
        }
    }

    #[test]
    fn a_verdict_is_one_of_three_words() {
        for (value, verdict) in [
            (&b"ok"[..], Some(Verdict::Ok)),
            (b"OK", Some(Verdict::Ok)),
            (b" Retry\t", Some(Verdict::Retry)),
            (b"dead", Some(Verdict::Dead)),
            (b"", None),
            (b"okay", None),
            (b"dead, ok", None),
            (b"\xff", None),
        ] {
            assert_eq!(Verdict::parse(value), verdict, "{value:?}");
        }
    }
}
