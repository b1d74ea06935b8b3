//! What a node shows and what it trusts: its certificate with the key, and the cluster's roots. They can be exchanged while
//! connections stand.

mod files;

pub use files::{CredentialFiles, FilesError, KeptKey, LOOK_EVERY};

use identity::{NodeId, NodeSecret};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, NamedGroup, RootCertStore};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use thiserror::Error;
use zeroize::Zeroizing;

/// Most roots that are trusted at once. Two are enough to change a root; a longer file is refused.
pub const ROOTS_MAX: usize = 4;

/// Most certificates that a node sends. Longer chains are refused.
const CHAIN_MAX: usize = 4;

/// Why certificates and key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CredentialsError {
    /// The text holds no certificate in PEM form, or a broken one.
    #[error("the file of this node's certificate holds no certificate in PEM form")]
    Certificate,
    /// More certificates than a chain has.
    #[error("the file of this node's certificate holds more than {CHAIN_MAX} certificates")]
    ChainTooLong,
    /// The same for the roots.
    #[error("the file of root certificates holds none in PEM form, or one that is no authority")]
    Roots,
    /// More than [`ROOTS_MAX`].
    #[error("the file of root certificates holds more than {ROOTS_MAX}")]
    TooManyRoots,
    /// The private key is of no kind that TLS uses here, or no key.
    #[error("the private key is none in PEM form that TLS can use")]
    Key,
    /// Key and certificate do not belong together.
    #[error("the certificate is of another key")]
    OtherKey,
}

/// The node's private key.
pub enum OwnKey<'a> {
    /// The one that its node id is the public half of.
    Node(&'a NodeSecret),
    /// Any key, in PEM form: for clusters whose members are known by name alone.
    Pem(&'a str),
}

/// A certificate with its key, and the roots, ready for handshakes.
pub struct Credentials {
    pub(crate) own: Arc<CertifiedKey>,
    pub(crate) clients: Arc<dyn ClientCertVerifier>,
    pub(crate) servers: Arc<dyn ServerCertVerifier>,
}

impl Credentials {
    /// From PEM texts: this node's certificate, its issuers behind it if there are any, and the roots.
    ///
    /// # Errors
    /// When one of them cannot be used, or the key is not the certificate's.
    pub fn from_pem(certificate: &str, key: &OwnKey<'_>, roots: &str) -> Result<Self, CredentialsError> {
        let chain = certificates(certificate).ok_or(CredentialsError::Certificate)?;
        if chain.len() > CHAIN_MAX {
            return Err(CredentialsError::ChainTooLong);
        }
        let leaf = chain.first().ok_or(CredentialsError::Certificate)?;
        ParsedCertificate::try_from(leaf).map_err(|_| CredentialsError::Certificate)?;
        let provider = Arc::new(provider());
        let der = match key {
            OwnKey::Node(secret) => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(secret.pkcs8_der().to_vec())),
            OwnKey::Pem(text) => PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|_| CredentialsError::Key)?,
        };
        let key = provider.key_provider.load_private_key(der).map_err(|_| CredentialsError::Key)?;
        let own = CertifiedKey::new(chain, key);
        own.keys_match().map_err(|_| CredentialsError::OtherKey)?;
        let roots = Arc::new(trust(roots)?);
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
        let servers = WebPkiServerVerifier::builder_with_provider(roots, provider);
        Ok(Self {
            own: Arc::new(own),
            clients: clients.build().map_err(|_| CredentialsError::Roots)?,
            servers: servers.build().map_err(|_| CredentialsError::Roots)?,
        })
    }

    /// The node id of the certificate; `None` when its key is not an Ed25519 key.
    pub fn node_id(&self) -> Option<NodeId> {
        let parsed = ParsedCertificate::try_from(self.own.cert.first()?).ok()?;
        NodeId::from_spki_der(&parsed.subject_public_key_info())
    }

    /// The certificate that is shown, in DER form.
    pub fn certificate_der(&self) -> &[u8] {
        self.own.cert.first().map_or(&[], |certificate| certificate.as_ref())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Credentials that can be exchanged: every handshake uses those that are in it when it begins. Clones share them.
#[derive(Debug, Clone)]
pub struct CredentialStore(Arc<RwLock<Arc<Credentials>>>);

impl CredentialStore {
    /// With these to begin with.
    pub fn new(credentials: Credentials) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(credentials))))
    }

    /// Takes others from here on. Connections that stand are not touched.
    pub fn replace(&self, credentials: Credentials) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(credentials);
    }

    /// Those in force.
    pub fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One key exchange, one cipher suite: both ends are this program, so there is nothing to negotiate down to.
pub(crate) fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519MLKEM768);
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

/// PEM text (RFC 7468): one block, with lines of 64 characters.
pub(crate) fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(data_encoding::BASE64.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(body.len() * 66 / 64 + 2 * label.len() + 64));
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for at in (0..body.len()).step_by(64) {
        text.push_str(&body[at..body.len().min(at + 64)]);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn certificates(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<_, _>>().ok()
}

fn trust(text: &str) -> Result<RootCertStore, CredentialsError> {
    let certificates = certificates(text).ok_or(CredentialsError::Roots)?;
    if certificates.len() > ROOTS_MAX {
        return Err(CredentialsError::TooManyRoots);
    }
    let mut store = RootCertStore::empty();
    for certificate in certificates {
        store.add(certificate).map_err(|_| CredentialsError::Roots)?;
    }
    if store.is_empty() { Err(CredentialsError::Roots) } else { Ok(store) }
}
