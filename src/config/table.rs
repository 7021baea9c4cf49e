//! The variables: the one list behind `--help`, `check-config`, the README and the warning about typos.

/// One environment variable.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Another spelling of it.
    pub alias: Option<&'static str>,
    /// The value it has when it is unset or empty, as an operator would write it.
    pub default: &'static str,
    /// What it means, in one line.
    pub meaning: &'static str,
    /// Its value is never shown.
    pub is_secret: bool,
}

const fn variable(name: &'static str, default: &'static str, meaning: &'static str) -> Variable {
    Variable { name, alias: None, default, meaning, is_secret: false }
}

const fn secret(name: &'static str, meaning: &'static str) -> Variable {
    Variable { name, alias: None, default: "", meaning, is_secret: true }
}

/// Every variable of this version, in the order of `--help`.
pub const VARIABLES: &[Variable] = &[
    variable("TRANSACTION_LOG", "transaction.log", "directory of the log"),
    variable("LISTEN", ":80", "data listener; `:port` is every address, IPv4 and IPv6"),
    variable("WORKER", "10", "delivery workers, dealt out over the cores, at least one each"),
    variable("WORKER_IN_FLIGHT", "64", "deliveries one worker keeps in flight"),
    variable("CORES", "all allowed", "core loops, one pinned thread each"),
    Variable {
        name: "RETRYLIMIT",
        alias: Some("RETRY_LIMIT"),
        default: "10",
        meaning: "retries before a message is dead-lettered; 0: one attempt",
        is_secret: false,
    },
    variable("DEFAULT_TIMEOUT", "10s", "bound on one attempt, unless X-Dispatcher-Timeout says otherwise"),
    variable("MAX_TIMEOUT", "30m", "largest X-Dispatcher-Timeout"),
    variable("CONNECT_TIMEOUT", "5s", "bound on DNS, connect and TLS"),
    variable("EVENT_SOURCING", "false", "true: the log is kept for ever, never reclaimed"),
    variable("DEAD_LETTER", "<TRANSACTION_LOG>/dead-letter", "directory of the dead letter log"),
    variable("BACKOFF_BASE", "1s", "wait before the first retry"),
    variable("BACKOFF_FACTOR", "3", "each wait is this many times the one before"),
    variable("BACKOFF_MAX", "6h", "longest wait"),
    variable("BACKOFF_JITTER", "0.2", "waits are spread over plus or minus this share"),
    variable("ORIGIN_SCHEME", "http", "scheme of an origin that names none: http or https"),
    variable("ORIGIN_IN_FLIGHT", "64", "deliveries in flight to one origin, over all cores"),
    variable(
        "ORIGIN_LOG_SHARE",
        "0.5",
        "part of the log that messages for one origin may fill; over it, 503 for that origin",
    ),
    variable("BREAKER_FAILURES", "5", "failures in a row that open an origin's circuit; 0: it never opens"),
    variable("BREAKER_PROBE_MAX", "60s", "longest wait between two probes of an origin whose circuit is open"),
    variable("RETRY_AFTER_MAX", "24h", "longest wait that an answer's Retry-After may ask for"),
    variable("NO_RETRY_STATUS", "410", "statuses that dead-letter at once, such as `410, 42x`; 410 always does"),
    variable("MESSAGE_TTL", "0", "time from acceptance after which a message is dead-lettered as expired; 0: none"),
    variable(
        "ORIGIN_ALLOW",
        "",
        "where messages may go: hosts, *.suffixes, addresses, CIDR ranges, by commas; empty: all",
    ),
    variable("ORIGIN_DENY", "", "where they may not, in the same notation; wins over ORIGIN_ALLOW"),
    variable("SEGMENT_BYTES", "64MiB", "size of one log file"),
    variable("MAX_LOG_BYTES", "0", "bound on the log, dead letters included; 0: all but the reserve"),
    variable("DISK_RESERVE", "256MiB", "free disk space below which new messages are refused"),
    variable("MAX_BODY", "16MiB", "largest request body"),
    variable("MAX_HEAD", "64KiB", "largest request head"),
    variable("MAX_CONNECTIONS", "10000", "inbound connections; over it the oldest idle one is closed"),
    variable("MAX_MEMORY", "1GiB", "memory that the daemon takes at most, all told"),
    variable("HEAD_TIMEOUT", "10s", "from the first byte of a head to its last"),
    variable("BODY_TIMEOUT", "30s", "without progress while a body is read"),
    variable("IDLE_TIMEOUT", "75s", "between requests on a kept connection"),
    variable("SHUTDOWN_TIMEOUT", "25s", "for attempts in flight after SIGTERM"),
    variable("TLS_CERT", "", "PEM file with the certificate of LISTEN, which then speaks TLS; read again on SIGHUP"),
    variable("TLS_KEY", "", "PEM file with its key; read again on SIGHUP"),
    variable(
        "TLS_CLIENT_CA",
        "",
        "PEM file with roots of clients, which then must show a certificate; read again on SIGHUP",
    ),
    variable("TLS_CA", "", "PEM file with further roots for https origins"),
    variable("ADMIN_LISTEN", "127.0.0.1:8081", "listener for metrics, health and dead letters"),
    secret(
        "ADMIN_TOKEN",
        "for dead letters over ADMIN_LISTEN: `Authorization: Bearer`; needed off loopback to change them",
    ),
    secret(
        "AUTH_TOKEN",
        "for messages over LISTEN, and its /metrics: `X-Dispatcher-Authorization: Bearer`; empty: no authentication",
    ),
    variable("AUTH_TOKEN_FILE", "", "instead of AUTH_TOKEN, a file of tokens, one a line; read again on SIGHUP"),
    variable("IO_BACKEND", "auto", "uring, portable, or auto: uring where the kernel lets us"),
    variable("LOG_LEVEL", "info", "error, warn, info, debug or trace"),
    variable("LOG_FORMAT", "text", "text or json, on stderr"),
];

/// Names so common that being close to one of ours means nothing.
const COMMON: &[&str] = &["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"];

/// Names shorter or longer than this are not compared with ours; the upper bound also bounds the work.
const NAME_BYTES_MIN: usize = 5;
/// See [`NAME_BYTES_MIN`].
const NAME_BYTES_MAX: usize = 32;

/// Every name under which a variable of ours may be set.
fn names() -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().flat_map(|variable| [Some(variable.name), variable.alias]).flatten()
}

/// Whether `name` is one of ours whose value is never shown.
pub fn is_secret(name: &str) -> bool {
    VARIABLES.iter().any(|variable| variable.is_secret && variable.name == name)
}

/// Whether `name` is one of ours, to the letter.
pub fn is_ours(name: &str) -> bool {
    names().any(|known| known == name)
}

/// The variable of ours that `name` was probably meant to be: in other case, or a letter or two away. None for names of
/// fewer than 5 letters, and only one letter for ours of fewer than 7: there, chance is more likely than a slip.
pub fn probably_meant(name: &str) -> Option<&'static str> {
    if !(NAME_BYTES_MIN..=NAME_BYTES_MAX).contains(&name.len()) || COMMON.contains(&name) || is_ours(name) {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    let near = |known: &'static str| {
        let (edits, edits_max) = (distance(&upper, known), if known.len() < 7 { 1 } else { 2 });
        (edits <= edits_max).then_some((edits, known))
    };
    names().filter_map(near).min().map(|(_, known)| known)
}

/// Edits between two names, adjacent transpositions counting one (Damerau–Levenshtein, optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0].iter_mut().enumerate().for_each(|(j, cell)| *cell = j);
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let differs = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + differs);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_is_noticed_and_an_ordinary_variable_is_not() {
        for (typo, meant) in [
            ("RETRYLIMT", "RETRYLIMIT"),
            ("RETRY_LIMTI", "RETRY_LIMIT"),
            ("WORKERS", "WORKER"),
            ("MAX_BODYS", "MAX_BODY"),
            ("DEFAULT_TIMEOUTS", "DEFAULT_TIMEOUT"),
            ("LOGLEVEL", "LOG_LEVEL"),
            ("retrylimit", "RETRYLIMIT"),
            ("worker", "WORKER"),
            ("Listen", "LISTEN"),
        ] {
            assert_eq!(probably_meant(typo), Some(meant), "{typo}");
        }
        for ordinary in [
            "CORE",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "RUST_LOG",
            "HOME",
            "PATH",
            "LANG",
            "LISTEN",
            "LISTEN_FDS",
            "WORKDIR",
            "HOSTNAME",
            "TERM",
            "SHLVL",
            "LOGNAME",
        ] {
            assert_eq!(probably_meant(ordinary), None, "{ordinary}");
        }
    }

    #[test]
    fn the_table_names_every_variable_once_and_is_not_near_itself() {
        for name in names() {
            assert_eq!(names().filter(|other| *other == name).count(), 1, "{name}");
            assert_eq!(probably_meant(name), None);
            assert!((1..=NAME_BYTES_MAX).contains(&name.len()), "{name}");
        }
        assert!(VARIABLES.iter().all(|variable| !variable.meaning.is_empty()));
    }
}
