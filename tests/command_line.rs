//! `dispatcher doctor`, `completions` and `man`, run as an operator or a package would.

#![allow(clippy::unwrap_used, reason = "a test crate: a panic is a failed test")]

#[allow(dead_code, reason = "each crate of tests uses its part")]
#[path = "common_daemon/mod.rs"]
mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use common::daemon::Daemon;
use common::run;
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_dispatcher");
/// A small daemon that any machine has room for.
const SMALL: &[(&str, &str)] = &[
    ("LISTEN", "127.0.0.1:0"),
    ("ADMIN_LISTEN", "127.0.0.1:0"),
    ("CORES", "1"),
    ("SEGMENT_BYTES", "2MiB"),
    ("MAX_BODY", "256KiB"),
    ("DISK_RESERVE", "1MiB"),
    ("MAX_MEMORY", "256MiB"),
];

/// Runs `dispatcher doctor --json` on `<dir>/log`.
fn doctor(dir: &Path, variables: &[(&str, &str)]) -> (Option<i32>, Vec<Value>) {
    let ended = command(dir, variables).args(["doctor", "--json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    (ended.status.code(), found.as_array().unwrap().clone())
}

fn command(dir: &Path, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(BINARY);
    let all = SMALL.iter().chain(variables).copied();
    command.env_clear().env("TRANSACTION_LOG", dir.join("log")).envs(all).current_dir(dir).stdin(Stdio::null());
    command
}

#[track_caller]
fn of<'f>(findings: &'f [Value], check: &str) -> &'f Value {
    findings
        .iter()
        .find(|finding| finding["check"] == check)
        .unwrap_or_else(|| panic!("{check} is not in {findings:#?}"))
}

/// Names below a directory.
fn names(dir: &Path) -> BTreeSet<String> {
    let ended = Command::new("find").arg(dir).output().unwrap();
    String::from_utf8(ended.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn where_all_is_well_the_doctor_finds_no_problem_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let before = names(dir.path());
    let (code, findings) = doctor(dir.path(), &[]);
    assert_eq!(code, Some(0), "{findings:#?}");
    for check in [
        "io_uring",
        "seccomp",
        "descriptors",
        "division",
        "memory",
        "processors",
        "clock",
        "log",
        "filesystem",
        "space",
        "O_DIRECT",
        "writes",
        "LISTEN",
        "ADMIN_LISTEN",
        "names",
        "roots",
    ] {
        let finding = of(&findings, check);
        assert!(["ok", "warning"].contains(&finding["verdict"].as_str().unwrap()), "{finding}");
        assert_eq!(finding["verdict"] == "ok", finding["remedy"].is_null(), "what is not well has a remedy: {finding}");
    }
    assert!(of(&findings, "writes")["found"].as_str().unwrap().contains("p50 "), "{findings:#?}");
    assert_eq!(names(dir.path()), before);
    let text = command(dir.path(), &[]).arg("doctor").output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("ok ") || text.starts_with("warning "), "{text}");
    assert!(text.contains("\n0 problem(s), "), "{text}");
}

#[test]
fn a_running_daemon_is_told_and_left_alone() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), SMALL).await;
        // Segments come and go by themselves.
        let others = || -> Vec<String> {
            names(&dir.path().join("log")).into_iter().filter(|name| !name.contains("/shard-")).collect()
        };
        let (before, pid) = (others(), format!("process {}", daemon.pid()));
        let (data, admin) = (daemon.address().to_string(), daemon.admin_address().to_string());
        let (code, findings) = doctor(dir.path(), &[("LISTEN", &data), ("ADMIN_LISTEN", &admin)]);
        assert_eq!(code, Some(0), "{findings:#?}");
        for check in ["log", "LISTEN", "ADMIN_LISTEN"] {
            let finding = of(&findings, check);
            let found = finding["found"].as_str().unwrap();
            assert!(
                finding["verdict"] == "ok" && found.contains("running dispatcher") && found.contains(&pid),
                "{finding}"
            );
        }
        assert_eq!(others(), before);
        assert!(daemon.admin("/-/ready").await.starts_with("HTTP/1.1 200 "), "it goes on");
        daemon.stop().await;
    });
}

#[test]
fn each_problem_is_found_and_makes_the_exit_status_1() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, me) = (taken.local_addr().unwrap().to_string(), format!("process {} ", std::process::id()));
    std::fs::write(dir.path().join("file"), b"{}").unwrap();
    let file = dir.path().join("file");
    for (variable, value, check, part) in [
        ("LISTEN", address.as_str(), "LISTEN", me.as_str()),
        ("ADMIN_LISTEN", &address, "ADMIN_LISTEN", &me),
        ("TRANSACTION_LOG", file.to_str().unwrap(), "log", "no directory"),
        ("DISK_RESERVE", "1000000GiB", "space", "reserve"),
        ("TLS_CA", "missing.pem", "roots", "missing.pem"),
    ] {
        let (code, findings) = doctor(dir.path(), &[(variable, value)]);
        let finding = of(&findings, check);
        assert_eq!((code, finding["verdict"].as_str()), (Some(1), Some("problem")), "{variable}: {finding}");
        assert!(finding["found"].as_str().unwrap().contains(part), "{finding}");
        assert!(!finding["remedy"].as_str().unwrap().is_empty(), "{finding}");
    }
    assert_eq!(std::fs::read(file).unwrap(), b"{}");
    let mut few = Command::new("sh");
    few.args(["-c", "ulimit -n 60 && exec \"$0\" doctor --json", BINARY]).env_clear().envs(SMALL.iter().copied());
    let ended = few.env("TRANSACTION_LOG", dir.path().join("log")).output().unwrap();
    let findings: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let finding = of(findings.as_array().unwrap(), "descriptors");
    assert_eq!((ended.status.code(), finding["verdict"].as_str()), (Some(1), Some("problem")), "{finding}");
}

#[test]
fn a_variable_that_cannot_be_used_is_no_finding_but_exit_status_2() {
    let dir = tempfile::tempdir().unwrap();
    let ended = command(dir.path(), &[("WORKER", "many")]).arg("doctor").output().unwrap();
    assert_eq!((ended.status.code(), ended.stdout.len()), (Some(2), 0), "{ended:?}");
    assert!(String::from_utf8_lossy(&ended.stderr).contains("WORKER=\"many\""), "{ended:?}");
}

/// What a real bash offers after a beginning of a command line.
fn offered(line: &[&str]) -> Vec<String> {
    let script = r#"source <("$0" completions bash) || exit 1
        COMP_WORDS=(dispatcher "$@") COMP_CWORD=$#
        _dispatcher dispatcher "${@: -1}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let ended = Command::new("bash").args(["--norc", "-c", script, BINARY]).args(line).output().unwrap();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    String::from_utf8(ended.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    assert_eq!(offered(&["sta"]), ["stat"]);
    assert_eq!(offered(&["dead", "rep"]), ["replay"]);
    let options = offered(&["stat", "--"]);
    assert!(options.contains(&"--interval".to_owned()) && options.contains(&"--json".to_owned()), "{options:?}");
}

#[test]
fn other_shells_and_the_manual_have_every_command() {
    let printed = |arguments: &[&str]| {
        let Output { status, stdout, .. } = Command::new(BINARY).args(arguments).output().unwrap();
        assert!(status.success(), "{arguments:?}");
        String::from_utf8(stdout).unwrap()
    };
    let commands = ["demo", "check-config", "doctor", "log", "stat", "dead", "completions", "man"];
    let manual = printed(&["man"]);
    assert!(manual.contains(".TH dispatcher 1"), "{manual}");
    assert!(manual.contains("TRANSACTION_LOG") && manual.contains("Exit status"), "{manual}");
    assert!(manual.contains(".SH NOTES\n.nf\n") && !manual.contains("dispatcher\\-help"), "columns stay: {manual}");
    for text in [printed(&["completions", "zsh"]), printed(&["completions", "fish"]), manual.replace("\\-", "-")] {
        for command in commands {
            assert!(text.contains(command), "{command} in\n{text}");
        }
    }
    let dir = tempfile::tempdir().unwrap();
    printed(&["man", dir.path().to_str().unwrap()]);
    for command in commands
        .map(|command| format!("dispatcher-{command}.1"))
        .iter()
        .chain(["dispatcher-dead-replay.1".to_owned()].iter())
    {
        assert!(dir.path().join(command).exists(), "{command}: {:?}", names(dir.path()));
    }
}
