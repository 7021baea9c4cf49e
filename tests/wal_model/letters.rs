//! Dead letters that are buried, replayed, removed, relocated and adopted, with crashes at any operation of the disk.
//!
//! Each message is, after every crash, alive, a letter, delivered or removed: never lost, and neither what was delivered
//! nor what was removed is there again.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use dispatcher::disk::Disk;
use dispatcher::message::{MessageId, Xorshift};
use dispatcher::schedule::attempt::{Advice, Attempt, Failure, Outcome};
use dispatcher::schedule::scheduler::Next;
use dispatcher::shard::letter::Selection;
use dispatcher::shard::replay::Replay;

use super::disk::{Fault, Kind, SimDisk};
use super::folded::{Folded, fold_twice};
use super::random::{body, each_seed};
use super::world::{self, SEGMENT_BYTES, Setup, World, log_dir, unbounded};

const SEEDS: u64 = 400;
/// The shard that is adopted by shard 0 in the end.
const ORPHAN: u32 = 3;
/// What each log keeps beyond twice what is alive.
const BEYOND_LIVE_MAX: u64 = 10 * SEGMENT_BYTES;

/// Whether something has happened to a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Happened {
    #[default]
    No,
    /// It was begun; nobody knows yet whether it is durable.
    Maybe,
    Yes,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    body: Vec<u8>,
    acknowledged: bool,
    delivered: Happened,
    removed: Happened,
    /// The origin has taken it once: later attempts must say so.
    exposed: bool,
}

impl Entry {
    fn has_ended(&self) -> bool {
        self.delivered == Happened::Yes || self.removed == Happened::Yes
    }
}

type Model = Rc<RefCell<BTreeMap<MessageId, Entry>>>;

fn setup(shards: Option<u32>) -> Setup {
    let mut setup = Setup { shards, ..Setup::plain(unbounded()) };
    setup.settings.retry.backoff.retries_max = 0;
    setup
}

fn submit(world: &World, model: &Model, body: Vec<u8>) {
    let Some(ticket) = world.submit(&body) else { return };
    let id = ticket.id();
    model.borrow_mut().insert(id, Entry { body, ..Entry::default() });
    let model = Rc::clone(model);
    world::spawn(async move {
        let acknowledged = ticket.await.is_ok();
        model.borrow_mut().get_mut(&id).unwrap().acknowledged = acknowledged;
    });
}

/// Takes the next order and concludes it as a worker does: delivered, or given up at once.
fn deliver(world: &World, model: &Model, delivered: bool) -> bool {
    let shard = Rc::clone(&world.shard);
    let Next::Order((order, _)) = shard.next_order() else { return false };
    let model = Rc::clone(model);
    world::spawn(async move {
        let id = shard.id(order.slot);
        match shard.conclude_buried(order.slot).await {
            Ok(true) => return,
            Ok(false) => {}
            Err(error) => return shard.cannot_read(order.slot, &error).await,
        }
        let stored = match shard.fetch(order.slot).await {
            Ok(stored) => stored,
            Err(error) => return shard.cannot_read(order.slot, &error).await,
        };
        {
            let mut model = model.borrow_mut();
            let entry = model.get_mut(&id).unwrap();
            assert!(!entry.has_ended(), "{id} is attempted and has ended: {:?} {:?}", entry.delivered, entry.removed);
            assert!(stored.message().body == entry.body, "{id} is not what was sent");
            assert!(order.maybe_duplicate || !entry.exposed, "{id} was taken before, and nobody says so");
            assert!(!shard.dead_letters().contains(id), "{id} is attempted and is a letter");
            if delivered {
                (entry.delivered, entry.exposed) = (Happened::Maybe, true);
            }
        }
        let outcome = if delivered { Outcome::Delivered } else { Outcome::Failed(Failure::Http5xx) };
        let (advice, maybe_received, elapsed) = (Advice::default(), false, Duration::ZERO);
        let attempt =
            Attempt { outcome, status: Some(500), advice, maybe_received, elapsed, answer: Bytes::from_static(b"no") };
        shard.conclude(&order, &stored, &attempt).await;
    });
    true
}

fn letters(world: &World, model: &Model) -> Vec<MessageId> {
    model.borrow().keys().copied().filter(|id| world.shard.is_letter(*id)).collect()
}

/// Removes letters, and knows when they are gone.
fn remove(world: &World, model: &Model, ids: Vec<MessageId>) {
    for id in &ids {
        model.borrow_mut().get_mut(id).unwrap().removed = Happened::Maybe;
    }
    let (shard, model) = (Rc::clone(&world.shard), Rc::clone(model));
    world::spawn(async move {
        for id in ids {
            let removal = shard.remove_letters(&Selection { ids: vec![id], ..Selection::default() }).await;
            // Else it has just been replayed, or another one removes it.
            if removal.removed == 1 {
                model.borrow_mut().get_mut(&id).unwrap().removed = Happened::Yes;
            }
        }
    });
}

fn replay(world: &World, job: u64, ids: Vec<MessageId>) {
    let selection = Selection { ids, ..Selection::default() };
    world.shard.replay(Replay { job, selection, interval: Duration::ZERO });
}

/// Some of these, at random.
fn some(random: &mut Xorshift, ids: &[MessageId]) -> Vec<MessageId> {
    ids.iter().copied().filter(|_| random.next().is_multiple_of(3)).collect()
}

async fn act(world: &World, model: &Model, disk: &SimDisk, random: &mut Xorshift) {
    for job in 0..random.next() % 50 {
        match random.next() % 9 {
            0..3 => (0..=random.next() % 4).for_each(|_| submit(world, model, body(random))),
            3..6 => (0..=random.next() % 6).for_each(|_| _ = deliver(world, model, random.next().is_multiple_of(4))),
            6 => {
                let ids = some(random, &letters(world, model));
                // No id would be all of them.
                if !ids.is_empty() {
                    remove(world, model, ids);
                }
            }
            7 => replay(world, job, some(random, &letters(world, model))),
            _ => drop(world::until(|| world.shard.is_flushed() || disk.has_crashed()).await),
        }
        world::turns(random.next() % 12).await;
        if disk.has_crashed() {
            return;
        }
        note(world, model);
    }
}

/// What is neither alive nor a letter any more, and was being delivered, has been.
fn note(world: &World, model: &Model) {
    for (id, entry) in model.borrow_mut().iter_mut() {
        let is_gone = !world.shard.knows(*id) && world.shard.dead_letters().place(*id).is_none();
        if entry.delivered == Happened::Maybe && is_gone {
            entry.delivered = Happened::Yes;
        }
    }
}

/// Compares what recoveries of these shards would find with what was promised.
fn check(model: &Model, found: &[Folded]) {
    let mut model = model.borrow_mut();
    model.retain(|id, entry| {
        let bodies = found.iter().flat_map(|one| {
            let live = one.live.get(id).map(|found| &found.body);
            [live, one.dead.get(id)].into_iter().flatten()
        });
        let bodies: Vec<_> = bodies.collect();
        assert!(bodies.iter().all(|body| **body == entry.body), "{id} is not what was sent");
        let is_there = !bodies.is_empty();
        assert!(!(is_there && entry.has_ended()), "{id} is back: {:?} {:?}", entry.delivered, entry.removed);
        for happened in [&mut entry.delivered, &mut entry.removed] {
            if *happened == Happened::Maybe {
                *happened = if is_there { Happened::No } else { Happened::Yes };
            }
        }
        let is_lost = entry.acknowledged && !is_there && !entry.has_ended();
        assert!(!is_lost, "{id} is lost: {} bytes", entry.body.len());
        entry.acknowledged |= is_there;
        // Neither acknowledged nor there: it never was.
        entry.acknowledged
    });
}

/// One life that ends in a crash; `false`: it ended before it had recovered.
fn live(disk: &SimDisk, number: u32, setup: &Setup, model: &Model, random: &mut Xorshift) {
    world::live(async {
        let starting = async {
            let world = world::start_as(disk, number, setup, random.next()).await.ok()?;
            tokio::select! {
                biased;
                () = world.failure() => return None,
                _ = world.recovered() => {}
            }
            Some(world)
        };
        let world = tokio::select! {
            biased;
            world = starting => world,
            _ = world::until(|| disk.has_crashed()) => None,
        };
        if let Some(world) = world {
            act(&world, model, disk, random).await;
            disk.crash();
            // An attempt that the crash cut off is not an end.
            note(&world, model);
        }
    });
    disk.crash();
    disk.restart();
}

/// Lives of a shard that dies in the middle of things, then of the one that takes its logs over.
fn run(seed: u64, with_faults: bool) {
    let mut random = Xorshift::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let disk = SimDisk::new(random.next());
    let model = Model::default();
    for (number, lives, setup) in [(ORPHAN, 3, setup(None)), (0, 3, setup(Some(1)))] {
        for _ in 0..lives {
            disk.crash_after(random.next() % 250);
            if with_faults {
                let kind = [Kind::Eio, Kind::Short, Kind::NoSpace][usize::try_from(random.next() % 3).unwrap()];
                disk.fail(Fault { at: random.next() % 200, kind, forever: random.next().is_multiple_of(8) });
            }
            live(&disk, number, &setup, &model, &mut random);
            world::live(async {
                for shard in [0, ORPHAN] {
                    for root in ["log", "dead"] {
                        disk.create_dir(&log_dir(root, shard)).await.unwrap();
                    }
                }
            });
            check(&model, &[0, ORPHAN].map(|shard| fold_twice(&disk, shard)));
        }
    }
    world::live(finish(&disk, &model, &mut random));
    disk.restart();
    check(&model, &[fold_twice(&disk, 0)]);
    assert!(model.borrow().values().all(Entry::has_ended), "everything has ended");
}

/// A life in which nothing fails, until each message has been delivered or removed.
async fn finish(disk: &SimDisk, model: &Model, random: &mut Xorshift) {
    let world = world::start_as(disk, 0, &setup(Some(1)), random.next()).await.unwrap();
    assert_eq!(world.recovered().await.damaged, 0);
    let settled = || {
        while deliver(&world, model, false) {}
        world.shard.remaining() == (0, 0, 0) && world.shard.is_flushed()
    };
    assert!(world::until(settled).await, "{:?} messages are stuck", world.shard.remaining());
    let ids = letters(&world, model);
    assert_eq!(ids.len(), world.shard.dead_letters().len(), "every letter is of a message that has not ended");
    let removed = some(random, &ids);
    if !removed.is_empty() {
        remove(&world, model, removed);
    }
    assert!(world::until(|| world.shard.is_flushed()).await);
    let dead = world.shard.dead_letters();
    let is_small = || {
        let (used, live) = (dead.log().spare().log_bytes(), dead.live_bytes());
        used <= 2 * live + BEYOND_LIVE_MAX
    };
    assert!(world::until(is_small).await, "the dead letter log stays small");
    world.shard.replay(Replay { job: 1, selection: Selection::default(), interval: Duration::ZERO });
    let delivered = || {
        while deliver(&world, model, true) {}
        let runs = world.shard.replays().iter().any(|replay| replay.running);
        !runs && world.shard.remaining() == (0, 0, 0) && world.shard.is_flushed()
    };
    assert!(world::until(delivered).await, "a replay is stuck: {:?}", world.shard.replays());
    note(&world, model);
    assert!(world.shard.dead_letters().is_empty());
    assert!(
        world::until(|| dead.log().spare().log_bytes() <= BEYOND_LIVE_MAX).await,
        "nothing is kept of what has gone"
    );
    disk.crash();
}

#[test]
fn no_crash_loses_a_letter_or_brings_back_one_that_was_removed_or_delivered() {
    each_seed(0..SEEDS, |seed| run(seed, false));
}

#[test]
fn no_failing_disk_with_crashes_loses_a_letter() {
    each_seed(0..SEEDS, |seed| run(seed, true));
}

#[test]
fn where_there_is_room_for_no_further_letter_there_is_for_deleting_those_that_are() {
    let disk = SimDisk::new(7);
    world::live(async {
        let world = world::start_as(&disk, 0, &setup(None), 1).await.unwrap();
        world.recovered().await;
        let model = Model::default();
        let bytes = 1200;
        for _ in 0..100 {
            submit(&world, &model, vec![7; bytes]);
            assert!(world::until(|| world.shard.is_flushed()).await);
        }
        // No further segment can be had from here on.
        disk.set_capacity(disk.bytes_below(Path::new("log")) + disk.bytes_below(Path::new("dead")));
        while world.shard.can_bury(bytes) {
            assert!(deliver(&world, &model, false), "the disk is full before all are given up");
            assert!(world::until(|| world.shard.is_settled()).await);
        }
        let kept = letters(&world, &model).len() as u64;
        assert!(kept >= 5, "{kept} letters fill it");
        let removal = world.shard.remove_letters(&Selection::default()).await;
        assert!(!removal.no_space && removal.removed == kept, "{} of {kept} are removed", removal.removed);
    });
    disk.restart();
}
