//! The lists of destinations: what each entry means, which wins, and that no spelling of an address gets around them.

use proptest::prelude::*;

use super::*;

fn policy(allow: &str, deny: &str) -> Policy {
    let list = |text: &str| if text.is_empty() { Vec::new() } else { Rule::parse_list(text).unwrap() };
    Policy::new(list(allow), list(deny))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_list_is_names_suffixes_addresses_and_ranges() {
    for good in
        ["b", "B.Example.", "*.example", "10.0.0.1", "10.0.0.1/8", "::1", "fd00::/8", "a, b ,10.0.0.0/8", "under_score"]
    {
        assert!(Rule::parse_list(good).is_some(), "{good}");
    }
    for bad in [
        "",
        " ",
        ",",
        "a,",
        "*",
        "*.",
        "a.*",
        "**.a",
        "a b",
        "b:80",
        "http://b",
        "10.0.0.0/33",
        "127.1",
        "0x7f000001",
        "010.0.0.1",
        "*.1",
        "[::1]",
        "é",
    ] {
        assert!(Rule::parse_list(bad).is_none(), "{bad}");
    }
    assert!(Rule::parse_list(&vec!["b"; POLICY_RULES_MAX].join(",")).is_some());
    assert!(Rule::parse_list(&vec!["b"; POLICY_RULES_MAX + 1].join(",")).is_none());
}

/// A row: the two lists, a host, an address that it leads to, and the verdict on the address.
#[test]
fn an_address_is_judged_by_both_lists_and_a_denial_wins() {
    let table = [
        ("", "", "b", "10.0.0.1", None),
        ("", "", "127.0.0.1", "127.0.0.1", None),
        ("", "10.0.0.0/8", "b", "10.9.9.9", Some("10.0.0.0/8 is in ORIGIN_DENY")),
        ("", "10.0.0.0/8", "b", "11.0.0.1", None),
        ("", "10.0.0.0/8", "b", "::ffff:10.0.0.1", Some("10.0.0.0/8 is in ORIGIN_DENY")),
        ("", "10.0.0.0/8", "b", "::10.0.0.1", Some("10.0.0.0/8 is in ORIGIN_DENY")),
        ("", "10.0.0.0/8", "b", "64:ff9b::10.0.0.1", Some("10.0.0.0/8 is in ORIGIN_DENY")),
        ("", "::ffff:10.0.0.0/104", "b", "10.0.0.1", Some("::ffff:10.0.0.0/104 is in ORIGIN_DENY")),
        ("", "127.0.0.0/8", "b", "0.0.0.0", Some("127.0.0.0/8 is in ORIGIN_DENY")),
        ("", "127.0.0.0/8", "b", "::ffff:0.0.0.0", Some("127.0.0.0/8 is in ORIGIN_DENY")),
        ("", "::1", "b", "::", Some("::1 is in ORIGIN_DENY")),
        ("", "0.0.0.0/8", "b", "::1", None),
        ("", "b", "B.", "10.0.0.1", Some("b is in ORIGIN_DENY")),
        ("", "*.example", "b.Example", "10.0.0.1", Some("*.example is in ORIGIN_DENY")),
        ("", "*.example", "example", "10.0.0.1", None),
        ("", "*.example", "bexample", "10.0.0.1", None),
        ("b", "", "b.", "10.0.0.1", None),
        ("b", "", "c", "10.0.0.1", Some("ORIGIN_ALLOW has no entry for it")),
        ("b", "", "10.0.0.1", "10.0.0.1", Some("ORIGIN_ALLOW has no entry for it")),
        ("b,10.0.0.0/8", "", "c", "10.0.0.1", None),
        ("b,10.0.0.0/8", "", "c", "::ffff:10.0.0.1", None),
        ("b", "10.0.0.0/8", "b", "10.0.0.1", Some("10.0.0.0/8 is in ORIGIN_DENY")),
        ("10.0.0.1", "b", "b", "10.0.0.1", Some("b is in ORIGIN_DENY")),
    ];
    for (allow, deny, host, led_to, expected) in table {
        let policy = policy(allow, deny);
        let verdict = policy.judge(host, address(led_to)).err().map(|denial| denial.to_string());
        assert_eq!(verdict.as_deref(), expected, "{allow:?} {deny:?} {host} {led_to}");
    }
}

#[test]
fn credentials_of_the_cloud_and_the_link_are_denied_unless_a_part_of_them_is_allowed() {
    let denied = [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "febf::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "fd00:c1::a9fe:a9fe",
        "100.100.100.200",
        "168.63.129.16",
        "::ffff:169.254.169.254",
        "::169.254.169.254",
        "64:ff9b::a9fe:a9fe",
    ];
    for (allow, deny) in [
        ("", ""),
        ("", "10.0.0.0/8"),
        ("0.0.0.0/0,::/0", ""),
        ("b", ""),
        ("169.0.0.0/8,fe00::/8,fd00::/8,100.0.0.0/8,168.0.0.0/8", ""),
    ] {
        let policy = policy(allow, deny);
        for text in denied {
            let verdict = policy.judge("b", address(text));
            assert!(matches!(verdict, Err(Denial::Default(_))), "{allow:?} {deny:?} {text} {verdict:?}");
        }
    }
    assert_eq!(policy("169.254.7.0/24", "").judge("b", address("169.254.7.9")), Ok(()));
    assert_eq!(policy("169.254.7.0/24", "").judge("b", address("::ffff:169.254.7.9")), Ok(()));
    assert!(matches!(policy("169.254.7.0/24", "").judge("b", address("169.254.8.9")), Err(Denial::Default(_))));
    assert_eq!(policy("fe80::/10", "").judge("b", address("fe80::1")), Ok(()));
    assert_eq!(
        policy("169.254.7.0/24", "169.254.7.9").judge("b", address("169.254.7.9")),
        Err(Denial::Entry("169.254.7.9"))
    );
    assert_eq!(Policy::DEFAULT.judge("b", address("169.253.255.255")), Ok(()));
}

#[test]
fn every_spelling_of_a_denied_address_is_denied_as_it_comes_in() {
    let policy = Policy::DEFAULT;
    for spelling in [
        "169.254.169.254",
        "169.254.169.254.",
        "169.254.169.254..",
        "2852039166",
        "0xa9fea9fe",
        "0XA9FEA9FE",
        "025177524776",
        "169.16689662",
        "169.254.43518",
        "0xa9.0xfe.0xa9.0xfe",
        "0251.0376.0251.0376",
        "00000251.0376.0251.0376",
        "0251.254.0xa9.254",
        "169.0376.43518.",
        "0xa9.0xfea9fe",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "0:0:0:0:0:ffff:a9fe:a9fe",
        "::FFFF:A9FE:A9FE",
        "::169.254.169.254",
        "64:ff9b::169.254.169.254",
        "0064:ff9b:0:0:0:0:a9fe:a9fe",
        "fe80::1%eth0",
        "FE80::1",
        "fd00:0ec2::254",
        "0169.0254.0169.0254",
    ] {
        let verdict = policy.judge_host(spelling);
        assert!(matches!(verdict, Err(Denial::Default(_))), "{spelling} {verdict:?}");
        assert_eq!(policy.judge_spelling(spelling), verdict);
    }
    for other in [
        "169.254.169.254.example",
        "1.2.3.4.5",
        "256.1",
        "0x1ffffffff",
        "4294967296",
        "1..2",
        "0x",
        "09.x",
        "b",
        "",
        ".",
        "-1",
        "+1",
        "0x+1",
    ] {
        assert_eq!(policy.judge_host(other), Ok(()), "{other}");
        assert_eq!(readings(other).count(), 0, "{other}");
    }
}

#[test]
fn a_name_is_refused_as_it_comes_in_only_if_no_address_could_save_it() {
    let table = [
        ("", "", "b", true),
        ("", "b", "B.", false),
        ("", "*.b", "a.b", false),
        ("", "10.0.0.0/8", "b", true),
        ("b", "", "b", true),
        ("b", "", "c", false),
        ("*.b", "", "b", false),
        ("b,10.0.0.0/8", "", "c", true),
        ("b,10.0.0.0/8", "", "11.0.0.1", false),
        ("b,10.0.0.0/8", "", "10.1", true),
        ("b", "b", "b", false),
    ];
    for (allow, deny, host, passes) in table {
        assert_eq!(policy(allow, deny).judge_host(host).is_ok(), passes, "{allow:?} {deny:?} {host}");
    }
}

/// How one number of an IPv4 address may be written.
fn part(value: u32) -> impl Strategy<Value = String> {
    (0_usize..4, 0_usize..4).prop_map(move |(radix, zeros)| {
        let zeros = "0".repeat(zeros);
        match radix {
            0 => value.to_string(),
            1 => format!("0{zeros}{value:o}"),
            2 => format!("0x{zeros}{value:x}"),
            _ => format!("0X{zeros}{value:X}"),
        }
    })
}

/// Every way to write an IPv4 address that `inet_aton` or an IPv6 address has.
fn spelling(address: Ipv4Addr) -> impl Strategy<Value = String> {
    let ([a, b, c, d], whole) = (address.octets().map(u32::from), u32::from(address));
    let dots = (0_usize..3).prop_map(|dots| ".".repeat(dots));
    let numbers = prop_oneof![
        part(whole).boxed(),
        (part(a), part(whole & 0xff_ffff)).prop_map(|(a, rest)| format!("{a}.{rest}")).boxed(),
        (part(a), part(b), part(whole & 0xffff)).prop_map(|(a, b, rest)| format!("{a}.{b}.{rest}")).boxed(),
        (part(a), part(b), part(c), part(d)).prop_map(|(a, b, c, d)| format!("{a}.{b}.{c}.{d}")).boxed(),
    ];
    let (high, low) = (whole >> 16, whole & 0xffff);
    let six = ["::ffff:", "0:0:0:0:0:FFFF:", "::0:", "64:ff9b::", "0064:FF9B:0:0:0:0:"].map(|prefix| {
        prop_oneof![
            Just(format!("{prefix}{address}")),
            Just(format!("{prefix}{high:x}:{low:x}")),
            Just(format!("{prefix}{high:04X}:{low:04X}"))
        ]
        .boxed()
    });
    prop_oneof![(numbers, dots).prop_map(|(text, dots)| text + &dots), prop::strategy::Union::new(six)]
}

proptest! {
    #[test]
    fn no_spelling_of_a_denied_address_passes(
        (address, text) in (0_u32..1 << 16).prop_flat_map(|low| {
            let address = Ipv4Addr::from(0xa9fe_0000 | low);
            (Just(address), spelling(address))
        }),
    ) {
        prop_assert!(Policy::DEFAULT.judge_host(&text).is_err(), "{address} as {text}");
        prop_assert!(policy("0.0.0.0/0,::/0,b", "").judge_host(&text).is_err(), "{address} as {text}");
        prop_assert!(policy("", &address.to_string()).judge_host(&text).is_err(), "{address} as {text}");
    }

    #[test]
    fn no_spelling_of_any_address_gets_around_the_list(
        (address, text) in any::<u32>().prop_map(Ipv4Addr::from).prop_flat_map(|address| (Just(address), spelling(address))),
    ) {
        prop_assert!(policy("", &address.to_string()).judge_host(&text).is_err(), "{address} as {text}");
        prop_assert!(policy("b", "").judge_host(&text).is_err(), "{address} as {text}");
    }
}
