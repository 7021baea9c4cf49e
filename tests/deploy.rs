//! The files of `deploy/` say of the daemon what is true: variables that there are, time enough to stop, `io_uring` allowed.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

use dispatcher::config::Loaded;
use dispatcher::config::table::VARIABLES;
use dispatcher::limits::DRAIN_FLUSH_MS;

const UNIT: &str = include_str!("../deploy/systemd/dispatcher.service");
const ENVIRONMENT: &str = include_str!("../deploy/systemd/dispatcher.env");
const KUBERNETES: &str = include_str!("../deploy/kubernetes/dispatcher.yaml");
const COMPOSE: &str = include_str!("../deploy/compose.yaml");
const SECCOMP: &str = include_str!("../deploy/seccomp.json");

/// What `find` makes of the lines of a file that are about variables; those that are commented out count too.
fn variables(file: &str, find: impl Fn(&str) -> Option<(&str, &str)>) -> Vec<(String, String)> {
    let lines = file.lines().map(|line| line.trim().trim_start_matches(['#', ' ', '-']));
    let pairs = lines.filter_map(find).map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()));
    pairs.filter(|(name, _)| name.len() > 3 && name.chars().all(|one| one.is_ascii_uppercase() || one == '_')).collect()
}

/// The number in the first line that begins with `key`, in seconds.
fn seconds(file: &str, key: &str) -> u64 {
    let value = file.lines().find_map(|line| line.trim().strip_prefix(key)).unwrap_or_else(|| panic!("{key}"));
    value.trim().trim_end_matches(['s', '}']).parse().unwrap()
}

#[test]
fn every_variable_that_is_set_is_one_of_the_daemon_and_has_a_value_that_it_takes() {
    let set = [
        variables(ENVIRONMENT, |line| line.split_once('=')),
        variables(UNIT, |line| line.strip_prefix("Environment=")?.split_once('=')),
        variables(COMPOSE, |line| line.split_once(": ")),
        variables(KUBERNETES, |line| line.strip_prefix("{name: ")?.strip_suffix('}')?.split_once(", value: ")),
    ];
    for (file, at_least) in set.iter().zip([5, 1, 2, 5]) {
        assert!(file.len() >= at_least, "{file:?}");
        for (name, value) in file {
            assert!(VARIABLES.iter().any(|variable| variable.name == name), "{name}={value}");
        }
        Loaded::from_vars(file.iter().cloned()).unwrap();
    }
}

#[test]
fn whoever_stops_the_daemon_gives_it_the_time_that_it_may_take() {
    let default = VARIABLES.iter().find(|variable| variable.name == "SHUTDOWN_TIMEOUT").unwrap().default;
    let needed = seconds(&format!("default={default}"), "default=") + 3 * DRAIN_FLUSH_MS / 1000;
    assert!(seconds(UNIT, "TimeoutStopSec=") >= needed);
    assert!(seconds(COMPOSE, "stop_grace_period:") >= needed);
    let pause = seconds(KUBERNETES, "sleep: {seconds:");
    assert!(seconds(KUBERNETES, "terminationGracePeriodSeconds:") >= needed + pause);
}

#[test]
fn the_seccomp_profile_allows_io_uring_and_nothing_that_needs_a_privilege() {
    let profile: serde_json::Value = serde_json::from_str(SECCOMP).unwrap();
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    let rules = profile["syscalls"].as_array().unwrap();
    let allowed: Vec<&str> = rules
        .iter()
        .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW")
        .flat_map(|rule| rule["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()))
        .collect();
    let rings: Vec<_> = allowed.iter().filter(|name| name.starts_with("io_uring")).collect();
    assert_eq!(rings, [&"io_uring_enter", &"io_uring_register", &"io_uring_setup"]);
    assert!(allowed.contains(&"pwrite64"));
    for privileged in ["bpf", "clone3", "init_module", "mount", "perf_event_open", "setns", "unshare"] {
        assert!(!allowed.contains(&privileged), "{privileged}");
    }
}
