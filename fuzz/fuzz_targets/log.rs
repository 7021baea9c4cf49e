//! A log of several segments that something happened to, through survey, replay and fold.
#![no_main]

#[allow(dead_code, reason = "each target uses its part")]
mod damaged;

use damaged::choices::Choices;
use damaged::written::Written;
use damaged::{harms, verdict};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut choices = Choices::Bytes(input);
    let written = Written::new(&mut choices, 3);
    let image = harms::harmed(&written, &mut choices);
    verdict::check(&written, &image);
});
