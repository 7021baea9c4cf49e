//! What the parts of a core are told by the configuration: each its share, in its own terms.

use std::path::PathBuf;
use std::rc::Rc;

use super::core::CoreStart;
use crate::config::Config;
use crate::ingress::control_fields::ControlRules;
use crate::ingress::head::Rules;
use crate::ingress::tokens::Door;
use crate::ingress::{self, listener};
use crate::limits::to_usize;
use crate::message::Scheme;
use crate::schedule::backoff::Backoff;
use crate::schedule::breaker;
use crate::schedule::scheduler::Limits;
use crate::shard::conclude::RetryRules;
use crate::shard::{Settings, message_bytes_max};
use crate::time::Clock;
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

/// Where damaged ranges are set aside.
pub fn corrupt_dir(config: &Config) -> PathBuf {
    config.transaction_log.join("corrupt")
}

/// A core's slice of the workers: dealt out, at least one each.
pub fn limits(start: &CoreStart) -> Limits {
    let share = |total: u32| (total / start.shards + u32::from(start.shard < total % start.shards)).max(1);
    Limits {
        slots: share(start.config.worker) * start.config.worker_in_flight,
        wait_max: retry_rules(&start.config).wait_max(),
    }
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
        connections_max: config.max_connections.div_ceil(start.shards) as usize,
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
        // On many cores a share could be too small for one large message, which would then never be taken.
        memory_max: to_usize(config.max_memory / u64::from(start.shards))
            .max(to_usize(2 * (config.max_body + config.max_head))),
        message_bytes_max: message_bytes_max(config.segment_bytes),
        clock: Clock::SYSTEM,
    }
}
