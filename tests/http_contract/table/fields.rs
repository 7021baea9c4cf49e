//! Rows: fields, their names and what is kept of them.

use super::{Row, passed, post, refused, sent};

pub fn rows() -> Vec<Row> {
    let kept = |rule, name, fields: &str| passed(rule, name, fields, fields);
    let bad = |rule, name, fields: &str| refused(400, rule, name, post(fields));
    vec![
        sent(
            "SPEC §1.4",
            "order, case and repetition of fields, and white space around values",
            "PUT / HTTP/1.1\r\nb: 1\r\nHOST: dispatcher\r\nA: 2\r\nX-Dispatcher-Origin-Host: {o}\r\nB: 3\r\n\
             cOOKIE: a=1; b=2\r\nb:   4  \r\nEmpty:\r\ncontent-LENGTH: 3\r\nb: 5\r\n\r\nabc",
            "PUT / HTTP/1.1\r\nb: 1\r\nHOST: {o}\r\nA: 2\r\nB: 3\r\n\
             cOOKIE: a=1; b=2\r\nb:   4  \r\nEmpty:\r\ncontent-LENGTH: 3\r\nb: 5\r\n",
            "abc",
        ),
        kept(
            "SPEC §3",
            "no User-Agent, Date or Accept-Encoding is added or changed",
            "User-Agent: a\r\nDate: never\r\nAccept-Encoding: br\r\nVia: 1.1 x\r\nX-Forwarded-For: 192.0.2.1\r\n",
        ),
        kept("SPEC §3", "what is secret is the destination's", "Authorization: Basic x\r\nCookie: a=b\r\n"),
        kept("RFC 9110 §5.1", "every byte of a token in a name", "!#$%&'*+-.^_`|~09azAZ: v\r\n"),
        kept("RFC 9110 §5.5", "an empty value", "Name:\r\n"),
        kept("RFC 9110 §5.5", "a value of only white space", "Name: \t \r\n"),
        kept("RFC 9110 §5.5", "a value with a colon, quotes and a comma", "Name: a:b, \"c\\\"\", d\r\n"),
        kept(
            "RFC 9112 §11.2",
            "an underscore makes another field",
            "Transfer_Encoding: chunked\r\nContent_Length: 5\r\n",
        ),
        kept(
            "RFC 9112 §11.2",
            "names that only look like framing",
            "XTransfer-Encoding: chunked\r\nContent-Length-: 5\r\n",
        ),
        kept("RFC 9110 §7.6.3", "a field of the pseudo kind as Via", "Via: HTTP/2.0 a\r\nForwarded: for=_x\r\n"),
        bad("RFC 9112 §5.1", "a space before the colon", "Name : v\r\n"),
        bad("RFC 9112 §5.1", "a tab before the colon", "Name\t: v\r\n"),
        bad("RFC 9110 §5.1", "a name that is no token", "Na(me: v\r\n"),
        bad("RFC 9110 §5.1", "a name with a space within", "Na me: v\r\n"),
        bad("RFC 9110 §5.1", "a name with a slash", "Na/me: v\r\n"),
        bad("RFC 9110 §5.1", "a name in UTF-8", "N\u{e4}me: v\r\n"),
        bad("RFC 9110 §5.1", "NUL in a name", "Na\0me: v\r\n"),
        bad("RFC 9110 §5.1", "an empty name", ": v\r\n"),
        bad("RFC 9112 §5", "no colon", "Name\r\n"),
        bad("RFC 9113 §8.3", "a pseudo-header of HTTP/2", ":method: GET\r\n"),
        bad("RFC 9112 §11.2", "a request for a field", "GET /admin HTTP/1.1\r\n"),
        refused(431, "RFC 6585 §5", "257 fields", post("A: b\r\n".repeat(255))),
        passed("SPEC §6", "256 fields", "A: b\r\n".repeat(254), "A: b\r\n".repeat(254)),
    ]
}
