//! Rows: Transfer-Encoding, and the ways to hide one.

use super::{POST, Row, chunked, passed, post, refused, sent};

pub fn rows() -> Vec<Row> {
    const BODY: &[u8] = b"1\r\nx\r\n0\r\n\r\n";
    let with = |fields: &[u8]| [&post(fields), BODY].concat();
    let taken = |rule, name, fields: &[u8]| sent(rule, name, with(fields), format!("{POST}Content-Length: 1\r\n"), "x");
    let bad =
        |rule, name, value: &[u8]| refused(400, rule, name, with(&[b"Transfer-Encoding:", value, b"\r\n"].concat()));
    let refuse = |status, rule, name, fields: &[u8]| refused(status, rule, name, with(fields));
    vec![
        taken("RFC 9112 §7.1", "chunked", b"Transfer-Encoding: chunked\r\n"),
        taken("RFC 9112 §7", "CHUNKED", b"tRANSFER-eNCODING: CHUNKED\r\n"),
        taken("RFC 9112 §7", "chunked with tabs around it", b"Transfer-Encoding:\tchunked\t\r\n"),
        taken("RFC 9112 §7", "chunked without a space", b"Transfer-Encoding:chunked\r\n"),
        refuse(400, "RFC 9112 §6.1", "length and coding", b"Content-Length: 11\r\nTransfer-Encoding: chunked\r\n"),
        refuse(400, "RFC 9112 §6.1", "coding and length", b"Transfer-Encoding: chunked\r\nContent-Length: 11\r\n"),
        refuse(
            400,
            "RFC 9112 §6.1",
            "coding and a length of zero",
            b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        ),
        refuse(
            400,
            "RFC 9112 §6.1",
            "length and an unknown coding",
            b"Content-Length: 11\r\nTransfer-Encoding: identity\r\n",
        ),
        refuse(
            400,
            "RFC 9112 §6.1",
            "length and an obscured coding",
            b"Content-Length: 11\r\nTransfer-Encoding: xchunked\r\n",
        ),
        refused(
            400,
            "RFC 9112 §6.1",
            "coding in HTTP/1.0",
            String::from_utf8(with(b"Transfer-Encoding: chunked\r\n")).unwrap().replace("HTTP/1.1", "HTTP/1.0"),
        ),
        refused(
            400,
            "RFC 9112 §6.1",
            "coding in HTTP/1.0 that would be kept",
            String::from_utf8(with(b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n"))
                .unwrap()
                .replace("HTTP/1.1", "HTTP/1.0"),
        ),
        bad("RFC 9112 §6.3", "chunked not last", b" chunked, gzip"),
        bad("RFC 9112 §6.3", "chunked before identity", b" chunked, identity"),
        refuse(
            400,
            "RFC 9112 §6.3",
            "chunked not last, in two fields",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
        ),
        bad("RFC 9112 §6.1", "chunked twice", b" chunked, chunked"),
        refuse(
            400,
            "RUSTSEC-2021-0020",
            "chunked twice, in two fields",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ),
        refuse(
            400,
            "RUSTSEC-2021-0020",
            "chunked, and cow in a second field",
            b"Transfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n",
        ),
        bad("RFC 9112 §6.3", "gzip alone", b" gzip"),
        bad("RFC 9112 §7", "identity, which is no coding any more", b" identity"),
        bad("RFC 9112 §6.1", "a coding that only ends like chunked", b" xchunked"),
        bad("RFC 9112 §6.1", "a coding that only begins like chunked", b" chunkedx"),
        bad("RFC 9112 §6.1", "chunked cut short", b" chunke"),
        bad("RFC 9112 §7", "chunked in quotes", b" \"chunked\""),
        bad("RFC 9112 §7", "chunked in single quotes", b" 'chunked'"),
        bad("RFC 9112 §7", "chunked with a parameter", b" chunked;q=0.5"),
        bad("RFC 9112 §7", "chunked with a space within", b" chun ked"),
        bad("RFC 9112 §7", "chunked and something behind a space", b" chunked x"),
        bad("RFC 9110 §5.6.1", "an empty coding", b""),
        bad("RFC 9110 §5.6.1", "an empty element before chunked", b" , chunked"),
        bad("RFC 9110 §5.6.1", "an empty element behind chunked", b" chunked,"),
        bad("RFC 9110 §5.5", "a vertical tab before chunked", b" \x0bchunked"),
        bad("RFC 9110 §5.5", "a form feed behind chunked", b" chunked\x0c"),
        bad("RFC 9110 §5.5", "NUL behind chunked", b" chunked\0"),
        bad("RFC 9110 §5.5", "a no-break space before chunked", b" \xa0chunked"),
        bad("RFC 9112 §7", "chunked in letters of another script", "\u{441}hunked".as_bytes()),
        refuse(400, "RFC 9112 §5.1", "a space before the colon of a coding", b"Transfer-Encoding : chunked\r\n"),
        refuse(400, "RFC 9112 §5.1", "a tab before the colon of a coding", b"Transfer-Encoding\t: chunked\r\n"),
        refuse(400, "RFC 9112 §5.2", "a coding in a folded field", b"X: y\r\n Transfer-Encoding: chunked\r\n"),
        refuse(400, "RFC 9110 §5.1", "NUL in the name of a coding", b"Transfer\0Encoding: chunked\r\n"),
        refuse(501, "RFC 9112 §6.1", "an unknown coding before chunked", b"Transfer-Encoding: gzip, chunked\r\n"),
        refuse(
            501,
            "RFC 9112 §6.1",
            "an unknown coding in a field before",
            b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
        ),
        refuse(501, "RFC 9112 §7", "identity before chunked", b"Transfer-Encoding: identity, chunked\r\n"),
        refuse(
            400,
            "RFC 9112 §6.1",
            "an unknown coding, then chunked twice",
            b"Transfer-Encoding: gzip, chunked, chunked\r\n",
        ),
        passed(
            "RFC 9112 §7",
            "another field whose value is chunked",
            "X-Transfer-Encoding: chunked\r\n",
            "X-Transfer-Encoding: chunked\r\n",
        ),
        passed("RFC 9110 §10.1.4", "TE says nothing of the body", "TE: chunked\r\n", ""),
        refused(400, "RFC 9112 §7.1", "no chunk at all before the next request", chunked("")),
        sent(
            "RFC 9110 §9.3.1",
            "GET with chunks",
            "GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: {o}\r\nContent-Length: 2\r\n",
            "hi",
        ),
    ]
}
