//! Taking over the log of a shard that no core owns, on a disk that fails or stops at any operation.

use std::path::Path;

use dispatcher::message::Xorshift;
use dispatcher::schedule::attempt::Failure;
use dispatcher::server::adopt::{self, Orphan};
use dispatcher::shard::state::State;
use dispatcher::time::{UnixMillis, unix_now};
use dispatcher::wal::payload::{Payload, Progress, Tried};

use super::disk::{Fault, Kind, SimDisk};
use super::folded::fold;
use super::random::{SharedModel, submit};
use super::world::{self, World, gates, limits, log_dir, unbounded};

const ORPHAN: u32 = 3;
const MESSAGES: usize = 12;
const DUE: UnixMillis = UnixMillis(4_000_000_000_123);
/// More operations than an adoption has.
const OPERATIONS_MAX: u64 = 300;

/// A log of another shard whose messages fill several batches of the adopter's; the last one was tried once.
fn orphaned(disk: &SimDisk, model: &SharedModel) {
    world::live(async {
        let world = world::start(disk, ORPHAN, unbounded(), 5).await.unwrap();
        let mut random = Xorshift::new(2);
        for _ in 0..MESSAGES {
            submit(&world, model, random.next().to_le_bytes().repeat(2500));
            assert!(world::until(|| world.shard.is_flushed()).await);
        }
        let (last, _) = model.borrow().messages.last_key_value().map(|(id, entry)| (*id, entry.clone())).unwrap();
        assert_eq!(world.shard.log().append(last, &Payload::Retry(progress())).await, Ok(last));
        model.borrow_mut().entry(last).attempts = (1, 1);
        model.borrow_mut().entry(last).begun = 1;
        world::turns(50).await;
        disk.crash();
    });
    disk.restart();
}

fn progress() -> Progress {
    let tried = Tried { at: UnixMillis(4_000_000_000_000), failure: Failure::Reset, status: None, spared: false };
    Progress { due: DUE, attempts: 1, maybe_duplicate: true, history: vec![tried] }
}

async fn adopt(disk: &SimDisk, world: &World) -> Result<(), String> {
    let orphan = Orphan { dir: log_dir("log", ORPHAN), shard: ORPHAN };
    let orphans = adopt::orphans(disk, Path::new("log"), 0, 1).await.map_err(|error| error.to_string())?;
    if orphans.contains(&orphan) {
        let theirs = State::new(limits(), gates(), unix_now());
        let adopted = adopt::messages(disk, &orphan, Path::new("corrupt"), &world.shard, theirs).await;
        adopted.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// One start that adopts and meets `trouble`, and one that does not.
fn run(trouble: impl Fn(&SimDisk), seed: u64) -> bool {
    let disk = SimDisk::new(seed);
    let model = SharedModel::default();
    orphaned(&disk, &model);
    let before = disk.operations();
    trouble(&disk);
    let undisturbed = world::live(async {
        let adopting = async {
            let world = world::start(&disk, 0, unbounded(), 6).await?;
            tokio::select! {
                biased;
                adopted = adopt(&disk, &world) => adopted,
                _ = world::until(|| world.failed.borrow().is_some()) => Err("the log failed".to_owned()),
            }
        };
        tokio::select! {
            biased;
            adopted = adopting => adopted.is_ok(),
            _ = world::until(|| disk.has_crashed()) => false,
        }
    });
    let operations = disk.operations() - before;
    disk.crash();
    disk.restart();
    world::live(async {
        let world = world::start(&disk, 0, unbounded(), 6).await.unwrap();
        adopt(&disk, &world).await.unwrap();
        disk.crash();
    });
    disk.restart();
    let found = world::live(fold(&disk, 0));
    model.borrow_mut().recovered(&found);
    assert_eq!(found.live.len(), MESSAGES, "each once");
    assert_eq!(found.live.last_key_value().unwrap().1.progress, progress(), "to the millisecond");
    let left = disk.files().into_iter().filter(|(path, _)| path.starts_with(log_dir("log", ORPHAN))).count();
    assert_eq!(left, 0, "the orphan is gone, {undisturbed} {operations}");
    undisturbed
}

/// Troubles each operation of an adoption in turn until one adoption meets none.
fn each_operation(trouble: impl Fn(&SimDisk, u64)) {
    let mut calm = 0;
    for at in 0..OPERATIONS_MAX {
        let undisturbed =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(|disk| trouble(disk, at), at + 1)));
        let undisturbed = undisturbed.unwrap_or_else(|_| panic!("operation {at}"));
        // Some failures are survived; a run of them without any is past the end.
        calm = if undisturbed { calm + 1 } else { 0 };
        if calm == 20 {
            assert!(at > 60, "an adoption has {at} operations: too few to tell");
            return;
        }
    }
    panic!("an adoption has more than {OPERATIONS_MAX} operations");
}

#[test]
fn an_adoption_that_a_crash_cuts_short_loses_no_message() {
    each_operation(|disk, at| disk.crash_after(at));
}

#[test]
fn an_adoption_during_which_a_write_fails_loses_no_message() {
    for kind in [Kind::Eio, Kind::NoSpace] {
        each_operation(|disk, at| disk.fail(Fault { at, kind, forever: false }));
    }
}
