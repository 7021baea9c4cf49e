//! The TLS client of egress: whom it trusts and what it offers. Loaded once per process.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

/// Why `TLS_CA` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or what is in it is not PEM.
    #[error("reading certificates from {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        source: rustls_native_certs::Error,
    },
    /// There is no certificate in the file.
    #[error("there is no certificate in {}", .0.display())]
    Empty(PathBuf),
    /// A certificate in the file cannot serve as a root.
    #[error("a certificate in {} cannot serve as a root", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What was wrong with it.
        source: rustls::Error,
    },
    /// The TLS library refuses its own defaults.
    #[error("setting up TLS")]
    Setup(#[from] rustls::Error),
}

/// A client that trusts the system's roots and those in the PEM file `extra_roots` (`TLS_CA`), and offers HTTP/1.1.
///
/// Blocks on the file system. A system without roots is no error: only https to an origin outside `TLS_CA` then fails.
pub fn client_config(extra_roots: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "some of the system's root certificates could not be read");
    }
    let (_, unusable) = roots.add_parsable_certificates(system.certs);
    if unusable > 0 {
        tracing::debug!(unusable, "some of the system's root certificates are not usable");
    }
    if let Some(path) = extra_roots {
        add_roots(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn add_roots(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let loaded = rustls_native_certs::load_certs_from_paths(Some(path), None);
    if let Some(source) = loaded.errors.into_iter().next() {
        return Err(TlsError::Unreadable { path: path.to_owned(), source });
    }
    if loaded.certs.is_empty() {
        return Err(TlsError::Empty(path.to_owned()));
    }
    for certificate in loaded.certs {
        roots.add(certificate).map_err(|source| TlsError::Unusable { path: path.to_owned(), source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file_with(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    #[test]
    fn a_tls_ca_that_cannot_be_used_is_an_error_that_names_the_file() {
        let missing = client_config(Some(Path::new("/nowhere/ca.pem"))).unwrap_err();
        assert_eq!(missing.to_string(), "reading certificates from /nowhere/ca.pem");

        let empty = file_with(b"no certificate\n");
        let error = client_config(Some(empty.path())).unwrap_err();
        assert_eq!(error.to_string(), format!("there is no certificate in {}", empty.path().display()));

        let broken = file_with(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let error = client_config(Some(broken.path())).unwrap_err();
        assert!(matches!(error, TlsError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains(&broken.path().display().to_string()));
    }

    #[test]
    fn without_tls_ca_the_systems_roots_are_enough_to_start() {
        let config = client_config(None).unwrap();
        assert_eq!(config.alpn_protocols, [b"http/1.1"]);
    }
}
