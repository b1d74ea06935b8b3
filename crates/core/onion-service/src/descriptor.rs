//! What a client needs to reach a service (docs/spec/onion-service.md, "Record").
//!
//! ```text
//! content | salt 16 | outer 2649 | tag 16 |                                                    2681
//! outer   | 0 open, 1 closed | cookie 32 | ephemeral key 32 | 16 x sealed cookie 48 | inner 1800 | tag 16 |
//! inner   | version 1 | work 1 | points 1 | zero 1 | features 4 | KEM key 1184 | 6 x (relay, name, key) 96 | zero 32 |
//! ```

mod access;

use crate::day::DayKey;
use crate::once;
use access::{Access, SECTION_LEN};
use identity::{AccessKey, AccessSecret, NodeId, SIGNATURE_LEN};
use network_document::NetworkId;
use network_document::encoding::{ReadError, Reader, WriteBytes};
use packet_crypto::keys::{KEM_KEY_LEN, TAG_LEN, expand};
use relay_directory::ServiceRecord;
use std::fmt;
use thiserror::Error;
use zeroize::Zeroizing;

pub(crate) use access::is_usable;

/// Introduction points that a record names at most.
pub const POINTS_MAX: usize = 6;
/// Clients that a service lets in at most when it does not let in everybody.
pub const CLIENTS_MAX: usize = access::ENTRIES;
/// Leading zero bits that a service may ask for at most: a second or so of one core. A client refuses more.
pub const WORK_BITS_MAX: u8 = 20;
/// Bytes of the content of each record, whatever it says.
pub const CONTENT_LEN: usize = SALT_LEN + SECTION_LEN + INNER_LEN + 2 * TAG_LEN;
const VERSION: u8 = 1;
const SALT_LEN: usize = 16;
const POINT_LEN: usize = 96;
const HEAD_LEN: usize = 8;
/// Bytes of what only clients who are let in can read: fixed, with 32 for later fields.
const INNER_LEN: usize = HEAD_LEN + KEM_KEY_LEN + POINTS_MAX * POINT_LEN + 32;

/// A relay that takes introductions for a service.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IntroductionPoint {
    /// The relay.
    pub relay: NodeId,
    /// Ed25519: the name under which the service waits there, of this point alone.
    pub name: [u8; 32],
    /// X25519: what introductions there are sealed to.
    pub key: [u8; 32],
}

/// What a record says to those who may open it.
#[derive(Clone, PartialEq, Eq)]
pub struct Descriptor {
    /// 1 to [`POINTS_MAX`], in no order.
    pub points: Vec<IntroductionPoint>,
    /// ML-KEM-768: what introductions of this record are sealed to beside the point's key.
    pub kem_key: Box<[u8; KEM_KEY_LEN]>,
    /// Leading zero bits that an introduction should have worked for; 0 for none.
    pub work_bits: u8,
    /// Bits whose meaning belongs to the crates above.
    pub features: u32,
    /// 32 random bytes that only those have who opened the record: an introduction is bound to it.
    pub cookie: Zeroizing<[u8; 32]>,
}

/// Why a record does not lead to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// It is of another service, another day or another network.
    #[error("the record is not the one that was asked for")]
    Other,
    /// Whoever gave it altered it or made it up.
    #[error("the record is not signed by the service")]
    Signature,
    /// It is old.
    #[error("the record has expired")]
    Expired,
    /// This client is not on the list of the service, or it has no access key.
    #[error("the service needs authorisation: its operator must add this client's access key")]
    Authorisation,
    /// The service signed something that this program does not understand.
    #[error("the record is of another version or damaged")]
    Malformed,
}

impl From<ReadError> for OpenError {
    fn from(_: ReadError) -> Self {
        Self::Malformed
    }
}

/// An access key with which nobody can agree on anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an access key on the list is no key of a client")]
pub struct AccessKeyError;

/// What stands beside the content in a record and is bound to it.
#[derive(Clone, Copy)]
pub(crate) struct Label {
    /// Of two records of a day the higher one counts.
    pub(crate) revision: u64,
    /// When it ends, in milliseconds since 1970 UTC.
    pub(crate) expires_ms: u64,
}

impl Descriptor {
    /// The content of a record. With `clients` only they can open it, without everybody who knows the address. `random` fills
    /// bytes from a cryptographic random source.
    pub(crate) fn seal(
        &self,
        day: &DayKey,
        label: Label,
        clients: &[AccessKey],
        random: &mut dyn FnMut(&mut [u8]),
    ) -> Result<Vec<u8>, AccessKeyError> {
        let mut salt = [0; SALT_LEN];
        random(&mut salt);
        let keys = Keys { day, label, salt };
        let mut inner = self.encode();
        once::seal(&keys.inner(&self.cookie), &mut inner);
        let mut outer = access::section(&self.cookie, day, &salt, clients, random)?;
        outer.raw(&inner);
        once::seal(&keys.outer(), &mut outer);
        Ok([salt.as_slice(), &outer].concat())
    }

    /// Opens a record that somebody gave for this day's key.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        network: NetworkId,
        day: &DayKey,
        record: &ServiceRecord,
        directory_ms: u64,
        secret: Option<&AccessSecret>,
    ) -> Result<Self, OpenError> {
        if record.key != day.blinded {
            return Err(OpenError::Other);
        }
        if !NodeId(record.key).verify(&record.message(network), &record.signature) {
            return Err(OpenError::Signature);
        }
        if record.expires_ms <= directory_ms {
            return Err(OpenError::Expired);
        }
        let label = Label { revision: record.revision, expires_ms: record.expires_ms };
        Self::open_content(day, label, &record.content, secret)
    }

    pub(crate) fn open_content(
        day: &DayKey,
        label: Label,
        content: &[u8],
        secret: Option<&AccessSecret>,
    ) -> Result<Self, OpenError> {
        let (salt, sealed) = content.split_first_chunk::<SALT_LEN>().ok_or(OpenError::Malformed)?;
        if content.len() != CONTENT_LEN {
            return Err(OpenError::Malformed);
        }
        let keys = Keys { day, label, salt: *salt };
        let outer = once::open(&keys.outer(), sealed).ok_or(OpenError::Other)?;
        let (section, inner) = outer.split_first_chunk::<SECTION_LEN>().ok_or(OpenError::Malformed)?;
        let cookie = match Access::read(section)? {
            Access::Open(cookie) => cookie,
            Access::Closed(list) => {
                let found = secret.and_then(|secret| list.find(secret, day, salt));
                found.ok_or(OpenError::Authorisation)?
            }
        };
        let inner = once::open(&keys.inner(&cookie), inner).ok_or(OpenError::Malformed)?;
        Self::decode(&inner, cookie)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut inner = Vec::with_capacity(INNER_LEN + TAG_LEN);
        inner.raw(&[VERSION, self.work_bits, self.points.len() as u8, 0]);
        inner.u32(self.features);
        inner.raw(self.kem_key.as_slice());
        for point in &self.points {
            inner.raw(&point.relay.0);
            inner.raw(&point.name);
            inner.raw(&point.key);
        }
        inner.resize(INNER_LEN, 0);
        inner
    }

    pub(crate) fn decode(inner: &[u8], cookie: Zeroizing<[u8; 32]>) -> Result<Self, OpenError> {
        if inner.len() != INNER_LEN {
            return Err(OpenError::Malformed);
        }
        let mut reader = Reader::new(inner);
        let [version, work_bits, points, _] = reader.array()?;
        if version != VERSION || work_bits > WORK_BITS_MAX || !(1..=POINTS_MAX).contains(&usize::from(points)) {
            return Err(OpenError::Malformed);
        }
        let features = reader.u32()?;
        let kem_key = Box::new(reader.array()?);
        let mut read = Vec::with_capacity(POINTS_MAX);
        for _ in 0..points {
            let (relay, name) = (NodeId(reader.array()?), reader.array()?);
            read.push(IntroductionPoint { relay, name, key: reader.array()? });
        }
        Ok(Self { points: read, kem_key, work_bits, features, cookie })
    }
}

impl fmt::Debug for Descriptor {
    /// Names nobody.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Descriptor({} points, {} bits, ..)", self.points.len(), self.work_bits)
    }
}

/// A record with everything but the signature of the day's secret key over [`ServiceRecord::message`], for which it has zeros.
pub(crate) fn unsigned(day: &DayKey, label: Label, content: Vec<u8>) -> ServiceRecord {
    let Label { revision, expires_ms } = label;
    ServiceRecord { key: day.blinded, revision, expires_ms, content, signature: [0; SIGNATURE_LEN] }
}

/// The keys of one content.
struct Keys<'a> {
    day: &'a DayKey,
    label: Label,
    salt: [u8; SALT_LEN],
}

impl Keys<'_> {
    fn outer(&self) -> Zeroizing<[u8; 16]> {
        let (revision, expires) = (self.label.revision.to_be_bytes(), self.label.expires_ms.to_be_bytes());
        let info = [b"hushwire service record 1 outer".as_slice(), &self.salt, &self.day.blinded, &revision, &expires];
        expand(self.day.subcredential(), &info)
    }

    fn inner(&self, cookie: &[u8; 32]) -> Zeroizing<[u8; 16]> {
        let (revision, expires) = (self.label.revision.to_be_bytes(), self.label.expires_ms.to_be_bytes());
        let label = b"hushwire service record 1 inner".as_slice();
        expand(cookie, &[label, self.day.subcredential(), &self.salt, &self.day.blinded, &revision, &expires])
    }
}

#[cfg(test)]
mod tests;
