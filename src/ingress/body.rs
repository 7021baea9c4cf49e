//! Bodies, by Content-Length or chunked, decoded in place: the decoded body is one slice of the connection's own
//! buffer, right behind the head. Pure.

use super::reply::Refusal;
use crate::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Neither Content-Length nor Transfer-Encoding: no body (RFC 9112 §6.3, rule 7).
    None,
    /// So many bytes.
    Length(u64),
    /// Until the last chunk.
    Chunked,
}

/// Decodes one body. Offsets count from the first byte behind the head.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of the buffer that were looked at.
    raw: usize,
    /// Bytes of decoded body, at the start of the buffer.
    decoded: usize,
    body_bytes_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(usize),
    /// In a chunk-size line: bytes of it so far, and the size if a digit came.
    Size {
        bytes: usize,
        size: Option<u64>,
    },
    /// In a chunk extension.
    Extension {
        bytes: usize,
        size: u64,
        cr: bool,
    },
    Data {
        left: u64,
    },
    /// Behind a chunk's data: CR, LF.
    DataEnd {
        cr: bool,
    },
    /// In the trailers: bytes so far, and bytes of the line.
    Trailer {
        bytes: usize,
        line: usize,
        cr: bool,
    },
    Done,
}

const BAD_SIZE: &str = "a chunk size is not hexadecimal digits";
const BAD_LINE: &str = "a chunk line does not end with CRLF";

impl Decoder {
    /// For a body of at most `body_bytes_max` decoded bytes; a longer Content-Length was refused with the head.
    pub fn new(framing: Framing, body_bytes_max: u64) -> Self {
        let state = match framing {
            Framing::None => State::Length(0),
            Framing::Length(bytes) => State::Length(usize::try_from(bytes).unwrap_or(usize::MAX)),
            Framing::Chunked => State::Size { bytes: 0, size: None },
        };
        Self { state, raw: 0, decoded: 0, body_bytes_max }
    }

    /// Looks at what has arrived. `buffer` starts behind the head and only grows between calls, but for what this
    /// moved. `true`: the body is complete.
    pub fn decode(&mut self, buffer: &mut [u8]) -> Result<bool, Refusal> {
        while self.raw < buffer.len() || matches!(self.state, State::Length(_) | State::Done) {
            match self.state {
                State::Done => return Ok(true),
                State::Length(bytes) => {
                    self.raw = bytes.min(buffer.len());
                    self.decoded = self.raw;
                    return Ok(self.raw == bytes);
                }
                State::Data { left } => {
                    let available = buffer.len() - self.raw;
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(available);
                    buffer.copy_within(self.raw..self.raw + take, self.decoded);
                    self.raw += take;
                    self.decoded += take;
                    let left = left - take as u64;
                    self.state = if left == 0 { State::DataEnd { cr: false } } else { State::Data { left } };
                }
                _ => {
                    let byte = buffer[self.raw];
                    self.raw += 1;
                    self.state = self.step(byte)?;
                }
            }
        }
        Ok(self.state == State::Done)
    }

    /// One byte outside chunk data (RFC 9112 §7.1).
    fn step(&self, byte: u8) -> Result<State, Refusal> {
        match self.state {
            State::Size { bytes, size } => {
                if let Some(digit) = char::from(byte).to_digit(16) {
                    return self.size_digit(bytes, size, digit);
                }
                let size = size.ok_or(Refusal::malformed(BAD_SIZE))?;
                match byte {
                    b'\r' => Ok(State::Extension { bytes: bytes + 1, size, cr: true }),
                    // Whitespace before an extension is "bad" but allowed (RFC 9112 §7.1.1).
                    b';' | b' ' | b'\t' => Ok(State::Extension { bytes: bytes + 1, size, cr: false }),
                    _ => Err(Refusal::malformed(BAD_SIZE)),
                }
            }
            State::Extension { size, cr: true, .. } => match byte {
                b'\n' if size == 0 => Ok(State::Trailer { bytes: 0, line: 0, cr: false }),
                b'\n' => Ok(State::Data { left: size }),
                _ => Err(Refusal::malformed(BAD_LINE)),
            },
            State::Extension { bytes, size, cr: false } => match byte {
                _ if bytes >= CHUNK_LINE_BYTES_MAX => Err(Refusal::malformed("a chunk line is too long")),
                b'\r' => Ok(State::Extension { bytes: bytes + 1, size, cr: true }),
                b'\t' | b' '..=b'~' | 0x80.. => Ok(State::Extension { bytes: bytes + 1, size, cr: false }),
                _ => Err(Refusal::malformed("a control character stands in a chunk line")),
            },
            State::DataEnd { cr } => match (cr, byte) {
                (false, b'\r') => Ok(State::DataEnd { cr: true }),
                (true, b'\n') => Ok(State::Size { bytes: 0, size: None }),
                _ => Err(Refusal::malformed("a chunk is longer than its size, or is not followed by CRLF")),
            },
            State::Trailer { cr: true, line, bytes } => match byte {
                b'\n' if line == 0 => Ok(State::Done),
                b'\n' => Ok(State::Trailer { bytes: bytes + 1, line: 0, cr: false }),
                _ => Err(Refusal::malformed("a trailer does not end with CRLF")),
            },
            State::Trailer { cr: false, line, bytes } => match byte {
                _ if bytes >= TRAILER_BYTES_MAX => Err(Refusal::malformed("the trailers are too long")),
                b'\r' => Ok(State::Trailer { bytes: bytes + 1, line, cr: true }),
                b'\t' | b' '..=b'~' | 0x80.. => Ok(State::Trailer { bytes: bytes + 1, line: line + 1, cr: false }),
                _ => Err(Refusal::malformed("a control character stands in a trailer")),
            },
            State::Length(_) | State::Data { .. } | State::Done => panic!("these take no single bytes"),
        }
    }

    fn size_digit(&self, bytes: usize, size: Option<u64>, digit: u32) -> Result<State, Refusal> {
        let size = size.unwrap_or(0).checked_mul(16).and_then(|size| size.checked_add(digit.into()));
        let size = size.ok_or(Refusal::malformed("a chunk size overflows"))?;
        if size > self.body_bytes_max.saturating_sub(self.decoded as u64) {
            return Err(Refusal::body_too_large(self.body_bytes_max));
        }
        if bytes >= CHUNK_LINE_BYTES_MAX {
            return Err(Refusal::malformed("a chunk line is too long"));
        }
        Ok(State::Size { bytes: bytes + 1, size: Some(size) })
    }

    /// Bytes of decoded body, at the start of the buffer.
    pub const fn decoded(&self) -> usize {
        self.decoded
    }

    /// Bytes of the buffer that belong to this body; what follows is the next request.
    pub const fn raw(&self) -> usize {
        self.raw
    }

    /// Bytes that must still come at least, as far as is known.
    pub fn missing(&self) -> usize {
        match self.state {
            State::Length(bytes) => bytes - self.raw,
            State::Data { left } => usize::try_from(left).unwrap_or(usize::MAX),
            State::Done => 0,
            State::Size { .. } | State::Extension { .. } | State::DataEnd { .. } | State::Trailer { .. } => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The decoded body and what is left over, `None` if it is not complete, or the status.
    type Fed = Result<Option<(Vec<u8>, Vec<u8>)>, u16>;

    /// Feeds `bytes` in pieces cut at `cuts`.
    fn feed(framing: Framing, max: u64, bytes: &[u8], cuts: &[usize]) -> Fed {
        let mut decoder = Decoder::new(framing, max);
        let mut buffer = Vec::new();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
        ends.sort_unstable();
        let mut done = false;
        let mut start = 0;
        for end in ends {
            buffer.extend_from_slice(&bytes[start..end]);
            start = end;
            if !done {
                done = decoder.decode(&mut buffer).map_err(|refusal| refusal.status)?;
            }
        }
        Ok(done.then(|| (buffer[..decoder.decoded()].to_vec(), buffer[decoder.raw()..].to_vec())))
    }

    #[test]
    fn chunked_bodies_are_judged_by_the_book_in_every_split() {
        let good: &[(&str, &str)] = &[
            ("0\r\n\r\n", ""),
            ("5\r\nhello\r\n0\r\n\r\n", "hello"),
            ("005\r\nhello\r\n000\r\n\r\n", "hello"),
            ("a\r\n0123456789\r\nB\r\n0123456789a\r\n0\r\n\r\n", "01234567890123456789a"),
            ("5;name=value\r\nhello\r\n0;x=\"y\"\r\n\r\n", "hello"),
            ("5 \r\nhello\r\n0\r\n\r\n", "hello"),
            ("3\r\nabc\r\n0\r\nTrailer: x\r\nOther: y\r\n\r\n", "abc"),
        ];
        for (text, body) in good {
            let bytes = format!("{text}NEXT");
            for cut in 0..bytes.len() {
                let expected = Ok(Some((body.as_bytes().to_vec(), b"NEXT".to_vec())));
                assert_eq!(feed(Framing::Chunked, 100, bytes.as_bytes(), &[cut]), expected, "{text:?} cut at {cut}");
            }
        }
        let bad: &[(&str, u16)] = &[
            ("\r\n", 400),
            ("x\r\n", 400),
            ("+5\r\nhello\r\n", 400),
            ("-5\r\n", 400),
            ("0x5\r\nhello", 400),
            (" 5\r\nhello", 400),
            ("5\nhello", 400),
            ("5\rhello", 400),
            ("5;\nhello", 400),
            ("5;a\u{1}b\r\nhello", 400),
            ("5\r\nhelloX\r\n", 400),
            ("5\r\nhello\n", 400),
            ("0\r\nTrailer: x\n\r\n", 400),
            ("0\r\n\rx", 400),
            ("65\r\n", 413),
            ("60\r\n", 413),
            ("fffffffffffffffff\r\n", 413),
        ];
        for (text, status) in bad {
            for cut in 0..text.len() {
                assert_eq!(feed(Framing::Chunked, 95, text.as_bytes(), &[cut]), Err(*status), "{text:?} cut at {cut}");
            }
        }
        for endless in
            ["5;".to_owned() + &"x".repeat(5000), "0\r\n".to_owned() + &"x: y\r\n".repeat(5000), "0".repeat(5000)]
        {
            assert_eq!(feed(Framing::Chunked, 95, endless.as_bytes(), &[]), Err(400));
        }
    }

    proptest! {
        #[test]
        fn splitting_never_changes_what_comes_out(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..6),
            cuts in prop::collection::vec(any::<usize>(), 0..10),
        ) {
            let body = chunks.concat();
            let mut bytes: Vec<u8> = chunks
                .iter()
                .flat_map(|chunk| [format!("{:x}\r\n", chunk.len()).into_bytes(), chunk.clone(), b"\r\n".to_vec()].concat())
                .collect();
            bytes.extend_from_slice(b"0\r\n\r\nrest");
            prop_assert_eq!(feed(Framing::Chunked, 1000, &bytes, &cuts), Ok(Some((body.clone(), b"rest".to_vec()))));
            let framing = Framing::Length(body.len() as u64);
            prop_assert_eq!(feed(framing, 1000, &[&body[..], b"rest"].concat(), &cuts), Ok(Some((body, b"rest".to_vec()))));
        }

        #[test]
        fn any_bytes_at_all_get_the_same_verdict_in_any_split(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\r'), Just(b'\n'), Just(b'0'), Just(b';')], 0..60),
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            prop_assert_eq!(feed(Framing::Chunked, 40, &bytes, &cuts), feed(Framing::Chunked, 40, &bytes, &[]));
        }
    }
}
