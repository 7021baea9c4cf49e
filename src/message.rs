//! The nouns: [`MessageId`], [`Origin`], and the [`Draft`] of a message that is not durable yet.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use crate::time::{Millis, UnixMillis};

/// Identity of a message: a `UUIDv7` (RFC 9562 §5.7). Sorts by time of acceptance; unique over cores and nodes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub [u8; 16]);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl MessageId {
    /// Length of the text form in bytes.
    pub const TEXT_BYTES: usize = uuid::fmt::Hyphenated::LENGTH;

    /// The text form, without an allocation.
    pub fn text(self) -> [u8; Self::TEXT_BYTES] {
        let mut text = [0; Self::TEXT_BYTES];
        uuid::Uuid::from_bytes(self.0).hyphenated().encode_lower(&mut text);
        text
    }

    /// When the message was accepted: the id's timestamp (RFC 9562 §5.7).
    pub fn accepted(self) -> UnixMillis {
        UnixMillis(low_u64(u128::from_be_bytes(self.0) >> 80))
    }

    /// Reads the text form, as an operator would paste it.
    pub fn parse(text: &str) -> Option<Self> {
        uuid::Uuid::try_parse(text).ok().map(|id| Self(id.into_bytes()))
    }
}

/// Strictly increasing `UUIDv7`s of one shard: RFC 9562 §6.2 method 2, monotonic random.
///
/// The 74 bits below the timestamp start at random in each millisecond and grow by a random step within it, so that
/// two shards or two nodes meet only by a 2^-73 chance, and a wall clock that jumps back never makes an id smaller.
#[derive(Debug)]
pub struct IdSource {
    unix_ms: u64,
    tail: u128,
    random: Xorshift,
}

const TAIL_BITS: u32 = 74;
const TAIL_MAX: u128 = (1 << TAIL_BITS) - 1;

impl IdSource {
    /// `seed` must differ between shards, restarts and nodes: take it from the operating system.
    pub fn new(seed: u64) -> Self {
        Self { unix_ms: 0, tail: 0, random: Xorshift::new(seed) }
    }

    /// Makes every later id greater than `id`; called for each id that recovery meets.
    pub fn advance_past(&mut self, id: MessageId) {
        let bits = u128::from_be_bytes(id.0);
        let unix_ms = low_u64(bits >> 80);
        let tail = ((bits >> 64) & 0xFFF) << 62 | (bits & ((1 << 62) - 1));
        if (unix_ms, tail) > (self.unix_ms, self.tail) {
            (self.unix_ms, self.tail) = (unix_ms, tail);
        }
    }

    /// The next id, greater than all before it.
    pub fn next(&mut self, now: UnixMillis) -> MessageId {
        let step = u128::from(self.random.next() & 0xFFFF_FFFF) + 1;
        if now.0 > self.unix_ms {
            self.unix_ms = now.0;
            // The top bit stays free, so that a millisecond has room for 2^41 steps at least.
            self.tail = (u128::from(self.random.next()) << 9 | u128::from(self.random.next() >> 55)) & (TAIL_MAX >> 1);
        } else {
            self.tail += step;
            if self.tail > TAIL_MAX {
                self.unix_ms += 1;
                self.tail = step;
            }
        }
        let high = u128::from(self.unix_ms & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | (self.tail >> 62) << 64;
        let low = 0b10 << 62 | (self.tail & ((1 << 62) - 1));
        MessageId((high | low).to_be_bytes())
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the caller has shifted the value into 48 bits")]
const fn low_u64(bits: u128) -> u64 {
    bits as u64
}

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators"): jitter and id tails need
/// spread, not secrecy, and a seed that a simulation can replay.
#[derive(Clone, Debug)]
pub struct Xorshift(u64);

impl Xorshift {
    /// Any seed; zero, the one value the generator cannot leave, is replaced.
    pub fn new(seed: u64) -> Self {
        Self(if seed == 0 { 0x9E37_79B9_7F4A_7C15 } else { seed })
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait, reason = "an endless source is no iterator a caller would adapt")]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// Number of a live message within its shard: an index into tables, reused when the message has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

impl Slot {
    /// As an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

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
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or(OriginError::Host)?;
                let address: Ipv6Addr = address.parse().map_err(|_| OriginError::Host)?;
                let port = match after {
                    "" => None,
                    after => Some(after.strip_prefix(':').ok_or(OriginError::Host)?),
                };
                (address.to_string(), port)
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host.to_ascii_lowercase(), Some(port)),
                None => (authority.to_ascii_lowercase(), None),
            },
        };
        if !host.contains(':') && !is_host_name(&host) {
            return Err(OriginError::Host);
        }
        let port = match port {
            None => scheme.default_port(),
            Some(digits) => parse_port(digits).ok_or(OriginError::Port)?,
        };
        Ok(Self { scheme, host: host.into_boxed_str(), port })
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

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.as_str(), self.authority())
    }
}

fn is_host_name(host: &str) -> bool {
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

/// A message as the ingress hands it over: borrowed from the connection's buffers, copied once, into the batch.
#[derive(Clone, Copy, Debug)]
pub struct Draft<'a> {
    /// Where it is to go.
    pub origin: &'a Origin,
    /// `X-Dispatcher-Timeout`; `None` means `DEFAULT_TIMEOUT` as it is when an attempt starts.
    pub timeout: Option<Millis>,
    /// The outbound head as it will be sent, without the fields that differ per attempt and without the final empty
    /// line: request line, then fields, each with its CRLF.
    pub head: &'a [u8],
    /// The decoded body, in order.
    pub body: &'a [u8],
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

    #[test]
    fn ids_strictly_increase_even_when_the_clock_jumps_back() {
        let mut source = IdSource::new(7);
        let mut last = source.next(UnixMillis(1000));
        for step in 0..10_000_u64 {
            let id = source.next(UnixMillis(1000 - step % 7 + step / 100));
            assert!(id > last, "{id} after {last}");
            last = id;
        }
        let uuid = uuid::Uuid::from_bytes(last.0);
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
    }

    #[test]
    fn ids_after_a_restart_are_greater_than_those_recovered() {
        let recovered = IdSource::new(1).next(UnixMillis(5000));
        let mut source = IdSource::new(2);
        source.advance_past(recovered);
        assert!(source.next(UnixMillis(4000)) > recovered);
        assert_eq!(MessageId::parse(&recovered.to_string()), Some(recovered));
        assert_eq!(recovered.to_string().as_bytes(), recovered.text());
    }
}
