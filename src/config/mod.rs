//! Environment variables to a validated [`Config`]: what there is to configure, and where it comes from.

// What must not be told.
pub mod secret;
// The list of variables.
pub mod table;
// One text, one checked value.
mod validate;
// Sizes, durations, addresses.
pub mod values;

use std::ffi::OsString;
use std::path::PathBuf;

use crate::limits::{CONNECTION_BYTES, TLS_CONNECTION_BYTES};
use crate::memory::division::{Division, Wanted};
use crate::message::policy::Policy;
use crate::message::{Scheme, Statuses};
use crate::time::Millis;
pub use secret::Secret;
use table::VARIABLES;
use validate::Raw;
pub use values::Listen;

/// Which I/O to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoBackend {
    /// `io_uring` where the kernel lets us.
    Auto,
    /// `io_uring` or nothing.
    Uring,
    /// Epoll and blocking threads.
    Portable,
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Everything an operator decides, checked. The fields are the variables of the same name: see [`table::VARIABLES`].
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is documented by the variable of its name")]
pub struct Config {
    pub transaction_log: PathBuf,
    pub listen: Listen,
    pub worker: u32,
    pub worker_in_flight: u32,
    /// The processors to run on, one core loop each.
    pub cores: Vec<usize>,
    pub retry_limit: u16,
    pub default_timeout: Millis,
    pub max_timeout: Millis,
    pub connect_timeout: Millis,
    pub event_sourcing: bool,
    pub dead_letter: PathBuf,
    pub backoff_base: Millis,
    pub backoff_factor: f64,
    pub backoff_max: Millis,
    pub backoff_jitter: f64,
    pub origin_scheme: Scheme,
    pub origin_in_flight: u32,
    /// `ORIGIN_LOG_SHARE`: above 0, at most 1.
    pub origin_log_share: f64,
    pub breaker_failures: u32,
    pub breaker_probe_max: Millis,
    pub retry_after_max: Millis,
    pub no_retry_status: Statuses,
    /// `MESSAGE_TTL`; `None`: a message lives until it is delivered or given up.
    pub message_ttl: Option<Millis>,
    /// `ORIGIN_ALLOW` and `ORIGIN_DENY`.
    pub origin_policy: Policy,
    pub segment_bytes: u64,
    pub max_log_bytes: u64,
    pub disk_reserve: u64,
    pub max_body: u64,
    pub max_head: u64,
    pub max_connections: u32,
    pub max_memory: u64,
    pub head_timeout: Millis,
    pub body_timeout: Millis,
    pub idle_timeout: Millis,
    pub shutdown_timeout: Millis,
    pub tls_cert: Option<PathBuf>,
    pub tls_key: Option<PathBuf>,
    pub tls_client_ca: Option<PathBuf>,
    pub tls_ca: Option<PathBuf>,
    pub admin_listen: Listen,
    pub admin_token: Option<Secret>,
    pub auth_token: Option<Secret>,
    pub auth_token_file: Option<PathBuf>,
    pub io_backend: IoBackend,
    pub log_level: tracing::Level,
    pub log_format: LogFormat,
}

impl Config {
    /// `MAX_MEMORY` divided among what this configuration asks for, with so many connections at most. `None`: it is not
    /// enough, which a configuration that was loaded does not say of as many as it asks for, nor of fewer.
    pub fn memory(&self, connections_max: u64) -> Option<Division> {
        Division::of(&Wanted { connections: connections_max, ..self.wanted_memory() })
    }

    fn wanted_memory(&self) -> Wanted {
        Wanted {
            memory_bytes: self.max_memory,
            cores: self.cores.len() as u64,
            connections: self.max_connections.into(),
            connection_bytes: CONNECTION_BYTES + if self.tls_cert.is_some() { TLS_CONNECTION_BYTES as u64 } else { 0 },
            message_bytes: self.max_body + self.max_head,
        }
    }
}

/// A variable that cannot be used; prints as the one line an operator needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}={value:?}: expected {expected}")]
pub struct ConfigError {
    /// The variable.
    pub name: String,
    /// What it was set to.
    pub value: String,
    /// What it may be.
    pub expected: String,
}

impl ConfigError {
    /// The variable `name` was set to `value`, which is not told if it is a secret.
    fn new(name: &str, value: &str, expected: String) -> Self {
        let value = if table::is_secret(name) { Secret::HIDDEN } else { value };
        Self { name: name.to_owned(), value: value.to_owned(), expected }
    }
}

/// The configuration and what to warn about.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Each variable's effective value and whether the environment set it, in the order of the table.
    pub effective: Vec<(&'static str, String, bool)>,
    /// Variables that look like ours but are not, and what was probably meant.
    pub typos: Vec<(String, &'static str)>,
}

impl Loaded {
    /// From the environment. Errors: the first variable that cannot be used.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_os_vars(std::env::vars_os())
    }

    /// From names and values, without a look at the environment. Errors: the first variable that cannot be used.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        Self::from_os_vars(vars.into_iter().map(|(name, value)| (name.into(), value.into())))
    }

    fn from_os_vars(vars: impl Iterator<Item = (OsString, OsString)>) -> Result<Self, ConfigError> {
        let mut ours = Vec::new();
        let mut typos = Vec::new();
        for (name, value) in vars.filter(|(_, value)| !value.is_empty()) {
            // None of ours is outside of UTF-8, nor near to it.
            let Ok(name) = name.into_string() else { continue };
            if table::is_ours(&name) {
                ours.push((name.clone(), value.into_string().map_err(|value| not_text(name, &value))?));
            } else if let Some(meant) = table::probably_meant(&name) {
                typos.push((name, meant));
            }
        }
        typos.sort();
        let raw = Raw::new(ours)?;
        let config = raw.validate()?;
        let effective = VARIABLES.iter().map(|variable| raw.effective(variable, &config)).collect();
        Ok(Self { config, effective, typos })
    }
}

fn not_text(name: String, value: &OsString) -> ConfigError {
    ConfigError::new(&name, &value.to_string_lossy(), "UTF-8".to_owned())
}

#[cfg(test)]
mod tests;
