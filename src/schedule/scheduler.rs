//! Whose turn it is: one lane per origin, lanes in rotation, delayed messages in a wheel. Every verb is O(1).

use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::HashMap;

use super::links::{List, NodeState, Nodes};
use super::wheel::Wheel;
use crate::message::{Origin, OriginRef, Slot};
use crate::time::{Millis, UnixMillis};

/// The present on both clocks: due times on disk are wall time, waiting is monotonic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: UnixMillis,
    /// Milliseconds of a clock that never goes back.
    pub tick: u64,
}

/// Bounds on what may be in flight.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Deliveries in flight over all lanes.
    pub slots: u32,
    /// Deliveries in flight to one origin.
    pub lane_in_flight: u32,
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
pub enum Next {
    /// Deliver this.
    Order(Order),
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
}

#[derive(Debug)]
struct Lane {
    origin: Rc<Origin>,
    ready: List,
    in_flight: u32,
    messages: u32,
    in_rotation: bool,
}

/// The schedule of one shard.
#[derive(Debug)]
pub struct Scheduler {
    limits: Limits,
    nodes: Nodes,
    landed: List,
    wheel: Wheel,
    lanes: Vec<Lane>,
    lanes_by_origin: HashMap<Rc<Origin>, u32>,
    lanes_free: Vec<u32>,
    rotation: VecDeque<u32>,
    in_flight: u32,
    counts: Counts,
}

impl Scheduler {
    /// An empty schedule.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            nodes: Nodes::default(),
            landed: List::default(),
            wheel: Wheel::default(),
            lanes: Vec::new(),
            lanes_by_origin: HashMap::new(),
            lanes_free: Vec::new(),
            rotation: VecDeque::new(),
            in_flight: 0,
            counts: Counts::default(),
        }
    }

    /// Enters a message that is due at `due` (zero: at once).
    pub fn add(&mut self, slot: Slot, origin: OriginRef<'_>, due: UnixMillis, attempts: u16, maybe_duplicate: bool) {
        let lane = self.lane_of(origin);
        self.lanes[lane as usize].messages += 1;
        self.nodes.enter(slot, lane);
        self.place(slot, due, attempts, maybe_duplicate);
    }

    /// Changes when a message is next due, wherever it is.
    pub fn reschedule(&mut self, slot: Slot, due: UnixMillis, attempts: u16, maybe_duplicate: bool) {
        self.take_out(slot);
        self.place(slot, due, attempts, maybe_duplicate);
    }

    /// Ends a message, wherever it is.
    pub fn remove(&mut self, slot: Slot) {
        self.take_out(slot);
        let node = self.nodes.get_mut(slot);
        node.state = NodeState::Vacant;
        let lane_number = node.lane;
        let lane = &mut self.lanes[lane_number as usize];
        lane.messages -= 1;
        if lane.messages == 0 && !lane.in_rotation {
            self.retire(lane_number);
        }
    }

    /// After recovery: any message may have been in flight when the process died. Not only those that are due by the
    /// log: a due time that was clamped, or read under another clock, came earlier than the log says.
    pub fn mark_maybe_duplicate(&mut self) {
        let occupied: Vec<Slot> = self.nodes.occupied().collect();
        for slot in occupied {
            self.nodes.get_mut(slot).maybe_duplicate = true;
        }
    }

    /// The next order, or how long there is none.
    pub fn next(&mut self, now: Now) -> Next {
        self.file_landed(now);
        let (lanes, rotation, counts) = (&mut self.lanes, &mut self.rotation, &mut self.counts);
        self.wheel.expire(&mut self.nodes, now.tick, |nodes, slot| {
            counts.delayed -= 1;
            make_ready(nodes, lanes, rotation, counts, slot);
        });
        match self.take_turn() {
            Some(order) => Next::Order(order),
            None => self.wheel.next_due().map_or(Next::Idle, Next::Wait),
        }
    }

    /// The attempt on an order is over: its slot is free at once, the message waits for its outcome to be durable.
    pub fn release(&mut self, slot: Slot) {
        let node = self.nodes.get_mut(slot);
        assert_eq!(node.state, NodeState::InFlight, "only a running attempt ends");
        node.state = NodeState::Concluding;
        let lane_number = node.lane;
        self.free_slot(lane_number);
    }

    /// Messages by state.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// The origin of a message.
    pub fn origin(&self, slot: Slot) -> &Rc<Origin> {
        &self.lanes[self.nodes.get(slot).lane as usize].origin
    }

    /// Attempts made on a message, and whether one of them may have reached the origin.
    pub fn progress(&self, slot: Slot) -> (u16, bool) {
        let node = self.nodes.get(slot);
        (node.attempts, node.maybe_duplicate)
    }

    /// Checks what must always hold; for tests.
    pub fn check(&self) {
        let mut counts = Counts::default();
        let mut in_flight = 0;
        for slot in self.nodes.occupied() {
            match self.nodes.get(slot).state {
                NodeState::Ready => counts.ready += 1,
                NodeState::Landed | NodeState::Delayed => counts.delayed += 1,
                NodeState::InFlight => (counts.in_flight, in_flight) = (counts.in_flight + 1, in_flight + 1),
                NodeState::Concluding => counts.in_flight += 1,
                NodeState::Vacant => {}
            }
        }
        assert_eq!(counts, self.counts, "every message is in exactly one state");
        assert_eq!(in_flight, self.in_flight, "a slot is held by a running attempt");
        assert!(self.in_flight <= self.limits.slots, "slots bound what is in flight");
        let lanes_in_flight: u32 = self.lanes.iter().map(|lane| lane.in_flight).sum();
        assert_eq!(lanes_in_flight, self.in_flight, "a slot is held by a lane");
        for lane in &self.lanes {
            assert!(lane.in_flight <= self.limits.lane_in_flight, "ORIGIN_IN_FLIGHT bounds a lane");
        }
    }

    fn place(&mut self, slot: Slot, due: UnixMillis, attempts: u16, maybe_duplicate: bool) {
        let node = self.nodes.get_mut(slot);
        (node.attempts, node.maybe_duplicate, node.due) = (attempts, maybe_duplicate, due.0);
        if due.0 == 0 {
            make_ready(&mut self.nodes, &mut self.lanes, &mut self.rotation, &mut self.counts, slot);
        } else {
            node.state = NodeState::Landed;
            self.counts.delayed += 1;
            self.nodes.push_back(&mut self.landed, slot);
        }
    }

    fn take_out(&mut self, slot: Slot) {
        let node = *self.nodes.get(slot);
        match node.state {
            NodeState::Ready => {
                self.counts.ready -= 1;
                self.nodes.unlink(&mut self.lanes[node.lane as usize].ready, slot);
            }
            NodeState::Landed => {
                self.counts.delayed -= 1;
                self.nodes.unlink(&mut self.landed, slot);
            }
            NodeState::Delayed => {
                self.counts.delayed -= 1;
                self.wheel.remove(&mut self.nodes, slot);
            }
            NodeState::InFlight => {
                self.counts.in_flight -= 1;
                self.free_slot(node.lane);
            }
            NodeState::Concluding => self.counts.in_flight -= 1,
            NodeState::Vacant => panic!("only a live message is taken out"),
        }
    }

    /// Turns due times of the wall clock into ticks.
    fn file_landed(&mut self, now: Now) {
        while let Some(slot) = self.nodes.pop_front(&mut self.landed) {
            let wait = UnixMillis(self.nodes.get(slot).due).since(now.wall).min(self.limits.wait_max);
            self.wheel.insert(&mut self.nodes, slot, now.tick + wait.0);
        }
    }

    /// Takes the first lane in rotation that may have another delivery, and its oldest message.
    fn take_turn(&mut self) -> Option<Order> {
        if self.in_flight >= self.limits.slots {
            return None;
        }
        // One that may not go on leaves the rotation or goes to its end. Twice around: a lane passed over in favour of
        // others gets its turn if those turn out to have none.
        for _ in 0..self.rotation.len() * 2 {
            let lane_number = self.rotation.pop_front()?;
            let others = !self.rotation.is_empty();
            let lane = &mut self.lanes[lane_number as usize];
            if !lane.ready.is_occupied() || lane.in_flight >= self.limits.lane_in_flight {
                lane.in_rotation = false;
                if lane.messages == 0 {
                    self.retire(lane_number);
                }
                continue;
            }
            self.rotation.push_back(lane_number);
            if others && lane.in_flight >= self.limits.slots.div_ceil(2) {
                continue;
            }
            lane.in_flight += 1;
            self.in_flight += 1;
            let slot = self.nodes.pop_front(&mut lane.ready).expect("a lane in rotation has a message");
            let origin = Rc::clone(&lane.origin);
            let node = self.nodes.get_mut(slot);
            node.state = NodeState::InFlight;
            self.counts.ready -= 1;
            self.counts.in_flight += 1;
            return Some(Order {
                slot,
                origin,
                attempt: node.attempts.saturating_add(1),
                maybe_duplicate: node.maybe_duplicate,
            });
        }
        None
    }

    fn free_slot(&mut self, lane_number: u32) {
        self.in_flight -= 1;
        let lane = &mut self.lanes[lane_number as usize];
        lane.in_flight -= 1;
        if lane.ready.is_occupied() && !lane.in_rotation {
            lane.in_rotation = true;
            self.rotation.push_back(lane_number);
        }
    }

    fn lane_of(&mut self, origin: OriginRef<'_>) -> u32 {
        if let Some(lane) = self.lanes_by_origin.get(&origin) {
            return *lane;
        }
        let origin = Rc::new(origin.to_origin());
        let lane =
            Lane { origin: Rc::clone(&origin), ready: List::default(), in_flight: 0, messages: 0, in_rotation: false };
        let number = match self.lanes_free.pop() {
            Some(number) => {
                self.lanes[number as usize] = lane;
                number
            }
            None => {
                self.lanes.push(lane);
                u32::try_from(self.lanes.len() - 1).expect("a lane has a message, and those are fewer than 2^32")
            }
        };
        self.lanes_by_origin.insert(origin, number);
        number
    }

    /// Forgets a lane without messages, so that origins that are gone cost nothing.
    fn retire(&mut self, lane_number: u32) {
        let origin = Rc::clone(&self.lanes[lane_number as usize].origin);
        self.lanes_by_origin.remove(&origin);
        self.lanes_free.push(lane_number);
    }
}

fn make_ready(nodes: &mut Nodes, lanes: &mut [Lane], rotation: &mut VecDeque<u32>, counts: &mut Counts, slot: Slot) {
    let node = nodes.get_mut(slot);
    node.state = NodeState::Ready;
    let lane_number = node.lane;
    let lane = &mut lanes[lane_number as usize];
    nodes.push_back(&mut lane.ready, slot);
    counts.ready += 1;
    if !lane.in_rotation {
        lane.in_rotation = true;
        rotation.push_back(lane_number);
    }
}

#[cfg(test)]
#[path = "scheduler_tests.rs"]
mod tests;
