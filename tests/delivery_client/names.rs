//! Names: whom they lead to, for how long, and what becomes of an attempt when they lead nowhere.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use dispatcher::config::IoBackend;
use dispatcher::delivery::Transport;
use dispatcher::delivery::client::{HyperTransport, TransportConfig};
use dispatcher::delivery::names::NameSources;
use dispatcher::message::policy::{Policy, Rule};
use dispatcher::schedule::attempt::{Attempt, Failure, Outcome};
use dispatcher::server::backend;
use dispatcher::time::{Millis, monotonic_now};
use hickory_resolver::proto::rr::RecordType::{A, AAAA};
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::dns::{Dns, Say};
use crate::origin::{Stub, assert_delivered, assert_failed, config, request, run};

const CLOSING: &[u8] = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// The files of a machine whose name server is `dns`.
struct Machine {
    dir: TempDir,
    port: u16,
}

impl Machine {
    fn asking(dns: &Dns, resolv_conf: &str) -> Self {
        let machine = Self { dir: tempfile::tempdir().unwrap(), port: dns.port };
        machine.write("resolv.conf", &format!("nameserver 127.0.0.1\n{resolv_conf}"));
        machine
    }

    /// Replaces a file, as an editor does.
    fn write(&self, name: &str, text: &str) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.dir.path().join(name)).unwrap();
    }

    fn config(&self) -> TransportConfig {
        let file = |name: &str| Path::join(self.dir.path(), name);
        let names = NameSources { resolv_conf: file("resolv.conf"), hosts: file("hosts"), port: self.port };
        TransportConfig { names, ..config(None, Millis::from_secs(10)) }
    }

    fn transport(&self) -> HyperTransport {
        HyperTransport::new(self.config())
    }
}

/// An origin at the same port of several addresses; it closes each connection, so that each attempt opens one.
async fn stubs<const N: usize>(addresses: [&str; N]) -> [Stub; N] {
    loop {
        let first = TcpListener::bind((addresses[0], 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        let mut listeners = vec![first];
        for address in &addresses[1..] {
            // Taken by another test: another port will do.
            let Ok(listener) = TcpListener::bind((*address, port)).await else { break };
            listeners.push(listener);
        }
        if let Ok(listeners) = <[TcpListener; N]>::try_from(listeners) {
            return listeners.map(|listener| {
                Stub::serve_on(listener, |mut accepted| async move {
                    accepted.request().await;
                    accepted.say(CLOSING).await;
                })
            });
        }
    }
}

async fn send(transport: &HyperTransport, name: &str, port: u16) -> Attempt {
    transport.send(request(&format!("{name}:{port}"), b"GET / HTTP/1.1\r\nHost: b\r\n", b"")).await
}

/// Sends until an attempt is as wanted, and returns that one; the bound on every test bounds this too.
async fn send_until(transport: &HyperTransport, name: &str, port: u16, done: impl Fn(&Attempt) -> bool) -> Attempt {
    loop {
        let attempt = send(transport, name, port).await;
        if done(&attempt) {
            return attempt;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn an_answer_is_good_for_its_ttl_and_no_longer() {
    run(async {
        let [old, new] = stubs(["127.0.0.2", "127.0.0.3"]).await;
        let dns = Dns::saying(Say::Addresses(&["127.0.0.2"], 1)).await;
        let transport = Machine::asking(&dns, "").transport();
        let began = monotonic_now();
        assert_delivered(&send(&transport, "b.example", old.port).await);
        dns.say(|_, _| Say::Addresses(&["127.0.0.3"], 60));
        send_until(&transport, "b.example", old.port, |_| new.connections.get() > 0).await;
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
        assert!(old.connections.get() > 1, "the answer is used while it is good");
        assert_delivered(&send(&transport, "b.example", old.port).await);
        assert_eq!((dns.asked(A).len(), dns.asked(AAAA).len()), (2, 2));
    });
}

#[test]
fn that_there_is_no_such_name_is_known_for_as_long_as_the_server_says() {
    run(async {
        let [stub] = stubs(["127.0.0.1"]).await;
        let dns = Dns::saying(Say::NoSuchName(1)).await;
        let transport = Machine::asking(&dns, "").transport();
        let began = monotonic_now();
        assert_failed(&send(&transport, "b.example", stub.port).await, Failure::Dns, false);
        dns.say(|_, _| Say::Addresses(&["127.0.0.1"], 60));
        send_until(&transport, "b.example", stub.port, |attempt| attempt.outcome == Outcome::Delivered).await;
        assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(dns.asked(A), ["b.example.", "b.example."]);
    });
}

#[test]
fn a_server_that_fails_or_is_silent_fails_the_attempt_in_time() {
    run(async {
        let machine = |dns: &Dns| Machine::asking(dns, "search never.example");
        for say in [Say::Fail, Say::NoSuchName(0), Say::Addresses(&[], 0), Say::Silence] {
            let dns = Dns::saying(say).await;
            let transport =
                HyperTransport::new(TransportConfig { connect_timeout: Millis(300), ..machine(&dns).config() });
            let began = monotonic_now();
            assert_failed(&send(&transport, "b.example", 1).await, Failure::Dns, false);
            assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        }
        let dns = Dns::saying(Say::Silence).await;
        let mut outbound = request("b.example", b"GET / HTTP/1.1\r\nHost: b\r\n", b"");
        outbound.timeout = Millis(100);
        let began = monotonic_now();
        assert_failed(&machine(&dns).transport().send(outbound).await, Failure::ConnectTimeout, false);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    });
}

#[test]
fn a_failure_does_not_make_a_name_short_for_another() {
    run(async {
        let dns = Dns::saying(Say::Fail).await;
        let transport = Machine::asking(&dns, "search a.example").transport();
        assert_failed(&send(&transport, "b.example", 1).await, Failure::Dns, false);
        assert!(dns.asked(A).iter().all(|name| name == "b.example."), "{:?}", dns.asked(A));
    });
}

#[test]
fn attempts_at_the_same_time_share_one_question() {
    run(async {
        let [stub] = stubs(["127.0.0.1"]).await;
        let dns = Dns::saying(Say::After(Duration::from_millis(100), &["127.0.0.1", "::1"])).await;
        let transport = Rc::new(Machine::asking(&dns, "").transport());
        let sends: Vec<_> = (0..50)
            .map(|_| {
                let transport = Rc::clone(&transport);
                tokio::task::spawn_local(async move { send(&transport, "b.example", stub.port).await })
            })
            .collect();
        for send in sends {
            assert_delivered(&send.await.unwrap());
        }
        assert_eq!((dns.asked(A).len(), dns.asked(AAAA).len()), (1, 1));
    });
}

#[test]
fn an_answer_about_ipv6_that_does_not_come_holds_nothing_up() {
    run(async {
        let [stub] = stubs(["127.0.0.1"]).await;
        for other in [Say::Silence, Say::Fail] {
            let dns = Dns::saying(Say::Silence).await;
            dns.say(move |_, kind| if kind == A { Say::Addresses(&["127.0.0.1"], 60) } else { other.clone() });
            let began = monotonic_now();
            assert_delivered(&send(&Machine::asking(&dns, "").transport(), "b.example", stub.port).await);
            assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        }
    });
}

#[test]
fn an_address_that_is_found_late_is_tried_when_the_first_ones_fail() {
    run(async {
        let [stub] = stubs(["::1"]).await;
        let dns = Dns::saying(Say::Silence).await;
        dns.say(|_, kind| {
            if kind == A {
                Say::Addresses(&["127.0.0.9"], 60)
            } else {
                Say::After(Duration::from_millis(300), &["::1"])
            }
        });
        assert_delivered(&send(&Machine::asking(&dns, "").transport(), "b.example", stub.port).await);
        assert_eq!(stub.connections.get(), 1);
    });
}

#[test]
fn an_ipv6_address_that_answers_nothing_costs_a_moment_and_no_attempt() {
    run(async {
        // A full backlog drops what comes: nobody accepts, and one connection fills it.
        let (stub, hole) = loop {
            let [stub] = stubs(["127.0.0.1"]).await;
            let hole = socket2::Socket::new(socket2::Domain::IPV6, socket2::Type::STREAM, None).unwrap();
            if hole.bind(&SocketAddr::from((Ipv6Addr::LOCALHOST, stub.port)).into()).is_ok() {
                break (stub, hole);
            }
        };
        hole.listen(0).unwrap();
        let _full = std::net::TcpStream::connect((Ipv6Addr::LOCALHOST, stub.port)).unwrap();
        let dns = Dns::saying(Say::Addresses(&["::1", "127.0.0.1"], 60)).await;
        let began = monotonic_now();
        assert_delivered(&send(&Machine::asking(&dns, "").transport(), "b.example", stub.port).await);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    });
}

#[test]
fn the_hosts_file_comes_first_needs_no_name_server_and_is_read_again_when_it_changes() {
    run(async {
        let [old, new] = stubs(["127.0.0.2", "127.0.0.3"]).await;
        let dns = Dns::saying(Say::NoSuchName(60)).await;
        let machine = Machine::asking(&dns, "");
        std::fs::remove_file(machine.dir.path().join("resolv.conf")).unwrap();
        machine.write("hosts", "127.0.0.2 other B.example under_score # comment\n");
        let transport = machine.transport();
        for name in ["b.example", "B.EXAMPLE.", "under_score"] {
            assert_delivered(&send(&transport, name, old.port).await);
        }
        machine.write("hosts", "127.0.0.3 b.example\n");
        send_until(&transport, "b.example", old.port, |_| new.connections.get() > 0).await;
        assert!(old.connections.get() >= 3);
        assert_eq!(dns.asked(A), <[&str; 0]>::default());
    });
}

#[test]
fn a_short_name_is_searched_for_and_a_changed_resolv_conf_is_noticed() {
    run(async {
        let [stub] = stubs(["127.0.0.1"]).await;
        let dns = Dns::saying(Say::NoSuchName(0)).await;
        let machine = Machine::asking(&dns, "search a.example c.example\noptions ndots:2\n");
        let transport = machine.transport();
        for (name, tried) in [
            ("b", &["b.a.example.", "b.c.example.", "b."][..]),
            ("b.d", &["b.d.a.example.", "b.d.c.example.", "b.d."]),
            ("b.d.e", &["b.d.e.", "b.d.e.a.example.", "b.d.e.c.example."]),
            ("b.", &["b."]),
        ] {
            let before = dns.asked(A).len();
            assert_failed(&send(&transport, name, stub.port).await, Failure::Dns, false);
            assert_eq!(dns.asked(A)[before..], *tried, "{name}");
        }
        dns.say(
            |name, _| {
                if name == "b.new.example." { Say::Addresses(&["127.0.0.1"], 60) } else { Say::NoSuchName(0) }
            },
        );
        machine.write("resolv.conf", "nameserver 127.0.0.1\nsearch new.example\n");
        send_until(&transport, "b", stub.port, |attempt| attempt.outcome == Outcome::Delivered).await;
    });
}

#[test]
fn names_are_looked_up_in_the_loop_of_a_core_whatever_its_backend() {
    let modes = [IoBackend::Auto, IoBackend::Portable];
    for backend in modes.map(|wanted| backend::choose(wanted).unwrap()) {
        let test = async {
            let [stub] = stubs(["127.0.0.1"]).await;
            let dns = Dns::saying(Say::Addresses(&["127.0.0.1"], 60)).await;
            assert_delivered(&send(&Machine::asking(&dns, "").transport(), "b.example", stub.port).await);
            let dns = Dns::saying(Say::Silence).await;
            let config = TransportConfig { connect_timeout: Millis(200), ..Machine::asking(&dns, "").config() };
            assert_failed(&send(&HyperTransport::new(config), "b.example", stub.port).await, Failure::Dns, false);
        };
        let bounded = async { tokio::time::timeout(Duration::from_secs(30), test).await };
        backend::run(backend, bounded).unwrap().expect("a test ends in time");
    }
}

#[test]
fn localhost_is_the_loopback_and_nobody_is_asked() {
    run(async {
        let [stub] = stubs(["127.0.0.1"]).await;
        let dns = Dns::saying(Say::Addresses(&["127.0.0.9"], 60)).await;
        let transport = Machine::asking(&dns, "").transport();
        for name in ["localhost", "LOCALHOST.", "a.localhost"] {
            assert_delivered(&send(&transport, name, stub.port).await);
        }
        assert_eq!(dns.asked(A), <[&str; 0]>::default());
    });
}

#[test]
fn what_a_name_leads_to_is_judged_for_each_connection_and_only_what_is_permitted_is_connected_to() {
    run(async {
        let [denied, permitted] = stubs(["127.0.0.2", "127.0.0.3"]).await;
        let dns = Dns::saying(Say::Addresses(&["127.0.0.2", "127.0.0.3", "::ffff:127.0.0.2"], 0)).await;
        let policy = Policy::new(Vec::new(), Rule::parse_list("127.0.0.2").unwrap());
        let transport = HyperTransport::new(TransportConfig { policy, ..Machine::asking(&dns, "").config() });
        for _ in 0..3 {
            assert_delivered(&send(&transport, "b.example", denied.port).await);
        }
        // The name now leads elsewhere, as in an attack by DNS rebinding.
        for addresses in
            [&["127.0.0.2"][..], &["::ffff:127.0.0.2"], &["::127.0.0.2", "127.0.0.2"], &["169.254.169.254"]]
        {
            dns.say(move |_, _| Say::Addresses(addresses, 0));
            let led_away = |attempt: &Attempt| attempt.outcome != Outcome::Delivered;
            let attempt = send_until(&transport, "b.example", denied.port, led_away).await;
            assert_failed(&attempt, Failure::Denied, false);
        }
        assert_eq!(denied.connections.get(), 0);
        assert!(permitted.connections.get() >= 3);
        assert_eq!(transport.counts().opened.get(), permitted.connections.get() as u64);
    });
}
