//! What one edition has that another has not: so that a client with the last one fetches little.

use super::head::EditionHead;
use super::signed::{read_signatures, write_signatures};
use super::{EDITION_BYTES_MAX, EDITION_RELAYS_MAX, Edition, HEAD_BYTES_MAX, SignedEdition, read_announcement};
use crate::announcement::{EncodingError, SignedAnnouncement};
use crate::encoding::{ReadError, Reader, WriteBytes};
use crate::error::Problem;
use identity::{NodeId, SIGNATURE_LEN};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a difference begins with.
const MAGIC: [u8; 8] = *b"HWEDIF01";

/// How to make an edition of an older one. Only the result is signed: whoever applies a difference verifies that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EditionDiff {
    base: [u8; 32],
    target: [u8; 32],
    head: EditionHead,
    /// Places of the base whose relays are gone, ascending.
    removed: Vec<u16>,
    /// Relays that are new or say something else, ascending by name.
    changed: Vec<Arc<SignedAnnouncement>>,
    signatures: BTreeMap<NodeId, [u8; SIGNATURE_LEN]>,
}

impl EditionDiff {
    /// From one edition to another.
    pub fn between(base: &Edition, target: &SignedEdition) -> Self {
        let edition = target.edition();
        let gone = |relay: &Arc<SignedAnnouncement>| edition.place(&relay.node_id()).is_none();
        let places = base.relays().iter().enumerate().filter(|(_, relay)| gone(relay));
        let same = |relay: &Arc<SignedAnnouncement>| {
            base.place(&relay.node_id()).is_some_and(|place| &base.relays()[place] == relay)
        };
        Self {
            base: base.hash(),
            target: edition.hash(),
            head: edition.head().clone(),
            removed: places.map(|(place, _)| place as u16).collect(),
            changed: edition.relays().iter().filter(|relay| !same(relay)).cloned().collect(),
            signatures: target.signatures().map(|(by, bytes)| (by, *bytes)).collect(),
        }
    }

    /// The hash of the edition that it begins with.
    pub fn base(&self) -> [u8; 32] {
        self.base
    }

    /// Makes the new edition, which nobody has verified yet.
    ///
    /// # Errors
    /// [`Problem::OtherDocument`] when `base` is another edition, or the result is not the one that was meant; otherwise what
    /// is wrong with the relays.
    pub fn apply(self, base: &Edition) -> Result<SignedEdition, Problem> {
        if base.hash() != self.base {
            return Err(Problem::OtherDocument);
        }
        let mut relays: BTreeMap<NodeId, Arc<SignedAnnouncement>> =
            base.relays().iter().map(|relay| (relay.node_id(), Arc::clone(relay))).collect();
        for place in &self.removed {
            let relay = base.relays().get(usize::from(*place)).ok_or(Problem::OtherDocument)?;
            relays.remove(&relay.node_id());
        }
        relays.extend(self.changed.into_iter().map(|relay| (relay.node_id(), relay)));
        let edition = Edition::new(self.head, relays.into_values().collect())?;
        let meant = edition.hash() == self.target;
        if meant { Ok(SignedEdition::of(edition, self.signatures)) } else { Err(Problem::OtherDocument) }
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.raw(&MAGIC);
        out.raw(&self.base);
        out.raw(&self.target);
        out.bytes(self.head.text().as_bytes());
        out.count(self.removed.len());
        for place in &self.removed {
            out.u16(*place);
        }
        out.count(self.changed.len());
        for relay in &self.changed {
            let bytes = relay.encode();
            out.count(bytes.len());
            out.raw(&bytes);
        }
        write_signatures(&mut out, &self.signatures);
        out
    }

    /// Reads such bytes.
    ///
    /// # Errors
    /// When they are not exactly as [`EditionDiff::encode`] writes them, or say what may not be.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        if bytes.len() > EDITION_BYTES_MAX {
            return Err(Problem::TooLong.into());
        }
        let mut input = Reader::new(bytes);
        if input.array::<8>()? != MAGIC {
            return Err(Problem::OtherKind.into());
        }
        let (base, target) = (input.array()?, input.array()?);
        let head = EditionHead::parse(input.bytes(HEAD_BYTES_MAX)?)?;
        let mut removed = Vec::new();
        for _ in 0..input.count(EDITION_RELAYS_MAX)? {
            let place = input.u16()?;
            if removed.last().is_some_and(|last| *last >= place) {
                return Err(ReadError::Range.into());
            }
            removed.push(place);
        }
        let mut changed: Vec<Arc<SignedAnnouncement>> = Vec::new();
        for _ in 0..input.count(EDITION_RELAYS_MAX)? {
            let relay = read_announcement(&mut input)?;
            if changed.last().is_some_and(|last| last.node_id() >= relay.node_id()) {
                return Err(Problem::Order { keyword: "relay" }.into());
            }
            changed.push(Arc::new(relay));
        }
        let signatures = read_signatures(&mut input)?;
        input.end()?;
        Ok(Self { base, target, head, removed, changed, signatures })
    }
}
