//! What a refusal tells its client beyond the status: see the table for what is refused.

use crate::support::{Answer, Origin, on_both};

/// Every error is a problem (RFC 9457) that repeats its status.
#[track_caller]
fn assert_problem(answer: &Answer, status: u16, name: &str) -> serde_json::Value {
    assert_eq!(answer.status, status, "{name}: {} {}", answer.head, answer.text());
    assert_eq!(answer.field("Content-Type"), Some("application/problem+json"), "{name}");
    assert!(answer.field("X-Dispatcher-Message-Id").is_none(), "{name}");
    let problem = answer.json();
    assert_eq!(problem["status"], status, "{name}: {problem}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{name}: {member} in {problem}");
    }
    problem
}

#[test]
fn without_an_origin_the_answer_shows_a_command_that_works() {
    on_both(&[], |daemon| {
        let answer = daemon.connect().get("/some/path?q=1");
        let detail = assert_problem(&answer, 400, "no origin")["detail"].as_str().unwrap().to_owned();
        for part in ["curl ", "-X 'GET'", "-H 'X-Dispatcher-Origin-Host: ", "'http://localhost/some/path'"] {
            assert!(detail.contains(part), "{part} in {detail}");
        }
    });
}

#[test]
fn a_refused_head_has_no_body_in_its_answer() {
    on_both(&[], |daemon| {
        let origin = Origin::start();
        let mut client = daemon.connect();
        client.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.answer_to("HEAD");
        assert_eq!((answer.status, answer.closes()), (400, false));
        assert!(answer.field("Content-Length").is_some_and(|length| length != "0"), "{}", answer.head);
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {}\r\n\r\n", origin.address));
        client.answer().message_id();
    });
}
