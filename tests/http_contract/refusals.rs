//! What is refused: with which status, whether the connection lives on, and that nothing behind it is ever taken.

use crate::support::{Answer, Client, Daemon, Origin, on_both};

const END: &str = "\r\n";

/// A good request's head with `fields` on top, up to its empty line.
fn post(fields: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {{o}}\r\n{fields}{END}")
}

/// A good head whose body is `chunks`.
fn chunked(chunks: &str) -> String {
    format!("{}{chunks}", post("Transfer-Encoding: chunked\r\n"))
}

/// Refused and closed: status, name, request. `{o}` is the origin, `{own}` the daemon's own authority.
fn closing() -> Vec<(u16, &'static str, String)> {
    let without = |part: &str| post("").replace(part, "");
    vec![
        (400, "length and coding (RFC 9112 6.3)", post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
        (400, "coding and length", post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
        (400, "lengths that differ (RFC 9112 6.3)", post("Content-Length: 5\r\nContent-Length: 6\r\n")),
        (400, "a list of lengths that differ", post("Content-Length: 5, 6\r\n")),
        (400, "a list of lengths with nothing in it", post("Content-Length: 5,\r\n")),
        (400, "a signed length", post("Content-Length: +5\r\n")),
        (400, "a negative length", post("Content-Length: -5\r\n")),
        (400, "a length in hexadecimal", post("Content-Length: 0x5\r\n")),
        (400, "an empty length", post("Content-Length:\r\n")),
        (400, "a length with a space within", post("Content-Length: 1 0\r\n")),
        (400, "coding in HTTP/1.0 (RFC 9112 6.1)", chunked("0\r\n\r\n").replace("HTTP/1.1", "HTTP/1.0")),
        (400, "chunked not last", post("Transfer-Encoding: chunked, gzip\r\n")),
        (400, "chunked not last, in two fields", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n")),
        (400, "chunked twice", post("Transfer-Encoding: chunked, chunked\r\n")),
        (400, "chunked twice, in two fields", post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        (400, "coding without chunked", post("Transfer-Encoding: identity\r\n")),
        (400, "an empty coding", post("Transfer-Encoding:\r\n")),
        (400, "a coding that only looks like chunked", post("Transfer-Encoding: xchunked\r\n")),
        (501, "an unknown coding before chunked", post("Transfer-Encoding: gzip, chunked\r\n")),
        (501, "an unknown coding in a field before", post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n")),
        (400, "a folded field (RFC 9112 5.2)", post("Name: v\r\n folded\r\n")),
        (400, "a folded field first", post("").replace("Host: a", " Host: a")),
        (400, "a space before the colon (RFC 9112 5.1)", post("Name : v\r\n")),
        (400, "a space before the colon of a length", post("Content-Length : 5\r\n")),
        (400, "a name that is no token", post("Na(me: v\r\n")),
        (400, "an empty name", post(": v\r\n")),
        (400, "no colon", post("Name\r\n")),
        (400, "a bare CR in a value (RFC 9112 2.2)", post("Name: v\rw\r\n")),
        (400, "a bare LF (RFC 9112 2.2)", post("Name: v\nOther: w\r\n")),
        (400, "a bare LF at the end of the head", post("").replace("\r\n\r\n", "\r\n\n")),
        (400, "a bare LF behind the first line", post("").replacen("\r\n", "\n", 1)),
        (400, "NUL in a value", post("Name: v\0w\r\n")),
        (400, "a control in a value", post("Name: v\u{1}w\r\n")),
        (400, "DEL in a value", post("Name: v\u{7f}w\r\n")),
        (400, "NUL in a target", post("").replace("/p", "/\0p")),
        (400, "no Host (RFC 9112 3.2)", without("Host: a\r\n")),
        (400, "Host twice (RFC 9112 3.2)", post("Host: a\r\n")),
        (400, "a target that is neither path nor URL", post("").replace("/p", "p")),
        (400, "* for anything but OPTIONS", post("").replace("/p", "*")),
        (400, "a target with a fragment (RFC 9112 3.2)", post("").replace("/p", "/p#f")),
        (400, "a Host that is none", post("").replace("Host: a", "Host: a/b")),
        (400, "a URL that is not HTTP", post("").replace("/p", "ftp://x/")),
        (400, "two spaces in the first line", post("").replace(" /p", "  /p")),
        (400, "a tab in the first line", post("").replace(" /p", "\t/p")),
        (400, "a space behind the version", post("").replacen("\r\n", " \r\n", 1)),
        (400, "no version", "GET /\r\n\r\n".to_owned()),
        (400, "a version in lower case", post("").replace("HTTP/1.1", "http/1.1")),
        (400, "a version of two digits", post("").replace("HTTP/1.1", "HTTP/1.10")),
        (400, "a first line that is no request", "hello\r\n\r\n".to_owned()),
        (400, "empty lines instead of a request", "\r\n\r\n\r\n".to_owned()),
        (400, "TLS on a plain port", "\u{16}\u{3}\u{1}\u{2}\0".to_owned()),
        (505, "HTTP/2.0", post("").replace("HTTP/1.1", "HTTP/2.0")),
        (505, "HTTP/1.2", post("").replace("HTTP/1.1", "HTTP/1.2")),
        (505, "the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned()),
        (501, "CONNECT", "CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n".to_owned()),
        (501, "Upgrade", post("Connection: upgrade\r\nUpgrade: websocket\r\n")),
        (414, "a target of 9000 bytes", post("").replace("/p", &format!("/{}", "x".repeat(9000)))),
        (431, "a head of 64 KiB", post(&format!("X: {}\r\n", "x".repeat(64 << 10)))),
        (431, "257 fields", post(&"A: b\r\n".repeat(257))),
        (413, "a length over MAX_BODY, known before the body", post("Content-Length: 1048577\r\n")),
        (413, "a length beyond numbers", post("Content-Length: 99999999999999999999999\r\n")),
        (413, "a chunk over MAX_BODY", chunked("100001\r\n")),
        (413, "chunks that are together over MAX_BODY", chunked("1\r\nx\r\n100000\r\n")),
        (400, "a chunk size that would overflow", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n")),
        (400, "a signed chunk size", chunked("+5\r\nhello\r\n0\r\n\r\n")),
        (400, "a negative chunk size", chunked("-5\r\nhello\r\n0\r\n\r\n")),
        (400, "a chunk size with 0x", chunked("0x5\r\nhello\r\n0\r\n\r\n")),
        (400, "a chunk size behind a space", chunked(" 5\r\nhello\r\n0\r\n\r\n")),
        (400, "no chunk size", chunked("\r\nhello\r\n0\r\n\r\n")),
        (400, "a bare LF behind a chunk size (CVE-2025-22871)", chunked("5\nhello\r\n0\r\n\r\n")),
        (400, "a bare LF in a chunk extension", chunked("5;\nhello\r\n0\r\n\r\n")),
        (400, "a bare CR behind a chunk size", chunked("5\rhello\r\n0\r\n\r\n")),
        (400, "a control in a chunk extension", chunked("5;a\u{1}b\r\nhello\r\n0\r\n\r\n")),
        (400, "a chunk longer than its size", chunked("5\r\nhelloX\r\n0\r\n\r\n")),
        (400, "a bare LF behind a chunk", chunked("5\r\nhello\n0\r\n\r\n")),
        (400, "a bare LF in a trailer", chunked("0\r\nT: x\n\r\n")),
        (400, "a chunk extension without end (CVE-2023-39326)", chunked(&format!("5;{}", "x".repeat(5000)))),
        (400, "zeros without end", chunked(&"0".repeat(5000))),
        (400, "trailers without end", chunked(&format!("0\r\n{}", "T: x\r\n".repeat(5000)))),
        (
            400,
            "an unknown control field before a long body",
            post("X-Dispatcher-Timeot: 5\r\nContent-Length: 5000\r\n"),
        ),
        (400, "an unknown control field before chunks", chunked("").replace("X-Dispatcher-O", "X-Dispatcher-U")),
        (
            400,
            "an unknown control field before a body that waits for leave",
            post("X-Dispatcher-Timeot: 5\r\nExpect: 100-continue\r\nContent-Length: 5\r\n"),
        ),
        (
            400,
            "neither origin nor our path, with a body",
            without("X-Dispatcher-Origin-Host: {o}\r\n").replace("Host: a\r\n", "Host: a\r\nContent-Length: 5000\r\n"),
        ),
        (400, "a control field at fault in HTTP/1.0", post("X-Dispatcher-Timeout: 0\r\n").replace("/1.1", "/1.0")),
    ]
}

/// What an answer gives as `header` and `value`; no value, if it may be a secret.
type Fault = (&'static str, Option<String>);

/// Refused, and the connection lives on: status, name, request, fault.
fn living() -> Vec<(u16, &'static str, String, Fault)> {
    const ORIGIN: &str = "X-Dispatcher-Origin-Host";
    const TIMEOUT: &str = "X-Dispatcher-Timeout";
    let origin = |value: &str| post("").replace("{o}", value);
    let shown = |header, value: &str| (header, Some(value.to_owned()));
    let mut cases: Vec<_> = [
        ("a path", "b/x"),
        ("only a slash", "http://b/"),
        ("another scheme", "ftp://b"),
        ("a port too large", "b:65536"),
        ("a port of zero", "b:0"),
        ("a signed port", "b:+80"),
        ("an empty port", "b:"),
        ("IPv6 without brackets", "::1"),
        ("half a bracket", "[::1"),
        ("a space within", "b c"),
        ("two hosts", "b,c"),
        ("only a scheme", "http://"),
        ("nothing", ""),
    ]
    .into_iter()
    .map(|(name, value)| (400, name, origin(value), shown(ORIGIN, value)))
    .collect();
    for (name, value, safe) in
        [("user information", "u:p@b", "…@b"), ("a query", "b?x", "b?…"), ("a fragment", "b#x", "b#…")]
    {
        cases.push((400, name, origin(value), shown(ORIGIN, safe)));
    }
    for value in ["0", "-1", "1.5s", "5 s", "31m", "x", "", "99999999999999999999"] {
        let request = post(&format!("X-Dispatcher-Timeout: {value}\r\n"));
        cases.push((400, "a timeout that is none", request, shown(TIMEOUT, value)));
    }
    cases.extend([
        (400, "an origin twice", post("X-Dispatcher-Origin-Host: {o}\r\n"), shown(ORIGIN, "{o}")),
        (400, "both spellings, different", post("X-Dispatcher-Original-Host: c\r\n"), shown(ORIGIN, "{o}")),
        (400, "a timeout twice", post("X-Dispatcher-Timeout: 5\r\nX-Dispatcher-Timeout: 5\r\n"), shown(TIMEOUT, "5")),
        (400, "an unknown control field", post("X-Dispatcher-Timeot: 5\r\n"), ("X-Dispatcher-Timeot", None)),
        (
            400,
            "an unknown control field before a short body, which is skipped",
            post("X-Dispatcher-Timeot: 5\r\nContent-Length: 33\r\n") + "GET /never HTTP/1.1\r\nHost: a\r\n\r\n\0",
            ("X-Dispatcher-Timeot", None),
        ),
        (400, "neither origin nor our path", "GET /x HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), shown(ORIGIN, "")),
        (
            400,
            "our path with another method",
            "POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            shown(ORIGIN, ""),
        ),
        (508, "sent to itself", origin("{own}"), shown(ORIGIN, "{own}")),
        (508, "sent to itself by name", origin("localhost:{port}"), shown(ORIGIN, "localhost:{port}")),
        (
            508,
            "sent to itself by a mapped address",
            origin("[::ffff:127.0.0.2]:{port}"),
            shown(ORIGIN, "[::ffff:127.0.0.2]:{port}"),
        ),
    ]);
    cases
}

/// What a client would send behind the refused request.
const BEHIND: &str = "GET /behind HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n";

fn filled_in(text: &str, daemon: &Daemon, origin: &Origin) -> String {
    let port = daemon.data.port().to_string();
    text.replace("{o}", &origin.address.to_string()).replace("{own}", &daemon.data.to_string()).replace("{port}", &port)
}

/// Every error is a problem (RFC 9457) that repeats its status.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, name: &str) -> serde_json::Value {
    assert_eq!(answer.status, status, "{name}: {} {}", answer.head, answer.text());
    assert_eq!(answer.field("Content-Type"), Some("application/problem+json"), "{name}");
    assert!(answer.field("X-Dispatcher-Message-Id").is_none(), "{name}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{name}: {problem}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{name}: {member} in {problem}");
    }
    problem
}

/// Nothing was stored but `accepted` messages, and nothing but them is delivered.
#[track_caller]
fn assert_nothing_else(daemon: &Daemon, origin: &Origin, accepted: usize) {
    let mut client = daemon.connect();
    client.send(filled_in(BEHIND, daemon, origin));
    let id = client.answer().message_id();
    origin.received(&id);
    daemon.assert_metric("dispatcher_accepted_total", (accepted + 1) as f64);
    assert_eq!(origin.requests().len(), accepted + 1, "{:?}", origin.requests());
}

#[test]
fn bytes_behind_a_refused_request_that_closes_are_never_taken_for_another() {
    on_both(&[], |daemon| {
        let origin = Origin::start();
        for (status, name, request) in closing() {
            let mut client = daemon.connect();
            client.send(filled_in(&[&request, BEHIND].concat(), daemon, &origin));
            let answer = client.answer();
            assert_problem(&answer, status, name);
            assert!(answer.closes(), "{name}: {}", answer.head);
            assert!(client.is_closed(), "{name}");
        }
        assert_nothing_else(daemon, &origin, 0);
    });
}

#[test]
fn a_wrong_control_field_is_named_and_the_connection_lives_on() {
    on_both(&[], |daemon| {
        let origin = Origin::start();
        let cases = living();
        for (status, name, request, fault) in &cases {
            let mut client = daemon.connect();
            client.send(filled_in(&[request, BEHIND].concat(), daemon, &origin));
            let answer = client.answer();
            let problem = assert_problem(&answer, *status, name);
            assert!(!answer.closes(), "{name}: {}", answer.head);
            let (header, value) = fault;
            assert_eq!(problem["header"], *header, "{name}: {problem}");
            let value = value.as_ref().map(|value| filled_in(value, daemon, &origin));
            assert_eq!(problem["value"].as_str(), value.as_deref(), "{name}: {problem}");
            assert!(problem["expected"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {problem}");
            origin.received(&client.answer().message_id());
        }
        assert_nothing_else(daemon, &origin, cases.len());
    });
}

#[test]
fn without_an_origin_the_answer_shows_a_command_that_works() {
    on_both(&[], |daemon| {
        let answer = daemon.connect().get("/some/path?q=1");
        let detail = assert_problem(&answer, 400, "no origin")["detail"].as_str().unwrap().to_owned();
        for part in ["curl ", "-X 'GET'", "-H 'X-Dispatcher-Origin-Host: ", "'http://localhost/some/path'"] {
            assert!(detail.contains(part), "{part} in {detail}");
        }
    });
}

#[test]
fn a_refused_head_has_no_body_in_its_answer() {
    on_both(&[], |daemon| {
        let origin = Origin::start();
        let mut client = daemon.connect();
        client.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer_to("HEAD");
        assert_eq!((answer.status, answer.closes()), (400, false));
        assert!(answer.field("Content-Length").is_some_and(|length| length != "0"), "{}", answer.head);
        client.send(filled_in(BEHIND, daemon, &origin));
        client.answer().message_id();
    });
}

#[test]
fn a_refusal_is_the_same_wherever_the_bytes_are_cut() {
    on_both(&[], |daemon| {
        let origin = Origin::start();
        for (status, request) in [
            (400, "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n".to_owned()),
            (400, chunked("1;\nx\r\n0\r\n\r\n")),
            (505, "GET / HTTP/3.0\r\nHost: a\r\n\r\n".to_owned()),
        ] {
            let request = filled_in(&request, daemon, &origin);
            for cut in 0..request.len() {
                let (before, behind) = request.split_at(cut);
                let mut client: Client = daemon.connect();
                client.send(before);
                client.send(behind);
                client.send(filled_in(BEHIND, daemon, &origin));
                assert_problem(&client.answer(), status, &format!("{request:?} cut at {cut}"));
                assert!(client.is_closed(), "{request:?} cut at {cut}");
            }
        }
        assert_nothing_else(daemon, &origin, 0);
    });
}
