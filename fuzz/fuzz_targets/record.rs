//! One record: what is read back is what was written, bit by bit, and nothing else is read at all.
#![no_main]

use dispatcher::disk::aligned::AlignedBuf;
use dispatcher::message::MessageId;
use dispatcher::wal::layout::Position;
use dispatcher::wal::payload::Payload;
use dispatcher::wal::record::{self, HEADER_BYTES, Header, HeaderRead, Kind};
use libfuzzer_sys::fuzz_target;

const KINDS: [Kind; 6] =
    [Kind::Accepted, Kind::Retry, Kind::Delivered, Kind::DeadLettered, Kind::DeadLetter, Kind::Lost];

fuzz_target!(|input: &[u8]| {
    let [mode, rest @ ..] = input else { return };
    let place = Position { shard: 3, segment: 42, salt: (mode & 1 != 0).then_some(0xC0FF_EE11), offset: 4128 };
    record(rest, place);
    let kind = KINDS[usize::from(mode >> 1) % KINDS.len()];
    if let Some(payload) = payload(kind, rest) {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes.extend_from_slice(&payload);
        record::write_header(&mut bytes, kind, MessageId([*mode; 16]));
        record::seal(&mut bytes, place);
        assert!(record(&bytes, place), "what is written is read");
        assert!(!record(&bytes, place.plus(8)), "and only in its place");
    }
});

/// Reads a record as the scan does; returns whether it is intact. Then writing it gives the same bytes.
fn record(bytes: &[u8], place: Position) -> bool {
    let HeaderRead::Known(header) = Header::read(bytes, place) else { return false };
    let Some(read) = bytes.get(header.payload()).filter(|payload| header.verifies(payload)) else { return false };
    if let Some(payload) = payload(header.kind, read) {
        let mut written = vec![0; HEADER_BYTES];
        written.extend_from_slice(&payload);
        record::write_header(&mut written, header.kind, header.id);
        // Byte 3 is not read.
        written[3] = bytes[3];
        record::seal(&mut written, place);
        assert_eq!(written, bytes[..header.bytes]);
    }
    true
}

/// The bytes of a payload that can be read, written again: the same ones.
fn payload(kind: Kind, bytes: &[u8]) -> Option<Vec<u8>> {
    let read = Payload::decode(kind, bytes).ok()?;
    assert_eq!(read.kind(), kind);
    let mut written = AlignedBuf::with_capacity(0);
    read.encode(&mut written);
    assert!(written.len() <= read.bytes(), "there is room for what is written");
    assert_eq!(&*written, bytes);
    assert_eq!(Payload::decode(kind, &written).as_ref(), Ok(&read));
    Some(written.to_vec())
}
