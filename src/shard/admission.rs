//! Whether one more message is taken: by space, by memory, and by what already waits for its origin.

use super::Shard;
use crate::disk::Disk;
use crate::message::OriginRef;
use crate::wal::log::Need;

/// Why a message is not taken. Nothing has been stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No log space.
    LogFull,
    /// What waits for the origin fills its share of the log.
    OriginShare,
    /// Memory for messages on their way to the disk is used up, or that for those which wait.
    Memory,
    /// The daemon is stopping.
    Draining,
    /// The log cannot be written.
    LogFailed,
    /// Longer than a segment can hold.
    TooLarge,
}

impl<D: Disk> Shard<D> {
    /// Notes how many bytes the log may grow to: `ORIGIN_LOG_SHARE` is a share of that.
    pub fn set_log_bytes_max(&self, bytes: u64) {
        self.log_bytes_max.set(bytes);
    }

    /// Decides before a body is read whether one more message of `message_bytes` for `origin` leaves the rest of the log
    /// to others.
    pub fn admit_origin(&self, origin: OriginRef<'_>, message_bytes: usize) -> Result<(), Refused> {
        let state = self.state.borrow();
        let bytes_max = share(self.log_bytes_max.get(), self.settings.origin_share);
        let bytes = message_bytes as u64;
        // Mostly all that lives is less than one origin's share, and nothing needs to be looked up.
        if state.index().live_bytes() + bytes <= bytes_max || state.origin_bytes(origin) + bytes <= bytes_max {
            return Ok(());
        }
        Err(Refused::OriginShare)
    }

    /// Decides before a body is read whether a message of `message_bytes` (head and body) can be taken, if there is memory
    /// for what comes of it: that is asked for as it comes.
    pub fn admit(&self, message_bytes: usize) -> Result<(), Refused> {
        if self.draining() {
            return Err(Refused::Draining);
        }
        if message_bytes > self.settings.message_bytes_max {
            return Err(Refused::TooLarge);
        }
        if self.log.is_failing() {
            return Err(Refused::LogFailed);
        }
        if !self.log.has_room(Need::Message, message_bytes) {
            return Err(Refused::LogFull);
        }
        if !self.memory.index_has_room() {
            return Err(Refused::Memory);
        }
        Ok(())
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a size: never negative, and to a few bytes is exact enough"
)]
const fn share(bytes: u64, share: f64) -> u64 {
    (bytes as f64 * share) as u64
}
