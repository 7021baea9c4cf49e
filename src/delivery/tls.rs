//! Whom an https origin must prove to be: the system's roots, and those of `TLS_CA`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// HTTP/2 in the handshake (RFC 9113 §3.2), which we prefer.
pub(super) const HTTP2_ALPN: &[u8] = b"h2";
/// HTTP/1.1 in the handshake.
pub(super) const HTTP1_ALPN: &[u8] = b"http/1.1";

/// Why `TLS_CA` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Unreadable, or not PEM.
    #[error("TLS_CA={}: expected a readable PEM file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said. What the parser says is not told: it quotes the file, which may hold a key too.
        source: Option<io::Error>,
    },
    /// No certificate in it.
    #[error("TLS_CA={}: expected at least one certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Not a root.
    #[error("TLS_CA={}: expected certificates that can be roots", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// The client side of every https connection; made once per process.
///
/// System roots that cannot be read are warned about and left out: plain http needs none.
pub fn client_config(extra_roots: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "some of the system's root certificates cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = extra_roots {
        let unreadable = |error| {
            let source = if let pem::Error::Io(source) = error { Some(source) } else { None };
            TlsError::Unreadable { path: path.to_owned(), source }
        };
        let certificates: Vec<_> =
            CertificateDer::pem_file_iter(path).map_err(unreadable)?.collect::<Result<_, _>>().map_err(unreadable)?;
        if certificates.is_empty() {
            return Err(TlsError::Empty { path: path.to_owned() });
        }
        for certificate in certificates {
            roots.add(certificate).map_err(|source| TlsError::Unusable { path: path.to_owned(), source })?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config =
        versions.expect("ring offers the default versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![HTTP2_ALPN.to_vec(), HTTP1_ALPN.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_tls_ca_that_cannot_be_used_is_an_error_that_names_the_file() {
        let missing = client_config(Some(Path::new("/nowhere/ca.pem"))).unwrap_err();
        assert_eq!(missing.to_string(), "TLS_CA=/nowhere/ca.pem: expected a readable PEM file");
        let table = [
            ("no certificate\n", "expected at least one certificate"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "expected a readable PEM file"),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "expected certificates that can be roots",
            ),
        ];
        for (content, expected) in table {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(content.as_bytes()).unwrap();
            let error = client_config(Some(file.path())).unwrap_err();
            assert_eq!(error.to_string(), format!("TLS_CA={}: {expected}", file.path().display()));
        }
    }

    #[test]
    fn without_tls_ca_the_systems_roots_are_enough_to_start() {
        assert_eq!(client_config(None).unwrap().alpn_protocols, [&b"h2"[..], b"http/1.1"]);
    }
}
