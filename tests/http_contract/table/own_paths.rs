//! Rows: the daemon's own paths, and requests that name no origin.

use super::{Row, line, refused, sent, served, survived};

const ORIGIN: &str = "X-Dispatcher-Origin-Host";

pub fn rows() -> Vec<Row> {
    let bare = |line: &str| format!("{line}\r\nHost: a\r\n\r\n");
    let ours = |rule, name, line: &str, content| served(rule, name, bare(line), content);
    let none = |rule, name, line: &str| survived(400, rule, name, bare(line)).blaming(ORIGIN, "");
    let data = |name, target: &str| {
        sent("SPEC §2", name, line(format!("{target} HTTP/1.1")), format!("{target} HTTP/1.1\r\nHost: {{o}}\r\n"), "")
    };
    vec![
        ours("SPEC §2", "whether it is healthy", "GET /-/healthy HTTP/1.1", "healthy\n"),
        ours("SPEC §2", "whether it is ready", "GET /-/ready HTTP/1.1", "ready\n"),
        ours("SPEC §2", "its metrics", "GET /metrics HTTP/1.1", "# HELP "),
        ours("RFC 9110 §9.3.2", "HEAD of our own path", "HEAD /-/ready HTTP/1.1", ""),
        ours("RFC 3986 §3.4", "our own path with a query", "GET /-/healthy?x=/y HTTP/1.1", "healthy\n"),
        ours("RFC 9112 §3.2.2", "our own path as a URL", "GET http://a/-/healthy HTTP/1.1", "healthy\n"),
        served(
            "SPEC §2.1",
            "a short body on our own path is skipped",
            "GET /-/healthy HTTP/1.1\r\nHost: a\r\nContent-Length: 33\r\n\r\nGET /never HTTP/1.1\r\nHost: a\r\n\r\n\0",
            "healthy\n",
        ),
        served(
            "SPEC §2.1",
            "a long body on our own path costs the connection",
            "GET /-/healthy HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n",
            "healthy\n",
        )
        .closing(),
        served(
            "SPEC §2.1",
            "chunks on our own path cost the connection",
            "GET /-/ready HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "ready\n",
        )
        .closing(),
        served(
            "SPEC §2",
            "a timeout on our own path says nothing",
            "GET /-/ready HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Timeout: 5\r\n\r\n",
            "ready\n",
        ),
        data("the path of an application that is also one of ours", "GET /metrics"),
        data("the same with a query and another method", "POST /-/ready?x"),
        none("SPEC §2", "neither an origin nor our own path", "GET /x HTTP/1.1"),
        none("SPEC §2", "our own path with another method", "POST /metrics HTTP/1.1"),
        none("RFC 9110 §9.1", "our own path with a method in lower case", "get /metrics HTTP/1.1"),
        none("RFC 9110 §9.3.7", "OPTIONS of our own path", "OPTIONS /-/ready HTTP/1.1"),
        none("RFC 9110 §9.3.7", "OPTIONS * without an origin", "OPTIONS * HTTP/1.1"),
        none("RFC 9110 §9.3.2", "HEAD without an origin has no content", "HEAD /x HTTP/1.1"),
        none("SPEC §2", "something below our own path", "GET /-/ready/ HTTP/1.1"),
        none("SPEC §2", "our own path in upper case", "GET /METRICS HTTP/1.1"),
        none("SPEC §2", "our own path with an escape", "GET /%6detrics HTTP/1.1"),
        none("SPEC §2", "our own path behind two slashes", "GET //metrics HTTP/1.1"),
        none("SPEC §2", "our own path by way of dots", "GET /x/../metrics HTTP/1.1"),
        survived(
            400,
            "SPEC §2",
            "our own path and an unknown control field",
            "GET /-/ready HTTP/1.1\r\nHost: a\r\nX-Dispatcher-X: y\r\n\r\n",
        )
        .blaming("X-Dispatcher-X", "y"),
        refused(400, "RFC 9112 §3.2", "our own path without a Host", "GET /-/healthy HTTP/1.1\r\n\r\n"),
        refused(
            400,
            "SPEC §2.1",
            "no origin, with a long body",
            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n",
        )
        .blaming(ORIGIN, ""),
    ]
}
