//! Dispatcher: a durable HTTP dispatcher, one `io_uring` loop per core.
//!
//! The modules, in the order a message meets them. `ARCHITECTURE.md` is the map; this is the tour.

// The bounds of the program, with unit and reason.
pub mod limits;
// Instants and durations, and the only functions that read a clock.
pub mod time;

// Values that may change while the daemon runs.
pub mod reload;
// What the daemon takes of memory, in declared parts.
pub mod memory;

// The nouns: message ids, origins, drafts.
pub mod message;

// Bytes in, 202 out.
pub mod ingress;
// Sockets.
pub mod net;

// The write-ahead log: what is durable, and where.
pub mod wal;

// How one try at a delivery ended, when the next one is due, and whose turn it is.
pub mod schedule;

// What the log asks of a disk.
pub mod disk;

// The hub: one core's messages and the verbs on them.
pub mod shard;

// Bytes out, an [`schedule::attempt::Attempt`] back.
pub mod delivery;

// Counters and histograms: looks on, never steers.
pub mod metrics;

// What the outside may ask of running shards.
pub mod control;

// Environment variables to a validated configuration.
pub mod config;

// Log lines.
pub mod telemetry;

// The admin listener.
pub mod admin;
// The command line.
pub mod cli;
// Dead letters of a running daemon, from the command line.
pub mod dead;
// Whether this machine can keep what the daemon promises.
pub mod doctor;
// What a running daemon does, from the command line.
pub mod stat;
// What is in a log, and whether it is intact.
pub mod inspect;
// The main job, shown on this machine.
pub mod demo;
// One core from start to drain, and the process around them.
pub mod server;
