//! HTTP/2: connections and streams that end before an answer, and what is then sent again.

use std::rc::Rc;

use dispatcher::delivery::Transport;
use dispatcher::schedule::attempt::Failure;
use h2::Reason;
use h2::server::Builder;
use tokio::sync::Notify;

use crate::http2_origin::{END_HEADERS, HEADERS, Pair, Raw, go_on, good_once, respond};
use crate::origin::{assert_delivered, assert_failed, run, settle};

#[test]
fn a_connection_that_ended_while_idle_costs_no_attempt() {
    run(async {
        let goodbye = |mut raw: Raw| async move {
            raw.go_away(1, Reason::NO_ERROR).await;
            raw.closed().await;
        };
        for pair in [good_once(goodbye).await, good_once(|raw| async move { drop(raw) }).await] {
            pair.deliver().await;
            pair.ended(1).await;
            let attempt = pair.transport.send(pair.post(b"x")).await;
            assert_delivered(&attempt);
            assert_eq!((attempt.maybe_received, pair.connections()), (false, 2));
            assert_eq!(pair.transport.counts().open.get(), 1);
        }
    });
}

/// Two copies of a request, of which the first was certainly not processed: the second is the first as far as the origin
/// can tell.
async fn is_sent_again_unmarked(pair: Pair) {
    pair.deliver().await;
    let attempt = pair.transport.send(pair.post(b"x")).await;
    assert_delivered(&attempt);
    assert_eq!((attempt.maybe_received, pair.connections()), (false, 2));
    assert_eq!(pair.transport.counts().stale_retries.get(), 1);
}

#[test]
fn a_request_that_was_refused_or_came_after_the_last_one_is_sent_again_at_once_and_is_no_duplicate() {
    run(async {
        is_sent_again_unmarked(
            good_once(|mut raw| async move {
                raw.request().await;
                raw.go_away(1, Reason::NO_ERROR).await;
                raw.closed().await;
            })
            .await,
        )
        .await;
        is_sent_again_unmarked(
            good_once(|mut raw| async move {
                raw.request().await;
                raw.go_away(1, Reason::INTERNAL_ERROR).await;
            })
            .await,
        )
        .await;
        is_sent_again_unmarked(
            good_once(|mut raw| async move {
                let stream = raw.request().await.unwrap();
                raw.reset(stream, Reason::REFUSED_STREAM).await;
                raw.closed().await;
            })
            .await,
        )
        .await;
    });
}

#[test]
fn the_second_copy_says_nothing_of_a_first_one_that_was_refused_and_is_the_last() {
    run(async {
        let pair = Pair::serving(Builder::new(), |_, mut respond| async move {
            respond.send_reset(Reason::REFUSED_STREAM);
        })
        .await;
        assert_failed(&pair.transport.send(pair.post(b"x")).await, Failure::Reset, false);
        assert_eq!((pair.connections(), pair.seen.borrow().len()), (2, 2));
        assert_eq!([pair.is_marked(0), pair.is_marked(1)], [false, false]);
    });
}

#[test]
fn a_request_that_may_have_been_processed_is_not_sent_again_when_its_stream_or_connection_ends() {
    run(async {
        let goodbye = good_once(|mut raw| async move {
            let stream = raw.request().await.unwrap();
            raw.go_away(stream, Reason::NO_ERROR).await;
        });
        let error = good_once(|mut raw| async move {
            let stream = raw.request().await.unwrap();
            raw.go_away(stream, Reason::INTERNAL_ERROR).await;
        });
        let reset = good_once(|mut raw| async move {
            let stream = raw.request().await.unwrap();
            raw.reset(stream, Reason::INTERNAL_ERROR).await;
            go_on(raw).await;
        });
        let cut = good_once(|mut raw| async move {
            let stream = raw.request().await.unwrap();
            raw.say(HEADERS, END_HEADERS, stream, b"\x08\x03103").await;
        });
        for pair in [goodbye.await, error.await, reset.await, cut.await] {
            pair.deliver().await;
            assert_failed(&pair.transport.send(pair.post(b"x")).await, Failure::Reset, true);
            assert_eq!(pair.transport.counts().stale_retries.get(), 0);
            pair.deliver().await;
        }
    });
}

#[test]
fn a_goodbye_lets_what_runs_end_and_sends_what_comes_elsewhere() {
    run(async {
        let told = Rc::new(Notify::new());
        let wait = Rc::clone(&told);
        let pair = good_once(move |mut raw| {
            let wait = Rc::clone(&wait);
            async move {
                let stream = raw.request().await.unwrap();
                raw.go_away(stream, Reason::NO_ERROR).await;
                wait.notified().await;
                respond(&mut raw, stream).await;
                raw.closed().await;
            }
        })
        .await;
        pair.deliver().await;
        let slow = pair.send();
        while pair.connections() < 2 {
            settle().await;
            pair.deliver().await;
        }
        told.notify_one();
        assert_delivered(&slow.await.unwrap());
        pair.ended(1).await;
        assert_eq!(pair.transport.counts().open.get(), 1);
    });
}

#[test]
fn a_used_connection_that_breaks_before_an_answer_costs_no_attempt_and_the_second_copy_may_be_one() {
    run(async {
        let pair = good_once(|mut raw| async move {
            {
                raw.request().await;
            }
        })
        .await;
        pair.deliver().await;
        let attempt = pair.transport.send(pair.post(b"x")).await;
        assert_delivered(&attempt);
        assert!(attempt.maybe_received, "as far as anybody knows");
        assert_eq!((pair.connections(), pair.transport.counts().stale_retries.get()), (2, 1));
        let pair = Pair::scripted(|mut raw| async move {
            raw.greet(100).await;
            raw.request().await;
        })
        .await;
        assert_failed(&pair.transport.send(pair.post(b"x")).await, Failure::Reset, true);
        assert_eq!(pair.connections(), 1, "a new one is not retried at once");
    });
}
