//! What records say: payloads to bytes and back. The layout is specified in the module doc of [`super`].

// What was tried.
mod history;
// The message itself.
mod message;

use super::layout::{u16_at, u64_at};
use super::record::Kind;
use crate::disk::aligned::AlignedBuf;
use crate::schedule::attempt::Failure;
use crate::time::UnixMillis;
use history::decode_failure;
pub use history::{TRIED_BYTES, Tried};
pub use message::{Accepted, Death};
use message::{FIXED_BYTES, Fields, REPLAYS_BYTES, TAG_ANSWER, TAG_DEATH, TAG_HISTORY, TAG_REPLAYS};

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
    /// A dead letter no more: an operator deleted it, or it was accepted again for delivery.
    Removed {
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

const MAYBE_DUPLICATE: u8 = 1;

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
            Self::Removed { .. } => Kind::Removed,
        }
    }

    /// Whether nobody was promised anything yet: a new message, and no outcome, replay, nor what is written again.
    pub const fn is_refusable(&self) -> bool {
        matches!(self, Self::Accepted(Accepted { again: false, replays: 0, .. }))
    }

    /// Whether somebody may be waiting until it is durable. For the end of an attempt nobody does.
    pub const fn is_awaited(&self) -> bool {
        !matches!(self, Self::Retry(_) | Self::Delivered { .. } | Self::DeadLettered { .. })
    }

    /// Bytes that [`Payload::encode`] appends, or a few more.
    pub fn bytes(&self) -> usize {
        const FIELD_BYTES: usize = 8;
        let history = |progress: &Progress| FIELD_BYTES + progress.history.len() * TRIED_BYTES;
        let message = |message: &Accepted<'_>| {
            let variable = message.origin.host.len() + message.head.len() + message.body.len();
            FIXED_BYTES + variable + history(&message.progress) + REPLAYS_BYTES
        };
        match self {
            Self::Accepted(accepted) => message(accepted),
            Self::DeadLetter(letter, death) => message(letter) + 2 * FIELD_BYTES + TRIED_BYTES + death.answer.len(),
            Self::Retry(progress) => FIXED_BYTES + history(progress),
            Self::Delivered { .. } | Self::DeadLettered { .. } | Self::Lost { .. } | Self::Removed { .. } => {
                FIXED_BYTES
            }
        }
    }

    /// Appends the payload's bytes.
    pub fn encode(&self, out: &mut AlignedBuf) {
        match self {
            Self::Accepted(message) => message::encode(message, None, out),
            Self::DeadLetter(message, death) => message::encode(message, Some(death), out),
            Self::Retry(progress) => {
                out.extend_from_slice(&progress.due.0.to_le_bytes());
                out.extend_from_slice(&progress.attempts.to_le_bytes());
                out.extend_from_slice(&[maybe_duplicate(progress), 0, 0, 0, 0, 0]);
                message::encode_history(&progress.history, out);
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
            Self::Lost { at } | Self::Removed { at } => out.extend_from_slice(&at.0.to_le_bytes()),
        }
    }
}

impl<'a> Payload<'a> {
    /// Reads the payload of a record of this kind whose checksum matched. What no encoding gives is refused.
    pub fn decode(kind: Kind, bytes: &'a [u8]) -> Result<Self, PayloadError> {
        let exactly = |needed| if bytes.len() == needed { Ok(()) } else { Err(PayloadError::Lengths) };
        match kind {
            Kind::Accepted => {
                message::decode(bytes, &[TAG_HISTORY, TAG_REPLAYS]).map(|(message, _)| Self::Accepted(message))
            }
            Kind::DeadLetter => {
                let (message, fields) = message::decode(bytes, &[TAG_HISTORY, TAG_DEATH, TAG_ANSWER, TAG_REPLAYS])?;
                let (Tried { at, failure, status, .. }, answer) =
                    fields.death.zip(fields.answer).ok_or(PayloadError::Lengths)?;
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
            Kind::Removed => exactly(8).map(|()| Self::Removed { at: UnixMillis(u64_at(bytes, 0)) }),
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

#[cfg(test)]
#[path = "payload_tests.rs"]
mod tests;
