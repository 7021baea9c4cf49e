//! Rows: request targets.

use super::{Row, carried, line, refused};

pub fn rows() -> Vec<Row> {
    let same = |rule, name, target: &str| {
        carried(rule, name, format!("GET {target} HTTP/1.1"), format!("GET {target} HTTP/1.1"))
    };
    let becomes = |rule, name, target: &str, path: &str| {
        carried(rule, name, format!("GET {target} HTTP/1.1"), format!("GET {path} HTTP/1.1"))
    };
    let none = |rule, name, target: &str| refused(400, rule, name, line(format!("GET {target} HTTP/1.1")));
    vec![
        same("RFC 9112 §3.2.1", "bytes of path and query as they are", "/x/%2e/../%2E//y;p=1?a=%20&b=+&&c"),
        same("RFC 9112 §3.2.1", "a path that begins with two slashes", "//other.example/p"),
        same("RFC 9112 §3.2.1", "dots that would lead above the root", "/../../etc/passwd"),
        same("RFC 9112 §3.2.1", "a query that is empty", "/p?"),
        same("RFC 9112 §3.2.1", "a URL within the query", "/?u=http://b/c?d"),
        same("RFC 9112 §3.2.1", "a question mark within the query", "/p?a?b"),
        same("RFC 9112 §3.2.1", "an at sign and a colon within the path", "/user@host:80/"),
        same("RFC 3986 §2.1", "a percent that begins no escape", "/100%/%zz?%"),
        same("RFC 3986 §2.1", "escapes of NUL, CR and LF stay escapes", "/%00%0d%0a"),
        same("RFC 3986 §2", "characters that no URI has, as clients send them", "/a|b{c}^`\"<>\\[d]"),
        same("SPEC §1.4", "UTF-8 in a target, as clients send it", "/\u{fc}?\u{20ac}"),
        refused(400, "RFC 9112 §3.2", "bytes in a target that are no UTF-8", line(b"GET /\xfc HTTP/1.1")),
        none("RFC 9112 §3.2", "a target that is neither path nor URL", "p"),
        none("RFC 9112 §3.2", "a target that is only a query", "?p"),
        none("RFC 9112 §3.2", "a target that begins with a backslash", "\\p"),
        none("RFC 9112 §3.2.3", "an authority for anything but CONNECT", "b.example:80"),
        none("RFC 9112 §3.2.4", "* for anything but OPTIONS", "*"),
        none("RFC 9112 §3.2", "a path with a fragment", "/p#f"),
        none("RFC 9112 §3.2", "a query with a fragment", "/p?q#f"),
        none("RFC 9112 §3.2", "a URL with a fragment", "http://a/#f"),
        becomes(
            "RFC 9112 §3.2.2",
            "a URL loses its authority, which is not the origin",
            "http://b.example:99/p?q",
            "/p?q",
        ),
        becomes("RFC 9112 §3.2.2", "a URL without a path", "http://b.example", "/"),
        becomes("RFC 9110 §4.2.2", "a URL with https, its scheme in upper case", "HTTPS://b.example/s", "/s"),
        becomes("RFC 9110 §4.2.3", "a URL with a query and no path", "http://b.example?q", "/?q"),
        becomes("RFC 3986 §3.2.2", "a URL with an IPv6 address", "http://[2001:db8::1]:80/", "/"),
        becomes("RFC 3986 §3.2.3", "a URL with an empty port", "http://b.example:/p", "/p"),
        becomes("RFC 9112 §3.2.2", "a URL within the path of a URL", "http://a/http://b/", "/http://b/"),
        none("RFC 9110 §4.2.4", "a URL with user information", "http://u:p@b.example/"),
        none("RFC 9110 §4.2.4", "a URL with user information that hides a host", "http://a.example%40@b.example/"),
        none("RFC 9110 §4.2.1", "a URL without a host", "http:///p"),
        none("RFC 9110 §4.2.1", "a URL with nothing but its scheme", "http://"),
        none("RFC 9110 §4.2.1", "a URL with a port and no host", "http://:80/"),
        none("RFC 3986 §3.2.3", "a URL with a port that is no number", "http://b.example:x/"),
        none("RFC 3986 §3.2.3", "a URL with a signed port", "http://b.example:+80/"),
        none("RFC 3986 §3.2.3", "a URL with two ports", "http://b.example:80:90/"),
        none("RFC 3986 §3.2.2", "a URL with half a bracket", "http://[::1/"),
        none("RFC 3986 §3.2.2", "a URL with IPv6 without brackets", "http://::1/"),
        none("RFC 3986 §3.2.2", "a URL with a backslash behind its host", "http://a.example\\@b.example/"),
        none("RFC 9112 §3.2.2", "a URL with another scheme", "ftp://b.example/"),
        none("RFC 9112 §3.2.2", "a URL with one slash", "http:/p"),
        none("RFC 9112 §3.2.2", "a URL without slashes", "http:p"),
        carried("RFC 9110 §9.3.7", "OPTIONS *", "OPTIONS * HTTP/1.1", "OPTIONS * HTTP/1.1"),
        carried("RFC 9110 §9.3.7", "OPTIONS of a path", "OPTIONS /o HTTP/1.1", "OPTIONS /o HTTP/1.1"),
        carried(
            "RFC 9112 §3.2.4",
            "OPTIONS of a URL without a path",
            "OPTIONS http://b.example HTTP/1.1",
            "OPTIONS * HTTP/1.1",
        ),
        carried(
            "RFC 9112 §3.2.4",
            "OPTIONS of a URL with a path",
            "OPTIONS http://b.example/ HTTP/1.1",
            "OPTIONS / HTTP/1.1",
        ),
        refused(400, "RFC 9112 §3.2.4", "OPTIONS of more than *", line("OPTIONS *p HTTP/1.1")),
        refused(400, "RFC 9112 §3.2.4", "options in lower case of *", line("options * HTTP/1.1")),
    ]
}
