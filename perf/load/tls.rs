//! TLS for the load generator: it trusts the roots of one PEM file and no others.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;

/// How connections to one target begin to speak TLS.
#[derive(Clone)]
pub struct Tls {
    /// Makes the handshake.
    pub connector: TlsConnector,
    /// Whom the certificate must name.
    pub server: ServerName<'static>,
}

impl Tls {
    /// For connections to `target`, a host and port, whose certificate is by a root in the PEM file `roots`.
    pub fn new(roots: &Path, target: &str) -> io::Result<Self> {
        let mut store = rustls::RootCertStore::empty();
        for root in CertificateDer::pem_file_iter(roots).map_err(io::Error::other)? {
            store.add(root.map_err(io::Error::other)?).map_err(io::Error::other)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(store)
            .with_no_client_auth();
        let host = target.rsplit_once(':').map_or(target, |(host, _)| host).trim_matches(['[', ']']);
        let server = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Self { connector: TlsConnector::from(Arc::new(config)), server })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_must_name_the_host_of_the_target() {
        let folder = tempfile::tempdir().unwrap();
        let roots = folder.path().join("roots.pem");
        let signed = rcgen::generate_simple_self_signed(["127.0.0.1".into()]).unwrap();
        std::fs::write(&roots, signed.cert.pem()).unwrap();
        for (target, server) in [("127.0.0.1:80", "127.0.0.1"), ("[::1]:80", "::1"), ("a.example:80", "a.example")] {
            assert_eq!(Tls::new(&roots, target).unwrap().server.to_str(), server);
        }
        assert!(Tls::new(&folder.path().join("none.pem"), "a:1").is_err());
    }
}
