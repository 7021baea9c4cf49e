//! `dispatcher stat` beside the real binary: figures, outages, and the live view on a terminal.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

#[allow(dead_code, reason = "each crate of tests uses its part")]
#[path = "common_daemon/mod.rs"]
mod common;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::daemon::Daemon;
use common::origin::Origin;
use common::{run, until};
use serde_json::Value;

/// A `dispatcher stat`; killed when dropped.
struct Stat(Child);

impl Stat {
    /// Begins one, whose output goes to files in `dir`.
    fn start(dir: &Path, arguments: &[&str]) -> Self {
        let file = |name: &str| File::create(dir.join(name)).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dispatcher"));
        command.env_clear().current_dir(dir).stdin(Stdio::null()).stdout(file("out")).stderr(file("err"));
        Self(command.arg("stat").args(arguments).spawn().unwrap())
    }

    async fn ended(&mut self) -> Option<i32> {
        let mut code = None;
        until("it ends", || {
            code = self.0.try_wait().unwrap();
            code.is_some()
        })
        .await;
        code.unwrap().code()
    }
}

impl Drop for Stat {
    fn drop(&mut self) {
        // Errors mean that it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(dir: &Path, name: &str) -> String {
    std::fs::read_to_string(dir.join(name)).unwrap()
}

fn url(daemon: &Daemon) -> String {
    format!("http://{}", daemon.admin_address())
}

#[test]
fn what_happens_between_two_looks_is_shown_as_rates_and_latencies() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let daemon = Daemon::start(dir.path(), &[]).await;
        let mut sender = daemon.sender().await;
        let admin = url(&daemon);
        let mut stat = Stat::start(dir.path(), &["--admin", &admin, "--json", "--interval", "200ms", "--count", "3"]);
        while stat.0.try_wait().unwrap().is_none() {
            sender.post(&origin.host(), b"counted").await;
        }
        assert_eq!(stat.ended().await, Some(0));
        let lines: Vec<Value> =
            text(dir.path(), "out").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((lines.len(), text(dir.path(), "err").as_str()), (3, ""));
        let name = format!("http://{}", origin.host());
        for line in &lines {
            assert!(line["rates"]["accepted"].as_f64().unwrap() > 0.0, "{line}");
            assert!(line["seconds"].as_f64().unwrap() >= 0.2 && line["at"].is_string(), "{line}");
            assert_eq!(
                (line["latencies"][0]["what"].as_str(), line["daemon"]["shards"].as_u64()),
                (Some("accept"), Some(2))
            );
            assert!(line["latencies"][0]["p50"].as_f64().unwrap() > 0.0, "{line}");
            let shown = line["origins"].as_array().unwrap().iter().find(|shown| shown["origin"] == name.as_str());
            assert!(shown.is_some_and(|shown| shown["delivered"].as_f64().unwrap() > 0.0), "{line}");
            assert!(line["daemon"]["uptime"].is_f64() && line["memory"]["resident"].is_u64(), "{line}");
            assert!(line["log"]["bytes"].as_u64().unwrap() > 0 && line["log"]["disk_free"].is_u64(), "{line}");
        }
        let mut stat = Stat::start(dir.path(), &["--admin", &admin, "--interval", "100ms", "--count", "2"]);
        assert_eq!(stat.ended().await, Some(0));
        let text = text(dir.path(), "out");
        assert_eq!(text.matches("\nper second ").count(), 2, "{text}");
        for part in [
            "dispatcher 0.",
            "p50",
            "accept",
            "commit",
            "attempt",
            "delivery",
            "messages",
            "log  ",
            "memory",
            "circuits",
        ] {
            assert_eq!(
                text.lines().filter(|line| line.trim_start().starts_with(part)).count() % 2,
                0,
                "{part}\n{text}"
            );
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains('\x1b'), "plain text where nobody looks");
        daemon.stop().await;
    });
}

#[test]
fn a_daemon_that_goes_is_told_once_and_shown_again_when_it_is_back() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut daemon = Daemon::start(dir.path(), &[]).await;
        let mut stat = Stat::start(dir.path(), &["--admin", &url(&daemon), "--json", "--interval", "100ms"]);
        until("it shows something", || text(dir.path(), "out").lines().count() > 0).await;
        let address = daemon.admin_address().to_string();
        daemon.kill();
        until("it says so", || text(dir.path(), "err").contains("no daemon answers at")).await;
        let before = text(dir.path(), "out").lines().count();
        let daemon = Daemon::start(dir.path(), &[("ADMIN_LISTEN", &address)]).await;
        until("it is back", || text(dir.path(), "err").contains("answers again")).await;
        until("it shows more", || text(dir.path(), "out").lines().count() > before + 1).await;
        assert_eq!(text(dir.path(), "err").lines().count(), 2, "{}", text(dir.path(), "err"));
        assert!(stat.0.try_wait().unwrap().is_none(), "it goes on");
        daemon.stop().await;
    });
}

#[test]
fn without_a_daemon_at_the_start_it_says_where_it_looked_and_ends() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let mut stat = Stat::start(dir.path(), &["--admin", "http://127.0.0.1:1"]);
        assert_eq!(stat.ended().await, Some(2));
        let said = text(dir.path(), "err");
        assert!(said.contains("127.0.0.1:1") && said.contains("ADMIN_LISTEN") && said.lines().count() == 1, "{said}");
        let mut stat = Stat::start(dir.path(), &["--interval", "1ms"]);
        assert_eq!(stat.ended().await, Some(2));
        assert!(text(dir.path(), "err").contains("100ms"));
    });
}

#[test]
fn on_a_terminal_it_is_a_view_that_q_ends_and_that_leaves_the_terminal_as_it_was() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        // script(1) is there wherever Debian is, and gives a command a terminal.
        let binary = env!("CARGO_BIN_EXE_dispatcher");
        let command = format!("stty cols 90 rows 30; exec {binary} stat --interval 100ms --admin {}", url(&daemon));
        let out = File::create(dir.path().join("out")).unwrap();
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c", &command, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::piped());
        let mut stat = Stat(script.stdout(out).stderr(Stdio::null()).spawn().unwrap());
        let drawn = || String::from_utf8_lossy(&std::fs::read(dir.path().join("out")).unwrap()).into_owned();
        until("it is drawn twice", || drawn().matches("per second").count() >= 2).await;
        stat.0.stdin.take().unwrap().write_all(b"q").unwrap();
        assert_eq!(stat.ended().await, Some(0));
        let drawn = drawn();
        assert!(drawn.contains("\x1b[?1049h") && drawn.contains("q ends"), "{drawn:?}");
        assert!(drawn.trim_end().ends_with("\x1b[?1049l"), "{drawn:?}");
        daemon.stop().await;
    });
}
