//! https: whom the transport trusts, and that requests over TLS are the same bytes.

use std::cell::RefCell;
use std::rc::Rc;

use dispatcher::delivery::Transport;
use dispatcher::schedule::attempt::Failure;
use dispatcher::time::Millis;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::certificates::{HTTP1, HTTP2, Issued};
use crate::origin::{
    OK, Stub, assert_delivered, assert_failed, read_request, request, run, transport, transport_trusting,
};

/// Answers every request over TLS. Its `requests` stay empty: the bodies' checksums are in the answers.
async fn serve(acceptor: TlsAcceptor) -> Stub {
    let acceptor = Rc::new(acceptor);
    Stub::serve(move |accepted| {
        let acceptor = Rc::clone(&acceptor);
        async move {
            let Ok(mut stream) = acceptor.accept(accepted.stream).await else { return };
            assert_ne!(stream.get_ref().1.alpn_protocol(), Some(HTTP2));
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
        let issued = Issued::to(&["localhost", "127.0.0.1"]);
        let stub = serve(issued.acceptor(&[HTTP1])).await;
        let transport = transport_trusting(Some(issued.ca()), Millis::from_secs(10));
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
        let stub = serve(Issued::to(&["localhost"]).acceptor(&[HTTP2, HTTP1])).await;
        let attempt = transport().send(post_to(&format!("https://localhost:{}", stub.port), b"x")).await;
        assert_failed(&attempt, Failure::Tls, false);
    });
}

#[test]
fn a_certificate_for_another_name_is_tls() {
    run(async {
        let issued = Issued::to(&["other.example", "127.0.0.2"]);
        let stub = serve(issued.acceptor(&[HTTP2, HTTP1])).await;
        let transport = transport_trusting(Some(issued.ca()), Millis::from_secs(10));
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

#[test]
fn a_certificate_out_of_its_time_is_tls() {
    run(async {
        let expired = Issued::with(&["localhost"], |params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
        let early = Issued::with(&["localhost"], |params| params.not_before = rcgen::date_time_ymd(3000, 1, 1));
        for issued in [expired, early] {
            let stub = serve(issued.acceptor(&[HTTP2, HTTP1])).await;
            let transport = transport_trusting(Some(issued.ca()), Millis::from_secs(10));
            let attempt = transport.send(post_to(&format!("https://localhost:{}", stub.port), b"x")).await;
            assert_failed(&attempt, Failure::Tls, false);
        }
    });
}

#[test]
fn a_server_that_knows_nothing_of_alpn_gets_http_1() {
    run(async {
        let issued = Issued::to(&["localhost"]);
        let stub = serve(issued.acceptor(&[])).await;
        let transport = transport_trusting(Some(issued.ca()), Millis::from_secs(10));
        for _ in 0..2 {
            let outbound = post_to(&format!("https://localhost:{}", stub.port), &[b'x'; 1000]);
            assert_delivered(&transport.send(outbound).await);
        }
        assert_eq!(stub.connections.get(), 1);
    });
}

#[test]
fn deliveries_begun_together_to_an_origin_of_http_1_have_connections_of_their_own() {
    run(async {
        let issued = Issued::to(&["localhost"]);
        let stub = serve(issued.acceptor(&[HTTP1])).await;
        let transport = Rc::new(transport_trusting(Some(issued.ca()), Millis::from_secs(10)));
        for _ in 0..2 {
            let sends = (0..5).map(|_| {
                let transport = Rc::clone(&transport);
                let outbound = post_to(&format!("https://localhost:{}", stub.port), &[b'x'; 1000]);
                tokio::task::spawn_local(async move { transport.send(outbound).await })
            });
            for send in sends.collect::<Vec<_>>() {
                assert_delivered(&send.await.unwrap());
            }
        }
        assert_eq!(stub.connections.get(), 5);
    });
}

#[test]
fn a_name_is_told_to_the_server_and_an_address_is_not() {
    run(async {
        let issued = Issued::to(&["localhost", "127.0.0.1"]);
        let acceptor = Rc::new(issued.acceptor(&[HTTP1]));
        let told = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&told);
        let stub = Stub::serve(move |accepted| {
            let (acceptor, seen) = (Rc::clone(&acceptor), Rc::clone(&seen));
            async move {
                let mut stream = acceptor.accept(accepted.stream).await.unwrap();
                seen.borrow_mut().push(stream.get_ref().1.server_name().map(str::to_owned));
                read_request(&mut stream).await;
                stream.write_all(OK).await.unwrap();
            }
        })
        .await;
        let transport = transport_trusting(Some(issued.ca()), Millis::from_secs(10));
        for host in ["localhost", "127.0.0.1", "LOCALHOST"] {
            assert_delivered(&transport.send(post_to(&format!("https://{host}:{}", stub.port), b"x")).await);
        }
        let told = told.borrow();
        assert_eq!(told.iter().map(Option::as_deref).collect::<Vec<_>>(), [Some("localhost"), None, Some("localhost")]);
    });
}

#[test]
fn an_answer_that_comes_while_the_body_is_still_being_sent_is_the_answer() {
    run(async {
        let issued = Issued::to(&["localhost"]);
        let acceptor = Rc::new(issued.acceptor(&[HTTP1]));
        let stub = Stub::serve(move |accepted| {
            let acceptor = Rc::clone(&acceptor);
            async move {
                // Else the kernel may hold back the answer behind what the handshake said last, and drop both.
                accepted.stream.set_nodelay(true).unwrap();
                let mut stream = acceptor.accept(accepted.stream).await.unwrap();
                stream.read_exact(&mut [0; 1000]).await.unwrap();
                // Closed with most of the request unread: the kernel resets the connection behind the answer.
                stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!").await.unwrap();
                stream.flush().await.unwrap();
            }
        })
        .await;
        let transport = transport_trusting(Some(issued.ca()), Millis::from_secs(10));
        for round in 0..20 {
            let outbound = post_to(&format!("https://localhost:{}", stub.port), &vec![b'x'; 8 << 20]);
            let attempt = transport.send(outbound).await;
            assert_eq!((attempt.status, &attempt.answer[..]), (Some(413), &b"no!"[..]), "round {round}: {attempt:?}");
            assert_failed(&attempt, Failure::Http4xx, false);
        }
    });
}
