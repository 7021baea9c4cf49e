//! Environment variables to a validated [`Config`].

/// The list of variables.
pub mod table;
/// Sizes, durations, addresses.
pub mod values;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::limits::{BLOCK_BYTES, CORES_MAX, RETRIES_MAX, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::message::Scheme;
use crate::time::Millis;
use table::{VARIABLES, Variable};
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
    pub tls_ca: Option<PathBuf>,
    pub admin_listen: Listen,
    pub io_backend: IoBackend,
    pub log_level: tracing::Level,
    pub log_format: LogFormat,
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
    /// From the environment.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))),
        )
    }

    /// From names and values.
    pub fn from_vars(vars: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let vars: Vec<(String, String)> = vars.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let typos = vars.iter().filter_map(|(name, _)| Some((name.clone(), table::probably_meant(name)?))).collect();
        // envy lower-cases the names; a map keeps which of them were set.
        let set: BTreeMap<String, String> = envy::from_iter(vars).map_err(|error| ConfigError {
            name: "environment".to_owned(),
            value: String::new(),
            expected: format!("names and values ({error})"),
        })?;
        let raw = Raw { set };
        let config = raw.validate()?;
        let effective = VARIABLES.iter().map(|variable| raw.effective(variable, &config)).collect();
        Ok(Self { config, effective, typos })
    }
}

/// The variables as they were set, by lower-case name.
struct Raw {
    set: BTreeMap<String, String>,
}

impl Raw {
    /// The value of a variable, or its default.
    fn text(&self, name: &'static str) -> Result<&str, ConfigError> {
        let variable = VARIABLES.iter().find(|variable| variable.name == name).expect("the table lists every variable");
        let get = |name: &str| self.set.get(&name.to_ascii_lowercase()).map(String::as_str);
        match (get(name), variable.alias.and_then(get)) {
            (Some(value), Some(other)) if value != other => Err(ConfigError {
                name: name.to_owned(),
                value: value.to_owned(),
                expected: format!("the same value as its alias {}={other:?}", variable.alias.unwrap_or_default()),
            }),
            (Some(value), _) | (None, Some(value)) => Ok(value),
            (None, None) => Ok(variable.default),
        }
    }

    /// The value of a variable, read by `read`, which says `None` to what is not `expected`.
    fn get<T>(
        &self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ConfigError> {
        let text = self.text(name)?;
        read(text).ok_or_else(|| self.error(name, expected))
    }

    fn error(&self, name: &'static str, expected: &str) -> ConfigError {
        let value = self.text(name).unwrap_or_default().to_owned();
        ConfigError { name: name.to_owned(), value, expected: expected.to_owned() }
    }

    fn size(&self, name: &'static str, min: u64) -> Result<u64, ConfigError> {
        let expected = format!("bytes, or a size such as 64KiB, 16MiB or 2GiB, at least {min}");
        self.get(name, &expected, |text| values::size(text).filter(|bytes| *bytes >= min))
    }

    fn duration(&self, name: &'static str) -> Result<Millis, ConfigError> {
        let expected = "milliseconds, or a duration such as 500ms, 10s, 5m, 2h or 7d, from 1ms to 365d";
        self.get(name, expected, |text| values::duration(text).filter(|span| (1..=365 * 86_400_000).contains(&span.0)))
    }

    fn number(&self, name: &'static str, min: u32, max: u32) -> Result<u32, ConfigError> {
        let expected = format!("a whole number from {min} to {max}");
        self.get(name, &expected, |text| text.parse().ok().filter(|number| (min..=max).contains(number)))
    }

    fn fraction(&self, name: &'static str, min: f64, max: f64) -> Result<f64, ConfigError> {
        let expected = format!("a number from {min} to {max}");
        self.get(name, &expected, |text| text.parse().ok().filter(|number| (min..=max).contains(number)))
    }

    fn listen(&self, name: &'static str) -> Result<Listen, ConfigError> {
        self.get(name, "`:port`, `address:port` or `[address]:port`", Listen::parse)
    }

    fn validate(&self) -> Result<Config, ConfigError> {
        let path = |text: &str| Some(PathBuf::from(text));
        let transaction_log = self.get("TRANSACTION_LOG", "a path", path)?;
        let dead_letter = match self.text("DEAD_LETTER")? {
            default if default.starts_with('<') => transaction_log.join("dead-letter"),
            text => PathBuf::from(text),
        };
        let boolean = |text: &str| text.parse().ok();
        let scheme = |text: &str| [Scheme::Http, Scheme::Https].into_iter().find(|scheme| scheme.as_str() == text);
        let backend = |text: &str| match text {
            "auto" => Some(IoBackend::Auto),
            "uring" => Some(IoBackend::Uring),
            "portable" => Some(IoBackend::Portable),
            _ => None,
        };
        let format = |text: &str| match text {
            "text" => Some(LogFormat::Text),
            "json" => Some(LogFormat::Json),
            _ => None,
        };
        let retries = self.number("RETRYLIMIT", 0, RETRIES_MAX.into())?;
        let config = Config {
            dead_letter,
            transaction_log,
            listen: self.listen("LISTEN")?,
            worker: self.number("WORKER", 1, 10_000)?,
            worker_in_flight: self.number("WORKER_IN_FLIGHT", 1, 10_000)?,
            cores: self.cores()?,
            retry_limit: u16::try_from(retries).unwrap_or(RETRIES_MAX),
            default_timeout: self.duration("DEFAULT_TIMEOUT")?,
            max_timeout: self.duration("MAX_TIMEOUT")?,
            connect_timeout: self.duration("CONNECT_TIMEOUT")?,
            event_sourcing: self.get("EVENT_SOURCING", "true or false", boolean)?,
            backoff_base: self.duration("BACKOFF_BASE")?,
            backoff_factor: self.fraction("BACKOFF_FACTOR", 1.0, 1000.0)?,
            backoff_max: self.duration("BACKOFF_MAX")?,
            backoff_jitter: self.fraction("BACKOFF_JITTER", 0.0, 1.0)?,
            origin_scheme: self.get("ORIGIN_SCHEME", "http or https", scheme)?,
            origin_in_flight: self.number("ORIGIN_IN_FLIGHT", 1, 1_000_000)?,
            segment_bytes: self.size("SEGMENT_BYTES", SEGMENT_BYTES_MIN)?,
            max_log_bytes: self.size("MAX_LOG_BYTES", 0)?,
            disk_reserve: self.size("DISK_RESERVE", 0)?,
            max_body: self.size("MAX_BODY", 0)?,
            max_head: self.size("MAX_HEAD", 1024)?,
            max_connections: self.number("MAX_CONNECTIONS", 1, 10_000_000)?,
            max_memory: self.size("MAX_MEMORY", 1 << 20)?,
            head_timeout: self.duration("HEAD_TIMEOUT")?,
            body_timeout: self.duration("BODY_TIMEOUT")?,
            idle_timeout: self.duration("IDLE_TIMEOUT")?,
            shutdown_timeout: self.duration("SHUTDOWN_TIMEOUT")?,
            tls_ca: Some(PathBuf::from(self.text("TLS_CA")?)).filter(|path| !path.as_os_str().is_empty()),
            admin_listen: self.listen("ADMIN_LISTEN")?,
            io_backend: self.get("IO_BACKEND", "auto, uring or portable", backend)?,
            log_level: self.get("LOG_LEVEL", "error, warn, info, debug or trace", |text| text.parse().ok())?,
            log_format: self.get("LOG_FORMAT", "text or json", format)?,
        };
        self.cross_check(&config)?;
        Ok(config)
    }

    fn cores(&self) -> Result<Vec<usize>, ConfigError> {
        let unlimited = rustix::thread::CpuSet::MAX_CPU.min(CORES_MAX);
        let mask = rustix::thread::sched_getaffinity(None).ok();
        let allowed: Vec<usize> =
            (0..unlimited).filter(|cpu| mask.as_ref().is_some_and(|mask| mask.is_set(*cpu))).collect();
        let allowed = if allowed.is_empty() { vec![0] } else { allowed };
        let expected = format!("a whole number from 1 to {}, the cores this process may use", allowed.len());
        self.get("CORES", &expected, |text| match text {
            "all allowed" => Some(allowed.clone()),
            number => Some(allowed.get(..number.parse().ok()?)?.to_vec()).filter(|cores| !cores.is_empty()),
        })
    }

    /// Variables that are each in range and yet contradict.
    fn cross_check(&self, config: &Config) -> Result<(), ConfigError> {
        let segments_bytes = config.segment_bytes * 4 * config.cores.len() as u64;
        let message = config.max_body.saturating_add(config.max_head);
        let checks = [
            (config.default_timeout <= config.max_timeout, "DEFAULT_TIMEOUT", "no more than MAX_TIMEOUT".to_owned()),
            (config.backoff_base <= config.backoff_max, "BACKOFF_BASE", "no more than BACKOFF_MAX".to_owned()),
            (
                config.segment_bytes.is_multiple_of(BLOCK_BYTES as u64) && config.segment_bytes <= SEGMENT_BYTES_MAX,
                "SEGMENT_BYTES",
                format!("a multiple of {BLOCK_BYTES}, at most {SEGMENT_BYTES_MAX}"),
            ),
            (
                message.saturating_add(64 << 10) <= config.segment_bytes,
                "SEGMENT_BYTES",
                "room for MAX_BODY + MAX_HEAD + 64KiB: a message is never split over two files".to_owned(),
            ),
            (
                config.max_log_bytes == 0 || config.max_log_bytes >= segments_bytes,
                "MAX_LOG_BYTES",
                format!("0, or at least {segments_bytes}: four segments for each core"),
            ),
            (
                message.saturating_mul(2 * config.cores.len() as u64) <= config.max_memory,
                "MAX_MEMORY",
                "at least twice MAX_BODY + MAX_HEAD for each core".to_owned(),
            ),
        ];
        checks
            .into_iter()
            .find(|(holds, ..)| !holds)
            .map_or(Ok(()), |(_, name, expected)| Err(self.error(name, &expected)))
    }

    fn effective(&self, variable: &Variable, config: &Config) -> (&'static str, String, bool) {
        let is_set = |name: &str| self.set.contains_key(&name.to_ascii_lowercase());
        let value = match variable.name {
            "CORES" => config.cores.len().to_string(),
            "DEAD_LETTER" => config.dead_letter.display().to_string(),
            name => self.text(name).unwrap_or_default().to_owned(),
        };
        (variable.name, value, is_set(variable.name) || variable.alias.is_some_and(is_set))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
