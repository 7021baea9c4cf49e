//! Bytes in, 202 out: one shard's side of the data listener. [`Ingress`] is what its connections share.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::control::Control;
use crate::disk::Disk;
use crate::limits::{SWEEP_MS_MAX, SWEEP_MS_MIN};
use crate::metrics::Side;
use crate::net::Stream;
use crate::shard::Shard;
use crate::time::{Millis, monotonic_now, unix_now};

// Bodies, decoded in place.
pub mod body;
// One connection.
pub mod connection;
// The `X-Dispatcher-*` fields.
pub mod control_fields;
// Our own paths.
pub mod endpoint;
// Where a body ends.
pub mod framing;
// Before the first request.
mod handshake;
// A complete head to what is asked.
pub mod head;
// Sockets that accept connections.
pub mod listener;
// The head a message is sent with.
pub mod outbound;
// Why a request is refused.
pub mod refusal;
// What the bytes of a connection ask for.
pub mod requests;
// Everything that can be answered.
pub mod reply;
// Finds the end of a head.
pub mod scan;
// The request target.
pub mod target;
// Who may send requests.
pub mod tokens;
// How many connections are served at a time.
pub mod seats;
// The open connections and their deadlines.
pub mod watch;

use refusal::Refusal;
use reply::{Date, Persistence};
use seats::Seats;
use watch::{Connections, Lease};

/// What the configuration says about connections.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a head is measured by.
    pub rules: head::Rules,
    /// This shard's share of `MAX_CONNECTIONS`.
    pub connections_max: usize,
    /// From the first byte of a head to its last (`HEAD_TIMEOUT`).
    pub head_timeout: Millis,
    /// Bound on a pause within a body (`BODY_TIMEOUT`). A body as a whole gets this plus the time it takes at
    /// [`crate::limits::BODY_BYTES_PER_SECOND_MIN`]. Also the bound on a peer that does not take its answers.
    pub body_timeout: Millis,
    /// From the last answer to the next request's first byte (`IDLE_TIMEOUT`).
    pub idle_timeout: Millis,
}

/// What the connections of one shard share.
pub struct Ingress<S, D: Disk> {
    shard: Rc<Shard<D>>,
    control: Control,
    settings: Settings,
    connections: Rc<Connections<S>>,
    seats: Seats,
    /// Held while metrics are gathered for a connection.
    scrapes: tokio::sync::Mutex<()>,
    clock: Clock,
}

/// A coarse clock, moved by the sweep: reading it is a load.
struct Clock {
    started: Instant,
    tick_ms: u64,
    now_ms: Cell<u64>,
    date: Cell<Date>,
}

impl Clock {
    fn new(settings: &Settings) -> Self {
        let shortest = settings.head_timeout.min(settings.body_timeout).min(settings.idle_timeout);
        let tick_ms = (shortest.0 / 4).clamp(SWEEP_MS_MIN, SWEEP_MS_MAX);
        Self { started: monotonic_now(), tick_ms, now_ms: Cell::new(0), date: Cell::new(Date::at(unix_now())) }
    }

    fn advance(&self) {
        let since = monotonic_now().duration_since(self.started);
        let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        if now_ms / 1000 != self.now_ms.replace(now_ms) / 1000 {
            self.date.set(Date::at(unix_now()));
        }
    }

    /// The deadline `timeout` from now; a tick later, as now may be a tick ago.
    fn after(&self, timeout: Millis) -> u64 {
        self.now_ms.get().saturating_add(self.tick_ms).saturating_add(timeout.0)
    }
}

impl<S: Stream, D: Disk> Ingress<S, D> {
    /// For one shard.
    pub fn new(shard: Rc<Shard<D>>, control: Control, settings: Settings) -> Self {
        let clock = Clock::new(&settings);
        Self {
            shard,
            control,
            settings,
            connections: Rc::default(),
            seats: Seats::default(),
            scrapes: tokio::sync::Mutex::default(),
            clock,
        }
    }

    /// Takes a new connection, whose first request must begin within the idle timeout.
    fn open(&self, stream: S) -> Lease<S> {
        self.shard.metrics().connection_opened(Side::In);
        let deadline_ms = self.clock.after(self.settings.idle_timeout);
        self.connections.add(stream, self.clock.now_ms.get(), deadline_ms)
    }

    /// Closes a connection so that another can be had; `false`: none may go.
    fn make_room(&self) -> bool {
        self.connections.make_room(self.clock.now_ms.get())
    }

    /// Counts a refusal and appends it to `output`.
    fn refuse(&self, output: &mut Vec<u8>, refusal: &Refusal, persistence: Persistence, head_only: bool) {
        self.shard.metrics().refused(refusal.reason());
        reply::push_refusal(output, &self.clock.date.get(), refusal, persistence, head_only);
    }

    /// Moves the clock and ends overdue connections, for ever. Cancel-safe.
    async fn sweep_forever(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(self.clock.tick_ms)).await;
            self.clock.advance();
            self.connections.sweep(self.clock.now_ms.get());
        }
    }
}

#[cfg(test)]
mod connection_tests;
#[cfg(test)]
mod harness_tests;
