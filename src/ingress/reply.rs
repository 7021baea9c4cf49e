//! Everything a connection can answer, as bytes: 202, refusals as RFC 9457 problems, documents.

use serde::Serialize;

use super::refusal::Refusal;
use crate::message::MessageId;
use crate::time::UnixMillis;

/// What an answer says about the connection's future (RFC 9112 §9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It stays open, as HTTP/1.1 has it unless said otherwise.
    Open,
    /// It stays open because an HTTP/1.0 client asked for that.
    OpenOnRequest,
    /// It ends after this answer.
    Close,
}

impl Persistence {
    const fn field(self) -> &'static [u8] {
        match self {
            Self::Open => b"",
            Self::OpenOnRequest => b"Connection: keep-alive\r\n",
            Self::Close => b"Connection: close\r\n",
        }
    }
}

/// An IMF-fixdate (RFC 9110 §5.6.7), formatted once a second, copied into every answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date([u8; 29]);

impl Date {
    /// The second that contains `now`.
    pub fn at(now: UnixMillis) -> Self {
        // 9999-12-31T23:59:59Z, past which the format has no room for the year.
        const LAST_SECOND: u64 = 253_402_300_799;
        let since = std::time::Duration::from_secs((now.0 / 1000).min(LAST_SECOND));
        let text = httpdate::fmt_http_date(std::time::UNIX_EPOCH + since);
        let mut date = [b' '; 29];
        date.copy_from_slice(text.as_bytes());
        Self(date)
    }
}

/// The interim answer to `Expect: 100-continue` (RFC 9110 §10.1.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Media type of a refusal (RFC 9457 §3).
const PROBLEM_TYPE: &str = "application/problem+json";

/// Appends the 202 for the message `id`, which must be durable.
pub fn push_accepted(out: &mut Vec<u8>, date: &Date, id: MessageId, persistence: Persistence) {
    out.extend_from_slice(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nDate: ");
    out.extend_from_slice(&date.0);
    out.extend_from_slice(b"\r\nX-Dispatcher-Message-Id: ");
    out.extend_from_slice(&id.text());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(persistence.field());
    out.extend_from_slice(b"\r\n");
}

/// Appends a refusal. `head_only`: the request was a HEAD, so the answer has no content (RFC 9110 §9.3.2).
pub fn push_refusal(out: &mut Vec<u8>, date: &Date, refusal: &Refusal, persistence: Persistence, head_only: bool) {
    let status = refusal.status();
    let fault = refusal.fault();
    let problem = Problem {
        // The same word as the metric's label.
        kind: format!("urn:dispatcher:problem:{}", refusal.reason().as_str()),
        title: refusal.title(),
        status,
        detail: refusal.detail(),
        header: fault.map(|fault| fault.header.as_str()),
        value: fault.and_then(|fault| fault.value.as_deref()),
        expected: fault.map(|fault| fault.expected.as_ref()),
    };
    let mut content = serde_json::to_vec(&problem).expect("strings and a number always have a JSON form");
    content.push(b'\n');
    let answer = Document { status, media_type: PROBLEM_TYPE, content: &content };
    push_answer(out, date, &answer, Some(refusal), persistence, head_only);
}

/// An answer with content.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// The status code.
    pub status: u16,
    /// What the content is.
    pub media_type: &'a str,
    /// The content.
    pub content: &'a [u8],
}

/// Appends a document. `head_only` as in [`push_refusal`].
pub fn push_document(
    out: &mut Vec<u8>,
    date: &Date,
    document: &Document<'_>,
    persistence: Persistence,
    head_only: bool,
) {
    push_answer(out, date, document, None, persistence, head_only);
}

fn push_answer(
    out: &mut Vec<u8>,
    date: &Date,
    answer: &Document<'_>,
    refusal: Option<&Refusal>,
    persistence: Persistence,
    head_only: bool,
) {
    let Document { status, media_type, content } = answer;
    let (phrase, length) = (phrase(*status), content.len());
    let head =
        format!("HTTP/1.1 {status} {phrase}\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\nDate: ");
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(&date.0);
    out.extend_from_slice(b"\r\n");
    if let Some(challenge) = refusal.and_then(Refusal::challenge) {
        out.extend_from_slice(format!("WWW-Authenticate: {challenge}\r\n").as_bytes());
    }
    if let Some(seconds) = refusal.and_then(Refusal::retry_after_seconds) {
        out.extend_from_slice(format!("Retry-After: {seconds}\r\n").as_bytes());
    }
    out.extend_from_slice(persistence.field());
    out.extend_from_slice(b"\r\n");
    if !head_only {
        out.extend_from_slice(content);
    }
}

/// What a status code is called (RFC 9110 §15, RFC 6585 §5, RFC 4918 §11.5, RFC 5842 §7.2).
const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        508 => "Loop Detected",
        // A phrase may be empty (RFC 9112 §4), and no client may go by it.
        _ => "",
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingress::control_fields;
    use crate::metrics::RefusedReason;
    use crate::shard::Refused;

    const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn date() -> Date {
        Date::at(UnixMillis(784_111_777_500))
    }

    fn text_of(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_accepted_message_is_answered_with_its_id_and_nothing_else() {
        let id = MessageId::parse("01890a5d-ac96-774b-bcce-b302099a8057").unwrap();
        let answer = text_of(|out| push_accepted(out, &date(), id, Persistence::Open));
        let expected = format!(
            "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nDate: {DATE}\r\nX-Dispatcher-Message-Id: {id}\r\n\r\n"
        );
        assert_eq!(answer, expected);
    }

    #[test]
    fn a_refusal_is_a_problem_that_names_the_field_at_fault() {
        let refusal = Refusal::new(RefusedReason::ControlHeader, "Its timeout is \"wrong\".").blame(
            "X-Dispatcher-Timeout",
            "\"\u{1}é".as_bytes(),
            "milliseconds",
        );
        let answer = text_of(|out| push_refusal(out, &date(), &refusal, Persistence::Close, false));
        let (head, content) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\nContent-Type: application/problem+json\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", content.len())), "{head}");
        assert!(head.contains(&format!("\r\nDate: {DATE}\r\n")) && head.ends_with("\r\nConnection: close"), "{head}");
        let problem: serde_json::Value = serde_json::from_str(content).unwrap();
        let expected = serde_json::json!({
            "type": "urn:dispatcher:problem:control_header", "title": "Wrong control header", "status": 400,
            "detail": "Its timeout is \"wrong\".", "header": "X-Dispatcher-Timeout", "value": "\"\u{1}é",
            "expected": "milliseconds"
        });
        assert_eq!(problem, expected);
    }

    #[test]
    fn a_head_request_gets_the_length_but_no_content() {
        let refusal = Refusal::from(Refused::LogFull);
        let answer = text_of(|out| push_refusal(out, &date(), &refusal, Persistence::OpenOnRequest, true));
        assert!(answer.starts_with("HTTP/1.1 507 Insufficient Storage\r\n") && answer.ends_with("\r\n\r\n"));
        assert!(answer.contains("\r\nRetry-After: 30\r\n") && answer.contains("\r\nConnection: keep-alive\r\n"));
        assert!(!answer.contains("\r\nContent-Length: 0\r\n"), "{answer}");
    }

    #[test]
    fn every_status_has_its_phrase() {
        for reason in RefusedReason::ALL {
            assert_ne!(phrase(Refusal::new(reason, "").status()), "", "{reason:?}");
        }
    }

    #[test]
    fn a_stranger_is_told_what_to_bring() {
        let refusal = control_fields::unauthorized();
        let answer = text_of(|out| push_refusal(out, &date(), &refusal, Persistence::Open, false));
        assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
        assert!(answer.contains("\r\nWWW-Authenticate: Bearer realm=\"dispatcher\"\r\n"), "{answer}");
        let problem: serde_json::Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(problem["type"], "urn:dispatcher:problem:unauthorized");
        assert_eq!(problem["header"], "X-Dispatcher-Authorization");
        assert!(problem.get("value").is_none(), "{problem}");
    }

    #[test]
    fn long_values_are_cut() {
        let refusal = Refusal::new(RefusedReason::Malformed, "no").blame("Host", &[b'a'; 10_000], "less");
        let answer = text_of(|out| push_refusal(out, &date(), &refusal, Persistence::Close, false));
        assert!(answer.len() < 600 && answer.contains("aaa…\""), "{answer}");
    }
}
