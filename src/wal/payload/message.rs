//! A message as bytes: its fixed part, its tagged fields, head and body.

use super::history::{self, TRIED_BYTES, Tried};
use super::{MAYBE_DUPLICATE, PayloadError, Progress, decode_flags, maybe_duplicate, zeros};
use crate::disk::aligned::AlignedBuf;
use crate::limits::HISTORY_MAX;
use crate::message::{OriginRef, Scheme};
use crate::schedule::attempt::Failure;
use crate::time::{Millis, UnixMillis};
use crate::wal::layout::{u16_at, u32_at, u64_at};

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
    /// How often it was a dead letter and then accepted again, on behalf of an operator.
    pub replays: u16,
    /// Not the default only where the message was written again.
    pub progress: Progress,
    /// Outbound head without the fields that differ per attempt and without the final empty line.
    pub head: &'a [u8],
    /// Body.
    pub body: &'a [u8],
}

impl Accepted<'_> {
    /// Whether this is where a dead letter was accepted again: not where that was later written again.
    pub const fn is_replay(&self) -> bool {
        self.replays > 0 && !self.again
    }
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

pub(super) const TAG_HISTORY: u16 = 1;
pub(super) const TAG_DEATH: u16 = 2;
pub(super) const TAG_ANSWER: u16 = 3;
pub(super) const TAG_REPLAYS: u16 = 4;
/// The field that says how often a message was replayed, in bytes.
pub(super) const REPLAYS_BYTES: usize = 10;
/// Bytes of the part that every message has.
pub(super) const FIXED_BYTES: usize = 40;
const AGAIN: u8 = 2;

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("messages are bounded by SEGMENT_BYTES_MAX")
}

pub(super) fn encode(message: &Accepted<'_>, death: Option<&Death<'_>>, out: &mut AlignedBuf) {
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
    encode_replays(message.replays, out);
    let fields_bytes = length(out.len() - fields_start);
    out[start + 36..start + 40].copy_from_slice(&fields_bytes.to_le_bytes());
    out.extend_from_slice(message.head);
    out.extend_from_slice(message.body);
}

pub(super) fn encode_history(history: &[Tried], out: &mut AlignedBuf) {
    assert!(history.len() <= HISTORY_MAX, "a history is bounded by RETRIES_MAX");
    if history.is_empty() {
        return;
    }
    out.extend_from_slice(&TAG_HISTORY.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&length(history.len() * TRIED_BYTES).to_le_bytes());
    history.iter().for_each(|tried| tried.encode(out));
}

fn encode_death(death: &Death<'_>, out: &mut AlignedBuf) {
    out.extend_from_slice(&TAG_DEATH.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&length(TRIED_BYTES).to_le_bytes());
    Tried { at: death.at, failure: death.failure, status: death.status, spared: false }.encode(out);
    out.extend_from_slice(&TAG_ANSWER.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&length(death.answer.len()).to_le_bytes());
    out.extend_from_slice(death.answer);
}

/// Left out of most messages, which never were replayed.
fn encode_replays(replays: u16, out: &mut AlignedBuf) {
    if replays == 0 {
        return;
    }
    out.extend_from_slice(&TAG_REPLAYS.to_le_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&length(size_of::<u16>()).to_le_bytes());
    out.extend_from_slice(&replays.to_le_bytes());
}

fn decode_replays(value: &[u8]) -> Result<u16, PayloadError> {
    let replays = value.try_into().map(u16::from_le_bytes).map_err(|_| PayloadError::Lengths)?;
    // None is written as no field.
    if replays == 0 { Err(PayloadError::Lengths) } else { Ok(replays) }
}

/// Tagged fields, read.
#[derive(Default)]
pub(super) struct Fields<'a> {
    pub history: Vec<Tried>,
    pub death: Option<Tried>,
    pub answer: Option<&'a [u8]>,
    pub replays: u16,
}

impl<'a> Fields<'a> {
    /// `tags`: those that the record may have, each once and in this order.
    pub fn decode(mut bytes: &'a [u8], mut tags: &[u16]) -> Result<Self, PayloadError> {
        let mut fields = Self::default();
        while !bytes.is_empty() {
            let header: &[u8; 8] = bytes.first_chunk().ok_or(PayloadError::Lengths)?;
            let (tag, field_bytes) = (u16_at(header, 0), u32_at(header, 4) as usize);
            let value = bytes.get(8..8 + field_bytes).ok_or(PayloadError::Lengths)?;
            let known = tags.iter().position(|known| *known == tag).ok_or(PayloadError::Tag(tag))?;
            tags = &tags[known + 1..];
            zeros(&header[2..4])?;
            match tag {
                TAG_HISTORY => fields.history = history::decode(value)?,
                TAG_DEATH => fields.death = Some(decode_death(value)?),
                TAG_ANSWER => fields.answer = Some(value),
                TAG_REPLAYS => fields.replays = decode_replays(value)?,
                unknown => return Err(PayloadError::Tag(unknown)),
            }
            bytes = &bytes[8 + field_bytes..];
        }
        Ok(fields)
    }
}

/// A death counts in no other way than by its being there.
fn decode_death(value: &[u8]) -> Result<Tried, PayloadError> {
    let death = Tried::decode(value.try_into().map_err(|_| PayloadError::Lengths)?)?;
    if death.spared { Err(PayloadError::Flags(value[9])) } else { Ok(death) }
}

pub(super) fn decode<'a>(bytes: &'a [u8], tags: &[u16]) -> Result<(Accepted<'a>, Fields<'a>), PayloadError> {
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
        replays: fields.replays,
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
