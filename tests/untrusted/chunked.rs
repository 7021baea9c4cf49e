//! Chunked bodies: whatever the reads, the decoder finds what the contract says, and what was written is read.

use dispatcher::ingress::body::Decoder;
use dispatcher::ingress::framing::Framing;

use super::choices::Choices;
use super::expected_body::{Body, chunked};
use super::reads::Reads;
use super::requests_text::{chunks, mutated};

/// What stands before the body in its buffer.
const BEFORE: &[u8] = b"head";
/// The longest body that is written here.
const WRITTEN_BYTES_MAX: usize = 1 << 20;

/// Checks an input: `[what, bound, kind of reads, their size, …]`.
pub fn check(input: &[u8]) {
    let [what, bound, kind, size, rest @ ..] = input else { return };
    let body_bytes_max = [100, 5000, 70_000, 1][usize::from(*bound) % 4];
    let reads = || Reads::new(*kind, *size);
    match what % 4 {
        0 | 1 => compare(rest, body_bytes_max, reads()),
        2 => {
            let mut choices = Choices::Bytes(rest);
            let written = mutated(chunks(&mut choices).0, &mut choices);
            compare(&written, body_bytes_max, reads());
        }
        _ => {
            let (written, body) = chunks(&mut Choices::Bytes(rest));
            let whole = Body::Whole { body, used: written.len() };
            assert_eq!(chunked(&written, WRITTEN_BYTES_MAX), whole, "what is written is a body");
            assert_eq!(decoded(&written, Framing::Chunked, WRITTEN_BYTES_MAX, reads()), whole);
            // Something behind it changes nothing.
            let followed = [&written, rest].concat();
            assert_eq!(decoded(&followed, Framing::Chunked, WRITTEN_BYTES_MAX, reads()), whole);
        }
    }
}

fn compare(bytes: &[u8], body_bytes_max: usize, reads: Reads) {
    let expected = chunked(bytes, body_bytes_max);
    assert_eq!(decoded(bytes, Framing::Chunked, body_bytes_max, reads), expected, "{}", bytes.escape_ascii());
    let whole = decoded(bytes, Framing::Chunked, body_bytes_max, Reads::new(0, 0));
    assert_eq!(whole, expected, "at once: {}", bytes.escape_ascii());
    // The same bytes as a body with a length.
    let half = bytes.len() / 2;
    let sized = Body::Whole { body: bytes[..half].to_vec(), used: half };
    assert_eq!(decoded(bytes, Framing::Length(half), half, Reads::new(2, 7)), sized);
}

/// What the decoder finds, read so.
fn decoded(bytes: &[u8], framing: Framing, body_bytes_max: usize, mut reads: Reads) -> Body {
    let mut buffer = BEFORE.to_vec();
    let mut decoder = Decoder::new(framing, body_bytes_max);
    let mut fed = 0;
    // The body cannot end before so many bytes.
    let mut end_min = 0;
    loop {
        match decoder.decode(&mut buffer[BEFORE.len()..]) {
            Err(refusal) => return Body::Refused(refusal.status()),
            Ok(true) => {
                let region = &buffer[BEFORE.len()..];
                let used = fed - (region.len() - decoder.used());
                assert!(buffer.starts_with(BEFORE), "what is before stays");
                assert_eq!(decoder.missing(), 0);
                assert!(used >= end_min, "{used} bytes, though {end_min} were to come");
                assert_eq!(&region[decoder.used()..], &bytes[used..fed], "what is behind stays");
                return Body::Whole { body: region[..decoder.decoded()].to_vec(), used };
            }
            Ok(false) => {
                assert!(decoder.missing() > 0);
                end_min = fed + decoder.missing();
            }
        }
        if fed == bytes.len() {
            return Body::Incomplete;
        }
        decoder.close_gap(&mut buffer, BEFORE.len());
        assert_eq!(buffer.len(), BEFORE.len() + decoder.decoded(), "what was framing takes no room");
        assert!(decoder.decoded() <= body_bytes_max);
        let read = reads.next(bytes.len() - fed);
        buffer.extend_from_slice(&bytes[fed..fed + read]);
        fed += read;
    }
}
