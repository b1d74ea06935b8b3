//! An edition with signatures, and what makes it a document.

use super::{EDITION_BYTES_MAX, Edition};
use crate::announcement::EncodingError;
use crate::electorate::{Electorate, MEMBERS_MAX};
use crate::encoding::{ReadError, Reader, WriteBytes};
use crate::error::Problem;
use crate::lines::hex;
use crate::network::NetworkDocument;
use identity::{NodeId, NodeSecret, SIGNATURE_LEN};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use thiserror::Error;

/// Why an edition is no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnsignedError {
    /// It was made for other members.
    #[error("it was made for the members of term {found}, and those of term {needed} must sign")]
    OtherElectorate {
        /// The term that it names.
        found: u64,
        /// The term that counts.
        needed: u64,
    },
    /// A signature is not good, or nobody's who counts.
    #[error("{0}")]
    Signature(Problem),
    /// Not enough members signed.
    #[error("{found} members of the directory signed, and {needed} must")]
    TooFew {
        /// How many did.
        found: usize,
        /// How many must.
        needed: usize,
    },
}

/// An edition with any number of signatures, good ones or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedEdition {
    edition: Arc<Edition>,
    signatures: BTreeMap<NodeId, [u8; SIGNATURE_LEN]>,
}

impl SignedEdition {
    /// Nobody has signed yet.
    pub fn new(edition: Arc<Edition>) -> Self {
        Self { edition, signatures: BTreeMap::new() }
    }

    /// What is signed.
    pub fn edition(&self) -> &Arc<Edition> {
        &self.edition
    }

    /// Who has signed, ascending.
    pub fn signatures(&self) -> impl ExactSizeIterator<Item = (NodeId, &[u8; SIGNATURE_LEN])> {
        self.signatures.iter().map(|(by, bytes)| (*by, bytes))
    }

    /// Signs as a member.
    ///
    /// # Errors
    /// [`Problem::UnknownMember`].
    pub fn sign(&mut self, secret: &NodeSecret) -> Result<(), Problem> {
        let message = self.edition.name().message(self.edition.network_id());
        self.add(secret.node_id(), secret.sign(&message))
    }

    /// Adds a member's signature, which is looked at by [`SignedEdition::verify`] and not here.
    ///
    /// # Errors
    /// [`Problem::UnknownMember`].
    pub fn add(&mut self, member: NodeId, signature: [u8; SIGNATURE_LEN]) -> Result<(), Problem> {
        if !self.edition.electorate().contains(&member) {
            return Err(Problem::UnknownMember);
        }
        self.signatures.insert(member, signature);
        Ok(())
    }

    /// The document, if enough members of this electorate signed it, and nobody else.
    ///
    /// # Errors
    /// [`UnsignedError`].
    pub fn verify(self, electorate: &Electorate) -> Result<NetworkDocument, UnsignedError> {
        let named = self.edition.electorate();
        if named != electorate {
            return Err(UnsignedError::OtherElectorate { found: named.term(), needed: electorate.term() });
        }
        let message = self.edition.name().message(self.edition.network_id());
        for (member, signature) in &self.signatures {
            if !electorate.contains(member) {
                return Err(UnsignedError::Signature(Problem::UnknownMember));
            }
            if !member.verify(&message, signature) {
                return Err(UnsignedError::Signature(Problem::MemberSignature));
            }
        }
        let (found, needed) = (self.signatures.len(), electorate.quorum());
        if found < needed {
            Err(UnsignedError::TooFew { found, needed })
        } else {
            Ok(NetworkDocument::of_members(self))
        }
    }

    /// The same by the members that it names itself, for whoever has nothing but a file. The first members are those of the
    /// charter, and so of the network's id. Later ones are taken at their word: whoever puts an edition into a file has followed
    /// the changes of members (`relay-directory`'s client does).
    ///
    /// # Errors
    /// [`UnsignedError`].
    pub fn verify_by_own(self) -> Result<NetworkDocument, UnsignedError> {
        let (named, first) = (self.edition.electorate(), &self.edition.head().founding().electorate);
        let electorate = if named.term() > first.term() { named.clone() } else { first.clone() };
        self.verify(&electorate)
    }

    /// The bytes of a file.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.edition.body();
        write_signatures(&mut out, &self.signatures);
        out
    }

    /// Reads such a file. Nobody looks at signatures here: [`SignedEdition::verify`] does, and relays' own signatures are for
    /// members, who looked at them before they signed.
    ///
    /// # Errors
    /// When it is not exactly as [`SignedEdition::encode`] writes it, or says what may not be.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        if bytes.len() > EDITION_BYTES_MAX {
            return Err(Problem::TooLong.into());
        }
        let mut input = Reader::new(bytes);
        let edition = Arc::new(Edition::read(&mut input)?);
        let signatures = read_signatures(&mut input)?;
        input.end()?;
        Ok(Self { edition, signatures })
    }

    pub(crate) fn text(&self) -> String {
        let mut text = self.edition.text();
        for (member, signature) in &self.signatures {
            let _fits = writeln!(text, "member-signature {member} {}", hex(signature));
        }
        text
    }

    pub(super) fn of(edition: Edition, signatures: BTreeMap<NodeId, [u8; SIGNATURE_LEN]>) -> Self {
        Self { edition: Arc::new(edition), signatures }
    }
}

pub(super) fn write_signatures(out: &mut Vec<u8>, signatures: &BTreeMap<NodeId, [u8; SIGNATURE_LEN]>) {
    out.u8(signatures.len() as u8);
    for (member, signature) in signatures {
        out.raw(&member.0);
        out.raw(signature);
    }
}

pub(super) fn read_signatures(input: &mut Reader<'_>) -> Result<BTreeMap<NodeId, [u8; SIGNATURE_LEN]>, ReadError> {
    let count = usize::from(input.u8()?);
    if count > MEMBERS_MAX {
        return Err(ReadError::Range);
    }
    let mut signatures = BTreeMap::new();
    let mut last = None;
    for _ in 0..count {
        let member = NodeId(input.array()?);
        if last.is_some_and(|last| last >= member) {
            return Err(ReadError::Range);
        }
        last = Some(member);
        signatures.insert(member, input.array()?);
    }
    Ok(signatures)
}
