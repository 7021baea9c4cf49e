//! Who may use the data listener: tokens, where they are asked for, and that nobody else is told of them.

use std::fs;
use std::path::Path;

use rustix::process::Signal;

use crate::support::{Answer, Client, DEADLINE, Origin, on_both, run};
use dispatcher::time::monotonic_now;

const TOKEN: &str = "a-token.of_A~0123+/=";
const OTHER: &str = "another-token-0123456789";
const ONE: &[(&str, &str)] = &[("AUTH_TOKEN", TOKEN)];

/// A request for `origin` with `fields`, and a body of three bytes.
fn post(origin: &Origin, fields: &str) -> String {
    format!(
        "POST /p HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {}\r\n{fields}Content-Length: 3\r\n\r\nabc",
        origin.address
    )
}

/// The field with this token.
fn bearing(token: &str) -> String {
    format!("X-Dispatcher-Authorization: Bearer {token}\r\n")
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

/// A 401 is a problem that asks for a token and shows none.
#[track_caller]
fn assert_unauthorized(answer: &Answer, name: &str) {
    assert_eq!(answer.status, 401, "{name}: {}", answer.head);
    assert_eq!(answer.field("WWW-Authenticate"), Some("Bearer realm=\"dispatcher\""), "{name}");
    assert_eq!(answer.field("Content-Type"), Some("application/problem+json"), "{name}");
    let problem = answer.json();
    assert_eq!(problem["type"], "urn:dispatcher:problem:unauthorized", "{name}: {problem}");
    assert_eq!(problem["header"], "X-Dispatcher-Authorization", "{name}: {problem}");
    assert!(problem.get("value").is_none() && !answer.text().contains("oken-"), "{name}: {problem}");
}

#[test]
fn who_brings_no_known_token_gets_401_and_nothing_of_it_is_stored() {
    on_both(ONE, |daemon| {
        let origin = Origin::start();
        let (right, wrong) = (bearing(TOKEN), bearing("not-a-token-0123456789"));
        let cases = [
            ("none", String::new()),
            ("a wrong one", wrong.clone()),
            ("a longer one", bearing(&format!("{TOKEN}0"))),
            ("a shorter one", bearing(&TOKEN[1..])),
            ("none behind the scheme", bearing("")),
            ("another scheme", right.replace("Bearer", "Basic")),
            ("no scheme", right.replace("Bearer ", "")),
            ("twice the right one", right.repeat(2)),
            ("a right one and a wrong one", [right.clone(), wrong.clone()].concat()),
            ("the right one where the destination's belongs", format!("Authorization: Bearer {TOKEN}\r\n")),
            ("besides an unknown control field", "X-Dispatcher-Token-: x\r\n".to_owned()),
            ("besides a wrong timeout", "X-Dispatcher-Timeout: 0\r\n".to_owned()),
        ];
        // All on one connection, between requests that are taken.
        let mut client = daemon.connect();
        for (name, fields) in &cases {
            client.send([post(&origin, fields), post(&origin, &right)].concat());
            let answer = client.answer();
            assert_unauthorized(&answer, name);
            assert!(!answer.closes(), "{name}: {}", answer.head);
            origin.received(&client.answer().message_id());
        }
        let strange = [
            ("a denied destination", post(&origin, "").replace(&origin.address.to_string(), "169.254.169.254")),
            ("the daemon itself", post(&origin, "").replace(&origin.address.to_string(), &daemon.data.to_string())),
            ("what is no destination", post(&origin, "").replace(&origin.address.to_string(), "u:p@b")),
            ("none of our paths", get("/x", "")),
            (
                "a path of ours for another",
                get("/-/ready", &format!("X-Dispatcher-Origin-Host: {}\r\n", origin.address)),
            ),
            ("metrics", get("/metrics", "")),
        ];
        for (name, request) in &strange {
            client.send(request);
            assert_unauthorized(&client.answer(), name);
        }
        let refused = (cases.len() + strange.len()) as f64;
        daemon.assert_metric("dispatcher_refused_total{reason=\"unauthorized\"}", refused);
        daemon.assert_metric("dispatcher_accepted_total", cases.len() as f64);
        assert_eq!(origin.requests().len(), cases.len());
    });
}

#[test]
fn a_stranger_costs_a_connection_only_where_the_end_of_the_request_is_far_or_unsure() {
    on_both(ONE, |daemon| {
        let origin = Origin::start();
        let long = post(&origin, "").replace("Length: 3", "Length: 5000");
        let over = post(&origin, "").replace("Length: 3", "Length: 99999999");
        let chunked = post(&origin, "").replace("Content-Length: 3", "Transfer-Encoding: chunked");
        for (name, request) in [
            ("a long body", long),
            ("a body over MAX_BODY", over),
            ("chunks", chunked),
            ("a body that waits for leave", post(&origin, "Expect: 100-continue\r\n")),
        ] {
            let mut client = daemon.connect();
            client.send([request, post(&origin, &bearing(TOKEN))].concat());
            // Were it a 100, it would be no 401.
            let answer = client.answer();
            assert_unauthorized(&answer, name);
            assert!(answer.closes() && client.is_closed(), "{name}");
        }
        // Framing comes first, whoever sends.
        let mut client = daemon.connect();
        client.send(post(&origin, "Content-Length: 4\r\n"));
        assert_eq!((client.answer().status, client.is_closed()), (400, true));
        // Leave is given to who may send.
        let mut client = daemon.connect();
        let waiting = post(&origin, &["Expect: 100-continue\r\n", &bearing(TOKEN)].concat());
        client.send(waiting.strip_suffix("abc").unwrap());
        assert_eq!(client.answer_to("HEAD").status, 100);
        client.send("abc");
        origin.received(&client.answer().message_id());
        assert_eq!(origin.requests().len(), 1);
    });
}

#[test]
fn a_head_without_a_token_is_told_so_without_content() {
    on_both(ONE, |daemon| {
        let mut client = daemon.connect();
        client.send(get("/x", "").replace("GET", "HEAD"));
        let answer = client.answer_to("HEAD");
        assert_eq!((answer.status, answer.closes()), (401, false), "{}", answer.head);
        assert_eq!(client.get("/-/healthy").status, 200);
    });
}

#[test]
fn health_is_open_to_load_balancers_and_metrics_to_who_brings_the_token_in_either_field() {
    on_both(ONE, |daemon| {
        let mut client = daemon.connect();
        let wrong = bearing(OTHER);
        let plain = format!("Authorization: Bearer {TOKEN}\r\n");
        for (path, fields, status) in [
            ("/-/healthy", "", 200),
            ("/-/ready", "", 200),
            ("/-/ready", &*wrong, 200),
            ("/metrics", &bearing(TOKEN), 200),
            ("/metrics", &plain.replace("Bearer", "bearer"), 200),
            ("/metrics", &plain.repeat(2), 401),
            ("/metrics", &[&*wrong, &*plain].concat(), 401),
            ("/metrics", &wrong, 401),
            ("/-/healthy", "X-Dispatcher-Timeot: 1\r\n", 401),
        ] {
            client.send(get(path, fields));
            assert_eq!(client.answer().status, status, "{path} {fields}");
        }
        // The admin listener has a token of its own.
        assert_eq!(Client::connect(daemon.admin).get("/metrics").status, 200);
    });
}

#[test]
fn the_token_is_never_sent_on_and_the_destinations_own_authorization_is() {
    for variables in [ONE, &[]] {
        on_both(variables, |daemon| {
            let origin = Origin::start();
            let fields = format!("authorization: Basic eA==\r\nx-dispatcher-AUTHORIZATION:   bearer   {TOKEN}\r\n");
            let mut client = daemon.connect();
            client.send(post(&origin, &fields));
            let received = origin.received(&client.answer().message_id());
            let received = String::from_utf8(received).unwrap();
            assert!(received.contains("\r\nauthorization: Basic eA==\r\n"), "{received}");
            let lower = received.to_ascii_lowercase();
            assert!(!lower.contains("x-dispatcher-auth") && !received.contains(TOKEN), "{received}");
            let log = daemon.directory.path().join("log");
            let stored = run(&daemon.directory, &[], &["log", "cat", "--heads", "--bodies", log.to_str().unwrap()]);
            assert_eq!(stored.code, Some(0), "{stored:?}");
            assert!(stored.stdout.contains("Basic eA==") && !stored.stdout.contains(TOKEN), "{}", stored.stdout);
        });
    }
}

/// Waits until a request with this token is answered so.
#[track_caller]
fn until_status(client: &mut Client, token: &str, status: u16) {
    let start = monotonic_now();
    loop {
        client.send(get("/metrics", &bearing(token)));
        let answer = client.answer().status;
        if answer == status {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "{answer} instead of {status}");
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
}

#[test]
fn tokens_are_rotated_by_a_hangup_also_on_connections_that_are_open() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    let both = format!("# both hold\n{TOKEN}\n\n{OTHER}\n");
    write(&file, &both);
    on_both(&[("AUTH_TOKEN_FILE", file.to_str().unwrap())], |daemon| {
        let (mut old, mut new) = (daemon.connect(), daemon.connect());
        until_status(&mut old, TOKEN, 200);
        until_status(&mut new, OTHER, 200);
        write(&file, &format!("{OTHER}\n"));
        daemon.signal(Signal::HUP);
        until_status(&mut old, TOKEN, 401);
        until_status(&mut old, OTHER, 200);
        until_status(&mut new, OTHER, 200);
        // None of these opens the door or shuts it.
        for text in ["", "# nothing\n", "short\n", &format!("{TOKEN}\nshort\n"), &"x\n".repeat(100_000)] {
            write(&file, text);
            let failures = daemon.log_lines("not reloaded").len();
            daemon.signal(Signal::HUP);
            daemon.log_lines_until("not reloaded", failures + 1);
            until_status(&mut new, OTHER, 200);
            until_status(&mut old, TOKEN, 401);
        }
        for line in daemon.log_lines("") {
            assert!(![TOKEN, OTHER, "short"].iter().any(|secret| line.contains(secret)), "{line}");
        }
        write(&file, &both);
    });
}

#[test]
fn tokens_that_cannot_be_used_stop_the_start_and_are_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tokens");
    let path = file.to_str().unwrap();
    for (text, variables, expected) in [
        ("", &[("AUTH_TOKEN_FILE", path)][..], "it holds no token"),
        ("a-sec ret-0123456789\n", &[("AUTH_TOKEN_FILE", path)], "line 1 is not a token"),
        ("", &[("AUTH_TOKEN_FILE", "/nowhere/tokens")], "No such file"),
        ("", &[("AUTH_TOKEN", "a-sec ret-0123456789")], "AUTH_TOKEN=\"…\": expected 16 to 512"),
        ("", &[("AUTH_TOKEN", "short")], "AUTH_TOKEN=\"…\": expected 16 to 512"),
        (TOKEN, &[("AUTH_TOKEN", TOKEN), ("AUTH_TOKEN_FILE", path)], "set one of the two"),
    ] {
        write(&file, text);
        let ended = run(&directory, variables, &[]);
        assert_eq!((ended.code, ended.stderr.len()), (Some(2), 1), "{ended:?}");
        let line = &ended.stderr[0];
        assert!(line.contains(expected) && line.contains("AUTH_TOKEN"), "{line}");
        assert!(![TOKEN, "ret-0123", "short"].iter().any(|secret| line.contains(secret)), "{line}");
    }
}
