//! Every variable: what it may be, what it may not be, and what contradicts.

use super::*;

fn load(vars: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    Loaded::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn without_variables_everything_has_its_documented_default() {
    let loaded = load(&[("HOME", "/root"), ("LISTEN", "")]).expect("defaults are valid");
    let config = loaded.config;
    assert_eq!(config.listen, Listen { host: None, port: 80 });
    assert_eq!((config.worker, config.worker_in_flight, config.retry_limit), (10, 64, 10));
    assert_eq!((config.default_timeout, config.max_timeout), (Millis(10_000), Millis(1_800_000)));
    assert_eq!(config.dead_letter, PathBuf::from("transaction.log/dead-letter"));
    assert_eq!((config.segment_bytes, config.max_body, config.max_head), (64 << 20, 16 << 20, 64 << 10));
    assert!(!config.cores.is_empty());
    assert_eq!(loaded.effective.len(), VARIABLES.len());
    assert!(loaded.effective.iter().all(|(_, _, set)| !set));
    assert_eq!(loaded.typos, []);
}

#[test]
fn values_are_read_and_bad_ones_name_variable_value_and_what_was_expected() {
    let good = [
        ("LISTEN", "127.0.0.1:0"),
        ("WORKER", "1"),
        ("CORES", "1"),
        ("RETRYLIMIT", "0"),
        ("RETRY_LIMIT", "1000"),
        ("DEFAULT_TIMEOUT", "500"),
        ("EVENT_SOURCING", "true"),
        ("BACKOFF_FACTOR", "1"),
        ("BACKOFF_JITTER", "0"),
        ("ORIGIN_SCHEME", "https"),
        ("SEGMENT_BYTES", "128MiB"),
        ("DISK_RESERVE", "0"),
        ("IO_BACKEND", "portable"),
        ("LOG_LEVEL", "debug"),
        ("LOG_FORMAT", "json"),
    ];
    for (name, value) in good {
        assert!(load(&[(name, value)]).is_ok(), "{name}={value}");
    }
    let bad = [
        ("LISTEN", "80"),
        ("LISTEN", "localhost:80"),
        ("WORKER", "0"),
        ("WORKER", "ten"),
        ("WORKER_IN_FLIGHT", "-1"),
        ("CORES", "0"),
        ("CORES", "100000"),
        ("RETRYLIMIT", "1001"),
        ("RETRY_LIMIT", "x"),
        ("DEFAULT_TIMEOUT", "0"),
        ("DEFAULT_TIMEOUT", "10 s"),
        ("EVENT_SOURCING", "yes"),
        ("BACKOFF_BASE", "1y"),
        ("BACKOFF_FACTOR", "0.5"),
        ("BACKOFF_FACTOR", "NaN"),
        ("BACKOFF_JITTER", "1.5"),
        ("ORIGIN_SCHEME", "ftp"),
        ("ORIGIN_IN_FLIGHT", "0"),
        ("SEGMENT_BYTES", "64MB"),
        ("SEGMENT_BYTES", "2GiB"),
        ("MAX_HEAD", "1"),
        ("MAX_CONNECTIONS", "0"),
        ("IO_BACKEND", "epoll"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("ADMIN_LISTEN", "8081"),
    ];
    for (name, value) in bad {
        let error = load(&[(name, value)]).expect_err(name).to_string();
        assert!(error.contains(&format!("{value:?}")) && error.contains("expected"), "{error}");
        assert!(error.starts_with(name) || error.starts_with("RETRYLIMIT"), "{error}");
        assert_eq!(error.lines().count(), 1);
    }
}

#[test]
fn contradictions_are_refused() {
    for contradiction in [
        &[("DEFAULT_TIMEOUT", "2h")][..],
        &[("BACKOFF_BASE", "2m"), ("BACKOFF_MAX", "1m")],
        &[("RETRYLIMIT", "1"), ("RETRY_LIMIT", "2")],
        &[("SEGMENT_BYTES", "8MiB")],
        &[("SEGMENT_BYTES", "67108865")],
        &[("MAX_LOG_BYTES", "64MiB")],
        &[("MAX_MEMORY", "16MiB")],
    ] {
        assert!(load(contradiction).is_err(), "{contradiction:?}");
    }
    assert!(load(&[("RETRYLIMIT", "2"), ("RETRY_LIMIT", "2")]).is_ok());
    assert!(load(&[("SEGMENT_BYTES", "1MiB"), ("MAX_BODY", "512KiB")]).is_ok());
}

#[test]
fn a_variable_that_looks_like_ours_is_warned_about() {
    let loaded = load(&[("RETRYLIMT", "3"), ("RETRYLIMIT", "4")]).expect("valid");
    assert_eq!(loaded.typos, [("RETRYLIMT".to_owned(), "RETRYLIMIT")]);
    let value = loaded.effective.iter().find(|(name, ..)| *name == "RETRYLIMIT");
    assert_eq!(value, Some(&("RETRYLIMIT", "4".to_owned(), true)));
}
