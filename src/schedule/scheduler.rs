//! Whose turn it is: ready messages in the lanes of their origins, delayed ones in a wheel. Every verb is O(1).

use std::rc::Rc;
use std::sync::Arc;

use super::bell::Bell;
use super::breaker::Signal;
use super::busiest::Counted;
use super::due;
use super::gate::{Gates, Left};
use super::held::Held;
use super::lanes::Lanes;
pub use super::lanes::{Granted, Supply};
use super::links::{List, Node, NodeState, Nodes};
use super::wheel::Wheel;
use crate::limits::RELEASED_MAX;
use crate::message::{MessageId, Origin, OriginRef, Slot};
use crate::time::{Millis, UnixMillis};

/// The present on both clocks: due times on disk are wall time, waiting is monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: UnixMillis,
    /// Milliseconds of a clock that never goes back.
    pub tick: u64,
}

/// Bounds on the schedule of one shard; those on an origin are with [`Gates`], as all shards share it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Deliveries in flight over all lanes.
    pub slots: u32,
    /// A due time is never taken to be further ahead than this, whatever the wall clock says.
    pub wait_max: Millis,
}

/// A message whose turn it is.
#[derive(Clone, Debug)]
pub struct Order {
    /// The message.
    pub slot: Slot,
    /// Where it goes.
    pub origin: Rc<Origin>,
    /// Number of the attempt to make, from 1.
    pub attempt: u16,
    /// An earlier attempt may have reached the origin.
    pub maybe_duplicate: bool,
}

/// What to do next.
#[derive(Clone, Debug)]
pub enum Next<T = Order> {
    /// Deliver this.
    Order(T),
    /// Nothing before this tick.
    Wait(u64),
    /// Nothing until something changes.
    Idle,
}

/// How many messages are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Waiting for a slot.
    pub ready: usize,
    /// Waiting for their due time.
    pub delayed: usize,
    /// An attempt is running, or its outcome is on its way to the disk.
    pub in_flight: usize,
    /// Recovered, while the rest of the log is not.
    pub held: usize,
}

impl Counts {
    fn of(&mut self, state: NodeState) -> &mut usize {
        match state {
            NodeState::Ready => &mut self.ready,
            NodeState::Landed | NodeState::Delayed => &mut self.delayed,
            NodeState::InFlight | NodeState::Concluding => &mut self.in_flight,
            NodeState::Held => &mut self.held,
            NodeState::Vacant => panic!("only live messages are counted"),
        }
    }
}

/// The schedule of one shard.
#[derive(Debug)]
pub struct Scheduler {
    wait_max: Millis,
    /// The wall clock when it was last asked.
    wall: UnixMillis,
    nodes: Nodes,
    landed: List,
    /// What is held was not in flight when its process ended.
    rested: bool,
    held: Held,
    wheel: Wheel,
    lanes: Lanes,
    counts: Counts,
}

impl Scheduler {
    /// An empty schedule; `wall` is the present.
    pub fn new(limits: Limits, gates: Arc<Gates>, wall: UnixMillis) -> Self {
        Self {
            wait_max: limits.wait_max,
            wall,
            nodes: Nodes::default(),
            landed: List::default(),
            rested: false,
            held: Held::default(),
            wheel: Wheel::default(),
            lanes: Lanes::new(limits.slots, gates),
            counts: Counts::default(),
        }
    }

    /// Rung when [`Scheduler::next`] may have something new because of what other shards did.
    pub const fn bell(&self) -> &Arc<Bell> {
        self.lanes.bell()
    }

    /// Enters a message that is due at `due` (zero: at once).
    pub fn add(&mut self, slot: Slot, origin: OriginRef<'_>, due: UnixMillis, attempts: u16, maybe_duplicate: bool) {
        let lane = self.lanes.enter(origin);
        self.nodes.enter(slot, lane);
        self.note(slot, due, attempts, maybe_duplicate);
        self.place(slot);
    }

    /// Enters a message that is not due before [`Scheduler::release_held`], whatever `due` says: how it went on may
    /// stand in a part of the log that is not read yet.
    pub fn hold(
        &mut self,
        slot: Slot,
        origin: OriginRef<'_>,
        due: UnixMillis,
        attempts: u16,
        maybe_duplicate: bool,
        id_of: impl Fn(Slot) -> MessageId,
    ) {
        let lane = self.lanes.enter(origin);
        // What waited for a restart is overdue; all of it together must not run the origin over.
        self.lanes.start_slowly(lane);
        self.nodes.enter(slot, lane);
        self.note(slot, due, attempts, maybe_duplicate);
        self.nodes.get_mut(slot).set_state(NodeState::Held);
        self.counts.held += 1;
        self.held.push(&mut self.nodes, slot, id_of);
    }

    /// Notes that a message was replayed, and lives since later than its id says.
    pub fn set_replayed(&mut self, slot: Slot) {
        self.nodes.get_mut(slot).set_replayed(true);
    }

    /// Whether a message is neither in flight nor held, and lives since when its id says.
    pub fn may_expire(&self, slot: Slot) -> bool {
        let node = self.nodes.get(slot);
        match node.state() {
            NodeState::Ready | NodeState::Landed | NodeState::Delayed => !node.replayed(),
            NodeState::Held | NodeState::InFlight | NodeState::Concluding | NodeState::Vacant => false,
        }
    }

    /// Slots are below this.
    pub fn slots(&self) -> u32 {
        u32::try_from(self.nodes.slots()).expect("slots are numbered in 32 bits")
    }

    /// Changes when a message is next due, wherever it is. One that is held stays so.
    pub fn reschedule(&mut self, slot: Slot, due: UnixMillis, attempts: u16, maybe_duplicate: bool) {
        if self.state(slot) == NodeState::Held {
            self.note(slot, due, attempts, maybe_duplicate);
            return;
        }
        self.take_out(slot);
        self.note(slot, due, attempts, maybe_duplicate);
        self.place(slot);
    }

    /// Ends a message, wherever it is.
    pub fn remove(&mut self, slot: Slot) {
        self.take_out(slot);
        let node = self.nodes.get_mut(slot);
        node.set_state(NodeState::Vacant);
        let lane = node.lane;
        self.lanes.leave(lane);
    }

    /// Says that what is held was not in flight when its process ended. Else it may have been.
    pub fn set_rested(&mut self) {
        self.rested = true;
    }

    /// Whether an earlier attempt at anything that is alive may have reached its origin. Looks at all of it. What is held
    /// is marked only when it is placed.
    pub fn is_any_marked(&self) -> bool {
        let may_be = |node: &Node| node.maybe_duplicate() || (!self.rested && node.state() == NodeState::Held);
        self.nodes.occupied().any(|slot| may_be(self.nodes.get(slot)))
    }

    /// Releases every message that is held now, in O(1): [`Scheduler::place_released`] enters them piece by piece.
    pub fn release_held(&mut self) {
        self.held.release(&mut self.nodes);
    }

    /// Enters released messages, oldest first, as many as do not hold the core up. Each may have been in flight when the
    /// process died, unless it came to rest. Not only those that are due by the log: a due time that was clamped, or read under another clock,
    /// came earlier than the log says.
    pub fn place_released(&mut self, id_of: impl Fn(Slot) -> MessageId) {
        for _ in 0..RELEASED_MAX {
            let Some(slot) = self.held.pop(&mut self.nodes, &id_of) else { break };
            self.counts.held -= 1;
            if !self.rested {
                self.nodes.get_mut(slot).set_maybe_duplicate(true);
            }
            self.place(slot);
        }
    }

    /// The next order, or how long there is none. `supply` says whether there is memory for a message; what is had
    /// for one that does not begin is to be given back.
    pub fn next(&mut self, now: Now, supply: impl FnMut(Slot) -> Supply) -> Next {
        self.wall = now.wall;
        self.file_landed(now);
        let (lanes, counts) = (&mut self.lanes, &mut self.counts);
        self.wheel.expire(&mut self.nodes, now.tick, |nodes, slot| {
            counts.delayed -= 1;
            counts.ready += 1;
            lanes.make_ready(nodes, slot);
        });
        if let Some(slot) = self.lanes.take_turn(&mut self.nodes, now.tick, supply) {
            return Next::Order(self.begun(slot));
        }
        // A tick between pieces, so that connections and commits get their turn.
        let piece = self.held.is_releasing().then_some(now.tick + 1);
        let times = [self.wheel.next_due(), self.lanes.next_turn(), piece];
        times.into_iter().flatten().min().map_or(Next::Idle, Next::Wait)
    }

    /// The message that is to be granted memory first, among those that were found to lack it.
    pub fn first_starved(&mut self) -> Option<Slot> {
        self.lanes.first_starved(&mut self.nodes)
    }

    /// Begins [`Scheduler::first_starved`], if it may: there is memory for it now.
    pub fn grant(&mut self, now: Now) -> Granted<Order> {
        match self.lanes.grant(&mut self.nodes, now.tick) {
            Granted::Begun(slot) => Granted::Begun(self.begun(slot)),
            Granted::Busy(until) => Granted::Busy(until),
            Granted::Declined => Granted::Declined,
        }
    }

    /// The attempt on an order is over: its slot is free at once, the message waits for its outcome to be durable.
    ///
    /// `signal` is what the attempt tells of the origin, `hold_until` a tick before which the origin asked not to be
    /// tried, `now` the present tick.
    pub fn release(&mut self, slot: Slot, signal: Signal, hold_until: Option<u64>, now: u64) -> Left {
        let node = self.nodes.get_mut(slot);
        assert_eq!(node.state(), NodeState::InFlight, "only a running attempt ends");
        node.set_state(NodeState::Concluding);
        let lane = node.lane;
        self.lanes.free_slot(slot, lane, signal, hold_until, now)
    }

    /// A message is about to end without an attempt, wherever it is.
    pub fn conclude(&mut self, slot: Slot) {
        self.take_out(slot);
        self.nodes.get_mut(slot).set_state(NodeState::Concluding);
        *self.counts.of(NodeState::Concluding) += 1;
    }

    /// Origins that have a lane.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Messages by state.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Where a message is in its life.
    pub fn state(&self, slot: Slot) -> NodeState {
        self.nodes.get(slot).state()
    }

    /// The number of a message's lane. Numbers are small: a lane that is gone leaves its number to another.
    pub fn lane(&self, slot: Slot) -> u32 {
        self.nodes.get(slot).lane
    }

    /// The number of an origin's lane, if it has one.
    pub fn lane_of(&self, origin: OriginRef<'_>) -> Option<u32> {
        self.lanes.find(origin)
    }

    /// Messages for an origin that wait for their turn.
    pub fn ready_of(&self, origin: OriginRef<'_>) -> u32 {
        self.lane_of(origin).map_or(0, |lane| self.lanes.ready(lane))
    }

    /// The origin of a message.
    pub fn origin(&self, slot: Slot) -> &Rc<Origin> {
        self.lanes.origin(self.lane(slot))
    }

    /// Counts for the metrics of a live message's origin.
    pub fn count(&self, slot: Slot, what: Counted) {
        self.lanes.count(self.lane(slot), what);
    }

    /// Attempts made on a message, and whether one of them may have reached the origin.
    pub fn progress(&self, slot: Slot) -> (u16, bool) {
        let node = self.nodes.get(slot);
        (node.attempts(), node.maybe_duplicate())
    }

    /// Checks what must always hold; for tests.
    pub fn check(&self) {
        let (mut counts, mut in_flight) = (Counts::default(), 0);
        for slot in self.nodes.occupied() {
            let state = self.state(slot);
            *counts.of(state) += 1;
            in_flight += u32::from(state == NodeState::InFlight);
        }
        assert_eq!(counts, self.counts, "every message is in exactly one state");
        self.lanes.check(in_flight, counts.ready);
    }

    fn begun(&mut self, slot: Slot) -> Order {
        self.counts.ready -= 1;
        self.counts.in_flight += 1;
        let (attempts, maybe_duplicate) = self.progress(slot);
        Order { slot, origin: Rc::clone(self.origin(slot)), attempt: attempts.saturating_add(1), maybe_duplicate }
    }

    fn note(&mut self, slot: Slot, due: UnixMillis, attempts: u16, maybe_duplicate: bool) {
        let node = self.nodes.get_mut(slot);
        node.set_due(due::pack(due, self.wall));
        node.set_attempts(attempts);
        node.set_maybe_duplicate(maybe_duplicate);
    }

    /// Puts a message that is in no list where its due time says.
    fn place(&mut self, slot: Slot) {
        let node = self.nodes.get_mut(slot);
        if node.due() == due::AT_ONCE {
            self.counts.ready += 1;
            self.lanes.make_ready(&mut self.nodes, slot);
        } else {
            node.set_state(NodeState::Landed);
            self.counts.delayed += 1;
            self.nodes.push_back(&mut self.landed, slot);
        }
    }

    fn take_out(&mut self, slot: Slot) {
        let state = self.state(slot);
        *self.counts.of(state) -= 1;
        match state {
            NodeState::Ready => self.lanes.unlink(&mut self.nodes, slot),
            NodeState::Landed => self.nodes.unlink(&mut self.landed, slot),
            NodeState::Delayed => self.wheel.remove(&mut self.nodes, slot),
            NodeState::Held => self.held.remove(&mut self.nodes, slot),
            NodeState::InFlight => self.lanes.abandon_slot(slot, self.nodes.get(slot).lane),
            NodeState::Concluding => {}
            NodeState::Vacant => panic!("only a live message is taken out"),
        }
    }

    /// Turns due times of the wall clock into ticks.
    fn file_landed(&mut self, now: Now) {
        while let Some(slot) = self.nodes.pop_front(&mut self.landed) {
            let wait = due::wait(self.nodes.get(slot).due(), now.wall).min(self.wait_max);
            self.wheel.insert(&mut self.nodes, slot, now.tick + wait.0);
        }
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
