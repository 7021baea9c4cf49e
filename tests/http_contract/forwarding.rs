//! What A sent is what B gets: heads, byte for byte, but for the fields that the contract names.

use crate::support::{Daemon, Origin, on_both};

/// What a request is, and what its origin must see before the added fields. `{o}` stands for the origin's authority.
struct Case {
    name: &'static str,
    request: &'static str,
    /// Without `X-Dispatcher-Message-Id`, `-Attempt` and the empty line.
    outbound: &'static str,
    body: &'static str,
    lives: bool,
}

const fn case(
    name: &'static str,
    request: &'static str,
    outbound: &'static str,
    body: &'static str,
    lives: bool,
) -> Case {
    Case { name, request, outbound, body, lives }
}

const CASES: &[Case] = &[
    case(
        "the least there can be",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {o}\r\n",
        "",
        true,
    ),
    case(
        "order, case and repetition of fields, bytes of path and query",
        "PUT /x/%2e/../%2E//y;p=1?a=%20&b=+&&c HTTP/1.1\r\nb: 1\r\nHOST: dispatcher\r\nA: 2\r\nX-Dispatcher-Origin-Host: {o}\r\n\
         B: 3\r\ncOOKIE: a=1; b=2\r\nAuthorization: Basic x\r\nb:   4  \r\nEmpty:\r\ncontent-LENGTH: 3\r\nb: 5\r\n\r\nabc",
        "PUT /x/%2e/../%2E//y;p=1?a=%20&b=+&&c HTTP/1.1\r\nb: 1\r\nHOST: {o}\r\nA: 2\r\n\
         B: 3\r\ncOOKIE: a=1; b=2\r\nAuthorization: Basic x\r\nb:   4  \r\nEmpty:\r\ncontent-LENGTH: 3\r\nb: 5\r\n",
        "abc",
        true,
    ),
    case(
        "hop-by-hop fields and what Connection names end here (RFC 9110 7.6.1)",
        "POST / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nConnection: keep-alive, x-hop,X-Other\r\n\
         X-Hop: gone\r\nx-other: gone\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTrailer: t\r\n\
         Proxy-Authorization: x\r\nProxy-Authenticate: x\r\nX-Kept: 1\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: {o}\r\nX-Kept: 1\r\nContent-Length: 0\r\n",
        "",
        true,
    ),
    case(
        "Connection cannot take away Host or Content-Length",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: host, content-length\r\nContent-Length: 2\r\n\
         X-Dispatcher-Origin-Host: {o}\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: {o}\r\nContent-Length: 2\r\n",
        "hi",
        true,
    ),
    case(
        "control fields end here, whatever their case, and what a Dispatcher adds is replaced",
        "GET / HTTP/1.1\r\nHost: a\r\nx-dispatcher-ORIGIN-host: {o}\r\nX-DISPATCHER-TIMEOUT: 5s\r\n\
         X-Dispatcher-Message-Id: old\r\nx-dispatcher-attempt: 3\r\nX-Dispatcher-Maybe-Duplicate: true\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {o}\r\n",
        "",
        true,
    ),
    case(
        "equal Content-Length twice becomes one",
        "POST / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: {o}\r\nContent-Length: 2\r\n",
        "hi",
        true,
    ),
    case(
        "a list of equal lengths becomes one length (RFC 9110 8.6)",
        "POST / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nContent-Length: 02, 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: {o}\r\nContent-Length: 2\r\n",
        "hi",
        true,
    ),
    case(
        "an expectation nobody knows is ignored (RFC 9110 10.1.1), and so is Upgrade where it is not asked for",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nExpect: miracles\r\nUpgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {o}\r\n",
        "",
        true,
    ),
    case(
        "chunks become a Content-Length; extensions and trailers are dropped",
        "POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nX-Dispatcher-Origin-Host: {o}\r\nX: y\r\n\r\n\
         5;ext=\"v\"\r\nhello\r\n01\r\n \r\nA\r\n0123456789\r\n000\r\nTrailer: x\r\n\r\n",
        "POST /c HTTP/1.1\r\nHost: {o}\r\nX: y\r\nContent-Length: 16\r\n",
        "hello 0123456789",
        true,
    ),
    case(
        "no chunks at all are an empty body",
        "POST / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: {o}\r\nContent-Length: 0\r\n",
        "",
        true,
    ),
    case(
        "obs-text in a value (RFC 9110 5.5)",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nX: \u{e9}\tz\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {o}\r\nX: \u{e9}\tz\r\n",
        "",
        true,
    ),
    case(
        "an absolute target loses its authority, which is not the origin (RFC 9112 3.2.2)",
        "GET http://elsewhere.example:99/p?q HTTP/1.1\r\nHost: elsewhere.example:99\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n",
        "GET /p?q HTTP/1.1\r\nHost: {o}\r\n",
        "",
        true,
    ),
    case(
        "an absolute target without a path",
        "GET HTTPS://elsewhere.example HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {o}\r\n",
        "",
        true,
    ),
    case(
        "OPTIONS *",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: {o}\r\n",
        "",
        true,
    ),
    case(
        "OPTIONS of an absolute target without a path (RFC 9112 3.2.4)",
        "OPTIONS http://elsewhere.example HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: {o}\r\n",
        "",
        true,
    ),
    case(
        "HEAD",
        "HEAD /h HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n",
        "HEAD /h HTTP/1.1\r\nHost: {o}\r\n",
        "",
        true,
    ),
    case(
        "a method nobody knows, with a body",
        "m-!#$%&'*+.^_`|~9 / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nContent-Length: 4\r\n\r\n\0\r\n\u{7f}",
        "m-!#$%&'*+.^_`|~9 / HTTP/1.1\r\nHost: {o}\r\nContent-Length: 4\r\n",
        "\0\r\n\u{7f}",
        true,
    ),
    case(
        "TRACE and DELETE are methods like any other",
        "DELETE /d HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nContent-Length: 1\r\n\r\nx",
        "DELETE /d HTTP/1.1\r\nHost: {o}\r\nContent-Length: 1\r\n",
        "x",
        true,
    ),
    case(
        "Connection: close",
        "GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nConnection: x, Close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {o}\r\n",
        "",
        false,
    ),
    case(
        "HTTP/1.0 closes, and needs no Host; its origin gets 1.1",
        "GET /old HTTP/1.0\r\nX: y\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n",
        "GET /old HTTP/1.1\r\nHost: {o}\r\nX: y\r\n",
        "",
        false,
    ),
    case(
        "HTTP/1.0 that asks for it is kept",
        "POST /old HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\nX-Dispatcher-Origin-Host: {o}\r\nContent-Length: 1\r\n\r\nx",
        "POST /old HTTP/1.1\r\nHost: {o}\r\nContent-Length: 1\r\n",
        "x",
        true,
    ),
    case(
        "an empty line before a request is forgiven (RFC 9112 2.2)",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: {o}\r\n",
        "",
        true,
    ),
    case(
        "the path of an application that is also one of ours is data",
        "GET /metrics HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n",
        "GET /metrics HTTP/1.1\r\nHost: {o}\r\n",
        "",
        true,
    ),
    case(
        "so is every other such path, with any method",
        "POST /-/ready?x HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\nContent-Length: 2\r\n\r\nhi",
        "POST /-/ready?x HTTP/1.1\r\nHost: {o}\r\nContent-Length: 2\r\n",
        "hi",
        true,
    ),
    case(
        "no User-Agent, Date or Accept-Encoding is added or changed",
        "GET / HTTP/1.1\r\nUser-Agent: a\r\nDate: never\r\nAccept-Encoding: br\r\nVia: 1.1 x\r\nHost: a\r\n\
         X-Dispatcher-Origin-Host: {o}\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n",
        "GET / HTTP/1.1\r\nUser-Agent: a\r\nDate: never\r\nAccept-Encoding: br\r\nVia: 1.1 x\r\nHost: {o}\r\n\
         X-Forwarded-For: 1.2.3.4\r\n",
        "",
        true,
    ),
];

/// The whole of a first copy.
fn first_copy(outbound: &str, id: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{outbound}X-Dispatcher-Message-Id: {id}\r\nX-Dispatcher-Attempt: 1\r\n\r\n");
    [head.as_bytes(), body].concat()
}

#[track_caller]
fn assert_bytes(name: &str, got: &[u8], expected: &[u8]) {
    assert_eq!(String::from_utf8_lossy(got), String::from_utf8_lossy(expected), "{name}");
    assert_eq!(got, expected, "{name}");
}

#[test]
fn what_a_sent_is_what_b_gets_but_for_the_named_fields() {
    on_both(&[], |daemon| {
        let origin = Origin::start();
        let authority = origin.address.to_string();
        for Case { name, request, outbound, body, lives } in CASES {
            let good = "GET /behind HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {o}\r\n\r\n";
            let mut client = daemon.connect();
            client.send([request, good].concat().replace("{o}", &authority));
            let answer = client.answer();
            assert!(answer.status == 202 && answer.body.is_empty(), "{name}: {answer:?}");
            let id = answer.message_id();
            let expected = first_copy(&outbound.replace("{o}", &authority), &id, body.as_bytes());
            assert_bytes(name, &origin.received(&id), &expected);
            assert_eq!(answer.closes(), !lives, "{name}: {}", answer.head);
            if *lives {
                let id = client.answer().message_id();
                let expected = first_copy(&format!("GET /behind HTTP/1.1\r\nHost: {authority}\r\n"), &id, b"");
                assert_bytes(name, &origin.received(&id), &expected);
            } else {
                assert!(client.is_closed(), "{name}");
            }
        }
        let sent = CASES.len() + CASES.iter().filter(|case| case.lives).count();
        assert_eq!(origin.requests().len(), sent, "each arrives once, and nothing else does");
    });
}

#[test]
fn every_spelling_of_an_origin_names_it() {
    on_both(&[], |daemon| {
        let origin = Origin::start();
        let port = origin.address.port();
        for (value, host) in [
            (format!("127.0.0.1:{port}"), "127.0.0.1"),
            (format!("http://127.0.0.1:{port}"), "127.0.0.1"),
            (format!("HTTP://127.0.0.1:{port}"), "127.0.0.1"),
            (format!("  localhost:{port}\t"), "localhost"),
            (format!("http://LocalHost:{port}"), "localhost"),
        ] {
            for name in ["X-Dispatcher-Origin-Host", "x-dispatcher-origin-host", "X-Dispatcher-Original-Host"] {
                deliver(daemon, &origin, &format!("{name}: {value}\r\n"), &format!("{host}:{port}"));
            }
        }
        let both = format!(
            "X-Dispatcher-Origin-Host: LOCALHOST:{port}\r\nX-Dispatcher-Original-Host: http://localhost:{port}\r\n"
        );
        deliver(daemon, &origin, &both, &format!("localhost:{port}"));
        // A machine may have no IPv6.
        if let Some(origin) = Origin::start_at("[::1]:0") {
            let port = origin.address.port();
            for value in [format!("[::1]:{port}"), format!("http://[0:0::0:1]:{port}")] {
                deliver(daemon, &origin, &format!("X-Dispatcher-Origin-Host: {value}\r\n"), &format!("[::1]:{port}"));
            }
        }
    });
}

/// Sends a request with these fields and compares what its origin gets.
#[track_caller]
fn deliver(daemon: &Daemon, origin: &Origin, fields: &str, authority: &str) {
    let mut client = daemon.connect();
    client.send(format!("POST /p HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 2\r\n\r\nhi"));
    let id = client.answer().message_id();
    let expected = first_copy(&format!("POST /p HTTP/1.1\r\nHost: {authority}\r\nContent-Length: 2\r\n"), &id, b"hi");
    assert_bytes(fields, &origin.received(&id), &expected);
}

#[test]
fn a_head_cut_anywhere_is_the_same_request() {
    on_both(&[], |daemon| {
        let origin = Origin::start();
        let authority = origin.address.to_string();
        let request = format!(
            "POST /p?q HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {authority}\r\nX: y\r\n\
             Transfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n1\r\n\n\r\n0\r\nT: u\r\n\r\n"
        );
        let outbound = format!("POST /p?q HTTP/1.1\r\nHost: {authority}\r\nX: y\r\nContent-Length: 4\r\n");
        let mut client = daemon.connect();
        for cut in 0..request.len() {
            let (before, behind) = request.split_at(cut);
            client.send(before);
            client.send(behind);
            let id = client.answer().message_id();
            assert_bytes(&format!("cut at {cut}"), &origin.received(&id), &first_copy(&outbound, &id, b"abc\n"));
        }
        for byte in request.bytes() {
            client.send([byte]);
        }
        let id = client.answer().message_id();
        assert_bytes("byte by byte", &origin.received(&id), &first_copy(&outbound, &id, b"abc\n"));
    });
}
