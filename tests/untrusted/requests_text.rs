//! Requests and chunked bodies that are right or nearly so, as choices decide, and then a few bytes of them changed.

use super::choices::Choices;

const METHODS: &[&str] = &["POST", "GET", "HEAD", "OPTIONS", "PUT", "get", "CONNECT", "X-y!z", "G=T", ""];
const TARGETS: &[&str] = &[
    "/",
    "/a?b=c",
    "/metrics",
    "/-/ready",
    "/-/healthy?x",
    "*",
    "http://a",
    "https://a:1/b",
    "http://a?c",
    "http://u@a/",
    "//a",
    "/ü",
    "/a#b",
    "a",
    "/a\tb",
    "http:///x",
    "ftp://a/",
    "/'$(x)'",
    "http://a/metrics",
    "",
];
const VERSIONS: &[&str] =
    &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1", ""];
const NAMES: &[&str] = &[
    "Host",
    "X-Dispatcher-Origin-Host",
    "Content-Length",
    "Transfer-Encoding",
    "Connection",
    "Expect",
    "Upgrade",
    "TE",
    "Trailer",
    "Keep-Alive",
    "Proxy-Connection",
    "Proxy-Authorization",
    "Proxy-Authenticate",
    "Accept",
    "A",
    "b",
    "Cookie",
    "X-Dispatcher-Timeout",
    "X-Dispatcher-Original-Host",
    "X-Dispatcher-Attempt",
    "X-Dispatcher-Timeot",
    "X-Dispatcher-",
    "X-Hop",
    "hOST",
    "content-length",
    "transfer-encoding",
    "connection",
    "Host ",
    "",
    "A B",
    "\tA",
    "x-dispatcher-timeout",
    "X-Dispatcher-Authorization",
    "Authorization",
];
const VALUES: &[&str] = &[
    "a",
    "b",
    "b:81",
    "http://b",
    "https://b",
    "HTTP://B:8080",
    "[::1]:9",
    "u@b",
    "b/x",
    "localhost:8080",
    "169.254.1.1",
    "0xa9fea9fe",
    "0",
    "3",
    "5",
    "05",
    "+3",
    "3, 3",
    "3, 4",
    "3,",
    "5000",
    "4096",
    "4097",
    "18446744073709551616",
    "0x3",
    "chunked",
    "Chunked",
    "gzip",
    "gzip, chunked",
    "chunked, chunked",
    ",chunked",
    "identity",
    "chunked;a=b",
    "close",
    "keep-alive",
    "upgrade",
    "x-hop, a, te",
    "host, content-length",
    "close, keep-alive",
    ",, ,close",
    "100-continue",
    "100-Continue",
    "a, 100-continue",
    "Bearer 0123456789abcdef",
    "bearer  0123456789abcdef",
    "Bearer 0123456789abcdeg",
    "[::1]:80",
    "a:b",
    "%41%",
    "200-ok",
    "1",
    "500ms",
    "10s",
    "31m",
    "0s",
    "websocket",
    "application/openmetrics-text",
    "",
    " ",
    "a\tb",
    "ü",
    "\u{1}",
    "a\rb",
    "a\nb",
    "a\0",
];
const BYTES: &[u8] = b"\r\n :;,\t\0\x7f\x80\xff019afAx/#?@[]-";

/// A few requests, one behind the other.
pub fn pipeline(choices: &mut Choices<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..=choices.below(4) {
        request(choices, &mut out);
    }
    out
}

/// Appends a request: head and body, which may not be what the head says.
pub fn request(choices: &mut Choices<'_>, out: &mut Vec<u8>) {
    if choices.one_in(16) {
        out.extend_from_slice(b"\r\n");
    }
    // The first of all are right, so that choices that have run out give a message.
    let line = [*choices.one_of(METHODS), *choices.one_of(TARGETS), *choices.one_of(VERSIONS)].join(" ");
    out.extend_from_slice(line.as_bytes());
    line_end(choices, out);
    let without = choices.below(32);
    if without != 30 {
        field(out, "Host", "a");
    }
    if without != 31 {
        field(out, "X-Dispatcher-Origin-Host", "b");
    }
    for _ in 0..choices.below(6) {
        some_field(choices, out);
    }
    let many = choices.below(64);
    if many >= 62 {
        // To the bounds of fields, options and heads.
        for _ in 0..choices.below(300) {
            field(out, if many == 63 { "Connection" } else { "A" }, "c");
        }
    }
    match choices.below(8) {
        0 => end(choices, out, b""),
        1 | 2 => {
            let body = run(choices);
            field(out, "Content-Length", &body.len().to_string());
            end(choices, out, &body);
        }
        3 | 4 => {
            field(out, "Transfer-Encoding", "chunked");
            let body = chunks(choices).0;
            end(choices, out, &body);
        }
        5 => {
            field(out, "Expect", "100-continue");
            let body = run(choices);
            field(out, "Content-Length", &body.len().to_string());
            end(choices, out, &body);
        }
        6 => {
            let body = run(choices);
            end(choices, out, &body);
        }
        _ => {
            let body = chunks(choices).0;
            end(choices, out, &body);
        }
    }
}

fn some_field(choices: &mut Choices<'_>, out: &mut Vec<u8>) {
    let name = *choices.one_of(NAMES);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(choices.one_of(&[": ", ": ", ":", ":  ", " :", ":\t", ""]).as_bytes());
    if choices.one_in(4) {
        out.extend(run(choices));
    } else {
        out.extend_from_slice(choices.one_of(VALUES).as_bytes());
    }
    out.extend_from_slice(choices.one_of(&["", "", "", " ", "\t"]).as_bytes());
    line_end(choices, out);
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
}

fn end(choices: &mut Choices<'_>, out: &mut Vec<u8>, body: &[u8]) {
    line_end(choices, out);
    out.extend_from_slice(body);
}

fn line_end(choices: &mut Choices<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(match choices.below(64) {
        60 => b"\n",
        61 => b"\r",
        62 => b"\r\n ",
        63 => b"",
        _ => b"\r\n",
    });
}

/// Bytes of the input itself, or a run of one byte: short ones, and now and then one that reaches the bounds.
fn run(choices: &mut Choices<'_>) -> Vec<u8> {
    match choices.below(16) {
        0..=9 => (0..choices.below(12)).map(|_| byte(choices)).collect(),
        10..=13 => vec![byte(choices); choices.below(200)],
        14 => vec![byte(choices); choices.below(9000)],
        _ => vec![byte(choices); choices.below(70_000)],
    }
}

fn byte(choices: &mut Choices<'_>) -> u8 {
    u8::try_from(choices.below(256)).expect("below 256")
}

/// A chunked body as it may be written, and the body.
pub fn chunks(choices: &mut Choices<'_>) -> (Vec<u8>, Vec<u8>) {
    let (mut written, mut body) = (Vec::new(), Vec::new());
    for _ in 0..choices.below(6) {
        let data = run(choices);
        // None is the last one.
        if !data.is_empty() {
            chunk_line(choices, &mut written, data.len());
            written.extend_from_slice(&data);
            written.extend_from_slice(b"\r\n");
            body.extend(data);
        }
    }
    chunk_line(choices, &mut written, 0);
    for _ in 0..choices.below(4).saturating_sub(1) {
        written.extend_from_slice(b"T:");
        printable(choices, &mut written);
        written.extend_from_slice(b"\r\n");
    }
    written.extend_from_slice(b"\r\n");
    (written, body)
}

fn chunk_line(choices: &mut Choices<'_>, written: &mut Vec<u8>, size: usize) {
    let zeros = choices.below(16).saturating_sub(8);
    written.extend(vec![b'0'; zeros]);
    let digits = if choices.one_in(2) { format!("{size:X}") } else { format!("{size:x}") };
    written.extend_from_slice(digits.as_bytes());
    if choices.one_in(4) {
        written.extend_from_slice(b";");
        printable(choices, written);
    }
    written.extend_from_slice(b"\r\n");
}

/// What may stand in an extension or a trailer, within the bounds.
fn printable(choices: &mut Choices<'_>, written: &mut Vec<u8>) {
    let kept = run(choices).into_iter().take(2000).map(|byte| if byte < b' ' || byte == 0x7f { b'\t' } else { byte });
    written.extend(kept);
}

/// With a few changes: bytes replaced, put in, taken out, doubled, and the end cut off.
pub fn mutated(mut bytes: Vec<u8>, choices: &mut Choices<'_>) -> Vec<u8> {
    for _ in 0..choices.below(4) {
        let at = choices.below(0x1_0000) % (bytes.len() + 1);
        match choices.below(6) {
            0 if at < bytes.len() => bytes[at] = *choices.one_of(BYTES),
            1 => bytes.insert(at, *choices.one_of(BYTES)),
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => {
                let end = (at + choices.below(64)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            4 => bytes.truncate(at),
            _ => drop(bytes.splice(at..at, run(choices))),
        }
    }
    bytes
}
