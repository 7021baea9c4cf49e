//! Bounds on questions about dead letters, and on replays of them.

/// Slots of the index that are looked at in one go for dead letters: 0.1 ms or so, between which a core does its other work.
pub const LETTER_SLOTS_MAX: usize = 8 << 10;
/// Dead letters read at the same time, and their bytes, unless one alone is longer.
pub const LETTER_READS_MAX: usize = 64;
/// See [`LETTER_READS_MAX`].
pub const LETTER_READ_BYTES_MAX: u64 = 4 << 20;
/// Dead letters that are read for one page of a list. A filter may leave a page of it empty, and the list goes on.
pub const LETTER_PAGE_READS_MAX: usize = 16 << 10;
/// Dead letters on a page.
pub const LETTER_PAGE_MAX: usize = 1000;
/// Ids that one request may name.
pub const LETTER_IDS_MAX: usize = 1000;
/// Origins that are told apart when dead letters are counted; the others are counted together.
pub const LETTER_ORIGINS_MAX: usize = 1000;
/// Questions about dead letters that a core answers at the same time.
pub const LETTER_QUESTIONS_MAX: usize = 8;

/// Replays that a daemon runs at the same time, and those that have ended and are still told of.
pub const REPLAYS_RUNNING_MAX: usize = 8;
/// See [`REPLAYS_RUNNING_MAX`].
pub const REPLAYS_ENDED_MAX: usize = 32;
/// Messages of one origin that wait for their turn on a core, at which a replay adds no more: so few that new ones wait
/// no longer for it than a moment, and enough that an origin never waits for the log.
pub const REPLAY_READY_MAX: u32 = 256;
/// Dead letters that a replay sets aside because their origins take no more for now, before it stops to look for those of
/// other origins: as long as any goes on.
pub const REPLAY_ASIDE_MAX: usize = 4096;
/// How long a replay that cannot go on waits before it looks again, in milliseconds, at first and at most.
pub const REPLAY_WAIT_MS_MIN: u64 = 1;
/// See [`REPLAY_WAIT_MS_MIN`].
pub const REPLAY_WAIT_MS_MAX: u64 = 50;
