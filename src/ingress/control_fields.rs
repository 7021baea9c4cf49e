//! The `X-Dispatcher-*` fields of a request: what each may say, and that there is no other.

use std::net::IpAddr;

use super::refusal::Refusal;
use crate::config::values;
use crate::message::{Origin, OriginError, Scheme};
use crate::metrics::RefusedReason;
use crate::time::Millis;

/// What is a destination, a timeout, and the daemon itself.
#[derive(Clone, Copy, Debug)]
pub struct ControlRules {
    /// Scheme of an origin that names none (`ORIGIN_SCHEME`).
    pub origin_scheme: Scheme,
    /// Largest `X-Dispatcher-Timeout` (`MAX_TIMEOUT`).
    pub timeout_max: Millis,
    /// Port of the data listener.
    pub own_port: u16,
    /// Whether an address is one of this host's own.
    pub is_own_address: fn(IpAddr) -> bool,
}

/// A control field, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlField {
    /// `X-Dispatcher-Origin-Host`.
    Origin,
    /// `X-Dispatcher-Original-Host`, as the first Dispatcher spelled it.
    OriginAlias,
    /// `X-Dispatcher-Timeout`.
    Timeout,
    /// Set by the daemon on what it sends; ignored, so that a receiver may copy headers onward.
    Ours,
    /// A typo, or from another version.
    Unknown,
}

const PREFIX: &[u8] = b"X-Dispatcher-";

/// The field's own spelling of the name of the origin field, for answers.
pub const ORIGIN: &str = "X-Dispatcher-Origin-Host";
const TIMEOUT: &str = "X-Dispatcher-Timeout";

impl ControlField {
    /// Recognises a field of ours by its name; `None` if it is not one.
    pub fn of(name: &str) -> Option<Self> {
        let (prefix, rest) = name.as_bytes().split_at_checked(PREFIX.len())?;
        if !prefix.eq_ignore_ascii_case(PREFIX) {
            return None;
        }
        let is = |field: &str| rest.eq_ignore_ascii_case(field.as_bytes());
        Some(if is("Origin-Host") {
            Self::Origin
        } else if is("Timeout") {
            Self::Timeout
        } else if is("Original-Host") {
            Self::OriginAlias
        } else if is("Message-Id") || is("Attempt") || is("Maybe-Duplicate") {
            Self::Ours
        } else {
            Self::Unknown
        })
    }
}

/// An origin as a client spelled it, and what follows from it. A connection remembers its last one: most connections
/// have only one, and reading it costs two allocations.
#[derive(Clone, Debug)]
pub struct Destination {
    spelled: Vec<u8>,
    origin: Origin,
    authority: String,
    own: bool,
}

impl Destination {
    /// Reads the value of an origin field, unless `last` was spelled the same.
    ///
    /// Errors: 400 with what was expected.
    pub fn read<'a>(
        name: &str,
        value: &[u8],
        rules: &ControlRules,
        last: &'a mut Option<Self>,
    ) -> Result<&'a Self, Refusal> {
        if last.as_ref().is_none_or(|last| last.spelled != value) {
            let origin = parse_origin(name, value, rules.origin_scheme)?;
            let own = is_own(&origin, rules);
            *last = Some(Self { spelled: value.to_vec(), authority: origin.authority(), origin, own });
        }
        Ok(last.as_ref().expect("it was there, or has just been put there"))
    }

    /// Where it is.
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What the `Host` field of a request to it says.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Errors: 508 if it is this daemon, which would send the message to itself for ever.
    pub fn check_loop(&self) -> Result<(), Refusal> {
        if !self.own {
            return Ok(());
        }
        let refusal =
            Refusal::new(RefusedReason::Loop, "The origin is this daemon: the message would be sent to itself.");
        Err(refusal.blame(ORIGIN, &self.spelled, "another host or port"))
    }
}

/// Whether the origin is our own listener, as far as its text shows: a name that resolves to this host is only caught
/// if it is `localhost`, because nothing is resolved before the 202.
fn is_own(origin: &Origin, rules: &ControlRules) -> bool {
    if origin.port() != rules.own_port {
        return false;
    }
    match origin.host().parse::<IpAddr>() {
        Ok(address) => {
            // RFC 4291 §2.5.5.2: an IPv4-mapped address reaches the same listener.
            let address = address.to_canonical();
            address.is_loopback() || address.is_unspecified() || (rules.is_own_address)(address)
        }
        // RFC 6761 §6.3: localhost and everything below it is the loopback.
        Err(_) => {
            let host = origin.host().strip_suffix('.').unwrap_or(origin.host());
            host == "localhost" || host.ends_with(".localhost")
        }
    }
}

/// What an origin field may say, for answers.
pub const ORIGIN_EXPECTED: &str = "host, host:port, http://host[:port] or https://host[:port], once";

/// Reads the value of an origin field. Errors: 400.
pub fn parse_origin(name: &str, value: &[u8], scheme: Scheme) -> Result<Origin, Refusal> {
    std::str::from_utf8(value)
        .map_err(|_| OriginError::Host)
        .and_then(|text| Origin::parse(text, scheme))
        .map_err(|error| fault(format!("This is not an origin: {error}."), name, value, ORIGIN_EXPECTED))
}

/// The field is there more than once, or the origin in both spellings that differ.
pub fn repeated(name: &str, value: &[u8]) -> Refusal {
    fault("This is given more than once.".to_owned(), name, value, "one value, once")
}

/// A field of ours that does not exist: refused, since a typo must not silently lose an instruction.
pub fn unknown(name: &str, value: &[u8]) -> Refusal {
    let expected = "X-Dispatcher-Origin-Host or X-Dispatcher-Timeout";
    fault("There is no such X-Dispatcher field.".to_owned(), name, value, expected)
}

/// Reads an `X-Dispatcher-Timeout`: whole milliseconds, or with a unit. Errors: 400.
pub fn parse_timeout(value: &[u8], max: Millis) -> Result<Millis, Refusal> {
    let span = std::str::from_utf8(value).ok().and_then(values::duration);
    span.filter(|span| (1..=max.0).contains(&span.0)).ok_or_else(|| {
        let expected = format!("whole milliseconds from 1 to {} ({max}), or such as 500ms, 10s, 5m", max.0);
        let refusal = Refusal::new(RefusedReason::ControlHeader, "This is not a timeout, or not within its range.");
        refusal.blame(TIMEOUT, value, expected)
    })
}

fn fault(detail: String, name: &str, value: &[u8], expected: &'static str) -> Refusal {
    Refusal::new(RefusedReason::ControlHeader, detail).blame(name, value, expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ControlRules = ControlRules {
        origin_scheme: Scheme::Http,
        timeout_max: Millis(1_800_000),
        own_port: 8080,
        is_own_address: |address| address == IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7)),
    };

    #[test]
    fn a_timeout_is_whole_milliseconds_or_has_a_unit() {
        let cases = [
            ("1", Some(1)),
            ("10000", Some(10_000)),
            ("500ms", Some(500)),
            ("10s", Some(10_000)),
            ("5m", Some(300_000)),
            ("30m", Some(1_800_000)),
            ("0", None),
            ("0s", None),
            ("", None),
            ("ms", None),
            ("31m", None),
            ("1h", None),
            ("1.5s", None),
            ("-1", None),
            ("+1", None),
            ("1 s", None),
            ("10S", None),
            ("18446744073709551616", None),
            ("18446744073709551615m", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_timeout(text.as_bytes(), RULES.timeout_max).ok(), expected.map(Millis), "{text}");
        }
    }

    #[test]
    fn names_are_recognised_in_any_case_and_others_left_alone() {
        let cases = [
            ("x-dispatcher-origin-host", Some(ControlField::Origin)),
            ("X-DISPATCHER-ORIGINAL-HOST", Some(ControlField::OriginAlias)),
            ("X-Dispatcher-Timeout", Some(ControlField::Timeout)),
            ("X-Dispatcher-Attempt", Some(ControlField::Ours)),
            ("X-Dispatcher-Message-Id", Some(ControlField::Ours)),
            ("X-Dispatcher-Maybe-Duplicate", Some(ControlField::Ours)),
            ("X-Dispatcher-Orign-Host", Some(ControlField::Unknown)),
            ("X-Dispatcher-", Some(ControlField::Unknown)),
            ("X-Dispatcher", None),
            ("X-Dispatched-By", None),
            ("Host", None),
        ];
        for (name, expected) in cases {
            assert_eq!(ControlField::of(name), expected, "{name}");
        }
    }

    #[test]
    fn a_message_is_not_sent_to_the_daemon_itself() {
        let own = |text: &str| {
            let mut last = None;
            Destination::read(ORIGIN, text.as_bytes(), &RULES, &mut last).unwrap().check_loop().is_err()
        };
        for text in [
            "localhost:8080",
            "LOCALHOST.:8080",
            "https://a.localhost:8080",
            "127.0.0.1:8080",
            "127.9.9.9:8080",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:8080",
            "0.0.0.0:8080",
            "[::]:8080",
            "10.0.0.7:8080",
        ] {
            assert!(own(text), "{text}");
        }
        for text in ["localhost", "localhost:8081", "10.0.0.8:8080", "b:8080", "notlocalhost:8080"] {
            assert!(!own(text), "{text}");
        }
    }

    #[test]
    fn a_destination_is_read_again_only_when_it_is_spelled_otherwise() {
        let mut last = None;
        for (text, authority) in [("b", "b"), ("b", "b"), ("B:81", "b:81"), ("https://b:443", "b")] {
            let destination = Destination::read(ORIGIN, text.as_bytes(), &RULES, &mut last).unwrap();
            assert_eq!(destination.authority(), authority);
        }
        assert!(Destination::read(ORIGIN, b"\xff", &RULES, &mut last).is_err());
    }
}
