//! What records say: payloads to bytes and back. The layout is specified in the module doc of [`super`].

use super::layout::{u16_at, u32_at, u64_at};
use super::record::Kind;
use crate::disk::aligned::AlignedBuf;
use crate::limits::HISTORY_MAX;
use crate::message::{OriginRef, Scheme};
use crate::schedule::attempt::Failure;
use crate::time::{Millis, UnixMillis};

/// One failed attempt, as a message's history keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// When it ended.
    pub at: UnixMillis,
    /// Its class.
    pub failure: Failure,
    /// The status, if an answer came.
    pub status: Option<u16>,
}

/// Failed attempts so far and what they mean for the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// When the next attempt may start; zero: at once.
    pub due: UnixMillis,
    /// Attempts made.
    pub attempts: u16,
    /// An earlier attempt may have reached the origin.
    pub maybe_duplicate: bool,
    /// Every failed attempt, oldest first.
    pub history: Vec<Tried>,
}

impl Progress {
    /// Reads the payload of a `Retry` record that was applied before, so that it is known to decode.
    pub fn of_applied_retry(payload: &[u8]) -> Self {
        match Payload::decode(Kind::Retry, payload) {
            Ok(Payload::Retry(progress)) => progress,
            other => panic!("{other:?} was decoded as a retry when it was applied"),
        }
    }
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted<'a> {
    /// When it was accepted.
    pub accepted: UnixMillis,
    /// Bound on each attempt; `None`: the default at the time of the attempt.
    pub timeout: Option<Millis>,
    /// Where it goes.
    pub origin: OriginRef<'a>,
    /// Written again: relocated, or taken over from another shard. Nobody waits for a 202.
    pub again: bool,
    /// Not the default only where the message was written again.
    pub progress: Progress,
    /// Outbound head without the fields that differ per attempt and without the final empty line.
    pub head: &'a [u8],
    /// Body.
    pub body: &'a [u8],
}

/// Why a dead letter is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death<'a> {
    /// When it was given up.
    pub at: UnixMillis,
    /// Why.
    pub failure: Failure,
    /// The last status, if an answer came.
    pub status: Option<u16>,
    /// The start of the last answer's body.
    pub answer: &'a [u8],
}

/// A record's payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'a> {
    /// The message.
    Accepted(Accepted<'a>),
    /// An attempt failed and another will follow.
    Retry(Progress),
    /// Delivered, at this time, with this status, on this attempt.
    Delivered {
        /// When.
        at: UnixMillis,
        /// Attempts made, this one included.
        attempts: u16,
        /// The final status.
        status: u16,
    },
    /// Given up at this time for this reason; the message is in the dead letter log.
    DeadLettered {
        /// When.
        at: UnixMillis,
        /// Why.
        failure: Failure,
    },
    /// The message and why it is dead.
    DeadLetter(Accepted<'a>, Death<'a>),
    /// Found damaged at this time.
    Lost {
        /// When.
        at: UnixMillis,
    },
}

/// An intact payload that this version cannot read: a newer version wrote it, or a defect of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// A tagged field of a newer version.
    #[error("field tag {0} is unknown to this version")]
    Tag(u16),
    /// A code of a newer version.
    #[error("code {0} of a failure is unknown to this version")]
    Failure(u8),
    /// A scheme of a newer version.
    #[error("code {0} of a scheme is unknown to this version")]
    Scheme(u8),
    /// A flag of a newer version.
    #[error("flags {0:#04x} are unknown to this version")]
    Flags(u8),
    /// Lengths that do not add up behind a matching checksum.
    #[error("its lengths do not add up")]
    Lengths,
}

const TAG_HISTORY: u16 = 1;
const TAG_DEATH: u16 = 2;
const TAG_ANSWER: u16 = 3;
/// One failed attempt in a history, in bytes.
pub const TRIED_BYTES: usize = 12;
const FIXED_BYTES: usize = 40;
const MAYBE_DUPLICATE: u8 = 1;
const AGAIN: u8 = 2;

impl Payload<'_> {
    /// The kind of record that carries it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Accepted(_) => Kind::Accepted,
            Self::Retry(_) => Kind::Retry,
            Self::Delivered { .. } => Kind::Delivered,
            Self::DeadLettered { .. } => Kind::DeadLettered,
            Self::DeadLetter(..) => Kind::DeadLetter,
            Self::Lost { .. } => Kind::Lost,
        }
    }

    /// Whether nobody was promised anything yet: a new message, and no outcome nor what is written again.
    pub const fn is_refusable(&self) -> bool {
        matches!(self, Self::Accepted(Accepted { again: false, .. }))
    }

    /// Bytes that [`Payload::encode`] appends, or a few more.
    pub fn bytes(&self) -> usize {
        const FIELD_BYTES: usize = 8;
        let history = |progress: &Progress| FIELD_BYTES + progress.history.len() * TRIED_BYTES;
        let message = |message: &Accepted<'_>| {
            let variable = message.origin.host.len() + message.head.len() + message.body.len();
            FIXED_BYTES + variable + history(&message.progress)
        };
        match self {
            Self::Accepted(accepted) => message(accepted),
            Self::DeadLetter(letter, death) => message(letter) + 2 * FIELD_BYTES + TRIED_BYTES + death.answer.len(),
            Self::Retry(progress) => FIXED_BYTES + history(progress),
            Self::Delivered { .. } | Self::DeadLettered { .. } | Self::Lost { .. } => FIXED_BYTES,
        }
    }

    /// Appends the payload's bytes.
    pub fn encode(&self, out: &mut AlignedBuf) {
        match self {
            Self::Accepted(message) => encode_message(message, None, out),
            Self::DeadLetter(message, death) => encode_message(message, Some(death), out),
            Self::Retry(progress) => {
                out.extend_from_slice(&progress.due.0.to_le_bytes());
                out.extend_from_slice(&progress.attempts.to_le_bytes());
                out.extend_from_slice(&[maybe_duplicate(progress), 0, 0, 0, 0, 0]);
                encode_history(&progress.history, out);
            }
            Self::Delivered { at, attempts, status } => {
                out.extend_from_slice(&at.0.to_le_bytes());
                out.extend_from_slice(&attempts.to_le_bytes());
                out.extend_from_slice(&status.to_le_bytes());
            }
            Self::DeadLettered { at, failure } => {
                out.extend_from_slice(&at.0.to_le_bytes());
                out.extend_from_slice(&[failure.code(), 0, 0, 0]);
            }
            Self::Lost { at } => out.extend_from_slice(&at.0.to_le_bytes()),
        }
    }
}

impl<'a> Payload<'a> {
    /// Reads the payload of a record of this kind whose checksum matched. What no encoding gives is refused.
    pub fn decode(kind: Kind, bytes: &'a [u8]) -> Result<Self, PayloadError> {
        let exactly = |needed| if bytes.len() == needed { Ok(()) } else { Err(PayloadError::Lengths) };
        match kind {
            Kind::Accepted => decode_message(bytes, &[TAG_HISTORY]).map(|(message, _)| Self::Accepted(message)),
            Kind::DeadLetter => {
                let (message, fields) = decode_message(bytes, &[TAG_HISTORY, TAG_DEATH, TAG_ANSWER])?;
                let ((at, failure, status), answer) = fields.death.zip(fields.answer).ok_or(PayloadError::Lengths)?;
                Ok(Self::DeadLetter(message, Death { at, failure, status, answer }))
            }
            Kind::Retry => {
                let (fixed, fields) = bytes.split_at_checked(16).ok_or(PayloadError::Lengths)?;
                zeros(&fixed[11..])?;
                Ok(Self::Retry(Progress {
                    due: UnixMillis(u64_at(fixed, 0)),
                    attempts: u16_at(fixed, 8),
                    maybe_duplicate: decode_flags(fixed[10], MAYBE_DUPLICATE)? & MAYBE_DUPLICATE != 0,
                    history: Fields::decode(fields, &[TAG_HISTORY])?.history,
                }))
            }
            Kind::Delivered => {
                exactly(12)?;
                let (attempts, status) = (u16_at(bytes, 8), u16_at(bytes, 10));
                Ok(Self::Delivered { at: UnixMillis(u64_at(bytes, 0)), attempts, status })
            }
            Kind::DeadLettered => {
                exactly(12)?;
                zeros(&bytes[9..])?;
                Ok(Self::DeadLettered { at: UnixMillis(u64_at(bytes, 0)), failure: decode_failure(bytes[8])? })
            }
            Kind::Lost => exactly(8).map(|()| Self::Lost { at: UnixMillis(u64_at(bytes, 0)) }),
        }
    }
}

const fn maybe_duplicate(progress: &Progress) -> u8 {
    if progress.maybe_duplicate { MAYBE_DUPLICATE } else { 0 }
}

fn decode_flags(flags: u8, known: u8) -> Result<u8, PayloadError> {
    if flags & !known == 0 { Ok(flags) } else { Err(PayloadError::Flags(flags)) }
}

/// Bytes that no version up to this one uses.
fn zeros(bytes: &[u8]) -> Result<(), PayloadError> {
    bytes.iter().try_for_each(|byte| decode_flags(*byte, 0).map(drop))
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("messages are bounded by SEGMENT_BYTES_MAX")
}

fn encode_message(message: &Accepted<'_>, death: Option<&Death<'_>>, out: &mut AlignedBuf) {
    let start = out.len();
    let host = message.origin.host.as_bytes();
    let host_bytes = u16::try_from(host.len()).expect("host names are at most 253 bytes");
    let timeout_ms = message.timeout.map_or(0, |timeout| u32::try_from(timeout.0).unwrap_or(u32::MAX));
    out.extend_from_slice(&message.accepted.0.to_le_bytes());
    out.extend_from_slice(&message.progress.due.0.to_le_bytes());
    out.extend_from_slice(&timeout_ms.to_le_bytes());
    out.extend_from_slice(&message.progress.attempts.to_le_bytes());
    let scheme = match message.origin.scheme {
        Scheme::Http => 0,
        Scheme::Https => 1,
    };
    let again = if message.again { AGAIN } else { 0 };
    out.extend_from_slice(&[maybe_duplicate(&message.progress) | again, scheme]);
    out.extend_from_slice(&message.origin.port.to_le_bytes());
    out.extend_from_slice(&host_bytes.to_le_bytes());
    out.extend_from_slice(&length(message.head.len()).to_le_bytes());
    out.extend_from_slice(&length(message.body.len()).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    assert_eq!(out.len() - start, FIXED_BYTES, "the fixed part has its documented size");
    out.extend_from_slice(host);
    let fields_start = out.len();
    encode_history(&message.progress.history, out);
    if let Some(death) = death {
        encode_death(death, out);
    }
    let fields_bytes = length(out.len() - fields_start);
    out[start + 36..start + 40].copy_from_slice(&fields_bytes.to_le_bytes());
    out.extend_from_slice(message.head);
    out.extend_from_slice(message.body);
}

fn encode_history(history: &[Tried], out: &mut AlignedBuf) {
    assert!(history.len() <= HISTORY_MAX, "a history is bounded by RETRIES_MAX");
    if history.is_empty() {
        return;
    }
    out.extend_from_slice(&TAG_HISTORY.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&length(history.len() * TRIED_BYTES).to_le_bytes());
    for tried in history {
        out.extend_from_slice(&tried.at.0.to_le_bytes());
        out.extend_from_slice(&[tried.failure.code(), 0]);
        out.extend_from_slice(&tried.status.unwrap_or(0).to_le_bytes());
    }
}

fn encode_death(death: &Death<'_>, out: &mut AlignedBuf) {
    out.extend_from_slice(&TAG_DEATH.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&length(TRIED_BYTES).to_le_bytes());
    out.extend_from_slice(&death.at.0.to_le_bytes());
    out.extend_from_slice(&[death.failure.code(), 0]);
    out.extend_from_slice(&death.status.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&TAG_ANSWER.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&length(death.answer.len()).to_le_bytes());
    out.extend_from_slice(death.answer);
}

#[derive(Default)]
struct Fields<'a> {
    history: Vec<Tried>,
    death: Option<(UnixMillis, Failure, Option<u16>)>,
    answer: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    /// `tags`: those that the record may have, each once and in this order.
    fn decode(mut bytes: &'a [u8], mut tags: &[u16]) -> Result<Self, PayloadError> {
        let mut fields = Self::default();
        while !bytes.is_empty() {
            let header: &[u8; 8] = bytes.first_chunk().ok_or(PayloadError::Lengths)?;
            let (tag, field_bytes) = (u16_at(header, 0), u32_at(header, 4) as usize);
            let value = bytes.get(8..8 + field_bytes).ok_or(PayloadError::Lengths)?;
            let known = tags.iter().position(|known| *known == tag).ok_or(PayloadError::Tag(tag))?;
            tags = &tags[known + 1..];
            zeros(&header[2..4])?;
            match tag {
                TAG_HISTORY => fields.history = decode_history(value)?,
                TAG_DEATH => fields.death = Some(decode_tried(value.try_into().map_err(|_| PayloadError::Lengths)?)?),
                TAG_ANSWER => fields.answer = Some(value),
                unknown => return Err(PayloadError::Tag(unknown)),
            }
            bytes = &bytes[8 + field_bytes..];
        }
        Ok(fields)
    }
}

fn decode_message<'a>(bytes: &'a [u8], tags: &[u16]) -> Result<(Accepted<'a>, Fields<'a>), PayloadError> {
    if bytes.len() < FIXED_BYTES {
        return Err(PayloadError::Lengths);
    }
    let (fixed, rest) = bytes.split_at(FIXED_BYTES);
    let scheme = match fixed[23] {
        0 => Scheme::Http,
        1 => Scheme::Https,
        unknown => return Err(PayloadError::Scheme(unknown)),
    };
    let (host, rest) = rest.split_at_checked(u16_at(fixed, 26).into()).ok_or(PayloadError::Lengths)?;
    let (fields, rest) = rest.split_at_checked(u32_at(fixed, 36) as usize).ok_or(PayloadError::Lengths)?;
    let (head, body) = rest.split_at_checked(u32_at(fixed, 28) as usize).ok_or(PayloadError::Lengths)?;
    if body.len() != u32_at(fixed, 32) as usize {
        return Err(PayloadError::Lengths);
    }
    let mut fields = Fields::decode(fields, tags)?;
    let flags = decode_flags(fixed[22], MAYBE_DUPLICATE | AGAIN)?;
    let message = Accepted {
        accepted: UnixMillis(u64_at(fixed, 0)),
        timeout: Some(Millis(u32_at(fixed, 16).into())).filter(|timeout| timeout.0 > 0),
        origin: OriginRef {
            scheme,
            host: std::str::from_utf8(host).map_err(|_| PayloadError::Lengths)?,
            port: u16_at(fixed, 24),
        },
        again: flags & AGAIN != 0,
        progress: Progress {
            due: UnixMillis(u64_at(fixed, 8)),
            attempts: u16_at(fixed, 20),
            maybe_duplicate: flags & MAYBE_DUPLICATE != 0,
            history: std::mem::take(&mut fields.history),
        },
        head,
        body,
    };
    Ok((message, fields))
}

fn decode_history(bytes: &[u8]) -> Result<Vec<Tried>, PayloadError> {
    let (tries, rest) = bytes.as_chunks::<TRIED_BYTES>();
    if !rest.is_empty() || tries.is_empty() || tries.len() > HISTORY_MAX {
        return Err(PayloadError::Lengths);
    }
    tries.iter().map(|tried| decode_tried(tried).map(|(at, failure, status)| Tried { at, failure, status })).collect()
}

fn decode_tried(bytes: &[u8; TRIED_BYTES]) -> Result<(UnixMillis, Failure, Option<u16>), PayloadError> {
    zeros(&bytes[9..10])?;
    let status = Some(u16_at(bytes, 10)).filter(|status| *status > 0);
    Ok((UnixMillis(u64_at(bytes, 0)), decode_failure(bytes[8])?, status))
}

fn decode_failure(code: u8) -> Result<Failure, PayloadError> {
    Failure::from_code(code).ok_or(PayloadError::Failure(code))
}

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
