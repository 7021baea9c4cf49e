//! `/metrics`, `/-/healthy` and `/-/ready`: on both listeners, in both formats, and closed to foreign pages.

use crate::support::{Answer, Client, Daemon, Origin, on_both};

fn ask(daemon: &Daemon, admin: bool, start: &str, fields: &str) -> Answer {
    let mut client = Client::connect(if admin { daemon.admin } else { daemon.data });
    client.send(format!("{start} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"));
    client.answer_to(start.split(' ').next().unwrap())
}

#[test]
fn our_own_paths_are_served_on_both_listeners() {
    on_both(&[], |daemon| {
        for admin in [false, true] {
            for (path, body) in [("/-/healthy", "healthy\n"), ("/-/ready", "ready\n"), ("/-/ready?x=1", "ready\n")] {
                let answer = ask(daemon, admin, &format!("GET {path}"), "");
                assert_eq!((answer.status, answer.text()), (200, body), "{path}, admin: {admin}");
                let answer = ask(daemon, admin, &format!("HEAD {path}"), "");
                let length = body.len().to_string();
                assert_eq!((answer.status, answer.field("Content-Length")), (200, Some(&*length)), "{path}");
            }
            let classic = ask(daemon, admin, "GET /metrics", "");
            assert_eq!(classic.field("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
            for line in ["# TYPE dispatcher_accepted_total counter", "dispatcher_accepted_total 0"] {
                assert!(classic.text().lines().any(|other| other == line), "{line} in {}", classic.text());
            }
            let open = ask(daemon, admin, "GET /metrics", "Accept: application/openmetrics-text; version=1.0.0\r\n");
            assert_eq!(open.field("Content-Type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
            assert!(open.text().ends_with("# EOF\n"));
        }
    });
}

#[test]
fn what_is_counted_is_what_happened() {
    on_both(&[], |daemon| {
        let origin = Origin::start();
        let mut client = daemon.connect();
        for _ in 0..3 {
            client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {}\r\n\r\n", origin.address));
            client.answer().message_id();
        }
        assert_eq!(client.get("/none-of-ours").status, 400);
        client.send("bad\r\n\r\n");
        assert_eq!(client.answer().status, 400);
        for (series, value) in [
            ("dispatcher_accepted_total", 3.0),
            ("dispatcher_delivered_total", 3.0),
            ("dispatcher_attempts_total{class=\"delivered\"}", 3.0),
            ("dispatcher_refused_total{reason=\"no_origin\"}", 1.0),
            ("dispatcher_refused_total{reason=\"malformed\"}", 1.0),
            ("dispatcher_maybe_duplicates_total", 0.0),
            ("dispatcher_connections_opened_total{side=\"in\"}", 1.0),
        ] {
            daemon.assert_metric(series, value);
        }
    });
}

#[test]
fn the_admin_listener_takes_no_data_and_changes_nothing() {
    on_both(&[], |daemon| {
        let origin = Origin::start();
        let fields = format!("X-Dispatcher-Origin-Host: {}\r\n", origin.address);
        for (status, start) in [(404, "GET /"), (404, "POST /x"), (405, "POST /metrics"), (405, "DELETE /-/ready")] {
            let answer = ask(daemon, true, start, &(fields.clone() + "Content-Length: 0\r\n"));
            assert_eq!(answer.status, status, "{start}");
            assert_eq!(answer.field("Content-Type"), Some("application/problem+json"), "{start}");
            assert_eq!(answer.json()["status"], status, "{start}");
        }
        assert_eq!(daemon.metric("dispatcher_accepted_total"), 0.0);
    });
}

#[test]
fn the_admin_listener_answers_no_foreign_page() {
    on_both(&[], |daemon| {
        for (status, host, fields) in [
            (403, "localhost", "Origin: http://evil.example\r\n"),
            (403, "evil.example", "Accept-Language: en\r\n"),
            (200, "localhost", "Accept-Language: en\r\n"),
            (200, "dispatcher.internal", "User-Agent: Prometheus/3\r\n"),
        ] {
            let mut client = Client::connect(daemon.admin);
            client.send(format!("GET /metrics HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n"));
            let answer = client.answer();
            assert_eq!(answer.status, status, "{host} {fields}");
            assert_eq!(status == 200, answer.text().contains("dispatcher_"), "{host} {fields}");
        }
    });
}

#[test]
fn a_body_on_our_own_paths_has_no_meaning_and_is_never_taken_for_a_request() {
    on_both(&[], |daemon| {
        let inner = "GET /-/ready HTTP/1.1\r\nHost: a\r\n\r\n";
        let start = "GET /-/healthy HTTP/1.1\r\nHost: a\r\n";
        let mut client = daemon.connect();
        client.send(format!("{start}Content-Length: {}\r\n\r\n{inner}{inner}", inner.len()));
        assert_eq!(client.answer().text(), "healthy\n");
        assert_eq!(client.answer().text(), "ready\n", "a short body is skipped, and the connection lives on");
        let long = "x".repeat(100_000);
        client.send(format!("{start}Content-Length: {}\r\n\r\n{long}{inner}", long.len()));
        let answer = client.answer();
        assert_eq!((answer.text(), answer.closes()), ("healthy\n", true));
        assert!(client.is_closed(), "a long one is not worth it");
    });
}
