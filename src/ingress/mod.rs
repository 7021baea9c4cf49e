//! Bytes in, 202 out.

// Reading, writing, answering.
mod answers;
// Bodies, decoded in place.
pub mod body;
// One connection.
pub mod connection;
// Who is connected, and for how long.
pub mod connections;
// Fields: which go on, which are ours, which end here.
pub mod fields;
// Heads to requests.
pub mod head;
// Listening and accepting.
pub mod listener;
// Everything we answer.
pub mod reply;
// The end of a head, and what may not stand in it.
pub mod scan;
