//! The head a message is sent with, made from the one it came with. Fields keep their bytes, order, case and
//! repetition: what is not changed is copied in runs of whole lines.

use httparse::Header;

use super::framing::Framing;
use super::target::Target;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Sent on, unless `Connection` names it.
    Keep,
    /// Sent on.
    KeepAlways,
    /// Replaced by the origin's authority, in place.
    Host,
    /// Replaced by the length as we write it, in place.
    Length,
    /// Not sent on.
    Drop,
}

/// A head that was parsed.
#[derive(Clone, Copy)]
pub struct Message<'b> {
    /// The head it was parsed from: the fields point into it.
    pub bytes: &'b [u8],
    /// The method.
    pub method: &'b str,
    /// The target as it is sent on.
    pub target: &'b Target<'b>,
    /// The fields in their order.
    pub fields: &'b [Header<'b>],
    /// What becomes of each; at least as many as there are fields.
    pub fates: &'b [Fate],
    /// Where the body ends.
    pub framing: Framing,
}

/// Writes the outbound head into `out`, whose content is replaced: request line and fields, without the empty line.
/// `authority` is the origin's.
pub fn write(message: &Message<'_>, authority: &str, out: &mut Vec<u8>) {
    let Message { bytes, method, target, fields, fates, framing } = *message;
    out.clear();
    out.reserve(bytes.len() + authority.len() + SPARE_BYTES);
    for part in [method, " ", target.prefix, target.rest, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    if !fates[..fields.len()].contains(&Fate::Host) {
        // HTTP/1.0 need not have one; RFC 9110 §7.2 wants it first.
        push_field(out, "Host", authority.as_bytes());
    }
    // The lines [run, line) are to be copied and have not been.
    let line_of = |index: usize| fields.get(index).map_or(bytes.len() - CRLF.len(), |field| offset(bytes, field.name));
    let mut run = line_of(0);
    for (index, (field, fate)) in fields.iter().zip(fates).enumerate() {
        if matches!(fate, Fate::Keep | Fate::KeepAlways) {
            continue;
        }
        out.extend_from_slice(&bytes[run..line_of(index)]);
        run = line_of(index + 1);
        match (fate, framing) {
            (Fate::Host, _) => push_field(out, field.name, authority.as_bytes()),
            (Fate::Length, Framing::Length(body_bytes)) => push_length(out, field.name, body_bytes),
            _ => {}
        }
    }
    out.extend_from_slice(&bytes[run..bytes.len() - CRLF.len()]);
}

/// Room for a `Host` or a `Content-Length` that is added or grows, in bytes.
const SPARE_BYTES: usize = 64;

const CRLF: &[u8] = b"\r\n";

/// Appends the length of a chunked body that has been read, in bytes.
pub fn push_content_length(out: &mut Vec<u8>, body_bytes: usize) {
    push_length(out, "Content-Length", body_bytes);
}

fn push_length(out: &mut Vec<u8>, name: &str, body_bytes: usize) {
    push_field(out, name, body_bytes.to_string().as_bytes());
}

fn push_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    for part in [name.as_bytes(), b": ", value, CRLF] {
        out.extend_from_slice(part);
    }
}

/// Where in `bytes` the part of it that is `name` begins.
fn offset(bytes: &[u8], name: &str) -> usize {
    let offset = name.as_ptr().addr() - bytes.as_ptr().addr();
    debug_assert_eq!(&bytes[offset..offset + name.len()], name.as_bytes());
    offset
}
