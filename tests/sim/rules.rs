//! Promises that hold only from a certain change on: a switch each, so that the change turns it on in one line.

/// After a restart, the first attempts at the messages that wait for one origin come in the order of acceptance.
pub const RECOVERED_ARE_IN_ORDER: bool = true;

/// The log is bounded by what is alive in it. Off until survivors of a mostly dead segment are written again.
pub const SPACE_IS_BOUNDED_BY_WHAT_LIVES: bool = false;

/// The constant of that bound, in segments per log: the active one, the next one, and some to recycle.
pub const SEGMENTS_BEYOND_LIVE_MAX: u64 = 6;
