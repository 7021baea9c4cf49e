//! What a request target is sent on as: RFC 9112 §3.2, as the contract narrows it; and what a host is.

use std::net::Ipv6Addr;

/// The target to be sent on, or the status.
pub fn target(method: &str, target: &str) -> Result<String, u16> {
    if method == "CONNECT" {
        return Err(501);
    }
    let is_path = target.starts_with('/') || (method == "OPTIONS" && target == "*");
    if target.contains('#') {
        Err(400)
    } else if is_path {
        Ok(target.to_owned())
    } else {
        absolute(method, target).ok_or(400)
    }
}

fn absolute(method: &str, target: &str) -> Option<String> {
    let lower = target.to_ascii_lowercase();
    let scheme = ["http://", "https://"].into_iter().find(|scheme| lower.starts_with(scheme))?;
    let rest = &target[scheme.len()..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if authority.is_empty() || authority.starts_with(':') || !is_host(authority) {
        return None;
    }
    Some(match (path.chars().next(), method) {
        (None, "OPTIONS") => "*".to_owned(),
        (None, _) => "/".to_owned(),
        (Some('?'), _) => format!("/{path}"),
        _ => path.to_owned(),
    })
}

/// A host and perhaps a port, either of which may be empty: RFC 9110 §7.2, RFC 3986 §3.2.2.
pub fn is_host(text: &str) -> bool {
    let end = match text.rfind(']') {
        Some(end) => end + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(end);
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.chars().all(is_digit));
    let is_name = |text: &str, colons: bool| text.chars().all(|letter| is_plain(letter) || (colons && letter == ':'));
    let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) if inner.starts_with(['v', 'V']) => inner[1..].split_once('.').is_some_and(|(version, rest)| {
            let is_version = !version.is_empty() && version.chars().all(|letter| letter.is_ascii_hexdigit());
            is_version && !rest.is_empty() && is_name(rest, true)
        }),
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        // Each percent sign with its two digits counts as a letter.
        None => {
            let mut parts = host.split('%');
            parts.next().is_some_and(|first| is_name(first, false))
                && parts.all(|part| {
                    let is_encoded = part.len() >= 2 && part.bytes().take(2).all(|byte| byte.is_ascii_hexdigit());
                    is_encoded && is_name(&part[2..], false)
                })
        }
    };
    is_host && is_port
}

const fn is_digit(letter: char) -> bool {
    letter.is_ascii_digit()
}

/// Unreserved, or sub-delims.
fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "-._~!$&'()*+,;=".contains(letter)
}
