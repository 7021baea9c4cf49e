//! Promises that hold only from a certain change on: a switch each, so that the change turns it on in one line.

/// An adoption that a crash cuts short does no harm: neither if its messages are delivered before it is gone on with, nor
/// if the adopted shard is run again before that. Off until then: nothing fails while one shard adopts another.
pub const ADOPTIONS_MAY_BE_CUT_SHORT: bool = false;

/// A disk that is full and stays so is started on, and drained.
pub const A_FULL_DISK_DRAINS: bool = false;
