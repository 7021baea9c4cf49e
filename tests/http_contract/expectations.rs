//! `Expect: 100-continue` (RFC 9110 §10.1.1): leave to send a body is not given where nobody waits, and comes in its
//! turn. Which requests wait for it is in the table.

use crate::support::{Origin, on_all};

fn head(origin: &Origin, fields: &str) -> String {
    let origin = origin.address;
    format!("POST /e HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {origin}\r\nexpect: 100-Continue\r\n{fields}\r\n")
}

#[test]
fn no_interim_answer_comes_when_the_body_is_there_or_has_none_or_the_client_is_too_old() {
    on_all(&[], |daemon| {
        let origin = Origin::start();
        for request in [
            head(&origin, "Content-Length: 5\r\n") + "hello",
            head(&origin, "Content-Length: 5\r\n") + "h",
            head(&origin, "Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n0\r\n\r\n",
            head(&origin, "Content-Length: 0\r\n"),
            head(&origin, ""),
            head(&origin, "Content-Length: 5\r\n").replace("HTTP/1.1", "HTTP/1.0"),
        ] {
            let mut client = daemon.connect();
            client.send(&request);
            let sent = request.split_once("\r\n\r\n").unwrap().1;
            if request.contains("Content-Length: 5") {
                client.send(&"hello"[sent.len()..]);
            }
            origin.received(&client.answer().message_id());
        }
    });
}

#[test]
fn answers_to_earlier_requests_come_before_the_leave() {
    on_all(&[], |daemon| {
        let origin = Origin::start();
        let mut client = daemon.connect();
        let plain = format!("GET /first HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {}\r\n\r\n", origin.address);
        client.send(plain + &head(&origin, "Content-Length: 2\r\n"));
        let first = origin.received(&client.answer().message_id());
        assert!(first.starts_with(b"GET /first "));
        assert_eq!(client.answer().status, 100);
        client.send("hi");
        let second = origin.received(&client.answer().message_id());
        assert!(second.starts_with(b"POST /e "));
    });
}
