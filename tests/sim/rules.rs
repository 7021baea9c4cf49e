//! Promises that hold only from a certain change on: a switch each, so that the change turns it on in one line.

/// An adoption that a crash cuts short shows in nothing, even if the adopted shard is run again before it is gone on
/// with, or if deliveries had to make room for it. Until then such a message may be delivered by both shards; it must not
/// be lost, damaged, or lack its mark.
pub const AN_ADOPTED_SHARD_MAY_COME_BACK: bool = false;

/// A disk that is full and stays so is started on, and drained. Not promised: a start takes a segment, and a reserve that
/// many starts have used up is not there for the next one.
pub const A_FULL_DISK_DRAINS: bool = false;
