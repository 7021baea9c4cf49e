//! Origins beside each other, over TLS, and over kept connections.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use dispatcher::time::monotonic_now;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

use crate::common::daemon::Daemon;
use crate::common::origin::{Origin, Reply};
use crate::common::{run, until};

#[test]
fn an_origin_that_hangs_on_hundreds_of_messages_does_not_hold_up_another() {
    run(async {
        let (dir, good, hanging) = (tempfile::tempdir().unwrap(), Origin::start(), Origin::start());
        hanging.answer(|_| Reply::Hold);
        let daemon = Daemon::start(dir.path(), &[("DEFAULT_TIMEOUT", "60s")]).await;
        let (mut sender, mut held) = (daemon.sender().await, Vec::new());
        for _ in 0..400 {
            held.push(sender.post(&hanging.host(), b"held").await);
        }
        // This connection's core has half of the 64 deliveries that one origin may have in flight.
        until("as many hang as may", || hanging.count() >= 32).await;
        let began = monotonic_now();
        for _ in 0..20 {
            let id = sender.post(&good.host(), b"quick").await;
            until("the other origin has it", || good.has_all([&id])).await;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        assert!(hanging.delivered().is_empty() && hanging.count() <= 64, "{}", hanging.count());
        hanging.release();
        until("what hung is delivered", || hanging.has_all(&held)).await;
        daemon.stop().await;
    });
}

#[test]
fn messages_to_one_origin_share_kept_connections() {
    run(async {
        let (dir, origin) = (tempfile::tempdir().unwrap(), Origin::start());
        let daemon = Daemon::start(dir.path(), &[]).await;
        let mut sender = daemon.sender().await;
        for n in 1..=100 {
            sender.post(&origin.host(), b"one at a time").await;
            until("it is delivered", || origin.delivered().len() == n).await;
        }
        daemon.until_idle().await;
        let opened = daemon.metric("connections_opened_total{side=\"out\"}").await;
        assert!((1.0..=4.0).contains(&opened), "{opened} connections for 100 messages");
        assert!(origin.connections() <= 4, "{} connections", origin.connections());
        daemon.stop().await;
    });
}

/// A certificate for loopback, as a file for `TLS_CA` and as a server's side.
fn certificate() -> (NamedTempFile, TlsAcceptor) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(made.cert.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    (file, TlsAcceptor::from(Arc::new(config)))
}

#[test]
fn an_https_origin_is_delivered_to_if_tls_ca_vouches_for_it_and_not_otherwise() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (ca, acceptor) = certificate();
        let origin = Origin::refusing(Some(acceptor));
        origin.listen();
        let host = format!("https://{}", origin.host());
        let daemon = Daemon::start(dir.path(), &[]).await;
        let id = daemon.sender().await.post(&host, b"secret").await;
        daemon.until_metric("attempts_total{class=\"tls\"}", |count| count >= 1.0).await;
        assert_eq!(origin.count(), 0);
        daemon.stop().await;
        let daemon = Daemon::start(dir.path(), &[("TLS_CA", ca.path().to_str().unwrap())]).await;
        until("it is delivered", || origin.has_all([&id])).await;
        let got = &origin.received()[0];
        assert!(got.head.contains(&format!("\r\nHost: {}\r\n", origin.host())), "{}", got.head);
        assert_eq!((got.body.as_slice(), got.id.as_str()), (&b"secret"[..], id.as_str()));
        daemon.stop().await;
    });
}
