//! What an answer says besides its status, and that it is believed.

use dispatcher::delivery::Transport;
use dispatcher::schedule::attempt::{Advice, Failure, Outcome, RetryAfter, Verdict};
use dispatcher::time::{Millis, UnixMillis};

use crate::origin::{Stub, post, run, transport};

#[test]
fn a_verdict_decides_whatever_the_status() {
    let dead = Outcome::Failed(Failure::Http4xx);
    let table: [(&[u8], Option<Verdict>, Outcome); 6] = [
        (
            b"HTTP/1.1 404 No\r\nX-Dispatcher-Verdict: ok\r\nContent-Length: 2\r\n\r\nno",
            Some(Verdict::Ok),
            Outcome::Delivered,
        ),
        (
            b"HTTP/1.1 302 No\r\nx-dispatcher-verdict: OK\r\nContent-Length: 0\r\n\r\n",
            Some(Verdict::Ok),
            Outcome::Delivered,
        ),
        (b"HTTP/1.1 200 OK\r\nX-Dispatcher-Verdict: dead\r\nContent-Length: 0\r\n\r\n", Some(Verdict::Dead), dead),
        (
            b"HTTP/1.1 204 No\r\nX-Dispatcher-Verdict: retry\r\n\r\n",
            Some(Verdict::Retry),
            Outcome::Failed(Failure::Http5xx),
        ),
        (b"HTTP/1.1 200 OK\r\nX-Dispatcher-Verdict: maybe\r\nContent-Length: 0\r\n\r\n", None, Outcome::Delivered),
        (
            b"HTTP/1.1 404 No\r\nX-Dispatcher-Verdict: ok\r\nX-Dispatcher-Verdict: ok\r\nContent-Length: 0\r\n\r\n",
            None,
            dead,
        ),
    ];
    run(async {
        for (answer, verdict, outcome) in table {
            let attempt = {
                let stub = Stub::answering(answer).await;
                transport().send(post(stub.port, b"x")).await
            };
            assert_eq!((attempt.advice.verdict, attempt.outcome), (verdict, outcome), "{}", answer.escape_ascii());
            let keeps = attempt.outcome != Outcome::Delivered && answer.ends_with(b"no");
            assert_eq!(attempt.answer.is_empty(), !keeps);
        }
    });
}

#[test]
fn a_wait_that_an_answer_asks_for_comes_with_the_attempt() {
    let wait = Some(RetryAfter::Wait(Millis::from_secs(17)));
    let at = Some(RetryAfter::At(UnixMillis(784_111_777_000)));
    let table: [(&[u8], Option<RetryAfter>); 5] = [
        (b"HTTP/1.1 429 No\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n", wait),
        (b"HTTP/1.1 503 No\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n", at),
        (b"HTTP/1.1 301 No\r\nretry-after:17\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", wait),
        (b"HTTP/1.1 500 No\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n", None),
        (b"HTTP/1.1 503 No\r\nRetry-After: soon\r\nContent-Length: 0\r\n\r\n", None),
    ];
    run(async {
        for (answer, retry_after) in table {
            let stub = Stub::answering(answer).await;
            let attempt = transport().send(post(stub.port, b"x")).await;
            assert_eq!(attempt.advice, Advice { verdict: None, retry_after }, "{}", answer.escape_ascii());
        }
    });
}
