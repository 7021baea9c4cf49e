//! Random lives with crashes between them, checked against the model after each.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use dispatcher::message::Xorshift;
use dispatcher::schedule::attempt::{Advice, Attempt, Failure, Outcome};
use dispatcher::schedule::scheduler::Next;
use dispatcher::shard::Shard;
use dispatcher::wal::log::Need;
use dispatcher::wal::spare::Space;

use super::disk::{Fault, Kind, SimDisk};
use super::folded::fold_twice;
use super::model::{Fate, Model};
use super::world::{self, RETRIES_MAX, SEGMENT_BYTES, World, unbounded};

/// Seeds of one run; any of them can be run alone.
const SEEDS: u64 = 400;
const LIVES: u64 = 5;

/// A log of which everything has ended keeps the active segment, the next one, the reserve, and two to recycle.
const IDLE_SEGMENTS_MAX: u64 = 5;

pub type SharedModel = Rc<RefCell<Model>>;

/// Submits a message and notes in the model what becomes of its ticket.
pub fn submit(world: &World, model: &SharedModel, body: Vec<u8>) {
    let Some(ticket) = world.submit(&body) else { return };
    let id = ticket.id();
    model.borrow_mut().submitted(id, body);
    let model = Rc::clone(model);
    world::spawn(async move {
        let result = ticket.await;
        let mut model = model.borrow_mut();
        let entry = model.entry(id);
        (entry.acknowledged, entry.refused) = (result.is_ok(), result.is_err());
    });
}

/// A body that no other message has.
pub fn body(random: &mut Xorshift) -> Vec<u8> {
    let bytes = match random.next() % 8 {
        0 => 0,
        1 => 20_000,
        2 => 4096,
        _ => random.next() % 9000,
    };
    (0..bytes).map(|_| u8::try_from(random.next() >> 56).unwrap()).collect()
}

/// Takes the next order, if there is one, and concludes it as `verdict` has it, as a worker does.
pub fn deliver(shard: &Rc<Shard<SimDisk>>, model: &SharedModel, verdict: u64) -> bool {
    let Next::Order((order, _)) = shard.next_order() else { return false };
    let (shard, model) = (Rc::clone(shard), Rc::clone(model));
    world::spawn(async move {
        let id = shard.id(order.slot);
        if shard.conclude_buried(order.slot).await.is_ok_and(|buried| buried) {
            let mut model = model.borrow_mut();
            (model.entry(id).fate, model.entry(id).given_up) = (Fate::Ending, true);
            return;
        }
        let stored = match shard.fetch(order.slot).await {
            Ok(stored) => stored,
            Err(error) => return shard.cannot_read(order.slot, &error).await,
        };
        assert!(stored.message().body == model.borrow_mut().entry(id).body, "{id} is not what was sent");
        model.borrow_mut().begin(id, order.attempt, order.maybe_duplicate);
        world::turns(verdict % 7).await;
        let delivered = verdict.is_multiple_of(2);
        {
            let mut model = model.borrow_mut();
            let entry = model.entry(id);
            entry.given_up = !delivered && order.attempt > RETRIES_MAX;
            if delivered || entry.given_up {
                entry.fate = Fate::Ending;
            } else if shard.log().has_room(Need::Retry, 64) {
                entry.attempts.1 = order.attempt;
            } else {
                entry.unwritten = true;
            }
        }
        let outcome = if delivered { Outcome::Delivered } else { Outcome::Failed(Failure::Http5xx) };
        let (status, answer) = (Some(if delivered { 200 } else { 500 }), Bytes::from_static(b"no"));
        let attempt = Attempt {
            outcome,
            status,
            advice: Advice::default(),
            maybe_received: false,
            elapsed: Duration::ZERO,
            answer,
        };
        shard.conclude(&order, &stored, &attempt).await;
    });
    true
}

async fn act(world: &World, model: &SharedModel, disk: &SimDisk, random: &mut Xorshift) {
    for _ in 0..random.next() % 60 {
        match random.next() % 8 {
            0..3 => {
                for _ in 0..=random.next() % 6 {
                    submit(world, model, body(random));
                }
            }
            3..6 => {
                for _ in 0..=random.next() % 6 {
                    deliver(&world.shard, model, random.next() >> 32);
                }
            }
            6 => drop(world::until(|| world.shard.is_flushed() || disk.has_crashed()).await),
            _ => {}
        }
        world::turns(random.next() % 12).await;
        if disk.has_crashed() {
            return;
        }
    }
}

/// Delivers until nothing is left.
pub async fn finish(world: &World, model: &SharedModel) {
    let shard = &world.shard;
    let finished = world::until(|| {
        while deliver(shard, model, 0) {}
        shard.remaining() == (0, 0, 0) && shard.is_flushed()
    });
    assert!(finished.await, "{:?} messages are stuck", shard.remaining());
    model.borrow_mut().note_ended(shard);
    let trimmed = world::until(|| shard.log().spare().log_bytes() <= IDLE_SEGMENTS_MAX * SEGMENT_BYTES).await;
    assert!(trimmed, "{} bytes of log, and nothing lives", shard.log().spare().log_bytes());
}

fn space_of(random: &mut Xorshift) -> Space {
    if random.next().is_multiple_of(3) {
        Space { log_bytes_max: 6 * SEGMENT_BYTES, ..unbounded() }
    } else {
        unbounded()
    }
}

/// Some lives that end in a crash, one of them perhaps with a failing write, and one that ends all messages.
fn run(seed: u64, with_faults: bool) {
    let mut random = Xorshift::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let disk = SimDisk::new(random.next());
    let model = SharedModel::default();
    let space = space_of(&mut random);
    for _ in 0..LIVES {
        disk.restart();
        disk.crash_after(random.next() % 120);
        if with_faults {
            let kind = [Kind::Eio, Kind::Short, Kind::NoSpace][usize::try_from(random.next() % 3).unwrap()];
            disk.fail(Fault { at: random.next() % 100, kind, forever: random.next().is_multiple_of(8) });
        }
        world::live(async {
            let starting = world::start(&disk, 0, space.clone(), random.next());
            let world = tokio::select! {
                biased;
                world = starting => world,
                _ = world::until(|| disk.has_crashed()) => return,
            };
            if let Ok(world) = world {
                act(&world, &model, &disk, &mut random).await;
                disk.crash();
                model.borrow_mut().note_ended(&world.shard);
            }
        });
        disk.crash();
        disk.restart();
        model.borrow_mut().recovered(&fold_twice(&disk, 0));
    }
    world::live(async {
        let world = world::start(&disk, 0, space.clone(), random.next()).await.unwrap();
        assert_eq!(world.recovered().await.damaged, 0);
        finish(&world, &model).await;
        disk.crash();
    });
    disk.restart();
    let found = fold_twice(&disk, 0);
    model.borrow_mut().recovered(&found);
    assert!(found.live.is_empty(), "everything has ended");
}

/// Runs every seed, and says which one failed.
pub fn each_seed(seeds: std::ops::Range<u64>, run: impl Fn(u64)) {
    for seed in seeds {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed))).is_err() {
            panic!("seed {seed}: run it alone to replay it");
        }
    }
}

#[test]
fn no_crash_loses_an_acknowledged_message_or_brings_back_an_ended_one() {
    each_seed(0..SEEDS, |seed| run(seed, false));
}

#[test]
fn no_failing_disk_with_crashes_loses_an_acknowledged_message() {
    each_seed(0..SEEDS, |seed| run(seed, true));
}
