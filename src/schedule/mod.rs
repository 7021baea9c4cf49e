//! *When*, and *to whom next*: knows slots, origins and times, never bytes or files.

// How one try at a delivery ended.
pub mod attempt;
// How long to wait after a failure, or whether to give up.
pub mod backoff;
// How a core is told of turns.
pub mod bell;
// Whether an origin may be tried.
pub mod breaker;
// Which origins the metrics tell apart.
pub mod busiest;
// Due times in 40 bits.
mod due;
// An origin as all cores share it.
pub mod gate;
// Recovered messages whose end may follow.
mod held;
// One lane per origin.
mod lanes;
// Lists through one table of nodes.
pub mod links;
// A message's place in the schedule.
pub mod node;
// Whose turn it is.
pub mod scheduler;
// Delayed messages by due time.
pub mod wheel;
