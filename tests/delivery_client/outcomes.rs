//! What comes of an attempt: delivered, or the class of the failure.

use std::io::{Read, Write};
use std::time::Duration;

use dispatcher::delivery::Transport;
use dispatcher::limits::{ANSWER_BYTES_MAX, DRAIN_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX};
use dispatcher::schedule::attempt::{Failure, Outcome, outcome_of_answer};
use dispatcher::time::Millis;
use tokio::net::TcpListener;

use crate::origin::{OK, Stub, assert_delivered, assert_failed, post, request, run, transport, transport_trusting};

#[test]
fn answers_that_end_properly_leave_the_connection_to_the_next_request() {
    let table: [(&str, u16, &[u8]); 9] = [
        ("POST", 200, OK),
        ("POST", 200, b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
        ("POST", 204, b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("POST", 304, b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\n\r\n"),
        ("HEAD", 200, b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"),
        ("POST", 202, b"HTTP/1.1 202 A\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: u\r\n\r\n"),
        ("POST", 200, b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("POST", 410, b"HTTP/1.1 410 Gone\r\nContent-Length: 4\r\n\r\ngone"),
        ("POST", 500, b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ];
    run(async {
        for (method, status, answer) in table {
            let stub = Stub::answering(answer).await;
            let transport = transport();
            for _ in 0..3 {
                let head = format!("{method} / HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n");
                let attempt = transport.send(request(&format!("127.0.0.1:{}", stub.port), head.as_bytes(), b"x")).await;
                assert_eq!((attempt.status, attempt.outcome), (Some(status), outcome_of_answer(status, None)));
                assert!(!attempt.maybe_received);
            }
            assert_eq!(stub.connections.get(), 1, "{}", answer.escape_ascii());
            assert_eq!(transport.counts().open.get(), 1);
        }
    });
}

#[test]
fn answers_that_rule_out_another_request_close_the_connection() {
    let table: [(u16, &[u8]); 5] = [
        (200, b"HTTP/1.1 200 OK\r\n\r\nto the end"),
        (200, b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"),
        (200, b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"),
        (200, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nmore than was asked for"),
        (500, b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\ncut short"),
    ];
    run(async {
        for (status, answer) in table {
            let stub = Stub::answering_once(answer).await;
            let transport = transport();
            let attempt = transport.send(post(stub.port, b"x")).await;
            assert_eq!((attempt.status, attempt.outcome), (Some(status), outcome_of_answer(status, None)));
            assert!(!attempt.maybe_received);
            assert_eq!(transport.counts().open.get(), 0, "{}", answer.escape_ascii());
        }
    });
}

#[test]
fn an_answer_that_is_not_http_or_breaks_a_bound_is_protocol() {
    let too_large =
        [b"HTTP/1.1 200 OK\r\nA: ".to_vec(), vec![b'a'; RESPONSE_HEAD_BYTES_MAX], b"\r\n\r\n".to_vec()].concat();
    let table: [&'static [u8]; 9] = [
        b"220 mail.example ESMTP\r\n",
        b"\x15\x03\x03\x00\x02\x02\x28",
        b"HTTP/3.0 200 OK\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        too_large.leak(),
    ];
    run(async {
        for answer in table {
            let stub = Stub::serve(move |mut accepted| async move {
                accepted.request().await;
                accepted.say(answer).await;
                accepted.closed().await;
            })
            .await;
            let attempt = transport().send(post(stub.port, b"x")).await;
            assert_eq!(
                attempt.outcome,
                Outcome::Failed(Failure::Protocol),
                "{}",
                answer[..20.min(answer.len())].escape_ascii()
            );
            assert!(attempt.maybe_received, "no complete answer came");
            assert_eq!(attempt.status, None);
        }
    });
}

#[test]
fn bytes_before_any_request_are_protocol_whenever_they_are_read() {
    run(async {
        let stub = Stub::serve(|mut accepted| async move {
            accepted.say(b"220 mail.example ESMTP\r\n").await;
            accepted.closed().await;
        })
        .await;
        let attempt = transport().send(post(stub.port, b"x")).await;
        assert_eq!(attempt.outcome, Outcome::Failed(Failure::Protocol));
    });
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_protocol() {
    run(async {
        let stub =
            Stub::answering(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n").await;
        let transport = transport();
        let attempt = transport.send(post(stub.port, b"x")).await;
        assert_failed(&attempt, Failure::Protocol, false);
        assert_eq!(transport.counts().open.get(), 0);
    });
}

#[test]
fn a_connection_that_ends_before_the_head_does_is_reset() {
    run(async {
        for answer in [&b""[..], b"HTTP/1.1 200 OK\r\nContent-", b"HTTP/1.1 100 Continue\r\n\r\n"] {
            let stub = Stub::answering_once(answer).await;
            assert_failed(&transport().send(post(stub.port, b"x")).await, Failure::Reset, true);
        }
    });
}

#[test]
fn an_origin_that_does_not_answer_in_time_is_response_timeout() {
    run(async {
        let stub = Stub::serve(|mut accepted| async move {
            accepted.request().await;
            accepted.say(b"HTTP/1.1 200 OK\r\n").await;
            accepted.closed().await;
        })
        .await;
        let transport = transport();
        let mut outbound = post(stub.port, b"x");
        outbound.timeout = Millis(100);
        let attempt = transport.send(outbound).await;
        assert_failed(&attempt, Failure::ResponseTimeout, true);
        assert!(attempt.elapsed >= Duration::from_millis(100), "{:?}", attempt.elapsed);
        assert!(attempt.elapsed < Duration::from_secs(5), "{:?}", attempt.elapsed);
        assert_eq!(transport.counts().open.get(), 0, "its late answer is nobody's");
    });
}

#[test]
fn an_origin_that_does_not_finish_a_handshake_in_time_is_connect_timeout() {
    run(async {
        let stub = Stub::serve(|mut accepted| async move { accepted.closed().await }).await;
        let origin = format!("https://127.0.0.1:{}", stub.port);
        let head = b"GET / HTTP/1.1\r\nHost: b\r\n";
        let by_connect_timeout = transport_trusting(None, Millis(50)).send(request(&origin, head, b"")).await;
        assert_failed(&by_connect_timeout, Failure::ConnectTimeout, false);
        let mut outbound = request(&origin, head, b"");
        outbound.timeout = Millis(50);
        assert_failed(&transport().send(outbound).await, Failure::ConnectTimeout, false);
    });
}

#[test]
fn an_origin_where_nobody_listens_is_refused() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let attempt = transport().send(post(port, b"x")).await;
        assert_failed(&attempt, Failure::Refused, false);
        assert_eq!(attempt.status, None);
    });
}

#[test]
fn a_name_is_resolved() {
    run(async {
        let stub = Stub::answering(OK).await;
        let head = b"GET / HTTP/1.1\r\nHost: b\r\n";
        assert_delivered(&transport().send(request(&format!("localhost:{}", stub.port), head, b"")).await);
    });
}

#[test]
fn a_delivery_with_an_endless_body_is_delivered_and_costs_the_connection() {
    run(async {
        for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"] {
            let stub = Stub::serve(move |mut accepted| async move {
                accepted.request().await;
                accepted.say(head.as_bytes()).await;
                for _ in 0..2 * DRAIN_BYTES_MAX / 1000 {
                    accepted.say(&[b'x'; 1000]).await;
                }
                accepted.closed().await;
            })
            .await;
            let transport = transport();
            let attempt = transport.send(post(stub.port, b"x")).await;
            assert_delivered(&attempt);
            assert!(attempt.answer.is_empty());
            assert_eq!(transport.counts().open.get(), 0);
        }
    });
}

#[test]
fn a_delivery_whose_body_never_ends_is_delivered_before_its_timeout() {
    run(async {
        let stub = Stub::serve(|mut accepted| async move {
            accepted.request().await;
            accepted.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
            accepted.closed().await;
        })
        .await;
        let attempt = transport().send(post(stub.port, b"x")).await;
        assert_delivered(&attempt);
        assert!(attempt.elapsed < Duration::from_secs(10), "{:?}", attempt.elapsed);
    });
}

#[test]
fn the_start_of_a_failed_answer_is_kept() {
    run(async {
        let body: Vec<u8> = (0..DRAIN_BYTES_MAX / 2).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
        let whole = [format!("HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes(), &body].concat();
        let stub = Stub::answering(whole.leak()).await;
        let transport = transport();
        for _ in 0..2 {
            let attempt = transport.send(post(stub.port, b"x")).await;
            assert_failed(&attempt, Failure::Http5xx, false);
            assert_eq!(attempt.answer, body[..ANSWER_BYTES_MAX]);
        }
        assert_eq!(stub.connections.get(), 1);
    });
}

#[test]
fn an_answer_that_comes_while_the_body_is_still_being_sent_is_the_answer() {
    const ROUNDS: usize = 40;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // On a thread of its own, so that it closes in the middle of the sender's writes.
    let origin = std::thread::spawn(move || {
        for _ in 0..ROUNDS {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 1000]).unwrap();
            // Closed with most of the request unread: the kernel resets the connection behind the answer.
            stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!").unwrap();
        }
    });
    run(async {
        let transport = transport();
        let outbound = post(port, &vec![b'x'; 16 << 20]);
        for round in 0..ROUNDS {
            let attempt = transport.send(outbound.clone()).await;
            assert_eq!(attempt.status, Some(413), "round {round}: {attempt:?}");
            assert_failed(&attempt, Failure::Http4xx, false);
            assert_eq!(transport.counts().open.get(), 0, "a request was not sent whole");
        }
    });
    origin.join().unwrap();
}
