//! Damage done to the log while the daemon is stopped: it starts, delivers what is whole, and says what is not.

use std::fs::{self, OpenOptions};
use std::path::Path;

use dispatcher::wal::record::Kind;

use crate::common::daemon::Daemon;
use crate::common::log::Standing;
use crate::common::origin::Origin;
use crate::common::{log, run, until};

const SMALL: &[(&str, &str)] =
    &[("CORES", "1"), ("SEGMENT_BYTES", "1MiB"), ("BACKOFF_BASE", "10m"), ("BACKOFF_MAX", "10m")];

/// Leaves `messages` of `bytes` each undelivered in the log of a daemon that has stopped; returns their ids.
async fn leave(dir: &Path, origin: &Origin, messages: u8, bytes: usize) -> Vec<String> {
    let daemon = Daemon::start(dir, SMALL).await;
    let (mut sender, mut ids) = (daemon.sender().await, Vec::new());
    for n in 0..messages {
        ids.push(sender.post(&origin.host(), &vec![n; bytes]).await);
    }
    daemon.stop().await;
    ids
}

/// Where the message with this id stands.
fn standing(dir: &Path, id: &str) -> Standing {
    let all = log::records(&dir.join("log"));
    all.into_iter().find(|record| record.kind == Kind::Accepted && record.id == id).unwrap()
}

/// Starts on a damaged log, and expects all `ids` but the `lost` to be delivered, whole, and the damage to be told.
async fn expect_all_but(dir: &Path, origin: &Origin, ids: &[String], lost: &[String], bytes: usize) {
    origin.listen();
    // Waits are cut to the longest that the new settings know, so what was put off for ten minutes is due soon.
    let mut daemon = Daemon::start(dir, &[("CORES", "1"), ("SEGMENT_BYTES", "1MiB")]).await;
    until("the whole ones are delivered", || origin.has_all(ids.iter().filter(|id| !lost.contains(id)))).await;
    daemon.until_idle().await;
    for request in origin.received() {
        let n = ids.iter().position(|id| *id == request.id).unwrap();
        assert!(!lost.contains(&request.id), "message {n} is damaged");
        assert_eq!(request.body, vec![u8::try_from(n).unwrap(); bytes]);
    }
    assert!(daemon.metric("corrupt_records_total").await >= 1.0);
    assert!(log::set_aside(dir) >= 1);
    assert!(daemon.said("damage in the log").is_some(), "{}", daemon.lines());
    daemon.kill();
}

#[test]
fn a_flipped_bit_costs_one_message_which_is_set_aside_and_counted() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::refusing(None));
        let ids = leave(dir.path(), &origin, 20, 5000).await;
        let place = standing(dir.path(), &ids[7]);
        let mut image = fs::read(&place.file).unwrap();
        image[place.offset + 3000] ^= 0x10;
        fs::write(&place.file, image).unwrap();
        expect_all_but(dir.path(), &origin, &ids, &ids[7..8], 5000).await;
    });
}

#[test]
fn a_truncated_segment_costs_what_was_cut_off_and_no_more() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::refusing(None));
        let ids = leave(dir.path(), &origin, 12, 200_000).await;
        let place = standing(dir.path(), &ids[2]);
        let cut = place.offset + 1001;
        let gone: Vec<String> = ids
            .iter()
            .filter(|id| {
                let other = standing(dir.path(), id);
                other.file == place.file && other.offset + other.payload.len() > cut
            })
            .cloned()
            .collect();
        assert!((1..=3).contains(&gone.len()), "{gone:?}");
        OpenOptions::new().write(true).open(&place.file).unwrap().set_len(cut as u64).unwrap();
        expect_all_but(dir.path(), &origin, &ids, &gone, 200_000).await;
    });
}
