//! HTTP/2: which connection a request takes, and what becomes of connections.

use std::rc::Rc;
use std::time::Duration;

use dispatcher::delivery::Transport;
use dispatcher::limits::{POOL_AGE_MS_MAX, POOL_IDLE_MS_MAX};
use dispatcher::schedule::attempt::Failure;
use dispatcher::time::{Millis, monotonic_now};
use h2::server::Builder;
use tokio::sync::Notify;

use crate::http2_origin::{
    END_HEADERS, END_STREAM, GOAWAY, HEADERS, Pair, RST_STREAM, STATUS_200, answer, good_once, respond, serve,
};
use crate::origin::{assert_delivered, assert_failed, run, settle};

#[test]
fn requests_after_each_other_and_at_the_same_time_share_one_connection() {
    run(async {
        let pair = Pair::serving(Builder::new(), |_, respond| async { answer(respond, 200, b"ok") }).await;
        for _ in 0..2 {
            let sends: Vec<_> = (0..50).map(|_| pair.send()).collect();
            for send in sends {
                assert_delivered(&send.await.unwrap());
            }
        }
        for _ in 0..10 {
            pair.deliver().await;
        }
        assert_eq!((pair.connections(), pair.seen.borrow().len()), (1, 110));
        let counts = pair.transport.counts();
        assert_eq!((counts.open.get(), counts.opened.get(), counts.stale_retries.get()), (1, 1, 0));
    });
}

#[test]
fn no_connection_has_more_streams_than_the_origin_allows() {
    run(async {
        let told = Rc::new(Notify::new());
        let wait = Rc::clone(&told);
        let mut builder = Builder::new();
        builder.max_concurrent_streams(1);
        let pair = Pair::serving(builder, move |_, respond| {
            let wait = Rc::clone(&wait);
            async move {
                wait.notified().await;
                answer(respond, 200, b"");
            }
        })
        .await;
        let sends: Vec<_> = (0..3).map(|_| pair.send()).collect();
        while pair.seen.borrow().len() < 3 {
            settle().await;
        }
        told.notify_waiters();
        for send in sends {
            assert_delivered(&send.await.unwrap());
        }
        let mut used: Vec<usize> = pair.seen.borrow().iter().map(|seen| seen.connection).collect();
        used.sort_unstable();
        assert_eq!(used, [0, 1, 2]);
        for _ in 0..3 {
            let send = pair.send();
            let before = pair.seen.borrow().len();
            while pair.seen.borrow().len() == before {
                settle().await;
            }
            told.notify_waiters();
            assert_delivered(&send.await.unwrap());
        }
        assert_eq!((pair.connections(), pair.transport.counts().stale_retries.get()), (3, 0));
    });
}

#[test]
fn deliveries_begun_together_share_the_failure_to_connect() {
    run(async {
        let pair = Pair::scripted_within(Millis(100), |mut raw| async move { raw.closed().await }).await;
        let sends: Vec<_> = (0..10).map(|_| pair.send()).collect();
        for send in sends {
            // It never sent its settings: HTTP/2 was not established.
            assert_failed(&send.await.unwrap(), Failure::ConnectTimeout, false);
        }
        assert_eq!((pair.connections(), pair.transport.counts().open.get()), (1, 0));
    });
}

#[test]
fn one_that_gives_up_connecting_leaves_it_to_those_who_wait() {
    run(async {
        let pair = Pair::scripted(|mut raw| async move {
            if raw.index > 0 {
                serve(raw).await;
            } else {
                raw.closed().await;
            }
        })
        .await;
        let mut hasty = pair.post(b"x");
        hasty.timeout = Millis(100);
        let (hasty, patient) = tokio::join!(pair.transport.send(hasty), pair.transport.send(pair.post(b"x")));
        assert_failed(&hasty, Failure::ConnectTimeout, false);
        assert_delivered(&patient);
        assert_eq!(pair.connections(), 2);
    });
}

#[test]
fn a_connection_that_was_silent_for_an_attempt_is_not_used_again() {
    run(async {
        let pair = good_once(|mut raw| async move {
            raw.request().await;
            // Reset, as nobody waits for its answer any more.
            assert_eq!(raw.frame().await.unwrap().kind, RST_STREAM);
            raw.closed().await;
        })
        .await;
        pair.deliver().await;
        let mut outbound = pair.post(b"x");
        outbound.timeout = Millis(100);
        assert_failed(&pair.transport.send(outbound).await, Failure::ResponseTimeout, true);
        pair.deliver().await;
        assert_eq!(pair.connections(), 2);
        pair.ended(1).await;
    });
}

#[test]
fn a_connection_on_which_others_are_answered_outlives_an_attempt_that_was_not() {
    run(async {
        let pair = Pair::serving(Builder::new(), |index, respond| async move {
            if index == 0 {
                std::future::pending::<()>().await;
            }
            answer(respond, 200, b"");
        })
        .await;
        let mut outbound = pair.post(b"x");
        outbound.timeout = Millis(300);
        let (slow, ()) = tokio::join!(pair.transport.send(outbound), async {
            while pair.seen.borrow().is_empty() {
                settle().await;
            }
            pair.deliver().await;
        });
        assert_failed(&slow, Failure::ResponseTimeout, true);
        pair.deliver().await;
        assert_eq!(pair.connections(), 1);
    });
}

#[test]
fn dropping_an_attempt_resets_its_stream_and_no_other() {
    run(async {
        let pair = Pair::scripted(|mut raw| async move {
            raw.greet(100).await;
            let dropped = raw.request().await.unwrap();
            let frame = raw.frame().await.unwrap();
            assert_eq!((frame.kind, frame.stream), (RST_STREAM, dropped));
            let stream = raw.request().await.unwrap();
            raw.say(HEADERS, END_HEADERS | END_STREAM, stream, STATUS_200).await;
            raw.closed().await;
        })
        .await;
        let send = pair.send();
        while pair.transport.counts().open.get() == 0 {
            settle().await;
        }
        settle().await;
        send.abort();
        assert!(send.await.unwrap_err().is_cancelled());
        pair.deliver().await;
        assert_eq!(pair.connections(), 1);
    });
}

/// Answers one request, and checks that the connection ends with a goodbye.
async fn expecting_goodbye() -> Pair {
    Pair::scripted(|mut raw| async move {
        raw.greet(100).await;
        let stream = raw.request().await.unwrap();
        respond(&mut raw, stream).await;
        loop {
            let frame = raw.frame().await.expect("a goodbye");
            if frame.kind == GOAWAY {
                break;
            }
        }
        raw.closed().await;
    })
    .await
}

#[test]
fn a_connection_that_was_idle_for_too_long_says_goodbye() {
    run(async {
        let pair = expecting_goodbye().await;
        pair.deliver().await;
        let now = monotonic_now();
        pair.transport.sweep(now);
        pair.transport.sweep(now + Duration::from_millis(POOL_IDLE_MS_MAX - 1));
        assert_eq!(pair.transport.counts().open.get(), 1);
        pair.transport.sweep(now + Duration::from_millis(POOL_IDLE_MS_MAX));
        pair.ended(1).await;
        assert_eq!(pair.transport.counts().open.get(), 0);
    });
}

#[test]
fn dropping_the_transport_closes_its_connections() {
    run(async {
        let pair = expecting_goodbye().await;
        pair.deliver().await;
        let Pair { transport, ended, .. } = &pair;
        assert_eq!(Rc::strong_count(transport), 1);
        let ended = Rc::clone(ended);
        drop(pair.transport);
        while ended.get() == 0 {
            settle().await;
        }
    });
}

#[test]
fn an_old_connection_takes_no_new_streams_and_ends_with_its_last() {
    run(async {
        let told = Rc::new(Notify::new());
        let wait = Rc::clone(&told);
        let pair = Pair::serving(Builder::new(), move |index, respond| {
            let wait = Rc::clone(&wait);
            async move {
                if index == 1 {
                    wait.notified().await;
                }
                answer(respond, 200, b"");
            }
        })
        .await;
        pair.deliver().await;
        let slow = pair.send();
        while pair.seen.borrow().len() < 2 {
            settle().await;
        }
        pair.transport.sweep(monotonic_now() + Duration::from_millis(POOL_AGE_MS_MAX));
        pair.deliver().await;
        assert_eq!((pair.connections(), pair.transport.counts().open.get()), (2, 2));
        told.notify_one();
        assert_delivered(&slow.await.unwrap());
        pair.ended(1).await;
        assert_eq!(pair.transport.counts().open.get(), 1);
        let used: Vec<usize> = pair.seen.borrow().iter().map(|seen| seen.connection).collect();
        assert_eq!(used, [0, 0, 1]);
    });
}
