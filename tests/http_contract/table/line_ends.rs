//! Rows: line ends, and bytes that no head may have.

use super::{Row, line, passed, post, refused, sent};

pub fn rows() -> Vec<Row> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let good = || text(post("X: y\r\n"));
    vec![
        sent(
            "RFC 9112 §2.2",
            "one empty line before a request is forgiven",
            format!("\r\n{}", good()),
            "POST /p HTTP/1.1\r\nHost: {o}\r\nX: y\r\n",
            "",
        ),
        refused(400, "RFC 9112 §2.2", "two empty lines before a request", format!("\r\n\r\n{}", good())),
        refused(400, "RFC 9112 §2.2", "empty lines instead of a request", "\r\n\r\n\r\n"),
        refused(400, "RFC 9112 §2.2", "a bare LF before a request", format!("\n{}", good())),
        refused(400, "RFC 9112 §2.2", "a bare CR before a request", format!("\r{}", good())),
        refused(400, "RFC 9112 §2.2", "bare LF everywhere", good().replace("\r\n", "\n")),
        refused(400, "RFC 9112 §2.2", "a bare LF behind the first line", good().replacen("\r\n", "\n", 1)),
        refused(400, "RFC 9112 §2.2", "a bare CR behind the first line", good().replacen("\r\n", "\r", 1)),
        refused(400, "RFC 9112 §2.2", "a bare LF behind a field", post("Name: v\nOther: w\r\n")),
        refused(400, "RFC 9112 §2.2", "a bare CR for the end of a field", post("Name: v\rOther: w\r\n")),
        refused(400, "RFC 9112 §2.2", "a bare LF as the empty line", good().replace("\r\n\r\n", "\r\n\n")),
        refused(400, "RFC 9112 §2.2", "a head that ends in two bare LF", good().replace("\r\n\r\n", "\n\n")),
        refused(400, "RFC 9112 §2.2", "a head that ends in LF CR", good().replace("\r\n\r\n", "\r\n\n\r")),
        refused(400, "RFC 9112 §2.2", "CR CR LF", good().replacen("\r\n", "\r\r\n", 1)),
        refused(400, "RFC 9112 §2.2", "CR CR LF behind a field", post("Name: v\r\r\n")),
        refused(400, "RFC 9112 §2.2", "a bare CR that hides a length", post("Name: v\rContent-Length: 5\r\n")),
        refused(400, "RFC 9112 §2.2", "a bare LF that hides a coding", post("Name: v\nTransfer-Encoding: chunked\r\n")),
        refused(400, "RFC 9112 §2.2", "a bare CR in a name", post("Na\rme: v\r\n")),
        refused(400, "RFC 9112 §2.2", "a bare CR in a target", line("POST /\rp HTTP/1.1")),
        refused(400, "RFC 9112 §2.2", "white space before the first field", good().replace("Host: a", " Host: a")),
        refused(400, "RFC 9112 §2.2", "a line of only a space before the first field", line("POST /p HTTP/1.1\r\n ")),
        refused(400, "RFC 9112 §5.2", "a folded field", post("Name: v\r\n folded\r\n")),
        refused(400, "RFC 9112 §5.2", "a field folded with a tab", post("Name: v\r\n\tfolded\r\n")),
        refused(400, "RFC 9112 §5.2", "a folded coding", post("Transfer-Encoding:\r\n chunked\r\n")),
        refused(400, "RFC 9112 §5.2", "a folded length", post("Content-Length:\r\n 5\r\n")),
        refused(400, "RFC 9112 §5.2", "a fold that is empty", post("Name: v\r\n \r\n")),
        refused(400, "RFC 9110 §5.5", "NUL in a value", post("Name: v\0w\r\n")),
        refused(400, "RFC 9110 §5.5", "a control in a value", post("Name: v\x01w\r\n")),
        refused(400, "RFC 9110 §5.5", "an escape in a value", post("Name: \x1b[31m\r\n")),
        refused(400, "RFC 9110 §5.5", "DEL in a value", post("Name: v\x7fw\r\n")),
        refused(400, "RFC 9110 §5.5", "a vertical tab in a value", post("Name: v\x0bw\r\n")),
        refused(400, "RFC 9110 §5.5", "a form feed in a value", post("Name: v\x0cw\r\n")),
        refused(400, "RFC 3986 §2", "NUL in a target", line("POST /\0p HTTP/1.1")),
        refused(400, "RFC 3986 §2", "DEL in a target", line("POST /\x7fp HTTP/1.1")),
        refused(400, "RFC 9110 §9.1", "NUL in a method", line("PO\0ST /p HTTP/1.1")),
        passed("RFC 9110 §5.5", "a tab in a value", "Name: v\tw\r\n", "Name: v\tw\r\n"),
        passed("RFC 9110 §5.5", "UTF-8 in a value", "Name: \u{fc}\u{20ac}\r\n", "Name: \u{fc}\u{20ac}\r\n"),
        passed(
            "RFC 9110 §5.5",
            "bytes in a value that are no UTF-8",
            b"Name: \xe9\x80\xff\r\n",
            b"Name: \xe9\x80\xff\r\n",
        ),
    ]
}
