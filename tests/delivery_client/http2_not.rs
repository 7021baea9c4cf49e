//! What goes over HTTP/1.1 to an origin that agrees on HTTP/2: what HTTP/2 cannot say, and what the origin refuses.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use dispatcher::delivery::Transport;
use dispatcher::delivery::client::HyperTransport;
use dispatcher::time::Millis;
use h2::Reason;
use tokio::io::AsyncWriteExt;

use crate::certificates::{HTTP1, HTTP2, Issued};
use crate::http2_origin::{Raw, respond};
use crate::origin::{MARK, OK, Stub, assert_delivered, read_request, request, run, transport_trusting};

/// An origin that offers both, and counts and records what comes over which.
struct Both {
    transport: HyperTransport,
    _stub: Stub,
    origin: String,
    over_http2: Rc<Cell<usize>>,
    over_http1: Rc<RefCell<Vec<Vec<u8>>>>,
    connections: Rc<Cell<(usize, usize)>>,
}

impl Both {
    /// `refuses`: every stream of HTTP/2, with `HTTP_1_1_REQUIRED`.
    async fn new(refuses: bool) -> Self {
        let issued = Issued::to(&["localhost"]);
        let acceptor = Rc::new(issued.acceptor(&[HTTP2, HTTP1]));
        let over_http2 = Rc::<Cell<usize>>::default();
        let over_http1 = Rc::<RefCell<Vec<Vec<u8>>>>::default();
        let connections = Rc::<Cell<(usize, usize)>>::default();
        let (count, list, opened) = (Rc::clone(&over_http2), Rc::clone(&over_http1), Rc::clone(&connections));
        let stub = Stub::serve(move |accepted| {
            let (acceptor, count) = (Rc::clone(&acceptor), Rc::clone(&count));
            let (list, opened) = (Rc::clone(&list), Rc::clone(&opened));
            async move {
                let index = accepted.index;
                let mut stream = acceptor.accept(accepted.stream).await.unwrap();
                let (http2, http1) = opened.get();
                if stream.get_ref().1.alpn_protocol() == Some(HTTP2) {
                    opened.set((http2 + 1, http1));
                    let mut raw = Raw { index, stream };
                    raw.greet(100).await;
                    while let Some(stream) = raw.request().await {
                        count.set(count.get() + 1);
                        if refuses {
                            raw.reset(stream, Reason::HTTP_1_1_REQUIRED).await;
                        } else {
                            respond(&mut raw, stream).await;
                        }
                    }
                    return;
                }
                opened.set((http2, http1 + 1));
                while let Some(request) = read_request(&mut stream).await {
                    list.borrow_mut().push(request);
                    stream.write_all(OK).await.unwrap();
                }
            }
        })
        .await;
        let transport = transport_trusting(Some(issued.ca()), Millis::from_secs(10));
        let origin = format!("https://localhost:{}", stub.port);
        Self { transport, _stub: stub, origin, over_http2, over_http1, connections }
    }

    async fn deliver(&self, target: &str) -> bool {
        let head = format!("POST {target} HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n");
        let attempt = self.transport.send(request(&self.origin, head.as_bytes(), b"x")).await;
        assert_delivered(&attempt);
        attempt.maybe_received
    }
}

#[test]
fn what_http_2_cannot_say_arrives_byte_for_byte_over_http_1_while_the_rest_goes_over_http_2() {
    run(async {
        let origin = Both::new(false).await;
        let odd = ["/<a>", "/`", "/?\"", "/?<>"];
        for target in odd {
            assert!(!origin.deliver("/even").await);
            assert!(!origin.deliver(target).await);
        }
        assert_eq!((origin.over_http2.get(), origin.connections.get()), (4, (1, 1)));
        for (target, request) in odd.iter().zip(&*origin.over_http1.borrow()) {
            let line = format!("POST {target} HTTP/1.1\r\nHost: b\r\nContent-Length: 1\r\n");
            assert!(request.starts_with(line.as_bytes()), "{}", request.escape_ascii());
            assert!(!request.windows(MARK.len()).any(|window| window == MARK.as_bytes()));
        }
        assert_eq!(origin.transport.counts().stale_retries.get(), 0);
    });
}

#[test]
fn an_origin_that_requires_http_1_gets_it_at_once_and_from_then_on() {
    run(async {
        let origin = Both::new(true).await;
        for _ in 0..3 {
            origin.deliver("/").await;
        }
        assert_eq!((origin.over_http2.get(), origin.connections.get()), (1, (1, 1)));
        let marked: Vec<bool> = origin
            .over_http1
            .borrow()
            .iter()
            .map(|request| request.windows(MARK.len()).any(|window| window == MARK.as_bytes()))
            .collect();
        // Nothing says that the refused stream was not processed.
        assert_eq!(marked, [true, false, false]);
    });
}
