//! Real logs, written by the writer, then cut: at each byte, and by a whole segment.

use dispatcher::message::Xorshift;
use dispatcher::wal::files::segment_name;

use super::disk::SimDisk;
use super::folded::fold;
use super::random::{SharedModel, finish, submit};
use super::world::{self, log_dir, unbounded};

/// Writes messages of `body_bytes` bytes, each in a batch of its own.
fn written(disk: &SimDisk, model: &SharedModel, messages: u64, body_bytes: usize) {
    world::live(async {
        let world = world::start(disk, 0, unbounded(), 5).await.unwrap();
        let mut random = Xorshift::new(2);
        for _ in 0..messages {
            submit(&world, model, random.next().to_le_bytes().repeat(body_bytes / 8));
            assert!(world::until(|| world.shard.is_flushed()).await);
        }
        world::turns(50).await;
        disk.crash();
    });
    disk.restart();
}

/// What was whole before the cut is there, and nothing else; whether the file ends there or reads as zeros behind.
#[test]
fn a_log_cut_at_any_byte_gives_what_is_whole_before_the_cut() {
    const MESSAGES: u64 = 3;
    const BLOCK: usize = 4096;
    let disk = SimDisk::new(1);
    let model = SharedModel::default();
    written(&disk, &model, MESSAGES, 104);
    let path = log_dir("log", 0).join(segment_name(0));
    let image = disk.files().into_iter().find(|(name, _)| *name == path).unwrap().1;
    // Message n stands alone in block n + 1; its record ends with the last byte that is not zero.
    let ends: Vec<usize> = (1..=usize::try_from(MESSAGES).unwrap())
        .map(|block| {
            block * BLOCK + image[block * BLOCK..(block + 1) * BLOCK].iter().rposition(|b| *b != 0).unwrap() + 1
        })
        .collect();
    let ids: Vec<_> = model.borrow().messages.keys().copied().collect();
    world::live(async {
        for cut in (0..=ends[ends.len() - 1]).filter(|cut| *cut >= BLOCK || cut % 64 == 0) {
            let mut zeroed = image.clone();
            zeroed[cut..].fill(0);
            for torn in [image[..cut].to_vec(), zeroed] {
                let kept = torn.len() > cut;
                let disk = SimDisk::new(1);
                disk.put(&path, torn);
                let found = fold(&disk, 0).await;
                let whole = ends.iter().filter(|end| **end <= cut).count();
                let live: Vec<_> = found.live.keys().copied().collect();
                assert_eq!(live, ids[..whole], "cut at {cut}, zeros behind: {kept}");
            }
        }
    });
}

/// A segment that is gone takes its own messages with it, and nothing of its neighbours.
#[test]
fn a_missing_segment_costs_only_its_own_messages_and_the_log_goes_on() {
    for missing in 0..4 {
        let disk = SimDisk::new(1);
        let model = SharedModel::default();
        // Segments 0 to 3 hold one, five, three, … batches, and too much of them is alive for relocation.
        written(&disk, &model, 1, 40_000);
        written(&disk, &model, 5, 8_000);
        written(&disk, &model, 3, 12_000);
        written(&disk, &model, 1, 30_000);
        let path = log_dir("log", 0).join(segment_name(missing));
        let fewer = SimDisk::new(2);
        for (name, contents) in disk.files().into_iter().filter(|(name, _)| *name != path) {
            fewer.put(&name, contents);
        }
        let left = world::live(fold(&fewer, 0));
        let own = [1, 5, 3, 1][usize::try_from(missing).unwrap()];
        assert_eq!(left.live.len(), 10 - own, "without segment {missing}");
        model.borrow_mut().messages.retain(|id, _| left.live.contains_key(id));
        world::live(async {
            let world = world::start(&fewer, 0, unbounded(), 9).await.unwrap();
            for _ in 0..8 {
                submit(&world, &model, vec![1; 30_000]);
            }
            finish(&world, &model).await;
            assert!(!world.shard.log().spare().is_starved(), "without segment {missing}");
        });
    }
}

/// A power cut right behind the renaming of the only segment, before its new header: found by the simulation, SEED=933.
#[test]
fn a_log_whose_only_segment_was_not_begun_goes_on_with_its_number() {
    let disk = SimDisk::new(1);
    let model = SharedModel::default();
    disk.put(&log_dir("log", 0).join(segment_name(1)), vec![0; usize::try_from(world::SEGMENT_BYTES).unwrap()]);
    world::live(async {
        let world = world::start(&disk, 0, unbounded(), 5).await.unwrap();
        assert_eq!(world.next_segment, 1);
        for _ in 0..8 {
            submit(&world, &model, vec![1; 30_000]);
        }
        finish(&world, &model).await;
    });
}
