//! Who may have how many of the descriptors that the system allows: no flood from outside keeps the log or deliveries from
//! theirs.

use crate::limits::{
    CONNECTIONS_LEAST, DESCRIPTORS_PER_CORE, DESCRIPTORS_PER_PROCESS, SEGMENTS_OPEN_MAX, SEGMENTS_OPEN_MIN,
};

/// What is to be divided, and what is wanted of it.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// What the system allows (`RLIMIT_NOFILE`).
    pub descriptors: u64,
    /// Core loops.
    pub cores: u64,
    /// `MAX_CONNECTIONS`.
    pub connections: u64,
    /// Deliveries in flight of all cores.
    pub slots: u64,
    /// Idle connections to origins that each core keeps.
    pub links_idle: u64,
}

/// Who gets what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Inbound connections of all cores.
    pub connections: u64,
    /// Deliveries in flight of each core.
    pub slots: u64,
    /// Idle connections to origins of each core.
    pub links_idle: u64,
    /// Segments that each of a core's two logs keeps open for reading.
    pub segments_open: u64,
}

impl Descriptors {
    /// The least with which so many cores can be sure of their files, and serve at all: a connection to deliver on for each.
    pub const fn least(cores: u64) -> u64 {
        DESCRIPTORS_PER_PROCESS + cores * (DESCRIPTORS_PER_CORE + 2 * SEGMENTS_OPEN_MIN + 2) + CONNECTIONS_LEAST
    }

    /// Divides what is no less than [`Self::least`]. Files come first, as nothing works without them; then half for each side, or what is wanted.
    pub fn of(wanted: &Wanted) -> Self {
        let Wanted { descriptors, cores, .. } = *wanted;
        let segments_open = (descriptors / 32 / cores).clamp(SEGMENTS_OPEN_MIN, SEGMENTS_OPEN_MAX as u64);
        let needed = DESCRIPTORS_PER_PROCESS + cores * (DESCRIPTORS_PER_CORE + 2 * segments_open);
        let left = descriptors.saturating_sub(needed);
        // A delivery may for a moment have two, to two addresses of its origin.
        let outbound = wanted.slots + cores * wanted.links_idle;
        let connections =
            wanted.connections.min(left - outbound.min(left / 2)).max(CONNECTIONS_LEAST.min(wanted.connections));
        let outbound = left.saturating_sub(connections) / cores;
        let slots = wanted.slots.div_ceil(cores).min((outbound / 2).max(1));
        let links_idle = wanted.links_idle.min(outbound.saturating_sub(slots) / 2);
        Self { connections, slots, links_idle, segments_open }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEFAULTS: Wanted =
        Wanted { descriptors: 20_000, cores: 2, connections: 10_000, slots: 640, links_idle: 1024 };

    #[test]
    fn where_there_are_enough_everybody_gets_what_is_wanted() {
        let all = Descriptors { connections: 10_000, slots: 320, links_idle: 1024, segments_open: 64 };
        assert_eq!(Descriptors::of(&DEFAULTS), all);
    }

    #[test]
    fn where_there_are_few_each_side_has_its_own() {
        let few = Descriptors::of(&Wanted { descriptors: 256, ..DEFAULTS });
        assert!(few.connections >= 60 && few.slots >= 15 && few.links_idle >= 5, "{few:?}");
    }

    proptest! {
        #[test]
        fn no_more_are_given_than_there_are(
            more in prop_oneof![0..200_u64, 0..100_000_u64], cores in 1..1024_u64, connections in 1..100_000_u64,
            slots in 1..10_000_u64,
        ) {
            let descriptors = Descriptors::least(cores) + more;
            let wanted = Wanted { descriptors, cores, connections, slots, ..DEFAULTS };
            let Descriptors { connections, slots, links_idle, segments_open } = Descriptors::of(&wanted);
            let each = DESCRIPTORS_PER_CORE + 2 * segments_open + slots + links_idle;
            prop_assert!(DESCRIPTORS_PER_PROCESS + connections + cores * each <= descriptors);
            prop_assert!(connections >= 1 && slots >= 1);
        }
    }
}
