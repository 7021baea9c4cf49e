//! Origins that answer oddly, early, endlessly or not at all: every attempt ends, in its class, within its bounds.

use std::rc::Rc;
use std::time::Duration;

use dispatcher::delivery::Transport;
use dispatcher::limits::{DRAIN_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX};
use dispatcher::schedule::attempt::{Failure, Outcome};
use dispatcher::time::Millis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use crate::origin::{OK, Stub, assert_delivered, assert_failed, post, run, settle, transport};

#[test]
fn a_redirect_is_a_failure_and_nobody_goes_where_it_points() {
    run(async {
        let elsewhere = Stub::answering(OK).await;
        for status in [301, 302, 303, 307, 308] {
            let location = format!("http://127.0.0.1:{}/in", elsewhere.port);
            let answer = format!("HTTP/1.1 {status} There\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            let stub = Stub::answering(answer.leak().as_bytes()).await;
            let attempt = transport().send(post(stub.port, b"x")).await;
            assert_failed(&attempt, Failure::Http3xx, false);
            assert_eq!((attempt.status, stub.requests.borrow().len()), (Some(status), 1));
        }
        settle().await;
        assert_eq!(elsewhere.connections.get(), 0);
    });
}

/// An origin that repeats `piece` behind `start` for as long as anybody listens.
async fn endless(start: &'static [u8], piece: &'static [u8]) -> Stub {
    Stub::serve(move |mut accepted| async move {
        accepted.request().await;
        accepted.say(start).await;
        while accepted.stream.write_all(piece).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[test]
fn interim_answers_without_end_end_with_the_attempt() {
    run(async {
        let stub = endless(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").await;
        let transport = transport();
        let mut outbound = post(stub.port, b"x");
        outbound.timeout = Millis(200);
        let attempt = transport.send(outbound).await;
        assert_failed(&attempt, Failure::ResponseTimeout, true);
        assert!(attempt.elapsed < Duration::from_secs(5), "{:?}", attempt.elapsed);
        assert_eq!(transport.counts().open.get(), 0);
    });
}

#[test]
fn a_head_without_end_is_protocol_at_its_bound() {
    run(async {
        let table: [(&[u8], &[u8]); 3] = [
            (b"HTTP/1.1 200 OK\r\nA: ", &[b'a'; 1000]),
            (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
            (b"HTTP/1.1 200 ", &[b'a'; 1000]),
        ];
        for (start, piece) in table {
            let stub = endless(start, piece).await;
            let transport = transport();
            assert_failed(&transport.send(post(stub.port, b"x")).await, Failure::Protocol, true);
            assert_eq!(transport.counts().open.get(), 0);
        }
    });
}

#[test]
fn a_head_may_be_as_long_as_its_bound_and_no_longer() {
    const START: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: ";
    run(async {
        for (bytes, outcome) in [
            (RESPONSE_HEAD_BYTES_MAX, Outcome::Delivered),
            (RESPONSE_HEAD_BYTES_MAX + 1, Outcome::Failed(Failure::Protocol)),
        ] {
            let head = [START, &vec![b'a'; bytes - START.len() - 4], b"\r\n\r\n"].concat();
            assert_eq!(head.len(), bytes);
            let stub = Stub::answering(head.leak()).await;
            assert_eq!(transport().send(post(stub.port, b"x")).await.outcome, outcome, "{bytes}");
        }
    });
}

#[test]
fn a_delivery_stands_whatever_becomes_of_its_body() {
    run(async {
        let table: [(&[u8], &[u8]); 4] = [
            // Chunks without end, an extension, a trailer section, and a size that is none.
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;", b"a=b;"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"A: b\r\n"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"what?\r\n"),
        ];
        for (start, piece) in table {
            let stub = endless(start, piece).await;
            let transport = transport();
            let attempt = transport.send(post(stub.port, b"x")).await;
            assert_delivered(&attempt);
            assert!(attempt.elapsed < Duration::from_secs(5), "{:?}", attempt.elapsed);
            assert_eq!(transport.counts().open.get(), 0, "{}", start.escape_ascii());
        }
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\ncut short"[..],
            b"HTTP/1.0 200 OK\r\n\r\nto the end",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
        ] {
            let stub = Stub::answering_once(answer).await;
            let transport = transport();
            assert_delivered(&transport.send(post(stub.port, b"x")).await);
            assert_eq!(transport.counts().open.get(), 0, "{}", answer.escape_ascii());
        }
    });
}

#[test]
fn an_origin_that_closes_without_a_word_is_reset_and_asked_once() {
    run(async {
        let stub = Stub::serve(|accepted| async move { drop(accepted) }).await;
        let attempt = transport().send(post(stub.port, b"x")).await;
        assert_eq!(attempt.outcome, Outcome::Failed(Failure::Reset), "{attempt:?}");
        assert_eq!(stub.connections.get(), 1, "a new connection is not retried at once");
    });
}

#[test]
fn an_origin_that_stops_sending_before_it_answers_is_reset_at_once() {
    run(async {
        let stub = Stub::serve(|mut accepted| async move {
            accepted.request().await;
            accepted.stream.shutdown().await.unwrap();
            accepted.closed().await;
        })
        .await;
        let attempt = transport().send(post(stub.port, b"x")).await;
        assert_failed(&attempt, Failure::Reset, true);
        assert!(attempt.elapsed < Duration::from_secs(5), "{:?}", attempt.elapsed);
    });
}

#[test]
fn an_origin_that_answers_and_stops_sending_has_answered() {
    run(async {
        for answer in [OK, b"HTTP/1.1 200 OK\r\n\r\nto the end"] {
            // Half-closed at once, with most of the request unread, which it goes on reading.
            let stub = Stub::serve(move |mut accepted| async move {
                accepted.stream.read_exact(&mut [0; 100]).await.unwrap();
                accepted.say(answer).await;
                accepted.stream.shutdown().await.unwrap();
                accepted.closed().await;
            })
            .await;
            for bytes in [1000, 16 << 20] {
                let transport = transport();
                let attempt = transport.send(post(stub.port, &vec![b'x'; bytes])).await;
                assert_delivered(&attempt);
                assert!(!attempt.maybe_received);
                assert!(attempt.elapsed < Duration::from_secs(5), "{:?}", attempt.elapsed);
                assert_eq!(transport.counts().open.get(), 0);
            }
        }
    });
}

#[test]
fn what_an_origin_says_unasked_answers_no_request() {
    run(async {
        let told = Rc::new(Notify::new());
        let wait = Rc::clone(&told);
        let stub = Stub::serve(move |mut accepted| {
            let wait = Rc::clone(&wait);
            async move {
                accepted.request().await;
                accepted.say(OK).await;
                wait.notified().await;
                accepted.say(OK).await;
                accepted.closed().await;
            }
        })
        .await;
        let transport = transport();
        assert_delivered(&transport.send(post(stub.port, b"1")).await);
        told.notify_one();
        settle().await;
        assert_delivered(&transport.send(post(stub.port, b"2")).await);
        assert_eq!((stub.connections.get(), stub.requests.borrow().len()), (2, 2));
        assert!(!stub.is_marked(1), "it was sent once");
    });
}

#[test]
fn both_copies_of_a_request_are_one_attempt() {
    run(async {
        let stub = Stub::serve(|mut accepted| async move {
            while accepted.request().await.is_some() {
                if accepted.index == 0 && accepted.seen() == 2 {
                    return;
                }
                accepted.say(OK).await;
            }
        })
        .await;
        let transport = transport();
        assert_delivered(&transport.send(post(stub.port, b"1")).await);
        assert_delivered(&transport.send(post(stub.port, b"2")).await);
        assert_eq!((stub.requests.borrow().len(), stub.connections.get()), (3, 2));
        for index in [1, 2] {
            let copy = String::from_utf8(stub.request(index)).unwrap();
            assert!(copy.contains("\r\nX-Dispatcher-Attempt: 1\r\n"), "{copy}");
            assert!(copy.ends_with("\r\n\r\n2"), "{copy}");
        }
    });
}

#[test]
fn two_lengths_are_two_answers() {
    run(async {
        for answer in [
            &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok!",
            b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        ] {
            let stub = Stub::answering(answer).await;
            assert_failed(&transport().send(post(stub.port, b"x")).await, Failure::Protocol, true);
        }
        // RFC 9112 §6.3 leaves this one to us: the same number twice is a number.
        let stub = Stub::answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok").await;
        assert_delivered(&transport().send(post(stub.port, b"x")).await);
    });
}

#[test]
fn an_answer_as_long_as_the_drain_takes_leaves_the_connection() {
    run(async {
        for (bytes, connections) in [(DRAIN_BYTES_MAX, 1), (DRAIN_BYTES_MAX + 1, 2)] {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
            let answer = [head.as_bytes(), &vec![b'a'; bytes]].concat();
            let stub = Stub::answering(answer.leak()).await;
            let transport = transport();
            for _ in 0..2 {
                assert_delivered(&transport.send(post(stub.port, b"x")).await);
            }
            assert_eq!(stub.connections.get(), connections, "{bytes}");
        }
    });
}
