//! Rows: what is long, at its bound and past it.

use super::{POST, Row, carried, decoded, line, passed, post, refused, sent};

/// The default of MAX_HEAD.
const HEAD_BYTES_MAX: usize = 64 << 10;

pub fn rows() -> Vec<Row> {
    let path = format!("/{}", "x".repeat(8191));
    let target = |target: &str| format!("GET {target} HTTP/1.1");
    let longest = |path: &str| format!("{} {path} HTTP/1.1", "M".repeat(64));
    vec![
        carried("RFC 9110 §4.1", "a target of 8 KiB", target(&path), target(&path)),
        refused(414, "RFC 9112 §3", "a target of 8 KiB and a byte", line(target(&format!("{path}x")))),
        refused(414, "RFC 9112 §3", "a target without end", format!("GET /{}", "x".repeat(20_000))),
        carried(
            "RFC 9110 §4.1",
            "a URL of 8 KiB",
            target(&format!("http://a{}", &path[..8184])),
            target(&path[..8184]),
        ),
        refused(414, "RFC 9112 §3", "a URL of 8 KiB and a byte", line(target(&format!("http://a{}", &path[..8185])))),
        carried("SPEC §6", "the longest method and the longest target", longest(&path), longest(&path)),
        passed("SPEC §6", "a head of MAX_HEAD", "X: {fill}\r\n", "X: {fill}\r\n").filled_to(HEAD_BYTES_MAX),
        refused(431, "RFC 6585 §5", "a head of MAX_HEAD and a byte", post("X: {fill}\r\n"))
            .filled_to(HEAD_BYTES_MAX + 1),
        refused(431, "RFC 6585 §5", "a value without end", post(format!("X: {}\r\n", "x".repeat(70_000)))),
        refused(431, "RFC 6585 §5", "a name without end", post(format!("{}: x\r\n", "x".repeat(70_000)))),
        sent(
            "SPEC §6",
            "the empty line before a request does not count",
            [b"\r\n", &post("X: {fill}\r\n")[..]].concat(),
            format!("{POST}X: {{fill}}\r\n"),
            "",
        )
        .filled_to(HEAD_BYTES_MAX),
        decoded(
            "SPEC §6",
            "a chunk line of 4 KiB",
            format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat((4 << 10) - 2)),
            "hello",
        ),
        refused(
            400,
            "CVE-2023-39326",
            "a chunk line of 4 KiB and a byte",
            super::chunked(format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat((4 << 10) - 1))),
        ),
        decoded("SPEC §6", "trailers of 16 KiB", format!("0\r\n{}\r\n", trailers(16 << 10)), ""),
        refused(
            400,
            "SPEC §6",
            "trailers of 16 KiB and a byte",
            super::chunked(format!("0\r\n{}\r\n", trailers((16 << 10) + 1))),
        ),
        passed("SPEC §6", "a Connection of 32 options", format!("Connection: a{}\r\n", ", b".repeat(31)), ""),
        refused(
            431,
            "RFC 6585 §5",
            "a Connection of 33 options",
            post(format!("Connection: a{}\r\n", ", b".repeat(32))),
        ),
        refused(431, "RFC 6585 §5", "33 options in as many fields", post("Connection: b\r\n".repeat(33))),
    ]
}

/// Trailers of so many bytes, line ends not counted.
fn trailers(bytes: usize) -> String {
    let (lines, rest) = (bytes / 1024 - 1, bytes % 1024 + 1024);
    let line = |bytes: usize| format!("T:{}\r\n", "x".repeat(bytes - 2));
    line(1024).repeat(lines) + &line(rest)
}
