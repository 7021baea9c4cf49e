//! Bodies: exact to the byte at every size that matters, by length and in chunks.

use crate::support::{Origin, on_all, position};

/// `MAX_BODY` of these tests.
const BODY_BYTES_MAX: usize = 3 << 20;

/// The sizes around nothing, around a block of the log and a mebibyte, and the largest that is taken.
const SIZES: [usize; 10] = [0, 1, 4095, 4096, 4097, 65_537, (1 << 20) - 1, 1 << 20, BODY_BYTES_MAX - 1, BODY_BYTES_MAX];

/// Sizes of chunks: the least, around a block and a buffer, and larger than any body.
const CHUNK_SIZES: [usize; 7] = [1, 7, 4095, 4096, 4097, 64 << 10, usize::MAX];

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

/// `body` in chunks of `chunk_bytes`, the last one perhaps shorter.
fn in_chunks(body: &[u8], chunk_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    for chunk in body.chunks(chunk_bytes) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// A body by its length and in chunks of every size: the fields and the body as they are sent.
fn framings(body: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    let by_length = (format!("Content-Length: {}\r\n", body.len()), body.to_vec());
    let chunked = CHUNK_SIZES.iter().map(|chunk_bytes| {
        // Chunks of a byte make six of one.
        let chunk_bytes = if body.len() > 1 << 20 { 7.max(*chunk_bytes) } else { *chunk_bytes };
        ("Transfer-Encoding: chunked\r\n".to_owned(), in_chunks(body, chunk_bytes))
    });
    std::iter::once(by_length).chain(chunked)
}

const VARIABLES: [(&str, &str); 1] = [("MAX_BODY", "3MiB")];

fn start(origin: &Origin) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {}\r\n", origin.address)
}

#[test]
fn bodies_of_every_size_arrive_exact_by_length_and_in_chunks_of_every_size() {
    on_all(&VARIABLES, |daemon| {
        let mut client = daemon.connect();
        for size in SIZES {
            let origin = Origin::start();
            let body = pattern(size);
            for (framing, bytes) in framings(&body) {
                client.send([start(&origin).as_bytes(), framing.as_bytes(), b"\r\n", &bytes].concat());
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
fn a_body_over_max_body_is_refused_before_it_is_read_and_without_leave_to_send_it() {
    on_all(&VARIABLES, |daemon| {
        let origin = Origin::start();
        let over = BODY_BYTES_MAX + 1;
        let (length, coding) = (format!("Content-Length: {over}\r\n"), "Transfer-Encoding: chunked\r\n");
        for (name, rest) in [
            ("by length", format!("{length}\r\n")),
            ("by length, waiting for leave", format!("Expect: 100-continue\r\n{length}\r\n")),
            ("in one chunk", format!("{coding}\r\n{over:x}\r\n")),
            ("in one chunk, with the start of its data", format!("{coding}\r\n{over:x}\r\nabc")),
        ] {
            let mut client = daemon.connect();
            client.send(start(&origin) + &rest);
            let answer = client.answer();
            assert_eq!((answer.status, answer.closes()), (413, true), "{name}: {}", answer.head);
            assert!(client.is_closed(), "{name}");
        }
        let body = pattern(over);
        for (framing, bytes) in framings(&body) {
            let mut client = daemon.connect();
            client.send([start(&origin).as_bytes(), framing.as_bytes(), b"\r\n", &bytes].concat());
            assert_eq!(client.answer().status, 413, "{framing}, all of it sent");
            assert!(client.is_closed(), "{framing}");
        }
        daemon.assert_metric("dispatcher_accepted_total", 0.0);
        assert!(origin.requests().is_empty());
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
