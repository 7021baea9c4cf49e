//! Tables by sequence number that grow without a pause.
//!
//! A `Vec` that doubles copies and clears megabytes at once, and the milliseconds that takes would stand in the percentiles of
//! whoever shares the core. So the room is reserved at once (untouched, it costs nothing) and taken in small steps.

/// Entries by which a table grows.
const STEP: usize = 4096;

/// Makes `table` have entry `at`; `expected` entries at most are foreseen, more are taken as well.
pub fn grow(table: &mut Vec<u64>, at: usize, expected: usize) {
    if table.capacity() == 0 {
        table.reserve_exact(expected);
    }
    if table.len() <= at {
        table.resize((at + 1).next_multiple_of(STEP), 0);
    }
}
