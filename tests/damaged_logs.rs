//! Damaged logs: whatever happens to the files, nothing damaged is delivered, nothing untouched is lost, and the shard
//! starts.
//!
//! A failing image is printed as `SEED=…`; `SEED=… cargo test --test damaged_logs one_image` replays it. `IMAGES=20000`
//! `START=…` run more of them. What builds and checks an image is shared with the targets in `fuzz/`.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world fails")]

#[path = "damaged_logs/bits.rs"]
mod bits;
#[path = "damaged_logs/choices.rs"]
#[allow(dead_code, reason = "shared with the fuzz targets, which use the rest")]
mod choices;
#[path = "sim/clock.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses the rest")]
mod clock;
#[path = "sim/disk.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses the rest")]
mod disk;
#[path = "wal_model/folded.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses the rest")]
mod folded;
#[path = "damaged_logs/harms.rs"]
mod harms;
#[path = "damaged_logs/memory.rs"]
mod memory;
#[path = "damaged_logs/plain.rs"]
mod plain;
#[path = "damaged_logs/scanned.rs"]
mod scanned;
#[path = "damaged_logs/starts.rs"]
mod starts;
#[path = "sim/storage.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses the rest")]
mod storage;
#[path = "sim/trace.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses the rest")]
mod trace;
#[path = "damaged_logs/verdict.rs"]
mod verdict;
#[path = "wal_model/world.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses the rest")]
mod world;
#[path = "damaged_logs/written.rs"]
mod written;

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use choices::Choices;
use harms::{harmed, unharmed};
use verdict::{check, check_scans};
use written::Written;

/// Images of one run, unless `IMAGES` says otherwise.
const IMAGES: u64 = 4_000;
/// Images made of one log.
const IMAGES_PER_LOG: u64 = 8;
/// Failing images after which a run ends.
const FAILURES_MAX: usize = 10;
const LIVES: usize = 3;
/// A whole shard is started on one image in so many.
const STARTS_ONE_IN: u64 = 4;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Makes and checks one image; returns whether the log was refused, as it must be.
fn image(written: &Written, seed: u64) -> bool {
    let mut choices = Choices::of_seed(seed);
    let image = harmed(written, &mut choices);
    let checked = std::panic::catch_unwind(AssertUnwindSafe(|| {
        check_scans(written, &image, &mut choices);
        let recovered = check(written, &image);
        if seed.is_multiple_of(STARTS_ONE_IN) {
            starts::start(written.shard, &image, recovered.as_ref(), seed);
        }
        recovered.is_none()
    }));
    checked.unwrap_or_else(|panicked| {
        eprintln!("SEED={seed}: {:#?}", image.harms);
        std::panic::resume_unwind(panicked)
    })
}

fn log_of(seed: u64) -> Written {
    Written::new(&mut Choices::of_seed(!(seed / IMAGES_PER_LOG)), LIVES)
}

#[test]
fn whatever_happens_to_a_log_only_what_was_touched_is_lost_and_nothing_damaged_is_delivered() {
    let start = variable("START").unwrap_or(0);
    let end = start + variable("IMAGES").unwrap_or(IMAGES);
    let (next, refused, failures) = (AtomicU64::new(start / IMAGES_PER_LOG), AtomicU64::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let first = next.fetch_add(1, Ordering::Relaxed) * IMAGES_PER_LOG;
                    if first >= end || failures.lock().unwrap().len() >= FAILURES_MAX {
                        break;
                    }
                    let written = log_of(first);
                    for seed in first..first + IMAGES_PER_LOG {
                        match std::panic::catch_unwind(AssertUnwindSafe(|| image(&written, seed))) {
                            Ok(is_refused) => refused.fetch_add(is_refused.into(), Ordering::Relaxed),
                            Err(_) => {
                                failures.lock().unwrap().push(format!("SEED={seed}"));
                                0
                            }
                        };
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{failures:?}");
    // Most harms are no reason to refuse a log.
    assert!(refused.into_inner() * 20 < end - start);
}

/// Replays `SEED`.
#[test]
fn one_image() {
    let seed = variable("SEED").unwrap_or(0);
    image(&log_of(seed), seed);
}

#[test]
fn a_log_that_nothing_happened_to_gives_all_that_was_acknowledged_and_no_damage() {
    for seed in 0..200 {
        let written = log_of(seed * IMAGES_PER_LOG);
        let recovered = check(&written, &unharmed(&written)).unwrap();
        assert_eq!(recovered.damaged, 0, "log {seed}");
        let acknowledged = written.segments.iter().flat_map(|(number, segment)| {
            let counted = segment.records.iter().filter(|record| record.batch < segment.acknowledged);
            counted.map(|record| (*number, record.offset))
        });
        assert!(acknowledged.into_iter().all(|place| recovered.places.contains(&place)), "log {seed}");
        check_scans(&written, &unharmed(&written), &mut Choices::of_seed(seed));
    }
}
