//! Bodies, decoded in place: whatever the framing, the body ends up as one slice at the start of its region of the
//! connection's buffer, and no second buffer exists.
//!
//! Strict (RFC 9112 §7.1): hexadecimal digits only, CRLF only, no white space around the size. Extensions and trailers
//! are skipped, and bounded, since nothing of them is kept.

use super::framing::Framing;
use super::head::body_too_large;
use super::refusal::Refusal;
use super::scan::is_token_byte;
use crate::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};
use crate::metrics::RefusedReason;

/// Reads one body. The region it is given always begins at the body's first byte, and grows at its end.
#[derive(Clone, Debug)]
pub struct Decoder {
    step: Step,
    /// Bytes of the body so far: the region's first.
    decoded: usize,
    /// Bytes of the region that have been looked at.
    looked_at: usize,
    body_bytes_max: usize,
    /// Bytes of lines beyond what honest chunks need (CVE-2023-39326): an extension may be 4 KiB long, but not every
    /// one of a million chunks may have it.
    excess: usize,
}

/// Where in the body the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Of a body with a length: this many bytes are missing.
    Sized { left: usize },
    /// In the data of a chunk: this many bytes are missing.
    Data { left: usize },
    /// Between the data of chunks.
    Framing(Line),
    /// Behind the body.
    Done,
}

/// Where in a chunked body's framing the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// In the digits of a chunk size; `line` bytes of the line so far.
    Size { size: usize, line: usize },
    /// In the extensions of a chunk, which are skipped.
    Extension { size: usize, line: usize },
    /// Behind the CR of a chunk line.
    SizeLf { size: usize, line: usize },
    /// Behind the data of a chunk.
    DataCr,
    /// Behind the CR behind the data of a chunk.
    DataLf,
    /// Where a trailer line or the empty line behind them begins; `total` bytes of trailers so far, line ends not
    /// counted.
    Trailer { total: usize },
    /// In the name of a trailer.
    TrailerName { total: usize },
    /// Behind the colon of a trailer.
    TrailerValue { total: usize },
    /// Behind the CR of a trailer line.
    TrailerLf { total: usize },
    /// Behind the CR of the empty line that ends the body.
    LastLf,
}

const FIRST_SIZE: Step = Step::Framing(Line::Size { size: 0, line: 0 });

/// Bytes of line that a chunk of `size` bytes may have for nothing, as in Go's `internal/chunked.go`.
const fn free_line_bytes(size: usize) -> usize {
    16_usize.saturating_add(size.saturating_mul(2))
}

impl Decoder {
    /// For a body framed so, of at most `body_bytes_max` bytes.
    pub const fn new(framing: Framing, body_bytes_max: usize) -> Self {
        let step = match framing {
            Framing::Empty | Framing::Length(0) => Step::Done,
            Framing::Length(left) => Step::Sized { left },
            Framing::Chunked => FIRST_SIZE,
        };
        Self { step, decoded: 0, looked_at: 0, body_bytes_max, excess: 0 }
    }

    /// Bytes of the body so far: the first of the region.
    pub const fn decoded(&self) -> usize {
        self.decoded
    }

    /// Bytes of the region that belong to this body, framing included; behind them is the next request.
    pub const fn used(&self) -> usize {
        self.looked_at
    }

    /// Bytes that must come at least before the body is complete, as far as is known.
    pub const fn missing(&self) -> usize {
        match self.step {
            Step::Sized { left } | Step::Data { left } => left,
            Step::Framing(_) => 1,
            Step::Done => 0,
        }
    }

    /// Looks at what is new in the region; returns whether the body is complete.
    ///
    /// Errors: 400 or 413; the end of the body is then unknown and the connection must be closed.
    pub fn decode(&mut self, region: &mut [u8]) -> Result<bool, Refusal> {
        loop {
            let Some(&byte) = region.get(self.looked_at) else { return Ok(self.step == Step::Done) };
            self.step = match self.step {
                Step::Sized { left } => match left - self.take_data(region, left) {
                    0 => Step::Done,
                    left => Step::Sized { left },
                },
                Step::Data { left } => match left - self.take_data(region, left) {
                    0 => Step::Framing(Line::DataCr),
                    left => Step::Data { left },
                },
                Step::Framing(line) => {
                    self.looked_at += 1;
                    self.after(line, byte)?
                }
                Step::Done => return Ok(true),
            };
        }
    }

    /// Moves body bytes that are there, at most `left`, to the end of the body; returns how many.
    fn take_data(&mut self, region: &mut [u8], left: usize) -> usize {
        let bytes = left.min(region.len() - self.looked_at);
        if self.decoded < self.looked_at {
            region.copy_within(self.looked_at..self.looked_at + bytes, self.decoded);
        }
        self.decoded += bytes;
        self.looked_at += bytes;
        bytes
    }

    /// The step behind a byte of framing.
    fn after(&mut self, at: Line, byte: u8) -> Result<Step, Refusal> {
        let next = match (at, byte) {
            (Line::Size { size, line }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let size = size.checked_mul(16).and_then(|size| size.checked_add(hex_value(byte)));
                let size = size.ok_or_else(|| malformed("A chunk size that overflows"))?;
                Line::Size { size, line: longer_line(line)? }
            }
            (Line::Size { line: 0, .. }, _) => return Err(malformed("A chunk without a size in hexadecimal digits")),
            (Line::Size { size, line } | Line::Extension { size, line }, b'\r') => Line::SizeLf { size, line },
            (Line::Size { size, line }, b';') => Line::Extension { size, line: longer_line(line)? },
            (Line::Size { .. }, _) => return Err(malformed("A chunk size that is not in hexadecimal digits")),
            (Line::SizeLf { size, line }, b'\n') => return self.begin_chunk(size, line),
            (Line::DataCr, b'\r') => Line::DataLf,
            (Line::DataLf, b'\n') => Line::Size { size: 0, line: 0 },
            (Line::Trailer { .. }, b'\r') => Line::LastLf,
            (Line::LastLf, b'\n') => return Ok(Step::Done),
            // Only fields (RFC 9112 §7.1.2): the request behind a body that lacks its last line is none, and is not lost.
            (Line::Trailer { total } | Line::TrailerName { total }, _) if is_token_byte(byte) => {
                Line::TrailerName { total: longer_trailers(total)? }
            }
            (Line::TrailerName { total }, b':') => Line::TrailerValue { total: longer_trailers(total)? },
            (Line::Trailer { .. } | Line::TrailerName { .. }, _) => {
                return Err(malformed("A trailer that is no field"));
            }
            (Line::TrailerValue { total }, b'\r') => Line::TrailerLf { total },
            (Line::TrailerLf { total }, b'\n') => Line::Trailer { total },
            (Line::SizeLf { .. } | Line::DataCr | Line::DataLf | Line::TrailerLf { .. } | Line::LastLf, _) => {
                return Err(malformed("A chunk or a line that does not end in CRLF where it must"));
            }
            (Line::Extension { .. } | Line::TrailerValue { .. }, _) if byte.is_ascii_control() && byte != b'\t' => {
                return Err(malformed("A control character in a chunk extension or trailer"));
            }
            (Line::Extension { size, line }, _) => Line::Extension { size, line: longer_line(line)? },
            (Line::TrailerValue { total }, _) => Line::TrailerValue { total: longer_trailers(total)? },
        };
        Ok(Step::Framing(next))
    }

    fn begin_chunk(&mut self, size: usize, line: usize) -> Result<Step, Refusal> {
        self.excess = (self.excess + line).saturating_sub(free_line_bytes(size));
        if self.excess > TRAILER_BYTES_MAX {
            return Err(malformed("Chunks whose extensions outweigh their data"));
        }
        if size == 0 {
            return Ok(Step::Framing(Line::Trailer { total: 0 }));
        }
        if size > self.body_bytes_max - self.decoded {
            return Err(body_too_large(self.body_bytes_max));
        }
        Ok(Step::Data { left: size })
    }

    /// Moves what is behind the body so far next to it, `start` being where the region begins in `buffer`, so that
    /// what was framing takes no room. Call it before more is read into the buffer.
    pub fn close_gap(&mut self, buffer: &mut Vec<u8>, start: usize) {
        let gap = start + self.decoded..start + self.looked_at;
        if !gap.is_empty() {
            buffer.copy_within(gap.end.., gap.start);
            buffer.truncate(buffer.len() - gap.len());
            self.looked_at = self.decoded;
        }
    }
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::new(RefusedReason::Malformed, format!("{detail} (RFC 9112 §7.1)."))
}

fn longer_line(line: usize) -> Result<usize, Refusal> {
    if line < CHUNK_LINE_BYTES_MAX { Ok(line + 1) } else { Err(malformed("A chunk line without end")) }
}

fn longer_trailers(total: usize) -> Result<usize, Refusal> {
    if total < TRAILER_BYTES_MAX { Ok(total + 1) } else { Err(malformed("Trailers without end")) }
}

const fn hex_value(digit: u8) -> usize {
    let value = match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    };
    value as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 100;

    /// The body and what is behind it, `None` if more is needed, or the status.
    type Verdict = Result<Option<(Vec<u8>, Vec<u8>)>, u16>;
    /// Framing, bytes, the body, what is behind it.
    type Case<'a> = (Framing, &'a [u8], &'a [u8], &'a [u8]);

    /// Feeds `bytes` in pieces that end at `cuts`, closing the gap between them; returns the body and what is behind.
    fn feed(framing: Framing, bytes: &[u8], cuts: impl IntoIterator<Item = usize>) -> Verdict {
        const HEAD: &[u8] = b"head";
        let (mut buffer, mut decoder) = (HEAD.to_vec(), Decoder::new(framing, MAX));
        let mut fed = 0;
        for cut in cuts {
            decoder.close_gap(&mut buffer, HEAD.len());
            buffer.extend_from_slice(&bytes[fed..cut]);
            fed = cut;
            if decoder.decode(&mut buffer[HEAD.len()..]).map_err(|refusal| refusal.status())? {
                assert!(buffer.starts_with(HEAD) && decoder.missing() == 0);
                let region = &buffer[HEAD.len()..];
                let behind = [&region[decoder.used()..], &bytes[fed..]].concat();
                return Ok(Some((region[..decoder.decoded()].to_vec(), behind)));
            }
            assert!(decoder.missing() > 0);
        }
        Ok(None)
    }

    /// The verdict in one piece, after every cut in two and every byte alone gave the same.
    fn verdict(framing: Framing, bytes: &[u8]) -> Verdict {
        let whole = feed(framing, bytes, [bytes.len()]);
        for cut in 0..=bytes.len() {
            assert_eq!(feed(framing, bytes, [cut, bytes.len()]), whole, "{} cut at {cut}", bytes.escape_ascii());
        }
        assert_eq!(feed(framing, bytes, 0..=bytes.len()), whole, "{}", bytes.escape_ascii());
        whole
    }

    #[test]
    fn a_body_is_exactly_what_was_sent_and_what_is_behind_it_stays() {
        let cases: &[Case<'_>] = &[
            (Framing::Empty, b"GET", b"", b"GET"),
            (Framing::Length(0), b"GET", b"", b"GET"),
            (Framing::Length(3), b"abcGET", b"abc", b"GET"),
            (Framing::Chunked, b"0\r\n\r\nGET", b"", b"GET"),
            (Framing::Chunked, b"3\r\nabc\r\n0\r\n\r\nGET", b"abc", b"GET"),
            (Framing::Chunked, b"1\r\na\r\n2\r\nbc\r\nA\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789", b""),
            (Framing::Chunked, b"00003\r\n\r\n\0\r\n000\r\n\r\nX", b"\r\n\0", b"X"),
            (Framing::Chunked, b"3;a=b;c=\"d e\"\r\nabc\r\n0;x\r\n\r\n", b"abc", b""),
            (Framing::Chunked, b"3\r\nabc\r\n0\r\nA: b\r\nContent-Length: 9\r\n\r\nX", b"abc", b"X"),
        ];
        for (framing, bytes, body, behind) in cases {
            assert_eq!(
                verdict(*framing, bytes),
                Ok(Some((body.to_vec(), behind.to_vec()))),
                "{}",
                bytes.escape_ascii()
            );
        }
    }

    #[test]
    fn what_is_no_chunked_body_is_refused() {
        let cases: &[&[u8]] = &[
            b"\r\n", // no size
            b";a\r\n",
            b"g\r\n",
            b"0x3\r\nabc\r\n",
            b"+3\r\nabc\r\n",
            b"-3\r\n",
            b" 3\r\n",
            b"3 \r\nabc\r\n", // RFC 9112 §7.1.1 has BWS only around extensions
            b"3 ;a\r\nabc\r\n",
            b"1_0\r\n",
            b"3\nabc\r\n", // CVE-2025-22871: bare LF
            b"3;a\nabc\r\n",
            b"3\r\rabc\r\n",
            b"3\r\nabc\n0\r\n\r\n",
            b"3\r\nabcd\r\n",        // longer than it says
            b"3\r\nab\r\n0\r\n\r\n", // shorter than it says
            b"3;a\0\r\nabc\r\n",
            b"0\r\n\n",
            b"0\r\nA: b\n\r\n",
            b"0\r\nA: \0\r\n\r\n",
            b"0\r\nA\r\n\r\n", // RFC 9112 §7.1.2: trailers are fields
            b"0\r\n: b\r\n\r\n",
            b"0\r\nA : b\r\n\r\n",
            b"0\r\nA: b\r\n c\r\n\r\n",
            b"0\r\nGET / HTTP/1.1\r\n", // the next request, where the last empty line is missing
            b"10000000000000000\r\n",   // RUSTSEC-2021-0079: overflow
            b"FFFFFFFFFFFFFFFFF\r\n",
        ];
        for bytes in cases {
            assert_eq!(verdict(Framing::Chunked, bytes), Err(400), "{}", bytes.escape_ascii());
        }
        assert_eq!(verdict(Framing::Chunked, b"3\r\nab"), Ok(None));
    }

    #[test]
    fn a_body_over_its_bound_is_refused_before_it_is_read() {
        assert_eq!(verdict(Framing::Chunked, b"65\r\n"), Err(413));
        assert_eq!(verdict(Framing::Chunked, b"FFFFFFFFFFFFFFFF\r\n"), Err(413));
        let full = [b"64\r\n", [b'a'; MAX].as_slice(), b"\r\n"].concat();
        assert_eq!(feed(Framing::Chunked, &full, [full.len()]), Ok(None));
        let more = [&full, &b"1\r\n"[..]].concat();
        assert_eq!(feed(Framing::Chunked, &more, [more.len()]), Err(413));
    }

    #[test]
    fn lines_and_trailers_without_end_are_refused() {
        let refused = |bytes: &[u8]| feed(Framing::Chunked, bytes, [bytes.len()]) == Err(400);
        let line = |bytes: usize| [b"1;", vec![b'a'; bytes - 2].as_slice()].concat();
        assert!(!refused(&line(CHUNK_LINE_BYTES_MAX)) && refused(&line(CHUNK_LINE_BYTES_MAX + 1)));
        assert!(refused(&vec![b'0'; CHUNK_LINE_BYTES_MAX + 1]));
        assert!(refused(&[&b"0\r\n"[..], &b"A: b\r\n".repeat(TRAILER_BYTES_MAX / 4 + 1)].concat()));
        assert!(refused(&[&line(4000), &b"\r\nx\r\n"[..]].concat().repeat(6)), "CVE-2023-39326");
    }

    fn chunked(chunks: &[Vec<u8>]) -> Vec<u8> {
        let lines = chunks
            .iter()
            .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).into_bytes(), chunk.clone(), b"\r\n".to_vec()]);
        lines.chain([b"0\r\n\r\n".to_vec()]).flatten().collect()
    }

    proptest! {
        #[test]
        fn every_split_gives_the_body_that_was_sent(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..5),
            behind in prop::collection::vec(any::<u8>(), 0..8),
            cuts in prop::collection::vec(0..200_usize, 0..8),
        ) {
            let bytes = [chunked(&chunks), behind.clone()].concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            prop_assert_eq!(feed(Framing::Chunked, &bytes, cuts), Ok(Some((chunks.concat(), behind))));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic_or_depend_on_how_they_came(
            bytes in prop::collection::vec(prop::sample::select(b"\r\n0123afA;x: \0".to_vec()), 0..40),
        ) {
            // The helper asserts that all splits agree.
            let _ = verdict(Framing::Chunked, &bytes);
        }
    }
}
