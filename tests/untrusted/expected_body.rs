//! What a chunked body is, decided over the whole input: RFC 9112 §7.1, with the daemon's strictness and bounds.
//!
//! Written apart from `ingress/body.rs`: it copies, it looks at everything again, and it has no state.

use super::expected_head::is_token;
use dispatcher::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// What the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// The beginning of a body.
    Incomplete,
    /// Refused with this status.
    Refused(u16),
    /// A body, and how many bytes it was written in.
    Whole { body: Vec<u8>, used: usize },
}

/// Reads a chunked body of at most `body_bytes_max` bytes.
pub fn chunked(input: &[u8], body_bytes_max: usize) -> Body {
    let mut body = Vec::new();
    let mut excess = 0_usize;
    let mut rest = input;
    loop {
        let (line, behind) = match line_of(rest, CHUNK_LINE_BYTES_MAX, is_chunk_line) {
            Line::Whole(line, behind) => (line, behind),
            Line::Incomplete => return Body::Incomplete,
            Line::Wrong => return Body::Refused(400),
        };
        let Some(size) = size_of(line) else { return Body::Refused(400) };
        // Lines may be 16 bytes and twice the chunk; all that is longer is added up.
        excess = (excess + line.len()).saturating_sub(usize::saturating_add(16, size.saturating_mul(2)));
        if excess > TRAILER_BYTES_MAX {
            return Body::Refused(400);
        }
        if size == 0 {
            return trailers(behind, input.len(), body);
        }
        if size > body_bytes_max - body.len() {
            return Body::Refused(413);
        }
        let Some((data, behind)) = behind.split_at_checked(size) else { return Body::Incomplete };
        body.extend_from_slice(data);
        rest = match behind {
            [b'\r', b'\n', behind @ ..] => behind,
            [] | [b'\r'] => return Body::Incomplete,
            _ => return Body::Refused(400),
        };
    }
}

/// Skips trailers up to the empty line.
fn trailers(input: &[u8], all: usize, body: Vec<u8>) -> Body {
    let (mut rest, mut bytes) = (input, 0);
    loop {
        match line_of(rest, TRAILER_BYTES_MAX - bytes, is_trailer) {
            Line::Whole([], behind) => return Body::Whole { body, used: all - behind.len() },
            Line::Whole(line, behind) => (rest, bytes) = (behind, bytes + line.len()),
            Line::Incomplete => return Body::Incomplete,
            Line::Wrong => return Body::Refused(400),
        }
    }
}

enum Line<'a> {
    Whole(&'a [u8], &'a [u8]),
    Incomplete,
    Wrong,
}

/// The line at the start, of at most `bytes_max` bytes without its CRLF. `may_be` says whether a line may begin so, and
/// be all of it if its CR is there.
fn line_of(input: &[u8], bytes_max: usize, may_be: impl Fn(&[u8], bool) -> bool) -> Line<'_> {
    let end = input.iter().position(|byte| *byte == b'\r').unwrap_or(input.len());
    let line = &input[..end];
    if line.len() > bytes_max || !may_be(line, end < input.len()) {
        return Line::Wrong;
    }
    match &input[end..] {
        [b'\r', b'\n', behind @ ..] => Line::Whole(line, behind),
        [] | [b'\r'] => Line::Incomplete,
        _ => Line::Wrong,
    }
}

/// Digits that are a number, and from the first semicolon on anything without control characters.
fn is_chunk_line(line: &[u8], is_whole: bool) -> bool {
    let mut parts = line.splitn(2, |byte| *byte == b';');
    let digits = parts.next().unwrap_or_default();
    let extension = parts.next();
    let is_begun = digits.is_empty() && extension.is_none() && !is_whole;
    (is_begun || number(digits).is_some()) && !extension.unwrap_or_default().iter().any(|byte| is_control(*byte))
}

/// A field: a name, a colon, and anything without control characters; or nothing.
fn is_trailer(line: &[u8], is_whole: bool) -> bool {
    let name = line.iter().position(|byte| *byte == b':');
    let is_name = line[..name.unwrap_or(line.len())].iter().all(|byte| is_token(*byte));
    let is_field = match name {
        Some(colon) => colon > 0 && !line.iter().any(|byte| is_control(*byte)),
        None => line.is_empty() || !is_whole,
    };
    is_name && is_field
}

fn size_of(line: &[u8]) -> Option<usize> {
    number(line.split(|byte| *byte == b';').next()?)
}

/// Hexadecimal digits, nothing else, and no more than a size can be.
fn number(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let significant: Vec<u8> = digits.iter().copied().skip_while(|digit| *digit == b'0').collect();
    let text = if significant.is_empty() { "0" } else { std::str::from_utf8(&significant).ok()? };
    usize::from_str_radix(text, 16).ok()
}

fn is_control(byte: u8) -> bool {
    matches!(byte, 0..=8 | 10..=31 | 127)
}
