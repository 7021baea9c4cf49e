//! Doubly linked lists through one table of nodes: a message is in exactly one list, and leaves it in O(1).

use crate::message::Slot;

/// No node.
const NONE: u32 = u32::MAX;

/// A message's place in the schedule: 32 bytes, whatever its body.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    next: u32,
    prev: u32,
    /// Ticks while in the wheel, wall-clock milliseconds while landed.
    pub due: u64,
    /// The message's lane.
    pub lane: u32,
    /// Attempts made.
    pub attempts: u16,
    /// Bucket of the wheel while delayed.
    pub bucket: u16,
    /// An earlier attempt may have reached the origin.
    pub maybe_duplicate: bool,
    /// Where the message is.
    pub state: NodeState,
}

/// Where a message is in its life. Each but the last two is membership in one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// In its lane, for the next free slot.
    Ready,
    /// Its due time is not in the wheel yet.
    Landed,
    /// In the wheel.
    Delayed,
    /// An attempt is running.
    InFlight,
    /// The attempt is over and its outcome is on its way to the disk.
    Concluding,
    /// No message has this slot.
    Vacant,
}

/// Head and tail of a list.
#[derive(Clone, Copy, Debug)]
pub struct List {
    head: u32,
    tail: u32,
}

impl Default for List {
    fn default() -> Self {
        Self { head: NONE, tail: NONE }
    }
}

/// The table of nodes, indexed by [`Slot`].
#[derive(Debug, Default)]
pub struct Nodes(Vec<Node>);

impl Nodes {
    /// The node of a slot that has been entered.
    pub fn get(&self, slot: Slot) -> &Node {
        &self.0[slot.index()]
    }

    /// The node of a slot that has been entered, to change what is not its place in a list.
    pub fn get_mut(&mut self, slot: Slot) -> &mut Node {
        &mut self.0[slot.index()]
    }

    /// Enters a vacant slot, in no list yet.
    pub fn enter(&mut self, slot: Slot, lane: u32) {
        let vacant = Node {
            next: NONE,
            prev: NONE,
            due: 0,
            lane,
            attempts: 0,
            bucket: 0,
            maybe_duplicate: false,
            state: NodeState::Vacant,
        };
        if self.0.len() <= slot.index() {
            self.0.resize(slot.index() + 1, vacant);
        }
        assert_eq!(self.get(slot).state, NodeState::Vacant, "a slot is entered once");
        self.0[slot.index()] = vacant;
    }

    /// All slots that hold a message.
    pub fn occupied(&self) -> impl Iterator<Item = Slot> + '_ {
        let numbered = (0_u32..).zip(&self.0);
        numbered.filter(|(_, node)| node.state != NodeState::Vacant).map(|(number, _)| Slot(number))
    }

    /// Appends a node that is in no list.
    pub fn push_back(&mut self, list: &mut List, slot: Slot) {
        let tail = list.tail;
        let node = self.get_mut(slot);
        (node.prev, node.next) = (tail, NONE);
        if tail == NONE {
            list.head = slot.0
        } else {
            self.0[tail as usize].next = slot.0
        }
        list.tail = slot.0;
    }

    /// Takes a node out of the list it is in.
    pub fn unlink(&mut self, list: &mut List, slot: Slot) {
        let Node { next, prev, .. } = *self.get(slot);
        if prev == NONE {
            list.head = next
        } else {
            self.0[prev as usize].next = next
        }
        if next == NONE {
            list.tail = prev
        } else {
            self.0[next as usize].prev = prev
        }
        let node = self.get_mut(slot);
        (node.prev, node.next) = (NONE, NONE);
    }

    /// Takes the first node out.
    pub fn pop_front(&mut self, list: &mut List) -> Option<Slot> {
        let first = Slot(list.head);
        list.is_occupied().then(|| {
            self.unlink(list, first);
            first
        })
    }
}

impl List {
    /// Whether anything is in it.
    pub const fn is_occupied(&self) -> bool {
        self.head != NONE
    }
}
