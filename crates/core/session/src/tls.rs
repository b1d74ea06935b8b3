//! TLS 1.3 with one group, one suite, one signature scheme and raw public keys (RFC 7250): both ends are a
//! pinned Ed25519 key and nothing else, or at a server any such key. There is no certificate, no name, no date and no
//! ticket.

use crate::config::{ConfigError, ExpectedPeer, SessionConfig};
use identity::NodeId;
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::version::TLS13;
use rustls::{
    CertificateError, CipherSuite, DigitallySignedStruct, DistinguishedName, Error, NamedGroup, PeerMisbehaved,
    SignatureScheme,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Names the protocol inside the session and its version. Another version is another name.
pub(crate) const PROTOCOL: &[u8] = b"hushwire/1";

/// TLS wants a name to connect to. It is not sent.
pub(crate) const SERVER_NAME: &str = "peer";

/// Set when the other end turned out to be another node than the pinned one.
pub(crate) type WrongPeer = Arc<AtomicBool>;

/// TLS of the side that begins.
pub(crate) fn client(config: &SessionConfig, wrong_peer: &WrongPeer) -> Result<QuicClientConfig, ConfigError> {
    let provider = Arc::new(provider());
    let own = own_key(config, &provider)?;
    let pinned = Arc::new(Pinned::new(config, &provider, wrong_peer));
    let mut tls = rustls::ClientConfig::builder_with_details(provider, Arc::new(NoTime))
        .with_protocol_versions(&[&TLS13])
        .map_err(|_| ConfigError::OwnKey)?
        .dangerous()
        .with_custom_certificate_verifier(pinned)
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(own)));
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    tls.resumption = Resumption::disabled();
    tls.enable_sni = false;
    tls.enable_early_data = false;
    QuicClientConfig::try_from(tls).map_err(|_| ConfigError::OwnKey)
}

/// TLS of the side that answers.
pub(crate) fn server(config: &SessionConfig, wrong_peer: &WrongPeer) -> Result<QuicServerConfig, ConfigError> {
    let provider = Arc::new(provider());
    let own = own_key(config, &provider)?;
    let pinned = Arc::new(Pinned::new(config, &provider, wrong_peer));
    let mut tls = rustls::ServerConfig::builder_with_details(provider, Arc::new(NoTime))
        .with_protocol_versions(&[&TLS13])
        .map_err(|_| ConfigError::OwnKey)?
        .with_client_cert_verifier(pinned)
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own)));
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    QuicServerConfig::try_from(tls).map_err(|_| ConfigError::OwnKey)
}

fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519MLKEM768);
    provider.cipher_suites.retain(|suite| suite.suite() == CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

fn own_key(config: &SessionConfig, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, ConfigError> {
    let secret = PrivatePkcs8KeyDer::from(config.own.pkcs8_der().to_vec());
    let key = provider.key_provider.load_private_key(PrivateKeyDer::Pkcs8(secret)).map_err(|_| ConfigError::OwnKey)?;
    let public = CertificateDer::from(config.own.node_id().spki_der().to_vec());
    Ok(Arc::new(CertifiedKey::new(vec![public], key)))
}

/// Nothing in a raw public key has a date.
#[derive(Debug)]
struct NoTime;

impl TimeProvider for NoTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::ZERO))
    }
}

/// Accepts one key, or any of its kind.
#[derive(Debug)]
struct Pinned {
    peer: ExpectedPeer,
    algorithms: WebPkiSupportedAlgorithms,
    wrong_peer: WrongPeer,
}

impl Pinned {
    fn new(config: &SessionConfig, provider: &CryptoProvider, wrong_peer: &WrongPeer) -> Self {
        Self {
            peer: config.peer,
            algorithms: provider.signature_verification_algorithms,
            wrong_peer: Arc::clone(wrong_peer),
        }
    }

    fn check(&self, key: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        let is_expected = NodeId::from_spki_der(key.as_ref()).is_some_and(|found| match self.peer {
            ExpectedPeer::Node(node) => found == node,
            ExpectedPeer::Anyone => true,
        });
        if is_expected && more.is_empty() {
            return Ok(());
        }
        self.wrong_peer.store(true, Ordering::Relaxed);
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify(
        &self,
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if signed.scheme != SignatureScheme::ED25519 {
            return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
        }
        let key = SubjectPublicKeyInfoDer::from(key.as_ref());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.algorithms)
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
