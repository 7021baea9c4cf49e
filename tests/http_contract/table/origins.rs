//! Rows: the value of the origin field.

use super::{Row, post, sent, survived};

const FIELD: &str = "X-Dispatcher-Origin-Host";

pub fn rows() -> Vec<Row> {
    let text = String::from_utf8(post("")).unwrap();
    let with = |value: &str| text.replace("{o}", value);
    let named = |rule, name, value: &str, authority: &str| {
        sent(rule, name, with(value), format!("POST /p HTTP/1.1\r\nHost: {authority}\r\n"), "")
    };
    let none = |rule, name, value: &str| survived(400, rule, name, with(value)).blaming(FIELD, value);
    let denied = |rule, name, value: &str| survived(403, rule, name, with(value)).blaming(FIELD, value);
    let own = |rule, name, value: &str| survived(508, rule, name, with(value)).blaming(FIELD, value);
    vec![
        named("SPEC §2", "an origin with its scheme", "http://{o}", "{o}"),
        named("RFC 3986 §3.1", "a scheme in upper case", "HTTP://{o}", "{o}"),
        named("RFC 9110 §5.5", "white space around an origin", " \t{o}\t ", "{o}"),
        named("SPEC §2", "an origin by its name", "localhost:{op}", "localhost:{op}"),
        named("RFC 3986 §3.2.2", "a name in mixed case", "LocalHost:{op}", "localhost:{op}"),
        named("RFC 9110 §4.2.1", "the port of http is left out", "b.example:80", "b.example").elsewhere(),
        named("RFC 9110 §4.2.2", "https, and its port is left out", "https://b.example:443", "b.example").elsewhere(),
        named("RFC 9110 §4.2.2", "https on the port of http", "https://b.example:80", "b.example:80").elsewhere(),
        named("RFC 3986 §3.2.3", "a port with leading zeros", "b.example:0081", "b.example:81").elsewhere(),
        named("RFC 3986 §3.2.2", "IPv6 in brackets, with a port", "[2001:DB8:0:0::1]:81", "[2001:db8::1]:81")
            .elsewhere(),
        named("RFC 3986 §3.2.2", "IPv6 in brackets with a scheme", "http://[2001:db8::2]", "[2001:db8::2]").elsewhere(),
        named("RFC 5890 §2.3.2.1", "an international name in ASCII", "xn--bcher-kva.example", "xn--bcher-kva.example")
            .elsewhere(),
        named("RFC 1034 §3.1", "a name with a final dot", "b.example.:81", "b.example.:81").elsewhere(),
        named("RFC 8552 §1", "a name with an underscore", "_b.example", "_b.example").elsewhere(),
        none("RFC 9110 §4.2.4", "user information", "u:p@b").blaming(FIELD, "…@b"),
        none("RFC 9110 §4.2.4", "user information that looks like a host", "http://a.example@b.example")
            .blaming(FIELD, "…@b.example"),
        none("SPEC §2", "an origin with a path", "b/x"),
        none("SPEC §2", "an origin with only a slash", "http://b/"),
        none("SPEC §2", "an origin with a backslash", "b\\x"),
        none("SPEC §2", "an origin with a query", "b?x").blaming(FIELD, "b?…"),
        none("SPEC §2", "an origin with a fragment", "b#x").blaming(FIELD, "b#…"),
        none("SPEC §2", "an origin with another scheme", "ftp://b"),
        none("SPEC §2", "an origin with only a scheme", "http://"),
        none("SPEC §2", "an origin with two schemes", "http://http://b"),
        none("RFC 3986 §3.2.3", "a port too large", "b:65536"),
        none("RFC 3986 §3.2.3", "a port of zero", "b:0"),
        none("RFC 3986 §3.2.3", "a signed port", "b:+80"),
        none("RFC 3986 §3.2.3", "an empty port", "b:"),
        none("RFC 3986 §3.2.3", "a port that is no number", "b:http"),
        none("RFC 3986 §3.2.3", "two ports", "b:80:81"),
        none("RFC 3986 §3.2.3", "a port without a host", ":80"),
        none("RFC 3986 §3.2.2", "IPv6 without brackets", "::1"),
        none("RFC 3986 §3.2.2", "half a bracket", "[::1"),
        none("RFC 3986 §3.2.2", "a name in brackets", "[b.example]"),
        none("RFC 3986 §3.2.2", "IPv6 with a zone", "[2001:db8::1%25eth0]"),
        none("SPEC §2", "a space within an origin", "b c"),
        none("SPEC §2", "two origins in a list", "b,c"),
        none("SPEC §2", "an empty origin", ""),
        none("SPEC §2", "an escape in a name", "b%2eexample"),
        none("RFC 5890 §2.3.2.1", "an international name in UTF-8", "b\u{fc}cher.example"),
        none(
            "RFC 1035 §2.3.4",
            "a label of 64 bytes",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.example",
        ),
        none("RFC 1034 §3.1", "an empty label", "b..example"),
        none("RFC 1034 §3.1", "two final dots", "b.example.."),
        none("RFC 1123 §2.1", "an address of three parts", "192.0.2"),
        none("RFC 1123 §2.1", "an address out of range", "192.0.2.256"),
        denied("SPEC §3", "the metadata of a cloud", "169.254.169.254"),
        denied("SPEC §3", "the metadata of a cloud, as one number", "2852039166"),
        denied("SPEC §3", "the metadata of a cloud, mapped into IPv6", "[::ffff:169.254.169.254]:80"),
        denied("SPEC §3", "the metadata of a cloud over IPv6", "http://[FD00:EC2::254]"),
        denied("RFC 4291 §2.5.6", "an address of the link, with a zone", "[fe80::1%eth0]"),
        own("SPEC §2", "sent to itself", "{own}"),
        own("SPEC §2", "sent to itself by name", "localhost:{port}"),
        own("RFC 6761 §6.3", "sent to itself by a name below localhost", "a.LocalHost.:{port}"),
        own("RFC 1122 §3.2.1.3", "sent to itself by another address of the loopback", "http://127.9.9.9:{port}"),
        own("RFC 4291 §2.5.5.2", "sent to itself by a mapped address", "[::ffff:127.0.0.2]:{port}"),
        own("RFC 4291 §2.5.2", "sent to itself by the unspecified address", "[::]:{port}"),
    ]
}
