//! What the parts of a core are told by the configuration: each its share, in its own terms.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use super::core::CoreStart;
use super::descriptors::{self, Descriptors};
use crate::config::Config;
use crate::ingress::control_fields::ControlRules;
use crate::ingress::head::Rules;
use crate::ingress::tokens::Door;
use crate::ingress::{self, listener};
use crate::limits::{DRAIN_FLUSH_MS, to_usize};
use crate::memory::Memory;
use crate::message::Scheme;
use crate::schedule::backoff::Backoff;
use crate::schedule::breaker;
use crate::schedule::scheduler::Limits;
use crate::shard::conclude::RetryRules;
use crate::shard::{Settings, message_bytes_max};
use crate::time::{Clock, Millis};
use crate::wal::spare::Space;

/// Space for messages; dead letters share the bound, but are kept whatever it says: they were accepted.
pub fn spaces(start: &CoreStart) -> (Space, Space) {
    let config = &start.config;
    let messages = Space {
        segment_bytes: config.segment_bytes,
        log_bytes_max: config.max_log_bytes / u64::from(start.shards),
        disk_reserve: config.disk_reserve,
        reserve: 1,
        used: Rc::default(),
    };
    let dead_letters = Space { log_bytes_max: 0, disk_reserve: 0, reserve: 0, ..messages.clone() };
    (messages, dead_letters)
}

/// How long a stop takes at most: attempts in flight, their outcomes, the hint that nothing was in flight, and the exit.
pub fn stop_ms_max(config: &Config) -> Millis {
    Millis(config.shutdown_timeout.0 + 3 * DRAIN_FLUSH_MS)
}

/// Where damaged ranges are set aside.
pub fn corrupt_dir(config: &Config) -> PathBuf {
    config.transaction_log.join("corrupt")
}

/// A core's slice of the workers: dealt out, at least one each.
pub fn limits(start: &CoreStart) -> Limits {
    let share = |total: u32| (total / start.shards + u32::from(start.shard < total % start.shards)).max(1);
    let slots = share(start.config.worker) * start.config.worker_in_flight;
    Limits {
        slots: u32::try_from(start.descriptors.slots).map_or(slots, |most| slots.min(most)),
        wait_max: retry_rules(&start.config).wait_max(),
    }
}

/// Idle connections to origins that a core keeps.
pub fn idle_max(start: &CoreStart) -> usize {
    start.memory.division().core.links_idle.min(to_usize(start.descriptors.links_idle))
}

/// How an origin is treated, over all cores.
pub const fn origin_rules(config: &Config) -> breaker::Rules {
    breaker::Rules {
        failures: config.breaker_failures,
        probe_max: config.breaker_probe_max,
        in_flight_max: config.origin_in_flight,
    }
}

/// What becomes of failures.
const fn retry_rules(config: &Config) -> RetryRules {
    let backoff = Backoff {
        base: config.backoff_base,
        factor: config.backoff_factor,
        max: config.backoff_max,
        jitter: config.backoff_jitter,
        retries_max: config.retry_limit,
    };
    RetryRules {
        backoff,
        retry_after_max: config.retry_after_max,
        no_retry: config.no_retry_status,
        message_ttl: config.message_ttl,
    }
}

/// What the ingress is told.
pub fn ingress_settings(start: &CoreStart) -> ingress::Settings {
    let config = &start.config;
    let control = ControlRules {
        origin_scheme: config.origin_scheme,
        timeout_max: config.max_timeout,
        own_port: start.own_port,
        own_scheme: if config.tls_cert.is_some() { Scheme::Https } else { Scheme::Http },
        is_own_address: listener::is_own_address,
        policy: config.origin_policy.clone(),
    };
    let door = start.tokens.as_ref().map_or(Door::OPEN, |tokens| Door::new(tokens.subscribe()));
    ingress::Settings {
        rules: Rules {
            control,
            head_bytes_max: to_usize(config.max_head),
            body_bytes_max: to_usize(config.max_body),
            door,
        },
        connections_max: to_usize(start.memory.division().connections.div_ceil(start.shards.into())),
        head_timeout: config.head_timeout,
        body_timeout: config.body_timeout,
        idle_timeout: config.idle_timeout,
    }
}

/// What the shard is told.
pub fn settings(start: &CoreStart) -> Settings {
    let config = &start.config;
    Settings {
        default_timeout: config.default_timeout,
        retry: retry_rules(config),
        epoch: start.epoch,
        keep_all: config.event_sourcing,
        corrupt: corrupt_dir(config),
        origin_share: config.origin_log_share,
        memory: Arc::clone(&start.memory),
        message_bytes_max: message_bytes_max(config.segment_bytes),
        clock: Clock::SYSTEM,
    }
}

/// What each core may take of descriptors, and all of memory. Where less can be had than was asked for, a line says so:
/// the daemon serves fewer at a time, but it serves.
pub fn divide(config: &Config, descriptors: u64) -> Option<(Descriptors, Arc<Memory>)> {
    let cores = config.cores.len() as u64;
    let asked = u64::from(config.max_connections);
    let core = config.memory(asked)?.core;
    let slots =
        u64::from(config.worker.max(u32::try_from(cores).unwrap_or(u32::MAX))) * u64::from(config.worker_in_flight);
    let links_idle = core.links_idle as u64;
    let given = Descriptors::of(&descriptors::Wanted { descriptors, cores, connections: asked, slots, links_idle });
    let division = config.memory(given.connections)?;
    let connections = division.connections;
    if connections < asked {
        let cause = if given.connections < asked { "descriptors (RLIMIT_NOFILE)" } else { "memory (MAX_MEMORY)" };
        tracing::warn!(asked, connections, cause, "MAX_CONNECTIONS is cut to what there is");
    }
    let deliveries = given.slots * cores;
    if deliveries < slots {
        tracing::warn!(asked = slots, deliveries, "WORKER x WORKER_IN_FLIGHT is cut to what descriptors there are");
    }
    Some((given, Memory::new(division)))
}

/// How memory is divided, as one line.
pub fn tell_memory(config: &Config, memory: &Memory) {
    let [fixed, connections, messages, deliveries, index] = memory.parts(0).map(|(_, _, bytes)| bytes);
    tracing::info!(max = config.max_memory, fixed, connections, messages, deliveries, index, "memory in bytes");
}
