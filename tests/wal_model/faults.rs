//! A scripted run in which the N-th operation of the disk fails, for every N: once and for ever, in each way.

use std::collections::BTreeSet;

use dispatcher::message::Xorshift;

use dispatcher::wal::log::Need;

use super::disk::{Fault, Kind, SimDisk};
use super::folded::fold_twice;
use super::random::{SharedModel, body, deliver, finish, submit};
use super::world::{self, SEGMENT_BYTES, unbounded};

/// More operations than the script has.
const OPERATIONS_MAX: u64 = 400;

/// Messages, outcomes, retries and dead letters over several segments, each step durable before the next.
async fn script(disk: &SimDisk, model: &SharedModel) -> Result<(), String> {
    let world = world::start(disk, 0, unbounded(), 7).await?;
    let mut random = Xorshift::new(11);
    for step in 0..8 {
        for _ in 0..3 {
            submit(&world, model, body(&mut random));
        }
        let settled = |world: &world::World| world.shard.is_flushed() || world.failed.borrow().is_some();
        world::until(|| settled(&world)).await;
        for verdict in [0, 1, 2 + step % 2] {
            deliver(&world.shard, model, verdict);
        }
        world::turns(40).await;
        world::until(|| settled(&world)).await;
    }
    model.borrow_mut().note_ended(&world.shard);
    let failed = world.failed.borrow().clone();
    match failed {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

/// Runs the script with a fault, then a restart without one; returns whether the script met the fault.
fn run(fault: Fault) -> bool {
    let disk = SimDisk::new(fault.at + 1);
    let model = SharedModel::default();
    disk.fail(fault);
    let ended = world::live(async {
        let ended = script(&disk, &model).await;
        disk.crash();
        ended
    });
    let met = disk.operations() > fault.at;
    disk.restart();
    // One failed operation behind the start is survived by a fresh segment; only a disk that fails again is not.
    let unknown = model.borrow().messages.values().filter(|entry| !entry.acknowledged && !entry.refused).count();
    if !fault.forever && ended.is_ok() {
        assert_eq!(unknown, 0, "every sender is told what became of its message");
    }
    model.borrow_mut().recovered(&fold_twice(&disk, 0));
    world::live(async {
        let world = world::start(&disk, 0, unbounded(), 8).await.unwrap();
        submit(&world, &model, b"after".to_vec());
        finish(&world, &model).await;
        disk.crash();
    });
    disk.restart();
    let found = fold_twice(&disk, 0);
    model.borrow_mut().recovered(&found);
    assert!(found.live.is_empty());
    met
}

fn each_operation(kind: Kind, forever: bool) {
    for at in 0..OPERATIONS_MAX {
        let fault = Fault { at, kind, forever };
        let met = std::panic::catch_unwind(|| run(fault)).unwrap_or_else(|_| panic!("{fault:?}"));
        if !met {
            assert!(at > 40, "the script has {at} operations: too few to tell");
            return;
        }
    }
    panic!("the script has more than {OPERATIONS_MAX} operations");
}

#[test]
fn an_error_at_any_operation_gives_no_false_acknowledgement() {
    each_operation(Kind::Eio, false);
    each_operation(Kind::Eio, true);
}

#[test]
fn a_short_write_at_any_operation_gives_no_false_acknowledgement() {
    each_operation(Kind::Short, false);
    each_operation(Kind::Short, true);
}

#[test]
fn a_full_disk_at_any_operation_gives_no_false_acknowledgement() {
    each_operation(Kind::NoSpace, false);
    each_operation(Kind::NoSpace, true);
}

/// A disk that begins to fail while the log runs: one fresh segment is tried, then the log says that it is lost.
#[test]
fn a_failed_write_is_followed_by_one_fresh_segment_and_then_by_giving_up() {
    for (forever, goes_on) in [(false, true), (true, false)] {
        let disk = SimDisk::new(3);
        let model = SharedModel::default();
        world::live(async {
            let world = world::start(&disk, 0, unbounded(), 7).await.unwrap();
            submit(&world, &model, b"first".to_vec());
            assert!(world::until(|| world.shard.is_flushed()).await);
            // The next segment is ready, so the write of the batch is the next operation.
            world::turns(50).await;
            disk.fail(Fault { at: 0, kind: Kind::Eio, forever });
            submit(&world, &model, b"second".to_vec());
            assert!(world::until(|| world.shard.is_flushed() || world.failed.borrow().is_some()).await);
            assert_eq!(world.failed.borrow().is_none(), goes_on, "{:?}", world.failed.borrow());
            assert_eq!(world.shard.log().is_failing(), !goes_on);
            world::turns(50).await;
            let told: BTreeSet<(Vec<u8>, bool, bool)> = model
                .borrow()
                .messages
                .values()
                .map(|entry| (entry.body.clone(), entry.acknowledged, entry.refused))
                .collect();
            let expected = [(b"first".to_vec(), true, false), (b"second".to_vec(), false, goes_on)];
            assert_eq!(told, expected.into_iter().collect());
            disk.crash();
        });
        disk.restart();
        model.borrow_mut().recovered(&fold_twice(&disk, 0));
    }
}

/// Without space new messages are refused; the accepted ones are delivered all the same, and then there is space again.
#[test]
fn a_full_disk_refuses_new_messages_drains_and_resumes() {
    let disk = SimDisk::new(3);
    let model = SharedModel::default();
    world::live(async {
        let world = world::start(&disk, 0, unbounded(), 7).await.unwrap();
        world::turns(50).await;
        disk.set_free(SEGMENT_BYTES - 1);
        let mut refused = false;
        for _ in 0..40 {
            refused |= world.shard.admit(10_000).is_err();
            submit(&world, &model, vec![7; 10_000]);
            assert!(world::until(|| world.shard.is_flushed()).await);
        }
        assert!(refused, "the log has a bound");
        assert!(world.shard.log().spare().log_bytes() <= 4 * SEGMENT_BYTES, "the bound is where the disk's is");
        let accepted = model.borrow().messages.values().filter(|entry| entry.acknowledged).count();
        assert!(accepted >= 5, "half of a segment is for messages: {accepted}");
        finish(&world, &model).await;
        let resumed = world::until(|| world.shard.log().has_room(Need::Message, 0)).await;
        assert!(resumed, "reclaimed segments are space enough");
        disk.crash();
    });
}
