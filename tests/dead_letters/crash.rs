//! kill -9 while dead letters become messages again.

use std::collections::BTreeSet;

use super::common::daemon::Daemon;
use super::common::origin::{Origin, Reply};
use super::common::{run, until};
use super::tools::{GIVES_UP, bury, ended, listed, told};

const LETTERS: usize = 400;

#[test]
fn a_kill_during_a_replay_loses_no_letter() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let mut daemon = Daemon::start(dir.path(), GIVES_UP).await;
        let ids = bury(&daemon, &origin, LETTERS).await;
        origin.answer(|_| Reply::Status(200));
        for round in 1..=4 {
            told(&daemon, "POST", "/-/dead-letters/replay?all=true&rate=2000").await;
            let enough = round * LETTERS / 8;
            until("some were replayed", || origin.delivered().len() >= enough).await;
            daemon.kill();
            let cores = if round % 2 == 0 { "2" } else { "1" };
            daemon =
                Daemon::start(dir.path(), &[("RETRYLIMIT", "0"), ("BREAKER_FAILURES", "0"), ("CORES", cores)]).await;
            daemon.until_idle().await;
            let delivered: BTreeSet<String> = origin.delivered().into_iter().collect();
            let letters: BTreeSet<String> = listed(&daemon, "limit=1000").await.into_iter().collect();
            assert_eq!(delivered.intersection(&letters).count(), 0, "what was delivered is no letter");
            let all: Vec<String> = delivered.union(&letters).cloned().collect();
            assert_eq!(all, ids, "each is delivered or still a letter");
        }
        let begun = told(&daemon, "POST", "/-/dead-letters/replay?all=true").await;
        ended(&daemon, &begun["job"]).await;
        daemon.until_idle().await;
        assert!(origin.has_all(&ids));
        let unmarked = origin.received().into_iter().filter(|received| received.is_repeat && !received.maybe_duplicate);
        assert_eq!(unmarked.count(), 0, "repeats are marked");
        assert_eq!(daemon.metric("dead_letters_kept").await, 0.0);
    });
}
