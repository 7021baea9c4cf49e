//! What a record costs on its way into the log and back, without the disk.

use std::hint::black_box;

use dispatcher::message::{IdSource, MessageId, OriginRef, Scheme};
use dispatcher::time::UnixMillis;
use dispatcher::wal::batch::Batch;
use dispatcher::wal::layout::Position;
use dispatcher::wal::payload::{Accepted, Payload, Progress};

mod support;

use support::{is_bench, measure};

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);
const POSITION: Position = Position { shard: 0, segment: 7, salt: Some(9), offset: 4096 };
const HEAD: &[u8] = b"POST /hook?from=bench HTTP/1.1\r\nHost: origin.test\r\nContent-Type: application/json\r\n\
    User-Agent: bench\r\nContent-Length: 1024\r\n";

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

fn filled(ids: &[MessageId], payload: &Payload<'_>) -> Batch {
    let mut batch = Batch::default();
    for id in ids {
        batch.push(*id, payload);
    }
    batch
}

fn main() {
    let records = if is_bench() { 64 } else { 2 };
    let mut source = IdSource::new(1);
    let ids: Vec<MessageId> = (0..records).map(|_| source.next(NOW)).collect();
    let delivered = Payload::Delivered { at: NOW, attempts: 1, status: 200 };
    for body_bytes in [0, 1024, 16 << 10] {
        let body = vec![0x5A; body_bytes];
        let message = accepted(&body);
        measure(
            &format!("append a message of {body_bytes} bytes"),
            records,
            || (),
            |()| {
                black_box(filled(black_box(&ids), &message));
            },
        );
        measure(
            &format!("seal a batch of messages of {body_bytes} bytes"),
            records,
            || filled(&ids, &message),
            |batch| {
                black_box(batch.seal(0, POSITION));
            },
        );
        let sealed = filled(&ids, &message).seal(0, POSITION);
        measure(
            &format!("verify and read a message of {body_bytes} bytes"),
            records,
            || (),
            |()| {
                for (_, header, payload) in sealed.iter() {
                    assert!(header.verifies(payload));
                    black_box(Payload::decode(header.kind, payload).expect("it was written by this version"));
                }
            },
        );
    }
    measure(
        "append an outcome",
        records,
        || (),
        |()| {
            black_box(filled(black_box(&ids), &delivered));
        },
    );
}
