//! Kill -9 under load, at random moments, those of start-up and recovery among them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use dispatcher::message::Xorshift;
use dispatcher::time::unix_now;
use tokio::task::JoinSet;

use crate::common::daemon::Daemon;
use crate::common::origin::{Origin, Received, Reply};
use crate::common::sender::Sender;
use crate::common::{run, until};

/// Kills of a run; `CYCLES` in the environment makes them more.
const CYCLES: usize = 24;
const SENDERS: u64 = 4;
const BODY_BYTES_MAX: u64 = 48 << 10;

/// What the senders share with the loop that kills.
#[derive(Default)]
struct Load {
    address: Cell<Option<SocketAddr>>,
    origin: RefCell<String>,
    /// Body checksum of every acknowledged message, by id.
    acknowledged: RefCell<HashMap<String, u32>>,
    stop: Cell<bool>,
}

/// Random bytes behind their own checksum.
fn body(random: &mut Xorshift) -> Vec<u8> {
    let length = random.next() % BODY_BYTES_MAX;
    let mut body = vec![0; 4];
    body.extend((0..length.div_ceil(8)).flat_map(|_| random.next().to_le_bytes()));
    let crc = crc32c::crc32c(&body[4..]);
    body[..4].copy_from_slice(&crc.to_le_bytes());
    body
}

fn is_whole(body: &[u8]) -> bool {
    body.split_first_chunk::<4>().is_some_and(|(crc, rest)| crc32c::crc32c(rest) == u32::from_le_bytes(*crc))
}

/// Posts one message after the other to whichever daemon runs, until told to stop.
async fn send(load: Rc<Load>, seed: u64) {
    let mut random = Xorshift::new(seed);
    while !load.stop.get() {
        let sender = match load.address.get() {
            Some(address) => Sender::connect(address).await.ok(),
            None => None,
        };
        let Some(mut sender) = sender else {
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        };
        while !load.stop.get() {
            let (origin, body) = (load.origin.borrow().clone(), body(&mut random));
            // A connection that broke says nothing about its last message: it may arrive, it need not.
            let Ok(answer) = sender.try_post(&origin, "", &body).await else { break };
            load.acknowledged.borrow_mut().insert(answer.id(), crc32c::crc32c(&body));
        }
    }
}

/// The daemon's next life: with the other backend than the last, on a port of its own.
fn next_life(dir: &Path, cycle: usize) -> Daemon {
    Daemon::spawn(dir, &[("IO_BACKEND", if cycle.is_multiple_of(2) { "auto" } else { "portable" })])
}

#[test]
fn no_acknowledged_message_is_lost_or_damaged_by_kills_at_any_moment() {
    run(async {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(unix_now().0);
        eprintln!("SEED={seed}");
        let mut random = Xorshift::new(seed);
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let load = Rc::new(Load::default());
        load.origin.replace(origin.host());
        let failing = RefCell::new(Xorshift::new(seed ^ 1));
        origin.answer(move |_| Reply::Status(if failing.borrow_mut().next().is_multiple_of(8) { 503 } else { 200 }));
        let mut senders = JoinSet::new();
        for n in 0..SENDERS {
            senders.spawn_local(send(Rc::clone(&load), seed ^ (n + 2)));
        }
        let (mut is_refusing, mut starting_kills) = (false, 0);
        let cycles = std::env::var("CYCLES").ok().and_then(|cycles| cycles.parse().ok()).unwrap_or(CYCLES);
        for cycle in 0..cycles {
            let mut daemon = next_life(dir.path(), cycle);
            if is_refusing != random.next().is_multiple_of(4) {
                is_refusing = !is_refusing;
                if is_refusing { origin.refuse() } else { origin.listen() }
            }
            let starting = random.next().is_multiple_of(3);
            let moment = Duration::from_micros(random.next() % if starting { 120_000 } else { 200_000 });
            if !starting {
                daemon.listening().await;
                load.address.set(Some(daemon.address()));
                let before = load.acknowledged.borrow().len();
                until("messages are acknowledged", || load.acknowledged.borrow().len() > before + 10).await;
            }
            // A random moment is what this is about; nothing is awaited here.
            tokio::time::sleep(moment).await;
            starting_kills += u32::from(daemon.said("listening").is_none());
            daemon.kill();
            load.address.set(None);
        }
        load.stop.set(true);
        while senders.join_next().await.is_some_and(|ended| ended.is_ok()) {}
        if is_refusing {
            origin.listen();
        }
        let acknowledged = load.acknowledged.take();
        let daemon = Daemon::start(dir.path(), &[]).await;
        until("every acknowledged message is delivered", || origin.has_all(acknowledged.keys())).await;
        daemon.until_idle().await;
        assert_eq!(daemon.metric("corrupt_records_total").await, 0.0, "a kill damages nothing");
        daemon.stop().await;
        let received = origin.received();
        let repeats = judge(&received, &acknowledged);
        let (all, acknowledged) = (received.len(), acknowledged.len());
        eprintln!(
            "{cycles} kills, {starting_kills} before it listened, {acknowledged} acknowledged, {all} attempts received, {repeats} repeats"
        );
        assert!(repeats * 5 < all, "{repeats} of {all}: repeats come from what was in flight, no more");
    });
}

/// Checks every request; returns how many were repeats of one that had been answered with 200.
fn judge(received: &[Received], acknowledged: &HashMap<String, u32>) -> usize {
    for request in received {
        assert!(is_whole(&request.body), "{} attempt {} is damaged", request.id, request.attempt);
        if let Some(crc) = acknowledged.get(&request.id) {
            assert_eq!(crc32c::crc32c(&request.body), *crc, "{} has another message's body", request.id);
        }
        assert!(request.maybe_duplicate || !request.is_repeat, "{} comes again, unmarked", request.id);
    }
    received.iter().filter(|request| request.is_repeat).count()
}

#[test]
fn a_daemon_killed_while_it_recovers_loses_nothing_however_often() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::refusing(None));
        let mut daemon = Daemon::start(dir.path(), &[]).await;
        let (mut sender, mut ids) = (daemon.sender().await, Vec::new());
        for n in 0..60_u8 {
            ids.push(sender.post(&origin.host(), &vec![n; 100_000]).await);
        }
        daemon.kill();
        let mut random = Xorshift::new(7);
        for cycle in 0..12 {
            // One core and two: the adoption of the other core's log is cut off too.
            let cores = if cycle % 3 == 2 { "1" } else { "2" };
            let daemon = Daemon::spawn(dir.path(), &[("CORES", cores)]);
            tokio::time::sleep(Duration::from_micros(random.next() % 100_000)).await;
            drop(daemon);
        }
        origin.listen();
        let daemon = Daemon::start(dir.path(), &[]).await;
        until("every message is delivered", || origin.has_all(&ids)).await;
        daemon.until_idle().await;
        assert!(origin.received().iter().all(|request| request.body.len() == 100_000));
        daemon.stop().await;
    });
}
