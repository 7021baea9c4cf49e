//! What nginx refuses: the class and status that come of it, what is kept of its answer, and what is sent again.

use std::path::Path;

use dispatcher::schedule::attempt::Failure;

use crate::common::daemon::Daemon;
use crate::common::run;
use crate::messages::{Letter, assert_none_dead, burst, letter, send};
use crate::nginx::{Nginx, Setup, delivered};

/// A daemon that gives up after one attempt and takes large messages.
async fn without_retries(dir: &Path) -> Daemon {
    let variables = [("RETRYLIMIT", "0"), ("MAX_BODY", "12MiB"), ("MAX_HEAD", "64KiB"), ("SEGMENT_BYTES", "32MiB")];
    Daemon::start(dir, &variables).await
}

/// Sends one message that is refused.
async fn refused(nginx: &Nginx, line: &str, fields: &str, body: &[u8]) -> Letter {
    let dir = tempfile::tempdir().unwrap();
    let daemon = without_retries(dir.path()).await;
    let id = send(&mut daemon.sender().await, &nginx.host(), line, fields, body).await;
    let letter = letter(dir.path(), &id).await;
    daemon.until_idle().await;
    daemon.stop().await;
    letter
}

#[track_caller]
fn assert_is(letter: &Letter, class: Failure, status: u16, page: &str) {
    assert_eq!((letter.class, letter.status), (class, Some(status)), "{letter:?}");
    let answer = String::from_utf8_lossy(&letter.answer);
    assert!(answer.contains(page), "{page:?} in {answer:?}");
}

/// nginx answers when it has read the head; then it reads on for a while (lingering close), or resets the connection.
#[test]
fn a_body_that_is_too_large_for_nginx_is_an_answer_and_not_a_reset_although_it_is_still_being_sent() {
    run(async {
        for lingering in ["on", "always", "off"] {
            let server = format!("client_max_body_size 1k; lingering_close {lingering}; return 200;");
            let server = server.replace("return 200;", "location / { proxy_pass http://127.0.0.1:1; }");
            let Some(nginx) = Nginx::start(&server).await else { return };
            let letter = refused(&nginx, "POST /in", "", &vec![b'l'; 10 << 20]).await;
            assert_is(&letter, Failure::Http4xx, 413, "413 Request Entity Too Large");
        }
    });
}

#[test]
fn what_nginx_answers_in_place_of_a_page_is_kept_with_the_dead_letter() {
    run(async {
        let server = "location /missing { return 404; } location /broken { return 500; } \
            location /down { proxy_pass http://127.0.0.1:1; } location /forbidden { deny all; } \
            location /chunked { ssi on; ssi_types text/plain; return 503 'busy: <!--# echo var=\"request_method\" -->'; }";
        let Some(nginx) = Nginx::start(server).await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = without_retries(dir.path()).await;
        let mut sender = daemon.sender().await;
        for (target, class, status, page) in [
            ("missing", Failure::Http4xx, 404, "<center><h1>404 Not Found</h1></center>"),
            ("forbidden", Failure::Http4xx, 403, "<title>403 Forbidden</title>"),
            ("broken", Failure::Http5xx, 500, "<title>500 Internal Server Error</title>"),
            ("down", Failure::Http5xx, 502, "<title>502 Bad Gateway</title>"),
            ("chunked", Failure::Http5xx, 503, "busy: POST"),
        ] {
            let id = send(&mut sender, &nginx.host(), &format!("POST /{target}"), "", b"a body").await;
            assert_is(&letter(dir.path(), &id).await, class, status, page);
        }
        daemon.stop().await;
    });
}

#[test]
fn a_redirect_is_a_failure_and_is_not_followed() {
    run(async {
        let server = "location /old { return 301 /new; } location /new { return 200; }";
        let Some(nginx) = Nginx::start(server).await else { return };
        let letter = refused(&nginx, "GET /old", "", b"").await;
        assert_is(&letter, Failure::Http3xx, 301, "301 Moved Permanently");
        let targets: Vec<String> = nginx.seen().into_iter().map(|seen| seen.target).collect();
        assert_eq!(targets, ["/old"]);
    });
}

#[test]
fn a_head_that_is_too_large_for_nginx_is_an_answer_and_not_a_reset() {
    run(async {
        let Some(nginx) = Nginx::start("large_client_header_buffers 4 4k; return 200;").await else { return };
        let field = format!("X-Large: {}\r\n", "l".repeat(20_000));
        let letter = refused(&nginx, "POST /in", &field, &vec![b'b'; 1 << 20]).await;
        assert_is(&letter, Failure::Http4xx, 400, "Request Header Or Cookie Too Large");
        let letter = refused(&nginx, &format!("POST /{}", "t".repeat(7_000)), "", b"").await;
        assert_is(&letter, Failure::Http4xx, 414, "414 Request-URI Too Large");
    });
}

#[test]
fn a_request_in_asterisk_form_reaches_nginx_as_it_is_and_gets_its_verdict() {
    run(async {
        let Some(nginx) = Nginx::start("return 200;").await else { return };
        let letter = refused(&nginx, "OPTIONS *", "", b"").await;
        assert_is(&letter, Failure::Http4xx, 400, "400 Bad Request");
        assert_eq!(nginx.seen().len(), 1);
    });
}

#[test]
fn a_connection_closed_without_an_answer_is_a_reset_and_the_message_is_sent_again_marked() {
    run(async {
        let server = "if ($http_x_dispatcher_attempt = 1) { return 444; } return 200;";
        let Some(nginx) = Nginx::start(server).await else { return };
        let dir = tempfile::tempdir().unwrap();
        let daemon = Daemon::start(dir.path(), &[]).await;
        let ids = [daemon.sender().await.post(&nginx.host(), b"twice").await];
        nginx.until_delivered(&ids).await;
        assert_none_dead(&daemon, dir.path()).await;
        let seen: Vec<_> = nginx.seen().into_iter().map(|s| (s.attempt, s.maybe_duplicate, s.status)).collect();
        assert_eq!(seen, [(1, false, 444), (2, true, 200)]);
        assert_eq!(daemon.metric("attempts_total{class=\"reset\"}").await, 1.0);
        daemon.stop().await;
    });
}

#[test]
fn a_server_that_limits_its_rate_gets_each_message_once_it_lets_it_in() {
    run(async {
        for status in [429, 503] {
            let http = "limit_req_zone $server_port zone=all:32k rate=100r/s;";
            // The limit stands before files only: there is none, and that is taken for success.
            let server = format!(
                "location / {{ limit_req zone=all; limit_req_status {status}; error_page 404 =200 @taken; }} \
                 location @taken {{ return 200; }}"
            );
            let setup = Setup { http, server: &server, ..Setup::default() };
            let Some(nginx) = Nginx::start_with(&setup).await else { return };
            let dir = tempfile::tempdir().unwrap();
            let daemon = Daemon::start(dir.path(), &[("BREAKER_PROBE_MAX", "100ms")]).await;
            let ids = burst(&daemon, &nginx.host(), 16, 4).await;
            nginx.until_delivered(&ids).await;
            assert_none_dead(&daemon, dir.path()).await;
            let seen = nginx.seen();
            assert!(seen.iter().any(|seen| seen.status == status), "the limit is met");
            assert_eq!(delivered(&seen).count(), ids.len(), "each is let in once");
            assert!(seen.iter().all(|seen| !seen.maybe_duplicate), "an answer came to each attempt");
            daemon.stop().await;
        }
    });
}
