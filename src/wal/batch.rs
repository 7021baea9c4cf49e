//! Group commit: records gather in a [`Batch`] while the batch before is being written.

use bytes::Bytes;

use super::index::Location;
use super::layout::Position;
use super::payload::Payload;
use super::record::{self, HEADER_BYTES, Header, HeaderRead};
use super::segment::{BATCH_HEADER_BYTES, BatchHeader};
use crate::disk::aligned::AlignedBuf;
use crate::limits::{BATCH_START_BYTES, BLOCK_BYTES};
use crate::message::MessageId;

/// Records that will become durable together.
#[derive(Debug)]
pub struct Batch {
    buffer: AlignedBuf,
    records: Vec<u32>,
    messages: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Self::with_capacity(BATCH_START_BYTES)
    }
}

impl Batch {
    /// Empty, with room for `bytes` before it has to grow.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = AlignedBuf::with_capacity(bytes);
        buffer.set_len(BATCH_HEADER_BYTES);
        Self { buffer, records: Vec::new(), messages: 0 }
    }

    /// Appends a record.
    pub fn push(&mut self, id: MessageId, payload: &Payload<'_>) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; HEADER_BYTES]);
        payload.encode(&mut self.buffer);
        record::write_header(&mut self.buffer[start..], payload.kind(), id);
        self.buffer.pad_to(record::ALIGNMENT);
        self.records.push(u32::try_from(start).expect("batches are bounded by SEGMENT_BYTES_MAX"));
        self.messages += usize::from(payload.is_refusable());
    }

    /// Whether it holds no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Records.
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// New messages in it.
    pub const fn messages(&self) -> usize {
        self.messages
    }

    /// Bytes it will take on disk: whole blocks.
    pub fn bytes(&self) -> usize {
        self.buffer.len().next_multiple_of(BLOCK_BYTES)
    }

    /// Bytes it would take on disk with a further record.
    pub fn bytes_with(&self, payload: &Payload<'_>) -> usize {
        (self.buffer.len() + HEADER_BYTES + payload.bytes() + record::ALIGNMENT).next_multiple_of(BLOCK_BYTES)
    }

    /// Bytes of a batch that holds one record with a payload of `payload_bytes`, for admission.
    pub const fn bytes_of_one(payload_bytes: usize) -> usize {
        (BATCH_HEADER_BYTES + HEADER_BYTES + payload_bytes + record::ALIGNMENT).next_multiple_of(BLOCK_BYTES)
    }

    /// Binds it to its place in the log; from here on it is only read.
    pub fn seal(mut self, number: u32, position: Position) -> Sealed {
        let header = BatchHeader {
            number,
            bytes: u32::try_from(self.buffer.len()).expect("batches are bounded by SEGMENT_BYTES_MAX"),
            records: u32::try_from(self.records.len()).expect("a record is longer than its number"),
        };
        header.write(&mut self.buffer, position);
        for start in &self.records {
            record::seal(&mut self.buffer[*start as usize..], position.plus(*start));
        }
        self.buffer.pad_to(BLOCK_BYTES);
        let memory_bytes = self.buffer.capacity();
        let blocks = Bytes::from_owner(self.buffer);
        Sealed { blocks, memory_bytes, records: self.records, messages: self.messages, position }
    }

    /// What must still be written if this batch cannot be: outcomes are facts, new messages are refused.
    pub fn into_outcomes(self) -> Self {
        // Any place will do to read the records back.
        self.seal(0, Position { shard: 0, segment: 0, salt: None, offset: 0 }).outcomes()
    }
}

/// A batch with its final bytes.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// Whole blocks.
    pub blocks: Bytes,
    /// What they are part of, in bytes of memory.
    pub memory_bytes: usize,
    /// Where they stand.
    pub position: Position,
    records: Vec<u32>,
    messages: usize,
}

impl Sealed {
    /// Records.
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// New messages in it.
    pub const fn messages(&self) -> usize {
        self.messages
    }

    /// Its records in order: place, header, payload.
    pub fn iter(&self) -> impl Iterator<Item = (Location, Header, &[u8])> + '_ {
        self.records.iter().map(|start| {
            let bytes = &self.blocks[*start as usize..];
            let position = self.position.plus(*start);
            let header = bytes.first_chunk().expect("a record begins with its header");
            let HeaderRead::Known(header) = Header::decode(header) else {
                panic!("a sealed batch reads back what was pushed")
            };
            let length = u32::try_from(header.bytes).expect("batches are bounded by SEGMENT_BYTES_MAX");
            let at = Location { segment: position.segment, offset: position.offset, bytes: length };
            (at, header, &bytes[header.payload()])
        })
    }

    /// What must be written again if this batch was not: see [`Batch::into_outcomes`].
    pub fn outcomes(&self) -> Batch {
        let mut batch = Batch::default();
        for (_, header, payload) in self.iter() {
            let payload = Payload::decode(header.kind, payload).expect("a sealed batch reads back what was pushed");
            if !payload.is_refusable() {
                batch.push(header.id, &payload);
            }
        }
        batch
    }
}
