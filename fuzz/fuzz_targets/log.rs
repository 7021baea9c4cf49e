//! A log of several segments that something happened to, through survey, replay and fold.
#![no_main]

#[path = "../../tests/damaged_logs/choices.rs"]
#[allow(dead_code, reason = "shared with tests/damaged_logs.rs, which uses the rest")]
mod choices;
#[path = "../../tests/damaged_logs/harms.rs"]
#[allow(dead_code, reason = "shared with tests/damaged_logs.rs, which uses the rest")]
mod harms;
#[path = "../../tests/damaged_logs/memory.rs"]
#[allow(dead_code, reason = "shared with tests/damaged_logs.rs, which uses the rest")]
mod memory;
#[path = "../../tests/damaged_logs/scanned.rs"]
mod scanned;
#[path = "../../tests/damaged_logs/verdict.rs"]
#[allow(dead_code, reason = "shared with tests/damaged_logs.rs, which uses the rest")]
mod verdict;
#[path = "../../tests/damaged_logs/written.rs"]
#[allow(dead_code, reason = "shared with tests/damaged_logs.rs, which uses the rest")]
mod written;

use choices::Choices;
use libfuzzer_sys::fuzz_target;
use written::Written;

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::Bytes(input);
    let written = Written::new(&mut choices, 3);
    let image = harms::harmed(&written, &mut choices);
    verdict::check(&written, &image);
});
