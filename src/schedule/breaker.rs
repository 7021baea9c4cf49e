//! One origin's circuit breaker: whether it may be tried now, and how many deliveries at a time it bears.
//!
//! ```text
//!              failures in a row            probe is due
//!   CLOSED ------------------------> OPEN ---------------> OPEN, probing
//!   (ramp) <---------------.          ^                       |     |
//!      ^                    '---------|-------- success ------'     |
//!      '-- successes double it        '---- failure: twice the wait-'
//! ```
//!
//! While it is open nothing is sent but single probes, and nothing that fails is held against its message: an outage is
//! not the message's fault. On the ramp, a failure halves what is allowed and is followed by a pause, so that an origin
//! which limits its rate is brought to that rate, and not taken for one that is down. Why one success closes it, and not several: the ramp that follows tries the origin with one
//! delivery, then two, then four; so a false dawn costs little.

use crate::limits::{BREAKER_PROBE_MS_MIN, RAMP_PAUSE_MS_MIN};
use crate::time::Millis;

/// What an operator decides about origins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Failures in a row that open the circuit; 0: it never opens.
    pub failures: u32,
    /// Longest wait between two probes.
    pub probe_max: Millis,
    /// Most deliveries in flight to one origin, over all cores; at least 1.
    pub in_flight_max: u32,
}

/// What an attempt tells of its origin, whatever it means for its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It answered, and not with 5xx or 429.
    Alive,
    /// It failed: 5xx, 429, or no answer.
    Failing,
    /// Nothing: it was not asked.
    Nothing,
}

/// Whether a delivery may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// So many may, besides those in flight.
    Some(u32),
    /// One may, and it is a probe.
    Probe,
    /// None before this tick.
    Wait(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Circuit {
    Closed {
        /// In a row.
        failures: u32,
    },
    Open {
        /// Between the last probe and the next.
        wait: Millis,
        /// Tick of the next probe.
        next: u64,
        /// The number of the probe that is under way.
        probing: Option<u32>,
    },
}

/// The state of one origin. Ticks are milliseconds of a clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Breaker {
    rules: Rules,
    circuit: Circuit,
    /// Deliveries in flight that the origin bears as far as is known.
    allowed: u32,
    /// The origin asked to be left alone until this tick.
    held_until: u64,
    /// Probes so far. A number, so that one which outlives its outage is not taken for a probe of the next.
    probes: u32,
}

impl Breaker {
    /// Of an origin of which nothing is known: closed, and trusted with all that [`Rules::in_flight_max`] allows.
    pub const fn new(rules: Rules) -> Self {
        let circuit = Circuit::Closed { failures: 0 };
        Self { rules, circuit, allowed: rules.in_flight_max, held_until: 0, probes: 0 }
    }

    /// Whether nothing is known that a new one would not know.
    pub fn is_fresh(&self, now: u64) -> bool {
        let Circuit::Closed { failures: 0 } = self.circuit else { return false };
        self.allowed == self.rules.in_flight_max && self.held_until <= now
    }

    /// Whether the circuit is open.
    pub const fn is_open(&self) -> bool {
        matches!(self.circuit, Circuit::Open { .. })
    }

    /// Begins with one delivery at a time and doubles with each success: for a backlog that all comes due at once.
    pub const fn start_slowly(&mut self) {
        self.allowed = 1;
    }

    /// What may begin, `in_flight` being in flight.
    pub fn permission(&self, in_flight: u32, now: u64) -> Permission {
        match self.circuit {
            Circuit::Open { probing: Some(_), .. } => Permission::Some(0),
            Circuit::Open { next, .. } if next > now => Permission::Wait(next.max(self.held_until)),
            _ if self.held_until > now => Permission::Wait(self.held_until),
            Circuit::Open { .. } => Permission::Probe,
            Circuit::Closed { .. } => Permission::Some(self.allowed.saturating_sub(in_flight)),
        }
    }

    /// The probe that was permitted begins; returns its number.
    pub fn begin_probe(&mut self) -> u32 {
        let Circuit::Open { probing, .. } = &mut self.circuit else { panic!("only an open circuit is probed") };
        assert_eq!(*probing, None, "one probe at a time");
        self.probes = self.probes.wrapping_add(1);
        *probing = Some(self.probes);
        self.probes
    }

    /// A delivery has ended; `probe` is its number if it was one. Returns whether a failure counts against its message:
    /// only if it met a closed circuit, or has nothing to do with the origin. Spared, it would be tried again at once.
    ///
    /// One that began before the circuit opened tells nothing new if it fails; if it succeeds, that is as good as a
    /// probe.
    pub fn ended(&mut self, signal: Signal, probe: Option<u32>, now: u64) -> bool {
        match &mut self.circuit {
            Circuit::Closed { failures } => {
                *failures = match signal {
                    Signal::Nothing => *failures,
                    Signal::Alive => 0,
                    Signal::Failing => failures.saturating_add(1),
                };
                let failures = *failures;
                self.ended_closed(signal, failures, now);
                true
            }
            Circuit::Open { wait, probing, .. } => {
                let was_probe = probing.is_some() && *probing == probe;
                match signal {
                    Signal::Alive => {
                        self.circuit = Circuit::Closed { failures: 0 };
                        self.start_slowly();
                    }
                    Signal::Failing if was_probe => {
                        let wait = Millis(wait.0.saturating_mul(2));
                        self.open(wait, now);
                    }
                    Signal::Nothing if was_probe => *probing = None,
                    Signal::Failing | Signal::Nothing => {}
                }
                signal == Signal::Nothing
            }
        }
    }

    fn ended_closed(&mut self, signal: Signal, failures: u32, now: u64) {
        match signal {
            Signal::Nothing => {}
            Signal::Failing if self.rules.failures > 0 => {
                if failures >= self.rules.failures {
                    self.open(Millis(BREAKER_PROBE_MS_MIN), now);
                } else if self.allowed < self.rules.in_flight_max {
                    self.allowed = (self.allowed / 2).max(1);
                    let pause = RAMP_PAUSE_MS_MIN.saturating_mul(1 << (failures - 1).min(32));
                    self.held_until = self.held_until.max(now + pause.min(BREAKER_PROBE_MS_MIN));
                }
            }
            Signal::Alive | Signal::Failing => {
                let doubled = self.allowed.saturating_mul(2);
                self.allowed = doubled.min(self.rules.in_flight_max);
            }
        }
    }

    /// The origin asks to be left alone until a tick (`Retry-After` on 429 or 503); then it is begun with slowly.
    pub fn hold(&mut self, until: u64) {
        self.held_until = self.held_until.max(until);
        self.start_slowly();
    }

    fn open(&mut self, wait: Millis, now: u64) {
        let wait = wait.min(self.rules.probe_max);
        self.circuit = Circuit::Open { wait, next: now.saturating_add(wait.0), probing: None };
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
