//! The files of `TLS_CERT`, `TLS_KEY` and `TLS_CLIENT_CA` to what a handshake needs.

use std::error::Error;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};

use crate::limits::TLS_FILE_BYTES_MAX;

/// Why is not said: the parser quotes the line that is at fault, and a key without its line ends is one line.
const PEM: &str = "PEM, each of -----BEGIN and -----END on a line of its own";

/// What is offered in the handshake: on `LISTEN` there is nothing else.
const HTTP1_ALPN: &[u8] = b"http/1.1";

/// Where certificate and key are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// `TLS_CERT`: ours, and what is between it and a root.
    pub certificate: PathBuf,
    /// `TLS_KEY`: its key.
    pub key: PathBuf,
    /// `TLS_CLIENT_CA`: roots of clients, which must then show a certificate.
    pub client_ca: Option<PathBuf>,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{variable}={}: expected {expected}", path.display())]
pub struct TlsFileError {
    variable: &'static str,
    path: PathBuf,
    expected: &'static str,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// One of the files.
#[derive(Clone, Copy)]
struct Named<'a> {
    variable: &'static str,
    path: &'a Path,
}

impl Named<'_> {
    fn error(self, expected: &'static str) -> TlsFileError {
        TlsFileError { variable: self.variable, path: self.path.to_owned(), expected, source: None }
    }

    fn because<E: Error + Send + Sync + 'static>(self, expected: &'static str) -> impl FnOnce(E) -> TlsFileError {
        let error = self.error(expected);
        move |source| TlsFileError { source: Some(Box::new(source)), ..error }
    }

    fn read(self) -> Result<Vec<u8>, TlsFileError> {
        let mut bytes = Vec::new();
        let file = File::open(self.path).map_err(self.because("a readable PEM file"))?;
        file.take(TLS_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(self.because("a readable PEM file"))?;
        if bytes.len() as u64 > TLS_FILE_BYTES_MAX { Err(self.error("a PEM file of 1MiB at most")) } else { Ok(bytes) }
    }

    fn certificates(self) -> Result<Vec<CertificateDer<'static>>, TlsFileError> {
        let bytes = self.read()?;
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
        let Ok(certificates) = certificates else { return Err(self.error(PEM)) };
        if certificates.is_empty() { Err(self.error("at least one certificate")) } else { Ok(certificates) }
    }
}

/// Reads the files. rustls' own defaults decide on versions (TLS 1.2 and 1.3), ciphers and resumption: what it remembers of
/// sessions goes with the configuration, so that none outlives the certificate or the roots that it was agreed on with.
///
/// Errors: the first file that cannot be used, by its variable.
pub fn server_config(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsFileError> {
    let certificate = Named { variable: "TLS_CERT", path: &files.certificate };
    let key = Named { variable: "TLS_KEY", path: &files.key };
    let chain = certificate.certificates()?;
    let private = match PrivateKeyDer::from_pem_slice(&key.read()?) {
        Ok(private) => private,
        Err(pem::Error::NoItemsFound) => {
            return Err(key.error("a private key that is not encrypted (PKCS#8, PKCS#1 or SEC1)"));
        }
        Err(_) => return Err(key.error(PEM)),
    };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring offers the default versions");
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let ca = Named { variable: "TLS_CLIENT_CA", path };
            let mut roots = RootCertStore::empty();
            for root in ca.certificates()? {
                roots.add(root).map_err(ca.because("certificates that can be roots"))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(ca.because("certificates that can be roots"))?)
        }
    };
    let mut config = builder.with_single_cert(chain, private).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            key.because("the key of the certificate in TLS_CERT")(error)
        }
        rustls::Error::InvalidCertificate(_) => certificate.because("certificates that can be read")(error),
        error => key.because("a private key that can be used (RSA, ECDSA P-256 or P-384, Ed25519)")(error),
    })?;
    config.alpn_protocols = vec![HTTP1_ALPN.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_be_used_are_named_with_what_was_expected() {
        let dir = tempfile::tempdir().unwrap();
        let [ours, other] = [0; 2].map(|_| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
        let file = |name: &str, content: &str| {
            std::fs::write(dir.path().join(name), content).unwrap();
            dir.path().join(name)
        };
        let (certificate, key) = (file("c.pem", &ours.cert.pem()), file("k.pem", &ours.signing_key.serialize_pem()));
        let foreign = file("f.pem", &other.signing_key.serialize_pem());
        let (empty, missing) = (file("e.pem", "nothing\n"), dir.path().join("missing.pem"));
        let garbage = file("g.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let unusable = file("u.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
        let long = file("l.pem", &"x".repeat(1 + (1 << 20)));
        for (variable, path, expected) in [
            ("TLS_CERT", &missing, "a readable PEM file: No such file"),
            ("TLS_CERT", &empty, "at least one certificate"),
            ("TLS_CERT", &key, "at least one certificate"),
            ("TLS_CERT", &garbage, "certificates that can be read"),
            ("TLS_CERT", &long, "a PEM file of 1MiB at most"),
            ("TLS_KEY", &missing, "a readable PEM file: No such file"),
            ("TLS_KEY", &certificate, "a private key that is not encrypted"),
            ("TLS_KEY", &unusable, "a private key that can be used"),
            ("TLS_KEY", &foreign, "the key of the certificate in TLS_CERT"),
            ("TLS_CLIENT_CA", &missing, "a readable PEM file: No such file"),
            ("TLS_CLIENT_CA", &key, "at least one certificate"),
            ("TLS_CLIENT_CA", &garbage, "certificates that can be roots"),
        ] {
            let mut files = TlsFiles { certificate: certificate.clone(), key: key.clone(), client_ca: None };
            match variable {
                "TLS_CERT" => files.certificate.clone_from(path),
                "TLS_KEY" => files.key.clone_from(path),
                _ => files.client_ca = Some(path.clone()),
            }
            let error = server_config(&files).unwrap_err();
            let line = error.source().map_or(error.to_string(), |source| format!("{error}: {source}"));
            assert!(line.starts_with(&format!("{variable}={}: expected {expected}", path.display())), "{line}");
        }
        for ends in [["", ""], ["-----BEGIN CERTIFICATE-----\n", ""], ["", " AAAA"]] {
            let [before, behind] = ends;
            let line = ours.signing_key.serialize_pem().trim().replace('\n', " ");
            let one = file("o.pem", &format!("{before}{line}{behind}"));
            let told = |files: TlsFiles| {
                let error = server_config(&files).unwrap_err();
                assert!(error.source().is_none(), "the parser has seen the key");
                error.to_string()
            };
            let (certificate, key) = (certificate.clone(), key.clone());
            let as_key = told(TlsFiles { certificate, key: one.clone(), client_ca: None });
            assert_eq!(as_key, format!("TLS_KEY={}: expected {PEM}", one.display()));
            let as_certificate = told(TlsFiles { certificate: one.clone(), key, client_ca: None });
            assert_eq!(as_certificate, format!("TLS_CERT={}: expected {PEM}", one.display()), "a file of both");
        }
        let files = TlsFiles { certificate: certificate.clone(), key, client_ca: Some(certificate) };
        assert_eq!(server_config(&files).unwrap().alpn_protocols, [b"http/1.1"]);
    }
}
