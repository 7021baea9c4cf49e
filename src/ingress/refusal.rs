//! What follows from each reason for which a request is refused, and what the sender is told.

use std::borrow::Cow;

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

    /// Names the field at fault. The value is shown shortened, and not at all if it may be a secret.
    #[must_use]
    pub fn blame(mut self, header: &str, value: &[u8], expected: impl Into<Cow<'static, str>>) -> Self {
        const SECRET: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];
        let secret = SECRET.iter().any(|name| header.eq_ignore_ascii_case(name));
        let shown = &value[..value.len().min(SHOWN_VALUE_BYTES_MAX)];
        let value = (!secret).then(|| {
            let ellipsis = if shown.len() < value.len() { "…" } else { "" };
            format!("{}{ellipsis}", String::from_utf8_lossy(shown))
        });
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

    /// Whether the connection ends after it in any case.
    pub const fn closes(&self) -> bool {
        consequence(self.reason).closes
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
        }
    }
}
