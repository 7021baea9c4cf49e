//! Ends of attempts are written with what somebody waits for, or together after a while.

use std::time::Duration;

use dispatcher::limits::GATHER_MS;
use tokio::time::Instant;

use super::disk::SimDisk;
use super::random::{SharedModel, deliver, submit};
use super::world::{self, World, unbounded};

/// Turns in which a write begins and ends, without a timer.
const TURNS: u64 = 60;
const GATHER: Duration = Duration::from_millis(GATHER_MS);

/// A shard that has delivered a message and not written that down.
async fn delivered(disk: &SimDisk, model: &SharedModel) -> World {
    let world = world::start(disk, 0, unbounded(), 7).await.unwrap();
    submit(&world, model, b"first".to_vec());
    world::turns(TURNS).await;
    assert!(world.shard.is_flushed(), "a message is written at once");
    assert!(deliver(&world.shard, model, 0));
    world::turns(TURNS).await;
    assert!(!world.shard.is_flushed(), "nobody waits for its end");
    world
}

#[test]
fn the_end_of_an_attempt_is_written_after_a_while_if_nothing_takes_it_along() {
    let (disk, model) = (SimDisk::new(1), SharedModel::default());
    world::live(async {
        let world = delivered(&disk, &model).await;
        let appended = Instant::now();
        assert!(world::until(|| world.shard.is_flushed()).await);
        let waited = appended.elapsed();
        assert!(waited >= GATHER && waited < 2 * GATHER, "{waited:?}");
        disk.crash();
    });
}

#[test]
fn a_message_takes_the_end_of_an_attempt_along_at_once() {
    let (disk, model) = (SimDisk::new(1), SharedModel::default());
    world::live(async {
        let world = delivered(&disk, &model).await;
        let appended = Instant::now();
        submit(&world, &model, b"second".to_vec());
        world::turns(TURNS).await;
        assert!(world.shard.is_flushed(), "both are written");
        assert_eq!(appended.elapsed(), Duration::ZERO);
        disk.crash();
    });
}
