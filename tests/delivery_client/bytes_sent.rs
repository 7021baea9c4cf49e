//! What the origin reads: heads and bodies exactly as given, plus the fields of the attempt.

use bytes::Bytes;
use dispatcher::delivery::Transport;
use tokio::io::AsyncReadExt;

use crate::origin::{MARK, MESSAGE_ID, OK, Stub, assert_delivered, post, read_request, request, run, transport};

fn with_attempt_fields(head: &[u8], mark: &str, body: &[u8]) -> Vec<u8> {
    let fields = format!("X-Dispatcher-Message-Id: {MESSAGE_ID}\r\nX-Dispatcher-Attempt: 1\r\n{mark}\r\n");
    [head, fields.as_bytes(), body].concat()
}

#[test]
fn order_case_repetition_and_odd_bytes_of_a_head_arrive_as_sent() {
    run(async {
        let stub = Stub::answering(OK).await;
        let transport = transport();
        let heads: [&[u8]; 5] = [
            b"POST /a?b=c%20&d HTTP/1.1\r\nHost: b\r\nx-a: 1\r\nX-B: 2\r\nX-A: 3\r\nx-a:4\r\nX-b:\t 5 \r\nContent-Length: 3\r\n",
            b"PATCH / HTTP/1.1\r\ncontent-LENGTH: 3\r\nX-Latin: caf\xe9 \xff\x80\r\nX-Empty:\r\nX-Empty: \r\nhOsT: b\r\n",
            b"BREW /pot HTTP/1.1\r\nContent-Length: 3\r\nCookie: a\r\nAccept: b\r\nCookie: c\r\nUser-Agent: d\r\n",
            b"GET http://other/abs HTTP/1.1\r\nContent-Length: 3\r\nHost: b\r\n",
            b"OPTIONS * HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\nConnection-ish: close\r\n",
        ];
        for (index, head) in heads.into_iter().enumerate() {
            let attempt = transport.send(request(&format!("127.0.0.1:{}", stub.port), head, b"\0\r\n")).await;
            assert_delivered(&attempt);
            let expected = with_attempt_fields(head, "", b"\0\r\n");
            assert_eq!(stub.request(index).escape_ascii().to_string(), expected.escape_ascii().to_string());
        }
        assert_eq!(stub.connections.get(), 1);
    });
}

#[test]
fn a_possible_duplicate_says_so() {
    run(async {
        let stub = Stub::answering(OK).await;
        let mut outbound = post(stub.port, b"x");
        outbound.maybe_duplicate = true;
        let expected = with_attempt_fields(&outbound.head, MARK, b"x");
        assert_delivered(&transport().send(outbound).await);
        assert_eq!(stub.request(0), expected);
    });
}

#[test]
fn a_request_without_a_body_is_only_its_head() {
    run(async {
        let stub = Stub::answering(b"HTTP/1.1 204 No Content\r\n\r\n").await;
        let transport = transport();
        for method in ["GET", "DELETE", "POST"] {
            let head = format!("{method} / HTTP/1.1\r\nHost: b\r\n");
            let outbound = request(&format!("127.0.0.1:{}", stub.port), head.as_bytes(), b"");
            assert_delivered(&transport.send(outbound).await);
            let got = stub.requests.borrow_mut().pop().unwrap();
            assert_eq!(got, with_attempt_fields(head.as_bytes(), "", b""));
        }
        assert_eq!(stub.connections.get(), 1, "and nothing came after a head");
    });
}

#[test]
fn a_large_body_arrives_whole_at_an_origin_that_reads_slowly() {
    run(async {
        let stub = Stub::serve(|mut accepted| async move {
            // A little at first, so that the sender meets full buffers at every possible place.
            let mut start = vec![0; 100];
            accepted.stream.read_exact(&mut start).await.unwrap();
            for _ in 0..100 {
                let mut piece = vec![0; 777];
                accepted.stream.read_exact(&mut piece).await.unwrap();
                start.append(&mut piece);
                tokio::task::yield_now().await;
            }
            let mut rest = start.chain(&mut accepted.stream);
            let request = read_request(&mut rest).await.unwrap();
            let digest = crc32c::crc32c(&request);
            accepted.say(format!("HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\n{digest:010}").as_bytes()).await;
        })
        .await;
        let body: Vec<u8> = (0..8_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let outbound = post(stub.port, &body);
        let expected = crc32c::crc32c(&with_attempt_fields(&outbound.head, "", &body));
        let attempt = transport().send(outbound).await;
        assert_eq!(attempt.answer, Bytes::from(format!("{expected:010}")));
    });
}
