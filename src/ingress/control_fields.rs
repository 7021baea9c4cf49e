//! The `X-Dispatcher-*` fields of a request: what each may say, and that there is no other.

use std::net::IpAddr;

use super::refusal::Refusal;
use crate::config::values;
use crate::message::policy::Policy;
use crate::message::{Origin, OriginError, Scheme};
use crate::metrics::RefusedReason;
use crate::time::Millis;

/// What is a destination, a timeout, and the daemon itself.
#[derive(Clone, Debug)]
pub struct ControlRules {
    /// Scheme of an origin that names none (`ORIGIN_SCHEME`).
    pub origin_scheme: Scheme,
    /// Largest `X-Dispatcher-Timeout` (`MAX_TIMEOUT`).
    pub timeout_max: Millis,
    /// Port of the data listener.
    pub own_port: u16,
    /// What it speaks.
    pub own_scheme: Scheme,
    /// Whether an address is one of this host's own.
    pub is_own_address: fn(IpAddr) -> bool,
    /// Where messages may go.
    pub policy: Policy,
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
    /// `X-Dispatcher-Authorization`.
    Authorization,
    /// Set by the daemon on what it sends; ignored, so that a receiver may copy headers onward.
    Ours,
    /// A typo, or from another version.
    Unknown,
}

const PREFIX: &[u8] = b"X-Dispatcher-";

/// The field's own spelling of the name of the origin field, for answers.
pub const ORIGIN: &str = "X-Dispatcher-Origin-Host";
/// The same of its other name, of the bound on an attempt, and of the token.
pub const ORIGIN_ALIAS: &str = "X-Dispatcher-Original-Host";
/// See [`ORIGIN_ALIAS`].
pub const TIMEOUT: &str = "X-Dispatcher-Timeout";
/// See [`ORIGIN_ALIAS`].
pub const AUTHORIZATION: &str = "X-Dispatcher-Authorization";

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
        } else if is("Authorization") {
            Self::Authorization
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
    /// Errors: 400 with what was expected, 403 if messages may not go there.
    pub fn read<'a>(
        name: &str,
        value: &[u8],
        rules: &ControlRules,
        last: &'a mut Option<Self>,
    ) -> Result<&'a Self, Refusal> {
        if last.as_ref().is_none_or(|last| last.spelled != value) {
            let origin = parse_origin(name, value, rules)?;
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

/// Reads the value of an origin field. Errors: 400, 403.
pub fn parse_origin(name: &str, value: &[u8], rules: &ControlRules) -> Result<Origin, Refusal> {
    let text = std::str::from_utf8(value).map_err(|_| OriginError::Host);
    let parsed = text.and_then(|text| Origin::parse(text, rules.origin_scheme));
    // Before the 400: who is sent away from a denied address with a hint at its spelling comes again with another one.
    let verdict = match &parsed {
        Ok(origin) => rules.policy.judge_host(origin.host()),
        Err(_) => text.ok().and_then(Origin::host_in).map_or(Ok(()), |host| rules.policy.judge_spelling(host)),
    };
    if let Err(denial) = verdict {
        let refusal = Refusal::new(RefusedReason::Denied, format!("Messages may not be sent there: {denial}."));
        return Err(refusal.blame(name, value, "a destination that ORIGIN_ALLOW and ORIGIN_DENY permit"));
    }
    parsed.map_err(|error| fault(format!("This is not an origin: {error}."), name, value, ORIGIN_EXPECTED))
}

/// The field is there more than once, or the origin in both spellings that differ.
pub fn repeated(name: &str, value: &[u8]) -> Refusal {
    fault("This is given more than once.".to_owned(), name, value, "one value, once")
}

/// A field of ours that does not exist: refused, since a typo must not silently lose an instruction.
pub fn unknown(name: &str, value: &[u8]) -> Refusal {
    let expected = "X-Dispatcher-Origin-Host, X-Dispatcher-Timeout or X-Dispatcher-Authorization";
    fault("There is no such X-Dispatcher field.".to_owned(), name, value, expected)
}

/// It brings no token that lets it in. That says the same whatever it brought, and nothing of what else may be wrong.
pub fn unauthorized() -> Refusal {
    Refusal::new(RefusedReason::Unauthorized, "This needs a token, and the request brings none that is known.").blame(
        AUTHORIZATION,
        b"",
        "Bearer and a token that AUTH_TOKEN or AUTH_TOKEN_FILE holds, once",
    )
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
    use crate::message::policy::Rule;

    const RULES: ControlRules = ControlRules {
        origin_scheme: Scheme::Http,
        timeout_max: Millis(1_800_000),
        own_port: 8080,
        own_scheme: Scheme::Http,
        is_own_address: |address| address == IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7)),
        policy: Policy::DEFAULT,
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
            ("x-dispatcher-AUTHORIZATION", Some(ControlField::Authorization)),
            ("X-Dispatcher-Authorisation", Some(ControlField::Unknown)),
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
    fn where_messages_may_not_go_is_403_in_every_spelling_and_before_any_400() {
        let list = |text: &str| Rule::parse_list(text).unwrap();
        let policy = Policy::new(Vec::new(), list("10.0.0.0/8,evil.example,*.internal"));
        let status = |rules: &ControlRules, text: &str| {
            Destination::read(ORIGIN, text.as_bytes(), rules, &mut None)
                .map_or_else(|refusal| refusal.status(), |_| 202)
        };
        let rules = ControlRules { policy, ..RULES };
        for (text, expected) in [
            ("169.254.169.254", 403),
            ("http://169.254.169.254:80", 403),
            ("169.254.169.254.", 403),
            ("2852039166", 403),
            ("0xa9fea9fe:80", 403),
            ("https://0251.0376.0251.0376", 403),
            ("[::ffff:169.254.169.254]:80", 403),
            ("[fe80::1%eth0]", 403),
            ("[FD00:EC2::254]", 403),
            ("10.1", 403),
            ("167772161", 403),
            ("EVIL.example.:8080", 403),
            ("a.internal", 403),
            ("internal", 202),
            ("11.0.0.1", 202),
            ("11.1", 400),
            ("0x7f.1", 202),
            ("user@169.254.169.254", 400),
            ("\u{ff11}69.254.169.254", 400),
        ] {
            assert_eq!(status(&rules, text), expected, "{text}");
        }
        let named = ControlRules { policy: Policy::new(list("b,*.example"), Vec::new()), ..RULES };
        for (text, expected) in
            [("b:81", 202), ("A.Example", 202), ("c", 403), ("11.0.0.1", 403), ("11.1", 403), ("b c", 400), ("", 400)]
        {
            assert_eq!(status(&named, text), expected, "{text}");
        }
        let refusal = Destination::read(ORIGIN, b"10.1", &rules, &mut None).unwrap_err();
        assert_eq!(refusal.detail(), "Messages may not be sent there: 10.0.0.0/8 is in ORIGIN_DENY.");
        assert_eq!(refusal.fault().map(|fault| fault.value.as_deref()), Some(Some("10.1")));
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
