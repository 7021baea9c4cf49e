//! A daemon with few descriptors, and more connections than it has.

use std::time::Duration;

use dispatcher::time::monotonic_now;

use crate::attacks::Attack;
use crate::common::daemon::Daemon;
use crate::common::origin::{Origin, Reply};
use crate::common::run;
use crate::honest::Honest;
use crate::process::Process;

const DESCRIPTORS: u32 = 256;

#[test]
fn with_256_descriptors_a_flood_neither_spins_nor_keeps_deliveries_from_theirs() {
    for backend in ["auto", "portable"] {
        run(flooded(backend));
    }
}

async fn flooded(backend: &str) {
    let dir = tempfile::tempdir().unwrap();
    let variables = [("IO_BACKEND", backend), ("CORES", "1"), ("RETRYLIMIT", "0"), ("BREAKER_FAILURES", "1")];
    let mut daemon = Daemon::spawn_with_descriptors(DESCRIPTORS, dir.path(), &variables);
    daemon.listening().await;
    let cut = daemon.said("MAX_CONNECTIONS is cut").expect("it says that there are too few");
    assert!((50..200).contains(&cut["connections"].as_u64().unwrap()), "{cut}");
    // Slow enough that many deliveries are under way at a time.
    let origin = Origin::start();
    origin.answer(|_| Reply::Status(200));
    let honest = Honest::start(daemon.address(), &origin.host());
    let process = Process(daemon.pid());
    let floods = [Attack::Idle, Attack::SlowHead, Attack::SlowBody]
        .map(|attack| attack.begin(400, daemon.address(), &origin.host()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (began, used) = (monotonic_now(), process.processor_time());
    honest.fared();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = (process.processor_time() - used).as_secs_f64() / began.elapsed().as_secs_f64();
    let during = honest.fared();
    eprintln!(
        "{backend}: {:.0} % of a processor while starved, {} descriptors, {during:?}",
        used * 100.0,
        process.descriptors()
    );
    assert!(used < 0.3, "{used}");
    assert!(process.descriptors() <= DESCRIPTORS as usize);
    drop(floods);
    let ended = monotonic_now();
    let mut after = honest.fared();
    while after.accepted == 0 {
        assert!(ended.elapsed() < Duration::from_secs(5), "served again: {after:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        after = honest.fared();
    }
    eprintln!("{backend}: served {:?} after the flood", ended.elapsed());
    drop(honest);
    daemon.until_idle().await;
    // No retry is allowed: had one attempt failed for want of descriptors, it would be a dead letter.
    assert_eq!(daemon.metric("dead_letters_kept ").await, 0.0);
    assert_eq!(daemon.metric("breaker_open_origins ").await, 0.0);
    let lines = daemon.lines().lines().filter(|line| line.contains("cannot be accepted")).count();
    assert!(lines <= 3, "{lines} lines about it");
    daemon.stop().await;
}
