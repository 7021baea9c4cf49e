//! An origin as all cores share it: its circuit, how many deliveries are in flight to it, and whose turn it is.
//!
//! The only thing on a message's path that cores share, because only so a bound on an origin can be exact over all of
//! them. A core takes its lock twice per attempt, for a few nanoseconds unless another core delivers to the same origin
//! at the same moment.
//!
//! When an origin is as busy as it may be, cores wait for it in a queue, so that none takes every turn. A turn is a
//! place in the queue and no permission: nothing needs to be given back by a core that turns out to have no use for its
//! turn, and if it is slow to say so, the others pass after [`TURN_MS_MAX`].

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashMap;

use super::bell::Bell;
use super::breaker::{Breaker, Permission, Rules, Signal};
use super::busiest::{Counted, Figures, OriginFigures, Others, Tally};
use crate::limits::{
    BREAKER_PROBE_MS_MIN, NAMED_ORIGINS_MAX, NAMES_DEALT_MAX, NAMES_DEALT_MS_MIN, ORIGINS_REMEMBERED_MAX, TURN_MS_MAX,
};
use crate::message::{Origin, OriginRef};

/// Who comes to a gate: a lane of the core that has this bell.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Of the core.
    pub bell: &'a Arc<Bell>,
    /// The number of the lane there.
    pub lane: u32,
}

impl Caller<'_> {
    fn is(&self, waiting: &Waiting) -> bool {
        self.lane == waiting.lane && Arc::ptr_eq(self.bell, &waiting.bell)
    }
}

/// What a lane that wants to begin a delivery is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It may. If it is a probe, this is its number, to be given to [`Gate::leave`].
    Entered {
        /// `None`: no probe.
        probe: Option<u32>,
    },
    /// Not before a delivery of this very lane has ended: all that are in flight are its own.
    AllOwn,
    /// As many as may be are in flight, or others come first. Not before this tick, unless its bell rings.
    Turn(u64),
    /// The origin is not to be tried, whatever is in flight. Not before this tick, unless its bell rings.
    Shut(u64),
}

/// What the end of a delivery changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Whether a failure counts against its message: see [`Breaker::ended`].
    pub counts: bool,
    /// The circuit opened or closed by it.
    pub turned: Option<Turned>,
}

/// What became of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// It is open: nothing is sent but probes.
    Open,
    /// It is closed again.
    Closed,
}

#[derive(Debug)]
struct Waiting {
    bell: Arc<Bell>,
    lane: u32,
    /// When it was told that it has a turn.
    rung: Option<u64>,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    in_flight: u32,
    /// At most one per core.
    waiting: VecDeque<Waiting>,
}

/// One origin.
#[derive(Debug)]
pub struct Gate {
    inner: Mutex<Inner>,
    tally: Tally,
    all: Arc<AllOrigins>,
}

/// What concerns no single origin.
#[derive(Debug, Default)]
struct AllOrigins {
    /// Those whose circuit is open.
    open: AtomicU64,
    others: Others,
}

impl Gate {
    /// A message for `origin`, whose gate this is, came alive in a lane.
    pub fn add_message(&self, origin: OriginRef<'_>) {
        self.tally.enter(origin, &self.all.others);
    }

    /// A message that was added has ended.
    pub fn remove_message(&self) {
        self.tally.leave();
    }

    /// Counts for the metrics.
    pub fn count(&self, what: Counted) {
        self.tally.count(what, &self.all.others);
    }

    /// A lane wants to begin a delivery; `own` are in flight from it already.
    pub fn enter(&self, caller: Caller<'_>, own: u32, now: u64) -> Entry {
        let mut inner = locked(&self.inner);
        let permission = inner.breaker.permission(inner.in_flight, now);
        let free = match permission {
            Permission::Some(free) => free,
            Permission::Probe => 1,
            Permission::Wait(until) => {
                inner.queue(caller);
                return Entry::Shut(until);
            }
        };
        if free == 0 && inner.breaker.is_open() {
            // Told if the probe succeeds. If it fails, nothing is missed meanwhile: the next one is further off.
            inner.queue(caller);
            return Entry::Shut(now + BREAKER_PROBE_MS_MIN);
        }
        if free == 0 && inner.in_flight == own {
            inner.withdraw(caller);
            return Entry::AllOwn;
        }
        if inner.ahead(caller, now) >= free {
            inner.queue(caller);
            // It may be time alone that gave those before it their turn, and nobody have told them.
            inner.ring(caller.bell, now);
            return Entry::Turn(now + TURN_MS_MAX);
        }
        inner.withdraw(caller);
        inner.in_flight += 1;
        let probe = (permission == Permission::Probe).then(|| inner.breaker.begin_probe());
        Entry::Entered { probe }
    }

    /// A delivery has ended; `hold_until` is a tick before which the origin asked not to be tried. A caller that waits here
    /// too is told by its bell, but not woken.
    pub fn leave(
        &self,
        caller: Caller<'_>,
        probe: Option<u32>,
        signal: Signal,
        hold_until: Option<u64>,
        now: u64,
    ) -> Left {
        let mut inner = locked(&self.inner);
        assert!(inner.in_flight > 0, "only what entered leaves");
        inner.in_flight -= 1;
        let was_open = inner.breaker.is_open();
        let counts = inner.breaker.ended(signal, probe, now);
        if let Some(until) = hold_until {
            inner.breaker.hold(until);
        }
        let turned = match (was_open, inner.breaker.is_open()) {
            (false, true) => Some(Turned::Open),
            (true, false) => Some(Turned::Closed),
            (true, true) | (false, false) => None,
        };
        match turned {
            Some(Turned::Open) => _ = self.all.open.fetch_add(1, Ordering::Relaxed),
            Some(Turned::Closed) => _ = self.all.open.fetch_sub(1, Ordering::Relaxed),
            None => {}
        }
        inner.ring(caller.bell, now);
        Left { counts, turned }
    }

    /// A lane that may be waiting does not want to begin anything any more.
    pub fn withdraw(&self, caller: Caller<'_>, now: u64) {
        let mut inner = locked(&self.inner);
        inner.withdraw(caller);
        inner.ring(caller.bell, now);
    }

    /// What waits for this origin comes due all at once: it is begun with slowly.
    pub fn start_slowly(&self) {
        locked(&self.inner).breaker.start_slowly();
    }
}

impl Inner {
    /// How many others may begin before the caller.
    fn ahead(&mut self, caller: Caller<'_>, now: u64) -> u32 {
        // Who was told and has not come has lost its turn; it comes again by itself.
        self.waiting.retain(|other| caller.is(other) || other.rung.is_none_or(|rung| rung + TURN_MS_MAX > now));
        let place = self.waiting.iter().position(|other| caller.is(other)).unwrap_or(self.waiting.len());
        u32::try_from(place).expect("at most one per core")
    }

    fn queue(&mut self, caller: Caller<'_>) {
        match self.waiting.iter_mut().find(|other| caller.is(other)) {
            Some(waiting) => waiting.rung = None,
            None => {
                let bell = Arc::clone(caller.bell);
                self.waiting.push_back(Waiting { bell, lane: caller.lane, rung: None });
            }
        }
    }

    fn withdraw(&mut self, caller: Caller<'_>) {
        self.waiting.retain(|other| !caller.is(other));
    }

    /// Tells those whose turn it is.
    fn ring(&mut self, own: &Arc<Bell>, now: u64) {
        let turns = match self.breaker.permission(self.in_flight, now) {
            Permission::Some(free) => free as usize,
            Permission::Probe => 1,
            Permission::Wait(_) => 0,
        };
        for waiting in self.waiting.iter_mut().take(turns).filter(|waiting| waiting.rung.is_none()) {
            waiting.rung = Some(now);
            waiting.bell.ring(waiting.lane, !Arc::ptr_eq(own, &waiting.bell));
        }
    }
}

/// The gates of every origin that has messages or a name, and of some that had messages; shared by all cores.
#[derive(Debug)]
pub struct Gates {
    rules: Rules,
    all: Arc<AllOrigins>,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    gates: HashMap<Origin, Used>,
    /// Of no lane, but worth remembering, the longest unused first; some of them may be in use again.
    idle: VecDeque<Origin>,
    /// Those with a name in the metrics, in no order.
    named: Vec<(Origin, Arc<Gate>)>,
    /// When names were last dealt out.
    dealt: u64,
}

#[derive(Debug)]
struct Used {
    gate: Arc<Gate>,
    lanes: u32,
}

impl Gates {
    /// None yet.
    pub fn new(rules: Rules) -> Arc<Self> {
        Arc::new(Self { rules, all: Arc::default(), table: Mutex::default() })
    }

    /// The gate of an origin, for a lane that now has messages.
    pub fn open(&self, origin: OriginRef<'_>) -> Arc<Gate> {
        let mut table = locked(&self.table);
        if let Some(used) = table.gates.get_mut(&origin) {
            used.lanes += 1;
            return Arc::clone(&used.gate);
        }
        let (origin, gate) = (origin.to_origin(), self.make());
        if table.named.len() < NAMED_ORIGINS_MAX {
            table.name(origin.clone(), &gate);
        }
        table.gates.insert(origin, Used { gate: Arc::clone(&gate), lanes: 1 });
        gate
    }

    /// A lane has no messages any more. What is known of its origin is remembered, if it is worth it.
    pub fn close(&self, origin: &Origin, now: u64) {
        let mut table = locked(&self.table);
        table.gates.get_mut(origin).expect("opened").lanes -= 1;
        self.put_aside(&mut table, origin, now);
    }

    /// What the metrics tell of origins at the tick `now`. Takes no lock for longer than some ten microseconds, however
    /// many origins there are. Now and then, this deals out names anew.
    pub fn figures(&self, now: u64) -> Figures {
        let mut named = {
            let mut table = locked(&self.table);
            self.deal_names(&mut table, now);
            table.named.clone()
        };
        named.sort_by(|(one, _), (other, _)| one.cmp(other));
        let figures = |(origin, gate): &(Origin, Arc<Gate>)| OriginFigures {
            origin: origin.to_string(),
            messages: gate.tally.messages(),
            ended: gate.tally.ended(),
            is_open: locked(&gate.inner).breaker.is_open(),
        };
        Figures {
            named: named.iter().map(figures).collect(),
            others_ended: self.all.others.ended(),
            open_origins: self.all.open.load(Ordering::Relaxed),
        }
    }

    /// Origins that came up and are more than twice as busy as the least busy with a name take their names. A few at a
    /// time: each new name is a new series wherever metrics are kept.
    fn deal_names(&self, table: &mut Table, now: u64) {
        if table.named.len() < NAMED_ORIGINS_MAX || now < table.dealt + NAMES_DEALT_MS_MIN {
            return;
        }
        table.dealt = now;
        let waiting = |origin: &Origin| table.gates.get(origin).map_or(0, |used| used.gate.tally.messages());
        let rising = self.all.others.take_rising().into_iter();
        let mut rising: Vec<_> = rising.map(|(origin, messages)| (messages + waiting(&origin), origin)).collect();
        rising.sort_by(|one, other| other.cmp(one));
        let mut named: Vec<_> =
            table.named.iter().map(|(origin, gate)| (gate.tally.take_score(), origin.clone())).collect();
        named.sort();
        for ((more, origin), (less, instead_of)) in rising.into_iter().zip(named).take(NAMES_DEALT_MAX) {
            if more <= less.saturating_mul(2) {
                break;
            }
            table.forget_name(&instead_of);
            self.put_aside(table, &instead_of, now);
            let used = table.gates.entry(origin.clone()).or_insert_with(|| Used { gate: self.make(), lanes: 0 });
            let gate = Arc::clone(&used.gate);
            table.name(origin, &gate);
        }
    }

    /// Forgets an origin without messages and without a name, unless more is known of it than of a new one.
    fn put_aside(&self, table: &mut Table, origin: &Origin, now: u64) {
        let Some(used) = table.gates.get(origin).filter(|used| used.is_unused()) else { return };
        if locked(&used.gate.inner).breaker.is_fresh(now) {
            table.gates.remove(origin);
            return;
        }
        table.idle.push_back(origin.clone());
        if table.idle.len() > ORIGINS_REMEMBERED_MAX
            && let Some(oldest) = table.idle.pop_front()
            && table.gates.get(&oldest).is_some_and(Used::is_unused)
            && let Some(forgotten) = table.gates.remove(&oldest)
            && locked(&forgotten.gate.inner).breaker.is_open()
        {
            self.all.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn make(&self) -> Arc<Gate> {
        let inner = Inner { breaker: Breaker::new(self.rules), in_flight: 0, waiting: VecDeque::new() };
        Arc::new(Gate { inner: Mutex::new(inner), tally: Tally::default(), all: Arc::clone(&self.all) })
    }
}

impl Used {
    fn is_unused(&self) -> bool {
        self.lanes == 0 && !self.gate.tally.is_named()
    }
}

impl Table {
    fn name(&mut self, origin: Origin, gate: &Arc<Gate>) {
        gate.tally.name();
        self.named.push((origin, Arc::clone(gate)));
    }

    fn forget_name(&mut self, origin: &Origin) {
        let at = self.named.iter().position(|(named, _)| named == origin).expect("it has a name");
        self.named.swap_remove(at).1.tally.forget_name();
    }
}

/// A panic aborts the process in production; in tests, what it left behind is still what it was.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
