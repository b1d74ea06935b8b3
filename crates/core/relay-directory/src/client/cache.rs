//! What a client keeps on disk, so that nobody can take it back to an older edition after a start; and what it hands to people when a
//! directory has forked.

use super::{DirectoryClient, Evidence, HISTORY_MAX, Known, SignedName};
use identity::NodeId;
use network_document::encoding::{ReadError, Reader, WriteBytes};
use network_document::{
    Charter, EDITION_BYTES_MAX, EditionName, Electorate, EncodingError, MEMBERS_MAX, NetworkId, Problem, SignedEdition,
};
use std::collections::BTreeMap;

const MAGIC: [u8; 8] = *b"HWDIRC01";
const EVIDENCE_MAGIC: [u8; 8] = *b"HWFORK01";
/// Bytes of a text in it at most.
const TEXT_BYTES_MAX: usize = 16_384;
/// Bytes of the evidence of a fork at most.
pub const EVIDENCE_BYTES_MAX: usize = EDITION_BYTES_MAX + 2_048;

impl DirectoryClient {
    /// The bytes of a file: charter, members, the names of the last editions, and the newest one. Write it before using what
    /// [`DirectoryClient::handle_answer`] took. Evidence is for people and is not in it.
    pub fn save(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.raw(&MAGIC);
        out.raw(&self.network.0);
        out.u8(u8::from(self.known.is_some()));
        if let Some(known) = &self.known {
            out.bytes(known.charter.text().as_bytes());
            out.bytes(known.electorate.text().as_bytes());
        }
        out.count(self.history.len());
        self.history.iter().for_each(|signed| write_name(&mut out, signed));
        let edition = self.good.as_ref().and_then(|good| good.as_edition());
        out.u8(u8::from(edition.is_some()));
        if let Some(edition) = edition {
            out.bytes(&edition.encode());
        }
        out
    }

    /// Of such bytes. The edition's signatures are looked at again. An edition of members who were followed by others since is
    /// dropped: it would be refused if it came today.
    ///
    /// # Errors
    /// When they are no such file of this network.
    pub fn restore(network: NetworkId, bytes: &[u8]) -> Result<Self, EncodingError> {
        let mut client = Self::new(network);
        let mut input = Reader::new(bytes);
        if input.array::<8>()? != MAGIC || input.array::<32>()? != network.0 {
            return Err(Problem::OtherKind.into());
        }
        if input.flag()? {
            let charter = Charter::parse(input.bytes(TEXT_BYTES_MAX)?)?;
            let electorate = Electorate::parse(input.bytes(TEXT_BYTES_MAX)?)?;
            if charter.network_id() != network || charter.founding().is_none() {
                return Err(Problem::OtherKind.into());
            }
            client.known = Some(Known { charter, electorate });
        }
        for _ in 0..input.count(HISTORY_MAX)? {
            let signed = read_name(&mut input)?;
            if signed.name.index <= client.index() {
                return Err(ReadError::Range.into());
            }
            client.history.push_back(signed);
        }
        if input.flag()? {
            let signed = SignedEdition::decode(input.bytes(EDITION_BYTES_MAX)?)?;
            client.restore_edition(signed)?;
        }
        input.end()?;
        Ok(client)
    }

    fn restore_edition(&mut self, signed: SignedEdition) -> Result<(), EncodingError> {
        let newest = self.history.back().map(|newest| newest.name);
        let edition = signed.edition();
        if newest != Some(edition.name()) || edition.network_id() != self.network {
            return Err(Problem::OtherDocument.into());
        }
        let electorate = self.electorate().ok_or(Problem::OtherKind)?.clone();
        self.good = signed.verify(&electorate).ok();
        Ok(())
    }
}

impl Evidence {
    /// The bytes of a file: whoever knows the network's members can check both signatures without believing whoever wrote it.
    pub fn encode(&self, network: NetworkId) -> Vec<u8> {
        let mut out = Vec::with_capacity(EVIDENCE_BYTES_MAX - EDITION_BYTES_MAX + self.other.len());
        out.raw(&EVIDENCE_MAGIC);
        out.raw(&network.0);
        write_name(&mut out, &self.known);
        out.bytes(&self.other);
        out
    }

    /// Reads such bytes, and of which network they are. Nobody looks at signatures here.
    ///
    /// # Errors
    /// When they are no evidence, or the other edition is none.
    pub fn decode(bytes: &[u8]) -> Result<(NetworkId, Self), EncodingError> {
        let mut input = Reader::new(bytes);
        if input.array::<8>()? != EVIDENCE_MAGIC {
            return Err(Problem::OtherKind.into());
        }
        let network = NetworkId(input.array()?);
        let known = read_name(&mut input)?;
        let other = input.bytes(EDITION_BYTES_MAX)?.to_vec();
        input.end()?;
        SignedEdition::decode(&other)?;
        Ok((network, Self { known, other }))
    }
}

fn write_name(out: &mut Vec<u8>, signed: &SignedName) {
    out.u64(signed.name.index);
    out.raw(&signed.name.hash);
    out.u8(signed.signatures.len() as u8);
    for (member, signature) in &signed.signatures {
        out.raw(&member.0);
        out.raw(signature);
    }
}

fn read_name(input: &mut Reader<'_>) -> Result<SignedName, ReadError> {
    let name = EditionName { index: input.u64()?, hash: input.array()? };
    let count = usize::from(input.u8()?);
    if count > MEMBERS_MAX {
        return Err(ReadError::Range);
    }
    let mut signatures = BTreeMap::new();
    for _ in 0..count {
        let member = NodeId(input.array()?);
        if signatures.last_key_value().is_some_and(|(last, _)| *last >= member) {
            return Err(ReadError::Range);
        }
        signatures.insert(member, input.array()?);
    }
    Ok(SignedName { name, signatures })
}
