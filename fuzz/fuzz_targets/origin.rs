//! Origins, timeouts and lists of destinations.
#![no_main]

#[path = "../../tests/untrusted/mod.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod untrusted;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| untrusted::origin::check(input));
