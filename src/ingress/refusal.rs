//! What follows from each reason for which a request is refused, and what the sender is told.

use std::borrow::Cow;

use super::control_fields::{ControlField, ORIGIN, ORIGIN_ALIAS, TIMEOUT};
use crate::config::Secret;
use crate::limits::SHOWN_VALUE_BYTES_MAX;
use crate::metrics::RefusedReason;
use crate::shard::Refused;

/// What follows from a reason.
struct Consequence {
    status: u16,
    title: &'static str,
    /// The connection ends: where the next request begins is unknown, or there shall be none.
    closes: bool,
    /// When to come again: soon where a batch or a connection must end, later where an operator or a delivery must.
    retry_after_seconds: Option<u32>,
}

const fn consequence(reason: RefusedReason) -> Consequence {
    const CLOSES: bool = true;
    const STAYS: bool = false;
    let (status, title, closes, retry_after_seconds) = match reason {
        RefusedReason::Malformed => (400, "Malformed request", CLOSES, None),
        RefusedReason::ControlHeader => (400, "Wrong control header", STAYS, None),
        RefusedReason::Unauthorized => (401, "Not authorized", STAYS, None),
        RefusedReason::NoOrigin => (400, "No destination", STAYS, None),
        RefusedReason::Timeout => (408, "Request not complete in time", CLOSES, None),
        RefusedReason::BodyTooLarge => (413, "Message too large", STAYS, None),
        RefusedReason::TargetTooLong => (414, "Target too long", CLOSES, None),
        RefusedReason::HeadTooLarge => (431, "Head too large", CLOSES, None),
        RefusedReason::Unsupported => (501, "Not offered", CLOSES, None),
        RefusedReason::Version => (505, "HTTP version not supported", CLOSES, None),
        RefusedReason::Denied => (403, "Destination denied", STAYS, None),
        RefusedReason::Loop => (508, "Sent to itself", STAYS, None),
        RefusedReason::Memory => (503, "Out of memory for messages", STAYS, Some(1)),
        RefusedReason::Overload => (503, "Too many requests at once", STAYS, Some(1)),
        RefusedReason::Connections => (503, "Too many connections", CLOSES, Some(1)),
        RefusedReason::Draining => (503, "Stopping", CLOSES, Some(5)),
        RefusedReason::LogFailed => (503, "Log failure", STAYS, Some(5)),
        RefusedReason::LogFull => (507, "Out of log space", STAYS, Some(30)),
        RefusedReason::OriginShare => (503, "Destination's share of the log used up", STAYS, Some(30)),
    };
    Consequence { status, title, closes, retry_after_seconds }
}

/// The field at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub header: String,
    /// Its value, shortened; not if it may be a secret.
    pub value: Option<String>,
    /// What would have been right.
    pub expected: Cow<'static, str>,
}

/// A request's refusal: the reason, and for the sender what was wrong in words. Nothing has been stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    reason: RefusedReason,
    detail: Cow<'static, str>,
    fault: Option<Box<Fault>>,
}

impl Refusal {
    /// With a sentence for the sender.
    pub fn new(reason: RefusedReason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), fault: None }
    }

    /// Names the field at fault. Its value is shown only where none of it can be a secret, whatever a client put there:
    /// see `shown`.
    #[must_use]
    pub fn blame(mut self, header: &str, value: &[u8], expected: impl Into<Cow<'static, str>>) -> Self {
        let value = shown(header, value);
        self.fault = Some(Box::new(Fault { header: header.to_owned(), value, expected: expected.into() }));
        self
    }

    /// The reason, which is also the label of the metric and the type of the problem.
    pub const fn reason(&self) -> RefusedReason {
        self.reason
    }

    /// The status code.
    pub const fn status(&self) -> u16 {
        consequence(self.reason).status
    }

    /// The reason in a few words.
    pub const fn title(&self) -> &'static str {
        consequence(self.reason).title
    }

    /// When to come again, in seconds.
    pub const fn retry_after_seconds(&self) -> Option<u32> {
        consequence(self.reason).retry_after_seconds
    }

    /// What was wrong, for the sender.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The field at fault.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_deref()
    }

    /// What a client is to bring next time (RFC 9110 §11.6.1).
    pub const fn challenge(&self) -> Option<&'static str> {
        match self.status() {
            401 => Some("Bearer realm=\"dispatcher\""),
            _ => None,
        }
    }

    /// Whether the connection ends after it in any case.
    pub const fn closes(&self) -> bool {
        consequence(self.reason).closes
    }
}

/// What is shown of a value that is at fault, shortened. Of a field that only looks like one of ours, no value that may be a
/// token: its name may be a slip for the one that holds it. Of any other field nothing.
fn shown(header: &str, value: &[u8]) -> Option<String> {
    const AUTHORITY: [&str; 3] = ["Host", ORIGIN, ORIGIN_ALIAS];
    const PLAIN: [&str; 3] = ["Content-Length", "Transfer-Encoding", TIMEOUT];
    let is = |name: &&str| header.eq_ignore_ascii_case(name);
    let (before, bare, behind) = if AUTHORITY.iter().any(is) {
        without_secrets(value)
    } else if PLAIN.iter().any(is) || is_unknown_and_no_token(header, value) {
        ("", value, "")
    } else {
        return None;
    };
    let kept = &bare[..bare.len().min(SHOWN_VALUE_BYTES_MAX)];
    let behind = if kept.len() < bare.len() { HIDDEN } else { behind };
    Some(format!("{before}{}{behind}", String::from_utf8_lossy(kept)))
}

fn is_unknown_and_no_token(header: &str, value: &[u8]) -> bool {
    ControlField::of(header) == Some(ControlField::Unknown) && value.len() < Secret::TOKEN_BYTES_MIN
}

/// What stands for what is not shown.
const HIDDEN: &str = "…";

/// A value that should be an authority without what a URL may have besides: user information, a query, a fragment. What
/// stands for them, before it and behind.
fn without_secrets(value: &[u8]) -> (&'static str, &[u8], &'static str) {
    let query = value.iter().position(|byte| matches!(byte, b'?' | b'#'));
    let user = value.iter().rposition(|byte| *byte == b'@');
    match (user, query) {
        // A password with a question mark, or a query with an at sign.
        (Some(user), Some(query)) if user > query => (HIDDEN, b"", ""),
        _ => (
            user.map_or("", |_| HIDDEN),
            &value[user.unwrap_or(0)..query.map_or(value.len(), |query| query + 1)],
            query.map_or("", |_| HIDDEN),
        ),
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let (reason, detail) = match refused {
            Refused::LogFull => {
                (RefusedReason::LogFull, "The log has no space left for new messages; deliveries go on and free some.")
            }
            Refused::OriginShare => (
                RefusedReason::OriginShare,
                "Too much waits for this destination (ORIGIN_LOG_SHARE); other destinations are served.",
            ),
            Refused::Memory => (RefusedReason::Memory, "Too many messages are on their way to the disk (MAX_MEMORY)."),
            Refused::Draining => (RefusedReason::Draining, "This instance is stopping; try another."),
            Refused::LogFailed => {
                (RefusedReason::LogFailed, "The log cannot be written; the message was not accepted.")
            }
            Refused::TooLarge => {
                (RefusedReason::BodyTooLarge, "The message is longer than a log segment (SEGMENT_BYTES) can hold.")
            }
        };
        Self::new(reason, detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_refused_for_now_is_told_when_to_come_again() {
        for reason in RefusedReason::ALL {
            let refusal = Refusal::new(reason, "");
            assert_eq!(refusal.retry_after_seconds().is_some(), [503, 507].contains(&refusal.status()), "{reason:?}");
            assert_eq!(refusal.challenge().is_some(), refusal.status() == 401, "{reason:?}");
        }
    }

    #[test]
    fn no_value_is_shown_that_may_hold_a_secret() {
        for (header, value, expected) in [
            ("X-Dispatcher-Origin-Host", "b:0", Some("b:0")),
            ("x-dispatcher-origin-host", "user:pass@b", Some("…@b")),
            ("X-Dispatcher-Original-Host", "http://user:p@ss@b/x", Some("…@b/x")),
            ("X-Dispatcher-Origin-Host", "user:pa/ss@b", Some("…@b")),
            ("X-Dispatcher-Origin-Host", "https://b/x?key=pass", Some("https://b/x?…")),
            ("X-Dispatcher-Origin-Host", "b#pass", Some("b#…")),
            ("X-Dispatcher-Origin-Host", "user@b?pass", Some("…@b?…")),
            ("X-Dispatcher-Origin-Host", "user:p?ss@pass", Some("…")),
            ("X-Dispatcher-Origin-Host", "", Some("")),
            ("Host", "user:pass@b", Some("…@b")),
            ("X-Dispatcher-Timeout", "1y", Some("1y")),
            ("Content-Length", "+1", Some("+1")),
            ("transfer-encoding", "gzip,", Some("gzip,")),
            ("X-Dispatcher-Authorization", "Bearer pass", None),
            ("X-Dispatcher-Authorisation", "Bearer 0123456789abcdef", None),
            ("X-Dispatcher-Token", "0123456789abcdef", None),
            ("X-Dispatcher-Timeot", "10s", Some("10s")),
            ("Authorization", "Basic pass", None),
            ("PROXY-AUTHORIZATION", "pass", None),
            ("Cookie", "pass", None),
            ("set-cookie", "pass", None),
            ("X-Api-Key", "pass", None),
        ] {
            let refusal = Refusal::new(RefusedReason::ControlHeader, "").blame(header, value.as_bytes(), "");
            assert_eq!(refusal.fault().and_then(|fault| fault.value.as_deref()), expected, "{header}: {value}");
        }
    }
}
