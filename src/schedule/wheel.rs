//! Hierarchical timer wheel (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987): O(1) per message
//! whatever the number of delayed ones. Ticks are milliseconds of a clock that never goes back.

use super::links::{List, NodeState, Nodes};
use super::node::{BUCKETS_MAX, DUE_MAX};
use crate::message::Slot;

const LEVELS: usize = 7;
const LEVELS_BITS: u32 = 7 * BUCKET_BITS;
const BUCKET_BITS: u32 = 6;
const BUCKETS: usize = 1 << BUCKET_BITS;

const _: () = assert!(LEVELS * BUCKETS <= BUCKETS_MAX, "a node has room for the number of its bucket");
const _: () = assert!(DUE_MAX < 1 << LEVELS_BITS, "levels are enough for every due time: the topmost has one turn");

/// Level `n` has 64 buckets of 64^n ticks each. A message sits at the level of the highest bit in which its due time
/// and the present differ, and moves down as the present comes nearer.
#[derive(Debug)]
pub struct Wheel {
    now: u64,
    occupied: [u64; LEVELS],
    buckets: [[List; BUCKETS]; LEVELS],
}

impl Default for Wheel {
    fn default() -> Self {
        Self { now: 0, occupied: [0; LEVELS], buckets: [[List::default(); BUCKETS]; LEVELS] }
    }
}

impl Wheel {
    /// Files a message under its `due` tick, which is 34 years from the first at most. One that is due already comes
    /// with the next [`Wheel::expire`].
    pub fn insert(&mut self, nodes: &mut Nodes, slot: Slot, due: u64) {
        let due = due.min(DUE_MAX).max(self.now);
        let (level, index) = place(self.now, due);
        let node = nodes.get_mut(slot);
        node.set_due(due);
        node.set_state(NodeState::Delayed);
        node.set_bucket(level * BUCKETS + index);
        self.occupied[level] |= 1 << index;
        nodes.push_back(&mut self.buckets[level][index], slot);
    }

    /// Takes a delayed message out.
    pub fn remove(&mut self, nodes: &mut Nodes, slot: Slot) {
        let bucket = nodes.get(slot).bucket();
        let (level, index) = (bucket / BUCKETS, bucket % BUCKETS);
        nodes.unlink(&mut self.buckets[level][index], slot);
        if !self.buckets[level][index].is_occupied() {
            self.occupied[level] &= !(1 << index);
        }
    }

    /// The earliest tick at which [`Wheel::expire`] has something to do; never later than the first due time.
    pub fn next_due(&self) -> Option<u64> {
        let level = (0..LEVELS).find(|level| self.occupied[*level] != 0)?;
        Some(self.bucket_start(level).0)
    }

    /// Moves the present to `now` and hands out every message due by then, in the order of their due ticks.
    pub fn expire(&mut self, nodes: &mut Nodes, now: u64, mut expired: impl FnMut(&mut Nodes, Slot)) {
        while let Some(level) = (0..LEVELS).find(|level| self.occupied[*level] != 0) {
            let (start, index) = self.bucket_start(level);
            if start > now {
                break;
            }
            self.now = self.now.max(start);
            let mut bucket = std::mem::take(&mut self.buckets[level][index]);
            self.occupied[level] &= !(1 << index);
            while let Some(slot) = nodes.pop_front(&mut bucket) {
                let due = nodes.get(slot).due();
                if due <= self.now { expired(nodes, slot) } else { self.insert(nodes, slot, due) }
            }
        }
        self.now = self.now.max(now);
    }

    /// First tick of the lowest occupied bucket of a level, and the bucket. No bucket behind the present's own
    /// index is occupied.
    fn bucket_start(&self, level: usize) -> (u64, usize) {
        let shift = BUCKET_BITS * u32::try_from(level).expect("7 levels");
        let present = (self.now >> shift) & (BUCKETS as u64 - 1);
        let present = u32::try_from(present).expect("64 buckets");
        let ahead = self.occupied[level].rotate_right(present).trailing_zeros();
        let start = ((self.now >> shift) + u64::from(ahead)) << shift;
        (start.max(self.now), ((present + ahead) % 64) as usize)
    }
}

fn place(now: u64, due: u64) -> (usize, usize) {
    let differing = (now ^ due) | 1;
    let level = (63 - differing.leading_zeros()).min(LEVELS_BITS - 1) / BUCKET_BITS;
    let index = (due >> (BUCKET_BITS * level)) & (BUCKETS as u64 - 1);
    (level as usize, usize::try_from(index).expect("64 buckets"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_message_expires_once_at_its_tick_and_in_order(
            start in 0..1_u64 << 39,
            delays in prop::collection::vec(prop_oneof![0..100_u64, 0..100_000_u64, 0..1_u64 << 36], 1..60),
            steps in prop::collection::vec(prop_oneof![1..50_u64, 1..100_000_u64, 1..1_u64 << 34], 1..40),
            removed in 0..60_usize,
        ) {
            let (mut wheel, mut nodes) = (Wheel::default(), Nodes::default());
            wheel.expire(&mut nodes, start, |_, _| ());
            let mut waiting = std::collections::BTreeMap::new();
            for (number, delay) in (0_u32..).zip(&delays) {
                nodes.enter(Slot(number), 0);
                wheel.insert(&mut nodes, Slot(number), start + delay);
                waiting.insert(Slot(number), start + delay);
            }
            if let Ok(number) = u32::try_from(removed) && waiting.remove(&Slot(number)).is_some() {
                wheel.remove(&mut nodes, Slot(number));
            }
            let mut now = start;
            for step in steps.iter().chain(&[1 << 37]) {
                let first = waiting.values().min().copied();
                prop_assert!(wheel.next_due() <= first && wheel.next_due().is_some() == first.is_some());
                now += step;
                let mut last = 0;
                let mut expired = Vec::new();
                wheel.expire(&mut nodes, now, |nodes, slot| expired.push((slot, nodes.get(slot).due())));
                for (slot, due) in expired {
                    prop_assert_eq!(waiting.remove(&slot), Some(due));
                    prop_assert!(last <= due && due <= now);
                    last = due;
                }
                prop_assert!(waiting.values().all(|due| *due > now));
            }
            prop_assert!(waiting.is_empty());
        }
    }
}
