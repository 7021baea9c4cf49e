//! *When*, and *to whom next*: knows ids, origins and times, never bytes or files.

/// How one try at a delivery ended.
pub mod attempt;
