//! The damaged logs of tests/damaged_logs.rs, whose code the targets share.

#[path = "../../../tests/damaged_logs/choices.rs"]
#[allow(dead_code, reason = "shared with tests/damaged_logs.rs, which uses the rest")]
pub mod choices;
#[path = "../../../tests/damaged_logs/harms.rs"]
#[allow(dead_code, reason = "shared with tests/damaged_logs.rs, which uses the rest")]
pub mod harms;
#[path = "../../../tests/damaged_logs/memory.rs"]
#[allow(dead_code, reason = "shared with tests/damaged_logs.rs, which uses the rest")]
pub mod memory;
#[path = "../../../tests/damaged_logs/scanned.rs"]
pub mod scanned;
#[path = "../../../tests/damaged_logs/verdict.rs"]
#[allow(dead_code, reason = "shared with tests/damaged_logs.rs, which uses the rest")]
pub mod verdict;
#[path = "../../../tests/damaged_logs/written.rs"]
#[allow(dead_code, reason = "shared with tests/damaged_logs.rs, which uses the rest")]
pub mod written;
