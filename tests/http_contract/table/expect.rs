//! Rows: Expect. Whether leave is given, and that a refusal comes without it.

use super::{POST, Row, chunked, passed, post, refused, sent, survived};

pub fn rows() -> Vec<Row> {
    let sized = |fields: &str| [&post(format!("{fields}Content-Length: 5\r\n"))[..], b"hello"].concat();
    let taken =
        |rule, name, fields: &str| sent(rule, name, sized(fields), format!("{POST}Content-Length: 5\r\n"), "hello");
    vec![
        taken("RFC 9110 §10.1.1", "a client that waits for leave", "Expect: 100-continue\r\n").waiting(),
        taken("RFC 9110 §10.1.1", "an expectation in another case", "EXPECT: 100-Continue\r\n").waiting(),
        taken("RFC 9110 §10.1.1", "an expectation behind another", "Expect: x=y, 100-continue\r\n").waiting(),
        taken("RFC 9110 §10.1.1", "an expectation in a second field", "Expect: x\r\nExpect: 100-continue\r\n")
            .waiting(),
        sent(
            "RFC 9110 §10.1.1",
            "leave for chunks",
            String::from_utf8(chunked("5\r\nhello\r\n0\r\n\r\n"))
                .unwrap()
                .replace("Host: a", "Host: a\r\nExpect: 100-continue"),
            format!("{POST}Content-Length: 5\r\n"),
            "hello",
        )
        .waiting(),
        taken("RFC 9110 §10.1.1", "an expectation that nobody knows", "Expect: miracles\r\n"),
        taken("RFC 9110 §10.1.1", "an expectation that only begins like one", "Expect: 100-continued\r\n"),
        taken("RFC 9110 §10.1.1", "an empty expectation", "Expect:\r\n"),
        passed("RFC 9110 §10.1.1", "an expectation without a body", "Expect: 100-continue\r\n", ""),
        passed(
            "RFC 9110 §10.1.1",
            "an expectation with a length of zero",
            "Expect: 100-continue\r\nContent-Length: 0\r\n",
            "Content-Length: 0\r\n",
        ),
        sent(
            "RFC 9110 §10.1.1",
            "an expectation in HTTP/1.0 is ignored",
            String::from_utf8(sized("Expect: 100-continue\r\n")).unwrap().replace("HTTP/1.1", "HTTP/1.0"),
            format!("{POST}Content-Length: 5\r\n"),
            "hello",
        )
        .closing(),
        refused(
            413,
            "RFC 9110 §10.1.1",
            "a body over MAX_BODY gets no leave",
            post("Expect: 100-continue\r\nContent-Length: 1048577\r\n"),
        ),
        refused(
            400,
            "RFC 9110 §10.1.1",
            "both length and coding get no leave",
            post("Expect: 100-continue\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
        ),
        refused(
            501,
            "RFC 9110 §10.1.1",
            "an Upgrade gets no leave",
            post("Expect: 100-continue\r\nContent-Length: 5\r\nConnection: upgrade\r\nUpgrade: x\r\n"),
        ),
        refused(
            400,
            "RFC 9110 §10.1.1",
            "a control field at fault gets no leave",
            sized("Expect: 100-continue\r\nX-Dispatcher-Timeout: 0\r\n"),
        ),
        refused(
            400,
            "RFC 9110 §10.1.1",
            "a control field at fault before chunks gets no leave",
            String::from_utf8(chunked("0\r\n\r\n"))
                .unwrap()
                .replace("Host: a", "Host: a\r\nExpect: 100-continue\r\nX-Dispatcher-Timeout: 0"),
        ),
        survived(
            400,
            "RFC 9110 §10.1.1",
            "a control field at fault and nothing to wait for",
            post("Expect: 100-continue\r\nX-Dispatcher-Timeout: 0\r\n"),
        ),
    ]
}
