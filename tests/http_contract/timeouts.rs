//! What takes too long is told so, or closed when nothing is owed to it.

use std::time::Duration;

use crate::support::{Client, DEADLINE, Daemon, Origin, on_all};
use dispatcher::time::monotonic_now;

const SHORT: [(&str, &str); 3] = [("HEAD_TIMEOUT", "300ms"), ("BODY_TIMEOUT", "300ms"), ("IDLE_TIMEOUT", "20s")];
/// Between the bytes of a slow client.
const PAUSE: Duration = Duration::from_millis(40);

fn head(origin: &Origin, fields: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {}\r\n{fields}", origin.address)
}

/// Reads the 408 and sees the connection close.
#[track_caller]
fn assert_timed_out(client: &mut Client, what: &str) {
    let answer = client.answer();
    assert_eq!((answer.status, answer.closes()), (408, true), "{what}: {}", answer.head);
    assert_eq!(answer.json()["status"], 408, "{what}");
    assert!(client.is_closed(), "{what}");
}

/// Sends a byte now and then until an answer arrives; whether one did.
fn drip(client: &mut Client, byte: u8) -> bool {
    let start = monotonic_now();
    while start.elapsed() < DEADLINE {
        client.send([byte]);
        if client.has_arrived(PAUSE) {
            return true;
        }
    }
    false
}

#[test]
fn a_head_or_body_that_stands_still_is_408() {
    on_all(&SHORT, |daemon| {
        let origin = Origin::start();
        let start = monotonic_now();
        let cases = [
            "G".to_owned(),
            head(&origin, ""),
            head(&origin, "Content-Length: 10\r\n\r\n"),
            head(&origin, "Content-Length: 10\r\n\r\nhello"),
            head(&origin, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
            head(&origin, "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"),
        ];
        let mut clients: Vec<Client> = cases.iter().map(|_| daemon.connect()).collect();
        for (client, bytes) in clients.iter_mut().zip(&cases) {
            client.send(bytes);
        }
        for (client, bytes) in clients.iter_mut().zip(&cases) {
            assert_timed_out(client, bytes);
        }
        assert!(start.elapsed() >= Duration::from_millis(200), "about its time, as a coarse clock has it");
        assert!(start.elapsed() < Duration::from_secs(10), "soon after its time");
        assert_eq!(daemon.metric("dispatcher_refused_total{reason=\"timeout\"}"), cases.len() as f64);
        assert_eq!(daemon.metric("dispatcher_accepted_total"), 0.0);
    });
}

#[test]
fn a_head_or_body_that_drips_is_408_too() {
    on_all(&SHORT, |daemon| {
        let origin = Origin::start();
        for begin in ["GET / HTTP/1.1\r\nX: ".to_owned(), head(&origin, "Content-Length: 100000\r\n\r\n")] {
            let mut client = daemon.connect();
            client.send(&begin);
            assert!(drip(&mut client, b'x'), "its time does not begin anew with each byte: {begin}");
            assert_timed_out(&mut client, &begin);
        }
    });
}

#[test]
fn a_body_that_comes_at_a_fair_rate_is_waited_for() {
    on_all(&[("BODY_TIMEOUT", "1500ms")], |daemon| {
        let origin = Origin::start();
        let mut client = daemon.connect();
        client.send(head(&origin, "Content-Length: 400000\r\n\r\n"));
        let (start, mut sent) = (monotonic_now(), 0);
        while start.elapsed() < Duration::from_millis(2500) {
            client.send([b'x'; 4000]);
            sent += 4000;
            assert!(!client.has_arrived(PAUSE), "no answer before the body is complete");
        }
        client.send("x".repeat(400_000 - sent));
        client.answer().message_id();
    });
}

#[test]
fn answers_that_are_owed_come_before_the_408() {
    on_all(&SHORT, |daemon| {
        let origin = Origin::start();
        let mut client = daemon.connect();
        client.send(head(&origin, "\r\n") + &head(&origin, "Content-Length: 3\r\n\r\nhi"));
        origin.received(&client.answer().message_id());
        assert_timed_out(&mut client, "the second request");
    });
}

/// Idle connections: one never used, one used once.
fn idle_clients(daemon: &Daemon, origin: &Origin) -> [Client; 2] {
    let mut used = daemon.connect();
    used.send(head(origin, "\r\n"));
    used.answer().message_id();
    [daemon.connect(), used]
}

#[test]
fn an_idle_connection_is_closed_after_its_time_without_a_word() {
    on_all(&[("IDLE_TIMEOUT", "400ms")], |daemon| {
        let origin = Origin::start();
        let start = monotonic_now();
        for client in &mut idle_clients(daemon, &origin) {
            assert!(client.is_closed());
        }
        assert!(start.elapsed() < Duration::from_secs(10), "soon after its time");
    });
}
