//! Bytes in, 202 out.

/// Bodies, decoded in place.
pub mod body;
/// Fields: which go on, which are ours, which end here.
pub mod fields;
/// Heads to requests.
pub mod head;
/// Everything we answer.
pub mod reply;
/// The end of a head, and what may not stand in it.
pub mod scan;
