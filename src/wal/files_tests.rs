//! Records read back by their start alone: whatever their length, wherever in a block they begin, and if damaged.

use super::*;
use crate::disk::portable::PortableDisk;
use crate::message::MessageId;
use crate::schedule::attempt::Failure;
use crate::time::UnixMillis;
use crate::wal::batch::{Batch, Sealed};
use crate::wal::payload::{Payload, Progress, Tried};

const SHARD: u32 = 3;
const SEGMENT: u32 = 7;

fn retry(tried: usize) -> Payload<'static> {
    let tried = vec![Tried { at: UnixMillis(1), failure: Failure::Reset, status: None, spared: false }; tried];
    Payload::Retry(Progress { due: UnixMillis(9), attempts: 1, maybe_duplicate: true, history: tried })
}

/// Retries of every length up to more than a block, which begin all over a block, and some of three blocks.
fn sealed() -> Sealed {
    let mut batch = Batch::default();
    for tried in 0..400 {
        batch.push(MessageId([1; 16]), &retry(tried));
    }
    for tried in [1000, 1, 1000] {
        batch.push(MessageId([2; 16]), &retry(tried));
    }
    let position =
        Position { shard: SHARD, segment: SEGMENT, salt: None, offset: u32::try_from(BLOCK_BYTES).expect("a block") };
    batch.seal(0, position)
}

async fn written(dir: &Path, damaged: Option<usize>) -> (Files<PortableDisk>, Sealed) {
    let sealed = sealed();
    let mut bytes = vec![0; BLOCK_BYTES];
    bytes.extend_from_slice(&sealed.blocks);
    if let Some(damaged) = damaged {
        bytes[damaged] ^= 1;
    }
    let files = Files::new(PortableDisk, dir.to_owned(), SHARD);
    files.disk().write_aside(&files.path(SEGMENT), Bytes::from(bytes)).await.expect("a temporary directory");
    (files, sealed)
}

fn on_a_disk<F: Future>(test: impl FnOnce(PathBuf) -> F) -> F::Output {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(test(dir.path().to_owned()))
}

#[test]
fn a_record_is_read_by_its_start_whatever_its_length() {
    on_a_disk(async |dir| {
        let (files, sealed) = written(&dir, None).await;
        for (at, header, _) in sealed.iter() {
            let record = files.read_record_at(at.start()).await.expect("intact");
            assert_eq!(record, files.read_record(at).await.expect("intact"), "{at:?}");
            assert_eq!(record.len(), header.bytes);
        }
    });
}

#[test]
fn what_is_damaged_or_begins_elsewhere_is_no_record() {
    on_a_disk(async |dir| {
        let (_, sealed) = written(&dir, None).await;
        let places: Vec<Location> = sealed.iter().map(|(at, ..)| at).collect();
        let (long, last) = (places[400], places[402]);
        for damaged in [long.offset, long.offset + 40, long.offset + long.bytes - 1] {
            let (files, _) = written(&dir, Some(damaged as usize)).await;
            let read = files.read_record_at(long.start()).await;
            assert!(matches!(read, Err(ReadError::Damaged { at, .. }) if at == long.start()), "byte {damaged}");
            assert!(matches!(files.read_record(long).await, Err(ReadError::Damaged { .. })));
            assert!(files.read_record_at(last.start()).await.is_ok());
        }
        let (files, _) = written(&dir, None).await;
        let behind = RecordStart { offset: last.offset.next_multiple_of(4096) + 16 * 4096, ..last.start() };
        for elsewhere in [RecordStart { offset: long.offset + 8, ..long.start() }, behind] {
            assert!(matches!(files.read_record_at(elsewhere).await, Err(ReadError::Damaged { .. })));
        }
    });
}
