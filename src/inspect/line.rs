//! A record as a JSON object: the fields of a line of `dispatcher log cat`.

use std::borrow::Cow;

use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};

use crate::message::without_query;
use crate::time::{Rfc3339, UnixMillis};
use crate::wal::payload::{Accepted, Death, Payload, Progress, Tried};
use crate::wal::record::Kind;
use crate::wal::recovery::Visit;

/// What is shown besides what every line has. Queries, values of header fields and bodies may be secret, so only on demand.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown {
    /// Heads, with the values of their fields, and queries.
    pub heads: bool,
    /// Bodies, and what origins answered.
    pub bodies: bool,
}

/// One line. A field that does not apply to a record, or says nothing, is left out.
#[derive(Debug, Default, Serialize)]
pub struct Line<'a> {
    shard: u32,
    segment: u32,
    offset: u32,
    bytes: u32,
    record: &'static str,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<Rfc3339>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u16>,
    #[serde(skip_serializing_if = "is_false")]
    maybe_duplicate: bool,
    #[serde(skip_serializing_if = "is_false")]
    again: bool,
    #[serde(skip_serializing_if = "is_zero")]
    replays: u16,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    history: Vec<Try>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_base64: Option<Base64<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<Base64<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<Base64<'a>>,
}

/// A failed attempt.
#[derive(Debug, Serialize)]
struct Try {
    at: Rfc3339,
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    /// It does not count against `RETRYLIMIT`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    spared: bool,
}

impl<'a> Line<'a> {
    /// Of a record of shard `shard`.
    pub fn new(shard: u32, visit: &Visit<'a>, shown: Shown) -> Self {
        let line = Self {
            shard,
            segment: visit.at.segment,
            offset: visit.at.offset,
            bytes: visit.at.bytes,
            record: record_name(visit.payload.kind()),
            id: visit.id.to_string(),
            at: time_of(&visit.payload).map(Rfc3339),
            ..Self::default()
        };
        match &visit.payload {
            Payload::Accepted(message) => line.message(message, shown),
            Payload::DeadLetter(message, death) => line.message(message, shown).death(death, shown),
            Payload::Retry(progress) => line.progress(progress),
            Payload::Delivered { attempts, status, .. } => {
                Self { attempts: Some(*attempts), status: Some(*status), ..line }
            }
            Payload::DeadLettered { failure, .. } => Self { class: Some(failure.as_str()), ..line },
            Payload::Lost { .. } | Payload::Removed { .. } => line,
        }
    }

    fn message(self, message: &Accepted<'a>, shown: Shown) -> Self {
        let (method, target) = request_line(message.head);
        let target = String::from_utf8_lossy(target);
        let head = shown.heads.then(|| std::str::from_utf8(message.head));
        Self {
            origin: Some(message.origin.to_origin().to_string()),
            method: Some(String::from_utf8_lossy(method)),
            target: Some(if shown.heads { target } else { Cow::Owned(without_query(&target).into_owned()) }),
            timeout_ms: message.timeout.map(|timeout| timeout.0),
            again: message.again,
            replays: message.replays,
            head_bytes: Some(message.head.len()),
            body_bytes: Some(message.body.len()),
            head: head.and_then(Result::ok),
            head_base64: head.is_some_and(|head| head.is_err()).then_some(Base64(message.head)),
            body: shown.bodies.then_some(Base64(message.body)),
            ..self.progress(&message.progress)
        }
    }

    fn progress(self, progress: &Progress) -> Self {
        let tried = |Tried { at, failure, status, spared }: &Tried| Try {
            at: Rfc3339(*at),
            class: failure.as_str(),
            status: *status,
            spared: *spared,
        };
        Self {
            due: Some(Rfc3339(progress.due)).filter(|due| due.0.0 > 0),
            attempts: Some(progress.attempts),
            maybe_duplicate: progress.maybe_duplicate,
            history: progress.history.iter().map(tried).collect(),
            ..self
        }
    }

    fn death(self, death: &Death<'a>, shown: Shown) -> Self {
        Self {
            class: Some(death.failure.as_str()),
            status: death.status,
            answer_bytes: Some(death.answer.len()),
            answer: shown.bodies.then_some(Base64(death.answer)),
            ..self
        }
    }
}

/// The name of a kind of record.
pub const fn record_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Accepted => "accepted",
        Kind::Retry => "retry",
        Kind::Delivered => "delivered",
        Kind::DeadLettered => "dead_lettered",
        Kind::DeadLetter => "dead_letter",
        Kind::Lost => "lost",
        Kind::Removed => "removed",
    }
}

/// When that happened which a record tells of. A message that was written again was accepted when it was.
pub fn time_of(payload: &Payload<'_>) -> Option<UnixMillis> {
    match payload {
        Payload::Accepted(message) => Some(message.accepted),
        Payload::Retry(progress) => progress.history.last().map(|tried| tried.at),
        Payload::DeadLetter(_, Death { at, .. })
        | Payload::Delivered { at, .. }
        | Payload::DeadLettered { at, .. }
        | Payload::Lost { at }
        | Payload::Removed { at } => Some(*at),
    }
}

/// Method and target of a stored head.
fn request_line(head: &[u8]) -> (&[u8], &[u8]) {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ');
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u16) -> bool {
    *number == 0
}

/// Bytes as base64 (RFC 4648 §4), encoded as they are written.
#[derive(Clone, Copy, Debug)]
struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(self.0, &STANDARD))
    }
}
