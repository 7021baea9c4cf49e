//! The log against a model of what was acknowledged, on a disk that tears, fails and loses whatever it may.
//!
//! A failing case prints its seed or the number of the operation that failed: put that in its test to replay it.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world fails")]

#[path = "wal_model/adoption.rs"]
mod adoption;
#[path = "sim/clock.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses the rest")]
mod clock;
#[path = "wal_model/cuts.rs"]
mod cuts;
#[path = "sim/disk.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses the rest")]
mod disk;
#[path = "wal_model/faults.rs"]
mod faults;
#[path = "wal_model/folded.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses the rest")]
mod folded;
#[path = "wal_model/gathering.rs"]
mod gathering;
#[path = "wal_model/letters.rs"]
mod letters;
#[path = "wal_model/model.rs"]
mod model;
#[path = "wal_model/random.rs"]
mod random;
#[path = "sim/storage.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses the rest")]
mod storage;
#[path = "sim/trace.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses the rest")]
mod trace;
#[path = "wal_model/world.rs"]
#[allow(dead_code, reason = "shared with the simulation, which uses the rest")]
mod world;
