//! Beside a running daemon: whatever it does to its log meanwhile, nothing is taken for damage, and nothing that lives is
//! left out.

use std::cell::Cell;
use std::collections::HashSet;
use std::path::Path;
use std::process::Child;
use std::rc::Rc;

use serde_json::Value;
use tokio::task::{JoinSet, spawn_blocking};

use crate::common::daemon::Daemon;
use crate::common::origin::{Origin, Reply};
use crate::common::{log, run, until};
use crate::ran::{Ran, command};

/// Rounds of reading while the log turns over.
const ROUNDS: usize = 40;

async fn log_command(dir: &Path, arguments: &[&str]) -> Ran {
    let mut command = command(arguments, &[]);
    command.env("TRANSACTION_LOG", dir.join("log"));
    spawn_blocking(move || command.output().unwrap()).await.unwrap().into()
}

/// Sends messages of `bytes` over as many connections as there are tasks in the set, until it is dropped.
fn load(daemon: &Daemon, origin: &Origin, connections: usize, bytes: usize) -> (JoinSet<()>, Rc<Cell<usize>>) {
    let (mut tasks, sent) = (JoinSet::new(), Rc::new(Cell::new(0)));
    for _ in 0..connections {
        let (address, host, sent) = (daemon.address(), origin.host(), Rc::clone(&sent));
        tasks.spawn_local(async move {
            let mut sender = crate::common::sender::Sender::connect(address).await.unwrap();
            loop {
                // 507 for as long as it takes.
                sender.try_post(&host, "", &vec![b'm'; bytes]).await.unwrap();
                sent.set(sent.get() + 1);
            }
        });
    }
    (tasks, sent)
}

#[test]
fn under_load_with_segments_reused_all_the_time_nothing_is_ever_damaged_and_no_live_message_is_left_out() {
    run(async {
        let (dir, origin, slow) = (tempfile::tempdir().unwrap(), Origin::start(), Origin::start());
        slow.answer(|_| Reply::Hold);
        let variables = [("SEGMENT_BYTES", "1MiB"), ("DEFAULT_TIMEOUT", "20m"), ("CORES", "2")];
        let daemon = Daemon::start(dir.path(), &variables).await;
        let mut held = HashSet::new();
        for _ in 0..20 {
            held.insert(daemon.sender().await.post(&slow.host(), &[b'h'; 2000]).await);
        }
        let (mut tasks, sent) = load(&daemon, &origin, 8, 20 << 10);
        let mut recycled = 0;
        for round in 0..ROUNDS {
            let before = sent.get();
            let ran = log_command(dir.path(), &["cat"]).await.clean();
            let is_accepted = |line: &&Value| line["record"] == "accepted";
            let printed: HashSet<String> =
                ran.lines().iter().filter(is_accepted).map(|line| line["id"].as_str().unwrap().to_owned()).collect();
            let missed: Vec<&String> = held.difference(&printed).collect();
            assert!(missed.is_empty(), "round {round}: {missed:?} of {} ids", printed.len());
            let summary = log_command(dir.path(), &["verify", "--json"]).await.clean().lines().remove(0);
            let totals = &summary["totals"];
            assert_eq!((&summary["intact"], &totals["torn_tails"]), (&true.into(), &0.into()), "{summary}");
            assert!(totals["live_messages"].as_u64().unwrap() >= held.len() as u64, "{summary}");
            recycled += totals["recycled_while_read"].as_u64().unwrap();
            until("the log turns over", || sent.get() >= before + 100).await;
        }
        tasks.shutdown().await;
        eprintln!("{} messages, {recycled} segments were reused while they were read", sent.get());
        slow.release();
        daemon.until_idle().await;
        daemon.stop().await;
    });
}

/// `log cat`, stopped by a pipe that nobody reads: it has read the beginning of a segment and printed none of it.
fn stopped_cat(dir: &Path) -> Child {
    let mut command = command(&["cat", "--bodies"], &[]);
    command.env("TRANSACTION_LOG", dir.join("log")).spawn().unwrap()
}

async fn go_on(child: Child) -> Ran {
    spawn_blocking(|| child.wait_with_output().unwrap()).await.unwrap().into()
}

/// Whether it prints its first line, which is longer than what a pipe holds.
fn is_stopped(child: &Child) -> bool {
    rustix::io::ioctl_fionread(child.stdout.as_ref().unwrap()).unwrap() >= 32 << 10
}

#[test]
fn a_segment_that_is_reused_in_the_middle_of_its_reading_is_no_damage() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let daemon = Daemon::start(dir.path(), &[("SEGMENT_BYTES", "8MiB"), ("CORES", "1")]).await;
        let mut sender = daemon.sender().await;
        // Longer than what a reader reads ahead.
        while log::segments(&dir.path().join("log")).iter().all(|(.., number)| *number < 2) {
            sender.post(&origin.host(), &[b'm'; 200 << 10]).await;
        }
        let child = stopped_cat(dir.path());
        until("it waits for its reader", || is_stopped(&child)).await;
        let is_reused = || log::segments(&dir.path().join("log")).iter().all(|(.., number)| *number > 4);
        while !is_reused() {
            sender.post(&origin.host(), &[b'n'; 200 << 10]).await;
        }
        go_on(child).await.clean();
        daemon.until_idle().await;
        daemon.stop().await;
    });
}

#[test]
fn a_segment_that_grows_while_it_is_read_is_read_as_far_as_it_was_and_no_damage() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        origin.answer(|_| Reply::Hold);
        let variables = [("SEGMENT_BYTES", "16MiB"), ("CORES", "1"), ("DEFAULT_TIMEOUT", "20m")];
        let daemon = Daemon::start(dir.path(), &variables).await;
        let (mut sender, mut ids) = (daemon.sender().await, Vec::new());
        for _ in 0..5 {
            ids.push(sender.post(&origin.host(), &[b'm'; 200 << 10]).await);
        }
        let child = stopped_cat(dir.path());
        until("it waits for its reader", || is_stopped(&child)).await;
        // Further than it has read ahead.
        for _ in 0..40 {
            sender.post(&origin.host(), &[b'n'; 200 << 10]).await;
        }
        let printed = go_on(child).await.clean().lines();
        assert!(printed.iter().map(|line| line["id"].as_str().unwrap()).eq(ids.iter().map(String::as_str)));
        let all = log_command(dir.path(), &["cat", "--state", "pending"]).await.clean();
        assert_eq!(all.lines().len(), 45);
        origin.release();
        daemon.until_idle().await;
        daemon.stop().await;
    });
}

#[test]
fn a_message_that_is_moved_out_of_a_segment_before_that_is_read_is_met_where_it_went() {
    run(async {
        let (dir, origin, slow) = (tempfile::tempdir().unwrap(), Origin::start(), Origin::start());
        slow.answer(|_| Reply::Hold);
        let variables = [("SEGMENT_BYTES", "1MiB"), ("CORES", "1"), ("DEFAULT_TIMEOUT", "20m")];
        let daemon = Daemon::start(dir.path(), &variables).await;
        let newest = || log::segments(&dir.path().join("log")).iter().map(|(.., number)| *number).max().unwrap();
        let mut sender = daemon.sender().await;
        sender.post(&slow.host(), &[b'h'; 200 << 10]).await;
        while newest() < 3 {
            sender.post(&origin.host(), &[b'm'; 100 << 10]).await;
        }
        let held = sender.post(&slow.host(), b"held").await;
        let (child, first) = (stopped_cat(dir.path()), newest());
        until("it waits for its reader", || is_stopped(&child)).await;
        while log::segments(&dir.path().join("log")).iter().any(|(.., number)| *number <= first) {
            sender.post(&origin.host(), &[b'n'; 100 << 10]).await;
        }
        let printed = go_on(child).await.clean().lines();
        let met: Vec<&Value> = printed.iter().filter(|line| line["id"] == held.as_str()).collect();
        assert!(met.iter().all(|line| line["again"] == true) && !met.is_empty(), "{met:?} of {}", printed.len());
        slow.release();
        daemon.until_idle().await;
        daemon.stop().await;
    });
}
