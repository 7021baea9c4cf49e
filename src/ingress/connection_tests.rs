//! The contract of a connection, over real sockets on the loopback: what is answered, in which order, and when it ends.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Settings;
use super::harness_tests::{MEMORY_MAX, SETTINGS, with};
use super::head::Rules;
use crate::limits::{PIPELINE_MAX, SEATS_MAX};
use crate::time::Millis;

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Reads until the peer ends its side; a reset is a failure.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Reads exactly one answer.
async fn one(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head.split("Content-Length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let mut content = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut content).await.unwrap();
    head + &String::from_utf8(content).unwrap()
}

fn statuses(answers: &str) -> Vec<&str> {
    answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect()
}

fn post(fields: &str, body: &str) -> String {
    format!("POST /p HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: b\r\n{fields}\r\n{body}")
}

fn sized(body: &str) -> String {
    post(&format!("Content-Length: {}\r\n", body.len()), body)
}

#[test]
fn a_message_is_answered_with_the_id_it_was_stored_under_and_the_connection_stays() {
    with(SETTINGS, |address, daemon| async move {
        let mut stream = connect(address).await;
        for body in ["one", ""] {
            stream.write_all(sized(body).as_bytes()).await.unwrap();
            let answer = one(&mut stream).await;
            assert!(answer.starts_with("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nDate: "), "{answer}");
            assert!(answer.contains("\r\nX-Dispatcher-Message-Id: ") && !answer.contains("Connection"), "{answer}");
        }
        let submitted = daemon.submitted().await;
        assert_eq!(submitted[0].origin, "http://b");
        assert_eq!(submitted[0].head, b"POST /p HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n");
        assert_eq!(submitted[0].body, b"one");
        assert_eq!(daemon.connections(), 1);
    });
}

#[test]
fn requests_are_the_same_however_their_bytes_are_split() {
    with(SETTINGS, |address, daemon| async move {
        let chunked = post("Transfer-Encoding: chunked\r\n", "3\r\none\r\n2;x\r\n23\r\n0\r\nT: t\r\n\r\n");
        let bytes = [sized("first"), chunked, sized("last")].concat();
        for piece in [1, 7, 100, 10_000] {
            let mut stream = connect(address).await;
            stream.set_nodelay(true).unwrap();
            for part in bytes.as_bytes().chunks(piece) {
                stream.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            stream.shutdown().await.unwrap();
            assert_eq!(statuses(&rest(&mut stream).await), ["202"; 3]);
            let submitted = daemon.submitted().await;
            let bodies: Vec<_> = submitted.iter().map(|message| message.body.as_slice()).collect();
            assert_eq!(bodies, [&b"first"[..], b"one23", b"last"]);
            assert_eq!(submitted[1].head, b"POST /p HTTP/1.1\r\nHost: b\r\nContent-Length: 5\r\n");
        }
    });
}

#[test]
fn pipelined_requests_beyond_the_depth_are_all_answered_in_order() {
    with(SETTINGS, |address, daemon| async move {
        let count = PIPELINE_MAX * 2 + 1;
        let mut bytes: String = (0..count).map(|index| sized(&index.to_string())).collect();
        bytes += "GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let mut stream = connect(address).await;
        stream.write_all(bytes.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let answers = rest(&mut stream).await;
        assert_eq!(statuses(&answers), [vec!["202"; count], vec!["200", "400"]].concat());
        let bodies: Vec<_> = daemon.submitted().await.into_iter().map(|message| message.body).collect();
        assert!(bodies.iter().enumerate().all(|(index, body)| body == index.to_string().as_bytes()));
    });
}

#[test]
fn a_large_body_arrives_whole_in_either_framing() {
    with(SETTINGS, |address, daemon| async move {
        let body: String = (0..1_u32 << 20).map(|index| char::from(b'a' + u8::try_from(index % 23).unwrap())).collect();
        let chunks: String = body
            .as_bytes()
            .chunks(9_999)
            .map(|chunk| format!("{:X}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()))
            .collect();
        let mut stream = connect(address).await;
        for request in [sized(&body), post("Transfer-Encoding: chunked\r\n", &format!("{chunks}0\r\n\r\n"))] {
            stream.write_all(request.as_bytes()).await.unwrap();
            assert_eq!(statuses(&one(&mut stream).await), ["202"]);
            assert!(daemon.submitted().await[0].body == body.as_bytes());
        }
    });
}

#[test]
fn bytes_behind_a_refused_request_are_never_taken_for_another() {
    with(SETTINGS, |address, daemon| async move {
        for bad in [
            "GET / HTTP/1.1\n\n".to_owned(),
            post("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
            post("Transfer-Encoding: chunked\r\n", "0x1\r\na\r\n"),
            "CONNECT b:80 HTTP/1.1\r\nHost: b\r\n\r\n".to_owned(),
            post("Connection: close\r\n", ""),
        ] {
            let mut stream = connect(address).await;
            stream.write_all((bad + &sized("never")).as_bytes()).await.unwrap();
            let answer = rest(&mut stream).await;
            assert_eq!(statuses(&answer).len(), 1, "{answer}");
            assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
            assert!(daemon.submitted().await.iter().all(|message| message.body != b"never"));
        }
    });
}

#[test]
fn a_refusal_before_a_large_body_is_seen_by_a_client_that_sends_it_all_first() {
    with(SETTINGS, |address, _| async move {
        let mut stream = connect(address).await;
        stream.write_all(sized(&"x".repeat(3 << 20)).as_bytes()).await.unwrap();
        assert_eq!(statuses(&rest(&mut stream).await), ["413"]);
        let mut stream = connect(address).await;
        let huge = post("Transfer-Encoding: chunked\r\n", &format!("{:x}\r\n{}", 3 << 20, "x".repeat(3 << 20)));
        stream.write_all(huge.as_bytes()).await.unwrap();
        assert_eq!(statuses(&rest(&mut stream).await), ["413"]);
    });
}

#[test]
fn a_connection_survives_a_refusal_with_a_short_body() {
    with(SETTINGS, |address, daemon| async move {
        let mut stream = connect(address).await;
        stream.write_all(post("X-Dispatcher-Typo: 1\r\nContent-Length: 3\r\n", "abc").as_bytes()).await.unwrap();
        assert_eq!(statuses(&one(&mut stream).await), ["400"]);
        let held = daemon.shard.memory().small_messages().try_take(MEMORY_MAX).unwrap();
        stream.write_all(sized("abc").as_bytes()).await.unwrap();
        let answer = one(&mut stream).await;
        assert!(statuses(&answer) == ["503"] && answer.contains("\r\nRetry-After: 1\r\n"), "{answer}");
        assert!(answer.contains("\"type\":\"urn:dispatcher:problem:memory\""), "{answer}");
        drop(held);
        stream.write_all(sized("abc").as_bytes()).await.unwrap();
        assert_eq!(statuses(&one(&mut stream).await), ["202"]);
        assert_eq!(daemon.counted("refused_total{reason=\"control_header\"}"), 1);
        assert_eq!(daemon.counted("refused_total{reason=\"memory\"}"), 1);
    });
}

#[test]
fn an_expectation_is_met_after_earlier_answers_and_only_if_the_body_is_awaited() {
    with(SETTINGS, |address, _| async move {
        let mut stream = connect(address).await;
        let expecting = post("Expect: 100-continue\r\nContent-Length: 3\r\n", "");
        stream.write_all((sized("x") + &expecting).as_bytes()).await.unwrap();
        assert_eq!(statuses(&one(&mut stream).await), ["202"]);
        assert_eq!(one(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"abc").await.unwrap();
        assert_eq!(statuses(&one(&mut stream).await), ["202"]);
        stream.write_all((expecting + "abc").as_bytes()).await.unwrap();
        assert_eq!(statuses(&one(&mut stream).await), ["202"]);
        let denied = post("Expect: 100-continue\r\nContent-Length: 3\r\nX-Dispatcher-Typo: 1\r\n", "");
        stream.write_all(denied.as_bytes()).await.unwrap();
        assert_eq!(statuses(&rest(&mut stream).await), ["400"]);
    });
}

#[test]
fn slow_heads_and_bodies_get_408_and_idle_connections_are_closed() {
    let quick = Millis(100);
    let settings = Settings { head_timeout: quick, body_timeout: quick, idle_timeout: quick, ..SETTINGS };
    with(settings, |address, _| async move {
        for (bytes, expected) in [
            ("".to_owned(), vec![]),
            ("\r\n".to_owned(), vec![]),
            ("GET / HT".to_owned(), vec!["408"]),
            (post("Content-Length: 3\r\n", "a"), vec!["408"]),
            (post("Transfer-Encoding: chunked\r\n", "5\r\nab"), vec!["408"]),
            (sized("x"), vec!["202"]),
        ] {
            let mut stream = connect(address).await;
            stream.write_all(bytes.as_bytes()).await.unwrap();
            assert_eq!(statuses(&rest(&mut stream).await), expected, "{bytes:?}");
        }
    });
}

#[test]
fn a_head_that_has_to_wait_for_memory_gets_no_more_time_for_that() {
    let rules = Rules { head_bytes_max: 64 << 10, ..SETTINGS.rules };
    with(Settings { rules, head_timeout: Millis(2000), ..SETTINGS }, |address, daemon| async move {
        let mut waiting = connect(address).await;
        let begin = format!("GET / HTTP/1.1\r\nHost: a\r\nA: {}", "a".repeat(10 << 10));
        waiting.write_all(begin.as_bytes()).await.unwrap();
        let later = async {
            tokio::time::sleep(Duration::from_millis(700)).await;
            let mut later = connect(address).await;
            later.write_all(b"GET").await.unwrap();
            rest(&mut later).await
        };
        let first = async {
            tokio::time::sleep(Duration::from_millis(1400)).await;
            let held = daemon.shard.memory().large_messages().try_take(MEMORY_MAX).unwrap();
            waiting.write_all(begin.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
            drop(held);
            rest(&mut waiting).await
        };
        tokio::select! {
            biased;
            _ = later => panic!("whoever began later has less time"),
            answer = first => assert_eq!(statuses(&answer), ["408"]),
        }
    });
}

#[test]
fn a_half_closed_client_gets_its_answer_and_a_truncated_request_its_refusal() {
    with(SETTINGS, |address, _| async move {
        for (bytes, expected) in [
            (sized("x"), vec!["202"]),
            ("GET / HTTP/1.1\r\nHo".to_owned(), vec!["400"]),
            (post("Content-Length: 3\r\n", "a"), vec!["400"]),
            (String::new(), vec![]),
        ] {
            let mut stream = connect(address).await;
            stream.write_all(bytes.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            assert_eq!(statuses(&rest(&mut stream).await), expected, "{bytes:?}");
        }
    });
}

#[test]
fn draining_closes_idle_connections_and_says_so_in_the_last_answer() {
    with(SETTINGS, |address, daemon| async move {
        let (mut idle, mut busy, mut late) = (connect(address).await, connect(address).await, connect(address).await);
        idle.write_all(sized("x").as_bytes()).await.unwrap();
        one(&mut idle).await;
        // What begins together with an answered request has been read when the answer comes.
        late.write_all((sized("x") + "POST / HTTP/1.1\r\n").as_bytes()).await.unwrap();
        one(&mut late).await;
        busy.write_all(post("Expect: 100-continue\r\nContent-Length: 3\r\n", "").as_bytes()).await.unwrap();
        assert_eq!(statuses(&one(&mut busy).await), ["100"]);
        busy.write_all(b"a").await.unwrap();
        daemon.shard.start_draining();
        assert_eq!(rest(&mut idle).await, "");
        busy.write_all(b"bc").await.unwrap();
        let answer = rest(&mut busy).await;
        assert!(statuses(&answer) == ["202"] && answer.contains("\r\nConnection: close\r\n"), "{answer}");
        late.write_all(b"Host: a\r\nX-Dispatcher-Origin-Host: b\r\n\r\n").await.unwrap();
        assert_eq!(statuses(&rest(&mut late).await), ["503"]);
        assert!(TcpStream::connect(address).await.is_err(), "the listener is closed");
    });
}

#[test]
fn at_the_connection_limit_the_oldest_idle_one_makes_room_and_busy_ones_do_not() {
    with(Settings { connections_max: 2, ..SETTINGS }, |address, daemon| async move {
        let mut first = connect(address).await;
        while daemon.connections() < 1 {
            tokio::task::yield_now().await;
        }
        let mut busy = [connect(address).await, connect(address).await];
        assert_eq!(rest(&mut first).await, "");
        for stream in &mut busy {
            stream.write_all(post("Expect: 100-continue\r\nContent-Length: 1\r\n", "").as_bytes()).await.unwrap();
            assert_eq!(statuses(&one(stream).await), ["100"]);
        }
        let answer = rest(&mut connect(address).await).await;
        assert!(statuses(&answer) == ["503"] && answer.contains("\r\nRetry-After: "), "{answer}");
        for stream in &mut busy {
            stream.write_all(b"x").await.unwrap();
            assert_eq!(statuses(&one(stream).await), ["202"]);
        }
    });
}

#[test]
fn http_1_0_is_closed_unless_it_asks_otherwise_and_head_gets_no_content() {
    with(SETTINGS, |address, _| async move {
        let mut stream = connect(address).await;
        stream.write_all(b"GET /-/ready HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").await.unwrap();
        let answer = one(&mut stream).await;
        assert!(answer.contains("\r\nConnection: keep-alive\r\n") && answer.ends_with("ready\n"), "{answer}");
        stream.write_all(b"HEAD /-/healthy HTTP/1.0\r\n\r\n").await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.contains("Content-Length: 8\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    });
}

#[test]
fn requests_that_come_faster_than_they_are_served_are_told_to_come_again_and_nothing_else_is() {
    with(SETTINGS, |address, daemon| async move {
        let taken: Vec<_> = std::iter::from_fn(|| daemon.seats.try_take()).collect();
        let mut stream = connect(address).await;
        stream.write_all(sized("one").as_bytes()).await.unwrap();
        let answer = one(&mut stream).await;
        assert_eq!(statuses(&answer), ["503"], "{answer}");
        assert!(answer.contains("\r\nRetry-After: 1\r\n") && answer.contains("problem:overload"), "{answer}");
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        assert_eq!(statuses(&one(&mut stream).await), ["200"]);
        drop(taken);
        stream.write_all(sized("two").as_bytes()).await.unwrap();
        assert_eq!(statuses(&one(&mut stream).await), ["202"]);
        let bodies: Vec<_> = daemon.submitted().await.into_iter().map(|message| message.body).collect();
        assert_eq!((bodies, daemon.counted("refused_total{reason=\"overload\"}")), (vec![b"two".to_vec()], 1));
    });
}

#[test]
fn a_connection_that_only_waits_for_its_peer_to_end_has_no_seat() {
    with(SETTINGS, |address, daemon| async move {
        // As many as are taken at a time, so that the end is found in a turn in which nothing is due.
        let requests = sized("x").repeat(PIPELINE_MAX - 1) + "GET / HTTP/1.1\n\n" + "more";
        let mut stream = connect(address).await;
        stream.write_all(requests.as_bytes()).await.unwrap();
        assert_eq!(statuses(&rest(&mut stream).await).last(), Some(&"400"));
        assert_eq!(daemon.connections(), 1, "it still reads what the peer may send");
        let free: Vec<_> = std::iter::from_fn(|| daemon.seats.try_take()).collect();
        assert_eq!(free.len(), SEATS_MAX);
    });
}
