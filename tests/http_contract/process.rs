//! The process: what it refuses to start with, and how it says so.

use std::net::TcpListener;

use rustix::process::Signal;

use crate::support::{Daemon, run};
use dispatcher::config::table::VARIABLES;

/// Asserts that it ended with status 2, saying one line that holds every part.
#[track_caller]
fn assert_unusable(variables: &[(&str, &str)], parts: &[&str]) {
    let ended = run(&tempfile::tempdir().unwrap(), variables, &[]);
    assert_eq!(ended.code, Some(2), "{variables:?}: {ended:?}");
    // Of a variable plain text; what only shows once logging is set up, a line of the log.
    let tells = |line: &&String| !line.starts_with('{') || line.contains(r#""message":"failed""#);
    let lines: Vec<&String> = ended.stderr.iter().filter(tells).collect();
    assert!(lines.len() == 1 && ended.stdout.is_empty(), "{variables:?}: {ended:?}");
    for part in parts {
        assert!(lines[0].contains(part), "{part} in {}", lines[0]);
    }
}

#[test]
fn a_variable_that_cannot_be_used_is_named_with_its_value_and_what_was_expected() {
    for (name, value, expected) in [
        ("LISTEN", "localhost", "address:port"),
        ("LISTEN", ":65536", "address:port"),
        ("ADMIN_LISTEN", "80", "address:port"),
        ("WORKER", "0", "from 1 to"),
        ("WORKER_IN_FLIGHT", "-1", "from 1 to"),
        ("CORES", "9999", "cores that this process may use"),
        ("RETRYLIMIT", "ten", "from 0 to"),
        ("DEFAULT_TIMEOUT", "10 s", "10s, 5m"),
        ("DEFAULT_TIMEOUT", "0", "from 1ms"),
        ("EVENT_SOURCING", "yes", "true or false"),
        ("BACKOFF_FACTOR", "0.5", "from 1 to"),
        ("BACKOFF_JITTER", "1", "less than 1"),
        ("ORIGIN_SCHEME", "ftp", "http or https"),
        ("ORIGIN_ALLOW", "b,", "*.suffix"),
        ("ORIGIN_DENY", "10.0.0.0/33", "*.suffix"),
        ("SEGMENT_BYTES", "16KB", "64KiB"),
        ("SEGMENT_BYTES", "1MiB", "MAX_BODY"),
        ("MAX_LOG_BYTES", "1MiB", "SEGMENT_BYTES"),
        ("MAX_HEAD", "1", "from 1KiB"),
        ("MAX_BODY", "1e6", "16MiB"),
        ("MAX_MEMORY", "1MiB", "MAX_BODY"),
        ("MAX_CONNECTIONS", "0", "from 1 to"),
        ("IO_BACKEND", "epoll", "auto or uring or portable"),
        ("LOG_LEVEL", "loud", "error or warn"),
        ("LOG_FORMAT", "xml", "text or json"),
    ] {
        assert_unusable(&[(name, value)], &[&format!("{name}={value:?}"), "expected", expected]);
    }
}

#[test]
fn too_few_descriptors_are_an_error_that_says_how_many_are_needed() {
    let directory = tempfile::tempdir().unwrap();
    let ended = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 60 && exec \"$0\"", env!("CARGO_BIN_EXE_dispatcher")])
        .env_clear()
        .envs([("CORES", "1"), ("LISTEN", "127.0.0.1:0"), ("ADMIN_LISTEN", "127.0.0.1:0")])
        .current_dir(directory.path())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2), "{ended:?}");
    let said = "dispatcher: RLIMIT_NOFILE=60: expected 74 at least for 1 core(s)";
    assert!(String::from_utf8_lossy(&ended.stderr).starts_with(said), "{ended:?}");
}

#[test]
fn two_variables_that_contradict_are_refused() {
    for (variables, parts) in [
        ([("RETRYLIMIT", "1"), ("RETRY_LIMIT", "2")], ["RETRYLIMIT=\"1\"", "RETRY_LIMIT=\"2\""]),
        ([("DEFAULT_TIMEOUT", "10s"), ("MAX_TIMEOUT", "5s")], ["DEFAULT_TIMEOUT=\"10s\"", "MAX_TIMEOUT=5s"]),
        ([("BACKOFF_BASE", "1h"), ("BACKOFF_MAX", "1m")], ["BACKOFF_BASE=\"1h\"", "BACKOFF_MAX=1m"]),
        ([("LISTEN", ":9"), ("ADMIN_LISTEN", "127.0.0.1:9")], ["ADMIN_LISTEN=", "LISTEN="]),
    ] {
        assert_unusable(&variables, &parts);
    }
}

#[test]
fn a_port_in_use_is_named_whoever_uses_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for name in ["LISTEN", "ADMIN_LISTEN"] {
        assert_unusable(&[(name, &address)], &[&format!("{name}={address}"), "expected", "another process"]);
    }
    let other = Daemon::start(&[]);
    for (name, address) in [("LISTEN", other.data), ("ADMIN_LISTEN", other.admin)] {
        let address = address.to_string();
        assert_unusable(&[(name, &address)], &[&format!("{name}={address}"), "expected", "another process"]);
    }
}

#[test]
fn a_killed_daemon_starts_again_on_its_port_although_connections_linger() {
    for backend in ["uring", "portable"] {
        // An address of this test's own, so that nobody else takes the port in between.
        let first = Daemon::start(&[("IO_BACKEND", backend), ("LISTEN", "127.77.0.1:0")]);
        let address = first.data.to_string();
        let mut clients: Vec<_> = (0..3).map(|_| first.connect()).collect();
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/-/ready").status, 200));
        clients[0].send("GET / HTTP/1.1\r\n");
        clients[1].finish();
        drop(first);
        let second = Daemon::start(&[("IO_BACKEND", backend), ("LISTEN", &address)]);
        assert_eq!(second.connect().get("/-/ready").status, 200, "{backend}");
    }
}

#[test]
fn a_second_daemon_on_the_same_log_names_the_holder() {
    let first = Daemon::start(&[]);
    let ended = run(&first.directory, &[], &[]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let line = ended.stderr.last().unwrap();
    assert!(
        line.contains(first.directory.path().to_str().unwrap()) && line.contains(&format!("process {}", first.pid())),
        "{line}"
    );
    assert_eq!(first.connect().get("/-/ready").status, 200, "the first goes on");
}

#[test]
fn a_regular_file_as_log_is_refused_and_left_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::write(&path, b"{\"a log\": \"of the first Dispatcher\"}\n").unwrap();
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    let ended = run(&directory, &[], &[]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let line = ended.stderr.last().unwrap();
    assert!(line.contains(path.to_str().unwrap()) && line.contains("regular file"), "{line}");
    assert_eq!(std::fs::read(&path).unwrap(), b"{\"a log\": \"of the first Dispatcher\"}\n");
    assert_eq!(std::fs::metadata(&path).unwrap().modified().unwrap(), before);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "nothing was made beside it");
}

#[test]
fn help_lists_every_variable_with_its_default() {
    let ended = run(&tempfile::tempdir().unwrap(), &[], &["--help"]);
    assert_eq!((ended.code, ended.stderr.len()), (Some(0), 0), "{ended:?}");
    for variable in VARIABLES {
        let line = ended.stdout.lines().find(|line| line.split_whitespace().next() == Some(variable.name));
        assert!(line.is_some_and(|line| line.contains(variable.default)), "{}: {line:?}", variable.name);
    }
}

#[test]
fn check_config_prints_what_is_in_effect_and_starts_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [("WORKER", "3"), ("RETRY_LIMIT", "4"), ("RETRYLIMT", "5"), ("MAX_TIMEOUT", "")];
    let ended = run(&directory, &variables, &["check-config"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines.iter().filter(|line| !line.starts_with("# memory: ")).count(), VARIABLES.len());
    for line in ["WORKER=3  # environment", "RETRYLIMIT=4  # environment", "MAX_TIMEOUT=30m  # default"] {
        assert!(lines.contains(&line), "{line} in {}", ended.stdout);
    }
    assert!(ended.stderr.len() == 1 && ended.stderr[0].contains("RETRYLIMT"), "a typo is warned about: {ended:?}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    let refused = run(&directory, &[("WORKER", "0")], &["check-config"]);
    assert_eq!((refused.code, refused.stderr.len()), (Some(2), 1), "{refused:?}");
}

#[test]
fn a_typo_in_a_variable_is_warned_about_and_does_not_stop_the_start() {
    let daemon = Daemon::start(&[("RETRYLIMT", "5")]);
    let warning = daemon.log_line("RETRYLIMIT");
    assert!(warning.contains("\"WARN\"") && warning.contains("RETRYLIMT"), "{warning}");
    assert_eq!(daemon.connect().get("/-/ready").status, 200);
}

#[test]
fn a_hangup_neither_ends_nor_drains_a_daemon_that_has_nothing_to_reload() {
    let daemon = Daemon::start(&[]);
    let mut kept = daemon.connect();
    assert_eq!(kept.get("/-/ready").status, 200);
    daemon.signal(Signal::HUP);
    assert!(daemon.log_line("SIGHUP").contains("\"INFO\""));
    assert_eq!(kept.get("/-/ready").status, 200);
    assert_eq!(daemon.connect().get("/-/ready").status, 200);
}
