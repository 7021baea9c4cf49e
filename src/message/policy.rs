//! Which destinations messages may be sent to: the lists of `ORIGIN_ALLOW` and `ORIGIN_DENY`, and what is denied by default.
//!
//! A host is judged when its request comes in, as far as its text tells where it leads, and each address that it resolves
//! to when it is about to be connected to. Nothing is resolved here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::origin::is_host_name;
use crate::limits::POLICY_RULES_MAX;

/// Denied unless `ORIGIN_ALLOW` names a part of it: where machines in a cloud get their credentials from, and what is
/// only on this link.
const DEFAULT_DENIED: [IpNet; 7] = [
    // RFC 3927; the metadata service of nearly every cloud is 169.254.169.254.
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
    // RFC 4291 §2.5.6.
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)),
    // Amazon, Google and Oracle over IPv6.
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), 128)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), 128)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), 128)),
    // Alibaba; Azure's other service for its guests.
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(100, 100, 100, 200), 32)),
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(168, 63, 129, 16), 32)),
];

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As the operator wrote it.
    text: Box<str>,
    matches: Matches,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Matches {
    /// A name, lower-case, without a final dot.
    Host(Box<str>),
    /// Every name below this one: `.example`.
    Below(Box<str>),
    /// Addresses.
    Net(IpNet),
}

impl Rule {
    /// Reads a name, `*.` and a name, an address, or a CIDR range.
    pub fn parse(text: &str) -> Option<Self> {
        let name = |name: &str| {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            (is_host_name(&name) && readings(&name).next().is_none()).then_some(name)
        };
        let matches = if let Some(below) = text.strip_prefix("*.") {
            Matches::Below(format!(".{}", name(below)?).into())
        } else if let Some(net) = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)) {
            Matches::Net(embedded_net(net.trunc()))
        } else {
            Matches::Host(name(text)?.into())
        };
        Some(Self { text: text.into(), matches })
    }

    /// Reads a list: rules separated by commas, none of them empty.
    pub fn parse_list(text: &str) -> Option<Vec<Self>> {
        let rules: Vec<Self> = text.split(',').map(|rule| Self::parse(rule.trim())).collect::<Option<_>>()?;
        (rules.len() <= POLICY_RULES_MAX).then_some(rules)
    }

    fn has_name(&self, name: &str) -> bool {
        match &self.matches {
            Matches::Host(host) => **host == *name,
            Matches::Below(suffix) => name.ends_with(&**suffix),
            Matches::Net(_) => false,
        }
    }

    fn has_address(&self, address: IpAddr) -> bool {
        self.net().is_some_and(|net| forms(address).any(|form| net.contains(&form)))
    }

    const fn net(&self) -> Option<&IpNet> {
        match &self.matches {
            Matches::Net(net) => Some(net),
            Matches::Host(_) | Matches::Below(_) => None,
        }
    }
}

/// Why a destination is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial<'a> {
    /// By this entry of `ORIGIN_DENY`.
    Entry(&'a str),
    /// By this range, which is denied by default.
    Default(IpNet),
    /// `ORIGIN_ALLOW` is set and has no entry for it.
    NotAllowed,
}

impl fmt::Display for Denial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(entry) => write!(f, "{entry} is in ORIGIN_DENY"),
            Self::Default(net) => write!(f, "{net} is denied by default"),
            Self::NotAllowed => f.write_str("ORIGIN_ALLOW has no entry for it"),
        }
    }
}

/// Both lists. A denial wins over a permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

impl Policy {
    /// Without an entry in either list: only what is denied by default is.
    pub const DEFAULT: Self = Self::new(Vec::new(), Vec::new());

    /// `allow` may be empty, and then permits everything.
    pub const fn new(allow: Vec<Rule>, deny: Vec<Rule>) -> Self {
        Self { allow, deny }
    }

    /// Judges a host by its text alone: an address in any spelling finally; a name only as far as the lists have names,
    /// because where it leads is known later.
    pub fn judge_host(&self, host: &str) -> Result<(), Denial<'_>> {
        if readings(host).next().is_some() {
            return self.judge_spelling(host);
        }
        let name = canonical_name(host);
        self.judge_name(&name)?;
        let may_match = |rule: &Rule| rule.net().is_some() || rule.has_name(&name);
        if self.allow.is_empty() || self.allow.iter().any(may_match) { Ok(()) } else { Err(Denial::NotAllowed) }
    }

    /// Judges a text that some resolver would take for an address; says nothing against any other.
    pub fn judge_spelling(&self, host: &str) -> Result<(), Denial<'_>> {
        readings(host).try_for_each(|address| self.judge(host, address))
    }

    /// Judges an address that `host` leads to: this is what holds, whatever was known before.
    pub fn judge(&self, host: &str, address: IpAddr) -> Result<(), Denial<'_>> {
        let name = canonical_name(host);
        self.judge_name(&name)?;
        if let Some(rule) = self.deny.iter().find(|rule| rule.has_address(address)) {
            return Err(Denial::Entry(&rule.text));
        }
        let is_closed = |net: &&IpNet| forms(address).any(|form| net.contains(&form) && !self.opens(net, form));
        if let Some(net) = DEFAULT_DENIED.iter().find(is_closed) {
            return Err(Denial::Default(*net));
        }
        let matches = |rule: &Rule| rule.has_address(address) || rule.has_name(&name);
        if self.allow.is_empty() || self.allow.iter().any(matches) { Ok(()) } else { Err(Denial::NotAllowed) }
    }

    fn judge_name(&self, name: &str) -> Result<(), Denial<'_>> {
        self.deny.iter().find(|rule| rule.has_name(name)).map_or(Ok(()), |rule| Err(Denial::Entry(&rule.text)))
    }

    /// Whether `ORIGIN_ALLOW` means an address of a range that is denied by default: with an entry within that range, so
    /// that `0.0.0.0/0` does not.
    fn opens(&self, denied: &IpNet, address: IpAddr) -> bool {
        self.allow.iter().filter_map(Rule::net).any(|net| denied.contains(net) && net.contains(&address))
    }
}

fn canonical_name(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// What an address is compared as: itself, the IPv4 address that is embedded in it, and the loopback, where the kernel
/// connects an unspecified address to.
fn forms(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let embedded = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => embedded(address).map(IpAddr::V4),
    };
    let loopback = match embedded.unwrap_or(address) {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        _ => None,
    };
    [Some(address), embedded, loopback].into_iter().flatten()
}

/// The IPv4 address in an IPv4-mapped (RFC 4291 §2.5.5.2), IPv4-compatible (§2.5.5.1) or NAT64 address (RFC 6052 §2.1).
fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d] = match address.segments() {
        // Not the unspecified address and the loopback, which are of the same form.
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => return None,
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            [a, b, c, d]
        }
        _ => return None,
    };
    Some(Ipv4Addr::new(a, b, c, d))
}

/// A range of IPv4-mapped addresses as the range of IPv4 addresses that it means: addresses are compared in that form.
fn embedded_net(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let inner = v6.prefix_len().checked_sub(96).zip(v6.addr().to_ipv4_mapped());
    inner.and_then(|(length, address)| Ipv4Net::new(address, length).ok()).map_or(net, IpNet::V4)
}

/// The addresses that one resolver or another would take `host` for: none if it is a name.
///
/// Besides the usual notation: that of `inet_aton` (decimal, octal or hexadecimal numbers, one to four of them), its
/// leading zeros read as decimal too, final dots, and a zone behind an IPv6 address.
fn readings(host: &str) -> impl Iterator<Item = IpAddr> {
    let host = host.split_once('%').map_or(host, |(address, _zone)| address).trim_end_matches('.');
    let v6 = host.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let v4 = |octal| inet_aton(host, octal).map(IpAddr::V4);
    [v6, v4(true), v4(false)].into_iter().flatten()
}

/// `inet_aton(3)`: `a.b.c.d`, `a.b.c`, `a.b` or `a`, the last number filling what is left. `octal` says whether a leading
/// zero means that.
fn inet_aton(text: &str, octal: bool) -> Option<Ipv4Addr> {
    let mut bytes: u32 = 0;
    let mut free_bits = 32;
    let mut parts = text.split('.').peekable();
    while let Some(part) = parts.next() {
        let value = number(part, octal)?;
        let bits = if parts.peek().is_some() { 8 } else { free_bits };
        if free_bits == 0 || u64::from(value) >> bits != 0 {
            return None;
        }
        free_bits -= bits;
        bytes |= value << free_bits;
    }
    Some(Ipv4Addr::from(bytes))
}

fn number(text: &str, octal: bool) -> Option<u32> {
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = match hexadecimal {
        Some(digits) => (digits, 16),
        None if octal && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // A sign is no digit.
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, radix).ok()).flatten()
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
