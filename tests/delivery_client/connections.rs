//! Which connection a request takes, and what becomes of connections.

use std::rc::Rc;
use std::time::Duration;

use dispatcher::delivery::Transport;
use dispatcher::delivery::client::HyperTransport;
use dispatcher::limits::POOL_IDLE_MS_MAX;
use dispatcher::schedule::attempt::Failure;
use dispatcher::time::monotonic_now;
use tokio::sync::Notify;

use crate::origin::{OK, Stub, UNAVAILABLE, assert_delivered, assert_failed, post, run, settle, transport};

#[test]
fn requests_one_after_the_other_share_a_connection() {
    run(async {
        let stub = Stub::answering(OK).await;
        let transport = transport();
        for _ in 0..100 {
            assert_delivered(&transport.send(post(stub.port, b"x")).await);
        }
        assert_eq!(stub.connections.get(), 1);
        assert_eq!((transport.counts().open.get(), transport.counts().opened.get()), (1, 1));
    });
}

#[test]
fn requests_at_the_same_time_have_connections_of_their_own() {
    run(async {
        let stub = Stub::answering(OK).await;
        let transport = Rc::new(transport());
        for _ in 0..3 {
            let sends = (0..10).map(|_| {
                let transport = Rc::clone(&transport);
                tokio::task::spawn_local(async move { transport.send(post(stub.port, b"x")).await })
            });
            for send in sends.collect::<Vec<_>>() {
                assert_delivered(&send.await.unwrap());
            }
        }
        assert_eq!(stub.connections.get(), 10);
        assert_eq!(transport.counts().open.get(), 10);
    });
}

/// Serves the first connection with one good answer and, when told, `then`; all later connections with `later`.
async fn good_once(then: Then, later: &'static [u8]) -> (Stub, Rc<Notify>) {
    let told = Rc::new(Notify::new());
    let tell = Rc::clone(&told);
    let stub = Stub::serve(move |mut accepted| {
        let told = Rc::clone(&told);
        async move {
            accepted.request().await;
            if accepted.index > 0 {
                accepted.say(later).await;
                return accepted.closed().await;
            }
            accepted.say(OK).await;
            told.notified().await;
            match then {
                Then::Close => {}
                Then::SayAndClose(farewell) => accepted.say(farewell).await,
                Then::ReadAndClose => drop(accepted.request().await),
            }
        }
    })
    .await;
    (stub, tell)
}

#[derive(Clone, Copy)]
enum Then {
    Close,
    SayAndClose(&'static [u8]),
    ReadAndClose,
}

#[test]
fn a_connection_that_closed_while_idle_costs_no_attempt_and_its_request_is_the_first_copy() {
    run(async {
        let farewell = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n";
        for then in [Then::Close, Then::SayAndClose(farewell)] {
            let (stub, tell) = good_once(then, OK).await;
            let transport = transport();
            assert_delivered(&transport.send(post(stub.port, b"1")).await);
            tell.notify_one();
            settle().await;
            let attempt = transport.send(post(stub.port, b"2")).await;
            assert_delivered(&attempt);
            assert!(!attempt.maybe_received);
            assert_eq!((stub.connections.get(), stub.requests.borrow().len()), (2, 2));
            assert!(!stub.is_marked(1));
            assert_eq!(transport.counts().stale_retries.get(), 1);
        }
    });
}

#[test]
fn a_pooled_connection_that_breaks_before_an_answer_costs_no_attempt_and_the_second_copy_says_so() {
    run(async {
        let (stub, tell) = good_once(Then::ReadAndClose, OK).await;
        let transport = transport();
        assert_delivered(&transport.send(post(stub.port, b"1")).await);
        tell.notify_one();
        assert_delivered(&transport.send(post(stub.port, b"2")).await);
        assert_eq!(stub.requests.borrow().len(), 3);
        assert_eq!([0, 1, 2].map(|index| stub.is_marked(index)), [false, false, true]);
        assert_eq!((transport.counts().opened.get(), transport.counts().open.get()), (2, 1));
    });
}

#[test]
fn a_failed_retry_does_not_forget_that_the_first_copy_may_have_arrived() {
    run(async {
        let (stub, tell) = good_once(Then::ReadAndClose, UNAVAILABLE).await;
        let transport = transport();
        assert_delivered(&transport.send(post(stub.port, b"1")).await);
        tell.notify_one();
        assert_failed(&transport.send(post(stub.port, b"2")).await, Failure::Http5xx, true);

        let gone = Rc::new(Notify::new());
        let told = Rc::clone(&gone);
        let mut stub = Stub::serve(move |mut accepted| {
            let told = Rc::clone(&told);
            async move {
                accepted.request().await;
                accepted.say(OK).await;
                accepted.request().await;
                told.notified().await;
            }
        })
        .await;
        assert_delivered(&transport.send(post(stub.port, b"1")).await);
        let outbound = post(stub.port, b"2");
        let (attempt, ()) = tokio::join!(transport.send(outbound), async {
            while stub.requests.borrow().len() < 2 {
                settle().await;
            }
            stub.stop_listening().await;
            gone.notify_one();
        });
        assert_failed(&attempt, Failure::Refused, true);
    });
}

#[test]
fn a_new_connection_that_breaks_is_not_retried_at_once() {
    run(async {
        let stub = Stub::answering_once(b"").await;
        assert_failed(&transport().send(post(stub.port, b"x")).await, Failure::Reset, true);
        assert_eq!(stub.connections.get(), 1);
    });
}

/// Sweeps until `open` connections are left; the bound on every test bounds this too.
async fn sweep_until(transport: &HyperTransport, open: u64) {
    while transport.counts().open.get() != open {
        settle().await;
        transport.sweep(monotonic_now());
    }
}

#[test]
fn a_sweep_closes_connections_that_their_origin_closed() {
    run(async {
        let ((closing, tell), staying) = (good_once(Then::Close, OK).await, Stub::answering(OK).await);
        let transport = transport();
        for port in [closing.port, staying.port] {
            assert_delivered(&transport.send(post(port, b"x")).await);
        }
        assert_eq!(transport.counts().open.get(), 2);
        tell.notify_one();
        sweep_until(&transport, 1).await;
        assert_delivered(&transport.send(post(staying.port, b"x")).await);
        assert_eq!(staying.connections.get(), 1);
        assert_eq!(transport.counts().stale_retries.get(), 0);
    });
}

/// An origin that tells when its only connection has ended.
async fn telling_the_end() -> (Stub, Rc<Notify>) {
    let ended = Rc::new(Notify::new());
    let tell = Rc::clone(&ended);
    let stub = Stub::serve(move |mut accepted| {
        let tell = Rc::clone(&tell);
        async move {
            while accepted.request().await.is_some() {
                accepted.say(OK).await;
            }
            tell.notify_one();
        }
    })
    .await;
    (stub, ended)
}

#[test]
fn a_sweep_really_closes_connections_that_were_idle_for_too_long() {
    run(async {
        let (stub, ended) = telling_the_end().await;
        let transport = transport();
        assert_delivered(&transport.send(post(stub.port, b"x")).await);
        let now = monotonic_now();
        transport.sweep(now + Duration::from_millis(POOL_IDLE_MS_MAX / 2));
        assert_eq!(transport.counts().open.get(), 1);
        transport.sweep(now + Duration::from_millis(POOL_IDLE_MS_MAX));
        ended.notified().await;
        assert_eq!(transport.counts().open.get(), 0);
    });
}

#[test]
fn dropping_the_transport_closes_its_idle_connections() {
    run(async {
        let (stub, ended) = telling_the_end().await;
        let transport = transport();
        assert_delivered(&transport.send(post(stub.port, b"x")).await);
        drop(transport);
        ended.notified().await;
    });
}

#[test]
fn dropping_an_attempt_closes_its_connection() {
    run(async {
        let ended = Rc::new(Notify::new());
        let tell = Rc::clone(&ended);
        let stub = Stub::serve(move |mut accepted| {
            let tell = Rc::clone(&tell);
            async move {
                accepted.request().await;
                accepted.closed().await;
                tell.notify_one();
            }
        })
        .await;
        let transport = transport();
        tokio::select! {
            biased;
            attempt = transport.send(post(stub.port, b"x")) => panic!("{attempt:?}"),
            () = async { while stub.requests.borrow().is_empty() { settle().await } } => {}
        }
        ended.notified().await;
        assert_eq!(transport.counts().open.get(), 0);
    });
}
