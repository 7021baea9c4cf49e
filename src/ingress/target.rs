//! The request target in its four forms (RFC 9112 §3.2), and what to tell a client whose request names no origin.

use std::net::Ipv6Addr;

use super::control_fields;
use super::refusal::Refusal;
use crate::message::Scheme;
use crate::metrics::RefusedReason;

/// A request target as it is sent on: a path with its query, or `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'b> {
    /// What goes before `rest`: a `/` if the absolute form had no path.
    pub prefix: &'static str,
    /// The bytes as received.
    pub rest: &'b str,
}

impl<'b> Target<'b> {
    const fn as_received(rest: &'b str) -> Self {
        Self { prefix: "", rest }
    }

    /// The path without the query.
    pub fn path(&self) -> &str {
        let path = self.rest.split('?').next().unwrap_or_default();
        if path.is_empty() { self.prefix } else { path }
    }
}

/// Reads a target. The bytes of path and query are kept as they are, UTF-8 included, as clients do send it unescaped.
///
/// Errors: 501 for CONNECT, 400 for what is none of the forms.
pub fn read<'b>(method: &str, target: &'b str) -> Result<Target<'b>, Refusal> {
    if method == "CONNECT" {
        return Err(Refusal::new(RefusedReason::Unsupported, "CONNECT opens tunnels; this sends requests on."));
    }
    if target.contains('#') {
        // RFC 9112 §3.2: no form has a fragment, and what comes behind one would not reach the origin.
        return Err(malformed("The request target has a fragment (RFC 9112 §3.2)."));
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(Target::as_received(target));
    }
    absolute_form(method, target)
        .ok_or_else(|| malformed("The request target is neither a path nor an absolute http URI (RFC 9112 §3.2)."))
}

/// RFC 9112 §3.2.2. The authority is checked and then ignored: where a message goes only its origin field says.
fn absolute_form<'b>(method: &str, target: &'b str) -> Option<Target<'b>> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // RFC 9110 §4.2.1: without a host it is invalid. §4.2.4: user information is to be treated as an error.
    if authority.is_empty() || authority.starts_with(':') || !is_host(authority.as_bytes()) {
        return None;
    }
    Some(match rest.as_bytes().first() {
        Some(b'/') => Target::as_received(rest),
        Some(_) => Target { prefix: "/", rest },
        // RFC 9112 §3.2.4: the last proxy of an OPTIONS without a path sends `*`.
        None if method == "OPTIONS" => Target::as_received("*"),
        None => Target::as_received("/"),
    })
}

fn malformed(detail: &'static str) -> Refusal {
    Refusal::new(RefusedReason::Malformed, detail)
}

/// Whether this is a host and perhaps a port, as `Host` has them (RFC 9110 §7.2). The host may be empty.
pub fn is_host(bytes: &[u8]) -> bool {
    let (is_host, port) = match bytes.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            (is_address(&rest[..end]), &rest[end + 1..])
        }
        None => {
            let end = bytes.iter().position(|byte| *byte == b':').unwrap_or(bytes.len());
            (is_registered_name(&bytes[..end]), &bytes[end..])
        }
    };
    is_host
        && match port {
            [] => true,
            [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
            _ => false,
        }
}

/// What stands in brackets: an IPv6 address without a zone, or an address of the future (RFC 3986 §3.2.2).
fn is_address(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    if let Some((version, rest)) = text.strip_prefix(['v', 'V']).and_then(|text| text.split_once('.')) {
        let hexadecimal = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_hexdigit());
        return hexadecimal && !rest.is_empty() && rest.bytes().all(|byte| byte == b':' || is_name_byte(byte));
    }
    text.parse::<Ipv6Addr>().is_ok()
}

/// An IPv4 address is one, too (RFC 3986 §3.2.2).
fn is_registered_name(mut bytes: &[u8]) -> bool {
    loop {
        bytes = match bytes {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if is_name_byte(*byte) => rest,
            _ => return false,
        };
    }
}

/// RFC 3986 §2.2, §2.3: unreserved, sub-delims.
const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'.' | b'-' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'='
        )
}

/// Neither an origin nor one of our paths: the answer shows a command that would have worked, with the client's own
/// host and path if a shell takes them as they are. Without its query, which may hold a secret.
pub fn no_origin(method: &str, target: &Target<'_>, own_scheme: Scheme, host: &[u8]) -> Refusal {
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'\'' | b'\\'));
    let host = std::str::from_utf8(host).ok().filter(|host| !host.is_empty() && plain(host)).unwrap_or("localhost");
    let method = if plain(method) { method } else { "POST" };
    let path = Some(target.path()).filter(|path| plain(path) && *path != "*").unwrap_or("/");
    let option = if method == "HEAD" { "--head".to_owned() } else { format!("-X '{method}'") };
    let detail = format!(
        "The request names no origin to be sent to. This would have worked: \
         curl {option} -H '{}: http://example.com' '{}://{host}{path}'",
        control_fields::ORIGIN,
        own_scheme.as_str(),
    );
    Refusal::new(RefusedReason::NoOrigin, detail).blame(control_fields::ORIGIN, b"", control_fields::ORIGIN_EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(method: &str, target: &str) -> Result<String, u16> {
        read(method, target).map(|target| format!("{}{}", target.prefix, target.rest)).map_err(|r| r.status())
    }

    #[test]
    fn a_target_is_sent_on_as_path_and_query_in_their_own_bytes() {
        let cases = [
            ("GET", "/", Ok("/")),
            ("GET", "/a%2Fb/../c?d=%20&e//", Ok("/a%2Fb/../c?d=%20&e//")),
            ("GET", "//a", Ok("//a")),
            ("GET", "/ü", Ok("/ü")),
            ("GET", "/?a=http://b", Ok("/?a=http://b")),
            ("GET", "http://a", Ok("/")),
            ("GET", "http://a/b?c", Ok("/b?c")),
            ("GET", "HTTPS://a:1?c", Ok("/?c")),
            ("GET", "http://[::1]:80/", Ok("/")),
            ("OPTIONS", "*", Ok("*")),
            ("OPTIONS", "http://a", Ok("*")),
            ("OPTIONS", "http://a/", Ok("/")),
            ("GET", "*", Err(400)),
            ("GET", "a", Err(400)),
            ("GET", "a:80", Err(400)),
            ("GET", "http:///b", Err(400)),
            ("GET", "http://u@a/", Err(400)),
            ("GET", "ftp://a/", Err(400)),
            ("GET", "/a#b", Err(400)),
            ("CONNECT", "a:80", Err(501)),
            ("connect", "/a", Ok("/a")),
        ];
        for (method, target, expected) in cases {
            assert_eq!(sent(method, target).as_deref().map_err(|status| *status), expected, "{method} {target}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for good in [
            "",
            "a",
            "a:",
            "a:80",
            "a.b-c_~!$&'()*+,;=",
            "%41%aF",
            "127.0.0.1:1",
            "[::1]",
            "[2001:db8::1]:80",
            "[::ffff:1.2.3.4]",
            "[v1.a:b]",
            "[V1F.~]:8",
        ] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in [
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "u@a",
            "a:b",
            "a:+80",
            "a:80:90",
            "::1",
            "[::1",
            "[::1]a",
            "[::1]]",
            "[a]",
            "[]",
            "[::1%25eth0]",
            "[1.2.3.4]",
            "[v.a]",
            "[v1.]",
            "[v1]",
            "[vx.a]",
            "a]",
            "%",
            "%4",
            "%4g",
            "\u{fc}",
            "a\\b",
        ] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
        assert!(!is_host(b"[\xff]"));
    }

    #[test]
    fn the_path_is_the_target_without_its_query() {
        for (target, path) in [("/metrics?a", "/metrics"), ("http://a?b", "/"), ("http://a/b?c?d", "/b")] {
            assert_eq!(read("GET", target).unwrap().path(), path);
        }
    }

    #[test]
    fn the_suggested_command_takes_nothing_a_shell_would_read_otherwise() {
        let detail = |method: &str, target: &str, host: &[u8]| {
            format!("{:?}", no_origin(method, &read(method, target).unwrap(), Scheme::Http, host))
        };
        assert!(
            detail("PUT", "/a?b=c", b"h:8080")
                .contains("curl -X 'PUT' -H 'X-Dispatcher-Origin-Host: http://example.com' 'http://h:8080/a'")
        );
        let injected = detail("POST", "/'$(x)'", b"h'");
        assert!(injected.contains("'http://localhost/'") && !injected.contains("$("), "{injected}");
    }
}
