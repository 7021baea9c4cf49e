//! Rows: methods.

use super::{Row, carried, line, refused, sent};

pub fn rows() -> Vec<Row> {
    vec![
        carried("RFC 9110 §9.3.2", "HEAD", "HEAD /h HTTP/1.1", "HEAD /h HTTP/1.1"),
        carried("RFC 9110 §9.3.4", "PUT", "PUT /p HTTP/1.1", "PUT /p HTTP/1.1"),
        carried("RFC 9110 §9.3.8", "TRACE", "TRACE /t HTTP/1.1", "TRACE /t HTTP/1.1"),
        carried("RFC 5789 §2", "PATCH", "PATCH /p HTTP/1.1", "PATCH /p HTTP/1.1"),
        carried("RFC 9110 §9.1", "QUERY", "QUERY /q?a HTTP/1.1", "QUERY /q?a HTTP/1.1"),
        carried("RFC 9110 §9.1", "a method in lower case is another method", "get / HTTP/1.1", "get / HTTP/1.1"),
        carried("RFC 9110 §9.1", "connect in lower case is not CONNECT", "connect /a HTTP/1.1", "connect /a HTTP/1.1"),
        carried(
            "RFC 9110 §9.1",
            "every byte of a token",
            "m-!#$%&'*+.^_`|~9 / HTTP/1.1",
            "m-!#$%&'*+.^_`|~9 / HTTP/1.1",
        ),
        carried("RFC 9110 §9.1", "PRI as a method of HTTP/1.1", "PRI / HTTP/1.1", "PRI / HTTP/1.1"),
        sent(
            "RFC 9110 §9.3.5",
            "DELETE with a body",
            "DELETE /d HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nContent-Length: 1\r\n\r\nx",
            "DELETE /d HTTP/1.1\r\nHost: {o}\r\nContent-Length: 1\r\n",
            "x",
        ),
        sent(
            "RFC 9110 §9.3.1",
            "GET with a body",
            "GET /g HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nContent-Length: 4\r\n\r\nGET ",
            "GET /g HTTP/1.1\r\nHost: {o}\r\nContent-Length: 4\r\n",
            "GET ",
        ),
        sent(
            "RFC 9110 §9.3.2",
            "HEAD with chunks",
            "HEAD /g HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "HEAD /g HTTP/1.1\r\nHost: {o}\r\nContent-Length: 1\r\n",
            "x",
        ),
        sent(
            "RFC 9110 §9.1",
            "a method nobody knows, with a binary body",
            b"BREW / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nContent-Length: 6\r\n\r\n\0\r\n\x7f\xff\n",
            "BREW / HTTP/1.1\r\nHost: {o}\r\nContent-Length: 6\r\n",
            b"\0\r\n\x7f\xff\n",
        ),
        refused(501, "RFC 9110 §9.3.6", "CONNECT", line("CONNECT b:443 HTTP/1.1")),
        refused(501, "RFC 9110 §9.3.6", "CONNECT of a path", line("CONNECT /p HTTP/1.1")),
        refused(
            501,
            "RFC 9110 §9.3.6",
            "CONNECT with a body",
            "CONNECT b:443 HTTP/1.1\r\nHost: b\r\nX-Dispatcher-Origin-Host: {o}\r\nContent-Length: 2\r\n\r\nhi",
        ),
        refused(400, "RFC 9110 §9.1", "a method with a separator", line("PO(ST /p HTTP/1.1")),
        refused(400, "RFC 9110 §9.1", "a method in quotes", line("\"POST\" /p HTTP/1.1")),
        refused(400, "RFC 9110 §9.1", "a method with a colon", line("POST: /p HTTP/1.1")),
        refused(400, "RFC 9110 §9.1", "a method with a byte that is not ASCII", line(b"P\xd6ST /p HTTP/1.1")),
        carried("SPEC §2.1", "a method of 64 bytes", LONGEST, LONGEST),
        refused(501, "RFC 9112 §3", "a method of 65 bytes", line(format!("X{LONGEST}"))),
        refused(501, "RFC 9112 §3", "a method without end", [b'A'; 65]),
    ]
}

const LONGEST: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGHIJKL / HTTP/1.1";
