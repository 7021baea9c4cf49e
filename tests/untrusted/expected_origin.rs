//! What an origin and a timeout are, as the contract's table of control fields says it; written apart from `Origin`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::rules::{OWN_PORT, TIMEOUT_MS_MAX};

/// A destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    pub is_tls: bool,
    /// Lower-case; IPv6 without brackets.
    pub host: String,
    pub port: u16,
}

/// Reads `host`, `host:port`, `http://host[:port]`, `https://host[:port]`; `bare_is_tls` is what the first two mean.
pub fn destination(text: &str, bare_is_tls: bool) -> Option<Destination> {
    let (is_tls, authority) = match text.find("://") {
        None => (bare_is_tls, text),
        Some(end) => match text[..end].to_ascii_lowercase().as_str() {
            "http" => (false, &text[end + 3..]),
            "https" => (true, &text[end + 3..]),
            _ => return None,
        },
    };
    // The last colon outside of brackets begins the port.
    let colon = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) = match colon {
        Some(at) => (&authority[..at], Some(&authority[at + 1..])),
        None => (authority, None),
    };
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']')?.parse::<Ipv6Addr>().ok()?.to_string(),
        None => name(host)?,
    };
    let port = match port {
        None if is_tls => 443,
        None => 80,
        Some(digits) => {
            let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit());
            let value = is_number.then(|| digits.trim_start_matches('0'))?;
            value.parse::<u16>().ok()?
        }
    };
    Some(Destination { is_tls, host, port })
}

/// A host name or an IPv4 address, in lower case.
fn name(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    if lower.chars().all(|letter| matches!(letter, '0'..='9' | '.')) {
        return lower.parse::<Ipv4Addr>().is_ok().then_some(lower);
    }
    let mut labels: Vec<&str> = lower.split('.').collect();
    if labels.last() == Some(&"") {
        labels.pop();
    }
    let is_label = |label: &&str| {
        matches!(label.len(), 1..=63) && label.chars().all(|letter| matches!(letter, 'a'..='z' | '0'..='9' | '-' | '_'))
    };
    let bytes = labels.join(".").len();
    (bytes <= 253 && !labels.is_empty() && labels.iter().all(is_label)).then_some(lower)
}

impl Destination {
    /// What its `Host` field says.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.is_tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// As a URL.
    pub fn url(&self) -> String {
        format!("{}://{}", if self.is_tls { "https" } else { "http" }, self.authority())
    }

    /// Whether it is the daemon's own listener, on the addresses that the rules call its own: the loopback.
    pub fn is_own(&self) -> bool {
        let host = self.host.trim_end_matches('.');
        let is_here = match self.host.parse::<IpAddr>().map(|address| address.to_canonical()) {
            Ok(address) => address.is_loopback() || address.is_unspecified(),
            Err(_) => host == "localhost" || host.ends_with(".localhost"),
        };
        is_here && self.port == OWN_PORT
    }
}

/// Reads a timeout: whole milliseconds, or with a unit; in milliseconds.
pub fn timeout_ms(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let scale: u128 = match &text[digits..] {
        b"" | b"ms" => 1,
        b"s" => 1000,
        b"m" => 60_000,
        b"h" => 3_600_000,
        b"d" => 86_400_000,
        _ => return None,
    };
    let significant: Vec<u8> = text[..digits].iter().copied().skip_while(|digit| *digit == b'0').collect();
    if digits == 0 || significant.len() > 20 {
        return None;
    }
    let value = significant.iter().fold(0_u128, |value, digit| value * 10 + u128::from(digit - b'0'));
    u64::try_from(value * scale).ok().filter(|ms| (1..=TIMEOUT_MS_MAX).contains(ms))
}
