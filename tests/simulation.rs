//! A whole shard, its workers and its log, in a world that fails: simulated disk, origins and clocks, all from a seed.
//!
//! A failing seed is printed as `SEED=…`; `SEED=… cargo test --test simulation one_seed` replays it and shows what
//! happened. `SEEDS=… START=…` run more of them: see `tests/sim/long_run.sh`.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world fails")]

#[path = "sim/checker.rs"]
mod checker;
#[path = "sim/checker_tests.rs"]
mod checker_tests;
#[path = "sim/circuits.rs"]
mod circuits;
#[path = "sim/clock.rs"]
mod clock;
#[path = "sim/disk.rs"]
#[allow(dead_code, reason = "shared with the model of the log, which uses the rest")]
mod disk;
#[path = "wal_model/folded.rs"]
#[allow(dead_code, reason = "shared with the model of the log, which uses the rest")]
mod folded;
#[path = "sim/history.rs"]
mod history;
#[path = "sim/life.rs"]
mod life;
#[path = "sim/message.rs"]
mod message;
#[path = "sim/origins.rs"]
mod origins;
#[path = "sim/plan.rs"]
mod plan;
#[path = "sim/process.rs"]
mod process;
#[path = "sim/rules.rs"]
mod rules;
#[path = "sim/rules_tests.rs"]
mod rules_tests;
#[path = "sim/run.rs"]
mod run;
#[path = "sim/storage.rs"]
#[allow(dead_code, reason = "shared with the model of the log, which uses the rest")]
mod storage;
#[path = "sim/tally.rs"]
mod tally;
#[path = "sim/trace.rs"]
mod trace;
#[path = "wal_model/world.rs"]
#[allow(dead_code, reason = "shared with the model of the log, which uses the rest")]
mod world;

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use run::{Failed, run};
use trace::Trace;

/// Seeds of one run, unless `SEEDS` says otherwise.
const SEEDS: u64 = 10_000;
/// Failing seeds after which a run ends.
const FAILURES_MAX: usize = 10;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn no_seed_breaks_a_promise() {
    let start = variable("START").unwrap_or(0);
    let end = start + variable("SEEDS").unwrap_or(SEEDS);
    let (next, failures) = (AtomicU64::new(start), Mutex::new(Vec::<Failed>::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failures.lock().unwrap().len() >= FAILURES_MAX {
                        break;
                    }
                    if let Err(failed) = run(seed, &Trace::hashing()) {
                        failures.lock().unwrap().push(failed);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let text: Vec<String> =
        failures.iter().map(|failed| format!("SEED={}: {}", failed.seed, failed.objections.join("\n    "))).collect();
    assert!(failures.is_empty(), "\n{}\n", text.join("\n"));
}

/// Replays `SEED`, and shows what happened if it fails or if `TRACE` is set.
#[test]
fn one_seed() {
    let seed = variable("SEED").unwrap_or(0);
    let trace = Trace::keeping();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).without_time().with_writer(|| trace::LogLines);
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    trace.take_log_lines();
    let ran = run(seed, &trace);
    let shown = ran.is_err() || std::env::var_os("TRACE").is_some();
    let lines = if shown { trace.lines().join("\n") } else { String::new() };
    assert!(!shown, "{lines}\n{ran:#?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..100 {
        let hashes = [(); 2].map(|()| run(seed, &Trace::hashing()).unwrap());
        assert_eq!(hashes[0], hashes[1], "SEED={seed}");
    }
}

/// What the first seeds must come upon, by a word of its event: a simulation that has stopped to meet it proves nothing.
const MET: [&str; 35] = [
    " acknowledged",
    " refused",
    "refused: LogFull",
    "refused: Memory",
    "maybe a duplicate",
    "attempt 3",
    "attempt 9 ",
    "ends: Delivered",
    "Failed(ResponseTimeout)",
    "Failed(Reset)",
    "Failed(Http5xx)",
    "Failed(Refused)",
    "Failed(Denied)",
    "Delivered Some(500)",
    "Failed(Http5xx) Some(200)",
    "Failed(Http4xx) Some(200)",
    "retry_after: Some(Wait(",
    "retry_after: Some(At(",
    "create dead/",
    "Removal { removed: 1,",
    "these are replayed: []",
    "these are replayed: [0",
    "is a dead letter: Expired",
    "the wall clock jumps by -",
    "others take",
    "fails with Eio",
    "fails with Short",
    "fails with NoSpace",
    "the power is cut, 3",
    "the life ends: power cut",
    "the life ends: stopped",
    "the life ends: the log failed",
    "the life ends: it could not start",
    "to log/shard-00/000000000009.wal",
    "rename log/shard-01 to log/shard-01.adopted",
];

#[test]
fn the_first_seeds_meet_all_that_they_are_for() {
    let mut missing = MET.to_vec();
    for seed in 0..1000 {
        let trace = Trace::keeping();
        run(seed, &trace).unwrap();
        let lines = trace.lines();
        missing.retain(|event| !lines.iter().any(|line| line.contains(event)));
        if missing.is_empty() {
            return;
        }
    }
    panic!("never met: {missing:?}");
}
