//! Rows: how long a connection lives, and HTTP/1.0.

use super::{POST, Row, chunked, passed, post, refused, sent, served, survived};

pub fn rows() -> Vec<Row> {
    let old = |fields: &str| String::from_utf8(post(fields)).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    vec![
        passed("RFC 9112 §9.6", "Connection: close", "Connection: close\r\n", "").closing(),
        passed("RFC 9110 §7.6.1", "close in another case, among others", "Connection: x,\tCLOSE\r\n", "").closing(),
        passed("RFC 9112 §9.3", "close wins over keep-alive", "Connection: keep-alive, close\r\n", "").closing(),
        passed(
            "RFC 9112 §9.3",
            "close in the second of two fields",
            "Connection: keep-alive\r\nConnection: close\r\n",
            "",
        )
        .closing(),
        passed("RFC 9112 §9.3", "keep-alive says nothing new", "Connection: Keep-Alive\r\n", ""),
        passed("RFC 9110 §7.6.1", "an option that only begins like close", "Connection: closed\r\n", ""),
        sent(
            "RFC 9112 §9.6",
            "close behind a body by length",
            [&post("Connection: close\r\nContent-Length: 2\r\n")[..], b"hi"].concat(),
            format!("{POST}Content-Length: 2\r\n"),
            "hi",
        )
        .closing(),
        sent(
            "RFC 9112 §9.6",
            "close behind chunks",
            [&post("Connection: close\r\nTransfer-Encoding: chunked\r\n")[..], b"2\r\nhi\r\n0\r\n\r\n"].concat(),
            format!("{POST}Content-Length: 2\r\n"),
            "hi",
        )
        .closing(),
        sent("RFC 9112 §9.3", "HTTP/1.0 closes; its origin gets 1.1", old("X: y\r\n"), format!("{POST}X: y\r\n"), "")
            .closing(),
        sent("RFC 9112 §9.3", "HTTP/1.0 that asks for it is kept", old("Connection: Keep-Alive\r\n"), POST, ""),
        sent("RFC 9112 §9.3", "HTTP/1.0 that asks for both closes", old("Connection: keep-alive, close\r\n"), POST, "")
            .closing(),
        sent(
            "RFC 9112 §C.2.2",
            "HTTP/1.0 is not kept by Proxy-Connection",
            old("Proxy-Connection: keep-alive\r\n"),
            POST,
            "",
        )
        .closing(),
        sent("RFC 9112 §C.2.2", "HTTP/1.0 is not kept by Keep-Alive alone", old("Keep-Alive: timeout=5\r\n"), POST, "")
            .closing(),
        sent(
            "RFC 9112 §3.2",
            "HTTP/1.0 needs no Host; one is put first",
            old("X: y\r\n").replace("Host: a\r\n", ""),
            format!("{POST}X: y\r\n"),
            "",
        )
        .closing(),
        refused(400, "RFC 9112 §3.2", "HTTP/1.0 with two Host", old("Host: b\r\n")),
        sent(
            "RFC 9112 §9.3",
            "HTTP/1.0 with a body, kept",
            old("Connection: keep-alive\r\nContent-Length: 1\r\n") + "x",
            format!("{POST}Content-Length: 1\r\n"),
            "x",
        ),
        sent(
            "RFC 9112 §6.3",
            "HTTP/1.0 without a length has no body",
            old("Connection: keep-alive\r\nX: z\r\n"),
            format!("{POST}X: z\r\n"),
            "",
        ),
        refused(400, "RFC 9112 §9.3", "a control field at fault in HTTP/1.0", old("X-Dispatcher-Timeout: 0\r\n")),
        survived(
            400,
            "RFC 9112 §9.3",
            "a control field at fault in HTTP/1.0 that asks to be kept",
            old("X-Dispatcher-Timeout: 0\r\nConnection: keep-alive\r\n"),
        ),
        refused(
            400,
            "RFC 9112 §9.6",
            "a control field at fault and Connection: close",
            post("X-Dispatcher-Timeout: 0\r\nConnection: close\r\n"),
        ),
        served(
            "RFC 9112 §9.3",
            "our own path in HTTP/1.0, without a Host",
            "GET /-/healthy HTTP/1.0\r\n\r\n",
            "healthy\n",
        )
        .closing(),
        served(
            "RFC 9112 §9.3",
            "our own path in HTTP/1.0, kept",
            "GET /-/healthy HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            "healthy\n",
        ),
        served(
            "RFC 9112 §9.6",
            "our own path and Connection: close",
            "GET /-/ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "ready\n",
        )
        .closing(),
        refused(
            400,
            "RFC 9112 §9.6",
            "Connection: close does not save broken chunks",
            String::from_utf8(chunked("x\r\n")).unwrap().replace("Host: a", "Host: a\r\nConnection: close"),
        ),
    ]
}
