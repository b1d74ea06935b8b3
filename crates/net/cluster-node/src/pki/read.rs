//! What certificates and requests say. Chains are TLS's to verify; this only reads.

use super::der::{self, Malformed, Values};
use crate::member::MemberName;
use aws_lc_rs::digest::{SHA256, digest};
use identity::NodeId;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer};
use thiserror::Error;

/// Most names that are read from one certificate. More are refused.
const NAMES_MAX: usize = 64;

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
/// PKCS #9, extensionRequest.
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];

/// Why a text is not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReadError {
    /// No block of the kind that belongs there.
    #[error("the file holds no such block in PEM form")]
    Pem,
    /// What is in it is broken.
    #[error("the block in the file is broken")]
    Malformed,
    /// A request that is not for a node id, or not signed with it.
    #[error("the request is not signed by a node's key")]
    Signature,
    /// A request without exactly one name.
    #[error("the request does not ask for one name")]
    Name,
}

impl From<Malformed> for ReadError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The common name of whom it is for.
    pub subject: String,
    /// Its number, most significant byte first.
    pub serial: Vec<u8>,
    /// UTC seconds from when on it is good.
    pub not_before_s: i64,
    /// UTC seconds until when.
    pub not_after_s: i64,
    /// The DNS names in it.
    pub names: Vec<String>,
    /// The domains that an authority may sign; none means any.
    pub domains: Vec<String>,
    /// Its key, if that is an Ed25519 key: a node id, or a root's key.
    pub node_id: Option<NodeId>,
    /// Whether it may sign others.
    pub is_authority: bool,
    /// SHA-256 of the whole: what people compare.
    pub fingerprint: [u8; 32],
}

impl CertificateInfo {
    /// The first certificate of a file in PEM form.
    ///
    /// # Errors
    /// When there is none, or it is broken.
    pub fn from_pem(text: &str) -> Result<Self, ReadError> {
        let der = CertificateDer::from_pem_slice(text.as_bytes()).map_err(|_| ReadError::Pem)?;
        Self::from_der(&der)
    }

    /// A certificate (RFC 5280, section 4.1).
    ///
    /// # Errors
    /// When it is broken.
    pub fn from_der(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut outer = Values::new(bytes);
        let mut inner = outer.inside(der::SEQUENCE)?.inside(der::SEQUENCE)?;
        if !outer.is_empty() {
            return Err(ReadError::Malformed);
        }
        inner.optional(der::context(0, true))?;
        let serial = inner.expect(der::INTEGER)?.content.to_vec();
        inner.expect(der::SEQUENCE)?;
        inner.expect(der::SEQUENCE)?;
        let mut dates = inner.inside(der::SEQUENCE)?;
        let (not_before_s, not_after_s) = (date(&mut dates)?, date(&mut dates)?);
        let subject = common_name(inner.inside(der::SEQUENCE)?)?;
        let node_id = NodeId::from_spki_der(inner.expect(der::SEQUENCE)?.whole);
        inner.optional(der::context(1, false))?;
        inner.optional(der::context(2, false))?;
        let mut extensions = Extensions::default();
        if let Some(list) = inner.optional(der::context(3, true))? {
            extensions = Extensions::read(list.inside().inside(der::SEQUENCE)?)?;
        }
        let fingerprint = digest(&SHA256, bytes).as_ref().try_into().map_err(|_| ReadError::Malformed)?;
        let Extensions { names, domains, is_authority } = extensions;
        Ok(Self { subject, serial, not_before_s, not_after_s, names, domains, node_id, is_authority, fingerprint })
    }
}

impl CertificateInfo {
    /// The fingerprint as people compare it: pairs of hexadecimal digits with colons between.
    pub fn fingerprint_text(&self) -> String {
        let pairs: Vec<String> = self.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
        pairs.join(":")
    }
}

/// A moment in UTC seconds since 1970 as `2026-11-28 14:00 UTC`.
pub fn utc_text(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // The year is guessed from its mean length, which is off by one at most.
    let mut year = 1970 + days.div_euclid(366);
    while days_since_1970(year + 1, 1, 1) <= days {
        year += 1;
    }
    let mut month = 1;
    while month < 12 && days_since_1970(year, month + 1, 1) <= days {
        month += 1;
    }
    let day = days - days_since_1970(year, month, 1) + 1;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", rest / 3_600, rest % 3_600 / 60)
}

/// A request for a certificate, whose signature is good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who asks.
    pub node_id: NodeId,
    /// The name that it asks for.
    pub name: MemberName,
}

impl Request {
    /// Reads a request (PKCS #10, RFC 2986) in PEM form and checks that it is signed with the key that it names.
    ///
    /// # Errors
    /// When it is broken, of another kind of key, not signed with it, or does not ask for exactly one name.
    pub fn from_pem(text: &str) -> Result<Self, ReadError> {
        let der = CertificateSigningRequestDer::from_pem_slice(text.as_bytes()).map_err(|_| ReadError::Pem)?;
        Self::from_der(&der)
    }

    /// The same in DER form.
    ///
    /// # Errors
    /// As [`Request::from_pem`].
    pub fn from_der(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut outer = Values::new(bytes).inside(der::SEQUENCE)?;
        let signed = outer.expect(der::SEQUENCE)?;
        outer.expect(der::SEQUENCE)?;
        let signature = outer.expect(der::BIT_STRING)?.content.strip_prefix(&[0]).ok_or(ReadError::Malformed)?;
        let mut inner = signed.inside();
        inner.expect(der::INTEGER)?;
        inner.expect(der::SEQUENCE)?;
        let node_id = NodeId::from_spki_der(inner.expect(der::SEQUENCE)?.whole).ok_or(ReadError::Signature)?;
        if !node_id.verify(signed.whole, signature) {
            return Err(ReadError::Signature);
        }
        let mut names = Vec::new();
        if let Some(attributes) = inner.optional(der::context(0, true))? {
            let mut attributes = attributes.inside();
            while !attributes.is_empty() {
                let mut attribute = attributes.inside(der::SEQUENCE)?;
                if attribute.expect(der::OBJECT)?.content == EXTENSION_REQUEST {
                    let list = attribute.inside(der::SET)?.inside(der::SEQUENCE)?;
                    names = Extensions::read(list)?.names;
                }
            }
        }
        let [name] = names.as_slice() else { return Err(ReadError::Name) };
        Ok(Self { node_id, name: name.parse().map_err(|_| ReadError::Name)? })
    }
}

#[derive(Default)]
struct Extensions {
    names: Vec<String>,
    domains: Vec<String>,
    is_authority: bool,
}

impl Extensions {
    fn read(mut list: Values<'_>) -> Result<Self, Malformed> {
        let mut found = Self::default();
        while !list.is_empty() {
            let mut extension = list.inside(der::SEQUENCE)?;
            let kind = extension.expect(der::OBJECT)?.content;
            extension.optional(der::BOOLEAN)?;
            let mut content = extension.inside(der::OCTET_STRING)?;
            match kind {
                SUBJECT_ALT_NAME => {
                    let mut names = content.inside(der::SEQUENCE)?;
                    while !names.is_empty() {
                        push_dns_name(names.value()?, &mut found.names)?;
                    }
                }
                BASIC_CONSTRAINTS => {
                    let flag = content.inside(der::SEQUENCE)?.optional(der::BOOLEAN)?;
                    found.is_authority = flag.is_some_and(|flag| flag.content == [0xff]);
                }
                NAME_CONSTRAINTS => {
                    let mut constraints = content.inside(der::SEQUENCE)?;
                    if let Some(permitted) = constraints.optional(der::context(0, true))? {
                        let mut subtrees = permitted.inside();
                        while !subtrees.is_empty() {
                            push_dns_name(subtrees.inside(der::SEQUENCE)?.value()?, &mut found.domains)?;
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

/// Takes a DNS name (GeneralName, `[2]`); other kinds of names are passed over.
fn push_dns_name(name: der::Value<'_>, names: &mut Vec<String>) -> Result<(), Malformed> {
    if name.tag == der::context(2, false) {
        if names.len() == NAMES_MAX || !name.content.is_ascii() {
            return Err(Malformed);
        }
        names.push(String::from_utf8_lossy(name.content).into_owned());
    }
    Ok(())
}

fn common_name(mut name: Values<'_>) -> Result<String, Malformed> {
    let mut found = String::new();
    while !name.is_empty() {
        let mut part = name.inside(der::SET)?.inside(der::SEQUENCE)?;
        let kind = part.expect(der::OBJECT)?.content;
        let value = part.value()?;
        // PrintableString is what older tools write.
        if kind == COMMON_NAME && matches!(value.tag, der::UTF8_STRING | 0x13) {
            found = std::str::from_utf8(value.content).map_err(|_| Malformed)?.to_owned();
        }
    }
    Ok(found)
}

/// UTC seconds of a date (RFC 5280, section 4.1.2.5).
fn date(values: &mut Values<'_>) -> Result<i64, Malformed> {
    let value = values.value()?;
    let digits = value.content.strip_suffix(b"Z").ok_or(Malformed)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let number = |at: usize, length: usize| -> Result<i64, Malformed> {
        let part = digits.get(at..at + length).ok_or(Malformed)?;
        Ok(part.iter().fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    };
    let (year, at) = match (value.tag, digits.len()) {
        (der::UTC_TIME, 12) => (number(0, 2).map(|year| if year < 50 { 2000 + year } else { 1900 + year })?, 2),
        (der::GENERALIZED_TIME, 14) => (number(0, 4)?, 4),
        _ => return Err(Malformed),
    };
    let (month, day) = (number(at, 2)?, number(at + 2, 2)?);
    let (hour, minute, second) = (number(at + 4, 2)?, number(at + 6, 2)?, number(at + 8, 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return Err(Malformed);
    }
    Ok(days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days from 1 January 1970 to a date of the Gregorian calendar. Years are counted from March, so that the day which leap
/// years add is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let months_since_march = (month + 9) % 12;
    let day_of_year = (153 * months_since_march + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + day_of_year - 719_468
}
