//! A message's place in the schedule, in 20 bytes.

use crate::limits::RETRIES_MAX;

/// A message's place in the schedule, whatever its body.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    /// The next in its list, and the one before.
    pub(super) next: u32,
    pub(super) prev: u32,
    /// The number of the message's lane.
    pub lane: u32,
    due_low: u32,
    /// ```text
    /// bit 0  8 due, its highest bits   8  10 attempts   18  1 replayed   19  9 bucket   28  1 maybe a duplicate   29  3 state
    /// ```
    rest: u32,
}

const _: () = assert!(size_of::<Node>() == 20, "a live message takes 20 bytes here");

/// Where a message is in its life. Each but the last three is membership in one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// In its lane, for the next free slot.
    Ready,
    /// Its due time is not in the wheel yet.
    Landed,
    /// In the wheel.
    Delayed,
    /// Recovered, and its end may stand further on in the log: it is not due before all of that is read.
    Held,
    /// An attempt is running.
    InFlight,
    /// The attempt is over and its outcome is on its way to the disk.
    Concluding,
    /// No message has this slot.
    Vacant,
}

const STATES: [NodeState; 7] = [
    NodeState::Ready,
    NodeState::Landed,
    NodeState::Delayed,
    NodeState::Held,
    NodeState::InFlight,
    NodeState::Concluding,
    NodeState::Vacant,
];

/// Bits of a due time: as milliseconds 34 years.
pub const DUE_BITS: u32 = 40;
/// The highest due time.
pub const DUE_MAX: u64 = (1 << DUE_BITS) - 1;
/// The highest number of attempts told apart: more count as so many. The log has the exact number.
pub const ATTEMPTS_MAX: u16 = (1 << ATTEMPTS.width) - 1;
/// Buckets that a wheel may have.
pub const BUCKETS_MAX: usize = 1 << BUCKET.width;

const DUE_HIGH: Bits = Bits { shift: 0, width: 8 };
const ATTEMPTS: Bits = Bits { shift: 8, width: 10 };
const REPLAYED: Bits = Bits { shift: 18, width: 1 };
const BUCKET: Bits = Bits { shift: 19, width: 9 };
const MAYBE_DUPLICATE: Bits = Bits { shift: 28, width: 1 };
const STATE: Bits = Bits { shift: 29, width: 3 };

const _: () = assert!(DUE_HIGH.width + u32::BITS == DUE_BITS, "a due time is the low bits and the high ones");
const _: () = assert!(STATE.shift + STATE.width == u32::BITS, "the fields fill the number");
const _: () = assert!(STATES.len() <= 1 << STATE.width, "states are told apart");
const _: () = assert!(RETRIES_MAX < ATTEMPTS_MAX, "whether an attempt is the last does not depend on the exact number");

impl Node {
    /// Of no message, in no list.
    pub fn vacant(none: u32) -> Self {
        let mut node = Self { next: none, prev: none, lane: 0, due_low: 0, rest: 0 };
        node.set_state(NodeState::Vacant);
        node
    }

    /// When the message is due: in ticks while in the wheel, wall time modulo 2^[`DUE_BITS`] while landed or held.
    pub const fn due(&self) -> u64 {
        (DUE_HIGH.get(self.rest) as u64) << u32::BITS | self.due_low as u64
    }

    /// Changes when it is due: at [`DUE_MAX`], if later.
    #[allow(clippy::cast_possible_truncation, reason = "split into its two halves")]
    pub fn set_due(&mut self, due: u64) {
        let due = due.min(DUE_MAX);
        self.due_low = due as u32;
        DUE_HIGH.set(&mut self.rest, (due >> u32::BITS) as u32);
    }

    /// Attempts made, up to [`ATTEMPTS_MAX`].
    pub fn attempts(&self) -> u16 {
        u16::try_from(ATTEMPTS.get(self.rest)).expect("10 bits")
    }

    /// Changes the attempts made.
    pub fn set_attempts(&mut self, attempts: u16) {
        ATTEMPTS.set(&mut self.rest, attempts.min(ATTEMPTS_MAX).into());
    }

    /// Bucket of the wheel while delayed.
    pub const fn bucket(&self) -> usize {
        BUCKET.get(self.rest) as usize
    }

    /// Changes the bucket.
    ///
    /// # Panics
    /// At [`BUCKETS_MAX`].
    pub fn set_bucket(&mut self, bucket: usize) {
        assert!(bucket < BUCKETS_MAX, "a wheel has fewer buckets");
        BUCKET.set(&mut self.rest, u32::try_from(bucket).expect("below BUCKETS_MAX"));
    }

    /// Whether an earlier attempt may have reached the origin.
    pub const fn maybe_duplicate(&self) -> bool {
        MAYBE_DUPLICATE.get(self.rest) == 1
    }

    /// Changes whether an earlier attempt may have reached the origin.
    pub fn set_maybe_duplicate(&mut self, maybe_duplicate: bool) {
        MAYBE_DUPLICATE.set(&mut self.rest, maybe_duplicate.into());
    }

    /// Whether the message was replayed, and lives since later than its id says.
    pub const fn replayed(&self) -> bool {
        REPLAYED.get(self.rest) == 1
    }

    /// Changes whether the message was replayed.
    pub fn set_replayed(&mut self, replayed: bool) {
        REPLAYED.set(&mut self.rest, replayed.into());
    }

    /// Where the message is.
    pub const fn state(&self) -> NodeState {
        STATES[STATE.get(self.rest) as usize]
    }

    /// Moves the message on.
    pub fn set_state(&mut self, state: NodeState) {
        let code = STATES.iter().position(|listed| *listed == state).and_then(|code| u32::try_from(code).ok());
        STATE.set(&mut self.rest, code.expect("every state is listed"));
    }
}

/// Some of the bits of a number.
#[derive(Clone, Copy)]
struct Bits {
    shift: u32,
    width: u32,
}

impl Bits {
    const fn get(self, from: u32) -> u32 {
        (from >> self.shift) & ((1 << self.width) - 1)
    }

    const fn set(self, to: &mut u32, value: u32) {
        let mask = ((1 << self.width) - 1) << self.shift;
        *to = (*to & !mask) | ((value << self.shift) & mask);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn fields_do_not_touch_each_other(
            changes in prop::collection::vec(
                (0..=DUE_MAX, 0..=ATTEMPTS_MAX, 0..BUCKETS_MAX, any::<bool>(), prop::sample::select(&STATES[..]), 0..6),
                1..20,
            ),
        ) {
            let mut node = Node::vacant(u32::MAX);
            let mut expected = (0, 0, 0, false, false, NodeState::Vacant);
            for (due, attempts, bucket, flag, state, which) in changes {
                match which {
                    0 => (node.set_due(due), expected.0 = due).0,
                    1 => (node.set_attempts(attempts), expected.1 = attempts).0,
                    2 => (node.set_bucket(bucket), expected.2 = bucket).0,
                    3 => (node.set_maybe_duplicate(flag), expected.3 = flag).0,
                    4 => (node.set_replayed(flag), expected.4 = flag).0,
                    _ => (node.set_state(state), expected.5 = state).0,
                }
                let (due, attempts, bucket) = (node.due(), node.attempts(), node.bucket());
                let found = (due, attempts, bucket, node.maybe_duplicate(), node.replayed(), node.state());
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_the_most_that_does() {
        let mut node = Node::vacant(u32::MAX);
        node.set_due(u64::MAX);
        node.set_attempts(u16::MAX);
        assert_eq!((node.due(), node.attempts(), node.state()), (DUE_MAX, ATTEMPTS_MAX, NodeState::Vacant));
    }
}
