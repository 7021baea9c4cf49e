//! The contract of a head: tables of raw bytes and verdicts, each head also fed byte by byte.

use std::sync::Arc;

use super::*;
use crate::ingress::scan::Scanner;
use crate::ingress::tokens::Tokens;
use crate::message::Scheme;
use crate::message::policy::Policy;
use crate::reload::Publisher;
use proptest::prelude::*;

const RULES: Rules = Rules {
    control: ControlRules {
        origin_scheme: Scheme::Http,
        timeout_max: Millis(1_800_000),
        own_port: 8080,
        own_scheme: Scheme::Http,
        is_own_address: |address| address.is_loopback(),
        policy: Policy::DEFAULT,
    },
    head_bytes_max: 64 << 10,
    body_bytes_max: 1 << 20,
    door: Door::OPEN,
};

#[derive(Debug)]
struct Read {
    head: Head,
    origin: Option<String>,
    outbound: String,
}

/// Scans and parses, whole and byte by byte, and returns the one verdict.
fn read(bytes: &[u8]) -> Result<Read, Refusal> {
    read_by(&RULES, bytes)
}

fn read_by(rules: &Rules, bytes: &[u8]) -> Result<Read, Refusal> {
    let once = |pieces: &mut dyn Iterator<Item = usize>| {
        let mut scanner = Scanner::default();
        for end in pieces {
            if let Some(span) = scanner.scan(&bytes[..end], 64 << 10)? {
                let (mut destination, mut outbound) = (None, Vec::new());
                let head = parse(&bytes[span.start..span.end], rules, &mut destination, &mut outbound)?;
                let outbound = outbound.escape_ascii().to_string().replace("\\r\\n", "|");
                return Ok(Read { head, origin: destination.map(|d| d.origin().to_string()), outbound });
            }
        }
        panic!("the head must be complete: {}", bytes.escape_ascii());
    };
    let whole = once(&mut std::iter::once(bytes.len()));
    let bytewise = once(&mut (1..=bytes.len()));
    assert_eq!(format!("{whole:?}"), format!("{bytewise:?}"));
    whole
}

/// A head with an origin, of these lines; `|` stands for CRLF.
fn data(lines: &str) -> Result<Read, Refusal> {
    read(format!("{lines}|X-Dispatcher-Origin-Host: b:81||").replace('|', "\r\n").as_bytes())
}

fn status(result: &Result<Read, Refusal>) -> (u16, &'static str) {
    match result {
        Err(refusal) => (refusal.status(), refusal.reason().as_str()),
        Ok(Read { head: Head { ask: Ask::Refused(refusal), .. }, .. }) => (refusal.status(), refusal.reason().as_str()),
        Ok(Read { head: Head { ask: Ask::Message { .. }, .. }, .. }) => (202, "accepted"),
        Ok(Read { head: Head { ask: Ask::Endpoint(_), .. }, .. }) => (200, "endpoint"),
    }
}

#[test]
fn the_outbound_head_is_the_inbound_one_but_for_the_fields_the_contract_names() {
    let cases = [
        ("GET / HTTP/1.1|Host: a", "GET / HTTP/1.1|Host: b:81|"),
        ("GET / HTTP/1.0", "GET / HTTP/1.1|Host: b:81|"),
        ("GET / HTTP/1.0|A: b", "GET / HTTP/1.1|Host: b:81|A: b|"),
        ("GET http://c/d?e HTTP/1.1|Host: a", "GET /d?e HTTP/1.1|Host: b:81|"),
        ("X-y!z /a%20b HTTP/1.1|Host: a", "X-y!z /a%20b HTTP/1.1|Host: b:81|"),
        (
            "GET / HTTP/1.1|b: 2|HOST: a|B: 1|c:x|C:  y \t|d:|X-Dispatcher: z",
            "GET / HTTP/1.1|b: 2|HOST: b:81|B: 1|c:x|C:  y \\t|d:|X-Dispatcher: z|",
        ),
        (
            "POST / HTTP/1.1|Host: a|content-length: 5|A: \u{fc}",
            "POST / HTTP/1.1|Host: b:81|content-length: 5|A: \\xc3\\xbc|",
        ),
        (
            "POST / HTTP/1.1|Host: a|Content-Length: 05|A: 1|Content-Length: 5|B: 2",
            "POST / HTTP/1.1|Host: b:81|Content-Length: 5|A: 1|B: 2|",
        ),
        ("POST / HTTP/1.1|Transfer-Encoding: chunked|Host: a|A: 1", "POST / HTTP/1.1|Host: b:81|A: 1|"),
        (
            "GET / HTTP/1.1|A: 1|Host: a|Connection: close, x-hop|X-Hop: 1|TE: trailers|Trailer: t|Keep-Alive: 5|B: 2\
             |Proxy-Connection: k|Upgrade: h2c|Proxy-Authorization: p|Proxy-Authenticate: q|Expect: 100-continue\
             |x-hop: 2|X-Dispatcher-Message-Id: i|X-Dispatcher-Attempt: 1|X-Dispatcher-Maybe-Duplicate: true\
             |X-Dispatcher-Timeout: 5s|C: 3",
            "GET / HTTP/1.1|A: 1|Host: b:81|B: 2|C: 3|",
        ),
        (
            "POST / HTTP/1.1|Host: a|Connection: host, Content-Length, keep-alive|Content-Length: 3",
            "POST / HTTP/1.1|Host: b:81|Content-Length: 3|",
        ),
        (
            "GET / HTTP/1.1|Host: a|Cookie: c|Authorization: d|Cookie: e",
            "GET / HTTP/1.1|Host: b:81|Cookie: c|Authorization: d|Cookie: e|",
        ),
    ];
    for (lines, expected) in cases {
        let read = data(lines).unwrap();
        assert_eq!(read.outbound, expected, "{lines}");
        assert_eq!(read.origin.as_deref(), Some("http://b:81"));
    }
}

#[test]
fn a_head_that_leaves_the_end_of_the_request_in_doubt_closes_the_connection() {
    let cases = [
        ("POST / HTTP/1.1", 400),                 // RFC 9112 §3.2: no Host
        ("POST / HTTP/1.1|Host: a|Host: a", 400), // RFC 9112 §3.2: two
        ("POST / HTTP/1.0|Host: a|Host: a", 400),
        ("POST / HTTP/1.1|Host: a b", 400), // RFC 9112 §3.2: invalid
        ("POST / HTTP/1.1|Host: u@a", 400),
        ("POST / HTTP/1.1|Host: a/b", 400),
        ("POST / HTTP/1.1|Host : a", 400), // RFC 9112 §5.1
        ("POST / HTTP/1.1|Host: a|Content-Length : 3", 400),
        ("POST / HTTP/1.1|Host: a|: b", 400),    // no name
        ("POST / HTTP/1.1|Host: a|b", 400),      // no colon
        ("POST / HTTP/1.1|Host: a|b[]: c", 400), // RFC 9110 §5.1: not a token
        ("POST / HTTP/1.1|Host: a|Content-Length: 1|Content-Length: 2", 400), // RFC 9112 §6.3
        ("POST / HTTP/1.1|Host: a|Content-Length: 1|Transfer-Encoding: chunked", 400), // RFC 9112 §6.1
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: gzip", 400), // RFC 9112 §6.3
        ("POST / HTTP/1.0|Transfer-Encoding: chunked", 400), // RFC 9112 §6.1
        ("POST / HTTP/1.1|Host: a|Transfer-Encoding: gzip, chunked", 501), // RFC 9112 §6.1
        ("GET / HTTP/1.1|Host: a|Upgrade: websocket|Connection: keep-alive, Upgrade", 501),
        ("CONNECT a:443 HTTP/1.1|Host: a", 501),
        ("GET * HTTP/1.1|Host: a", 400),
    ];
    for (lines, expected) in cases {
        let refusal = data(lines).unwrap_err();
        assert_eq!(refusal.status(), expected, "{lines}");
        assert!(refusal.closes(), "{lines}");
    }
    let many = |fields: usize| format!("GET / HTTP/1.1|Host: a{}", "|A: b".repeat(fields));
    assert_eq!(status(&data(&many(FIELDS_MAX - 2))).0, 202);
    assert_eq!(status(&data(&many(FIELDS_MAX - 1))).0, 431);
    let options = format!("GET / HTTP/1.1|Host: a|Connection: {}", "a,".repeat(CONNECTION_OPTIONS_MAX + 1));
    assert_eq!(status(&data(&options)).0, 431);
}

#[test]
fn a_wrong_control_field_is_refused_and_the_connection_lives() {
    let base = "POST / HTTP/1.1|Host: a|Content-Length: 3";
    let cases = [
        ("X-Dispatcher-Timeout: 0", 400),
        ("X-Dispatcher-Timeout: 5|X-Dispatcher-Timeout: 5", 400),
        ("X-Dispatcher-Orign-Host: c", 400),
        ("X-Dispatcher-Origin-Host: b:81", 400),
        ("X-Dispatcher-Original-Host: c", 400),
        ("X-Dispatcher-Original-Host: b:81|X-Dispatcher-Original-Host: b:81", 400),
        ("X-Dispatcher-Original-Host: http://B:81", 202),
        ("X-Dispatcher-Timeout: 5s", 202),
    ];
    for (field, expected) in cases {
        let read = data(&format!("{base}|{field}"));
        assert_eq!(status(&read).0, expected, "{field}");
        assert_eq!(read.unwrap().head.framing, Framing::Length(3));
    }
    for origin in ["", "u@b", "b/", "b?c", "b#c", "b:0", "ftp://b", "b c", "\u{fc}"] {
        let read = read(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {origin}\r\n\r\n").as_bytes());
        assert_eq!(status(&read), (400, "control_header"), "{origin}");
    }
    let own = read(b"GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: localhost:8080\r\n\r\n");
    assert_eq!(status(&own).0, 508);
    assert_eq!(status(&data("POST / HTTP/1.1|Host: a|Content-Length: 1048576")).0, 202);
    assert_eq!(status(&data("POST / HTTP/1.1|Host: a|Content-Length: 1048577")).0, 413);
    assert_eq!(status(&data("POST / HTTP/1.1|Host: a|Content-Length: 99999999999999999999999")).0, 413);
}

#[test]
fn one_rule_tells_data_from_control() {
    let ask = |head: &str| read(format!("{head}\r\nHost: a\r\n\r\n").as_bytes()).unwrap().head.ask;
    let endpoint = |head: &str| match ask(head) {
        Ask::Endpoint(endpoint) => Ok(endpoint),
        Ask::Refused(refusal) => Err(refusal.reason().as_str()),
        Ask::Message { .. } => Err("message"),
    };
    assert_eq!(endpoint("GET /metrics HTTP/1.1"), Ok(Endpoint::Metrics { openmetrics: false }));
    let accept = "GET /metrics HTTP/1.1\r\nAccept: text/plain;q=0.5,Application/OpenMetrics-Text;version=1.0.0";
    assert_eq!(endpoint(accept), Ok(Endpoint::Metrics { openmetrics: true }));
    assert_eq!(endpoint("HEAD /-/healthy?a HTTP/1.1"), Ok(Endpoint::Healthy));
    assert_eq!(endpoint("GET http://c/-/ready HTTP/1.1"), Ok(Endpoint::Ready));
    for head in ["POST /metrics HTTP/1.1", "GET / HTTP/1.1", "GET /metrics/ HTTP/1.1", "OPTIONS * HTTP/1.1"] {
        assert_eq!(endpoint(head), Err("no_origin"), "{head}");
    }
    for path in ["/metrics", "/-/healthy", "/-/ready"] {
        assert_eq!(status(&data(&format!("GET {path} HTTP/1.1|Host: a"))), (202, "accepted"));
    }
    let alias = read(b"GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Original-Host: https://c\r\n\r\n").unwrap();
    assert_eq!(alias.origin.as_deref(), Some("https://c"));
}

#[test]
fn persistence_and_expectation_follow_the_version_and_the_fields() {
    let cases = [
        ("GET / HTTP/1.1|Host: a", Persistence::Open, false),
        ("GET / HTTP/1.1|Host: a|Connection: keep-alive, CLOSE", Persistence::Close, false),
        ("GET / HTTP/1.0", Persistence::Close, false),
        ("GET / HTTP/1.0|Connection: Keep-Alive", Persistence::OpenOnRequest, false),
        ("GET / HTTP/1.0|Connection: keep-alive|Connection: close", Persistence::Close, false),
        ("POST / HTTP/1.1|Host: a|Expect: 100-Continue", Persistence::Open, true),
        ("POST / HTTP/1.1|Host: a|Expect: other", Persistence::Open, false),
        ("POST / HTTP/1.0|Expect: 100-continue", Persistence::Close, false),
    ];
    for (lines, persistence, expects) in cases {
        let head = data(lines).unwrap().head;
        assert_eq!((head.persistence, head.expects_continue), (persistence, expects), "{lines}");
    }
    assert!(data("HEAD / HTTP/1.1|Host: a").unwrap().head.head_only);
    assert!(!data("head / HTTP/1.1|Host: a").unwrap().head.head_only);
}

const TOKEN: &str = "0123456789abcdef";

#[test]
fn a_stranger_is_told_only_that_a_token_is_needed() {
    let tokens = Tokens::parse(&format!("another-token-012345\n{TOKEN}\n")).unwrap();
    let rules = Rules { door: Door::new(Publisher::new(Arc::new(tokens)).subscribe()), ..RULES };
    let (right, wrong) =
        (format!("X-Dispatcher-Authorization: Bearer {TOKEN}"), "X-Dispatcher-Authorization: Bearer no");
    let plain = format!("Authorization: Bearer {TOKEN}");
    let to_b = "X-Dispatcher-Origin-Host: b";
    let post = |fields: &[&str]| format!("POST / HTTP/1.1|Host: a|{}", fields.join("|"));
    let get = |path: &str, fields: &[&str]| format!("GET {path} HTTP/1.1|Host: a|{}", fields.join("|"));
    for (head, expected) in [
        (post(&[to_b, &right]), 202),
        (post(&[&right.replace("Bearer ", "bearer   "), to_b]), 202),
        (post(&[&right.to_ascii_lowercase(), to_b]), 202),
        (post(&["Connection: x-dispatcher-authorization", &right, to_b]), 202),
        (post(&[to_b]), 401),
        (post(&[to_b, wrong]), 401),
        (post(&[to_b, &right, &right]), 401),
        (post(&[to_b, &right, wrong]), 401),
        (post(&[to_b, &right.replace("Bearer", "Basic")]), 401),
        (post(&[to_b, &right.replace("Bearer ", "")]), 401),
        (post(&[to_b, &plain]), 401),
        // Whatever else is wrong, or would be answered.
        (post(&[to_b, to_b]), 401),
        (post(&[to_b, "X-Dispatcher-Timeot: 5"]), 401),
        (post(&[to_b, "X-Dispatcher-Timeout: 0"]), 401),
        (post(&["X-Dispatcher-Origin-Host: 169.254.169.254"]), 401),
        (post(&["X-Dispatcher-Origin-Host: localhost:8080"]), 401),
        (post(&["X-Dispatcher-Origin-Host: u@b"]), 401),
        (post(&[to_b, "Content-Length: 1048577"]), 401),
        (post(&[]), 401),
        (get("/x", &[]), 401),
        (get("/-/healthy", &[to_b]), 401),
        (get("/-/healthy", &["X-Dispatcher-Timeot: 5"]), 401),
        (get("/-/ready", &["X-Dispatcher-Timeout: 5s"]), 401),
        (post(&["A: b"]).replace("POST /", "POST /-/ready"), 401),
        // What load balancers and Prometheus ask.
        (get("/-/healthy", &[]), 200),
        (get("/-/ready", &[wrong]), 200),
        (get("/metrics", &[]), 401),
        (get("/metrics", &[&right]), 200),
        (get("/metrics", &[&plain]), 200),
        (get("/metrics", &[&plain, &plain]), 401),
        (get("/metrics", &[&plain, wrong]), 401),
        (get("/metrics", &["Authorization: Bearer no", &right]), 200),
        (get("/metrics", &[&plain, to_b]), 401),
        // Who may come in is told as before.
        (post(&[&right, to_b, to_b]), 400),
        (post(&[&right, "X-Dispatcher-Origin-Host: 169.254.169.254"]), 403),
        (post(&[&right, to_b, "Content-Length: 1048577"]), 413),
        (get("/x", &[&right]), 400),
    ] {
        let result = read_by(&rules, format!("{head}||").replace('|', "\r\n").as_bytes());
        assert_eq!(status(&result).0, expected, "{head}");
        let shown = format!("{result:?}");
        assert!(expected == 200 || expected == 202 || !shown.contains(TOKEN), "{shown}");
        if let Ok(Read { head: Head { ask: Ask::Message { .. }, .. }, outbound, .. }) = result {
            assert!(!outbound.to_ascii_lowercase().contains("x-dispatcher-authorization"), "{outbound}");
        }
    }
    // Framing is judged before: where the next request begins must be known.
    for head in ["POST / HTTP/1.1|Host: a|Content-Length: x", "POST / HTTP/1.1", "GET x HTTP/1.1|Host: a"] {
        let refusal = read_by(&rules, format!("{head}|{right}||").replace('|', "\r\n").as_bytes()).unwrap_err();
        assert_eq!((refusal.status(), refusal.closes()), (400, true), "{head}");
    }
}

#[test]
fn a_token_that_nobody_asks_for_is_consumed_whatever_it_is() {
    for field in [
        "X-Dispatcher-Authorization: Bearer x",
        "x-dispatcher-authorization:",
        "X-Dispatcher-Authorization: a|X-Dispatcher-Authorization: b",
    ] {
        let read = data(&format!("GET / HTTP/1.1|Host: a|{field}|Authorization: Bearer {TOKEN}")).unwrap();
        assert_eq!(read.outbound, format!("GET / HTTP/1.1|Host: b:81|Authorization: Bearer {TOKEN}|"), "{field}");
    }
}

proptest! {
    #[test]
    fn what_is_sent_on_is_one_head_with_one_host_and_the_fields_that_came(
        fields in prop::collection::vec(("[A-Za-z-]{1,12}", "[ -~]{0,20}"), 0..20),
        host_at in 0..20_usize,
    ) {
        let mut lines: Vec<String> = fields.iter().map(|(name, value)| format!("Q{name}: {value}")).collect();
        lines.insert(host_at.min(lines.len()), "host: a".to_owned());
        let read = data(&format!("POST /p HTTP/1.1|{}", lines.join("\u{1}").replace('|', "!").replace('\u{1}', "|")));
        let mut expected = lines.clone();
        expected[host_at.min(lines.len() - 1)] = "host: b:81".to_owned();
        let expected: String = expected.iter().map(|line| format!("{}|", line.replace('|', "!"))).collect();
        let expected = format!("POST /p HTTP/1.1|{expected}").into_bytes().escape_ascii().to_string();
        prop_assert_eq!(read.unwrap().outbound, expected);
    }

    #[test]
    fn no_bytes_make_the_parser_panic_or_depend_on_how_they_came(
        lines in prop::collection::vec(prop::sample::select(vec![
            "Host: a", "host:", "Content-Length: 3", "Content-Length: x", "Transfer-Encoding: chunked", "A: \u{fc}",
            "Connection: host, a, close", "X-Dispatcher-Origin-Host: c", "X-Dispatcher-Timeout: 1s", "a b: c", "",
            "Upgrade: x", "Connection: upgrade", "X-Dispatcher-Original-Host: [::1]:8080", "Expect: 100-continue",
        ]), 0..12),
        first in prop::sample::select(vec!["GET / HTTP/1.1", "POST http://x HTTP/1.0", "OPTIONS * HTTP/1.1"]),
    ) {
        // The helper asserts that whole and byte by byte agree.
        let _ = read(format!("{first}\r\n{}\r\n\r\n\r\n", lines.join("\r\n")).as_bytes());
    }
}
