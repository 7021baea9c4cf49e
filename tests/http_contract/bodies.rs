//! Bodies: exact to the byte at every size that matters, by length and in chunks.

use crate::support::{Origin, on_all, position};

/// The sizes around nothing, around a block of the log, and the largest that is taken.
const SIZES: [usize; 8] = [0, 1, 4095, 4096, 4097, 65_537, 1_048_575, 1_048_576];

/// Bytes of every value, in an order in which no shift or swap goes unnoticed.
fn pattern(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}

/// `body` in chunks of every size up to 10,000 bytes.
fn in_chunks(body: &[u8]) -> Vec<u8> {
    let (mut rest, mut size, mut out) = (body, 1, Vec::new());
    while !rest.is_empty() {
        let (chunk, behind) = rest.split_at(size.min(rest.len()));
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        (rest, size) = (behind, (size * 3 + 1) % 10_000 + 1);
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[test]
fn bodies_of_every_size_arrive_exact() {
    on_all(&[], |daemon| {
        let origin = Origin::start();
        let start = format!("POST / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {}\r\n", origin.address);
        let mut client = daemon.connect();
        for size in SIZES {
            let body = pattern(size);
            let by_length = [format!("Content-Length: {size}\r\n\r\n").as_bytes(), &body].concat();
            let chunked = [b"Transfer-Encoding: chunked\r\n\r\n", &in_chunks(&body)[..]].concat();
            for (framing, rest) in [("by length", by_length), ("in chunks", chunked)] {
                client.send([start.as_bytes(), &rest].concat());
                let received = origin.received(&client.answer().message_id());
                let head_end = position(&received, b"\r\n\r\n").unwrap() + 4;
                let head = std::str::from_utf8(&received[..head_end]).unwrap();
                assert!(head.contains(&format!("\r\nContent-Length: {size}\r\n")), "{size} {framing}: {head}");
                // Not `assert_eq`: nobody wants to see a megabyte.
                assert!(received[head_end..] == body, "{size} {framing}: the body arrives as it was");
            }
        }
    });
}

#[test]
fn a_body_in_many_pieces_is_one_body() {
    on_all(&[], |daemon| {
        let origin = Origin::start();
        let body = pattern(300);
        let mut client = daemon.connect();
        client.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {}\r\nContent-Length: 300\r\n\r\n",
            origin.address
        ));
        for byte in &body {
            client.send([*byte]);
        }
        let received = origin.received(&client.answer().message_id());
        assert!(received.ends_with(&[b"\r\n\r\n", &body[..]].concat()));
    });
}

#[test]
fn a_body_that_ends_early_is_no_message() {
    on_all(&[], |daemon| {
        let origin = Origin::start();
        for framing in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
            let mut client = daemon.connect();
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {}\r\n{framing}",
                origin.address
            ));
            client.finish();
            let answer = client.answer();
            assert_eq!((answer.status, answer.closes()), (400, true), "{framing}");
            assert!(client.is_closed(), "{framing}");
        }
        daemon.assert_metric("dispatcher_accepted_total", 0.0);
    });
}
