//! https: whom the transport trusts, and that requests over TLS are the same bytes.

use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;

use dispatcher::delivery::Transport;
use dispatcher::schedule::attempt::Failure;
use dispatcher::time::Millis;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tempfile::NamedTempFile;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;

use crate::origin::{
    OK, Stub, assert_delivered, assert_failed, read_request, request, run, transport, transport_trusting,
};

/// A certificate for `names`, as a file for `TLS_CA` and as a server's configuration.
fn certificate(names: &[&str]) -> (NamedTempFile, TlsAcceptor) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(made.cert.pem().as_bytes()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (file, TlsAcceptor::from(Arc::new(config)))
}

/// Answers every request over TLS. Its `requests` stay empty: the bodies' checksums are in the answers.
async fn serve(acceptor: TlsAcceptor) -> Stub {
    let acceptor = Rc::new(acceptor);
    Stub::serve(move |accepted| {
        let acceptor = Rc::clone(&acceptor);
        async move {
            let Ok(mut stream) = acceptor.accept(accepted.stream).await else { return };
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
            while let Some(got) = read_request(&mut stream).await {
                let answer = if got.ends_with(&[b'x'; 1000]) { OK } else { crate::origin::UNAVAILABLE };
                stream.write_all(answer).await.unwrap();
            }
        }
    })
    .await
}

fn post_to(origin: &str, body: &[u8]) -> dispatcher::delivery::Outbound {
    let head = format!("POST / HTTP/1.1\r\nHost: b\r\nContent-Length: {}\r\n", body.len());
    request(origin, head.as_bytes(), body)
}

#[test]
fn an_origin_whose_certificate_tls_ca_vouches_for_gets_its_requests() {
    run(async {
        let (ca, acceptor) = certificate(&["localhost", "127.0.0.1"]);
        let stub = serve(acceptor).await;
        let transport = transport_trusting(Some(ca.path()), Millis::from_secs(10));
        for (host, connections) in [("localhost", 1), ("127.0.0.1", 2)] {
            let origin = format!("https://{host}:{}", stub.port);
            for bytes in [1000, 1000, 4 << 20] {
                assert_delivered(&transport.send(post_to(&origin, &vec![b'x'; bytes])).await);
            }
            assert_eq!(stub.connections.get(), connections, "kept alive");
        }
    });
}

#[test]
fn an_origin_nobody_vouches_for_is_tls_and_gets_nothing() {
    run(async {
        let (_, acceptor) = certificate(&["localhost"]);
        let stub = serve(acceptor).await;
        let attempt = transport().send(post_to(&format!("https://localhost:{}", stub.port), b"x")).await;
        assert_failed(&attempt, Failure::Tls, false);
    });
}

#[test]
fn a_certificate_for_another_name_is_tls() {
    run(async {
        let (ca, acceptor) = certificate(&["other.example", "127.0.0.2"]);
        let stub = serve(acceptor).await;
        let transport = transport_trusting(Some(ca.path()), Millis::from_secs(10));
        for host in ["localhost", "127.0.0.1"] {
            let attempt = transport.send(post_to(&format!("https://{host}:{}", stub.port), b"x")).await;
            assert_failed(&attempt, Failure::Tls, false);
        }
        assert_eq!(transport.counts().opened.get(), 0);
    });
}

#[test]
fn an_origin_that_speaks_plain_http_is_tls() {
    run(async {
        let stub = Stub::serve(|mut accepted| async move {
            accepted.say(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            accepted.closed().await;
        })
        .await;
        let attempt = transport().send(post_to(&format!("https://127.0.0.1:{}", stub.port), b"x")).await;
        assert_failed(&attempt, Failure::Tls, false);
    });
}
