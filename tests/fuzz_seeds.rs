//! The fuzz targets of the ingress and of the configuration over their seeds, and over seeded choices: so that neither
//! they nor what they found can rot.
//!
//! A failing input of choices is printed as `SEED=…`; `SEED=… cargo test --test fuzz_seeds` replays it. `INPUTS=1000000`
//! runs more of them.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world fails")]

#[path = "untrusted/mod.rs"]
mod untrusted;

use std::panic::AssertUnwindSafe;
use std::path::Path;

use untrusted::choices::Choices;
use untrusted::{chunked, config, connection, head, origin};

/// What a target does with an input.
type Check = fn(&[u8]);

/// The targets, by the name of their folder of seeds.
const TARGETS: [(&str, Check); 5] = [
    ("head", head::check),
    ("chunked", chunked::check),
    ("connection", connection::check),
    ("origin", origin::check),
    ("config", config::check),
];

/// Inputs of choices for each target, unless `INPUTS` says otherwise.
const INPUTS: u64 = 2_000;
const INPUT_BYTES_MAX: usize = 200;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn every_seed_of_every_target_holds() {
    for (target, check) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
        let mut seeds = 0;
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let input = std::fs::read(&path).unwrap();
            if let Err(panicked) = std::panic::catch_unwind(AssertUnwindSafe(|| check(&input))) {
                eprintln!("{}", path.display());
                std::panic::resume_unwind(panicked);
            }
            seeds += 1;
        }
        assert!(seeds > 0, "{} has seeds", folder.display());
    }
}

#[test]
fn whatever_a_seed_chooses_holds() {
    let inputs = variable("SEED").map_or(0..variable("INPUTS").unwrap_or(INPUTS), |seed| seed..seed + 1);
    for seed in inputs {
        let mut choices = Choices::of_seed(seed);
        let mut input: Vec<u8> =
            (0..=choices.below(INPUT_BYTES_MAX)).map(|_| u8::try_from(choices.below(256)).unwrap()).collect();
        // Most bytes of a kind alone make a request; too many choices in a row make none that is right.
        for byte in &mut input {
            *byte = if choices.one_in(3) { *byte } else { *byte % 8 };
        }
        for (target, check) in TARGETS {
            if let Err(panicked) = std::panic::catch_unwind(AssertUnwindSafe(|| check(&input))) {
                eprintln!("SEED={seed} of {target}");
                std::panic::resume_unwind(panicked);
            }
        }
    }
}
