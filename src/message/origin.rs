//! [`Origin`]: a destination, as a sender spells it and as the log holds it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

/// How to speak to an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// HTTP over TCP, port 80 unless given.
    Http,
    /// HTTP over TLS, port 443 unless given.
    Https,
}

impl Scheme {
    /// The port used when the origin names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A destination: scheme, host and port. Lanes, pools and metrics are kept per origin.
///
/// The host is lower-case without brackets, so that two spellings of one origin are equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: Box<str>,
    port: u16,
}

/// An [`Origin`] as a record holds it, borrowed. Hashes and compares like the owned one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OriginRef<'a> {
    /// How to speak to it.
    pub scheme: Scheme,
    /// Name or address, lower-case, IPv6 without brackets.
    pub host: &'a str,
    /// 1..65535.
    pub port: u16,
}

impl OriginRef<'_> {
    /// The owned form.
    pub fn to_origin(self) -> Origin {
        Origin { scheme: self.scheme, host: self.host.into(), port: self.port }
    }
}

impl hashbrown::Equivalent<Rc<Origin>> for OriginRef<'_> {
    fn equivalent(&self, origin: &Rc<Origin>) -> bool {
        *self == origin.borrowed()
    }
}

/// Why a text is not an origin; the sentence names what was expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// `user:password@`.
    #[error("it contains user information")]
    UserInfo,
    /// Anything behind the authority.
    #[error("it contains a path, a query or a fragment")]
    Path,
    /// Not http or https.
    #[error("its scheme is neither http nor https")]
    Scheme,
    /// Not a host name, an IPv4 address or a bracketed IPv6 address.
    #[error("its host is not a name, an IPv4 address or an IPv6 address in brackets")]
    Host,
    /// Not 1..65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
}

/// Longest host name in bytes (RFC 1035 §2.3.4 without the final dot's length byte).
const HOST_BYTES_MAX: usize = 253;

impl Origin {
    /// Reads `host`, `host:port`, `http://host[:port]` or `https://host[:port]`; `bare` is the scheme of the first two.
    pub fn parse(text: &str, bare: Scheme) -> Result<Self, OriginError> {
        let (scheme, authority) = split_scheme(text, bare)?;
        let (host, port) = split_port(authority)?;
        let host = if authority.starts_with('[') {
            host.parse::<Ipv6Addr>().map_err(|_| OriginError::Host)?.to_string()
        } else {
            Some(host.to_ascii_lowercase()).filter(|name| is_host_name(name)).ok_or(OriginError::Host)?
        };
        let port = match port {
            None => scheme.default_port(),
            Some(digits) => parse_port(digits).ok_or(OriginError::Port)?,
        };
        Ok(Self { scheme, host: host.into_boxed_str(), port })
    }

    /// The host within what may not be an origin, as it is spelled, without brackets: for judging what is not taken.
    pub fn host_in(text: &str) -> Option<&str> {
        let (_, authority) = split_scheme(text, Scheme::Http).ok()?;
        split_port(authority).ok().map(|(host, _)| host)
    }

    /// The borrowed form, as a record holds it.
    pub fn borrowed(&self) -> OriginRef<'_> {
        OriginRef { scheme: self.scheme, host: &self.host, port: self.port }
    }

    /// How to speak to it.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Name or address, lower-case, IPv6 without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// 1..65535.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// What the `Host` field of a request to it says (RFC 9110 §7.2): no port where it is the scheme's own.
    pub fn authority(&self) -> String {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        if self.port == self.scheme.default_port() {
            format!("{open}{}{close}", self.host)
        } else {
            format!("{open}{}{close}:{}", self.host, self.port)
        }
    }
}

impl hashbrown::Equivalent<Origin> for OriginRef<'_> {
    fn equivalent(&self, origin: &Origin) -> bool {
        *self == origin.borrowed()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

/// The scheme, or `bare`, and the authority.
fn split_scheme(text: &str, bare: Scheme) -> Result<(Scheme, &str), OriginError> {
    if text.is_empty() {
        return Err(OriginError::Empty);
    }
    let (scheme, authority) = match text.split_once("://") {
        None => (bare, text),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
        Some(_) => return Err(OriginError::Scheme),
    };
    if authority.contains(['/', '?', '#', '\\']) {
        return Err(OriginError::Path);
    }
    if authority.contains('@') {
        return Err(OriginError::UserInfo);
    }
    Ok((scheme, authority))
}

/// The host without brackets, and the port if there is one.
fn split_port(authority: &str) -> Result<(&str, Option<&str>), OriginError> {
    let Some(rest) = authority.strip_prefix('[') else {
        return Ok(authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))));
    };
    let (host, after) = rest.split_once(']').ok_or(OriginError::Host)?;
    match after {
        "" => Ok((host, None)),
        after => Ok((host, Some(after.strip_prefix(':').ok_or(OriginError::Host)?))),
    }
}

pub(super) fn is_host_name(host: &str) -> bool {
    let all_digits_and_dots = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if all_digits_and_dots {
        return host.parse::<Ipv4Addr>().is_ok();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    !name.is_empty()
        && name.len() <= HOST_BYTES_MAX
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

fn parse_port(digits: &str) -> Option<u16> {
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if !plain {
        return None;
    }
    digits.parse().ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_read_in_every_spelling_the_contract_names() {
        let cases = [
            ("b", "http://b"),
            ("B.Example:8080", "http://b.example:8080"),
            ("http://b:80", "http://b"),
            ("HTTPS://b", "https://b"),
            ("https://b:444", "https://b:444"),
            ("[::1]:9", "http://[::1]:9"),
            ("http://[2001:DB8::1]", "http://[2001:db8::1]"),
            ("10.0.0.1:1", "http://10.0.0.1:1"),
            ("under_score", "http://under_score"),
        ];
        for (text, expected) in cases {
            assert_eq!(Origin::parse(text, Scheme::Http).map(|o| o.to_string()), Ok(expected.to_owned()), "{text}");
        }
        assert_eq!(Origin::parse("b", Scheme::Https).map(|o| o.port()), Ok(443));
    }

    #[test]
    fn what_is_not_an_origin_is_refused_with_its_reason() {
        let cases = [
            ("", OriginError::Empty),
            ("u@b", OriginError::UserInfo),
            ("b/x", OriginError::Path),
            ("http://b/", OriginError::Path),
            ("b?x", OriginError::Path),
            ("b#x", OriginError::Path),
            ("ftp://b", OriginError::Scheme),
            ("b:", OriginError::Port),
            ("b:0", OriginError::Port),
            ("b:65536", OriginError::Port),
            ("b:+1", OriginError::Port),
            (":80", OriginError::Host),
            ("::1", OriginError::Host),
            ("[::1", OriginError::Host),
            ("[::1]x", OriginError::Host),
            ("[b]", OriginError::Host),
            ("b c", OriginError::Host),
            ("1.2.3", OriginError::Host),
            ("a..b", OriginError::Host),
        ];
        for (text, expected) in cases {
            assert_eq!(Origin::parse(text, Scheme::Http), Err(expected), "{text}");
        }
    }
}
