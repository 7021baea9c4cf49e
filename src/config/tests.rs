//! Every variable: what it may be, what it may not be, and what contradicts.

use super::*;

fn load(vars: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    Loaded::from_vars(vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

#[test]
fn without_variables_everything_has_its_documented_default() {
    let loaded = load(&[("HOME", "/root"), ("LISTEN", ""), ("TLS_CA", "")]).expect("defaults are valid");
    let config = loaded.config;
    assert_eq!(config.listen, Listen { host: None, port: 80 });
    assert_eq!(config.admin_listen.to_string(), "127.0.0.1:8081");
    assert_eq!((config.worker, config.worker_in_flight, config.retry_limit), (10, 64, 10));
    assert_eq!((config.origin_scheme, config.origin_in_flight), (Scheme::Http, 64));
    assert_eq!((config.default_timeout, config.max_timeout), (Millis(10_000), Millis(1_800_000)));
    assert_eq!((config.connect_timeout, config.head_timeout), (Millis(5000), Millis(10_000)));
    assert_eq!((config.body_timeout, config.idle_timeout), (Millis(30_000), Millis(75_000)));
    assert_eq!((config.shutdown_timeout, config.event_sourcing), (Millis(25_000), false));
    assert_eq!((config.backoff_base, config.backoff_max), (Millis(1000), Millis(21_600_000)));
    assert_eq!((config.backoff_factor, config.backoff_jitter), (3.0, 0.2));
    assert_eq!(config.transaction_log, PathBuf::from("transaction.log"));
    assert_eq!(config.dead_letter, PathBuf::from("transaction.log/dead-letter"));
    assert_eq!((config.segment_bytes, config.max_body, config.max_head), (64 << 20, 16 << 20, 64 << 10));
    assert_eq!((config.max_log_bytes, config.disk_reserve), (0, 256 << 20));
    assert_eq!((config.max_connections, config.max_memory), (10_000, 1 << 30));
    assert_eq!((config.tls_ca, config.io_backend, config.origin_policy), (None, IoBackend::Auto, Policy::DEFAULT));
    assert_eq!((config.log_level, config.log_format), (tracing::Level::INFO, LogFormat::Text));
    assert!(!config.cores.is_empty());
    assert!(loaded.effective.iter().map(|(name, ..)| *name).eq(VARIABLES.iter().map(|variable| variable.name)));
    assert!(loaded.effective.iter().all(|(_, _, set)| !set));
    assert_eq!(loaded.typos, []);
}

/// Per variable: values at and within its bounds, then values beyond them and of another kind. A variable of its own
/// kind only (a path) has no bad ones.
const CASES: &[(&str, &[&str], &[&str])] = &[
    ("TRANSACTION_LOG", &["/var/lib/dispatcher", "a b"], &[]),
    ("LISTEN", &[":0", ":65535", "127.0.0.1:0", "[::1]:8080"], &["80", ":65536", "localhost:80", ":x", "1.2.3.4"]),
    ("WORKER", &["1", "10000"], &["0", "10001", "ten", "+1", "1.0"]),
    ("WORKER_IN_FLIGHT", &["1", "100000"], &["0", "100001", "-1"]),
    ("CORES", &["1"], &["0", "100000", "all", "all allowed"]),
    ("RETRYLIMIT", &["0", "1000"], &["1001", "-1", "x"]),
    ("RETRY_LIMIT", &["0", "1000"], &["1001", "-1", "x"]),
    ("DEFAULT_TIMEOUT", &["1", "1ms", "500", "30m"], &["0", "10 s", "1y", "s", "99999999999999999999"]),
    ("MAX_TIMEOUT", &["10s", "365d"], &["0ms", "366d", "forever"]),
    ("CONNECT_TIMEOUT", &["1", "1h"], &["0", "1.5s"]),
    ("EVENT_SOURCING", &["true", "false"], &["yes", "1", "TRUE"]),
    ("DEAD_LETTER", &["/var/lib/dead", "<odd"], &[]),
    ("BACKOFF_BASE", &["1", "6h"], &["0", "1y"]),
    ("BACKOFF_FACTOR", &["1", "1.5", "1000"], &["0.99", "1000.1", "NaN", "inf", "-3"]),
    ("BACKOFF_MAX", &["1s", "365d"], &["0", "1S"]),
    ("BACKOFF_JITTER", &["0", "0.99"], &["1", "1.5", "-0.1", "20%"]),
    ("ORIGIN_SCHEME", &["http", "https"], &["ftp", "HTTP", "http://"]),
    ("ORIGIN_IN_FLIGHT", &["1", "100000"], &["0", "100001"]),
    ("ORIGIN_LOG_SHARE", &["0.01", "1"], &["0", "1.01", "-0.5", "50%"]),
    ("BREAKER_FAILURES", &["0", "1000000"], &["-1", "1000001", "none"]),
    ("BREAKER_PROBE_MAX", &["1ms", "10m"], &["0", "366d"]),
    ("RETRY_AFTER_MAX", &["1s", "365d"], &["0", "366d"]),
    ("NO_RETRY_STATUS", &["410", "404, 42x,5xx"], &["200", "4x4", "410,", "4xxx"]),
    ("MESSAGE_TTL", &["0", "7d", "1ms"], &["366d", "-1", "never"]),
    (
        "ORIGIN_ALLOW",
        &["b", "*.example,10.0.0.0/8", "b, fd00::/8 , 10.0.0.1"],
        &["b,", "b:80", "http://b", "10.0.0.0/33", "127.1"],
    ),
    ("ORIGIN_DENY", &["B.", "::1,127.0.0.0/8"], &[",", "*", "a b"]),
    ("SEGMENT_BYTES", &["32MiB", "1GiB", "134217728"], &["64MB", "2GiB", "1023KiB", "18446744073709551615"]),
    ("MAX_LOG_BYTES", &["0", "1048576GiB"], &["1048577GiB", "-1", "lots"]),
    ("DISK_RESERVE", &["0", "1GiB"], &["5%", "1048577GiB"]),
    ("MAX_BODY", &["0", "1", "32MiB"], &["16M", "18446744073709551615", "1048577GiB"]),
    ("MAX_HEAD", &["1KiB", "1MiB"], &["1023", "64kb"]),
    ("MAX_CONNECTIONS", &["1", "10000000"], &["0", "10000001"]),
    ("MAX_MEMORY", &["1048576GiB"], &["1MB", "1024"]),
    ("HEAD_TIMEOUT", &["1", "1h"], &["0", "h"]),
    ("BODY_TIMEOUT", &["1", "1h"], &["0", "-1s"]),
    ("IDLE_TIMEOUT", &["1", "1d"], &["0", "1 m"]),
    ("SHUTDOWN_TIMEOUT", &["1", "90s"], &["0", "soon"]),
    // Not alone.
    ("TLS_CERT", &[], &["/etc/certificate.pem"]),
    ("TLS_KEY", &[], &["/etc/key.pem"]),
    ("TLS_CLIENT_CA", &[], &["/etc/clients.pem"]),
    ("TLS_CA", &["/etc/roots.pem"], &[]),
    ("ADMIN_LISTEN", &["127.0.0.1:0", ":9090", "[::]:9090"], &["8081", "", "unix:/run/x"]),
    (
        "ADMIN_TOKEN",
        &["0123456789abcdef", "a-._~+/=0123456789"],
        &["short", "0123456789 abcdef", "0123456789abcd\u{e9}f"],
    ),
    (
        "AUTH_TOKEN",
        &["0123456789abcdef", "a-._~+/=0123456789"],
        &["short", "0123456789 abcdef", "0123456789abcd\u{e9}f"],
    ),
    ("AUTH_TOKEN_FILE", &["/run/secrets/tokens"], &[]),
    ("IO_BACKEND", &["auto", "uring", "portable"], &["epoll", "Auto"]),
    ("LOG_LEVEL", &["error", "warn", "info", "debug", "trace"], &["loud", "3", "off"]),
    ("LOG_FORMAT", &["text", "json"], &["xml", "JSON"]),
];

#[test]
fn every_variable_takes_what_it_may_be_and_says_on_one_line_what_else_it_expected() {
    for variable in VARIABLES {
        assert!(CASES.iter().any(|(name, ..)| *name == variable.name), "{} has no cases", variable.name);
    }
    for (name, good, bad) in CASES {
        for value in *good {
            let loaded = load(&[(name, value)]).unwrap_or_else(|error| panic!("{error}"));
            let ours = VARIABLES.iter().find(|variable| variable.name == *name || variable.alias == Some(name));
            let effective = loaded.effective.iter().find(|(known, ..)| Some(*known) == ours.map(|ours| ours.name));
            let shown = if table::is_secret(name) { "…" } else { value };
            assert_eq!(effective.map(|(_, text, set)| (text.as_str(), *set)), Some((shown, true)), "{name}");
        }
        for value in bad.iter().filter(|value| !value.is_empty()) {
            let error = load(&[(name, value)]).expect_err(name).to_string();
            let shown = if table::is_secret(name) { "…" } else { value };
            assert!(error.starts_with(&format!("{name}={shown:?}: expected ")), "{error}");
            assert_eq!(error.lines().count(), 1);
        }
    }
}

#[test]
fn values_arrive_in_the_field_of_their_name() {
    let loaded = load(&[
        ("TRANSACTION_LOG", "/l"),
        ("LISTEN", "[::1]:81"),
        ("RETRY_LIMIT", "3"),
        ("CORES", "1"),
        ("DEFAULT_TIMEOUT", "2500"),
        ("EVENT_SOURCING", "true"),
        ("BACKOFF_FACTOR", "1.5"),
        ("ORIGIN_SCHEME", "https"),
        ("MAX_BODY", "1MiB"),
        ("ORIGIN_ALLOW", "b,10.0.0.0/8"),
        ("ORIGIN_DENY", "10.0.0.1"),
        ("TLS_CERT", "/c.pem"),
        ("TLS_KEY", "/k.pem"),
        ("TLS_CLIENT_CA", "/clients.pem"),
        ("TLS_CA", "/ca.pem"),
        ("LOG_FORMAT", "json"),
    ]);
    let config = loaded.expect("valid").config;
    assert_eq!((config.transaction_log, config.dead_letter), ("/l".into(), "/l/dead-letter".into()));
    assert_eq!((config.listen.to_string().as_str(), config.retry_limit), ("[::1]:81", 3));
    assert_eq!((config.cores.len(), config.default_timeout), (1, Millis(2500)));
    assert_eq!((config.event_sourcing, config.backoff_factor), (true, 1.5));
    assert_eq!((config.origin_scheme, config.max_body), (Scheme::Https, 1 << 20));
    assert_eq!((config.tls_ca, config.log_format), (Some("/ca.pem".into()), LogFormat::Json));
    let tls = [config.tls_cert, config.tls_key, config.tls_client_ca];
    assert_eq!(tls, ["/c.pem", "/k.pem", "/clients.pem"].map(|path| Some(path.into())));
    let verdicts = ["b", "c", "10.0.0.1", "10.0.0.2"].map(|host| config.origin_policy.judge_host(host).is_ok());
    assert_eq!(verdicts, [true, true, false, true]);
}

#[test]
fn contradictions_name_both_sides() {
    for (vars, message) in [
        (&[("DEFAULT_TIMEOUT", "2h")][..], "DEFAULT_TIMEOUT=\"2h\": expected at most MAX_TIMEOUT=30m"),
        (&[("MAX_TIMEOUT", "5s")], "DEFAULT_TIMEOUT=\"10s\": expected at most MAX_TIMEOUT=5s"),
        (&[("BACKOFF_MAX", "1")], "BACKOFF_BASE=\"1s\": expected at most BACKOFF_MAX=1"),
        (
            &[("RETRYLIMIT", "1"), ("RETRY_LIMIT", "2")],
            "RETRYLIMIT=\"1\": expected the same as its alias RETRY_LIMIT=\"2\"",
        ),
        (&[("SEGMENT_BYTES", "67108865")], "SEGMENT_BYTES=\"67108865\": expected a multiple of 4KiB"),
        (
            &[("SEGMENT_BYTES", "8MiB")],
            "SEGMENT_BYTES=\"8MiB\": expected at least MAX_BODY + MAX_HEAD + 64KiB = 16512KiB",
        ),
        (
            &[("MAX_BODY", "1048576GiB")],
            "SEGMENT_BYTES=\"64MiB\": expected at least MAX_BODY + MAX_HEAD + 64KiB = 1099511627904KiB",
        ),
        (
            &[("MAX_LOG_BYTES", "255MiB"), ("CORES", "1")],
            "MAX_LOG_BYTES=\"255MiB\": expected 0, or at least 6 x SEGMENT_BYTES for each of 1 cores = 384MiB",
        ),
        (
            &[("MAX_MEMORY", "16MiB"), ("CORES", "1")],
            "MAX_MEMORY=\"16MiB\": expected at least 128MiB, for messages of MAX_BODY + MAX_HEAD = 16448KiB on 1 cores",
        ),
        (
            &[("DEAD_LETTER", "transaction.log")],
            "DEAD_LETTER=\"transaction.log\": expected another directory than TRANSACTION_LOG",
        ),
        (&[("TLS_CERT", "/c")], "TLS_CERT=\"/c\": expected TLS_KEY beside it, which is not set"),
        (&[("TLS_KEY", "/k")], "TLS_KEY=\"/k\": expected TLS_CERT beside it, which is not set"),
        (
            &[("TLS_CLIENT_CA", "/a")],
            "TLS_CLIENT_CA=\"/a\": expected TLS_CERT and TLS_KEY beside it, which are not set",
        ),
        (
            &[("AUTH_TOKEN", "0123456789abcdef"), ("AUTH_TOKEN_FILE", "/t")],
            "AUTH_TOKEN_FILE=\"/t\": expected no AUTH_TOKEN beside it: set one of the two",
        ),
        (&[("LISTEN", ":8081")], "ADMIN_LISTEN=\"127.0.0.1:8081\": expected another address than LISTEN=\":8081\""),
    ] {
        assert_eq!(load(vars).expect_err(message).to_string(), message);
    }
    for fine in [
        &[("RETRYLIMIT", "2"), ("RETRY_LIMIT", "2")][..],
        &[("RETRYLIMIT", ""), ("RETRY_LIMIT", "2")],
        &[("SEGMENT_BYTES", "1MiB"), ("MAX_BODY", "512KiB")],
        &[("SEGMENT_BYTES", "16512KiB")],
        &[("MAX_LOG_BYTES", "384MiB"), ("CORES", "1")],
        &[("DEFAULT_TIMEOUT", "30m")],
    ] {
        assert!(load(fine).is_ok(), "{fine:?}");
    }
}

#[test]
fn a_variable_that_looks_like_ours_is_warned_about_and_never_read() {
    let loaded = load(&[("RETRYLIMT", "3"), ("RETRYLIMIT", "4"), ("worker", "none"), ("WORKDIR", "/")]).expect("valid");
    assert_eq!(loaded.typos, [("RETRYLIMT".to_owned(), "RETRYLIMIT"), ("worker".to_owned(), "WORKER")]);
    assert_eq!((loaded.config.retry_limit, loaded.config.worker), (4, 10));
}

#[test]
fn a_value_that_is_no_text_is_an_error_only_in_a_variable_of_ours() {
    use std::os::unix::ffi::OsStringExt;
    let broken = || OsString::from_vec(vec![b'/', 0xFF]);
    let error = Loaded::from_os_vars([("TLS_CA".into(), broken())].into_iter()).expect_err("not UTF-8");
    assert!(error.to_string().starts_with("TLS_CA=") && error.to_string().ends_with("expected UTF-8"), "{error}");
    let error = Loaded::from_os_vars([("AUTH_TOKEN".into(), broken())].into_iter()).expect_err("not UTF-8");
    assert_eq!(error.to_string(), "AUTH_TOKEN=\"…\": expected UTF-8");
    assert!(Loaded::from_os_vars([("OLDPWD".into(), broken()), (broken(), "x".into())].into_iter()).is_ok());
}

#[test]
fn tokens_are_not_told_by_anything_that_prints_a_configuration() {
    let token = "a-secret-0123456789";
    let loaded = load(&[("ADMIN_TOKEN", token), ("AUTH_TOKEN", token)]).expect("valid");
    assert!(!format!("{loaded:?}").contains(token));
    assert!(VARIABLES.iter().all(|variable| variable.is_secret == variable.name.ends_with("_TOKEN")));
    for held in [loaded.config.admin_token, loaded.config.auth_token] {
        assert!(held.is_some_and(|held| held.is(token.as_bytes()) && !held.is(b"a-secret-0123456788")));
    }
}
