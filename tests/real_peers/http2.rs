//! nginx over HTTP/2, agreed on by ALPN: its limits on streams and requests, its answers, and its reload.

use dispatcher::schedule::attempt::Failure;

use crate::common::daemon::Daemon;
use crate::common::run;
use crate::messages::{assert_none_dead, burst, letter, send};
use crate::nginx::{Nginx, Seen, assert_exactly_once_at_first, delivered};
use crate::tls::Certificate;

/// Fails unless each of `ids` was delivered once, whatever the attempt, over HTTP/2.
#[track_caller]
fn assert_exactly_once(seen: &[Seen], ids: &[String]) {
    let mut got: Vec<&str> = delivered(seen).map(|seen| seen.id.as_str()).collect();
    let mut wanted: Vec<&str> = ids.iter().map(String::as_str).collect();
    got.sort_unstable();
    wanted.sort_unstable();
    assert!(got == wanted, "{} deliveries of {} messages", got.len(), wanted.len());
    assert!(delivered(seen).all(|seen| seen.protocol == "HTTP/2.0"));
}

async fn start(certificate: &Certificate, server: &str) -> Option<(Nginx, tempfile::TempDir, Daemon)> {
    let nginx = certificate.nginx("ssl http2", server).await?;
    let dir = tempfile::tempdir().unwrap();
    let variables = [("TLS_CA", certificate.path()), ("MAX_BODY", "12MiB".into()), ("SEGMENT_BYTES", "32MiB".into())];
    let daemon = Daemon::start(dir.path(), &variables.each_ref().map(|(name, value)| (*name, value.as_str()))).await;
    Some((nginx, dir, daemon))
}

#[test]
fn a_server_that_offers_http_2_gets_many_messages_at_once_over_few_connections() {
    run(async {
        let certificate = Certificate::new();
        let Some((nginx, dir, daemon)) = start(&certificate, "return 200 taken;").await else { return };
        let ids = burst(&daemon, &format!("https://{}", nginx.host()), 16, 25).await;
        nginx.until_delivered(&ids).await;
        assert_none_dead(&daemon, dir.path()).await;
        let seen = nginx.seen();
        assert_exactly_once(&seen, &ids);
        assert_exactly_once_at_first(&nginx, &ids);
        daemon.stop().await;
    });
}

#[test]
fn limits_of_nginx_on_streams_and_requests_of_a_connection_cost_no_message_and_repeat_none() {
    run(async {
        for server in [
            "http2_max_concurrent_streams 2; return 200 taken;",
            "location / { keepalive_requests 3; return 200 taken; }",
        ] {
            let certificate = Certificate::new();
            let Some((nginx, dir, daemon)) = start(&certificate, server).await else { return };
            let ids = burst(&daemon, &format!("https://{}", nginx.host()), 16, 10).await;
            nginx.until_delivered(&ids).await;
            assert_none_dead(&daemon, dir.path()).await;
            assert_exactly_once(&nginx.seen(), &ids);
            daemon.stop().await;
        }
    });
}

#[test]
fn over_http_2_a_body_that_is_too_large_for_nginx_is_an_answer_and_not_a_reset() {
    run(async {
        let certificate = Certificate::new();
        let server = "client_max_body_size 1k; location / { proxy_pass http://127.0.0.1:1; }";
        let Some(nginx) = certificate.nginx("ssl http2", server).await else { return };
        let (dir, ca) = (tempfile::tempdir().unwrap(), certificate.path());
        let variables = [("RETRYLIMIT", "0"), ("TLS_CA", &ca), ("MAX_BODY", "12MiB"), ("SEGMENT_BYTES", "32MiB")];
        let daemon = Daemon::start(dir.path(), &variables).await;
        let host = format!("https://{}", nginx.host());
        let id = send(&mut daemon.sender().await, &host, "POST /in", "", &vec![b'l'; 10 << 20]).await;
        let letter = letter(dir.path(), &id).await;
        assert_eq!((letter.class, letter.status), (Failure::Http4xx, Some(413)), "{letter:?}");
        daemon.stop().await;
    });
}

#[test]
fn over_http_2_a_reload_of_nginx_under_load_costs_no_message_and_repeats_none() {
    run(async {
        let certificate = Certificate::new();
        let Some((nginx, dir, daemon)) = start(&certificate, "return 200 taken;").await else { return };
        let (host, mut ids) = (format!("https://{}", nginx.host()), Vec::new());
        for _ in 0..3 {
            let (more, ()) = tokio::join!(burst(&daemon, &host, 8, 40), nginx.reload());
            ids.extend(more);
        }
        nginx.until_delivered(&ids).await;
        assert_none_dead(&daemon, dir.path()).await;
        assert_exactly_once(&nginx.seen(), &ids);
        daemon.stop().await;
    });
}
