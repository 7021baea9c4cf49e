//! Connections: kept, pipelined, answered in order, and bounded in number.

use std::time::Duration;

use crate::support::{Client, Daemon, Origin, on_all, on_both};

fn get(origin: &Origin, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {}\r\n\r\n", origin.address)
}

#[test]
fn a_pipeline_is_answered_in_order() {
    on_all(&[], |daemon| {
        let origin = Origin::start();
        let mut client = daemon.connect();
        // More than one connection may have waiting for their answers at a time.
        let paths: Vec<String> = (0..300).map(|number| format!("/{number}")).collect();
        client.send(paths.iter().map(|path| get(&origin, path)).collect::<String>());
        let ids: Vec<String> = paths.iter().map(|_| client.answer().message_id()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "ids sort by time of acceptance");
        for (path, id) in paths.iter().zip(&ids) {
            assert!(origin.received(id).starts_with(format!("GET {path} ").as_bytes()), "{path}");
        }
        assert_eq!(origin.requests().len(), paths.len(), "each arrives once");
    });
}

#[test]
fn refusals_and_our_own_paths_keep_their_place_in_a_pipeline() {
    on_all(&[], |daemon| {
        let origin = Origin::start();
        let mut client = daemon.connect();
        let own = "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n";
        let wrong = get(&origin, "/wrong").replace("\r\n\r\n", "\r\nX-Dispatcher-Timeout: 0\r\n\r\n");
        let close = get(&origin, "/close").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        let (one, two, never) = (get(&origin, "/1"), get(&origin, "/2"), get(&origin, "/never"));
        client.send([&*one, own, &two, &wrong, own, &two, &close, &never].concat());
        let answers: Vec<_> = (0..7).map(|_| client.answer()).collect();
        assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [202, 200, 202, 400, 200, 202, 202]);
        assert!(answers[6].closes() && client.is_closed());
        for index in [0, 2, 5, 6] {
            origin.received(&answers[index].message_id());
        }
        assert_eq!(origin.requests().len(), 4, "what stands behind a request that closes is not looked at");
    });
}

#[test]
fn a_connection_serves_one_request_after_another_until_its_client_ends_it() {
    on_all(&[], |daemon| {
        let origin = Origin::start();
        let mut client = daemon.connect();
        for _ in 0..20 {
            client.send(get(&origin, "/"));
            assert!(!client.answer().closes());
        }
        client.finish();
        assert!(client.is_closed());
        assert_eq!(daemon.metric("dispatcher_connections_opened_total{side=\"in\"}"), 1.0);
        daemon.assert_metric("dispatcher_accepted_total", 20.0);
    });
}

#[test]
fn what_was_complete_when_its_client_stopped_sending_is_answered_and_the_rest_refused() {
    on_all(&[], |daemon| {
        let origin = Origin::start();
        let mut client = daemon.connect();
        client.send(get(&origin, "/1") + &get(&origin, "/2") + "GET /half HTTP/1.1\r\nHost");
        client.finish();
        let ids = [client.answer().message_id(), client.answer().message_id()];
        let half = client.answer();
        assert_eq!((half.status, half.closes()), (400, true));
        assert!(client.is_closed());
        ids.iter().for_each(|id| drop(origin.received(id)));
    });
}

#[test]
fn clients_of_two_cores_are_all_served() {
    on_all(&[("CORES", "2")], |daemon| {
        let origin = Origin::start();
        let mut clients: Vec<Client> = (0..16).map(|_| daemon.connect()).collect();
        for round in 0..3 {
            clients.iter_mut().for_each(|client| client.send(get(&origin, &format!("/{round}"))));
            let mut ids: Vec<String> = clients.iter_mut().map(|client| client.answer().message_id()).collect();
            ids.sort();
            ids.dedup();
            assert_eq!(ids.len(), clients.len(), "ids are unique over cores");
            ids.iter().for_each(|id| drop(origin.received(id)));
        }
        daemon.assert_metric("dispatcher_delivered_total", 48.0);
    });
}

/// A connection that waits for nothing.
fn idle(daemon: &Daemon) -> Client {
    let mut client = daemon.connect();
    assert_eq!(client.get("/-/healthy").status, 200);
    client
}

#[test]
fn over_max_connections_the_oldest_idle_one_is_closed() {
    on_all(&[("MAX_CONNECTIONS", "4")], |daemon| {
        let origin = Origin::start();
        let mut clients: Vec<Client> = (0..4).map(|_| idle(daemon)).collect();
        for round in 0..6 {
            let mut newest = idle(daemon);
            assert!(clients.remove(0).is_closed(), "the oldest goes, round {round}");
            newest.send(get(&origin, "/new"));
            newest.answer().message_id();
            clients.push(newest);
        }
        for client in &mut clients {
            client.send(get(&origin, "/kept"));
            client.answer().message_id();
        }
    });
}

#[test]
fn over_max_connections_with_none_idle_the_newest_is_told_so() {
    on_both(&[("MAX_CONNECTIONS", "2")], |daemon| {
        let origin = Origin::start();
        let begin = get(&origin, "/").replace("\r\n\r\n", "\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
        let mut busy: Vec<Client> = (0..2)
            .map(|_| {
                let mut client = daemon.connect();
                client.send(&begin);
                assert_eq!(client.answer().status, 100);
                client
            })
            .collect();
        let mut refused = daemon.connect();
        let answer = refused.answer();
        assert_eq!((answer.status, answer.closes()), (503, true), "{}", answer.head);
        assert!(answer.field("Retry-After").is_some_and(|seconds| seconds.parse::<u32>().is_ok()), "{}", answer.head);
        assert!(refused.is_closed());
        for client in &mut busy {
            client.send("hi");
            client.answer().message_id();
            assert!(!client.has_arrived(Duration::from_millis(1)), "one answer, and the connection stays");
        }
        assert_eq!(daemon.metric("dispatcher_refused_total{reason=\"connections\"}"), 1.0);
    });
}
