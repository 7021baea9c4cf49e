//! Rows: trailers.

use super::{POST, Row, chunked, decoded, post, refused, sent};

pub fn rows() -> Vec<Row> {
    let dropped = |rule, name, trailers: &str| decoded(rule, name, format!("2\r\nhi\r\n0\r\n{trailers}\r\n"), "hi");
    let bad = |rule, name, trailers: &[u8]| {
        refused(400, rule, name, chunked([b"2\r\nhi\r\n0\r\n", trailers, b"\r\n"].concat()))
    };
    vec![
        dropped("RFC 9112 §7.1.2", "a trailer is dropped", "T: x\r\n"),
        dropped("RFC 9112 §7.1.2", "trailers, one of them empty", "A: x\r\nB:\r\nC:\ty \r\n"),
        dropped(
            "RFC 9110 §6.5.1",
            "a trailer that would frame another body",
            "Content-Length: 99\r\nTransfer-Encoding: x\r\n",
        ),
        dropped("RFC 9110 §6.5.1", "a trailer that would be a second Host", "Host: b\r\n"),
        dropped("SPEC §2", "a trailer that would be a control field", "X-Dispatcher-Timeout: 0\r\n"),
        dropped("RFC 9110 §6.5.1", "a trailer that would end the connection", "Connection: close\r\n"),
        sent(
            "RFC 9110 §6.6.2",
            "the field that announces trailers goes with them",
            [&post("Trailer: T\r\nTransfer-Encoding: chunked\r\n")[..], b"0\r\nT: x\r\n\r\n"].concat(),
            format!("{POST}Content-Length: 0\r\n"),
            "",
        ),
        bad("RFC 9112 §2.2", "a bare LF behind a trailer", b"T: x\n"),
        bad("RFC 9112 §2.2", "a bare CR within a trailer", b"T: x\ry\r\n"),
        bad("RFC 9112 §2.2", "a bare LF as the empty line behind trailers", b"T: x\r\n\n"),
        bad("RFC 9110 §5.5", "NUL in a trailer", b"T: \0\r\n"),
        bad("RFC 9110 §5.5", "DEL in a trailer", b"T: \x7f\r\n"),
        bad("RFC 9112 §7.1.2", "a trailer without a colon", b"trailer\r\n"),
        bad("RFC 9112 §7.1.2", "a trailer without a name", b": x\r\n"),
        bad("RFC 9112 §5.1", "a trailer with a space before its colon", b"T : x\r\n"),
        bad("RFC 9112 §5.2", "a folded trailer", b"T: x\r\n folded\r\n"),
        bad("RFC 9112 §7.1.2", "a trailer that begins with a space", b" T: x\r\n"),
        bad("RFC 9110 §5.1", "a trailer whose name is no token", b"T(: x\r\n"),
        bad("RFC 9112 §11.2", "a request where the trailers are", b"GET /http:// HTTP/1.1\r\nHost: a\r\n"),
        refused(400, "RFC 9112 §7.1.2", "the next request instead of the empty line", chunked("2\r\nhi\r\n0\r\n")),
        refused(400, "RFC 9112 §7.1.2", "a second last chunk", chunked("0\r\n0\r\n\r\n")),
        refused(400, "RFC 9112 §7.1.2", "trailers without end", chunked(format!("0\r\n{}", "T: x\r\n".repeat(5000)))),
    ]
}
