//! nginx behind TLS: trusted by `TLS_CA`, not trusted, spoken to in clear, and asking for a certificate.

use dispatcher::schedule::attempt::Failure;

use crate::common::daemon::Daemon;
use crate::common::run;
use crate::messages::{assert_none_dead, burst, letter};
use crate::nginx::{Nginx, Setup, assert_exactly_once_at_first, delivered};

/// Files of a certificate for loopback.
pub struct Certificate {
    dir: tempfile::TempDir,
}

impl Certificate {
    /// A new one.
    pub fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("certificate.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self { dir }
    }

    /// For `TLS_CA`.
    pub fn path(&self) -> String {
        self.dir.path().join("certificate.pem").to_str().unwrap().to_owned()
    }

    /// An nginx that uses it; `listen` is how it speaks.
    pub async fn nginx(&self, listen: &str, server: &str) -> Option<Nginx> {
        let dir = self.dir.path().display();
        let server = format!("ssl_certificate {dir}/certificate.pem; ssl_certificate_key {dir}/key.pem; {server}");
        Nginx::start_with(&Setup { listen, server: &server, ..Setup::default() }).await
    }
}

#[test]
fn over_tls_a_server_that_closes_after_every_third_request_gets_each_message_once_and_at_the_first_attempt() {
    run(async {
        for further in ["", "ssl_protocols TLSv1.2;", "keepalive_timeout 2ms;"] {
            let certificate = Certificate::new();
            let server = format!("{further} location / {{ keepalive_requests 3; return 200 taken; }}");
            let Some(nginx) = certificate.nginx("ssl", &server).await else { return };
            let dir = tempfile::tempdir().unwrap();
            let daemon = Daemon::start(dir.path(), &[("TLS_CA", &certificate.path())]).await;
            let ids = burst(&daemon, &format!("https://{}", nginx.host()), 4, 25).await;
            nginx.until_delivered(&ids).await;
            assert_none_dead(&daemon, dir.path()).await;
            assert_exactly_once_at_first(&nginx, &ids);
            assert!(delivered(&nginx.seen()).all(|seen| seen.protocol == "HTTP/1.1"));
            daemon.stop().await;
        }
    });
}

#[test]
fn each_mismatch_of_tls_and_clear_text_has_its_class() {
    run(async {
        let certificate = Certificate::new();
        let Some(encrypted) = certificate.nginx("ssl", "return 200;").await else { return };
        let Some(asking) = certificate
            .nginx(
                "ssl",
                "ssl_verify_client on; ssl_client_certificate CA; return 200;"
                    .replace("CA", &certificate.path())
                    .as_str(),
            )
            .await
        else {
            return;
        };
        let Some(clear) = Nginx::start("return 200;").await else { return };
        let ca = certificate.path();
        for (scheme, nginx, ca, class, status) in [
            ("https", &encrypted, "", Failure::Tls, None),
            ("https", &clear, ca.as_str(), Failure::Tls, None),
            ("http", &encrypted, ca.as_str(), Failure::Http4xx, Some(400)),
            ("https", &asking, ca.as_str(), Failure::Http4xx, Some(400)),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let daemon = Daemon::start(dir.path(), &[("RETRYLIMIT", "0"), ("TLS_CA", ca)]).await;
            let id = daemon.sender().await.post(&format!("{scheme}://{}", nginx.host()), b"secret").await;
            let letter = letter(dir.path(), &id).await;
            assert_eq!((letter.class, letter.status), (class, status), "{scheme}: {letter:?}");
            daemon.stop().await;
        }
    });
}
