//! Certificates made for a test, and TLS servers that show them.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::NamedTempFile;
use tokio_rustls::TlsAcceptor;

pub const HTTP1: &[u8] = b"http/1.1";
pub const HTTP2: &[u8] = b"h2";

/// A certificate that vouches for itself.
pub struct Issued {
    file: NamedTempFile,
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

impl Issued {
    /// For `names`, valid now.
    pub fn to(names: &[&str]) -> Self {
        Self::with(names, |_| {})
    }

    /// For `names`, as `change` has it.
    pub fn with(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Self {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(made.pem().as_bytes()).unwrap();
        Self { file, certificate: made.der().clone(), key }
    }

    /// A file for `TLS_CA`.
    pub fn ca(&self) -> &Path {
        self.file.path()
    }

    /// A server that shows it and offers `protocols`.
    pub fn acceptor(&self, protocols: &[&[u8]]) -> TlsAcceptor {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![self.certificate.clone()],
                PrivateKeyDer::try_from(self.key.serialize_der()).unwrap(),
            )
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}
