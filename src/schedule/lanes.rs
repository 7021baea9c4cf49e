//! One lane per origin, in rotation: whose turn it is among those that are ready.

// Those for which there is no memory.
mod starved;

use std::collections::{BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

use hashbrown::HashMap;

use super::bell::Bell;
use super::breaker::Signal;
use super::busiest::Counted;
use super::gate::{Caller, Entry, Gate, Gates, Left};
use super::links::{List, NodeState, Nodes};
use crate::limits::STARVED_LOOKS_MAX;
use crate::message::{Origin, OriginRef, Slot};
pub use starved::{Granted, Supply};

/// Where a lane is while it has messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing to begin: nothing is ready, or one of its own deliveries must end first.
    Aside,
    /// It may have a turn.
    InRotation,
    /// Its origin may not be tried before this tick, unless the bell rings.
    Parked(u64),
}

#[derive(Debug)]
struct Lane {
    origin: Rc<Origin>,
    gate: Arc<Gate>,
    ready: List,
    /// Ready, but for memory.
    starved: List,
    /// It stands in [`Lanes::starving`].
    is_starving: bool,
    /// Messages in `ready` and in `starved`.
    waiting: u32,
    in_flight: u32,
    messages: u32,
    place: Place,
    /// The message that is being sent as a probe, and the number of the probe.
    probe: Option<(Slot, u32)>,
    started_slowly: bool,
}

/// The lanes of one shard.
#[derive(Debug)]
pub struct Lanes {
    slots: u32,
    gates: Arc<Gates>,
    bell: Arc<Bell>,
    lanes: Vec<Lane>,
    by_origin: HashMap<Rc<Origin>, u32>,
    free: Vec<u32>,
    rotation: VecDeque<u32>,
    parked: BTreeSet<(u64, u32)>,
    /// Lanes with messages that wait for memory, or that had some, in the order in which they are granted it.
    starving: VecDeque<u32>,
    /// More was looked at than one look may take.
    unfinished: bool,
    in_flight: u32,
    /// The present when it was last told.
    tick: u64,
}

impl Lanes {
    /// None; `slots` bound the deliveries in flight over all of them, `gates` those to each origin.
    pub fn new(slots: u32, gates: Arc<Gates>) -> Self {
        Self {
            slots,
            gates,
            bell: Arc::default(),
            lanes: Vec::new(),
            by_origin: HashMap::new(),
            free: Vec::new(),
            rotation: VecDeque::new(),
            parked: BTreeSet::new(),
            starving: VecDeque::new(),
            unfinished: false,
            in_flight: 0,
            tick: 0,
        }
    }

    /// Rung when a lane may have a turn that it did not have before.
    pub const fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// The number of an origin's lane, if it has one. Numbers are small, and used again when a lane is gone.
    pub fn find(&self, origin: OriginRef<'_>) -> Option<u32> {
        self.by_origin.get(&origin).copied()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_origin.len()
    }

    /// The origin of a lane.
    pub fn origin(&self, lane: u32) -> &Rc<Origin> {
        &self.lanes[lane as usize].origin
    }

    /// Messages of a lane that wait for their turn.
    pub fn ready(&self, lane: u32) -> u32 {
        self.lanes[lane as usize].waiting
    }

    /// Enters a message for `origin`; returns its lane.
    pub fn enter(&mut self, origin: OriginRef<'_>) -> u32 {
        let number = self.find(origin).unwrap_or_else(|| self.open(origin));
        let lane = &mut self.lanes[number as usize];
        lane.messages += 1;
        lane.gate.add_message(origin);
        number
    }

    /// What waits in this lane comes due all at once.
    pub fn start_slowly(&mut self, number: u32) {
        let lane = &mut self.lanes[number as usize];
        if !std::mem::replace(&mut lane.started_slowly, true) {
            lane.gate.start_slowly();
        }
    }

    /// Takes a message out that is neither ready nor in flight.
    pub fn leave(&mut self, number: u32) {
        let lane = &mut self.lanes[number as usize];
        lane.messages -= 1;
        lane.gate.remove_message();
        if lane.messages == 0 && lane.place != Place::InRotation {
            self.retire(number);
        }
    }

    /// Counts for the metrics of a lane's origin.
    pub fn count(&self, lane: u32, what: Counted) {
        self.lanes[lane as usize].gate.count(what);
    }

    /// Appends a message to its lane.
    pub fn make_ready(&mut self, nodes: &mut Nodes, slot: Slot) {
        let node = nodes.get_mut(slot);
        node.set_state(NodeState::Ready);
        let number = node.lane;
        let lane = &mut self.lanes[number as usize];
        nodes.push_back(&mut lane.ready, slot);
        lane.waiting += 1;
        if lane.place == Place::Aside {
            self.join_rotation(number);
        }
    }

    /// Takes a ready message out of its lane.
    pub fn unlink(&mut self, nodes: &mut Nodes, slot: Slot) {
        let number = nodes.get(slot).lane;
        let lane = &mut self.lanes[number as usize];
        lane.unlink(nodes, slot);
        lane.waiting -= 1;
    }

    /// Takes the first lane in rotation that may have another delivery, and its oldest message. `supply` says whether
    /// there is memory for a message; what is had for one that does not begin is to be given back.
    pub fn take_turn(&mut self, nodes: &mut Nodes, now: u64, mut supply: impl FnMut(Slot) -> Supply) -> Option<Slot> {
        self.tick = now;
        self.unpark();
        self.unfinished = false;
        if self.in_flight >= self.slots {
            return None;
        }
        // One that may not go on leaves the rotation or goes to its end. Twice around: a lane passed over in favour of
        // others gets its turn if those turn out to have none.
        let (mut looks, mut starved) = (self.rotation.len() * 2, 0);
        while looks > 0 {
            looks -= 1;
            let number = self.rotation.pop_front()?;
            let others = !self.rotation.is_empty();
            let lane = &mut self.lanes[number as usize];
            let Some(slot) = lane.ready.first() else {
                self.set_aside(number);
                continue;
            };
            if others && lane.in_flight >= self.slots.div_ceil(2) {
                self.rotation.push_back(number);
                continue;
            }
            match supply(slot) {
                Supply::Enough => {}
                Supply::NotForThis if starved < STARVED_LOOKS_MAX => {
                    starved += 1;
                    looks += 1;
                    self.rotation.push_back(number);
                    self.starve(nodes, number);
                    continue;
                }
                Supply::NotForThis | Supply::ForNone => {
                    self.unfinished = starved == STARVED_LOOKS_MAX;
                    self.rotation.push_front(number);
                    return None;
                }
            }
            match lane.gate.enter(Caller { bell: &self.bell, lane: number }, lane.in_flight, now) {
                Entry::Entered { probe } => {
                    self.rotation.push_back(number);
                    nodes.unlink(&mut lane.ready, slot);
                    self.begin(nodes, slot, probe);
                    return Some(slot);
                }
                Entry::AllOwn => lane.place = Place::Aside,
                Entry::Turn(until) | Entry::Shut(until) => self.park(number, until),
            }
        }
        None
    }

    /// A message that its gate has let in, and that is in no list, is in flight.
    fn begin(&mut self, nodes: &mut Nodes, slot: Slot, probe: Option<u32>) {
        let node = nodes.get_mut(slot);
        node.set_state(NodeState::InFlight);
        let lane = &mut self.lanes[node.lane as usize];
        lane.in_flight += 1;
        lane.waiting -= 1;
        lane.probe = probe.map(|probe| (slot, probe)).or(lane.probe);
        self.in_flight += 1;
    }

    /// A lane that is in no list may not be tried before a tick.
    fn park(&mut self, number: u32, until: u64) {
        self.lanes[number as usize].place = Place::Parked(until);
        self.parked.insert((until, number));
    }

    /// The first tick at which a lane that may not be tried now may be.
    pub fn next_turn(&self) -> Option<u64> {
        // Without a slot it would be in vain; the end of a delivery is a reason to look again anyway.
        if self.in_flight >= self.slots {
            return None;
        }
        // A tick between pieces, so that connections and commits get their turn.
        let piece = self.unfinished.then_some(self.tick + 1);
        self.parked.first().map(|(until, _)| *until).into_iter().chain(piece).min()
    }

    /// A delivery is over: see [`Gate::leave`].
    pub fn free_slot(&mut self, slot: Slot, number: u32, signal: Signal, hold_until: Option<u64>, now: u64) -> Left {
        self.in_flight -= 1;
        let lane = &mut self.lanes[number as usize];
        lane.in_flight -= 1;
        let probe = lane.probe.take_if(|(probed, _)| *probed == slot).map(|(_, number)| number);
        let caller = Caller { bell: &self.bell, lane: number };
        let left = lane.gate.leave(caller, probe, signal, hold_until, now);
        if lane.ready.is_occupied() && lane.place == Place::Aside {
            self.join_rotation(number);
        }
        left
    }

    /// The same for a delivery of which nothing is known, at the present that was last told.
    pub fn abandon_slot(&mut self, slot: Slot, number: u32) {
        self.free_slot(slot, number, Signal::Nothing, None, self.tick);
    }

    /// Checks what must always hold, given what is in flight and what is ready; for tests.
    pub fn check(&self, in_flight: u32, ready: usize) {
        let waiting: u32 = self.lanes.iter().map(|lane| lane.waiting).sum();
        assert_eq!(waiting as usize, ready, "a ready message waits in its lane");
        assert_eq!(in_flight, self.in_flight, "a slot is held by a running attempt");
        assert!(self.in_flight <= self.slots, "slots bound what is in flight");
        let lanes_in_flight: u32 = self.lanes.iter().map(|lane| lane.in_flight).sum();
        assert_eq!(lanes_in_flight, self.in_flight, "a slot is held by a lane");
        let live = self.by_origin.values().map(|number| (*number, &self.lanes[*number as usize]));
        for (number, lane) in live {
            let parked = matches!(lane.place, Place::Parked(until) if self.parked.contains(&(until, number)));
            let in_rotation = self.rotation.contains(&number);
            let (is_parked, is_in_rotation) = (matches!(lane.place, Place::Parked(_)), lane.place == Place::InRotation);
            assert_eq!((parked, in_rotation), (is_parked, is_in_rotation), "a lane is where it says");
            let may_wait = !lane.ready.is_occupied() || lane.in_flight > 0;
            assert!(is_parked || is_in_rotation || may_wait, "a lane with something ready comes up again");
            let starving = self.starving.iter().filter(|starving| **starving == number).count();
            assert_eq!(starving, usize::from(lane.is_starving), "a lane waits once for memory, or not");
            assert!(lane.is_starving || !lane.starved.is_occupied(), "what waits for memory is granted it");
        }
    }

    /// Lanes that take memory, and those of them that have an origin; for tests.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        (self.lanes.len(), self.by_origin.len())
    }

    /// Brings back lanes whose time has come, or whose bell has rung.
    fn unpark(&mut self) {
        for number in self.bell.rung() {
            // It may have gone since, and its number be another's: that one then looks once in vain.
            if let Some(Lane { place: Place::Parked(until), .. }) = self.lanes.get(number as usize) {
                self.parked.remove(&(*until, number));
                self.join_rotation(number);
            }
        }
        while let Some((_, number)) = self.parked.first().copied().filter(|(until, _)| *until <= self.tick) {
            self.parked.pop_first();
            self.join_rotation(number);
        }
    }

    /// Takes a lane out of the rotation in which nothing is ready.
    fn set_aside(&mut self, number: u32) {
        let lane = &mut self.lanes[number as usize];
        lane.place = Place::Aside;
        if lane.messages == 0 {
            self.retire(number);
        } else {
            // If it had been waiting for a turn, that is another's now.
            lane.gate.withdraw(Caller { bell: &self.bell, lane: number }, self.tick);
        }
    }

    fn join_rotation(&mut self, number: u32) {
        self.lanes[number as usize].place = Place::InRotation;
        self.rotation.push_back(number);
    }

    fn open(&mut self, origin: OriginRef<'_>) -> u32 {
        let gate = self.gates.open(origin);
        let origin = Rc::new(origin.to_origin());
        let lane = Lane {
            origin: Rc::clone(&origin),
            gate,
            ready: List::default(),
            starved: List::default(),
            is_starving: false,
            waiting: 0,
            in_flight: 0,
            messages: 0,
            place: Place::Aside,
            probe: None,
            started_slowly: false,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.lanes[number as usize] = lane;
                number
            }
            None => {
                self.lanes.push(lane);
                u32::try_from(self.lanes.len() - 1).expect("a lane has a message, and those are fewer than 2^32")
            }
        };
        self.by_origin.insert(origin, number);
        number
    }

    /// Forgets a lane without messages, so that origins that are gone cost nothing.
    fn retire(&mut self, number: u32) {
        let lane = &mut self.lanes[number as usize];
        if let Place::Parked(until) = std::mem::replace(&mut lane.place, Place::Aside) {
            self.parked.remove(&(until, number));
        }
        lane.gate.withdraw(Caller { bell: &self.bell, lane: number }, self.tick);
        self.gates.close(&lane.origin, self.tick);
        self.by_origin.remove(&lane.origin);
        self.forget_starving(number);
        self.free.push(number);
    }
}
