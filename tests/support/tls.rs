//! TLS for tests: certificates made for them, and clients that trust them.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

/// What a client of a test speaks TLS through.
pub type Session = StreamOwned<ClientConnection, TcpStream>;

/// Who vouches for certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// For files.
    pub pem: String,
}

/// A certificate and its key.
pub struct Identity {
    certificate: CertificateDer<'static>,
    key: KeyPair,
    pem: String,
}

impl Authority {
    /// A new one, whom nobody knows yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // A name of its own: by it a chain is followed.
        let name: String = key.public_key_raw()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        params.distinguished_name.push(DnType::CommonName, name);
        let made = params.self_signed(&key).unwrap();
        let (certificate, pem) = (made.der().clone(), made.pem());
        Self { issuer: Issuer::new(params, key), certificate, pem }
    }

    /// A certificate for the loopback addresses and `localhost`, for servers and clients.
    pub fn issue(&self) -> Identity {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let made = params.signed_by(&key, &self.issuer).unwrap();
        Identity { certificate: made.der().clone(), pem: made.pem(), key }
    }

    /// A client that trusts it, in these versions, and shows who it is if it has an identity.
    pub fn client(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        identity: Option<&Identity>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let builder = builder.with_root_certificates(roots);
        Arc::new(match identity {
            None => builder.with_no_client_auth(),
            Some(Identity { certificate, key, .. }) => {
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                builder.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
            }
        })
    }
}

impl Identity {
    /// Puts it where `TLS_CERT` and `TLS_KEY` of a daemon with `folder` look for it.
    pub fn put_into(&self, folder: &Path) {
        std::fs::write(folder.join(CERTIFICATE), &self.pem).unwrap();
        std::fs::write(folder.join(KEY), self.key.serialize_pem()).unwrap();
    }

    /// As a handshake shows it.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }
}

/// `TLS_CERT`, in the folder of a daemon.
pub const CERTIFICATE: &str = "certificate.pem";
/// `TLS_KEY`.
pub const KEY: &str = "key.pem";

/// A session on a new connection, once its handshake is over.
pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> std::io::Result<Session> {
    let socket = super::client::socket(address)?;
    let session = ClientConnection::new(Arc::clone(config), ServerName::from(address.ip())).unwrap();
    let mut session = StreamOwned::new(session, socket);
    while session.conn.is_handshaking() {
        session.conn.complete_io(&mut session.sock)?;
    }
    Ok(session)
}
