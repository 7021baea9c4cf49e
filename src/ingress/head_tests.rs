//! Heads and what becomes of them, by the RFC.

use proptest::prelude::*;

use super::*;
use crate::ingress::scan::Scanner;

const RULES: Rules = Rules {
    head_bytes_max: 16_384,
    body_bytes_max: 1000,
    timeout_max: Millis(60_000),
    origin_scheme: Scheme::Http,
    own_port: 8080,
};
const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 9));

type Verdict = Result<Option<(RequestHead, String, usize)>, u16>;

/// Scans `bytes` as they would arrive when cut at `cuts`, and parses the head if it is complete.
fn read(bytes: &[u8], cuts: &[usize]) -> Verdict {
    let mut scanner = Scanner::default();
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).chain([bytes.len()]).collect();
    ends.sort_unstable();
    for end in ends {
        if let Some(length) = scanner.scan(&bytes[..end], RULES.head_bytes_max).map_err(|refusal| refusal.status)? {
            let mut outbound = Vec::new();
            let head = parse(&bytes[..length], &RULES, LOCAL, &mut LastOrigin::default(), &mut outbound);
            let head = head.map_err(|refusal| refusal.status)?;
            return Ok(Some((head, String::from_utf8_lossy(&outbound).into_owned(), length)));
        }
    }
    Ok(None)
}

fn data(fields: &str) -> String {
    format!("POST /p?q HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b:81\r\n{fields}\r\n")
}

#[test]
fn what_a_sent_is_what_b_gets_but_for_the_named_fields() {
    let request = "PUT /x/%2e?y=1 HTTP/1.1\r\nb: 1\r\nHOST: dispatcher\r\nA: 2\r\nX-Dispatcher-Origin-Host: B.example:81\r\n\
        B: 3\r\nConnection: keep-alive, x-hop, host, content-length\r\nX-Hop: gone\r\nTE: trailers\r\nKeep-Alive: 5\r\n\
        Proxy-Connection: x\r\nProxy-Authorization: x\r\nProxy-Authenticate: x\r\nTrailer: t\r\nExpect: 100-continue\r\n\
        Content-Length: 3\r\nX-Dispatcher-Timeout: 5s\r\nX-Dispatcher-Message-Id: old\r\nX-Dispatcher-Attempt: 3\r\n\
        X-Dispatcher-Maybe-Duplicate: true\r\nAuthorization: Basic x\r\nb:   spaced  \r\nEmpty:\r\n\r\n";
    let (head, outbound, length) = read(request.as_bytes(), &[]).expect("valid").expect("complete");
    assert_eq!(length, request.len());
    let expected = "PUT /x/%2e?y=1 HTTP/1.1\r\nb: 1\r\nHOST: b.example:81\r\nA: 2\r\nB: 3\r\nContent-Length: 3\r\n\
        Authorization: Basic x\r\nb: spaced\r\nEmpty: \r\n";
    assert_eq!(outbound, expected);
    let Purpose::Data { origin, timeout } = head.purpose else { panic!("data") };
    assert_eq!((origin.to_string().as_str(), timeout), ("http://b.example:81", Some(Millis(5000))));
    assert_eq!((head.framing, head.expects_continue), (Framing::Length(3), true));
}

#[test]
fn targets_lose_their_authority_and_nothing_else() {
    for (line, expected) in [
        ("GET http://else/p?q HTTP/1.1", Ok("GET /p?q HTTP/1.1")),
        ("GET HTTPS://else HTTP/1.1", Ok("GET / HTTP/1.1")),
        ("OPTIONS http://else HTTP/1.1", Ok("OPTIONS * HTTP/1.1")),
        ("OPTIONS * HTTP/1.1", Ok("OPTIONS * HTTP/1.1")),
        ("GET /metrics HTTP/1.1", Ok("GET /metrics HTTP/1.1")),
        ("M-SEARCH /-/ready HTTP/1.1", Ok("M-SEARCH /-/ready HTTP/1.1")),
        ("GET * HTTP/1.1", Err(400)),
        ("GET p HTTP/1.1", Err(400)),
        ("GET ftp://x/ HTTP/1.1", Err(400)),
        ("CONNECT b:443 HTTP/1.1", Err(501)),
    ] {
        let request = format!("{line}\r\nHost: a\r\nX-Dispatcher-Origin-Host: b\r\n\r\n");
        let outbound = read(request.as_bytes(), &[]).map(|read| read.expect("complete").1);
        assert_eq!(
            outbound.as_deref().map(|head| head.lines().next().expect("a line")),
            expected.as_ref().copied(),
            "{line}"
        );
    }
}

#[test]
fn every_head_gets_its_status_wherever_it_is_cut() {
    let cases: &[(u16, &str, String)] = &[
        (202, "plain", data("")),
        (202, "alias, same origin (SPEC 2)", data("X-Dispatcher-Original-Host: http://b:81\r\n")),
        (202, "obs-text in a value (9110 5.5)", data("X: \u{e9}\r\n")),
        (202, "equal Content-Length twice", data("Content-Length: 5\r\nContent-Length: 5\r\n")),
        (202, "chunked (9112 7.1)", data("Transfer-Encoding: Chunked\r\n")),
        (202, "HTTP/1.0 without Host", "GET / HTTP/1.0\r\nX-Dispatcher-Origin-Host: b\r\n\r\n".to_owned()),
        (202, "timeout in ms", data("X-Dispatcher-Timeout: 60000\r\n")),
        (202, "another port of this host", data("").replace("b:81", "localhost:81")),
        (400, "no origin and not ours", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (400, "POST to our path", "POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (400, "origin twice", data("X-Dispatcher-Origin-Host: b:81\r\n")),
        (400, "alias differs", data("X-Dispatcher-Original-Host: c\r\n")),
        (400, "origin with a path", data("").replace("b:81", "b/x")),
        (400, "origin with user", data("").replace("b:81", "u@b")),
        (400, "origin empty", data("").replace(" b:81", "")),
        (400, "origin with a bad port", data("").replace("b:81", "b:99999")),
        (400, "timeout zero", data("X-Dispatcher-Timeout: 0\r\n")),
        (400, "timeout too long", data("X-Dispatcher-Timeout: 2m\r\n")),
        (400, "timeout not a number", data("X-Dispatcher-Timeout: 1.5s\r\n")),
        (400, "timeout twice", data("X-Dispatcher-Timeout: 5\r\nX-Dispatcher-Timeout: 5\r\n")),
        (400, "unknown control header", data("X-Dispatcher-Timeot: 5\r\n")),
        (400, "length and coding (9112 6.3)", data("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
        (400, "lengths differ (9112 6.3)", data("Content-Length: 5\r\nContent-Length: 6\r\n")),
        (400, "length list", data("Content-Length: 5, 5\r\n")),
        (400, "length signed", data("Content-Length: +5\r\n")),
        (400, "length negative", data("Content-Length: -5\r\n")),
        (400, "length hex", data("Content-Length: 0x5\r\n")),
        (400, "length empty", data("Content-Length:\r\n")),
        (413, "length over MAX_BODY", data("Content-Length: 1001\r\n")),
        (413, "length overflows", data("Content-Length: 99999999999999999999999\r\n")),
        (400, "coding on 1.0 (9112 6.1)", data("Transfer-Encoding: chunked\r\n").replace("HTTP/1.1", "HTTP/1.0")),
        (400, "chunked not last", data("Transfer-Encoding: chunked, gzip\r\n")),
        (400, "chunked twice", data("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        (400, "coding without chunked", data("Transfer-Encoding: identity\r\n")),
        (501, "unknown coding before chunked", data("Transfer-Encoding: gzip, chunked\r\n")),
        (501, "upgrade", data("Connection: upgrade\r\nUpgrade: websocket\r\n")),
        (417, "unknown expectation (9110 10.1.1)", data("Expect: miracles\r\n")),
        (400, "no Host (9112 3.2)", data("").replace("Host: a\r\n", "")),
        (400, "Host twice (9112 3.2)", data("Host: a\r\n")),
        (400, "space before colon (9112 5.1)", data("Name : v\r\n")),
        (400, "obs-fold (9112 5.2)", data("Name: v\r\n folded\r\n")),
        (400, "name is no token", data("Na(me: v\r\n")),
        (400, "empty name", data(": v\r\n")),
        (400, "no colon", data("Name\r\n")),
        (400, "bare LF (9112 2.2)", data("Name: v\nOther: w\r\n")),
        (400, "bare LF at the end", data("").replace("\r\n\r\n", "\r\n\n")),
        (400, "bare CR (9112 2.2)", data("Name: v\rw\r\n")),
        (400, "NUL in a value", data("Name: v\0w\r\n")),
        (400, "control in a value", data("Name: v\u{1}w\r\n")),
        (400, "DEL in a value", data("Name: v\u{7f}w\r\n")),
        (400, "tab in the request line", "GET\t/ HTTP/1.1\r\n\r\n".to_owned()),
        (400, "two spaces", "GET  / HTTP/1.1\r\n\r\n".to_owned()),
        (400, "no version", "GET /\r\n\r\n".to_owned()),
        (400, "lower-case version", "GET / http/1.1\r\n\r\n".to_owned()),
        (400, "TLS on a plain port", "\u{16}\u{3}\u{1}".to_owned()),
        (505, "HTTP/2.0", "GET / HTTP/2.0\r\n\r\n".to_owned()),
        (505, "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\n".to_owned()),
        (414, "target too long", format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(9000))),
        (431, "head too large", data(&format!("X: {}\r\n", "x".repeat(16_384)))),
        (431, "too many fields", data(&"A: b\r\n".repeat(257))),
        (508, "to itself by address", data("").replace("b:81", "10.0.0.9:8080")),
        (508, "to itself by name", data("").replace("b:81", "localhost:8080")),
        (508, "to itself by loopback", data("").replace("b:81", "[::ffff:127.0.0.2]:8080")),
    ];
    for (status, name, request) in cases {
        for cut in (0..request.len().min(700)).chain([request.len()]) {
            let verdict = read(request.as_bytes(), &[cut]);
            let got = match &verdict {
                Ok(Some(_)) => 202,
                Ok(None) => panic!("{name}: no verdict"),
                Err(status) => *status,
            };
            // The long target is refused as soon as it is too long, before anything else could be.
            assert_eq!(got, *status, "{name}, cut at {cut}");
        }
    }
}

#[test]
fn our_own_paths_are_ours_only_without_an_origin() {
    for (line, purpose) in [
        ("GET /metrics", Purpose::Metrics { openmetrics: true }),
        ("HEAD /-/healthy", Purpose::Healthy),
        ("GET /-/ready?x", Purpose::Ready),
    ] {
        let request =
            format!("{line} HTTP/1.1\r\nHost: a\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n");
        let (head, ..) = read(request.as_bytes(), &[]).expect("valid").expect("complete");
        assert_eq!((head.purpose, head.head_only), (purpose, line.starts_with("HEAD")));
    }
}

#[test]
fn a_connection_is_kept_as_its_version_and_its_client_say() {
    for (version, connection, persistence) in [
        ("1.1", "", Persistence::Keep),
        ("1.1", "Connection: close\r\n", Persistence::Close),
        ("1.1", "Connection: x, Close\r\n", Persistence::Close),
        ("1.0", "", Persistence::Close),
        ("1.0", "Connection: Keep-Alive\r\n", Persistence::KeepSaid),
        ("1.0", "Connection: keep-alive, close\r\n", Persistence::Close),
    ] {
        let request = data(connection).replace("HTTP/1.1", &format!("HTTP/{version}"));
        let (head, ..) = read(request.as_bytes(), &[]).expect("valid").expect("complete");
        assert_eq!(head.persistence, persistence, "{version} {connection}");
    }
}

proptest! {
    #[test]
    fn any_bytes_at_all_get_the_same_verdict_in_any_split(
        pieces in prop::collection::vec(prop_oneof![
            Just("GET / HTTP/1.1\r\n".to_owned()), Just("Host: a\r\n".to_owned()), Just("\r\n".to_owned()),
            Just("X-Dispatcher-Origin-Host: b\r\n".to_owned()), Just("Content-Length: 3\r\n".to_owned()),
            Just("\n".to_owned()), Just("\r".to_owned()), Just(" ".to_owned()), "[ -~]{0,12}", "\\PC{0,4}",
        ], 0..12),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let bytes = pieces.concat().into_bytes();
        prop_assert_eq!(read(&bytes, &cuts), read(&bytes, &[]));
    }
}
