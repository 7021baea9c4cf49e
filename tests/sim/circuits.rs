//! How origins are to be spared, as a model of its own: circuits, pauses that were asked for, and what is in flight. Knows nothing of a gate.

use std::collections::{BTreeMap, BTreeSet};

use dispatcher::message::MessageId;

use super::message::{Ended, Says};

/// First wait of a probe, in milliseconds, unless a shorter one is configured.
const FIRST_PROBE_MS: u64 = 1000;

/// What is configured of origins.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Failures in a row that open a circuit; 0: none does.
    pub failures: u32,
    /// Longest wait between two probes, in milliseconds.
    pub probe_ms_max: u64,
    /// Attempts at one origin at a time, over all shards.
    pub in_flight_max: u32,
}

/// All origins in one life of the process.
#[derive(Debug)]
pub struct Circuits {
    rules: Rules,
    /// An attempt begins at most so long after it was decided on, in milliseconds: it is read from the disk first.
    late_ms_max: u64,
    origins: BTreeMap<String, Circuit>,
}

#[derive(Debug, Default)]
struct Circuit {
    running: u32,
    /// In a row.
    failures: u32,
    open: Option<Open>,
    pause: Pause,
}

/// An origin has asked to be left alone.
#[derive(Debug, Default)]
struct Pause {
    until: u64,
    late: Late,
}

#[derive(Debug)]
struct Open {
    since: u64,
    late: Late,
    /// Attempts that began since and run.
    probes: BTreeSet<MessageId>,
}

/// Attempts that were decided on before something forbade them.
#[derive(Clone, Copy, Debug, Default)]
struct Late {
    left: u32,
    until: u64,
}

impl Late {
    fn take(&mut self, now: u64) -> bool {
        let is_one = self.left > 0 && now <= self.until;
        self.left -= u32::from(is_one);
        is_one
    }
}

impl Circuits {
    /// Of origins of which nothing is known.
    pub const fn new(rules: Rules, late_ms_max: u64) -> Self {
        Self { rules, late_ms_max, origins: BTreeMap::new() }
    }

    /// An attempt begins at `now`, in milliseconds since the life did; `Err` says what is wrong with that.
    pub fn attempt_begins(&mut self, origin: &str, id: MessageId, now: u64) -> Result<(), &'static str> {
        let circuit = self.origins.entry(origin.to_owned()).or_default();
        circuit.running += 1;
        if circuit.running > self.rules.in_flight_max {
            return Err("begins while as many run at its origin as may");
        }
        if now < circuit.pause.until && !circuit.pause.late.take(now) {
            return Err("begins before its origin may be asked again");
        }
        let Some(open) = &mut circuit.open else { return Ok(()) };
        let probed_from = open.since + self.rules.probe_ms_max.min(FIRST_PROBE_MS);
        if now >= probed_from && open.probes.is_empty() {
            open.probes.insert(id);
        } else if !open.late.take(now) {
            return Err("begins while the circuit of its origin is open, and is no probe");
        }
        Ok(())
    }

    /// An attempt that began has ended; returns whether it counts if it failed.
    pub fn attempt_ends(&mut self, origin: &str, id: MessageId, ended: Ended) -> bool {
        let Some(circuit) = self.origins.get_mut(origin) else { return true };
        let Ended { says, pause, at: now, .. } = ended;
        let late_max = self.rules.in_flight_max.saturating_sub(circuit.running);
        circuit.running = circuit.running.saturating_sub(1);
        if let Some(ms) = pause {
            let is_on = now < circuit.pause.until;
            let left = if is_on { late_max.min(circuit.pause.late.left) } else { late_max };
            let late = Late { left, until: now + self.late_ms_max };
            circuit.pause = Pause { until: circuit.pause.until.max(now + ms), late };
        }
        if let Some(open) = &mut circuit.open {
            open.probes.remove(&id);
            if says == Says::Alive {
                (circuit.open, circuit.failures) = (None, 0);
            }
            // What has nothing to do with the origin is not put down to its outage.
            return says == Says::Nothing;
        }
        circuit.failures = match says {
            Says::Alive => 0,
            Says::Failing => circuit.failures + 1,
            Says::Nothing => circuit.failures,
        };
        if says == Says::Failing && self.rules.failures > 0 && circuit.failures >= self.rules.failures {
            let late = Late { left: late_max, until: now + self.late_ms_max };
            circuit.open = Some(Open { since: now, late, probes: BTreeSet::new() });
        }
        true
    }
}
