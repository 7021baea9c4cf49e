//! Doubly linked lists through one table of nodes: a message is in exactly one list, and leaves it in O(1).

pub use super::node::{Node, NodeState};
use crate::message::{Chunks, Slot};

/// No node: no slot has this number.
const NONE: u32 = u32::MAX;

/// Head and tail of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    head: u32,
    tail: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

impl List {
    /// Whether anything is in it.
    pub const fn is_occupied(&self) -> bool {
        self.head != NONE
    }

    /// The first in it.
    pub fn first(&self) -> Option<Slot> {
        Some(Slot(self.head)).filter(|_| self.is_occupied())
    }

    /// The last in it.
    pub fn last(&self) -> Option<Slot> {
        Some(Slot(self.tail)).filter(|_| self.is_occupied())
    }
}

/// The table of nodes, by [`Slot`].
#[derive(Debug, Default)]
pub struct Nodes(Chunks<Node>);

impl Nodes {
    /// The node of a slot that has been entered.
    pub fn get(&self, slot: Slot) -> &Node {
        &self.0[slot]
    }

    /// The node of a slot that has been entered, to change what is not its place in a list.
    pub fn get_mut(&mut self, slot: Slot) -> &mut Node {
        &mut self.0[slot]
    }

    /// Enters a vacant slot, in no list and still to be given a state.
    pub fn enter(&mut self, slot: Slot, lane: u32) {
        let vacant = Node::vacant(NONE);
        while self.0.len() <= slot.index() {
            self.0.push(vacant);
        }
        assert_eq!(self.get(slot).state(), NodeState::Vacant, "a slot is entered once");
        let node = self.get_mut(slot);
        node.lane = lane;
        node.set_replayed(false);
    }

    /// Slots that have been entered at some time are below this.
    pub const fn slots(&self) -> usize {
        self.0.len()
    }

    /// All slots that hold a message.
    pub fn occupied(&self) -> impl Iterator<Item = Slot> + '_ {
        self.0.iter().filter(|(_, node)| node.state() != NodeState::Vacant).map(|(slot, _)| Slot(slot))
    }

    /// Appends a node that is in no list.
    pub fn push_back(&mut self, list: &mut List, slot: Slot) {
        let tail = list.tail;
        let node = self.get_mut(slot);
        (node.prev, node.next) = (tail, NONE);
        if tail == NONE {
            list.head = slot.0
        } else {
            self.0[Slot(tail)].next = slot.0
        }
        list.tail = slot.0;
    }

    /// Takes a node out of the list it is in.
    pub fn unlink(&mut self, list: &mut List, slot: Slot) {
        let Node { next, prev, .. } = *self.get(slot);
        if prev == NONE {
            list.head = next
        } else {
            self.0[Slot(prev)].next = next
        }
        if next == NONE {
            list.tail = prev
        } else {
            self.0[Slot(next)].prev = prev
        }
        let node = self.get_mut(slot);
        (node.prev, node.next) = (NONE, NONE);
    }

    /// Takes the first node out.
    pub fn pop_front(&mut self, list: &mut List) -> Option<Slot> {
        let first = list.first()?;
        self.unlink(list, first);
        Some(first)
    }

    /// Moves all of `other` behind the last of `list`, in O(1).
    pub fn append(&mut self, list: &mut List, other: &mut List) {
        let (last, first) = (list.tail, other.head);
        if last == NONE || first == NONE {
            if last == NONE {
                *list = *other;
            }
        } else {
            self.0[Slot(last)].next = first;
            self.0[Slot(first)].prev = last;
            list.tail = other.tail;
        }
        *other = List::default();
    }
}
