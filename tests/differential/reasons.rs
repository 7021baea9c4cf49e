//! Why the two differ: the closed list. Most often we refuse what hyper takes: what a second reader could read otherwise
//! is not sent on to one.

use crate::{Case, Seen};

/// One reason.
pub struct Reason {
    /// What it is.
    pub name: &'static str,
    /// What decides between the two.
    pub rule: &'static str,
    /// Bytes on which they differ for this reason.
    pub example: &'static [u8],
    /// Who takes less, and what it says then.
    verdict: Verdict,
    /// What the bytes must be like.
    when: fn(&[u8]) -> bool,
}

/// How the two differ.
enum Verdict {
    /// We refuse or close, and say what begins so.
    WeRefuse(&'static str),
    /// Hyper refuses, and says what begins so.
    HyperRefuses(&'static str),
    /// Both take it, and understand it in two ways.
    BothTake,
}

impl Reason {
    /// Whether it explains why these two differ.
    pub fn explains(&self, case: &Case) -> bool {
        let (ours, theirs) = (&case.ours, &case.theirs);
        let differ = match self.verdict {
            Verdict::WeRefuse(detail) => begins(theirs, ours) && case.our_detail.starts_with(detail),
            Verdict::HyperRefuses(error) => begins(ours, theirs) && case.their_error.starts_with(error),
            Verdict::BothTake => ours.len() == theirs.len(),
        };
        differ && (self.when)(&case.bytes)
    }
}

/// We refuse, and that alone explains it.
const fn we_refuse(name: &'static str, rule: &'static str, detail: &'static str, example: &'static [u8]) -> Reason {
    Reason { name, rule, example, verdict: Verdict::WeRefuse(detail), when: |_| true }
}

impl Reason {
    const fn when(self, when: fn(&[u8]) -> bool) -> Self {
        Self { when, ..self }
    }
}

const ORIGIN_FORM: &str = "The request target is neither a path nor an absolute http URI";

pub const REASONS: &[Reason] = &[
    we_refuse(
        "a bare LF ends a line for httparse (hyper#4145)",
        "RFC 9112 §2.2",
        "A line of the head ends in LF without CR",
        b"GET / HTTP/1.1\r\nHost: a\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    )
    .when(|bytes| has(bytes, |pair| pair[1] == b'\n' && pair[0] != b'\r')),
    we_refuse(
        "hyper skips any number of line ends before a request, bare LF among them; we one CRLF",
        "RFC 9112 §2.2",
        "The first line is not a request line",
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    )
    .when(has_line_ends_around),
    we_refuse(
        "hyper needs no Host",
        "RFC 9112 §3.2",
        "No Host, which HTTP/1.1 requires",
        b"GET / HTTP/1.1\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    ),
    we_refuse(
        "hyper takes several Host",
        "RFC 9112 §3.2",
        "More than one Host",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    ),
    we_refuse(
        "hyper takes anything for a Host",
        "RFC 9112 §3.2",
        "This is not a host",
        b"GET / HTTP/1.1\r\nHost: a/b\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    ),
    we_refuse(
        "hyper cuts a fragment off",
        "RFC 9112 §3.2",
        "The request target has a fragment",
        b"GET /a#b HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    )
    .when(|bytes| target(bytes).contains(&b'#')),
    we_refuse(
        "hyper takes an authority for any method",
        "RFC 9112 §3.2.3",
        ORIGIN_FORM,
        b"GET a:80 HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    )
    .when(|bytes| !target(bytes).starts_with(b"/") && !contains(target(bytes), b"://") && target(bytes) != b"*"),
    we_refuse(
        "hyper takes * for any method",
        "RFC 9112 §3.2.4",
        ORIGIN_FORM,
        b"GET * HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    )
    .when(|bytes| target(bytes) == b"*" && !bytes.starts_with(b"OPTIONS ")),
    we_refuse(
        "hyper takes a URL of any scheme",
        "RFC 9112 §3.2.2",
        ORIGIN_FORM,
        b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    )
    .when(|bytes| {
        let target = target(bytes).to_ascii_lowercase();
        contains(&target, b"://") && !target.starts_with(b"http://") && !target.starts_with(b"https://")
    }),
    we_refuse(
        "hyper takes a URL with user information",
        "RFC 9110 §4.2.4",
        ORIGIN_FORM,
        b"GET http://u@a/ HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    )
    .when(|bytes| contains(target(bytes), b"://") && target(bytes).contains(&b'@')),
    we_refuse(
        "hyper takes a URL whose authority is no host with a port",
        "RFC 3986 §3.2",
        ORIGIN_FORM,
        b"GET http://a:b/ HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    )
    .when(|bytes| !is_authority(authority(bytes))),
    we_refuse(
        "hyper takes CONNECT",
        "SPEC §2",
        "CONNECT opens tunnels",
        b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    ),
    we_refuse(
        "hyper leaves an Upgrade to its service",
        "SPEC §2",
        "Upgrade is not offered",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
    ),
    we_refuse(
        "hyper drops a length beside a coding, and closes",
        "RFC 9112 §6.1",
        "Both Content-Length and Transfer-Encoding",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n0\r\n\r\n",
    ),
    we_refuse(
        "hyper does not look at a length behind a coding",
        "RFC 9112 §6.1",
        "Content-Length is not one whole number",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n0\r\n\r\n",
    )
    .when(|bytes| contains(&bytes.to_ascii_lowercase(), b"\r\ntransfer-encoding:")),
    we_refuse(
        "hyper leaves other codings before chunked to its service",
        "RFC 9112 §6.1",
        "No transfer coding but chunked is understood",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n0\r\n\r\n",
    ),
    we_refuse(
        "hyper takes chunked twice",
        "RFC 9112 §6.1",
        "Transfer-Encoding does not end in chunked, or has it twice",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n0\r\n\r\n",
    )
    .when(|bytes| bytes.to_ascii_lowercase().windows(7).filter(|word| *word == b"chunked").count() > 1),
    we_refuse(
        "hyper takes empty elements in a list of codings",
        "RFC 9110 §5.6.1",
        "Transfer-Encoding has an empty element",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: , chunked\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n0\r\n\r\n",
    ),
    we_refuse(
        "hyper takes white space behind a chunk size, which nobody may send",
        "RFC 9112 §7.1.1",
        "A chunk size that is not in hexadecimal digits",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
    )
    .when(|bytes| has(body(bytes), |pair| pair[0].is_ascii_hexdigit() && matches!(pair[1], b' ' | b'\t'))),
    we_refuse(
        "hyper takes controls in chunk extensions",
        "RFC 9112 §7.1.1",
        "A control character in a chunk extension or trailer",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n5;\x01\r\nhello\r\n0\r\n\r\n",
    )
    .when(|bytes| has(body(bytes), |pair| pair[1].is_ascii_control() && !matches!(pair[1], b'\r' | b'\n' | b'\t'))),
    we_refuse(
        "hyper takes a bare LF in trailers",
        "RFC 9112 §2.2",
        "A control character in a chunk extension or trailer",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n0\r\nT: x\n\r\n",
    )
    .when(|bytes| has(body(bytes), |pair| pair[1] == b'\n' && pair[0] != b'\r')),
    we_refuse(
        "hyper takes what follows a bare LF, the next request too, for trailers, and drops it",
        "RFC 9112 §7.1.2",
        "A trailer that is no field",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n0\r\n\n",
    )
    .when(|bytes| has(body(bytes), |pair| pair[1] == b'\n' && pair[0] != b'\r' || pair == b"\n\n")),
    Reason {
        name: "hyper takes fewer characters in a target; we send on what clients do send",
        rule: "SPEC §1.4",
        example: b"GET /<a> HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
        verdict: Verdict::HyperRefuses("invalid URI"),
        when: |bytes| target(bytes).iter().any(|byte| b"^`|<>\"\\".contains(byte)),
    },
    Reason {
        name: "hyper takes no list of equal lengths",
        rule: "RFC 9110 §8.6",
        example: b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\nhello",
        verdict: Verdict::HyperRefuses("invalid content-length parsed"),
        when: |bytes| lines(bytes).any(|line| line.starts_with(b"content-length:") && line.contains(&b',')),
    },
    Reason {
        name: "hyper finds no close in a Connection with a byte that is not ASCII, and reads on",
        rule: "RFC 9112 §9.6",
        example: b"GET / HTTP/1.1\r\nHost: a\r\nConnection: \xe9, close\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
        verdict: Verdict::WeRefuse(""),
        when: |bytes| lines(bytes).any(|line| line.starts_with(b"connection:") && contains(&line, b"close") && !line.is_ascii()),
    },
    Reason {
        name: "OPTIONS of a URL without a path is sent on as *",
        rule: "RFC 9112 §3.2.4",
        example: b"OPTIONS http://a HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b.example\r\n\r\n",
        verdict: Verdict::BothTake,
        when: |bytes| bytes.trim_ascii_start().starts_with(b"OPTIONS http"),
    },
];

/// Whether these begin with those, but for the one target that the two write differently.
fn begins(these: &[Seen], those: &[Seen]) -> bool {
    let target =
        |seen: &Seen| if seen.method == "OPTIONS" && seen.target == "*" { "/".to_owned() } else { seen.target.clone() };
    let same = |(one, other): (&Seen, &Seen)| {
        one.method == other.method
            && target(one) == target(other)
            && one.fields == other.fields
            && one.body == other.body
    };
    these.len() >= those.len() && these.iter().zip(those).all(same)
}

/// Whether two neighbours among the bytes are such.
fn has(bytes: &[u8], such: fn(&[u8]) -> bool) -> bool {
    bytes.windows(2).any(such)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The target, as far as there is one.
fn target(bytes: &[u8]) -> &[u8] {
    bytes.trim_ascii_start().split(|byte| byte.is_ascii_whitespace()).nth(1).unwrap_or_default()
}

/// Lines, in lower case.
fn lines(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_ascii_lowercase)
}

/// The authority of a URL, as far as there is one.
fn authority(bytes: &[u8]) -> &str {
    let text = std::str::from_utf8(target(bytes)).unwrap_or_default();
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    rest.split(['/', '?']).next().unwrap_or_default()
}

/// Whether this is a host and perhaps a port: read in another way than the daemon does.
fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(']') {
        Some((host, port)) if port.is_empty() || port.starts_with(':') => (host, port.trim_start_matches(':')),
        Some(_) => return false,
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let is_host = match host.strip_prefix('[') {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.'),
    };
    is_host && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// What is behind the head.
fn body(bytes: &[u8]) -> &[u8] {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(bytes.len());
    &bytes[end..]
}

/// Whether line ends stand before a request, other than one CRLF: before this one, or behind it before the next.
fn has_line_ends_around(bytes: &[u8]) -> bool {
    let line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
    let before = bytes.iter().take_while(line_end).count();
    bytes.starts_with(b"\n")
        || before > 2
        || body(bytes).iter().take_while(line_end).count() > 4
        || bytes.ends_with(b"\n")
}
