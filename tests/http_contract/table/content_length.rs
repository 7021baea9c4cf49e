//! Rows: Content-Length.

use super::{POST, Row, post, refused, sent};

pub fn rows() -> Vec<Row> {
    let taken = |rule, name, fields: &str, kept: &str| {
        sent(rule, name, [&post(fields), &b"hello"[..]].concat(), format!("{POST}{kept}"), "hello")
    };
    let bad = |rule, name, value: &[u8]| refused(400, rule, name, post([b"Content-Length:", value, b"\r\n"].concat()));
    vec![
        taken("RFC 9112 §6.3", "a length", "Content-Length: 5\r\n", "Content-Length: 5\r\n"),
        taken(
            "RFC 9110 §8.6",
            "a length without a space, its name in lower case",
            "content-length:5\r\n",
            "content-length:5\r\n",
        ),
        taken(
            "RFC 9110 §8.6",
            "a length with tabs around it",
            "Content-Length:\t5\t \r\n",
            "Content-Length:\t5\t \r\n",
        ),
        taken(
            "RFC 9110 §8.6",
            "a length with leading zeros is sent on without",
            "Content-Length: 0005\r\n",
            "Content-Length: 5\r\n",
        ),
        taken(
            "RFC 9112 §6.3",
            "an equal length twice becomes one",
            "Content-Length: 5\r\nX: y\r\nContent-Length: 5\r\n",
            "Content-Length: 5\r\nX: y\r\n",
        ),
        taken(
            "RFC 9110 §8.6",
            "a list of equal lengths becomes one",
            "Content-Length: 5, 5\r\n",
            "Content-Length: 5\r\n",
        ),
        taken(
            "RFC 9110 §8.6",
            "equal lengths written differently",
            "Content-Length: 05,5\r\ncontent-length: 5\r\n",
            "Content-Length: 5\r\n",
        ),
        sent(
            "RFC 9112 §6.3",
            "a length of zero",
            post("Content-Length: 0\r\n"),
            format!("{POST}Content-Length: 0\r\n"),
            "",
        ),
        sent(
            "RFC 9112 §6.3",
            "zero in two digits",
            post("Content-Length: 00\r\n"),
            format!("{POST}Content-Length: 0\r\n"),
            "",
        ),
        sent("RFC 9112 §6.3", "no length and no coding: no body", post(""), POST, ""),
        sent(
            "SPEC §2.1",
            "a body that looks like a request is a body",
            [&post("Content-Length: 46\r\n")[..], b"GET /never HTTP/1.1\r\nHost: a\r\nX: 123456789\r\n\r\n"].concat(),
            format!("{POST}Content-Length: 46\r\n"),
            "GET /never HTTP/1.1\r\nHost: a\r\nX: 123456789\r\n\r\n",
        ),
        refused(400, "RFC 9112 §6.3", "lengths that differ", post("Content-Length: 5\r\nContent-Length: 6\r\n")),
        refused(
            400,
            "RFC 9112 §6.3",
            "lengths that differ, one of them zero",
            post("Content-Length: 0\r\nContent-Length: 5\r\n"),
        ),
        bad("RFC 9112 §6.3", "a list of lengths that differ", b" 5, 6"),
        bad("RFC 9110 §8.6", "a list of lengths with an empty end", b" 5,"),
        bad("RFC 9110 §8.6", "a list of lengths with an empty start", b" ,5"),
        bad("RFC 9110 §8.6", "lengths with a semicolon", b" 5;5"),
        bad("RFC 9110 §8.6", "an empty length", b""),
        bad("RFC 9110 §8.6", "a length of a space", b" "),
        bad("RUSTSEC-2021-0078", "a signed length", b" +5"),
        bad("RFC 9110 §8.6", "a negative length", b" -5"),
        bad("RFC 9110 §8.6", "minus zero", b" -0"),
        bad("RFC 9110 §8.6", "a length in hexadecimal", b" 0x5"),
        bad("RFC 9110 §8.6", "a length in hexadecimal digits", b" 5a"),
        bad("RFC 9110 §8.6", "a length with an exponent", b" 5e0"),
        bad("RFC 9110 §8.6", "a length with a fraction", b" 5.0"),
        bad("RFC 9110 §8.6", "a length with an underscore", b" 5_0"),
        bad("RFC 9110 §8.6", "a length with a space within", b" 1 0"),
        bad("RFC 9110 §8.6", "a length in quotes", b" \"5\""),
        bad("RFC 9110 §8.6", "a length in digits of another script", "\u{ff15}".as_bytes()),
        bad("RFC 9110 §8.6", "a length behind a no-break space", b"\xa05"),
        bad("RFC 9110 §5.5", "a length and NUL", b" 5\0"),
        bad("RFC 9110 §5.5", "a length behind a vertical tab", b" \x0b5"),
        refused(400, "RFC 9112 §5.1", "a space before the colon of a length", post("Content-Length : 5\r\n")),
        refused(400, "RFC 9110 §5.1", "NUL in the name of a length", post("Content-Length\0: 5\r\n")),
        refused(
            413,
            "RFC 9110 §15.5.14",
            "a length over MAX_BODY, before the body",
            post("Content-Length: 1048577\r\n"),
        ),
        refused(413, "RFC 9110 §8.6", "a length of 2^32 plus five", post("Content-Length: 4294967301\r\n")),
        refused(413, "RFC 9110 §8.6", "a length of 2^64 plus five", post("Content-Length: 18446744073709551621\r\n")),
        refused(
            413,
            "RFC 9110 §8.6",
            "a length of 40 digits",
            post("Content-Length: 9999999999999999999999999999999999999999\r\n"),
        ),
        refused(
            400,
            "RFC 9112 §6.3",
            "lengths that differ beyond numbers",
            post("Content-Length: 5\r\nContent-Length: 18446744073709551621\r\n"),
        ),
    ]
}
