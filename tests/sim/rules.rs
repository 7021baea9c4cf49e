//! Promises that hold only from a certain change on: a switch each, so that the change turns it on in one line.

/// A message that is adopted stands in two logs for a while, and that shows in nothing: not if a crash cuts the adoption
/// short and its messages are delivered before it is gone on with, nor if the adopted shard is run again before that.
/// Until then such a message may be delivered by both; it must not be lost, damaged, or lack its mark.
pub const AN_ADOPTION_MOVES_EACH_MESSAGE_ONCE: bool = false;

/// A disk that is full and stays so is started on, and drained. Not promised: a start takes a segment, and a reserve that
/// many starts have used up is not there for the next one.
pub const A_FULL_DISK_DRAINS: bool = false;
