//! HTTP/2: the same outcomes as over HTTP/1.1, and the same request.

use std::time::Duration;

use dispatcher::delivery::Transport;
use dispatcher::limits::{ANSWER_BYTES_MAX, DRAIN_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX};
use dispatcher::schedule::attempt::{Failure, Outcome, RetryAfter, Verdict, outcome_of_answer};
use dispatcher::time::Millis;
use h2::Reason;
use h2::server::Builder;

use crate::http2_origin::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Pair, Raw, STATUS_200, STATUS_204, answer,
};
use crate::origin::{MESSAGE_ID, assert_delivered, assert_failed, run};

async fn echoing_ok() -> Pair {
    Pair::serving(Builder::new(), |_, respond| async { answer(respond, 200, b"ok") }).await
}

#[test]
fn an_origin_reads_the_request_as_it_was_stored() {
    run(async {
        let pair = echoing_ok().await;
        let head =
            b"BREW /a%20b?c=d&\xc3\xbc HTTP/1.1\r\nX-B: 1\r\nHost: b.example:7\r\nCookie: a=1\r\nx-b: caf\xe9\r\n\
            X-Empty:\r\nContent-Length: 3\r\n";
        let mut outbound = pair.request(head, b"\0\r\n");
        outbound.maybe_duplicate = true;
        assert_delivered(&pair.transport.send(outbound).await);
        assert_delivered(&pair.transport.send(pair.request(b"OPTIONS * HTTP/1.1\r\nHost: b\r\n", b"")).await);
        let seen = pair.seen.borrow();
        assert_eq!(seen[0].head.method, "BREW");
        assert_eq!(seen[0].head.uri, "https://b.example:7/a%20b?c=d&\u{fc}");
        assert_eq!(seen[0].body, b"\0\r\n");
        let fields: Vec<(&str, &[u8])> =
            seen[0].head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        let expected: [(&str, &[u8]); 8] = [
            ("x-b", b"1"),
            ("x-b", b"caf\xe9"),
            ("cookie", b"a=1"),
            ("x-empty", b""),
            ("content-length", b"3"),
            ("x-dispatcher-message-id", MESSAGE_ID.as_bytes()),
            ("x-dispatcher-attempt", b"1"),
            ("x-dispatcher-maybe-duplicate", b"true"),
        ];
        assert_eq!(fields, expected);
        assert_eq!((seen[1].head.method.as_str(), seen[1].head.uri.path()), ("OPTIONS", "*"));
        assert!(!seen[1].head.headers.contains_key("x-dispatcher-maybe-duplicate"));
    });
}

#[test]
fn a_large_body_arrives_whole_through_a_small_window() {
    run(async {
        let mut builder = Builder::new();
        builder.initial_window_size(1000);
        let pair = Pair::serving(builder, |_, respond| async { answer(respond, 200, b"") }).await;
        let body: Vec<u8> = (0..1_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert_delivered(&pair.transport.send(pair.post(&body)).await);
        assert!(pair.seen.borrow()[0].body == body);
    });
}

#[test]
fn an_answer_is_judged_by_status_and_verdict() {
    run(async {
        let pair = Pair::serving(Builder::new(), |index, mut respond| async move {
            let head = http::Response::builder();
            let head = match index {
                0 => head.status(204),
                1 => head.status(304),
                2 => head.status(302).header("location", "/elsewhere").header("retry-after", "7"),
                3 => head.status(404).header("x-dispatcher-verdict", "ok"),
                4 => head.status(200).header("x-dispatcher-verdict", "dead"),
                _ => head.status(500).header("retry-after", "7"),
            };
            respond.send_response(head.body(()).unwrap(), true).unwrap();
        })
        .await;
        let (wait, dead) = (Some(RetryAfter::Wait(Millis::from_secs(7))), Outcome::Failed(Failure::Http4xx));
        let table = [
            (204, None, None, Outcome::Delivered),
            (304, None, None, Outcome::Failed(Failure::Http3xx)),
            (302, None, wait, Outcome::Failed(Failure::Http3xx)),
            (404, Some(Verdict::Ok), None, Outcome::Delivered),
            (200, Some(Verdict::Dead), None, dead),
            (500, None, None, outcome_of_answer(500, None)),
        ];
        for (status, verdict, retry_after, outcome) in table {
            let attempt = pair.transport.send(pair.post(b"x")).await;
            assert_eq!((attempt.status, attempt.outcome), (Some(status), outcome));
            assert_eq!((attempt.advice.verdict, attempt.advice.retry_after), (verdict, retry_after));
        }
        assert_eq!((pair.seen.borrow().len(), pair.stub.connections.get()), (6, 1), "redirects are not followed");
    });
}

/// Greets, reads one request and goes on.
async fn after_a_request(raw: &mut Raw) -> u32 {
    raw.greet(100).await;
    raw.request().await.unwrap()
}

#[test]
fn interim_answers_and_trailers_are_skipped() {
    run(async {
        let pair = Pair::scripted(|mut raw| async move {
            let stream = after_a_request(&mut raw).await;
            for status in [&b"\x08\x03100"[..], b"\x08\x03103", b"\x08\x03102"] {
                raw.say(HEADERS, END_HEADERS, stream, status).await;
            }
            raw.say(HEADERS, END_HEADERS, stream, b"\x08\x03500").await;
            raw.say(DATA, 0, stream, b"no!").await;
            raw.say(HEADERS, END_HEADERS | END_STREAM, stream, b"\0\x01t\x01u").await;
            let stream = raw.request().await.unwrap();
            raw.say(HEADERS, END_HEADERS | END_STREAM, stream, STATUS_204).await;
            raw.closed().await;
        })
        .await;
        let attempt = pair.transport.send(pair.post(b"x")).await;
        assert_failed(&attempt, Failure::Http5xx, false);
        assert_eq!(attempt.answer, b"no!"[..]);
        assert_delivered(&pair.transport.send(pair.post(b"x")).await);
        assert_eq!(pair.stub.connections.get(), 1);
    });
}

#[test]
fn endless_interim_answers_end_with_the_attempt() {
    run(async {
        let pair = Pair::scripted(|mut raw| async move {
            let stream = after_a_request(&mut raw).await;
            loop {
                raw.say(HEADERS, END_HEADERS, stream, b"\x08\x03103").await;
                tokio::task::yield_now().await;
            }
        })
        .await;
        let mut outbound = pair.post(b"x");
        outbound.timeout = Millis(100);
        assert_failed(&pair.transport.send(outbound).await, Failure::ResponseTimeout, true);
    });
}

/// `bytes` bytes of fields in HPACK, as RFC 7541 §4.1 counts them, behind `:status: 200` with its 42.
fn fields_of(bytes: usize) -> Vec<u8> {
    let length = bytes - 42 - 1 - 32;
    // A literal without indexing: a name of one byte, and a length in 7 bits that goes on in two bytes or three.
    let rest = length - 127;
    let mut block = [STATUS_200, b"\0\x01a\x7f"].concat();
    let mut left = rest;
    while left >= 128 {
        block.push(u8::try_from(left % 128 + 128).unwrap());
        left /= 128;
    }
    block.push(u8::try_from(left).unwrap());
    block.extend(std::iter::repeat_n(b'a', length));
    block
}

#[test]
fn a_response_head_has_a_bound() {
    run(async {
        for (bytes, outcome) in [
            (RESPONSE_HEAD_BYTES_MAX, Outcome::Delivered),
            (RESPONSE_HEAD_BYTES_MAX + 1, Outcome::Failed(Failure::Protocol)),
            (16 * RESPONSE_HEAD_BYTES_MAX, Outcome::Failed(Failure::Protocol)),
        ] {
            let pair = Pair::scripted(move |mut raw| async move {
                let stream = after_a_request(&mut raw).await;
                let block = fields_of(bytes);
                let pieces: Vec<&[u8]> = block.chunks(16_000).collect();
                for (index, piece) in pieces.iter().enumerate() {
                    let kind = if index == 0 { HEADERS } else { CONTINUATION };
                    let end = if index + 1 == pieces.len() { END_HEADERS } else { 0 };
                    let end_stream = if index == 0 { END_STREAM } else { 0 };
                    raw.say(kind, end | end_stream, stream, piece).await;
                }
                raw.closed().await;
            })
            .await;
            let attempt = pair.transport.send(pair.post(b"x")).await;
            assert_eq!((attempt.outcome, attempt.maybe_received), (outcome, outcome != Outcome::Delivered), "{bytes}");
        }
    });
}

#[test]
fn an_answer_that_breaks_the_protocol_is_protocol() {
    run(async {
        let table: [(u8, &[u8]); 5] = [
            // No :status, one that is no number, an upper-case name, DATA before HEADERS, HPACK that is none.
            (HEADERS, b"\0\x01a\x01b"),
            (HEADERS, b"\x08\x03abc"),
            (HEADERS, b"\x88\0\x01A\x01b"),
            (DATA, b"x"),
            (HEADERS, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
        ];
        for (kind, payload) in table {
            let pair = Pair::scripted(move |mut raw| async move {
                let stream = after_a_request(&mut raw).await;
                raw.say(kind, END_HEADERS, stream, payload).await;
                raw.closed().await;
            })
            .await;
            let attempt = pair.transport.send(pair.post(b"x")).await;
            assert_failed(&attempt, Failure::Protocol, true);
        }
        let pair = Pair::scripted(|mut raw| async move {
            raw.babble(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            raw.closed().await;
        })
        .await;
        assert_failed(&pair.transport.send(pair.post(b"x")).await, Failure::Protocol, false);
    });
}

#[test]
fn the_start_of_a_failed_answer_is_kept() {
    static BODY: [u8; DRAIN_BYTES_MAX - 1] = [b'a'; DRAIN_BYTES_MAX - 1];
    run(async {
        let pair = Pair::serving(Builder::new(), |_, respond| async { answer(respond, 500, &BODY) }).await;
        let attempt = pair.transport.send(pair.post(b"x")).await;
        assert_failed(&attempt, Failure::Http5xx, false);
        assert_eq!(attempt.answer, BODY[..ANSWER_BYTES_MAX]);
    });
}

#[test]
fn an_answer_without_end_costs_its_stream_and_not_the_connection() {
    run(async {
        let pair = Pair::scripted(|mut raw| async move {
            raw.greet(100).await;
            for _ in 0..2 {
                let stream = raw.request().await.unwrap();
                raw.say(HEADERS, END_HEADERS, stream, STATUS_200).await;
                for _ in 0..DRAIN_BYTES_MAX / 1000 {
                    raw.say(DATA, 0, stream, &[b'x'; 1000]).await;
                }
                // One gets no more than the window, the other is silent.
                raw.say(DATA, 0, stream, &[b'x'; 535]).await;
                while raw.frame().await.unwrap().kind != crate::http2_origin::RST_STREAM {}
            }
            raw.closed().await;
        })
        .await;
        for _ in 0..2 {
            let attempt = pair.transport.send(pair.post(b"x")).await;
            assert_delivered(&attempt);
            assert!(attempt.elapsed < Duration::from_secs(10), "{:?}", attempt.elapsed);
        }
        assert_eq!(pair.stub.connections.get(), 1);
    });
}

#[test]
fn an_answer_that_comes_while_the_body_is_still_being_sent_is_the_answer() {
    run(async {
        let table = [(false, false), (true, false), (false, true), (true, true)];
        for (round, (reset, close)) in table.into_iter().cycle().take(40).enumerate() {
            let pair = Pair::scripted(move |mut raw| async move {
                raw.greet(100).await;
                if round % 8 < 4 {
                    // The sender is in the middle of a write, not held back by a window, when the origin closes.
                    raw.open_windows().await;
                }
                let frame = loop {
                    let frame = raw.frame().await.unwrap();
                    if frame.kind == DATA {
                        break frame;
                    }
                };
                raw.say(HEADERS, END_HEADERS, frame.stream, b"\x08\x03413").await;
                raw.say(DATA, END_STREAM, frame.stream, b"no!").await;
                if reset {
                    raw.reset(frame.stream, Reason::NO_ERROR).await;
                }
                if !close {
                    raw.closed().await;
                }
            })
            .await;
            // More than windows or buffers take.
            let attempt = pair.transport.send(pair.post(&vec![b'x'; 8 << 20])).await;
            assert_eq!((attempt.status, &attempt.answer[..]), (Some(413), &b"no!"[..]), "{round}: {reset} {close}");
            assert_failed(&attempt, Failure::Http4xx, false);
        }
    });
}
