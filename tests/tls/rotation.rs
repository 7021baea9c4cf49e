//! Certificates are rotated while messages come in: nobody notices but by the certificate.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dispatcher::time::monotonic_now;
use rustix::process::Signal;
use rustls::{ALL_VERSIONS, ClientConfig};

use crate::message;
use crate::support::tls::{self, Authority, Identity, KEY};
use crate::support::{BACKENDS, Client, DEADLINE, Daemon, Origin, TLS_VARIABLES};

/// A daemon on two cores whose certificate changes.
struct Rotated {
    daemon: Daemon,
    authority: Authority,
    config: Arc<ClientConfig>,
}

impl Rotated {
    fn start(backend: &str, further: &[(&str, &str)]) -> (Self, Identity) {
        let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
        let first = authority.issue();
        first.put_into(directory.path());
        let variables = [&TLS_VARIABLES[..], &[("IO_BACKEND", backend), ("CORES", "2")], further].concat();
        let config = authority.client(ALL_VERSIONS, None);
        (Self { daemon: Daemon::start_in(directory, &variables, None), authority, config }, first)
    }

    fn connect(&self) -> Client {
        Client::connect_tls(self.daemon.data, &self.config).unwrap()
    }

    /// Whether a new connection is shown `identity`.
    fn shows(&self, identity: &Identity) -> bool {
        // Of its own, or what it remembers of earlier connections would be resumed.
        let fresh = self.authority.client(ALL_VERSIONS, None);
        let client = Client::connect_tls(self.daemon.data, &fresh).unwrap();
        client.session().unwrap().conn.peer_certificates().unwrap()[0] == *identity.certificate()
    }

    /// Asks for a reload, and waits until `identity` is shown.
    fn reload_to(&self, identity: &Identity) {
        self.daemon.signal(Signal::HUP);
        let start = monotonic_now();
        while !self.shows(identity) {
            assert!(start.elapsed() < DEADLINE, "the new certificate is shown in time");
        }
    }
}

#[test]
fn certificates_rotate_under_load_and_no_message_fails() {
    for backend in BACKENDS {
        let (rotated, _) = Rotated::start(backend, &[]);
        let origin = Origin::start();
        let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for number in 0..4 {
                let (rotated, origin, stop, sent) = (&rotated, &origin, &stop, &sent);
                scope.spawn(move || {
                    let mut kept = rotated.connect();
                    while !stop.load(Ordering::Relaxed) {
                        // Half of them are kept for the whole time, the others are new for each message.
                        if number % 2 == 1 {
                            kept = rotated.connect();
                        }
                        kept.send(message(origin, "/"));
                        kept.answer().message_id();
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let rotating = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for _ in 0..8 {
                    let next = rotated.authority.issue();
                    next.put_into(rotated.daemon.directory.path());
                    let before = sent.load(Ordering::Relaxed);
                    rotated.reload_to(&next);
                    let start = monotonic_now();
                    while sent.load(Ordering::Relaxed) < before + 20 {
                        assert!(start.elapsed() < DEADLINE, "messages go on");
                        std::thread::yield_now();
                    }
                }
            }));
            stop.store(true, Ordering::Relaxed);
            rotating.unwrap();
        });
        let sent = sent.load(Ordering::Relaxed);
        assert!(sent >= 160, "{sent}");
        rotated.daemon.assert_metric("dispatcher_accepted_total", sent as f64);
        for reason in ["timeout", "client_certificate", "server_certificate", "ended", "protocol"] {
            let series = format!("dispatcher_tls_handshakes_failed_total{{reason=\"{reason}\"}}");
            assert_eq!(rotated.daemon.metric(&series), 0.0, "{reason}");
        }
    }
}

#[test]
fn a_broken_file_leaves_the_old_certificate_in_force_until_it_is_mended() {
    for backend in BACKENDS {
        let (rotated, first) = Rotated::start(backend, &[]);
        let folder = rotated.daemon.directory.path();
        let mut kept = rotated.connect();
        let second = rotated.authority.issue();
        second.put_into(folder);
        let key = std::fs::read(folder.join(KEY)).unwrap();
        std::fs::write(folder.join(KEY), "broken").unwrap();
        rotated.daemon.signal(Signal::HUP);
        let line = rotated.daemon.log_line("not reloaded");
        assert!(line.contains("\"ERROR\"") && line.contains("TLS_KEY=key.pem: expected a private key"), "{line}");
        assert!(rotated.shows(&first), "{backend}");
        assert_eq!(kept.get("/-/ready").status, 200);
        std::fs::write(folder.join(KEY), key).unwrap();
        rotated.reload_to(&second);
        assert!(rotated.daemon.log_line("\"reloaded\"").contains("\"INFO\""));
        assert_eq!(kept.get("/-/ready").status, 200, "who was there before goes on");
        let shown = kept.session().unwrap().conn.peer_certificates().unwrap()[0].clone();
        assert_eq!(shown, *first.certificate());
    }
}

#[test]
fn roots_of_clients_are_read_again_too_and_no_session_outlives_them() {
    let clients = Authority::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clients.pem");
    std::fs::write(&path, &clients.pem).unwrap();
    let (rotated, _) = Rotated::start("portable", &[("TLS_CLIENT_CA", path.to_str().unwrap()), ("CORES", "1")]);
    let known = rotated.authority.client(ALL_VERSIONS, Some(&clients.issue()));
    let mut kept = Client::connect_tls(rotated.daemon.data, &known).unwrap();
    assert_eq!(kept.get("/-/ready").status, 200);
    let successors = Authority::new();
    std::fs::write(&path, &successors.pem).unwrap();
    rotated.daemon.signal(Signal::HUP);
    rotated.daemon.log_line("\"reloaded\"");
    // The client would resume its session, with which it was let in before.
    let refused = tls::connect(rotated.daemon.data, &known).and_then(|mut session| session.read(&mut [0; 16]));
    assert!(refused.is_err(), "{refused:?}");
    let successor = rotated.authority.client(ALL_VERSIONS, Some(&successors.issue()));
    let mut client = Client::connect_tls(rotated.daemon.data, &successor).unwrap();
    assert_eq!(client.get("/-/ready").status, 200);
    assert_eq!(kept.get("/-/ready").status, 200, "who was let in stays");
}
