//! Due times of the wall clock, in the 40 bits that a node has for them.

use super::node::{DUE_BITS, DUE_MAX};
use crate::time::{Millis, UnixMillis};

/// At once, on disk and here.
pub const AT_ONCE: u64 = 0;

/// As far as a due time can lie ahead or back, in milliseconds: 17 years.
const FAR: u64 = 1 << (DUE_BITS - 1);

/// The due time modulo 2^40 milliseconds; `wall` is the present. One that is further off is taken to be as far as can be
/// said: whatever lies far ahead is due later, and whatever lies far back is due.
///
/// Why not milliseconds since some moment: a machine may start with a wall clock that stands at 1970 and is set later;
/// the moment would be wrong for as long as the process lives.
pub fn pack(due: UnixMillis, wall: UnixMillis) -> u64 {
    if due.0 == AT_ONCE {
        return AT_ONCE;
    }
    let due = due.0.clamp(wall.0.saturating_sub(FAR), wall.0.saturating_add(FAR - 1));
    // The one millisecond in 34 years that would read as at once comes a little later.
    (due & DUE_MAX).max(AT_ONCE + 1)
}

/// How long it is until a packed due time.
pub const fn wait(packed: u64, wall: UnixMillis) -> Millis {
    let ahead = packed.wrapping_sub(wall.0) & DUE_MAX;
    Millis(if packed != AT_ONCE && ahead < FAR { ahead } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_wait_is_what_it_would_be_without_packing_up_to_seventeen_years(
            wall in prop_oneof![0..1_u64 << 43, Just(1 << DUE_BITS), Just(u64::MAX)],
            due in prop_oneof![any::<u64>(), 1..1_u64 << 43],
            near in any::<bool>(),
            late in 0..1_u64 << 36,
        ) {
            let due = if near { (wall.saturating_add(due % 1_000_000)).saturating_sub(500_000).max(1) } else { due };
            let (due, wall) = (UnixMillis(due), UnixMillis(wall));
            let packed = pack(due, wall);
            prop_assert!(packed <= DUE_MAX && packed != AT_ONCE);
            let expected = due.since(wall).0.min(FAR - 1);
            let found = wait(packed, wall).0;
            prop_assert!(found == expected || found == expected + 1 && packed == 1, "{found} is not {expected}");
            // Read a while later, it is by as much nearer.
            let later = UnixMillis(wall.0.saturating_add(late));
            prop_assert!(wait(packed, later).0.abs_diff(expected.saturating_sub(later.since(wall).0)) <= 1 || due.0 < wall.0);
        }
    }

    #[test]
    fn at_once_is_at_once_whatever_the_clock_says() {
        for wall in [0, 1, 1 << DUE_BITS, u64::MAX] {
            assert_eq!(pack(UnixMillis(0), UnixMillis(wall)), AT_ONCE);
            assert_eq!(wait(AT_ONCE, UnixMillis(wall)), Millis(0));
        }
    }
}
