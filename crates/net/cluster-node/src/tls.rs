//! TLS 1.3 between members: both show certificates, and both must be on the list, before anything else is said.

use crate::credentials::{CredentialStore, provider};
use crate::member::Roster;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::sync::Arc;

/// Names the protocol and its version. Another version is another name.
pub(crate) const PROTOCOL: &[u8] = b"hushwire-cluster/1";

/// TLS of whoever dials.
pub(crate) fn client(gate: &Gate) -> Result<Arc<QuicClientConfig>, Error> {
    let config = client_config(gate)?;
    QuicClientConfig::try_from(config).map(Arc::new).map_err(|_| Error::General("no initial cipher suite".into()))
}

/// TLS of whoever answers.
pub(crate) fn server(gate: &Gate) -> Result<Arc<QuicServerConfig>, Error> {
    let config = server_config(gate)?;
    QuicServerConfig::try_from(config).map(Arc::new).map_err(|_| Error::General("no initial cipher suite".into()))
}

fn client_config(gate: &Gate) -> Result<rustls::ClientConfig, Error> {
    let gate = Arc::new(gate.clone());
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&gate) as Arc<dyn ServerCertVerifier>)
        .with_client_cert_resolver(gate);
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    // A resumed session shows no certificate, so whoever was taken off the list could still come back with it.
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    // It would be sent in the clear, and there is only one certificate.
    tls.enable_sni = false;
    Ok(tls)
}

fn server_config(gate: &Gate) -> Result<rustls::ServerConfig, Error> {
    let gate = Arc::new(gate.clone());
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::clone(&gate) as Arc<dyn ClientCertVerifier>)
        .with_cert_resolver(gate);
    tls.alpn_protocols = vec![PROTOCOL.to_vec()];
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.send_tls13_tickets = 0;
    tls.max_early_data_size = 0;
    Ok(tls)
}

/// Lets members in: a certificate of a root that is trusted, for the use it is put to, of somebody on the list. It asks for
/// roots, list and own certificate anew in each handshake, so that all of them can change.
#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub(crate) credentials: CredentialStore,
    pub(crate) roster: Roster,
}

impl Gate {
    fn check_member(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        match self.roster.identify(certificate) {
            Some(_) => Ok(()),
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }
}

impl ServerCertVerifier for Gate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let servers = &self.credentials.current().servers;
        let verified = servers.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)?;
        self.check_member(end_entity).map(|()| verified)
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
        self.credentials.current().servers.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.credentials.current().servers.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Gate {
    /// None: a stranger need not learn what the roots are called, and a member has one certificate only.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let clients = &self.credentials.current().clients;
        let verified = clients.verify_client_cert(end_entity, intermediates, now)?;
        self.check_member(end_entity).map(|()| verified)
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
        self.credentials.current().clients.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.credentials.current().clients.supported_verify_schemes()
    }
}

impl ResolvesServerCert for Gate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.credentials.current().own))
    }
}

impl ResolvesClientCert for Gate {
    fn resolve(&self, _hints: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.credentials.current().own))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
