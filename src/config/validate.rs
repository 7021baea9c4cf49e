//! The texts of the variables to a [`Config`]: each read by its kind and range, then checked against the others.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::table::{VARIABLES, Variable};
use super::{Config, ConfigError, IoBackend, Listen, LogFormat, Secret, values};
use crate::limits::{
    BACKOFF_FACTOR_MAX, BLOCK_BYTES, BREAKER_FAILURES_MAX, CONNECTIONS_MAX, CORES_MAX, IN_FLIGHT_MAX, POLICY_RULES_MAX,
    RETRIES_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SETTING_BYTES_MAX, SETTING_MS_MAX, WORKERS_MAX,
};
use crate::memory::division::Division;
use crate::message::policy::{Policy, Rule};
use crate::message::{Scheme, Statuses};
use crate::time::Millis;

/// What a record adds to its message, and a segment to its records, in bytes, rounded up.
const OVERHEAD_BYTES: u64 = 64 << 10;
/// Least `MAX_HEAD` in bytes: one that any client's request fits.
const HEAD_BYTES_MIN: u64 = 1 << 10;
/// Least `MAX_MEMORY` in bytes.
const MEMORY_BYTES_MIN: u64 = 1 << 20;
/// Segments that each core needs: of messages, two with content, the next one and the reserve; of dead letters, one with
/// content and the next one.
const SEGMENTS_MIN: u64 = 6;

/// The variables as they were set.
pub struct Raw {
    /// By lower-case name, as envy has it.
    set: BTreeMap<String, String>,
}

/// One variable's text, and under which of its names it was set.
struct Setting<'a> {
    name: &'static str,
    text: &'a str,
}

impl Setting<'_> {
    fn error(&self, expected: impl Into<String>) -> ConfigError {
        ConfigError::new(self.name, self.text, expected.into())
    }

    /// Reads it; `read` says `None` to what is not `expected`.
    fn read<T>(&self, expected: impl Into<String>, read: impl FnOnce(&str) -> Option<T>) -> Result<T, ConfigError> {
        read(self.text).ok_or_else(|| self.error(expected))
    }

    /// Finds it among `choices`.
    fn choose<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, ConfigError> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        self.read(names.join(" or "), |text| Some(choices.iter().find(|(name, _)| *name == text)?.1))
    }
}

impl Raw {
    /// `vars` are names and values of variables of ours, in their exact spelling.
    pub fn new(vars: Vec<(String, String)>) -> Result<Self, ConfigError> {
        let set = envy::from_iter(vars).map_err(|error| ConfigError {
            name: "environment".to_owned(),
            value: error.to_string(),
            expected: "names and values".to_owned(),
        })?;
        Ok(Self { set })
    }

    fn text(&self, name: &'static str) -> Option<Setting<'_>> {
        self.set.get(&name.to_ascii_lowercase()).map(|text| Setting { name, text })
    }

    /// A variable as it was set, by its name or its alias.
    fn chosen(&self, variable: &Variable) -> Result<Option<Setting<'_>>, ConfigError> {
        let alias = variable.alias.and_then(|alias| self.text(alias));
        match (self.text(variable.name), alias) {
            (Some(named), Some(alias)) if named.text != alias.text => {
                Err(named.error(format!("the same as its alias {}={:?}", alias.name, alias.text)))
            }
            (named, alias) => Ok(named.or(alias)),
        }
    }

    /// A variable as it was set, or its default.
    fn get(&self, name: &'static str) -> Result<Setting<'_>, ConfigError> {
        let variable = VARIABLES.iter().find(|variable| variable.name == name).expect("the table lists every variable");
        Ok(self.chosen(variable)?.unwrap_or(Setting { name, text: variable.default }))
    }

    fn size(&self, name: &'static str, range: RangeInclusive<u64>) -> Result<u64, ConfigError> {
        let expected = format!(
            "bytes, or a size such as 64KiB, 16MiB or 2GiB, from {} to {}",
            values::size_text(*range.start()),
            values::size_text(*range.end())
        );
        self.get(name)?.read(expected, |text| values::size(text).filter(|bytes| range.contains(bytes)))
    }

    fn duration(&self, name: &'static str) -> Result<Millis, ConfigError> {
        let expected = format!(
            "milliseconds, or a duration such as 500ms, 10s, 5m, 2h or 7d, from 1ms to {}",
            Millis(SETTING_MS_MAX)
        );
        let in_range = |span: &Millis| (1..=SETTING_MS_MAX).contains(&span.0);
        self.get(name)?.read(expected, |text| values::duration(text).filter(in_range))
    }

    /// A duration that may be 0: none.
    fn optional_duration(&self, name: &'static str) -> Result<Option<Millis>, ConfigError> {
        let setting = self.get(name)?;
        if values::duration(setting.text) == Some(Millis(0)) {
            return Ok(None);
        }
        self.duration(name).map(Some).map_err(|error| setting.error(format!("0, or {}", error.expected)))
    }

    fn number(&self, name: &'static str, range: RangeInclusive<u32>) -> Result<u32, ConfigError> {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.get(name)?.read(expected, |text| values::whole(text).filter(|number| range.contains(number)))
    }

    fn listen(&self, name: &'static str) -> Result<Listen, ConfigError> {
        self.get(name)?.read("`:port`, `address:port` or `[address]:port`", Listen::parse)
    }

    /// A list of destinations; not set, it is empty.
    fn rules(&self, name: &'static str) -> Result<Vec<Rule>, ConfigError> {
        let expected = format!(
            "hosts, `*.suffix`es, addresses or ranges such as 10.0.0.0/8, separated by commas, at most {POLICY_RULES_MAX}"
        );
        self.text(name).map_or(Ok(Vec::new()), |set| set.read(expected, Rule::parse_list))
    }

    fn path(&self, name: &'static str) -> Result<PathBuf, ConfigError> {
        Ok(PathBuf::from(self.get(name)?.text))
    }

    /// A path that need not be set.
    fn file(&self, name: &'static str) -> Option<PathBuf> {
        self.text(name).map(|set| PathBuf::from(set.text))
    }

    fn token(&self, name: &'static str) -> Result<Option<Secret>, ConfigError> {
        self.text(name).map(|set| set.read(Secret::token_expected(), Secret::token)).transpose()
    }

    /// The whole configuration. Errors: the first variable that is not what it may be, or contradicts another.
    pub fn validate(&self) -> Result<Config, ConfigError> {
        let sizes = 0..=SETTING_BYTES_MAX;
        let factor = |text: &str| values::decimal(text).filter(|factor| (1.0..=BACKOFF_FACTOR_MAX).contains(factor));
        let jitter = |text: &str| values::decimal(text).filter(|jitter| (0.0..1.0).contains(jitter));
        let log_share = |text: &str| values::decimal(text).filter(|share| *share > 0.0 && *share <= 1.0);
        let retries = self.number("RETRYLIMIT", 0..=RETRIES_MAX.into())?;
        let transaction_log = self.path("TRANSACTION_LOG")?;
        let dead_letter = self.file("DEAD_LETTER");
        let config = Config {
            dead_letter: dead_letter.unwrap_or_else(|| transaction_log.join("dead-letter")),
            transaction_log,
            listen: self.listen("LISTEN")?,
            worker: self.number("WORKER", 1..=WORKERS_MAX)?,
            worker_in_flight: self.number("WORKER_IN_FLIGHT", 1..=IN_FLIGHT_MAX)?,
            cores: self.cores()?,
            retry_limit: u16::try_from(retries).unwrap_or(RETRIES_MAX),
            default_timeout: self.duration("DEFAULT_TIMEOUT")?,
            max_timeout: self.duration("MAX_TIMEOUT")?,
            connect_timeout: self.duration("CONNECT_TIMEOUT")?,
            event_sourcing: self.get("EVENT_SOURCING")?.choose(&[("true", true), ("false", false)])?,
            backoff_base: self.duration("BACKOFF_BASE")?,
            backoff_factor: self
                .get("BACKOFF_FACTOR")?
                .read(format!("a number from 1 to {BACKOFF_FACTOR_MAX}"), factor)?,
            backoff_max: self.duration("BACKOFF_MAX")?,
            backoff_jitter: self.get("BACKOFF_JITTER")?.read("a number from 0 to less than 1", jitter)?,
            origin_scheme: self.get("ORIGIN_SCHEME")?.choose(&[("http", Scheme::Http), ("https", Scheme::Https)])?,
            origin_in_flight: self.number("ORIGIN_IN_FLIGHT", 1..=IN_FLIGHT_MAX)?,
            origin_log_share: self.get("ORIGIN_LOG_SHARE")?.read("a number above 0 and at most 1", log_share)?,
            breaker_failures: self.number("BREAKER_FAILURES", 0..=BREAKER_FAILURES_MAX)?,
            breaker_probe_max: self.duration("BREAKER_PROBE_MAX")?,
            retry_after_max: self.duration("RETRY_AFTER_MAX")?,
            no_retry_status: self
                .get("NO_RETRY_STATUS")?
                .read("statuses from 300 to 599, such as `410` or `404, 42x, 5xx`", Statuses::parse)?,
            message_ttl: self.optional_duration("MESSAGE_TTL")?,
            origin_policy: Policy::new(self.rules("ORIGIN_ALLOW")?, self.rules("ORIGIN_DENY")?),
            segment_bytes: self.size("SEGMENT_BYTES", SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX)?,
            max_log_bytes: self.size("MAX_LOG_BYTES", sizes.clone())?,
            disk_reserve: self.size("DISK_RESERVE", sizes.clone())?,
            max_body: self.size("MAX_BODY", sizes)?,
            max_head: self.size("MAX_HEAD", HEAD_BYTES_MIN..=SETTING_BYTES_MAX)?,
            max_connections: self.number("MAX_CONNECTIONS", 1..=CONNECTIONS_MAX)?,
            max_memory: self.size("MAX_MEMORY", MEMORY_BYTES_MIN..=SETTING_BYTES_MAX)?,
            head_timeout: self.duration("HEAD_TIMEOUT")?,
            body_timeout: self.duration("BODY_TIMEOUT")?,
            idle_timeout: self.duration("IDLE_TIMEOUT")?,
            shutdown_timeout: self.duration("SHUTDOWN_TIMEOUT")?,
            tls_cert: self.file("TLS_CERT"),
            tls_key: self.file("TLS_KEY"),
            tls_client_ca: self.file("TLS_CLIENT_CA"),
            tls_ca: self.file("TLS_CA"),
            admin_listen: self.listen("ADMIN_LISTEN")?,
            admin_token: self.token("ADMIN_TOKEN")?,
            auth_token: self.token("AUTH_TOKEN")?,
            auth_token_file: self.file("AUTH_TOKEN_FILE"),
            io_backend: self.get("IO_BACKEND")?.choose(&[
                ("auto", IoBackend::Auto),
                ("uring", IoBackend::Uring),
                ("portable", IoBackend::Portable),
            ])?,
            log_level: self.get("LOG_LEVEL")?.choose(&[
                ("error", tracing::Level::ERROR),
                ("warn", tracing::Level::WARN),
                ("info", tracing::Level::INFO),
                ("debug", tracing::Level::DEBUG),
                ("trace", tracing::Level::TRACE),
            ])?,
            log_format: self.get("LOG_FORMAT")?.choose(&[("text", LogFormat::Text), ("json", LogFormat::Json)])?,
        };
        self.cross_check(&config)?;
        Ok(config)
    }

    /// The first so many processors of the affinity mask (`sched_getaffinity(2)`), or all of them.
    fn cores(&self) -> Result<Vec<usize>, ConfigError> {
        let mask = rustix::thread::sched_getaffinity(None).ok();
        let is_allowed = |cpu: &usize| mask.as_ref().is_some_and(|mask| mask.is_set(*cpu));
        let mut allowed: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU.min(CORES_MAX)).filter(is_allowed).collect();
        if allowed.is_empty() {
            allowed.push(0);
        }
        let Some(set) = self.text("CORES") else { return Ok(allowed) };
        let expected = format!("a whole number from 1 to {}, the cores that this process may use", allowed.len());
        let fits = |number: &u32| (1..=allowed.len()).contains(&(*number as usize));
        let number = set.read(expected, |text| values::whole(text).filter(fits))?;
        allowed.truncate(number as usize);
        Ok(allowed)
    }

    /// Finds variables that are each in range and yet contradict.
    fn cross_check(&self, config: &Config) -> Result<(), ConfigError> {
        let cores = config.cores.len() as u64;
        let segments_bytes = config.segment_bytes * SEGMENTS_MIN * cores;
        let message_bytes = config.max_body + config.max_head;
        let (size, block) = (values::size_text, BLOCK_BYTES as u64);
        let checks = [
            (config.default_timeout <= config.max_timeout, "DEFAULT_TIMEOUT", self.at_most("MAX_TIMEOUT")?),
            (config.backoff_base <= config.backoff_max, "BACKOFF_BASE", self.at_most("BACKOFF_MAX")?),
            (config.segment_bytes.is_multiple_of(block), "SEGMENT_BYTES", format!("a multiple of {}", size(block))),
            (
                message_bytes + OVERHEAD_BYTES <= config.segment_bytes,
                "SEGMENT_BYTES",
                format!("at least MAX_BODY + MAX_HEAD + 64KiB = {}", size(message_bytes + OVERHEAD_BYTES)),
            ),
            (
                config.max_log_bytes == 0 || config.max_log_bytes >= segments_bytes,
                "MAX_LOG_BYTES",
                format!(
                    "0, or at least {SEGMENTS_MIN} x SEGMENT_BYTES for each of {cores} cores = {}",
                    size(segments_bytes)
                ),
            ),
            (
                config.memory(config.max_connections.into()).is_some(),
                "MAX_MEMORY",
                format!(
                    "at least {}, for messages of MAX_BODY + MAX_HEAD = {} on {cores} cores",
                    size(Division::least(&config.wanted_memory())),
                    size(message_bytes)
                ),
            ),
            (
                config.dead_letter != config.transaction_log,
                "DEAD_LETTER",
                "another directory than TRANSACTION_LOG".to_owned(),
            ),
            (
                config.tls_cert.is_none() || config.tls_key.is_some(),
                "TLS_CERT",
                "TLS_KEY beside it, which is not set".to_owned(),
            ),
            (
                config.tls_key.is_none() || config.tls_cert.is_some(),
                "TLS_KEY",
                "TLS_CERT beside it, which is not set".to_owned(),
            ),
            (
                config.tls_client_ca.is_none() || config.tls_cert.is_some(),
                "TLS_CLIENT_CA",
                "TLS_CERT and TLS_KEY beside it, which are not set".to_owned(),
            ),
            (
                config.auth_token.is_none() || config.auth_token_file.is_none(),
                "AUTH_TOKEN_FILE",
                "no AUTH_TOKEN beside it: set one of the two".to_owned(),
            ),
            (
                !config.admin_listen.overlaps(config.listen),
                "ADMIN_LISTEN",
                format!("another address than LISTEN={:?}", self.get("LISTEN")?.text),
            ),
        ];
        match checks.into_iter().find(|(holds, ..)| !holds) {
            Some((_, name, expected)) => Err(self.get(name)?.error(expected)),
            None => Ok(()),
        }
    }

    fn at_most(&self, name: &'static str) -> Result<String, ConfigError> {
        Ok(format!("at most {name}={}", self.get(name)?.text))
    }

    /// A variable's name, its effective value, and whether the environment set it.
    pub fn effective(&self, variable: &Variable, config: &Config) -> (&'static str, String, bool) {
        let chosen = self.chosen(variable).ok().flatten();
        let value = match variable.name {
            "CORES" => config.cores.len().to_string(),
            _ if variable.is_secret && chosen.is_some() => Secret::HIDDEN.to_owned(),
            "DEAD_LETTER" => config.dead_letter.display().to_string(),
            _ => chosen.as_ref().map_or(variable.default, |set| set.text).to_owned(),
        };
        (variable.name, value, chosen.is_some())
    }
}
