//! What a recovery alone would find on the disk.

use std::collections::BTreeMap;
use std::path::Path;

use dispatcher::message::MessageId;
use dispatcher::shard::dead_letters::DeadLetters;
use dispatcher::shard::state::State;
use dispatcher::time::unix_now;
use dispatcher::wal::files::Files;
use dispatcher::wal::index::Index;
use dispatcher::wal::payload::{Payload, Progress};
use dispatcher::wal::record::{HEADER_BYTES, Kind};
use dispatcher::wal::recovery::{self, Visit};
use dispatcher::wal::survey::{self, Survey};

use super::disk::SimDisk;
use super::world::{gates, limits, live, log_dir};

/// A message as a recovery finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub head: Vec<u8>,
    pub body: Vec<u8>,
    pub progress: Progress,
}

/// What a recovery finds in both logs of a shard.
#[derive(Debug, PartialEq, Eq)]
pub struct Folded {
    pub live: BTreeMap<MessageId, Found>,
    pub dead: BTreeMap<MessageId, Vec<u8>>,
    pub found: Survey,
    pub damaged: u64,
}

/// Recovers both logs and reads every message back, as deliveries do.
pub async fn fold(disk: &SimDisk, number: u32) -> Folded {
    let files = Files::new(disk.clone(), log_dir("log", number), number);
    let mut state = State::new(limits(), gates(), unix_now());
    let found = survey::survey(&files, 0).await.unwrap();
    state.add_segments(&found);
    let fold = &mut |Visit { id, payload, at }: Visit<'_>| state.recover(id, &payload, at);
    let replayed = recovery::replay(&files, &found, Some(Path::new("corrupt")), fold).await.unwrap();
    state.check();
    let mut live = BTreeMap::new();
    for (slot, id) in state.index().iter() {
        let record = files.read_record(state.index().location(slot)).await.unwrap();
        let Ok(Payload::Accepted(message)) = Payload::decode(Kind::Accepted, &record[HEADER_BYTES..]) else {
            panic!("{id} is no message")
        };
        let mut progress = message.progress;
        if let Some(at) = state.index().retry_location(slot) {
            let record = files.read_record_at(at).await.unwrap();
            let Ok(Payload::Retry(newest)) = Payload::decode(Kind::Retry, &record[HEADER_BYTES..]) else {
                panic!("{id} has no retry where the index says")
            };
            progress = newest;
        }
        live.insert(id, Found { head: message.head.to_vec(), body: message.body.to_vec(), progress });
    }
    let files = Files::new(disk.clone(), log_dir("dead", number), number);
    let (mut graves, mut dead) = (Index::default(), BTreeMap::new());
    let fold = &mut |visit: Visit<'_>| {
        DeadLetters::<SimDisk>::fold(&mut graves, &visit);
        match visit.payload {
            Payload::DeadLetter(message, _) => _ = dead.insert(visit.id, message.body.to_vec()),
            Payload::Removed { .. } => _ = dead.remove(&visit.id),
            other => panic!("{other:?} is in the dead letter log"),
        }
    };
    let found_dead = survey::survey(&files, 0).await.unwrap();
    let found_dead = recovery::replay(&files, &found_dead, Some(Path::new("corrupt")), fold).await.unwrap();
    graves.check();
    assert_eq!(graves.len(), dead.len());
    Folded { live, dead, found, damaged: replayed.damaged + found_dead.damaged }
}

/// Recovers twice, which must be the same, and nothing a crash or a failed write does is damage.
pub fn fold_twice(disk: &SimDisk, number: u32) -> Folded {
    let first = live(fold(disk, number));
    let again = live(fold(disk, number));
    assert_eq!(first.live, again.live, "recovering twice is recovering once");
    assert_eq!(first.dead, again.dead, "recovering twice is recovering once");
    assert_eq!((first.found.end, first.found.next_segment), (again.found.end, again.found.next_segment));
    assert_eq!(first.damaged, 0, "no damage is seen where there is none");
    first
}
