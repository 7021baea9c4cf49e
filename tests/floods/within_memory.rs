//! Each flood in turn against one daemon, beside a client that means it.

use std::time::Duration;

use dispatcher::time::monotonic_now;
use rustix::process::Resource;

use crate::attacks::Attack;
use crate::common::daemon::Daemon;
use crate::common::origin::Origin;
use crate::common::{PATIENCE, POLL, run};
use crate::honest::Honest;
use crate::process::Process;

/// `MAX_MEMORY` here, and for full floods: its default, as a third of it bounds the connections.
const MAX_MEMORY: u64 = 256 << 20;
/// See [`MAX_MEMORY`].
const MAX_MEMORY_FULL: u64 = 1 << 30;
const CONNECTION_BYTES_MAX: u64 = 32 << 10;
/// How long each flood lasts.
const FLOOD: Duration = Duration::from_millis(1500);
/// Bytes that may be resident after a flood and were not before: what the allocator keeps.
const RESIDENT_SLACK_BYTES: u64 = 64 << 20;
/// Descriptors that may be open after a flood and were not before: of segments.
const DESCRIPTORS_SLACK: usize = 40;

fn is_full() -> bool {
    std::env::var("FLOODS").is_ok_and(|size| size == "full")
}

/// How many peers a flood has here, of those a full one has.
fn scaled(peers: usize) -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let _ = rustix::process::setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit });
    // The other end of each is in this process.
    let most = usize::try_from(limit.maximum.unwrap_or(u64::MAX) / 2).unwrap_or(usize::MAX);
    let wanted = if is_full() { peers } else { peers / 10 };
    if wanted > most {
        eprintln!("{most} peers instead of {wanted}: this process may have no more descriptors");
    }
    wanted.min(most)
}

fn floods(backend: &str) {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let memory_bytes = if is_full() { MAX_MEMORY_FULL } else { MAX_MEMORY };
        let memory = memory_bytes.to_string();
        let variables = [
            ("IO_BACKEND", backend),
            ("MAX_MEMORY", &*memory),
            ("MAX_BODY", "16MiB"),
            ("SEGMENT_BYTES", "32MiB"),
            ("HEAD_TIMEOUT", "5s"),
            ("BODY_TIMEOUT", "5s"),
        ];
        let daemon = Daemon::start(dir.path(), &variables).await;
        let origin = Origin::start();
        let honest = Honest::start(daemon.address(), &origin.host());
        tokio::time::sleep(FLOOD).await;
        let before = honest.fared();
        assert!(before.accepted > 0 && before.refused + before.broken == 0, "{before:?}");
        let process = Process(daemon.pid());
        for (attack, peers) in Attack::ALL {
            one(attack, scaled(peers), &daemon, &origin, &honest, before.p99).await;
        }
        let most = process.resident_max();
        eprintln!("{backend}: {} MiB resident at most", most >> 20);
        assert!(most <= memory_bytes, "{most}");
        drop(honest);
        daemon.until_idle().await;
        daemon.stop().await;
    });
}

/// Open descriptors but for connections to origins, which are kept for a minute.
async fn descriptors_of_others(daemon: &Daemon) -> usize {
    let out = daemon.metric("connections{side=\"out\"} ").await;
    let out = (0..).take_while(|number| f64::from(*number) < out).count();
    Process(daemon.pid()).descriptors().saturating_sub(out)
}

async fn one(attack: Attack, peers: usize, daemon: &Daemon, origin: &Origin, honest: &Honest, quiet: Duration) {
    let process = Process(daemon.pid());
    let open = daemon.metric("connections{side=\"in\"} ").await;
    let (descriptors, resident) = (descriptors_of_others(daemon).await, process.resident());
    honest.fared();
    let flood = attack.begin(peers, daemon.address(), &origin.host());
    tokio::time::sleep(FLOOD).await;
    if matches!(attack, Attack::Idle) {
        let wanted = open + f64::from(u32::try_from(peers).unwrap());
        daemon.until_metric("connections{side=\"in\"} ", |open| open >= wanted).await;
        let each = process.resident().saturating_sub(resident) / peers as u64;
        eprintln!("{each} bytes an idle connection");
        assert!(each <= CONNECTION_BYTES_MAX, "{each}");
    }
    let during = honest.fared();
    let ratio = during.p99.as_secs_f64() / quiet.as_secs_f64();
    eprintln!("{attack:?} x {peers}: p99 {:?}, {ratio:.1} times the quiet one; {during:?}", during.p99);
    drop(flood);
    // The flood has ended: it is as before, and who means it is served.
    daemon.until_metric("connections{side=\"in\"} ", |now| now <= open + 1.0).await;
    let ended = monotonic_now();
    while descriptors_of_others(daemon).await > descriptors + DESCRIPTORS_SLACK {
        assert!(ended.elapsed() < PATIENCE, "its descriptors are given back after {attack:?}");
        tokio::time::sleep(POLL).await;
    }
    while process.resident() > resident + RESIDENT_SLACK_BYTES {
        assert!(ended.elapsed() < PATIENCE, "{} bytes are resident after {attack:?}", process.resident());
        tokio::time::sleep(POLL).await;
    }
    eprintln!("{} MiB resident before, {} after", resident >> 20, process.resident() >> 20);
    // What cores keep of each part, two cores and four pools.
    daemon.until_metric("memory_bytes{part=\"messages\"} ", |bytes| bytes <= f64::from(1 << 20)).await;
    honest.fared();
    let mut after = honest.fared();
    while after.accepted == 0 {
        assert!(ended.elapsed() < PATIENCE, "served again after {attack:?}: {after:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        after = honest.fared();
    }
}

#[test]
fn the_daemon_stays_within_its_memory_and_leaks_nothing_over_io_uring() {
    floods("auto");
}

#[test]
fn the_daemon_stays_within_its_memory_and_leaks_nothing_over_the_portable_backend() {
    floods("portable");
}
