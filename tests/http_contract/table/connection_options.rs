//! Rows: Connection, what it names, and the other fields that end here.

use super::{POST, Row, line, passed, post, refused, sent};

pub fn rows() -> Vec<Row> {
    let gone = |rule, name, fields: &str| passed(rule, name, fields, "");
    vec![
        gone(
            "RFC 9110 §7.6.1",
            "fields that Connection names, in any case",
            "Connection: x-hop,X-Other\r\nX-Hop: 1\r\nx-other: 2\r\nX-HOP: 3\r\n",
        ),
        gone(
            "RFC 9110 §7.6.1",
            "a field that stands before the Connection that names it",
            "X-Hop: 1\r\nConnection: X-Hop\r\n",
        ),
        gone(
            "RFC 9110 §7.6.1",
            "fields that two Connection name",
            "Connection: a\r\nConnection: b\r\nA: 1\r\nB: 2\r\n",
        ),
        gone("RFC 9110 §5.6.1", "empty options", "Connection: , ,\ta ,\r\nA: 1\r\n"),
        gone("RFC 9110 §7.6.1", "an empty Connection", "Connection:\r\n"),
        gone("RFC 9110 §7.6.1", "an option that names no field", "Connection: nothing\r\n"),
        gone("RFC 9110 §7.6.1", "Connection that names itself", "Connection: connection\r\n"),
        passed(
            "RFC 9110 §7.6.1",
            "an option that is only the start of a name",
            "Connection: X\r\nX-Kept: 1\r\n",
            "X-Kept: 1\r\n",
        ),
        passed("RFC 9110 §7.6.1", "Connection cannot take away Host", "Connection: host\r\nX: y\r\n", "X: y\r\n"),
        sent(
            "RFC 9110 §7.6.1",
            "Connection cannot take away a length",
            [&post("Connection: content-length\r\nContent-Length: 2\r\n")[..], b"hi"].concat(),
            format!("{POST}Content-Length: 2\r\n"),
            "hi",
        ),
        sent(
            "RFC 9112 §11.2",
            "Connection cannot take away a coding",
            [&post("Connection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n")[..], b"0\r\n\r\n"].concat(),
            format!("{POST}Content-Length: 0\r\n"),
            "",
        ),
        gone(
            "SPEC §2",
            "Connection cannot take away a control field",
            "Connection: x-dispatcher-origin-host, x-dispatcher-timeout\r\nX-Dispatcher-Timeout: 5s\r\n",
        ),
        gone("RFC 9110 §7.6.1", "Keep-Alive", "Keep-Alive: timeout=5\r\n"),
        gone("RFC 9112 §C.2.2", "Proxy-Connection", "Proxy-Connection: close\r\n"),
        gone("RFC 9110 §10.1.4", "TE", "TE: trailers, deflate;q=0.5\r\nConnection: TE\r\n"),
        gone("RFC 9110 §6.6.2", "Trailer", "Trailer: X\r\n"),
        gone("RFC 9110 §11.7.2", "Proxy-Authorization", "Proxy-Authorization: Basic x\r\n"),
        gone("RFC 9110 §11.7.1", "Proxy-Authenticate", "Proxy-Authenticate: Basic\r\n"),
        gone("RFC 9110 §7.8", "Upgrade that no Connection names", "Upgrade: h2c\r\n"),
        gone("RFC 9110 §7.8", "a Connection that names an Upgrade which is not there", "Connection: upgrade\r\n"),
        gone(
            "RFC 9113 §3.1",
            "HTTP2-Settings that Connection names",
            "Connection: HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n",
        ),
        passed(
            "RFC 9110 §7.6.1",
            "fields with names like those that end here",
            "Keep: 1\r\nTEX: 2\r\nTrailers: 3\r\nUpgrade-Insecure-Requests: 1\r\nProxy-Auth: x\r\n",
            "Keep: 1\r\nTEX: 2\r\nTrailers: 3\r\nUpgrade-Insecure-Requests: 1\r\nProxy-Auth: x\r\n",
        ),
        refused(
            501,
            "RFC 9110 §7.8",
            "Upgrade to a WebSocket",
            post("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        ),
        refused(
            501,
            "RFC 9110 §7.8",
            "Upgrade to HTTP/2",
            post("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"),
        ),
        refused(
            501,
            "RFC 9110 §7.8",
            "Upgrade with a body",
            [&post("Upgrade: x\r\nConnection: keep-alive, upgrade\r\nContent-Length: 2\r\n")[..], b"hi"].concat(),
        ),
        sent(
            "RFC 9110 §7.8",
            "Upgrade in HTTP/1.0 is ignored",
            String::from_utf8(post("Connection: upgrade\r\nUpgrade: websocket\r\n"))
                .unwrap()
                .replace("HTTP/1.1", "HTTP/1.0"),
            POST,
            "",
        )
        .closing(),
        refused(
            400,
            "RFC 9112 §5.1",
            "a space before the colon of Connection",
            line("GET / HTTP/1.1\r\nConnection : close"),
        ),
    ]
}
