//! Messages that wait aside for memory, a list in each lane, and whose turn it is among those lanes.
//!
//! Memory comes before the gate: what the gate has let in begins at once, so that it is still what the origin may be sent.
//! What waits aside holds no slot and no place at its gate. Small messages of its lane pass it meanwhile; it does not pass
//! others for ever, as its lane's turn among the starving ones comes, and what is then granted is kept for it until a slot
//! and its gate have a place. Only a gate that is shut sends it back to its lane, to wait there and not for memory.

use super::{Caller, Entry, Lane, Lanes, Place};
use crate::message::Slot;
use crate::schedule::links::Nodes;

/// Whether there is memory for a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supply {
    /// There is: it may begin.
    Enough,
    /// Not for one as large: others pass it.
    NotForThis,
    /// Not for any: none can begin.
    ForNone,
}

/// What came of granting memory to the message that is first among those that wait for it.
#[derive(Clone, Debug)]
pub enum Granted<Order> {
    /// It is in flight.
    Begun(Order),
    /// It has to wait for a slot or for its origin: until this tick, if no delivery ends before.
    Busy(Option<u64>),
    /// It may not be sent for some time, or has gone.
    Declined,
}

impl Lanes {
    /// Puts the first ready message of a lane aside, to wait for memory.
    pub(super) fn starve(&mut self, nodes: &mut Nodes, number: u32) {
        let lane = &mut self.lanes[number as usize];
        let slot = nodes.pop_front(&mut lane.ready).expect("one is ready");
        nodes.push_back(&mut lane.starved, slot);
        if !std::mem::replace(&mut lane.is_starving, true) {
            self.starving.push_back(number);
        }
    }

    /// The message that is to be granted memory first.
    pub fn first_starved(&mut self, nodes: &mut Nodes) -> Option<Slot> {
        loop {
            let lane = &mut self.lanes[*self.starving.front()? as usize];
            if let Some(slot) = lane.starved.first() {
                return Some(slot);
            }
            self.end_starving(nodes);
        }
    }

    /// Memory for [`Lanes::first_starved`] is there.
    pub fn grant(&mut self, nodes: &mut Nodes, now: u64) -> Granted<Slot> {
        self.tick = now;
        if self.first_starved(nodes).is_none() {
            return Granted::Declined;
        }
        let number = self.starving[0];
        let others = self.rotation.iter().any(|other| *other != number);
        let lane = &mut self.lanes[number as usize];
        if self.in_flight >= self.slots || others && lane.in_flight >= self.slots.div_ceil(2) {
            return Granted::Busy(None);
        }
        match lane.gate.enter(Caller { bell: &self.bell, lane: number }, lane.in_flight, now) {
            Entry::Entered { probe } => {
                let slot = nodes.pop_front(&mut lane.starved).expect("looked at above");
                let is_starving = lane.starved.is_occupied();
                lane.is_starving = is_starving;
                self.starving.pop_front();
                if is_starving {
                    self.starving.push_back(number);
                }
                self.begin(nodes, slot, probe);
                Granted::Begun(slot)
            }
            Entry::AllOwn => Granted::Busy(None),
            Entry::Turn(until) => Granted::Busy(Some(until)),
            Entry::Shut(until) => {
                match lane.place {
                    Place::InRotation => self.rotation.retain(|other| *other != number),
                    Place::Parked(until) => _ = self.parked.remove(&(until, number)),
                    Place::Aside => {}
                }
                self.park(number, until);
                self.end_starving(nodes);
                Granted::Declined
            }
        }
    }

    /// The first starving lane has nothing to grant memory to any more: what is left of it waits with the rest, in front.
    fn end_starving(&mut self, nodes: &mut Nodes) {
        let Some(number) = self.starving.pop_front() else { return };
        let lane = &mut self.lanes[number as usize];
        lane.is_starving = false;
        nodes.append(&mut lane.starved, &mut lane.ready);
        lane.ready = std::mem::take(&mut lane.starved);
    }

    /// A lane that is forgotten waits for no memory.
    pub(super) fn forget_starving(&mut self, number: u32) {
        if std::mem::take(&mut self.lanes[number as usize].is_starving) {
            self.starving.retain(|other| *other != number);
        }
    }
}

impl Lane {
    /// Takes a message out of whichever list it is in: from the midst of a list a node goes without touching its ends.
    pub(super) fn unlink(&mut self, nodes: &mut Nodes, slot: Slot) {
        let is_end = [self.starved.first(), self.starved.last()].contains(&Some(slot));
        nodes.unlink(if is_end { &mut self.starved } else { &mut self.ready }, slot);
    }
}

#[cfg(test)]
#[path = "starved_tests.rs"]
mod tests;
