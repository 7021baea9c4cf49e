//! What a seed decides: the configuration, and for each life its faults and its end.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use dispatcher::limits::MEMORY_KEPT_BYTES;
use dispatcher::memory::Memory;
use dispatcher::message::{Statuses, Xorshift};
use dispatcher::schedule::backoff::Backoff;
use dispatcher::schedule::breaker;
use dispatcher::schedule::gate::Gates;
use dispatcher::schedule::scheduler::Limits;
use dispatcher::shard::conclude::RetryRules;
use dispatcher::shard::{Settings, message_bytes_max};
use dispatcher::time::{Millis, UnixMillis, monotonic_now};
use dispatcher::wal::spare::Space;

use super::clock;
use super::disk::{Fault, Kind, Pace};
use super::storage::index;
use super::world::{SEGMENT_BYTES, Setup};

/// When all begins: in 2026.
pub const BEGINNING: UnixMillis = UnixMillis(1_780_000_000_000);

/// Largest segment that a life may be configured with, in bytes.
pub const SEGMENT_BYTES_MAX: u64 = SEGMENT_BYTES * 3 / 2;

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub setup: Setup,
    /// For messages, and as much again for deliveries: enough for one message, or for many.
    pub memory_bytes: u64,
    /// How origins are treated.
    pub rules: breaker::Rules,
    /// Bytes of the filesystem.
    pub capacity: u64,
    pub origins: usize,
    /// Dead letters are replayed and removed.
    pub has_operator: bool,
    pub lives: Vec<Life>,
}

/// One life of the process.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    pub seed: u64,
    pub end: End,
    pub fault: Option<Fault>,
    /// One disk operation in so many fails.
    pub flaky: Option<u64>,
    pub pace: Pace,
    /// The wall clock jumps while it lives.
    pub clock_jumps: bool,
    /// Others take space on the disk.
    pub space_is_taken: bool,
    /// From the end of the life before, by the wall clock.
    pub downtime_ms: i64,
    /// As configured for this life.
    pub segment_bytes: u64,
    /// One or two; a shard that is no more is adopted.
    pub shards: u32,
    pub actions: u64,
    /// Longest pause between two actions.
    pub pause: Duration,
}

/// How a life ends, if the log does not fail before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The power is cut when so many disk operations have begun.
    CrashAtOperation(u64),
    /// The power is cut at an operation, after it was asked to stop or before.
    DrainOrCrashAtOperation(u64),
    /// The power is cut after its last action.
    Crash,
    /// It is asked to stop, and attempts get this long.
    Drain(Duration),
}

impl Life {
    /// Whether everything that happens to it is within what a healthy machine does.
    pub const fn is_calm(&self) -> bool {
        self.fault.is_none() && self.flaky.is_none() && !self.space_is_taken
    }
}

fn one_in(random: &mut Xorshift, count: usize) -> bool {
    index(random, count) == 0
}

fn pick<T: Copy, const N: usize>(random: &mut Xorshift, choices: [T; N]) -> T {
    choices[index(random, N)]
}

impl Plan {
    /// The configuration of one life.
    pub fn setup_of(&self, life: &Life) -> Setup {
        let Setup { mut space, mut dead_space, limits, mut settings, .. } = self.setup.clone();
        (space.segment_bytes, dead_space.segment_bytes) = (life.segment_bytes, life.segment_bytes);
        space.log_bytes_max /= u64::from(life.shards);
        settings.message_bytes_max = message_bytes_max(life.segment_bytes);
        let enough = 2 * settings.message_bytes_max + 4 * MEMORY_KEPT_BYTES;
        settings.memory = Memory::of_parts(self.memory_bytes.max(enough as u64));
        settings.epoch = monotonic_now();
        Setup { space, dead_space, limits, gates: Gates::new(self.rules), settings, shards: Some(life.shards) }
    }

    /// As `seed` has it.
    pub fn new(seed: u64) -> Self {
        let random = &mut Xorshift::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        // The first numbers of neighbouring seeds resemble each other.
        for _ in 0..8 {
            random.next();
        }
        let settings = settings(random);
        let (is_steady, is_alone) = (!one_in(random, 3), !one_in(random, 4));
        // Where nothing is ever reclaimed, a bound once reached stays so; and where dead letters fill it, an adoption
        // waits until they do not.
        let (is_bounded, is_small) = (one_in(random, 3), one_in(random, 3));
        let (is_bounded, is_small) = (is_bounded && is_alone && !settings.keep_all, is_small && !settings.keep_all);
        let space = Space {
            segment_bytes: SEGMENT_BYTES,
            log_bytes_max: if is_bounded { SEGMENT_BYTES * pick(random, [12, 18, 24]) } else { 0 },
            disk_reserve: SEGMENT_BYTES * pick(random, [0, 0, 1, 3]),
            reserve: 1,
            used: Rc::default(),
        };
        let rules = breaker::Rules {
            failures: pick(random, [0, 0, 2, 5]),
            probe_max: Millis(pick(random, [2000, 60_000])),
            in_flight_max: pick(random, [1, 4, 32]),
        };
        let capacity = if is_small { SEGMENT_BYTES * pick(random, [12, 16, 20, 30]) } else { u64::MAX };
        let setup = Setup {
            dead_space: Space { log_bytes_max: 0, disk_reserve: 0, reserve: 0, ..space.clone() },
            space,
            limits: limits(random),
            gates: Gates::new(rules),
            settings,
            shards: None,
        };
        let calm = one_in(random, 4);
        let lives = 2 + index(random, 5);
        let lives: Vec<Life> = (0..lives).map(|_| life(random, calm, is_steady, is_alone)).collect();
        Self {
            setup,
            memory_bytes: pick(random, [0, 1 << 20, 64 << 20]),
            rules,
            capacity,
            origins: 1 + index(random, 5),
            has_operator: is_alone && one_in(random, 2),
            lives,
        }
    }
}

fn settings(random: &mut Xorshift) -> Settings {
    let backoff = Backoff {
        base: Millis(pick(random, [10, 200, 2000])),
        factor: pick(random, [1.0, 2.0, 3.0]),
        max: Millis(pick(random, [1000, 30_000])),
        jitter: pick(random, [0.0, 0.2, 1.0]),
        retries_max: pick(random, [0, 1, 2, 4]),
    };
    let retry_after_max = Millis(pick(random, [1000, 10_000, 60_000]));
    let no_retry = pick(random, [Statuses::NONE, Statuses::NONE, Statuses::parse("301, 404, 50x").unwrap()]);
    let message_ttl = pick(random, [None, None, None, Some(3000), Some(30_000), Some(900_000)]).map(Millis);
    let message_bytes_max = message_bytes_max(SEGMENT_BYTES);
    Settings {
        default_timeout: Millis(pick(random, [300, 1000, 5000])),
        retry: RetryRules { backoff, retry_after_max, no_retry, message_ttl },
        epoch: monotonic_now(),
        keep_all: one_in(random, 12),
        memory: Memory::of_parts(0),
        message_bytes_max,
        clock: clock::CLOCK,
        corrupt: PathBuf::from("corrupt"),
        origin_share: 1.0,
    }
}

fn limits(random: &mut Xorshift) -> Limits {
    Limits { slots: pick(random, [1, 2, 8, 32]), wait_max: Millis(60_000) }
}

fn life(random: &mut Xorshift, calm: bool, is_steady: bool, is_alone: bool) -> Life {
    let actions = 1 + index(random, 60) as u64;
    let end = match index(random, 4) {
        0 | 1 => End::CrashAtOperation(random.next() % pick(random, [30, 150, 500])),
        2 if random.next().is_multiple_of(2) => End::DrainOrCrashAtOperation(random.next() % 300),
        2 => End::Crash,
        _ => End::Drain(Duration::from_millis(pick(random, [0, 100, 10_000]))),
    };
    let kind = pick(random, [Kind::Eio, Kind::Eio, Kind::Short, Kind::NoSpace]);
    let fault = Fault { at: random.next() % 200, kind, forever: one_in(random, 8) };
    Life {
        seed: random.next(),
        end,
        fault: (!calm && one_in(random, 2)).then_some(fault),
        flaky: (!calm && one_in(random, 10)).then_some(pick(random, [10, 100])),
        pace: pick(random, [Pace::Turns, Pace::Slow { ms_max: 3, one_in: 2 }, Pace::Slow { ms_max: 200, one_in: 10 }]),
        clock_jumps: one_in(random, 3),
        space_is_taken: !calm && one_in(random, 4),
        downtime_ms: pick(random, [0, 1000, 60_000, 86_400_000, -1000, -3_600_000]),
        segment_bytes: if is_steady { SEGMENT_BYTES } else { SEGMENT_BYTES * pick(random, [1, 2, 3]) / 2 },
        shards: if is_alone { 1 } else { pick(random, [1, 2]) },
        actions,
        pause: Duration::from_millis(pick(random, [0, 20, 300, 3000])),
    }
}
