//! Certificate and key that cannot be used stop the start, with one line that says why.

use crate::support::tls::Authority;
use crate::support::{TLS_VARIABLES, run};

#[test]
fn files_that_cannot_be_used_stop_the_start_and_are_named() {
    let authority = Authority::new();
    for (name, content, expected) in [
        ("certificate.pem", None, "TLS_CERT=certificate.pem: expected a readable PEM file"),
        ("certificate.pem", Some(""), "TLS_CERT=certificate.pem: expected at least one certificate"),
        ("key.pem", None, "TLS_KEY=key.pem: expected a readable PEM file"),
        ("key.pem", Some("no key\n"), "TLS_KEY=key.pem: expected a private key"),
        ("clients.pem", None, "TLS_CLIENT_CA=clients.pem: expected a readable PEM file"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        authority.issue().put_into(directory.path());
        let path = directory.path().join(name);
        match content {
            Some(content) => std::fs::write(path, content).unwrap(),
            // A directory is there and cannot be read.
            None => {
                let _ = std::fs::remove_file(&path);
                std::fs::create_dir(path).unwrap();
            }
        }
        let variables = [&TLS_VARIABLES[..], &[("TLS_CLIENT_CA", "clients.pem")]].concat();
        let used = if name == "clients.pem" { 3 } else { 2 };
        let ended = run(&directory, &variables[..used], &[]);
        let lines: Vec<&String> = ended.stderr.iter().filter(|line| line.contains("\"message\":\"failed\"")).collect();
        assert_eq!((ended.code, lines.len()), (Some(2), 1), "{ended:?}");
        assert!(lines[0].contains(&format!("\"error\":\"{expected}")), "{}", lines[0]);
    }
}

#[test]
fn a_key_of_another_certificate_stops_the_start() {
    let (authority, directory) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.issue().put_into(directory.path());
    let certificate = std::fs::read(directory.path().join("certificate.pem")).unwrap();
    authority.issue().put_into(directory.path());
    std::fs::write(directory.path().join("certificate.pem"), certificate).unwrap();
    let ended = run(&directory, &TLS_VARIABLES, &[]);
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let line = ended.stderr.last().unwrap();
    assert!(line.contains("TLS_KEY=key.pem: expected the key of the certificate in TLS_CERT"), "{line}");
}

#[test]
fn one_of_them_alone_is_an_error_that_names_what_is_missing() {
    for (name, missing) in [("TLS_CERT", "TLS_KEY"), ("TLS_KEY", "TLS_CERT"), ("TLS_CLIENT_CA", "TLS_CERT and TLS_KEY")]
    {
        let ended = run(&tempfile::tempdir().unwrap(), &[(name, "x.pem")], &[]);
        assert_eq!((ended.code, ended.stderr.len()), (Some(2), 1), "{ended:?}");
        let line = format!("dispatcher: {name}=\"x.pem\": expected {missing} beside it");
        assert!(ended.stderr[0].starts_with(&line), "{}", ended.stderr[0]);
    }
}
