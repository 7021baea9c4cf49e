//! Messages that are held back until the rest of the log is known, then handed out oldest first and in pieces.

use super::links::{List, Nodes};
use crate::message::{MessageId, Slot};

/// Lists that are kept of held messages.
const PILES: usize = 8;

/// Held messages come nearly in order: one that was written again, further on in the log, is older than its neighbours.
/// So they are dealt to piles as in patience sorting: each goes to the first pile whose last is older. What is dealt
/// once needs one pile, what was written again a second one, what was written again twice a third. Handing out merges
/// the piles. At no point is there something to sort, so nothing ever takes time that grows with what is held.
///
/// What finds no pile goes to the last all the same, and comes out somewhat late: order is a courtesy, no promise.
#[derive(Debug, Default)]
pub struct Held {
    piles: Piles,
    /// What is released and not handed out yet.
    released: Piles,
}

type Piles = [List; PILES];

impl Held {
    /// Holds a message.
    pub fn push(&mut self, nodes: &mut Nodes, slot: Slot, id_of: impl Fn(Slot) -> MessageId) {
        let id = id_of(slot);
        let fitting = self.piles.iter().position(|pile| pile.last().is_none_or(|last| id_of(last) < id));
        nodes.push_back(&mut self.piles[fitting.unwrap_or(PILES - 1)], slot);
    }

    /// Takes out a message that is held, or released and not handed out yet.
    pub fn remove(&mut self, nodes: &mut Nodes, slot: Slot) {
        let ends = |list: &&mut List| list.first() == Some(slot) || list.last() == Some(slot);
        // From the midst of a list a node goes without touching its ends: then any list will do.
        let list = self.piles.iter_mut().chain(&mut self.released).find(ends);
        nodes.unlink(list.unwrap_or(&mut List::default()), slot);
    }

    /// Releases all that is held now. What was released before and is not handed out yet comes first.
    pub fn release(&mut self, nodes: &mut Nodes) {
        for (released, pile) in self.released.iter_mut().zip(&mut self.piles) {
            nodes.append(released, pile);
        }
    }

    /// Whether anything is released and not handed out yet.
    pub fn is_releasing(&self) -> bool {
        self.released.iter().any(List::is_occupied)
    }

    /// Hands out the oldest of what is released.
    pub fn pop(&mut self, nodes: &mut Nodes, id_of: impl Fn(Slot) -> MessageId) -> Option<Slot> {
        let occupied = self.released.iter_mut().filter(|pile| pile.is_occupied());
        let oldest = occupied.min_by_key(|pile| pile.first().map(&id_of))?;
        nodes.pop_front(oldest)
    }
}
