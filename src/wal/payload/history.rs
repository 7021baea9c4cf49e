//! What was tried, as bytes: the entries of a history, and the one entry that says why a dead letter is dead.

use super::{PayloadError, decode_flags};
use crate::disk::aligned::AlignedBuf;
use crate::limits::HISTORY_MAX;
use crate::schedule::attempt::Failure;
use crate::time::UnixMillis;
use crate::wal::layout::{u16_at, u64_at};

/// One failed attempt, as a message's history keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// When it ended.
    pub at: UnixMillis,
    /// Its class.
    pub failure: Failure,
    /// The status, if an answer came.
    pub status: Option<u16>,
    /// It met an open circuit, and does not count against `RETRYLIMIT`.
    pub spared: bool,
}

const SPARED: u8 = 1;

/// One failed attempt in a history, in bytes.
pub const TRIED_BYTES: usize = 12;

impl Tried {
    /// Appends its [`TRIED_BYTES`].
    pub(super) fn encode(self, out: &mut AlignedBuf) {
        out.extend_from_slice(&self.at.0.to_le_bytes());
        out.extend_from_slice(&[self.failure.code(), self.spared.into()]);
        out.extend_from_slice(&self.status.unwrap_or(0).to_le_bytes());
    }

    /// Reads one.
    pub(super) fn decode(bytes: &[u8; TRIED_BYTES]) -> Result<Self, PayloadError> {
        let status = Some(u16_at(bytes, 10)).filter(|status| *status > 0);
        let spared = decode_flags(bytes[9], SPARED)? == SPARED;
        Ok(Self { at: UnixMillis(u64_at(bytes, 0)), failure: decode_failure(bytes[8])?, status, spared })
    }
}

/// Reads the value of a history field, which is never empty.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Tried>, PayloadError> {
    let (tries, rest) = bytes.as_chunks::<TRIED_BYTES>();
    if !rest.is_empty() || tries.is_empty() || tries.len() > HISTORY_MAX {
        return Err(PayloadError::Lengths);
    }
    tries.iter().map(Tried::decode).collect()
}

/// Reads the code of a failure.
pub(super) fn decode_failure(code: u8) -> Result<Failure, PayloadError> {
    Failure::from_code(code).ok_or(PayloadError::Failure(code))
}
