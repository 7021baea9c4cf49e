//! The wall clock of a simulated world: it goes with the paused monotonic one, and jumps when it is told to.

use std::cell::Cell;
use std::time::{Duration, Instant};

use dispatcher::time::{Clock, UnixMillis, monotonic_now};

/// As the functions behind a [`Clock`] know nothing but their thread, each thread has one.
pub const CLOCK: Clock = Clock::new(now);

#[derive(Clone, Copy)]
struct Wall {
    /// When this life began.
    anchor: Option<Instant>,
    /// The wall time then, in milliseconds, moved by every jump since.
    base: u64,
}

thread_local! {
    static WALL: Cell<Wall> = const { Cell::new(Wall { anchor: None, base: 0 }) };
}

/// Begins a life in the current runtime at wall time `base`.
pub fn begin(base: UnixMillis) {
    WALL.set(Wall { anchor: Some(monotonic_now()), base: base.0 });
}

/// Ends it, as its runtime is going down: the wall stands still.
pub fn end() -> UnixMillis {
    let now = now();
    WALL.set(Wall { anchor: None, base: now.0 });
    now
}

/// Moves the wall clock; never before 1970.
pub fn jump(by: i64) {
    WALL.with(|wall| {
        let Wall { anchor, base } = wall.get();
        wall.set(Wall { anchor, base: base.saturating_add_signed(by) });
    });
}

/// How long this life has lasted, by the monotonic clock.
pub fn lived() -> Duration {
    WALL.get().anchor.map_or(Duration::ZERO, |anchor| monotonic_now().saturating_duration_since(anchor))
}

/// The same in milliseconds: what a shard calls ticks.
pub fn lived_ms() -> u64 {
    u64::try_from(lived().as_millis()).unwrap_or(u64::MAX)
}

fn now() -> UnixMillis {
    UnixMillis(WALL.get().base + lived_ms())
}
