//! One lane per origin, in rotation: whose turn it is among those that are ready.

use std::collections::VecDeque;
use std::rc::Rc;

use hashbrown::HashMap;

use super::links::{List, NodeState, Nodes};
use super::scheduler::Limits;
use crate::message::{Origin, OriginRef, Slot};

#[derive(Debug)]
struct Lane {
    origin: Rc<Origin>,
    ready: List,
    in_flight: u32,
    messages: u32,
    in_rotation: bool,
}

/// The lanes of one shard.
#[derive(Debug)]
pub struct Lanes {
    limits: Limits,
    lanes: Vec<Lane>,
    by_origin: HashMap<Rc<Origin>, u32>,
    free: Vec<u32>,
    rotation: VecDeque<u32>,
    in_flight: u32,
}

impl Lanes {
    /// None.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: Vec::new(),
            by_origin: HashMap::new(),
            free: Vec::new(),
            rotation: VecDeque::new(),
            in_flight: 0,
        }
    }

    /// The number of an origin's lane, if it has one. Numbers are small, and used again when a lane is gone.
    pub fn find(&self, origin: OriginRef<'_>) -> Option<u32> {
        self.by_origin.get(&origin).copied()
    }

    /// The origin of a lane.
    pub fn origin(&self, lane: u32) -> &Rc<Origin> {
        &self.lanes[lane as usize].origin
    }

    /// Enters a message for `origin`; returns its lane.
    pub fn enter(&mut self, origin: OriginRef<'_>) -> u32 {
        let number = self.find(origin).unwrap_or_else(|| self.open(origin));
        self.lanes[number as usize].messages += 1;
        number
    }

    /// Takes a message out that is neither ready nor in flight.
    pub fn leave(&mut self, number: u32) {
        let lane = &mut self.lanes[number as usize];
        lane.messages -= 1;
        if lane.messages == 0 && !lane.in_rotation {
            self.retire(number);
        }
    }

    /// Appends a message to its lane.
    pub fn make_ready(&mut self, nodes: &mut Nodes, slot: Slot) {
        let node = nodes.get_mut(slot);
        node.set_state(NodeState::Ready);
        let number = node.lane;
        nodes.push_back(&mut self.lanes[number as usize].ready, slot);
        self.join_rotation(number);
    }

    /// Takes a ready message out of its lane.
    pub fn unlink(&mut self, nodes: &mut Nodes, slot: Slot) {
        let number = nodes.get(slot).lane;
        nodes.unlink(&mut self.lanes[number as usize].ready, slot);
    }

    /// Takes the first lane in rotation that may have another delivery, and its oldest message.
    pub fn take_turn(&mut self, nodes: &mut Nodes) -> Option<Slot> {
        if self.in_flight >= self.limits.slots {
            return None;
        }
        // One that may not go on leaves the rotation or goes to its end. Twice around: a lane passed over in favour of
        // others gets its turn if those turn out to have none.
        for _ in 0..self.rotation.len() * 2 {
            let number = self.rotation.pop_front()?;
            let others = !self.rotation.is_empty();
            let lane = &mut self.lanes[number as usize];
            if !lane.ready.is_occupied() || lane.in_flight >= self.limits.lane_in_flight {
                lane.in_rotation = false;
                if lane.messages == 0 {
                    self.retire(number);
                }
                continue;
            }
            self.rotation.push_back(number);
            if others && lane.in_flight >= self.limits.slots.div_ceil(2) {
                continue;
            }
            lane.in_flight += 1;
            self.in_flight += 1;
            let slot = nodes.pop_front(&mut lane.ready).expect("a lane in rotation has a message");
            nodes.get_mut(slot).set_state(NodeState::InFlight);
            return Some(slot);
        }
        None
    }

    /// A delivery is over.
    pub fn free_slot(&mut self, number: u32) {
        self.in_flight -= 1;
        let lane = &mut self.lanes[number as usize];
        lane.in_flight -= 1;
        if lane.ready.is_occupied() {
            self.join_rotation(number);
        }
    }

    /// Checks what must always hold, given what is in flight; for tests.
    pub fn check(&self, in_flight: u32) {
        assert_eq!(in_flight, self.in_flight, "a slot is held by a running attempt");
        assert!(self.in_flight <= self.limits.slots, "slots bound what is in flight");
        let lanes_in_flight: u32 = self.lanes.iter().map(|lane| lane.in_flight).sum();
        assert_eq!(lanes_in_flight, self.in_flight, "a slot is held by a lane");
        for lane in &self.lanes {
            assert!(lane.in_flight <= self.limits.lane_in_flight, "ORIGIN_IN_FLIGHT bounds a lane");
        }
    }

    /// Lanes that take memory, and those of them that have an origin; for tests.
    #[cfg(test)]
    pub fn sizes(&self) -> (usize, usize) {
        (self.lanes.len(), self.by_origin.len())
    }

    fn join_rotation(&mut self, number: u32) {
        let lane = &mut self.lanes[number as usize];
        if !lane.in_rotation {
            lane.in_rotation = true;
            self.rotation.push_back(number);
        }
    }

    fn open(&mut self, origin: OriginRef<'_>) -> u32 {
        let origin = Rc::new(origin.to_origin());
        let lane =
            Lane { origin: Rc::clone(&origin), ready: List::default(), in_flight: 0, messages: 0, in_rotation: false };
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
        let origin = Rc::clone(&self.lanes[number as usize].origin);
        self.by_origin.remove(&origin);
        self.free.push(number);
    }
}
