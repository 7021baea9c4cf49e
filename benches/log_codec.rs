//! What a record costs on its way into the log and back, without the disk.

use std::hint::black_box;

use dispatcher::disk::aligned::AlignedBuf;
use dispatcher::message::{IdSource, MessageId, OriginRef, Scheme};
use dispatcher::time::UnixMillis;
use dispatcher::wal::batch::Batch;
use dispatcher::wal::layout::Position;
use dispatcher::wal::payload::{Accepted, Payload, Progress};
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};

mod support;

use support::{counted, is_bench};

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const POSITION: Position = Position { shard: 0, segment: 7, salt: Some(9), offset: 4096 };
const HEAD: &[u8] = b"POST /hook?from=bench HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\n\
    User-Agent: bench\r\nContent-Length: 1024\r\n";
const DELIVERED: Payload<'_> = Payload::Delivered { at: NOW, attempts: 1, status: 200 };
/// Bytes of a body.
const BODIES: [usize; 3] = [0, 1024, 16 << 10];

fn main() {
    divan::main();
}

fn accepted(body: &[u8]) -> Payload<'_> {
    Payload::Accepted(Accepted {
        accepted: NOW,
        timeout: None,
        origin: OriginRef { scheme: Scheme::Http, host: "origin.test", port: 80 },
        again: false,
        replays: 0,
        progress: Progress::default(),
        head: HEAD,
        body,
    })
}

/// As many as a batch of a busy core has.
fn ids() -> Vec<MessageId> {
    let mut source = IdSource::new(1);
    (0..if is_bench() { 64 } else { 2 }).map(|_| source.next(NOW)).collect()
}

fn filled(ids: &[MessageId], payload: &Payload<'_>) -> Batch {
    let mut batch = Batch::default();
    for id in ids {
        batch.push(*id, payload);
    }
    batch
}

#[divan::bench(args = [28, 1024, 64 << 10])]
fn checksum(bencher: Bencher<'_, '_>, bytes: usize) {
    let data = vec![0x5A; bytes];
    bencher.counter(BytesCount::new(bytes)).bench_local(|| counted(|| crc32c::crc32c(black_box(&data))));
}

#[divan::bench(args = BODIES)]
fn encode_message(bencher: Bencher<'_, '_>, body_bytes: usize) {
    let body = vec![0x5A; body_bytes];
    let message = accepted(&body);
    let mut buffer = AlignedBuf::with_capacity(64 << 10);
    bencher.bench_local(|| {
        counted(|| {
            buffer.set_len(0);
            black_box(&message).encode(&mut buffer);
        });
    });
}

#[divan::bench(args = BODIES)]
fn decode_message(bencher: Bencher<'_, '_>, body_bytes: usize) {
    let body = vec![0x5A; body_bytes];
    let message = accepted(&body);
    let mut buffer = AlignedBuf::with_capacity(64 << 10);
    message.encode(&mut buffer);
    bencher.bench_local(|| {
        counted(|| {
            let decoded = Payload::decode(message.kind(), black_box(&buffer)).expect("it was written by this version");
            assert!(matches!(black_box(decoded), Payload::Accepted(_)));
        });
    });
}

#[divan::bench(args = BODIES)]
fn fill_batch_of_messages(bencher: Bencher<'_, '_>, body_bytes: usize) {
    let (ids, body) = (ids(), vec![0x5A; body_bytes]);
    let message = accepted(&body);
    bencher.counter(ItemsCount::new(ids.len())).bench_local(|| counted(|| filled(black_box(&ids), &message)));
}

#[divan::bench]
fn fill_batch_of_outcomes(bencher: Bencher<'_, '_>) {
    let ids = ids();
    bencher.counter(ItemsCount::new(ids.len())).bench_local(|| counted(|| filled(black_box(&ids), &DELIVERED)));
}

#[divan::bench(args = BODIES)]
fn seal_batch(bencher: Bencher<'_, '_>, body_bytes: usize) {
    let (ids, body) = (ids(), vec![0x5A; body_bytes]);
    let message = accepted(&body);
    bencher
        .counter(ItemsCount::new(ids.len()))
        .with_inputs(|| filled(&ids, &message))
        .bench_local_values(|batch| counted(|| batch.seal(0, POSITION)));
}

#[divan::bench(args = BODIES)]
fn read_batch(bencher: Bencher<'_, '_>, body_bytes: usize) {
    let (ids, body) = (ids(), vec![0x5A; body_bytes]);
    let sealed = filled(&ids, &accepted(&body)).seal(0, POSITION);
    bencher.counter(ItemsCount::new(ids.len())).bench_local(|| {
        counted(|| {
            for (_, header, payload) in sealed.iter() {
                assert!(header.verifies(payload));
                black_box(Payload::decode(header.kind, payload).expect("it was written by this version"));
            }
        });
    });
}
