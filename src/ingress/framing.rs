//! Where a request's body ends, decided so that no other reader of the same bytes could decide otherwise (RFC 9112
//! §6.3, §11.2). It looks at field values only; reading the body is `body.rs`.

use super::refusal::Refusal;
use crate::limits::to_usize;
use crate::metrics::RefusedReason;

/// How the end of the body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No framing field: no body (RFC 9112 §6.3 item 7). So a length is never required, and 411 never answered.
    Empty,
    /// `Content-Length`, in bytes.
    Length(usize),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Collects the framing fields of one head, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct FramingFields {
    length: Option<u64>,
    coding: Coding,
}

/// What the transfer codings so far amount to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Coding {
    #[default]
    None,
    /// `chunked` alone, so far.
    Chunked,
    /// Something else, so far not followed by `chunked`.
    Unknown,
    /// Something else, then `chunked`.
    UnknownChunked,
    /// `chunked` and then more: not last, or twice.
    NotLast,
}

impl FramingFields {
    /// Takes a `Content-Length`. A repeated equal one, or a list of equal ones, counts once (RFC 9110 §8.6).
    ///
    /// Returns whether the value is written as we would write it, so that it can be sent on as it stands.
    pub fn content_length(&mut self, value: &[u8]) -> Result<bool, Refusal> {
        let fault = || {
            Refusal::new(RefusedReason::Malformed, "Content-Length is not one whole number (RFC 9110 §8.6).").blame(
                "Content-Length",
                value,
                "decimal digits, once",
            )
        };
        for item in value.split(|byte| *byte == b',') {
            let digits = item.trim_ascii();
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return Err(fault());
            }
            // A length that overflows is well formed, and larger than any MAX_BODY.
            let length =
                digits.iter().fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
            if self.length.replace(length).is_some_and(|before| before != length) {
                return Err(fault());
            }
        }
        let plain = value.iter().all(u8::is_ascii_digit) && (value.len() == 1 || value.first() != Some(&b'0'));
        Ok(plain && self.length != Some(u64::MAX))
    }

    /// Takes a `Transfer-Encoding`. Empty list elements are refused: no sender needs them (RFC 9110 §5.6.1.1 forbids
    /// sending them), and recipients differ over them.
    pub fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for item in value.split(|byte| *byte == b',') {
            let coding = item.trim_ascii();
            if coding.is_empty() {
                let refusal = Refusal::new(RefusedReason::Malformed, "Transfer-Encoding has an empty element.");
                return Err(refusal.blame("Transfer-Encoding", value, "chunked"));
            }
            let chunked = coding.eq_ignore_ascii_case(b"chunked");
            self.coding = match (self.coding, chunked) {
                (Coding::None, true) => Coding::Chunked,
                (Coding::None | Coding::Unknown, false) => Coding::Unknown,
                (Coding::Unknown, true) => Coding::UnknownChunked,
                (Coding::Chunked | Coding::UnknownChunked | Coding::NotLast, _) => Coding::NotLast,
            };
        }
        Ok(())
    }

    /// The verdict on all of them together. `minor` is the minor version of HTTP/1.
    pub fn decide(self, minor: u8) -> Result<Framing, Refusal> {
        let refuse = |reason, detail: &'static str| Err(Refusal::new(reason, detail));
        match (self.coding, self.length) {
            (Coding::None, None) => Ok(Framing::Empty),
            (Coding::None, Some(length)) => Ok(Framing::Length(to_usize(length))),
            // RFC 9112 §6.1: "ought to be handled as an error", a smuggling attempt more likely than not.
            (_, Some(_)) => {
                refuse(RefusedReason::Malformed, "Both Content-Length and Transfer-Encoding (RFC 9112 §6.1).")
            }
            (_, None) if minor == 0 => {
                refuse(RefusedReason::Malformed, "Transfer-Encoding in an HTTP/1.0 request (RFC 9112 §6.1).")
            }
            // RFC 9112 §6.3 item 4: must be 400, which therefore goes before the 501 of §6.1.
            (Coding::Unknown | Coding::NotLast, None) => refuse(
                RefusedReason::Malformed,
                "Transfer-Encoding does not end in chunked, or has it twice (RFC 9112 §6.1, §6.3).",
            ),
            (Coding::UnknownChunked, None) => {
                refuse(RefusedReason::Unsupported, "No transfer coding but chunked is understood.")
            }
            (Coding::Chunked, None) => Ok(Framing::Chunked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fields in their order, and the verdict.
    type Case<'a> = (&'a [(&'a str, &'a str)], Result<Framing, u16>);

    fn decide(minor: u8, fields: &[(&str, &str)]) -> Result<Framing, u16> {
        let mut framing = FramingFields::default();
        for (name, value) in fields {
            let taken = match *name {
                "CL" => framing.content_length(value.as_bytes()).map(|_| ()),
                _ => framing.transfer_encoding(value.as_bytes()),
            };
            taken.map_err(|refusal| refusal.status())?;
        }
        framing.decide(minor).map_err(|refusal| refusal.status())
    }

    #[test]
    fn the_end_of_the_body_is_certain_or_the_request_is_refused() {
        let cases: &[Case<'_>] = &[
            (&[], Ok(Framing::Empty)),
            (&[("CL", "0")], Ok(Framing::Length(0))),
            (&[("CL", "42")], Ok(Framing::Length(42))),
            (&[("CL", "42"), ("CL", "42")], Ok(Framing::Length(42))),
            (&[("CL", "42, 42")], Ok(Framing::Length(42))),
            (&[("CL", "042")], Ok(Framing::Length(42))),
            (&[("CL", "99999999999999999999")], Ok(Framing::Length(usize::MAX))),
            (&[("CL", "42"), ("CL", "43")], Err(400)),
            (&[("CL", "42, 43")], Err(400)),
            (&[("CL", "42,")], Err(400)),
            (&[("CL", "")], Err(400)),
            (&[("CL", "+42")], Err(400)),
            (&[("CL", "-1")], Err(400)),
            (&[("CL", "4 2")], Err(400)),
            (&[("CL", "0x10")], Err(400)),
            (&[("CL", "4.2")], Err(400)),
            (&[("TE", "chunked")], Ok(Framing::Chunked)),
            (&[("TE", "Chunked")], Ok(Framing::Chunked)),
            (&[("TE", "chunked"), ("CL", "42")], Err(400)),
            (&[("CL", "0"), ("TE", "chunked")], Err(400)),
            (&[("CL", "42"), ("TE", "identity")], Err(400)),
            (&[("TE", "identity")], Err(400)),
            (&[("TE", "gzip")], Err(400)),
            (&[("TE", "xchunked")], Err(400)),
            (&[("TE", "chunked;a=b")], Err(400)),
            (&[("TE", "\"chunked\"")], Err(400)),
            (&[("TE", "chunked, gzip")], Err(400)),
            (&[("TE", "chunked, chunked")], Err(400)),
            (&[("TE", "chunked"), ("TE", "chunked")], Err(400)),
            (&[("TE", "gzip, chunked, chunked")], Err(400)),
            (&[("TE", ", chunked")], Err(400)),
            (&[("TE", "")], Err(400)),
            (&[("TE", "gzip, chunked")], Err(501)),
            (&[("TE", "gzip"), ("TE", "chunked")], Err(501)),
        ];
        for (fields, expected) in cases {
            assert_eq!(decide(1, fields), *expected, "{fields:?}");
        }
        assert_eq!(decide(0, &[("TE", "chunked")]), Err(400));
        assert_eq!(decide(0, &[("CL", "3")]), Ok(Framing::Length(3)));
    }

    #[test]
    fn only_a_length_written_as_we_would_write_it_is_sent_on_as_it_stands() {
        for (value, plain) in [("0", true), ("10", true), ("010", false), ("00", false), ("5, 5", false)] {
            assert_eq!(FramingFields::default().content_length(value.as_bytes()), Ok(plain), "{value}");
        }
    }
}
