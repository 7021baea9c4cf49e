//! curl as a client, whose TLS is not ours. Without it the test is left out and says so on stderr; with
//! `REAL_PEERS=required` it fails.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::Command;

use crate::support::tls::Authority;
use crate::support::{BACKENDS, Daemon, Origin, TLS_VARIABLES};

/// What curl got, or why it got nothing; `None` if there is no curl.
fn curl(folder: &Path, arguments: &[&str]) -> Option<Result<String, String>> {
    let made =
        Command::new("curl").args(["-sS", "--max-time", "30", "-i"]).args(arguments).current_dir(folder).output();
    match made {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            assert!(std::env::var_os("REAL_PEERS").is_none_or(|value| value != "required"), "curl is not installed");
            std::io::stderr()
                .write_all(b"LEFT OUT: curl is not installed; ./check installs it where it can\n")
                .unwrap();
            None
        }
        made => {
            let made = made.unwrap();
            let [out, error] = [made.stdout, made.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
            Some(if made.status.success() { Ok(out) } else { Err(error) })
        }
    }
}

#[test]
fn curl_gets_its_answer_a_clean_end_and_refusals_it_can_name() {
    for backend in BACKENDS {
        let (authority, clients, directory) = (Authority::new(), Authority::new(), tempfile::tempdir().unwrap());
        let folder = directory.path().to_owned();
        clients.issue().put_into(&folder);
        for (from, to) in [("certificate.pem", "mine.pem"), ("key.pem", "mine-key.pem")] {
            std::fs::rename(folder.join(from), folder.join(to)).unwrap();
        }
        authority.issue().put_into(&folder);
        std::fs::write(folder.join("ca.pem"), &authority.pem).unwrap();
        std::fs::write(folder.join("clients.pem"), &clients.pem).unwrap();
        std::fs::write(folder.join("body"), "x".repeat(1 << 20)).unwrap();
        let further = [("TLS_CLIENT_CA", "clients.pem"), ("IO_BACKEND", backend)];
        let daemon = Daemon::start_in(directory, &[&TLS_VARIABLES[..], &further].concat(), None);
        let origin = Origin::start();
        let destination = format!("X-Dispatcher-Origin-Host: {}", origin.address);
        let url = format!("https://{}/orders", daemon.data);
        let trusting = ["--cacert", "ca.pem", "-H", &destination, &url];
        let known = [&["--cert", "mine.pem", "--key", "mine-key.pem"], &trusting[..]].concat();
        for version in ["1.2", "1.3"] {
            // With an answer that ends with its connection, an end that nobody said would be an error.
            let arguments = [&["--tls-max", version, "-H", "Connection: close", "--data-binary", "@body"], &known[..]];
            let Some(answer) = curl(&folder, &arguments.concat()) else { return };
            let answer = answer.unwrap();
            assert!(answer.contains("HTTP/1.1 202 Accepted\r\n"), "{answer}");
            let Some(refused) = curl(&folder, &[&["--tls-max", version], &trusting[..]].concat()) else { return };
            let error = refused.expect_err("without a certificate");
            assert!(error.contains("certificate required") || error.contains("handshake failure"), "{error}");
        }
        let Some(answer) = curl(&folder, &["-H", &destination, &url.replace("https", "http")]) else { return };
        let answer = answer.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("use https://"), "{answer}");
        daemon.assert_metric("dispatcher_delivered_total", 2.0);
    }
}
