//! Promises that hold only from a certain change on: a switch each, so that the change turns it on in one line.

/// After a restart, the first attempts at the messages that wait for one origin come in the order of acceptance.
pub const RECOVERED_ARE_IN_ORDER: bool = true;

/// The log is bounded by what is alive in it.
pub const SPACE_IS_BOUNDED_BY_WHAT_LIVES: bool = true;

/// The constant of that bound, in segments: the active one, the next one, the reserve, two to recycle, three that are not
/// worth relocating for, and two on their way.
pub const SEGMENTS_BEYOND_LIVE_MAX: u64 = 10;
