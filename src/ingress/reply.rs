//! Everything we answer: the 202, interim answers, and the closed set of refusals as problem+json (RFC 9457). Pure.

use std::borrow::Cow;

use serde::Serialize;

use crate::message::MessageId;
use crate::metrics::RefusedReason;
use crate::shard::Refused;

/// Bytes of an offending value that are shown back.
const VALUE_SHOWN_MAX: usize = 128;

/// The interim answer that lets a client send its body (RFC 9110 §10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What happens to the connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// HTTP/1.1: kept without a word.
    Keep,
    /// HTTP/1.0 that asked for it: kept, and said so.
    KeepSaid,
    /// Closed.
    Close,
}

impl Persistence {
    const fn field(self) -> &'static str {
        match self {
            Self::Keep => "",
            Self::KeepSaid => "Connection: keep-alive\r\n",
            Self::Close => "Connection: close\r\n",
        }
    }
}

/// The header field at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its name.
    pub header: &'static str,
    /// Its value, shortened.
    pub value: String,
    /// What it may be.
    pub expected: Cow<'static, str>,
}

/// A request that is not taken, and why. Nothing has been stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// Why, for the metric.
    pub reason: RefusedReason,
    /// Whether what follows on the connection cannot be trusted.
    pub close: bool,
    title: &'static str,
    detail: Cow<'static, str>,
    fault: Option<Fault>,
    retry_after_s: Option<u32>,
}

const fn refusal(status: u16, reason: RefusedReason, title: &'static str, detail: &'static str) -> Refusal {
    let close = matches!(reason, RefusedReason::Malformed | RefusedReason::TooLarge | RefusedReason::Timeout);
    Refusal { status, reason, close, title, detail: Cow::Borrowed(detail), fault: None, retry_after_s: None }
}

impl Refusal {
    /// 400 and close: framing or syntax that RFC 9112 forbids; where the next request would start is anybody's guess.
    pub const fn malformed(detail: &'static str) -> Self {
        refusal(400, RefusedReason::Malformed, "Malformed request", detail)
    }

    /// 400: a control header is wrong.
    pub fn control_header(header: &'static str, value: &[u8], expected: impl Into<Cow<'static, str>>) -> Self {
        let value = String::from_utf8_lossy(&value[..value.len().min(VALUE_SHOWN_MAX)]).into_owned();
        let detail = "A control header has a value that cannot be used; nothing was stored";
        let fault = Some(Fault { header, value, expected: expected.into() });
        Self { fault, ..refusal(400, RefusedReason::ControlHeader, "Bad control header", detail) }
    }

    /// 400: neither data nor one of our own paths. Shows a command that would have worked.
    pub fn no_origin(method: &str, target: &str, own_port: u16) -> Self {
        let target = if target.starts_with('/') { target } else { "/" };
        let shown: String = target.chars().take(VALUE_SHOWN_MAX).filter(|c| !matches!(c, '\'' | '\\')).collect();
        let detail = format!(
            "The request names no destination. This would have worked: \
             curl -X {method} -H 'X-Dispatcher-Origin-Host: destination.example' 'http://localhost:{own_port}{shown}'"
        );
        Self {
            detail: detail.into(),
            fault: Some(Fault {
                header: "X-Dispatcher-Origin-Host",
                value: String::new(),
                expected: "host, host:port, http://host[:port] or https://host[:port]".into(),
            }),
            ..refusal(400, RefusedReason::ControlHeader, "No destination", "")
        }
    }

    /// 408 and close.
    pub const fn timeout(detail: &'static str) -> Self {
        refusal(408, RefusedReason::Timeout, "Request not complete in time", detail)
    }

    /// 413 and close.
    pub fn body_too_large(body_bytes_max: u64) -> Self {
        let detail = format!("The body is larger than {body_bytes_max} bytes (MAX_BODY)").into();
        Self { detail, ..refusal(413, RefusedReason::TooLarge, "Body too large", "") }
    }

    /// 414 and close.
    pub const fn target_too_long() -> Self {
        refusal(414, RefusedReason::TooLarge, "Target too long", "The request target is longer than 8192 bytes")
    }

    /// 431 and close.
    pub const fn head_too_large() -> Self {
        let detail = "The head is larger than MAX_HEAD, or has more than 256 fields";
        refusal(431, RefusedReason::TooLarge, "Head too large", detail)
    }

    /// 417: an expectation other than 100-continue (RFC 9110 §10.1.1).
    pub const fn expectation() -> Self {
        refusal(417, RefusedReason::Unsupported, "Unknown expectation", "Only `Expect: 100-continue` is understood")
    }

    /// 501 and close: what follows may not be HTTP.
    pub fn unsupported(detail: &'static str) -> Self {
        Self { close: true, ..refusal(501, RefusedReason::Unsupported, "Not implemented", detail) }
    }

    /// 505 and close.
    pub fn version() -> Self {
        let detail = "HTTP/1.1 and HTTP/1.0 are understood";
        Self { close: true, ..refusal(505, RefusedReason::Unsupported, "HTTP version not supported", detail) }
    }

    /// 508: the destination is this daemon.
    pub const fn to_itself() -> Self {
        refusal(508, RefusedReason::Loop, "Sent to itself", "The destination is this listener: it would never end")
    }

    /// 503: as many connections as may be.
    pub fn too_many_connections() -> Self {
        let detail = "MAX_CONNECTIONS are open";
        Self {
            close: true,
            retry_after_s: Some(1),
            ..refusal(503, RefusedReason::Overload, "Too many connections", detail)
        }
    }

    /// 503 or 507: the shard does not take it now.
    pub fn by_shard(refused: Refused) -> Self {
        let (status, reason, title, detail, retry_after_s) = match refused {
            Refused::LogFull => (
                507,
                RefusedReason::LogFull,
                "Out of log space",
                "Deliveries go on and free space; try again later",
                10,
            ),
            Refused::Memory => (503, RefusedReason::Overload, "Overloaded", "MAX_MEMORY is used up; try again soon", 1),
            Refused::Draining => {
                (503, RefusedReason::Draining, "Stopping", "This instance is going down; try another", 1)
            }
            Refused::LogFailed => (
                503,
                RefusedReason::LogFailed,
                "Log failure",
                "The message could not be made durable; it was not accepted",
                5,
            ),
            Refused::TooLarge => {
                (413, RefusedReason::TooLarge, "Message too large", "The message does not fit a log file", 0)
            }
        };
        let retry_after_s = if retry_after_s > 0 { Some(retry_after_s) } else { None };
        Self { retry_after_s, ..refusal(status, reason, title, detail) }
    }

    /// Appends the answer. `head_only`: the request was a HEAD, which gets no body (RFC 9110 §9.3.2).
    pub fn write(&self, out: &mut Vec<u8>, date: &str, persistence: Persistence, head_only: bool) {
        let body = self.problem();
        let retry_after = self.retry_after_s.map(|seconds| format!("Retry-After: {seconds}\r\n")).unwrap_or_default();
        let allow_body = if head_only { &[][..] } else { body.as_bytes() };
        let head = format!(
            "HTTP/1.1 {} {}\r\nDate: {date}\r\nContent-Type: application/problem+json\r\n{retry_after}{}Content-Length: {}\r\n\r\n",
            self.status,
            self.title,
            persistence.field(),
            body.len(),
        );
        out.extend_from_slice(head.as_bytes());
        out.extend_from_slice(allow_body);
    }

    fn problem(&self) -> String {
        #[derive(Serialize)]
        struct Problem<'a> {
            r#type: String,
            title: &'a str,
            status: u16,
            detail: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            header: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            value: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            expected: Option<&'a str>,
        }
        let fault = self.fault.as_ref();
        let problem = Problem {
            r#type: format!("urn:dispatcher:problem:{}", self.reason.as_str()),
            title: self.title,
            status: self.status,
            detail: &self.detail,
            header: fault.map(|fault| fault.header),
            value: fault.map(|fault| &*fault.value),
            expected: fault.map(|fault| &*fault.expected),
        };
        let mut json = serde_json::to_string(&problem).expect("strings and numbers serialise");
        json.push('\n');
        json
    }
}

/// Appends the 202 of a durable message.
pub fn accepted(out: &mut Vec<u8>, id: MessageId, date: &str, persistence: Persistence) {
    out.extend_from_slice(b"HTTP/1.1 202 Accepted\r\nDate: ");
    out.extend_from_slice(date.as_bytes());
    out.extend_from_slice(b"\r\nX-Dispatcher-Message-Id: ");
    out.extend_from_slice(&id.text());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(persistence.field().as_bytes());
    out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
}

/// Appends an answer to one of our own paths.
pub fn control(
    out: &mut Vec<u8>,
    status: &str,
    content_type: &str,
    body: &str,
    date: &str,
    persistence: Persistence,
    head_only: bool,
) {
    let head = format!(
        "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Type: {content_type}\r\n{}Content-Length: {}\r\n\r\n",
        persistence.field(),
        body.len(),
    );
    out.extend_from_slice(head.as_bytes());
    if !head_only {
        out.extend_from_slice(body.as_bytes());
    }
}
