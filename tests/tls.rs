//! TLS on the data listener, against the real binary: handshakes, certificates and their rotation, and how connections end.
//! That requests mean the same there as in the clear is among the tests of `http_contract.rs`, which run on both.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its world fails")]

#[path = "tls/curl.rs"]
mod curl;
#[path = "tls/ends.rs"]
mod ends;
#[path = "tls/files.rs"]
mod files;
#[path = "tls/handshakes.rs"]
mod handshakes;
#[path = "tls/rotation.rs"]
mod rotation;
mod support;

use support::Origin;

/// A message for `origin`.
fn message(origin: &Origin, path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Dispatcher-Origin-Host: {}\r\n\r\n", origin.address)
}
