//! Whole starts on damaged logs: the shard begins, takes a message, and holds what a recovery finds.

use std::collections::BTreeSet;
use std::rc::Rc;

use dispatcher::message::MessageId;
use dispatcher::wal::spare::Space;

use super::disk::SimDisk;
use super::folded;
use super::harms::Image;
use super::verdict::Recovered;
use super::world::{self, log_dir};

/// As large as the largest segment of the logs here.
const SEGMENT_BYTES: u64 = 1 << 20;

/// Starts a shard on the image, of which a recovery gives `recovered`; with `None` it is refused.
pub fn start(shard: u32, image: &Image, recovered: Option<&Recovered>, seed: u64) {
    let disk = SimDisk::new(seed);
    for (name, contents) in image.named() {
        disk.put(&log_dir("log", shard).join(name), contents.clone());
    }
    let space =
        Space { segment_bytes: SEGMENT_BYTES, log_bytes_max: 0, disk_reserve: 0, reserve: 1, used: Rc::default() };
    let taken = world::live(async {
        let world = match world::start(&disk, shard, space, seed).await {
            Ok(world) => world,
            Err(refused) => {
                assert!(recovered.is_none(), "the start failed: {refused}");
                return None;
            }
        };
        let ticket = world.submit(b"taken by a log that was damaged").expect("there is room");
        let id = ticket.id();
        assert!(world::until(|| world.shard.is_flushed()).await, "it is written");
        world::turns(50).await;
        disk.crash();
        Some(id)
    });
    let (Some(id), Some(recovered)) = (taken, recovered) else { return };
    disk.restart();
    let again = world::live(folded::fold(&disk, shard));
    let expected: BTreeSet<MessageId> = recovered.live.keys().copied().chain([id]).collect();
    assert!(again.live.keys().eq(expected.iter()), "what was alive and what was taken is alive after the next start");
}
