//! Rows: the control fields but the origin's value.

use super::{POST, Row, chunked, passed, post, refused, sent, survived};

const ORIGIN: &str = "X-Dispatcher-Origin-Host";
const TIMEOUT: &str = "X-Dispatcher-Timeout";

pub fn rows() -> Vec<Row> {
    let gone = |name, fields: &str| passed("SPEC §2", name, fields, "");
    let timeout = |name, value: &str| {
        survived(400, "SPEC §2", name, post(format!("{TIMEOUT}: {value}\r\n"))).blaming(TIMEOUT, value.trim())
    };
    let text = String::from_utf8(post("")).unwrap();
    vec![
        gone("the least timeout", "X-Dispatcher-Timeout: 1\r\n"),
        gone("a timeout of MAX_TIMEOUT", "X-Dispatcher-Timeout: 1800000\r\n"),
        gone("a timeout with a unit, in another case, with white space", "x-dispatcher-TIMEOUT: \t500ms \r\n"),
        gone("a timeout in minutes", "X-Dispatcher-Timeout: 30m\r\n"),
        gone("a timeout with leading zeros", "X-Dispatcher-Timeout: 0010s\r\n"),
        timeout("a timeout of zero", "0"),
        timeout("a timeout over MAX_TIMEOUT", "1800001"),
        timeout("a timeout over MAX_TIMEOUT in minutes", "31m"),
        timeout("a negative timeout", "-1"),
        timeout("a signed timeout", "+1"),
        timeout("a timeout with a fraction", "1.5s"),
        timeout("a timeout with a space within", "5 s"),
        timeout("a timeout with a unit in upper case", "5S"),
        timeout("a timeout that is no number", "soon"),
        timeout("an empty timeout", ""),
        timeout("a timeout of 20 digits", "99999999999999999999"),
        timeout("a timeout in a list", "5, 5"),
        survived(400, "SPEC §2", "a timeout twice", post("X-Dispatcher-Timeout: 5\r\nX-Dispatcher-Timeout: 5\r\n"))
            .blaming(TIMEOUT, "5"),
        survived(400, "SPEC §2", "an origin twice", post("X-Dispatcher-Origin-Host: {o}\r\n")).blaming(ORIGIN, "{o}"),
        survived(400, "SPEC §2", "both spellings, different", post("X-Dispatcher-Original-Host: c\r\n"))
            .blaming(ORIGIN, "{o}"),
        survived(400, "SPEC §2", "both spellings, and the second is none", post("X-Dispatcher-Original-Host: c/d\r\n"))
            .blaming("X-Dispatcher-Original-Host", "c/d"),
        survived(
            400,
            "SPEC §2",
            "the other spelling twice",
            text.replace("Origin-Host: {o}", "Original-Host: {o}\r\nX-Dispatcher-Original-Host: {o}"),
        )
        .blaming("X-Dispatcher-Original-Host", "{o}"),
        gone("both spellings, equal", "X-Dispatcher-Original-Host: http://{o}\r\n"),
        sent("SPEC §2", "the first Dispatcher's spelling", text.replace("Origin-Host", "Original-Host"), POST, ""),
        sent(
            "SPEC §2",
            "a control field in another case",
            text.replace("X-Dispatcher-Origin-Host", "x-dispatcher-ORIGIN-host"),
            POST,
            "",
        ),
        gone(
            "what a Dispatcher adds is replaced",
            "X-Dispatcher-Message-Id: old\r\nx-dispatcher-attempt: 3\r\nX-Dispatcher-Maybe-Duplicate: true\r\nX-Dispatcher-Attempt: 4\r\n",
        ),
        passed(
            "SPEC §2",
            "names that only look like a control field",
            "X-Dispatcher: 1\r\nX-Dispatched-By: 2\r\nXX-Dispatcher-A: 3\r\n",
            "X-Dispatcher: 1\r\nX-Dispatched-By: 2\r\nXX-Dispatcher-A: 3\r\n",
        ),
        survived(400, "SPEC §2", "an unknown control field", post("X-Dispatcher-Timeot: 5\r\n"))
            .blaming("X-Dispatcher-Timeot", "5"),
        survived(400, "SPEC §2", "a control field without a name of its own", post("X-Dispatcher-: 5\r\n"))
            .blaming("X-Dispatcher-", "5"),
        survived(400, "SPEC §2", "an unknown control field whose value is no text", post(b"x-dispatcher-x: \xff\r\n"))
            .blaming("x-dispatcher-x", "\u{fffd}"),
        survived(
            400,
            "SPEC §2.1",
            "an unknown control field before a short body, which is skipped",
            post("X-Dispatcher-Timeot: 5\r\nContent-Length: 33\r\n")
                .into_iter()
                .chain(*b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n\0")
                .collect::<Vec<u8>>(),
        )
        .blaming("X-Dispatcher-Timeot", "5"),
        refused(
            400,
            "SPEC §2.1",
            "an unknown control field before a long body",
            post("X-Dispatcher-Timeot: 5\r\nContent-Length: 5000\r\n"),
        )
        .blaming("X-Dispatcher-Timeot", "5"),
        refused(
            400,
            "SPEC §2.1",
            "an unknown control field before chunks",
            String::from_utf8(chunked("0\r\n\r\n")).unwrap().replace("Host: a", "Host: a\r\nX-Dispatcher-U: x"),
        )
        .blaming("X-Dispatcher-U", "x"),
        refused(
            400,
            "RFC 9112 §6.3",
            "framing at fault goes before a control field",
            post("X-Dispatcher-Timeot: 5\r\nContent-Length: x\r\n"),
        )
        .blaming("Content-Length", "x"),
        refused(
            413,
            "RFC 9110 §15.5.14",
            "a timeout does not make a body shorter",
            post("X-Dispatcher-Timeout: 5s\r\nContent-Length: 1048577\r\n"),
        ),
    ]
}
