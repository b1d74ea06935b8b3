//! The cluster's own certificate authority: a root whose key stays offline, and certificates of nodes.
//!
//! Texts in, texts out; files and their permissions are the caller's. A node's certificate carries its node id as key, its
//! name, and nothing else, so it is no secret and can be made again at any time.

mod der;
mod read;

pub use read::{CertificateInfo, ReadError, Request, utc_text};

use crate::credentials::pem;
use crate::member::MemberName;
use aws_lc_rs::rand;
use identity::{NodeId, NodeSecret};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ED25519, PublicKeyData, SanType, SerialNumber,
    SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::time::Duration;
use thiserror::Error;
use zeroize::Zeroizing;

/// How long a node's certificate is good unless the caller says otherwise. Renew at two thirds of it.
pub const NODE_DAYS: u16 = 90;

/// How long a root is good unless the caller says otherwise.
pub const ROOT_DAYS: u16 = 3_650;

/// Certificates begin so long before they are made, for clocks that are behind.
const SKEW_S: u64 = 3_600;

/// Longest name of a root, in bytes (RFC 5280, ub-common-name).
const ROOT_NAME_MAX: usize = 64;

/// Why a certificate is not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PkiError {
    /// A root's name that is empty, too long, or holds control characters.
    #[error("a root's name has 1 to {ROOT_NAME_MAX} bytes and no control characters")]
    RootName,
    /// A node outside the domains that the root is for.
    #[error("the root signs no name outside its domains")]
    OutsideDomains,
    /// It would be good for longer than the root.
    #[error("the root ends before the certificate would; make another root, or a certificate for fewer days")]
    RootEnds,
    /// The private key is not the root's.
    #[error("the root's key is no Ed25519 key in PEM form, or that of another root")]
    RootKey,
    /// The root's certificate is none.
    #[error("the root's certificate cannot be used: {0}")]
    Root(#[from] ReadError),
    /// A date that a certificate cannot hold.
    #[error("the clock or the number of days is beyond what a certificate can say")]
    Date,
    /// The system gives no random bytes, or the library refused.
    #[error("the certificate could not be signed")]
    Sign,
}

/// A root with its key: what signs.
pub struct Root {
    key: KeyPair,
    info: CertificateInfo,
    certificate: String,
}

/// A certificate that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    /// In PEM form.
    pub certificate: String,
    /// What it says.
    pub info: CertificateInfo,
}

impl Root {
    /// Makes a root with a random key. `domains` are the only names, with all below them, that it may sign; none means any.
    /// `now_s` is the time in UTC seconds since 1970.
    ///
    /// # Errors
    /// For a name or date that no certificate can hold, or when the system gives no random bytes.
    pub fn generate(name: &str, domains: &[MemberName], now_s: u64, days: u16) -> Result<Self, PkiError> {
        if name.is_empty() || name.len() > ROOT_NAME_MAX || name.chars().any(char::is_control) {
            return Err(PkiError::RootName);
        }
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(|_| PkiError::Sign)?;
        let mut params = dated(name, now_s, days)?;
        // Length 0: no authority below it, so a stolen certificate of a node signs nothing.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        if !domains.is_empty() {
            let permitted_subtrees = domains.iter().map(|name| GeneralSubtree::DnsName(name.to_string())).collect();
            params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
        }
        let certificate = params.self_signed(&key).map_err(|_| PkiError::Sign)?;
        let info = CertificateInfo::from_der(certificate.der())?;
        Ok(Self { key, info, certificate: pem("CERTIFICATE", certificate.der()).to_string() })
    }

    /// The root that these two files hold.
    ///
    /// # Errors
    /// When they are no root and its key.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, PkiError> {
        let info = CertificateInfo::from_pem(certificate)?;
        let Ok(PrivateKeyDer::Pkcs8(der)) = PrivateKeyDer::from_pem_slice(key.as_bytes()) else {
            return Err(PkiError::RootKey);
        };
        let der: PrivatePkcs8KeyDer<'_> = der;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ED25519).map_err(|_| PkiError::RootKey)?;
        if info.node_id.map(|id| id.0.to_vec()) != Some(key.public_key_raw().to_vec()) || !info.is_authority {
            return Err(PkiError::RootKey);
        }
        Ok(Self { key, info, certificate: certificate.to_owned() })
    }

    /// The root's certificate in PEM form: what every node trusts.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// What it says.
    pub fn info(&self) -> &CertificateInfo {
        &self.info
    }

    /// The key in PEM form. It is the secret of the whole cluster.
    pub fn reveal_key(&self) -> Zeroizing<String> {
        pem("PRIVATE KEY", &Zeroizing::new(self.key.serialize_der()))
    }

    /// Signs a certificate for a node: its id as key, its name, for both ends of TLS.
    ///
    /// # Errors
    /// For a name outside the root's domains, a date beyond the root's end, or when signing fails.
    pub fn issue(&self, node: NodeId, name: &MemberName, now_s: u64, days: u16) -> Result<Issued, PkiError> {
        let inside = |domain: &String| {
            let (name, domain) = (name.as_str(), domain.as_str());
            name == domain || name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
        };
        if !self.info.domains.is_empty() && !self.info.domains.iter().any(inside) {
            return Err(PkiError::OutsideDomains);
        }
        let mut params = dated(name.as_str(), now_s, days)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names = vec![dns(name)?];
        params.use_authority_key_identifier_extension = true;
        let mut root = CertificateParams::default();
        root.distinguished_name = common_name(&self.info.subject);
        root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let signed = params.signed_by(&NodeKey(node), &Issuer::new(root, &self.key)).map_err(|_| PkiError::Sign)?;
        let info = CertificateInfo::from_der(signed.der())?;
        if info.not_after_s > self.info.not_after_s {
            return Err(PkiError::RootEnds);
        }
        Ok(Issued { certificate: pem("CERTIFICATE", signed.der()).to_string(), info })
    }
}

/// A request for a certificate (PKCS #10, PEM form), signed with the node's key, which stays where it is.
///
/// # Errors
/// When the library refuses.
pub fn request(node: &NodeSecret, name: &MemberName) -> Result<String, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name(name.as_str());
    params.subject_alt_names = vec![dns(name)?];
    let signed = params.serialize_request(&NodeSigner(node, node.node_id())).map_err(|_| PkiError::Sign)?;
    Ok(pem("CERTIFICATE REQUEST", signed.der()).to_string())
}

fn dated(name: &str, now_s: u64, days: u16) -> Result<CertificateParams, PkiError> {
    // Year 9999 ends there: what GeneralizedTime can say.
    const LAST_S: u64 = 253_402_300_799;
    let end_s = now_s.checked_add(u64::from(days) * 86_400).filter(|end| *end <= LAST_S).ok_or(PkiError::Date)?;
    let mut serial = [0; 16];
    rand::fill(&mut serial).map_err(|_| PkiError::Sign)?;
    // Positive, and of the same length always.
    serial[0] = serial[0] & 0x7f | 0x40;
    let at = |seconds| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let mut params = CertificateParams::default();
    params.not_before = at(now_s.saturating_sub(SKEW_S));
    params.not_after = at(end_s);
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = common_name(name);
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut full = DistinguishedName::new();
    full.push(DnType::CommonName, name);
    full
}

fn dns(name: &MemberName) -> Result<SanType, PkiError> {
    name.as_str().try_into().map(SanType::DnsName).map_err(|_| PkiError::Sign)
}

/// A public key as rcgen wants it.
struct NodeKey(NodeId);

impl PublicKeyData for NodeKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

/// A node that signs its own request.
struct NodeSigner<'a>(&'a NodeSecret, NodeId);

impl PublicKeyData for NodeSigner<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.1.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl SigningKey for NodeSigner<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.0.sign(message).to_vec())
    }
}

#[cfg(test)]
mod tests;
