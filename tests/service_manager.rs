//! What a service manager is told over its socket (`sd_notify(3)`): ready, reloading, stopping, alive.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

mod support;

use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;
use support::{BACKENDS, Client, DEADLINE, Daemon};
use tempfile::TempDir;

/// The manager's end.
struct Manager {
    socket: UnixDatagram,
    path: String,
    _directory: TempDir,
}

impl Manager {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify").to_str().unwrap().to_owned();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, path, _directory: directory }
    }

    /// A daemon that tells this manager.
    fn start(&self, variables: &[(&str, &str)]) -> Daemon {
        Daemon::start(&[&[("NOTIFY_SOCKET", self.path.as_str())], variables].concat())
    }

    /// What is told next: assignments.
    fn next(&self) -> Vec<(String, String)> {
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).expect("something is told in time");
        let text = std::str::from_utf8(&bytes[..length]).unwrap();
        let assignment = |line: &str| line.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        text.lines().map(|line| assignment(line).expect("an assignment")).collect()
    }

    /// All that is told until `name` is assigned to.
    fn until(&self, name: &str) -> Vec<(String, String)> {
        let mut told = Vec::new();
        while value(&told, name).is_none() {
            told.extend(self.next());
        }
        told
    }
}

/// What is assigned to `name` last.
fn value<'a>(told: &'a [(String, String)], name: &str) -> Option<&'a str> {
    told.iter().rfind(|(assigned, _)| assigned == name).map(|(_, value)| value.as_str())
}

fn microseconds(told: &[(String, String)], name: &str) -> u64 {
    value(told, name).unwrap_or_else(|| panic!("{name} in {told:?}")).parse().unwrap()
}

#[test]
fn it_is_told_ready_when_ready_and_stopping_with_the_time_that_this_may_take() {
    for backend in BACKENDS {
        let manager = Manager::new();
        let mut daemon = manager.start(&[("IO_BACKEND", backend), ("SHUTDOWN_TIMEOUT", "40s")]);
        let told = manager.until("READY");
        assert_eq!(Client::connect(daemon.data).get("/-/ready").status, 200);
        assert_eq!((value(&told, "READY"), value(&told, "STATUS")), (Some("1"), Some("Taking messages")));
        daemon.signal(Signal::TERM);
        let told = manager.until("STOPPING");
        assert_eq!(value(&told, "STOPPING"), Some("1"));
        assert!(value(&told, "STATUS").unwrap().starts_with("Stopping"), "{told:?}");
        assert!(microseconds(&told, "EXTEND_TIMEOUT_USEC") >= 44_000_000, "{told:?}");
        assert_eq!(daemon.ended(), Some(0));
        manager.socket.set_nonblocking(true).unwrap();
        assert!(manager.socket.recv(&mut [0; 1]).is_err(), "after that there is nothing to say");
    }
}

#[test]
fn a_start_that_cannot_take_messages_yet_says_why_and_asks_for_more_time() {
    let manager = Manager::new();
    let daemon = manager.start(&[("DISK_RESERVE", "1000000GiB")]);
    let mut asked = 0;
    let mut told = Vec::new();
    while asked < 3 || value(&told, "STATUS").is_none_or(|status| status.contains("starting")) {
        let next = manager.next();
        assert!(microseconds(&next, "EXTEND_TIMEOUT_USEC") >= 10_000_000, "{next:?}");
        asked += 1;
        told.extend(next);
    }
    assert_eq!(value(&told, "READY"), None);
    assert_eq!(value(&told, "STATUS"), Some("Not taking all messages: shard 0 is out of log space"));
    assert_eq!(Client::connect(daemon.data).get("/-/ready").status, 503);
}

#[test]
fn a_reload_is_told_from_its_begin_to_its_end_whether_or_not_there_are_files_to_read() {
    let directory = tempfile::tempdir().unwrap();
    let tokens = directory.path().join("tokens");
    std::fs::write(&tokens, "a-token-of-some-length-0123456789\n").unwrap();
    for variables in [&[][..], &[("AUTH_TOKEN_FILE", tokens.to_str().unwrap())]] {
        let manager = Manager::new();
        let daemon = manager.start(variables);
        manager.until("READY");
        let mut before = 0;
        for _ in 0..2 {
            daemon.signal(Signal::HUP);
            let begun = manager.until("RELOADING");
            assert_eq!((value(&begun, "RELOADING"), value(&begun, "READY")), (Some("1"), None), "{begun:?}");
            let at = microseconds(&begun, "MONOTONIC_USEC");
            assert!(at > before, "{begun:?}");
            before = at;
            assert_eq!(value(&manager.until("READY"), "READY"), Some("1"));
        }
    }
}

#[test]
fn its_watchdog_hears_of_the_daemon_again_and_again_if_it_has_one() {
    for backend in BACKENDS {
        let manager = Manager::new();
        let _daemon = manager.start(&[("IO_BACKEND", backend), ("WATCHDOG_USEC", "3000000")]);
        for _ in 0..3 {
            assert_eq!(value(&manager.until("WATCHDOG"), "WATCHDOG"), Some("1"));
        }
    }
}

#[test]
fn a_manager_that_cannot_be_told_is_a_warning_and_no_more() {
    let mut daemon = Daemon::start(&[("NOTIFY_SOCKET", "/nobody/listens/here")]);
    daemon.log_line("the service manager could not be told");
    assert_eq!(Client::connect(daemon.data).get("/-/healthy").status, 200);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended(), Some(0));
}
