//! Who gets through the handshake, what becomes of who does not, and what is counted.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use dispatcher::time::monotonic_now;
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, ProtocolVersion};

use crate::message;
use crate::support::tls::Authority;
use crate::support::{BACKENDS, Client, Daemon, Origin, TLS_VARIABLES, on_both, on_tls};

/// What is counted of handshakes that failed for a reason.
fn failed(reason: &str) -> String {
    format!("dispatcher_tls_handshakes_failed_total{{reason=\"{reason}\"}}")
}

#[test]
fn a_message_is_accepted_in_both_versions_of_tls() {
    for backend in BACKENDS {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        authority.issue().put_into(directory.path());
        let variables = [&TLS_VARIABLES[..], &[("IO_BACKEND", backend)]].concat();
        let daemon = Daemon::start_in(directory, &variables, None);
        let origin = Origin::start();
        for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
            let config = authority.client(&[version], None);
            for resumed in [false, true] {
                let mut client = Client::connect_tls(daemon.data, &config).unwrap();
                client.send(message(&origin, "/a?b=c"));
                let request = origin.received(&client.answer().message_id());
                assert!(request.starts_with(b"GET /a?b=c HTTP/1.1\r\n"));
                let session = &client.session().unwrap().conn;
                assert_eq!(session.protocol_version(), Some(expected));
                let kind = session.handshake_kind().unwrap();
                assert_eq!(kind == rustls::HandshakeKind::Resumed, resumed, "{backend}, {expected:?}: {kind:?}");
            }
        }
        let mut only_http2 = (*authority.client(ALL_VERSIONS, None)).clone();
        only_http2.alpn_protocols = vec![b"h2".to_vec()];
        assert!(Client::connect_tls(daemon.data, &only_http2.into()).is_err(), "HTTP/2 is not offered");
        daemon.assert_metric(&failed("protocol"), 1.0);
        daemon.assert_metric("dispatcher_accepted_total", 4.0);
    }
}

#[test]
fn a_handshake_that_does_not_come_or_stands_still_is_closed_in_the_time_of_a_head() {
    on_tls(&[("HEAD_TIMEOUT", "300ms")], |daemon| {
        let start = monotonic_now();
        let mut silent = Client::connect(daemon.data);
        let mut half = Client::connect(daemon.data);
        half.send([0x16, 3, 1, 1, 0, 1]);
        assert!(silent.is_closed() && half.is_closed());
        let took = start.elapsed();
        assert!((Duration::from_millis(300)..Duration::from_secs(10)).contains(&took), "{took:?}");
        daemon.assert_metric(&failed("timeout"), 2.0);
        daemon.assert_metric("dispatcher_connections{side=\"in\"}", 0.0);
        assert_eq!(daemon.connect().get("/-/ready").status, 200);
    });
}

#[test]
fn a_handshake_that_stands_still_holds_nobody_up() {
    on_tls(&[("HEAD_TIMEOUT", "20s")], |daemon| {
        let mut halves: Vec<Client> = (0..8).map(|_| Client::connect(daemon.data)).collect();
        halves.iter_mut().for_each(|half| half.send([0x16, 3, 1, 1, 0, 1]));
        let origin = Origin::start();
        for _ in 0..8 {
            let mut client = daemon.connect();
            client.send(message(&origin, "/"));
            client.answer().message_id();
        }
    });
}

#[test]
fn plain_http_on_a_port_that_speaks_tls_is_told_so_in_plain_text() {
    on_tls(&[], |daemon| {
        let origin = Origin::start();
        for sent in [message(&origin, "/"), "G".to_owned(), "\r\n".to_owned(), message(&origin, "/").repeat(2)] {
            let mut client = Client::connect(daemon.data);
            client.send(&sent);
            let answer = client.answer();
            assert_eq!((answer.status, answer.closes()), (400, true), "{sent}: {}", answer.head);
            assert_eq!(answer.field("Content-Type"), Some("application/problem+json"));
            assert!(answer.text().contains("https://"), "{}", answer.text());
            client.finish();
            assert!(client.is_closed(), "one answer, and the end");
        }
        assert_eq!(daemon.metric("dispatcher_refused_total{reason=\"malformed\"}"), 4.0);
        assert_eq!(daemon.metric("dispatcher_accepted_total"), 0.0);
        assert_eq!(daemon.connect().get("/-/ready").status, 200);
    });
}

#[test]
fn tls_on_a_port_that_speaks_plain_http_is_told_so_in_plain_text() {
    on_both(&[], |daemon| {
        let mut client = Client::connect(daemon.data);
        client.send([0x16, 3, 1, 2, 0, 1, 0]);
        let answer = client.answer();
        assert_eq!((answer.status, answer.closes()), (400, true), "{}", answer.head);
        assert!(answer.text().contains("plain HTTP"), "{}", answer.text());
    });
}

#[test]
fn what_names_no_destination_is_shown_a_command_for_this_port() {
    on_tls(&[], |daemon| {
        let answer = daemon.connect().get("/orders");
        assert_eq!(answer.status, 400);
        assert!(answer.text().contains("'https://localhost/orders'"), "{}", answer.text());
    });
}

#[test]
fn what_is_sent_to_this_very_listener_is_refused_under_tls_too() {
    on_tls(&[], |daemon| {
        let origin = format!("X-Dispatcher-Origin-Host: https://{}", daemon.data);
        let mut client = daemon.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\n{origin}\r\n\r\n"));
        assert_eq!(client.answer().status, 508);
    });
}

/// Who gets no answer: at the handshake, or at the first read after it, as TLS 1.3 has it.
fn is_turned_away(daemon: &Daemon, config: &std::sync::Arc<rustls::ClientConfig>) -> bool {
    let Ok(mut session) = crate::support::tls::connect(daemon.data, config) else { return true };
    let _ = session.write_all(b"GET /-/ready HTTP/1.1\r\nHost: a\r\n\r\n");
    let error = std::io::Read::read(&mut session, &mut [0; 16]).expect_err("no answer");
    // Not a reset: the client is told why.
    assert!(error.to_string().contains("received fatal alert"), "{error}");
    true
}

#[test]
fn with_client_certificates_only_who_shows_one_of_that_authority_gets_through() {
    for backend in BACKENDS {
        let (authority, clients, foreign) = (Authority::new(), Authority::new(), Authority::new());
        let directory = tempfile::tempdir().unwrap();
        authority.issue().put_into(directory.path());
        std::fs::write(directory.path().join("clients.pem"), &clients.pem).unwrap();
        let further = [("TLS_CLIENT_CA", "clients.pem"), ("IO_BACKEND", backend)];
        let daemon = Daemon::start_in(directory, &[&TLS_VARIABLES[..], &further].concat(), None);
        let origin = Origin::start();
        for version in [&TLS12, &TLS13] {
            let known = authority.client(&[version], Some(&clients.issue()));
            let mut client = Client::connect_tls(daemon.data, &known).unwrap();
            client.send(message(&origin, "/"));
            client.answer().message_id();
            assert!(is_turned_away(&daemon, &authority.client(&[version], None)), "no certificate");
            assert!(is_turned_away(&daemon, &authority.client(&[version], Some(&foreign.issue()))), "a foreign one");
        }
        daemon.assert_metric(&failed("client_certificate"), 4.0);
        daemon.assert_metric("dispatcher_accepted_total", 2.0);
    }
}

#[test]
fn a_client_that_does_not_trust_our_certificate_or_leaves_is_counted_as_that() {
    on_tls(&[], |daemon| {
        let stranger = Authority::new().client(ALL_VERSIONS, None);
        assert!(Client::connect_tls(daemon.data, &stranger).is_err());
        daemon.assert_metric(&failed("server_certificate"), 1.0);
        TcpStream::connect(daemon.data).unwrap().write_all(&[0x16, 3, 1]).unwrap();
        daemon.assert_metric(&failed("ended"), 1.0);
        // A health check of a load balancer.
        drop(TcpStream::connect(daemon.data).unwrap());
        assert_eq!(daemon.connect().get("/-/ready").status, 200);
        for reason in ["timeout", "client_certificate", "protocol"] {
            assert_eq!(daemon.metric(&failed(reason)), 0.0, "{reason}");
        }
    });
}
