//! Which log is read, what cannot be, and that reading leaves no trace.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use dispatcher::wal::payload::Payload;

use crate::image::{accepted, id, put, segment, story};
use crate::ran::{Ran, command, run, run_on};

const NOBODY: u32 = 65_534;

#[test]
fn the_log_is_that_of_the_environment_whatever_else_is_set_there() {
    let dir = tempfile::tempdir().unwrap();
    let (log, letters) = (dir.path().join("log"), dir.path().join("letters"));
    story(&log);
    fs::rename(log.join("dead-letter"), &letters).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (log, letters) = (text(&log), text(&letters));
    let variables = [("TRANSACTION_LOG", log.as_str()), ("DEAD_LETTER", &letters), ("WORKER", "many"), ("CORES", "-1")];
    let ran = |arguments: &[&str]| Ran::from(command(arguments, &variables).output().unwrap()).clean();
    assert_eq!(ran(&["cat"]).lines().len(), 9);
    assert_eq!(ran(&["cat", "--dead-letters"]).lines().len(), 10);
    assert_eq!(ran(&["verify", "--json"]).lines()[0]["shards"].as_array().unwrap().len(), 3);
    assert_eq!(ran(&["cat", &letters]).records(), ["dead_letter 03"]);
    // Without a variable: the default, where the command runs.
    let (arguments, default) = (["cat"], dir.path().join("transaction.log"));
    fs::rename(&log, &default).unwrap();
    let output = command(&arguments, &[]).current_dir(dir.path()).output().unwrap();
    assert_eq!(Ran::from(output).clean().lines().len(), 9);
}

#[test]
fn one_shard_can_be_read_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    story(dir.path());
    let shard = dir.path().join("shard-01");
    assert_eq!(run_on("cat", &shard, &[]).clean().records(), ["accepted 04", "lost 04", "accepted 05"]);
    let output = command(&["verify", "--json", "."], &[]).current_dir(&shard).output().unwrap();
    assert_eq!(Ran::from(output).clean().lines()[0]["totals"]["live_messages"], 1);
    run_on("cat", &shard, &["--dead-letters"]).refused(&["shard-01", "expected the whole log"]);
}

#[test]
fn what_is_no_log_and_what_is_no_argument_is_refused_in_a_line_that_says_what_was_expected() {
    let dir = tempfile::tempdir().unwrap();
    let (file, empty) = (dir.path().join("file"), dir.path().join("empty"));
    fs::write(&file, "a log of another program").unwrap();
    fs::create_dir(&empty).unwrap();
    for command in ["cat", "verify"] {
        run_on(command, &dir.path().join("none"), &[]).refused(&["none", "expected the directory", "No such file"]);
        run_on(command, &file, &[]).refused(&["file", "expected the directory", "Not a directory"]);
        run_on(command, &empty, &[]).refused(&["empty", "holds no log: expected"]);
        run(&[command, "--no-such-option"]).refused(&["--no-such-option"]);
    }
    story(&dir.path().join("log"));
    for (option, value, expected) in [
        ("--id", "7", "expected a UUID"),
        ("--since", "yesterday", "expected an RFC 3339 time"),
        ("--origin", "a.test/path", "expected host, host:port"),
        ("--state", "over", "over"),
    ] {
        run_on("cat", &dir.path().join("log"), &[option, value]).refused(&[option, value, expected]);
    }
    fs::remove_dir_all(dir.path().join("log/dead-letter")).unwrap();
    run_on("cat", &dir.path().join("log"), &["--dead-letters"]).refused(&["dead-letter", "No such file"]);
    run_on("verify", &dir.path().join("log"), &[]).clean();
}

/// Every file with its content, and when it and its directory were last written.
fn snapshot(dir: &Path) -> BTreeMap<PathBuf, (i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        let content = if metadata.is_dir() { Vec::new() } else { fs::read(&path).unwrap() };
        if metadata.is_dir() {
            found.append(&mut snapshot(&path));
        }
        found.insert(path, (metadata.mtime(), metadata.mtime_nsec(), content));
    }
    found
}

#[test]
fn reading_changes_and_creates_nothing() {
    let dir = tempfile::tempdir().unwrap();
    story(dir.path());
    fs::write(dir.path().join("shard-00/000000000009.wal.new"), "unfinished").unwrap();
    let before = snapshot(dir.path());
    run_on("cat", dir.path(), &["--dead-letters", "--state", "pending"]).clean();
    run_on("verify", dir.path(), &[]).clean();
    assert!(snapshot(dir.path()) == before, "a file was changed, created or removed");
}

fn set_modes(dir: &Path, directories: u32, files: u32) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            set_modes(&entry.path(), directories, files);
        } else {
            fs::set_permissions(entry.path(), Permissions::from_mode(files)).unwrap();
        }
    }
    fs::set_permissions(dir, Permissions::from_mode(directories)).unwrap();
}

/// Runs a command as a user whom permissions bind; `None`: such a one cannot run the binary.
fn run_as_nobody(arguments: &[&str]) -> Option<Ran> {
    let mut command = command(arguments, &[]);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    command.output().ok().map(Ran::from)
}

#[test]
fn reading_needs_permission_to_read_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    let log = dir.path().join("log");
    story(&log);
    set_modes(&log, 0o555, 0o444);
    for arguments in [["cat", "--dead-letters"], ["verify", "--json"]] {
        let ran = run_as_nobody(&[&arguments[..], &[log.to_str().unwrap()]].concat());
        assert!(ran.is_none_or(|ran| !ran.clean().stdout.is_empty()));
    }
    set_modes(&log, 0o755, 0o200);
    if let Some(ran) = run_as_nobody(&["cat", log.to_str().unwrap()]) {
        ran.refused(&["shard-00/000000000007.wal", "Permission denied"]);
    }
    set_modes(&log, 0o300, 0o600);
    if let Some(ran) = run_as_nobody(&["verify", log.to_str().unwrap()]) {
        ran.refused(&["log: expected", "Permission denied"]);
    }
    set_modes(&log, 0o700, 0o600);
}

#[test]
fn it_ends_quietly_when_nobody_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut message = accepted("a.test", 0);
    message.body = &[b'x'; 1 << 20];
    put(dir.path(), 0, 0, &segment(0, 0, None, &[1, 2, 3].map(|n| vec![(id(n), Payload::Accepted(message.clone()))])));
    let mut child = command(&["cat", dir.path().to_str().unwrap(), "--bodies"], &[]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("{\"shard\":0,"), "and the pipe is closed");
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn help_shows_examples_and_exit_statuses() {
    for (arguments, parts) in [
        (["cat", "--help"], ["Examples:", "--origin b.example:8080", "takes memory for every message", "\n  2  "]),
        (["verify", "--help"], ["Examples:", "--json", "torn tail is no damage", "\n  2  "]),
    ] {
        let text = run(&arguments).clean().stdout;
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}
