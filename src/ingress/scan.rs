//! Finds the end of a request head as its bytes arrive, and refuses at once what no head may contain.
//!
//! Total work is linear in the bytes however they were split, and so is the verdict independent of it: every rule here
//! is decided by the first byte that breaks it. What a field means is not looked at.
//!
//! Why before httparse: httparse accepts a bare LF as a line end (as RFC 9112 §2.2 permits and hyper#4145 shows to be a
//! way to smuggle requests), and would be run again from the start for every piece.

use super::refusal::Refusal;
use crate::limits::{METHOD_BYTES_MAX, REQUEST_LINE_BYTES_MAX, TARGET_BYTES_MAX};
use crate::metrics::RefusedReason;

/// Where a complete head lies in the bytes that were scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first byte: behind the one empty line that is ignored (RFC 9112 §2.2).
    pub start: usize,
    /// The byte behind the empty line that ends it.
    pub end: usize,
}

/// How far one head has been scanned. Make a new one for each head.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scanner {
    /// First byte of the head, once known.
    start: Option<usize>,
    /// First byte of the line that is being scanned.
    line: usize,
    /// Everything before has been looked at.
    at: usize,
    /// The method has ended, in a space.
    method_seen: bool,
}

impl Scanner {
    /// Looks at what has arrived since the last call. `bytes` begins where it began then.
    ///
    /// Returns `None` when more is needed. Errors: 400, 414, 431, 501 or 505, each with its connection closed.
    pub fn scan(&mut self, bytes: &[u8], head_bytes_max: usize) -> Result<Option<Span>, Refusal> {
        let Some(start) = self.skip_empty_line(bytes) else { return Ok(None) };
        loop {
            let first_line = self.line == start;
            if first_line && !self.method_seen && !self.scan_method(bytes)? {
                return Ok(None);
            }
            let bound = start + if first_line { REQUEST_LINE_BYTES_MAX.min(head_bytes_max) } else { head_bytes_max };
            let window = &bytes[..bytes.len().min(bound)];
            self.at = next_special(window, self.at);
            let Some(special) = window.get(self.at) else {
                return if window.len() == bound { Err(too_long(first_line, head_bytes_max)) } else { Ok(None) };
            };
            match (special, bytes.get(self.at + 1)) {
                (b'\t', _) if !first_line => self.at += 1,
                (b'\r', None) => return Ok(None),
                (b'\r', Some(b'\n')) => {
                    let end = self.at;
                    self.at += 2;
                    if self.at > bound {
                        return Err(too_long(first_line, head_bytes_max));
                    }
                    if end == self.line {
                        return Ok(Some(Span { start, end: self.at }));
                    }
                    check_line(&bytes[self.line..end], first_line)?;
                    self.line = self.at;
                }
                (b'\r', Some(_)) => return Err(malformed("A CR without LF in the head (RFC 9112 §2.2).")),
                (b'\n', _) => return Err(malformed("A line of the head ends in LF without CR (RFC 9112 §2.2).")),
                _ => return Err(malformed("A control character in the head (RFC 9110 §5.5).")),
            }
        }
    }

    /// Ignores one empty line before the head. Returns the head's first byte once it is known.
    fn skip_empty_line(&mut self, bytes: &[u8]) -> Option<usize> {
        if self.start.is_none() {
            let start = match bytes {
                [] | [b'\r'] => return None,
                [b'\r', b'\n', ..] => 2,
                _ => 0,
            };
            (self.start, self.line, self.at) = (Some(start), start, start);
        }
        self.start
    }

    /// Looks at the method alone, so that what is not HTTP (TLS, say) is refused at its first byte. Returns whether the
    /// method has ended.
    fn scan_method(&mut self, bytes: &[u8]) -> Result<bool, Refusal> {
        let window = &bytes[..bytes.len().min(self.line + METHOD_BYTES_MAX + 1)];
        let rest = &window[self.at..];
        let end = self.at + rest.iter().position(|byte| !is_token_byte(*byte)).unwrap_or(rest.len());
        if end - self.line > METHOD_BYTES_MAX {
            return Err(Refusal::new(RefusedReason::Unsupported, "A method longer than any there is."));
        }
        self.at = end;
        match window.get(end) {
            None => Ok(false),
            Some(b' ') if end > self.line => {
                self.method_seen = true;
                Ok(true)
            }
            Some(&TLS_RECORD) if end == self.line => {
                Err(malformed("This is TLS, and this port speaks plain HTTP: use http:// instead of https://."))
            }
            Some(_) => Err(malformed(NOT_A_REQUEST_LINE)),
        }
    }
}

/// What a TLS connection begins with (RFC 8446 §5.1).
const TLS_RECORD: u8 = 0x16;

const NOT_A_REQUEST_LINE: &str =
    "The first line is not a request line: METHOD SP target SP HTTP/1.1 (RFC 9112 §3), one space between each.";

fn malformed(detail: &'static str) -> Refusal {
    Refusal::new(RefusedReason::Malformed, detail)
}

fn too_long(first_line: bool, head_bytes_max: usize) -> Refusal {
    if first_line {
        return target_too_long();
    }
    Refusal::new(RefusedReason::HeadTooLarge, format!("The head is longer than MAX_HEAD, {head_bytes_max} bytes."))
}

fn target_too_long() -> Refusal {
    Refusal::new(RefusedReason::TargetTooLong, format!("The request target is longer than {TARGET_BYTES_MAX} bytes."))
}

/// What a complete line shows by itself: the shape of the request line, a field line that begins with a space.
fn check_line(line: &[u8], first_line: bool) -> Result<(), Refusal> {
    if first_line {
        return check_request_line(line);
    }
    // RFC 9112 §5.2: obs-fold; and §2.2: white space between the request line and the first field.
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(malformed(
            "A line of the head begins with white space: folded fields are refused (RFC 9112 §5.2).",
        ));
    }
    Ok(())
}

fn check_request_line(line: &[u8]) -> Result<(), Refusal> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(_), Some(target), Some(version), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(malformed(NOT_A_REQUEST_LINE));
    };
    if target.is_empty() {
        return Err(malformed(NOT_A_REQUEST_LINE));
    }
    if target.len() > TARGET_BYTES_MAX {
        return Err(target_too_long());
    }
    // RFC 9112 §2.3: one digit, a dot, one digit.
    match version.strip_prefix(b"HTTP/") {
        Some(b"1.0" | b"1.1") => Ok(()),
        Some([major, b'.', minor]) if major.is_ascii_digit() && minor.is_ascii_digit() => {
            Err(Refusal::new(RefusedReason::Version, "Only HTTP/1.1 and HTTP/1.0 are spoken here."))
        }
        _ => Err(malformed(NOT_A_REQUEST_LINE)),
    }
}

/// RFC 9110 §5.6.2: tchar.
pub(super) const fn is_token_byte(byte: u8) -> bool {
    matches!(
        byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    ) || byte.is_ascii_alphanumeric()
}

/// The index of the first control character at or behind `from`, or the length.
fn next_special(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    // Eight bytes at a time (Anderson, "Bit Twiddling Hacks", hasless and haszero). What a borrow marks besides lies behind
    // the first that is one, so the lowest mark is right.
    while let Some(word) = bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map(u64::from_le_bytes) {
        const ONES: u64 = u64::from_le_bytes([1; 8]);
        let below_space = word.wrapping_sub(ONES * 0x20) & !word;
        let del = word ^ (ONES * 0x7F);
        let is_del = del.wrapping_sub(ONES) & !del;
        let marks = (below_space | is_del) & (ONES * 0x80);
        if marks != 0 {
            return at + (marks.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    // A line end may straddle the end of the window, so that `from` lies behind it.
    let rest = bytes.get(at..).unwrap_or_default();
    at + rest.iter().position(u8::is_ascii_control).unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD_BYTES_MAX: usize = 16 << 10;

    type Verdict = Result<Option<Span>, (u16, &'static str)>;

    fn verdict_of(pieces: impl IntoIterator<Item = usize>, bytes: &[u8]) -> Verdict {
        let mut scanner = Scanner::default();
        for end in pieces {
            match scanner.scan(&bytes[..end], HEAD_BYTES_MAX) {
                Ok(None) => {}
                Ok(found) => return Ok(found),
                Err(refusal) => return Err((refusal.status(), refusal.reason().as_str())),
            }
        }
        Ok(None)
    }

    /// The verdict on the whole, after the same was reached byte by byte.
    fn verdict(bytes: &[u8]) -> Verdict {
        let whole = verdict_of([bytes.len()], bytes);
        assert_eq!(verdict_of(1..=bytes.len(), bytes), whole, "byte by byte: {:?}", bytes.escape_ascii().to_string());
        whole
    }

    #[test]
    fn the_end_of_a_head_is_found_and_nothing_behind_it_is_looked_at() {
        assert_eq!(verdict(b"GET / HTTP/1.1\r\n\r\n"), Ok(Some(Span { start: 0, end: 18 })));
        assert_eq!(verdict(b"GET / HTTP/1.1\r\n\r\n\0\n\rPOST"), Ok(Some(Span { start: 0, end: 18 })));
        assert_eq!(verdict(b"GET / HTTP/1.1\r\nA:\tb\x80\r\n\r\n"), Ok(Some(Span { start: 0, end: 25 })));
        assert_eq!(verdict(b"\r\nGET / HTTP/1.0\r\n\r\n"), Ok(Some(Span { start: 2, end: 20 })));
        assert_eq!(verdict(b"GET / HTTP/1.1\r\nA: b\r\n"), Ok(None));
        assert_eq!(verdict(b""), Ok(None));
    }

    #[test]
    fn what_no_head_may_contain_is_refused_however_it_was_split() {
        let malformed: &[&[u8]] = &[
            b"GET / HTTP/1.1\n\n",                    // RFC 9112 §2.2: bare LF
            b"GET / HTTP/1.1\r\nA: b\n\r\n",          // the same in a field
            b"GET / HTTP/1.1\r\nA: b\r\n\n",          // the same as the end
            b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n",     // RFC 9112 §2.2: bare CR
            b"GET / HTTP/1.1\r\r\n\r\n",              // a CR before CRLF
            b"GET / HTTP/1.1\r\nA: b\0\r\n\r\n",      // RFC 9110 §5.5: NUL
            b"GET / HTTP/1.1\r\nA: \x7f\r\n\r\n",     // DEL
            b"GET / HTTP/1.1\r\nA: \x0b\r\n\r\n",     // another control
            b"GET /\t HTTP/1.1\r\n\r\n",              // a tab in the request line
            b"GET\t/ HTTP/1.1\r\n\r\n",               // a tab for a space
            b"GET / HTTP/1.1\r\n A: b\r\n\r\n",       // RFC 9112 §2.2: space before the first field
            b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",  // RFC 9112 §5.2: obs-fold
            b"GET / HTTP/1.1\r\nA: b\r\n\tc\r\n\r\n", // the same with a tab
            b"GET  / HTTP/1.1\r\n\r\n",               // RFC 9112 §3: single spaces
            b"GET /  HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1 \r\n\r\n",
            b"GET / a HTTP/1.1\r\n\r\n",
            b" GET / HTTP/1.1\r\n\r\n",
            b"\r\n\r\nGET / HTTP/1.1\r\n\r\n", // more than one empty line
            b"\nGET / HTTP/1.1\r\n\r\n",
            b"\rGET / HTTP/1.1\r\n\r\n",
            b"GET\r\n",
            b"GET /\r\n", // HTTP/0.9
            b"GET / HTTP/1.11\r\n",
            b"GET / http/1.1\r\n",
            b"GET / HTP/1.1\r\n",
            b"GET / HTTP/1\r\n",
            b"G\x80T / HTTP/1.1\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01", // TLS
            b"{\"json\": 1}",
        ];
        for bytes in malformed {
            assert_eq!(verdict(bytes), Err((400, "malformed")), "{}", bytes.escape_ascii());
        }
        for bytes in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"GET / HTTP/1.2\r\n", b"GET / HTTP/0.9\r\n"] {
            assert_eq!(verdict(bytes), Err((505, "version")), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_not_http_is_refused_at_its_first_byte() {
        for byte in [0x16, b'{', b' ', b'\n', 0x80] {
            assert_eq!(verdict(&[byte]), Err((400, "malformed")), "{byte:#x}");
        }
    }

    #[test]
    fn every_length_has_its_bound_and_its_status() {
        let method = |bytes: usize| [vec![b'A'; bytes], b" / HTTP/1.1\r\n\r\n".to_vec()].concat();
        assert!(matches!(verdict(&method(METHOD_BYTES_MAX)), Ok(Some(_))));
        assert_eq!(verdict(&method(METHOD_BYTES_MAX + 1)), Err((501, "unsupported")));
        assert_eq!(verdict(&[b'A'; METHOD_BYTES_MAX + 1]), Err((501, "unsupported")));

        let target = |bytes: usize| [b"GET /", vec![b'a'; bytes - 1].as_slice(), b" HTTP/1.1\r\n\r\n"].concat();
        assert!(matches!(verdict(&target(TARGET_BYTES_MAX)), Ok(Some(_))));
        assert_eq!(verdict(&target(TARGET_BYTES_MAX + 1)), Err((414, "target_too_long")));
        assert_eq!(verdict(&target(10 * TARGET_BYTES_MAX)), Err((414, "target_too_long")));
        assert_eq!(verdict(&target(10 * TARGET_BYTES_MAX)[..REQUEST_LINE_BYTES_MAX]), Err((414, "target_too_long")));

        let longest = |target: usize| {
            [vec![b'A'; METHOD_BYTES_MAX], b" /".to_vec(), vec![b'a'; target - 1], b" HTTP/1.1\r\n\r\n".to_vec()]
                .concat()
        };
        assert!(matches!(verdict(&longest(TARGET_BYTES_MAX)), Ok(Some(_))));
        assert_eq!(verdict(&longest(TARGET_BYTES_MAX + 1)), Err((414, "target_too_long")));

        let head = |bytes: usize| [b"GET / HTTP/1.1\r\nA: ", vec![b'a'; bytes - 23].as_slice(), b"\r\n\r\n"].concat();
        assert!(matches!(verdict(&head(HEAD_BYTES_MAX)), Ok(Some(_))));
        assert_eq!(verdict(&head(HEAD_BYTES_MAX + 1)), Err((431, "head_too_large")));
        assert_eq!(verdict(&head(2 * HEAD_BYTES_MAX)), Err((431, "head_too_large")));
        assert_eq!(verdict(&head(2 * HEAD_BYTES_MAX)[..HEAD_BYTES_MAX]), Err((431, "head_too_large")));
    }

    proptest! {
        #[test]
        fn splitting_never_changes_the_verdict(
            bytes in prop::collection::vec(prop::sample::select(b"\r\n\t A:/\0\x7f\x80HTTP1.".to_vec()), 0..64),
            prefix in prop::sample::select(vec!["", "G", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: a\r\n", "\r\n"]),
            cuts in prop::collection::vec(0..128_usize, 0..6),
        ) {
            let bytes = [prefix.as_bytes(), &bytes].concat();
            let whole = verdict(&bytes);
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(bytes.len());
            cuts.sort_unstable();
            prop_assert_eq!(verdict_of(cuts, &bytes), whole);
        }

        #[test]
        fn the_next_control_character_is_found_eight_bytes_at_a_time_as_one_at_a_time(
            bytes in prop::collection::vec(prop::sample::select(b"\x1f \x7e\x7f\x80\x9f\xff\0aaaaaaaa".to_vec()), 0..64),
            from in 0..64_usize,
        ) {
            let from = from.min(bytes.len());
            let expected = (from..bytes.len()).find(|at| bytes[*at].is_ascii_control()).unwrap_or(bytes.len());
            prop_assert_eq!(next_special(&bytes, from), expected);
        }
    }
}
