//! The bytes of one request as they go to the origin: stored head, per-attempt fields, body; none of them copied.
//!
//! hyper keeps the fields of a request in a map, which loses their order over names, their case and interleaved
//! repetitions. So it is told of a request without fields or body, in whose place [`super::wire`] sends these bytes.

use std::io::IoSlice;

use bytes::{Buf, Bytes};

use super::Outbound;
use crate::message::MessageId;

const MESSAGE_ID_FIELD: &[u8] = b"X-Dispatcher-Message-Id: ";
const ATTEMPT_FIELD: &[u8] = b"\r\nX-Dispatcher-Attempt: ";
const DUPLICATE_FIELD: &[u8] = b"\r\nX-Dispatcher-Maybe-Duplicate: true";
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Head, tail and body: what a payload is written from at most.
pub(super) const PIECES: usize = 3;

/// Digits of the largest attempt number.
const ATTEMPT_DIGITS_MAX: usize = 10;
const TAIL_BYTES_MAX: usize = MESSAGE_ID_FIELD.len()
    + MessageId::TEXT_BYTES
    + ATTEMPT_FIELD.len()
    + ATTEMPT_DIGITS_MAX
    + DUPLICATE_FIELD.len()
    + END_OF_HEAD.len();

/// One request, from its first byte to its last. As a [`Buf`] it is written with one `writev`.
#[derive(Debug)]
pub(super) struct Payload {
    head: Bytes,
    tail: Tail,
    body: Bytes,
}

impl Payload {
    /// `maybe_duplicate` may be true where `outbound` says false: after a first copy went to a connection that broke.
    pub(super) fn new(outbound: &Outbound, maybe_duplicate: bool) -> Self {
        Self {
            head: outbound.head.clone(),
            tail: Tail::new(outbound.message_id, outbound.attempt, maybe_duplicate),
            body: outbound.body.clone(),
        }
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.head.len() + self.tail.rest().len() + self.body.len()
    }

    fn chunk(&self) -> &[u8] {
        if !self.head.is_empty() {
            return &self.head;
        }
        let tail = self.tail.rest();
        if tail.is_empty() { &self.body } else { tail }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        let pieces = [&self.head[..], self.tail.rest(), &self.body[..]].into_iter().filter(|piece| !piece.is_empty());
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            count += 1;
        }
        count
    }

    fn advance(&mut self, count: usize) {
        let of_head = count.min(self.head.len());
        self.head.advance(of_head);
        let of_tail = (count - of_head).min(self.tail.rest().len());
        self.tail.start += of_tail;
        self.body.advance(count - of_head - of_tail);
    }
}

/// The end of the head: the fields that differ per attempt, and the empty line.
#[derive(Debug)]
struct Tail {
    bytes: [u8; TAIL_BYTES_MAX],
    start: usize,
    end: usize,
}

impl Tail {
    fn new(id: MessageId, attempt: u32, maybe_duplicate: bool) -> Self {
        let mut tail = Self { bytes: [0; TAIL_BYTES_MAX], start: 0, end: 0 };
        tail.push(MESSAGE_ID_FIELD);
        tail.push(&id.text());
        tail.push(ATTEMPT_FIELD);
        tail.push_decimal(attempt);
        if maybe_duplicate {
            tail.push(DUPLICATE_FIELD);
        }
        tail.push(END_OF_HEAD);
        tail
    }

    fn push(&mut self, piece: &[u8]) {
        self.bytes[self.end..self.end + piece.len()].copy_from_slice(piece);
        self.end += piece.len();
    }

    fn push_decimal(&mut self, mut value: u32) {
        const DIGITS: &[u8; 10] = b"0123456789";
        let mut text = [0; ATTEMPT_DIGITS_MAX];
        let mut start = ATTEMPT_DIGITS_MAX;
        loop {
            start -= 1;
            text[start] = DIGITS[value as usize % 10];
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.push(&text[start..]);
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }
}

/// Payloads for the tests of what carries them.
#[cfg(test)]
pub(super) mod testing {
    use std::rc::Rc;

    use super::*;
    use crate::message::{Origin, Scheme};
    use crate::time::Millis;

    pub const ID: &str = "0190a6e2-7b4c-7def-8123-456789abcdef";

    pub fn outbound(head: &[u8], attempt: u32, body: &[u8]) -> Outbound {
        Outbound {
            origin: Rc::new(Origin::parse("b", Scheme::Http).unwrap()),
            head: Bytes::copy_from_slice(head),
            message_id: MessageId::parse(ID).unwrap(),
            attempt,
            maybe_duplicate: false,
            body: Bytes::copy_from_slice(body),
            timeout: Millis(1),
        }
    }

    pub fn payload(head: &[u8], body: &[u8]) -> Payload {
        Payload::new(&outbound(head, 1, body), false)
    }

    pub fn whole(mut payload: Payload) -> Vec<u8> {
        payload.copy_to_bytes(payload.remaining()).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::{ID, outbound, whole};
    use super::*;

    #[test]
    fn the_fields_of_an_attempt_follow_the_stored_head() {
        for (attempt, digits) in [(1, "1"), (10, "10"), (u32::MAX, "4294967295")] {
            let request = outbound(b"PUT / HTTP/1.1\r\nA: b\r\n", attempt, b"body");
            let expected = format!(
                "PUT / HTTP/1.1\r\nA: b\r\nX-Dispatcher-Message-Id: {ID}\r\nX-Dispatcher-Attempt: {digits}\r\n\r\nbody"
            );
            assert_eq!(String::from_utf8(whole(Payload::new(&request, false))).unwrap(), expected);
            let marked = expected.replace("\r\n\r\n", "\r\nX-Dispatcher-Maybe-Duplicate: true\r\n\r\n");
            assert_eq!(String::from_utf8(whole(Payload::new(&request, true))).unwrap(), marked);
        }
    }

    proptest! {
        #[test]
        fn however_a_payload_is_taken_its_bytes_are_the_same(
            head in prop::collection::vec(any::<u8>(), 0..40),
            body in prop::collection::vec(any::<u8>(), 0..40),
            steps in prop::collection::vec(1_usize..50, 1..200),
        ) {
            let request = outbound(&head, 7, &body);
            let expected = whole(Payload::new(&request, true));
            let mut payload = Payload::new(&request, true);
            let mut seen = Vec::new();
            for step in steps.iter().cycle() {
                let mut slices = [IoSlice::new(&[]); 4];
                let count = payload.chunks_vectored(&mut slices);
                let gathered = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect::<Vec<u8>>();
                prop_assert_eq!(gathered.len(), payload.remaining());
                prop_assert!(gathered.starts_with(payload.chunk()));
                let taken = (*step).min(gathered.len());
                seen.extend_from_slice(&gathered[..taken]);
                payload.advance(taken);
                if payload.remaining() == 0 {
                    break;
                }
            }
            prop_assert_eq!(seen, expected);
        }
    }
}
