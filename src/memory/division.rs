//! `MAX_MEMORY` divided: what each part of the daemon may take at most, so that all of them together take no more.
//!
//! ```text
//! fixed        the process, what each core keeps (recent batches, reads of the log, names, idle connections to origins),
//!              and an eighth for what the allocator cannot use
//! connections  what each may hold whatever it sends
//! messages     what requests take beyond that, until their messages are durable
//! deliveries   messages read back, and answers
//! index        pending messages, their destinations, dead letters
//! ```

use crate::limits::{
    CACHE_BYTES_MAX, CORE_BYTES, DELIVERY_BYTES, DNS_ANSWER_BYTES, DNS_ANSWERS_MAX, LINK_BYTES, MEMORY_KEPT_BYTES,
    POOL_IDLE_MAX, PROCESS_BYTES, READ_BYTES_KEPT, RECOVERY_READ_BYTES, RECOVERY_READS_MAX, to_usize,
};

/// Least that the index of pending messages gets, in bytes.
const INDEX_BYTES_MIN: u64 = 1 << 20;
/// Connections that there is memory for at least, if so many are wanted.
const CONNECTIONS_MIN: u64 = 64;

/// What is to be divided, and among whom.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// `MAX_MEMORY`, in bytes.
    pub memory_bytes: u64,
    /// Core loops.
    pub cores: u64,
    /// `MAX_CONNECTIONS`, or what descriptors allow.
    pub connections: u64,
    /// What one of them may hold whatever it sends, in bytes.
    pub connection_bytes: u64,
    /// The longest message, head and body, in bytes.
    pub message_bytes: u64,
}

/// What one core keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Core {
    /// Recently written batches, in bytes.
    pub cache_bytes: usize,
    /// Reads of the log in flight.
    pub reads: usize,
    /// Answers of name servers.
    pub dns_answers: u64,
    /// Idle connections to origins.
    pub links_idle: usize,
}

/// The parts that grow with what comes in, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "told by their names, and above")]
pub struct Growing {
    pub small_messages: u64,
    pub large_messages: u64,
    pub small_deliveries: u64,
    pub large_deliveries: u64,
    pub index: u64,
}

impl Growing {
    /// So many bytes each.
    pub const fn all(bytes: u64) -> Self {
        Self {
            small_messages: bytes,
            large_messages: bytes,
            small_deliveries: bytes,
            large_deliveries: bytes,
            index: bytes,
        }
    }

    /// The least with which every message that may come can be taken and delivered, whatever the cores keep.
    fn least(wanted: &Wanted) -> Self {
        let kept = wanted.cores * 2 * MEMORY_KEPT_BYTES as u64;
        let twice = 2 * wanted.message_bytes;
        Self {
            small_messages: kept + (1 << 20),
            large_messages: kept + twice + READ_BYTES_KEPT as u64,
            small_deliveries: kept + (1 << 20),
            // A record is a bit longer than its message.
            large_deliveries: kept + twice + 2 * DELIVERY_BYTES as u64,
            index: INDEX_BYTES_MIN,
        }
    }

    const fn sum(&self) -> u64 {
        self.small_messages + self.large_messages + self.small_deliveries + self.large_deliveries + self.index
    }
}

/// Who gets what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Division {
    /// Core loops.
    pub cores: u64,
    /// What the allocator cannot use, in bytes.
    pub allocator: u64,
    /// Each core's.
    pub core: Core,
    /// What each connection may hold, in bytes.
    pub connection_bytes: u64,
    /// Connections at most.
    pub connections: u64,
    /// The parts that grow.
    pub growing: Growing,
}

impl Division {
    /// Divides. `None`: it is not enough.
    pub fn of(wanted: &Wanted) -> Option<Self> {
        let memory = wanted.memory_bytes;
        // A part of all for all cores together, however many they are; never more than is of use to one.
        let share = |part: u64, bytes: u64| memory / part / wanted.cores / bytes;
        let core = Core {
            cache_bytes: to_usize(share(16, 1)).clamp(64 << 10, CACHE_BYTES_MAX),
            reads: to_usize(share(32, RECOVERY_READ_BYTES as u64)).clamp(1, RECOVERY_READS_MAX),
            dns_answers: share(64, DNS_ANSWER_BYTES).clamp(32, DNS_ANSWERS_MAX),
            links_idle: to_usize(share(32, LINK_BYTES)).clamp(8, POOL_IDLE_MAX),
        };
        let mut division = Self {
            cores: wanted.cores,
            allocator: memory / 8,
            core,
            connection_bytes: wanted.connection_bytes,
            connections: 0,
            growing: Growing::least(wanted),
        };
        let left = memory.checked_sub(division.fixed() + division.growing.sum())?;
        // Two thirds of what is left, and a third of all.
        let connections = (left / 3 * 2).min(memory / 3) / wanted.connection_bytes;
        division.connections = wanted.connections.min(connections);
        if division.connections < wanted.connections.min(CONNECTIONS_MIN) {
            return None;
        }
        let left = left - division.connections * wanted.connection_bytes;
        let growing = &mut division.growing;
        growing.small_messages += left / 16;
        growing.large_messages += left / 16 * 3;
        growing.small_deliveries += left / 8;
        growing.large_deliveries += left / 8;
        growing.index += left / 2;
        assert!(division.sum() <= memory, "parts are no more than the whole");
        Some(division)
    }

    /// The least `MAX_MEMORY` that is enough, in bytes, to a MiB.
    pub fn least(wanted: &Wanted) -> u64 {
        let is_enough = |mib: u64| Self::of(&Wanted { memory_bytes: mib << 20, ..*wanted }).is_some();
        let mut enough = 1;
        while !is_enough(enough) && enough < 1 << 40 {
            enough *= 2;
        }
        let mut short = enough / 2;
        while enough - short > 1 {
            let middle = short + (enough - short) / 2;
            if is_enough(middle) { enough = middle } else { short = middle }
        }
        enough << 20
    }

    /// What is taken whatever comes in, in bytes.
    pub const fn fixed(&self) -> u64 {
        let core = &self.core;
        let reads = (core.reads * RECOVERY_READ_BYTES) as u64;
        let links = core.links_idle as u64 * LINK_BYTES;
        let each = CORE_BYTES + core.cache_bytes as u64 + reads + core.dns_answers * DNS_ANSWER_BYTES + links;
        PROCESS_BYTES + self.allocator + self.cores * each
    }

    /// All parts, in bytes.
    pub const fn sum(&self) -> u64 {
        self.fixed() + self.connections * self.connection_bytes + self.growing.sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEFAULTS: Wanted = Wanted {
        memory_bytes: 1 << 30,
        cores: 2,
        connections: 10_000,
        connection_bytes: 32 << 10,
        message_bytes: (16 << 20) + (64 << 10),
    };

    #[test]
    fn the_defaults_are_enough_on_any_usual_machine() {
        for cores in [1, 2, 8, 64] {
            let division = Division::of(&Wanted { cores, ..DEFAULTS }).unwrap_or_else(|| panic!("{cores} cores"));
            assert_eq!(division.connections, 10_000, "{cores} cores");
            assert!(
                division.growing.index >= 1_000_000 * 60,
                "a million messages may wait on {cores} cores: {division:?}"
            );
        }
        assert!(Division::least(&Wanted { cores: 1, ..DEFAULTS }) <= 160 << 20, "a small container");
    }

    #[test]
    fn connections_beyond_what_there_is_memory_for_are_cut() {
        let division = Division::of(&Wanted { connections: 1_000_000, ..DEFAULTS }).unwrap();
        assert!((10_000..11_000).contains(&division.connections), "a third: {}", division.connections);
        assert_eq!(Division::of(&Wanted { connections: 3, ..DEFAULTS }).unwrap().connections, 3);
    }

    proptest! {
        #[test]
        fn parts_are_never_more_than_the_whole_and_the_least_is_just_enough(
            mib in 1..100_000_u64, cores in 1..1024_u64, connections in 1..10_000_000_u64, message_bytes in 1..1_u64 << 36,
        ) {
            let wanted = Wanted { memory_bytes: mib << 20, cores, connections, connection_bytes: 32 << 10, message_bytes };
            if let Some(division) = Division::of(&wanted) {
                prop_assert!(division.sum() <= wanted.memory_bytes);
                prop_assert!(division.growing.large_messages >= 2 * message_bytes);
            }
            let least = Division::least(&wanted);
            let of = |memory_bytes| Division::of(&Wanted { memory_bytes, ..wanted });
            prop_assert!(of(least).is_some());
            prop_assert!(of(least - (1 << 20)).is_none());
        }
    }
}
