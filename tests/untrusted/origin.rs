//! Destinations and timeouts of control fields: read as the contract's table says, and no spelling of an address that
//! is denied gets through.

use std::net::{IpAddr, Ipv4Addr};

use dispatcher::ingress::control_fields::{Destination, ORIGIN, parse_origin, parse_timeout};
use dispatcher::message::policy::{Policy, Rule};
use dispatcher::message::{Origin, Scheme};
use dispatcher::time::Millis;

use super::choices::Choices;
use super::expected_origin;
use super::rules::{TIMEOUT_MS_MAX, rules};

/// Checks an input: `[what, rules, …]`.
pub fn check(input: &[u8]) {
    let [what, measures, rest @ ..] = input else { return };
    match what % 4 {
        0 => origin(rest, *measures),
        1 => {
            let expected = expected_origin::timeout_ms(rest).map(Millis);
            assert_eq!(parse_timeout(rest, Millis(TIMEOUT_MS_MAX)).ok(), expected, "{}", rest.escape_ascii());
        }
        2 => spelled(&mut Choices::Bytes(rest)),
        _ => lists(&mut Choices::Bytes(rest), rest),
    }
}

fn origin(value: &[u8], measures: u8) {
    let rules = rules(measures);
    let Ok(text) = std::str::from_utf8(value) else {
        assert_eq!(parse_origin(ORIGIN, value, &rules.control).err().map(|refusal| refusal.status()), Some(400));
        return;
    };
    let bare = rules.control.origin_scheme;
    let expected = expected_origin::destination(text, bare == Scheme::Https);
    let read = Origin::parse(text, bare).ok();
    assert_eq!(read.as_ref().map(ToString::to_string), expected.as_ref().map(|to| to.url()), "{text:?}");
    let mut last = None;
    let outcome = Destination::read(ORIGIN, value, &rules.control, &mut last).map(|_| ()).map_err(|r| r.status());
    let (Some(expected), Some(read)) = (expected, read) else {
        assert!(matches!(outcome, Err(400 | 403)), "{text:?}");
        return;
    };
    // What it is printed as is read as the same one, and goes into a field without a second reading.
    let printed = read.to_string();
    assert_eq!(Origin::parse(&printed, Scheme::Http).ok(), Some(read.clone()));
    assert!(expected.authority().bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@\\,".contains(&byte)));
    let denied = read.host().parse().is_ok_and(is_denied);
    match outcome {
        Ok(()) => {
            let to = last.expect("it was read");
            assert!(!denied, "{text:?}");
            assert_eq!((to.origin(), to.authority()), (&read, expected.authority().as_str()));
            assert_eq!(to.check_loop().is_err(), expected.is_own(), "{text:?}");
        }
        Err(status) => assert!(status == 403 && last.is_none(), "{text:?}"),
    }
}

/// Ranges that are denied by default, in the addresses' own notation.
fn is_denied(address: IpAddr) -> bool {
    let v4 = |address: Ipv4Addr| {
        address.is_link_local()
            || [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)].contains(&address)
    };
    match address {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => {
            address.is_unicast_link_local()
                || address.to_ipv4_mapped().is_some_and(v4)
                || address.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254]
        }
    }
}

/// A denied address, in any of the spellings that some resolver takes: never a destination.
fn spelled(choices: &mut Choices<'_>) {
    let (low, high) = (choices.below(256), choices.below(256));
    let address = 0xA9FE_0000 | u32::try_from(high << 8 | low).expect("16 bits");
    let [a, b, c, d] = address.to_be_bytes();
    let host = match choices.below(4) {
        0 => format!("[::ffff:{a}.{b}.{c}.{d}]"),
        1 => format!("[{}::{:x}:{:x}]", choices.one_of(&["64:ff9b", "0"]), address >> 16, address & 0xFFFF),
        _ => {
            let parts: Vec<u32> = match choices.below(4) {
                0 => vec![a.into(), b.into(), c.into(), d.into()],
                1 => vec![a.into(), b.into(), address & 0xFFFF],
                2 => vec![a.into(), address & 0xFF_FFFF],
                _ => vec![address],
            };
            let parts: Vec<String> = parts.into_iter().map(|part| number(choices, part)).collect();
            parts.join(".") + *choices.one_of(&["", "."])
        }
    };
    let value = format!("{}{host}{}", choices.one_of(&["", "http://", "HTTPS://"]), choices.one_of(&["", ":80", ":1"]));
    let outcome = parse_origin(ORIGIN, value.as_bytes(), &rules(0).control);
    assert!(outcome.is_err(), "{value}");
}

fn number(choices: &mut Choices<'_>, value: u32) -> String {
    let zeros = "0".repeat(choices.below(4));
    match choices.below(4) {
        0 => value.to_string(),
        1 => format!("0{zeros}{value:o}"),
        2 => format!("0x{zeros}{value:x}"),
        _ => format!("0X{zeros}{value:X}"),
    }
}

/// Lists: what is denied by an entry is so whatever else is permitted, and a text is judged as its address is.
fn lists(choices: &mut Choices<'_>, input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.splitn(3, '|');
    let (allow, deny) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let host = parts.next().unwrap_or_default();
    let (allow, deny) = (Rule::parse_list(allow).unwrap_or_default(), Rule::parse_list(deny).unwrap_or_default());
    let policy = Policy::new(allow.clone(), deny.clone());
    let address = host.parse().unwrap_or_else(|_| {
        let bytes: [u8; 4] = std::array::from_fn(|_| u8::try_from(choices.below(256)).expect("below 256"));
        IpAddr::from(bytes)
    });
    let verdict = policy.judge(host, address);
    if Policy::new(Vec::new(), deny.clone()).judge(host, address).is_err() && allow.is_empty() {
        assert!(verdict.is_err());
    }
    if let Ok(own) = host.parse::<IpAddr>() {
        assert_eq!(policy.judge_host(host).is_err(), policy.judge(host, own).is_err(), "{host}");
    }
    // Whatever is permitted besides, an entry that denies wins.
    if let Some(entry) = Rule::parse(host) {
        assert!(Policy::new(allow, vec![entry]).judge_host(host.trim_start_matches("*.")).is_err() || is_below(host));
    }
}

/// An entry for what is below a name, or a range, is not itself a host.
fn is_below(host: &str) -> bool {
    host.starts_with("*.") || host.contains('/')
}
