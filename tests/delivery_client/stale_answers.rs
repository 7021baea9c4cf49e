//! HTTP/1.1 answers that nobody asked for: none is ever taken for the answer of a message.

use std::cell::RefCell;
use std::rc::Rc;

use dispatcher::delivery::Transport;
use dispatcher::delivery::client::HyperTransport;
use dispatcher::schedule::attempt::{Attempt, Failure};
use dispatcher::time::Millis;
use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::certificates::{HTTP1, Issued};
use crate::origin::{
    OK, Stub, UNAVAILABLE, assert_delivered, assert_failed, read_request, request, run, transport_trusting,
};

trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Duplex for S {}

/// An origin whose first connection is left to the test once it was used well; later ones are answered with 503.
struct Desynchronised {
    stub: Stub,
    first: Rc<RefCell<Option<Box<dyn Duplex>>>>,
    transport: HyperTransport,
    origin: String,
}

impl Desynchronised {
    async fn new(encrypted: bool) -> Self {
        let issued = Issued::to(&["localhost"]);
        let acceptor = Rc::new(issued.acceptor(&[HTTP1]));
        let first = Rc::<RefCell<Option<Box<dyn Duplex>>>>::default();
        let left = Rc::clone(&first);
        let stub = Stub::serve(move |accepted| {
            let (acceptor, left) = (Rc::clone(&acceptor), Rc::clone(&left));
            async move {
                let mut stream: Box<dyn Duplex> = if encrypted {
                    Box::new(acceptor.accept(accepted.stream).await.unwrap())
                } else {
                    Box::new(accepted.stream)
                };
                read_request(&mut stream).await.unwrap();
                if accepted.index == 0 {
                    stream.write_all(OK).await.unwrap();
                    stream.flush().await.unwrap();
                    *left.borrow_mut() = Some(stream);
                    return;
                }
                stream.write_all(UNAVAILABLE).await.unwrap();
                while read_request(&mut stream).await.is_some() {}
            }
        })
        .await;
        let scheme = if encrypted { "https" } else { "http" };
        let origin = format!("{scheme}://localhost:{}", stub.port);
        Self { stub, first, transport: transport_trusting(Some(issued.ca()), Millis::from_secs(10)), origin }
    }

    async fn send(&self) -> Attempt {
        let outbound = request(&self.origin, b"POST / HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n", b"x");
        self.transport.send(outbound).await
    }

    /// Says something on the first connection, without giving the runtime time to look at sockets.
    fn say(&self, bytes: &[u8]) {
        let mut first = self.first.borrow_mut();
        let stream = first.as_mut().unwrap();
        stream.write_all(bytes).now_or_never().expect("room in the socket").unwrap();
        stream.flush().now_or_never().expect("room in the socket").unwrap();
    }
}

#[test]
fn an_answer_nobody_asked_for_is_not_the_answer_of_the_next_message() {
    run(async {
        for encrypted in [false, true] {
            // Whole, in part, and only its first byte.
            for bytes in [OK, &OK[..20], &OK[..1]] {
                let origin = Desynchronised::new(encrypted).await;
                assert_delivered(&origin.send().await);
                origin.say(bytes);
                let attempt = origin.send().await;
                assert_failed(&attempt, Failure::Http5xx, false);
                assert_eq!((attempt.status, origin.stub.connections.get()), (Some(503), 2));
                assert_eq!(origin.transport.counts().stale_retries.get(), 1);
            }
        }
    });
}

#[test]
fn a_connection_that_was_closed_a_moment_ago_gets_no_copy() {
    run(async {
        for encrypted in [false, true] {
            let origin = Desynchronised::new(encrypted).await;
            assert_delivered(&origin.send().await);
            origin.first.borrow_mut().take();
            let attempt = origin.send().await;
            assert_failed(&attempt, Failure::Http5xx, false);
            assert_eq!((attempt.status, origin.stub.connections.get()), (Some(503), 2));
        }
    });
}
