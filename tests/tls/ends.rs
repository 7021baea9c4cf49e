//! How connections end under TLS: said by us in every case, and whatever the peer leaves unsaid.

use std::time::Duration;

use rustix::process::Signal;
use rustls::ALL_VERSIONS;

use crate::message;
use crate::support::tls::Authority;
use crate::support::{BACKENDS, Client, Daemon, Origin, TLS_VARIABLES, on_tls};

#[test]
fn who_sends_no_more_is_answered_with_or_without_close_notify() {
    on_tls(&[], |daemon| {
        let origin = Origin::start();
        for says_so in [true, false] {
            let mut client = daemon.connect();
            client.send(message(&origin, "/1") + &message(&origin, "/2") + "GET /half HTTP/1.1\r\nHost");
            if says_so {
                client.finish()
            } else {
                client.cut()
            }
            let ids = [client.answer().message_id(), client.answer().message_id()];
            assert_eq!(client.answer().status, 400, "what is not complete is not taken");
            assert!(client.is_closed(), "with close_notify from our side");
            ids.iter().for_each(|id| drop(origin.received(id)));
        }
    });
}

#[test]
fn an_idle_connection_and_one_that_asks_for_it_end_with_close_notify() {
    on_tls(&[("IDLE_TIMEOUT", "400ms")], |daemon| {
        let mut idle = daemon.connect();
        assert_eq!(idle.get("/-/healthy").status, 200);
        assert!(idle.is_closed());
        let mut closing = daemon.connect();
        closing.send("GET /-/healthy HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert!(closing.answer().closes());
        assert!(closing.is_closed());
    });
}

#[test]
fn over_max_connections_those_that_only_connect_make_room_before_the_handshake() {
    on_tls(&[("MAX_CONNECTIONS", "4"), ("HEAD_TIMEOUT", "10m")], |daemon| {
        let origin = Origin::start();
        let silent: Vec<Client> = (0..4).map(|_| Client::connect(daemon.data)).collect();
        let mut kept = Vec::new();
        for mut silent in silent {
            let mut client = daemon.connect();
            client.send(message(&origin, "/"));
            client.answer().message_id();
            kept.push(client);
            assert!(silent.is_closed());
        }
    });
}

#[test]
fn over_max_connections_a_handshake_that_stands_still_makes_room_after_a_moment() {
    on_tls(&[("MAX_CONNECTIONS", "2"), ("HEAD_TIMEOUT", "10m")], |daemon| {
        let origin = Origin::start();
        let stuck = [0; 2].map(|_| {
            let mut client = Client::connect(daemon.data);
            client.send([0x16]);
            client
        });
        let mut client = (0..1000).find_map(|_| {
            std::thread::park_timeout(Duration::from_millis(20));
            daemon.try_connect().ok()
        });
        let client = client.as_mut().expect("one of the two has made room");
        client.send(message(&origin, "/"));
        client.answer().message_id();
        let [mut first, _second] = stuck;
        assert!(first.is_closed(), "the one that has stood still longer");
    });
}

#[test]
fn over_max_connections_with_none_idle_the_newest_is_closed() {
    on_tls(&[("MAX_CONNECTIONS", "2")], |daemon| {
        let origin = Origin::start();
        let begin = message(&origin, "/").replace("\r\n\r\n", "\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
        let mut busy: Vec<Client> = (0..2)
            .map(|_| {
                let mut client = daemon.connect();
                client.send(&begin);
                assert_eq!(client.answer().status, 100);
                client
            })
            .collect();
        assert!(Client::connect(daemon.data).is_closed(), "without a byte in the clear");
        assert_eq!(daemon.metric("dispatcher_refused_total{reason=\"connections\"}"), 1.0);
        for client in &mut busy {
            client.send("hi");
            client.answer().message_id();
            assert!(!client.has_arrived(Duration::from_millis(1)), "one answer, and the connection stays");
        }
    });
}

#[test]
fn a_stop_answers_what_was_accepted_and_ends_the_rest_with_close_notify() {
    for backend in BACKENDS {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        authority.issue().put_into(directory.path());
        let variables = [&TLS_VARIABLES[..], &[("IO_BACKEND", backend)]].concat();
        let config = authority.client(ALL_VERSIONS, None);
        let mut daemon = Daemon::start_in(directory, &variables, None);
        let connect = || Client::connect_tls(daemon.data, &config).unwrap();
        let origin = Origin::start();
        let (mut idle, mut half) = (connect(), connect());
        assert_eq!(idle.get("/-/ready").status, 200);
        half.send(message(&origin, "/").replace("\r\n\r\n", "\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"));
        assert_eq!(half.answer().status, 100);
        let mut silent = Client::connect(daemon.data);
        daemon.signal(Signal::TERM);
        assert!(idle.is_closed(), "{backend}");
        assert!(silent.is_closed(), "{backend}");
        half.send("hi");
        let answer = half.answer();
        assert!([202, 503].contains(&answer.status) && answer.closes(), "{}", answer.head);
        assert!(half.is_closed(), "{backend}");
        drop(half);
        assert_eq!(daemon.ended(), Some(0), "{backend}");
    }
}
