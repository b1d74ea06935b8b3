//! The state as bytes, and back. Layout: docs/spec/relay-directory.md, section 7.

use super::{ADMISSIONS_MAX, Admitted, Clock, DESCRIBES_MAX, Directory, SUCCESSIONS_MAX, services::Services};
use crate::order::{read_admission, write_admission};
use crate::succession::{SUCCESSION_BYTES_MAX, Succession};
use identity::NodeId;
use network_document::encoding::{ReadError, Reader, WriteBytes};
use network_document::{
    ANNOUNCEMENT_BYTES_MAX, Charter, EDITION_BYTES_MAX, Electorate, EncodingError, MEMBERS_MAX, Parameters, Problem,
    SignedAnnouncement, SignedEdition,
};
use packet_crypto::keys::sha256;
use std::sync::Arc;

const MAGIC: [u8; 8] = *b"HWDIRS01";
/// Bytes of a text in a checkpoint at most.
const TEXT_BYTES_MAX: usize = 4_096;

impl Directory {
    /// The whole state, the same bytes for the same state.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.raw(&MAGIC);
        out.raw(&self.network.0);
        out.u64(self.time_ms);
        out.u8(self.clocks.len() as u8);
        for (member, clock) in &self.clocks {
            out.raw(&member.0);
            out.u64(clock.sequence);
            out.u64(clock.utc_ms);
        }
        out.u64(self.orders);
        out.bytes(self.electorate.text().as_bytes());
        out.bytes(self.parameters.text().as_bytes());
        out.count(self.admitted.len());
        for (node, admitted) in &self.admitted {
            out.raw(&node.0);
            write_admission(&mut out, &admitted.bounds);
            out.u64(admitted.floor_ms);
            out.u8(admitted.described);
        }
        out.count(self.relays.len());
        for relay in self.relays.values() {
            out.bytes(&relay.encode());
        }
        out.u64(self.index);
        for edition in [&self.pending, &self.published] {
            out.u8(u8::from(edition.is_some()));
            if let Some(edition) = edition {
                out.bytes(&edition.encode());
            }
        }
        out.count(self.successions.len());
        for succession in &self.successions {
            out.bytes(&succession.encode());
        }
        self.services.write(&mut out);
        out
    }

    /// SHA-256 over the state.
    pub fn hash(&self) -> [u8; 32] {
        sha256(&self.encode())
    }

    /// The state of such bytes. Signatures in it are not looked at again: the bytes must be a member's own, or have the hash that
    /// the log or a term's file names.
    ///
    /// # Errors
    /// When they are no state of this network.
    pub fn decode(charter: Arc<Charter>, bytes: &[u8]) -> Result<Self, EncodingError> {
        let mut state = Self::new(charter)?;
        let mut input = Reader::new(bytes);
        if input.array::<8>()? != MAGIC || input.array::<32>()? != state.network.0 {
            return Err(Problem::OtherKind.into());
        }
        state.time_ms = input.u64()?;
        state.read_clocks(&mut input)?;
        state.orders = input.u64()?;
        state.electorate = Electorate::parse(input.bytes(TEXT_BYTES_MAX)?)?;
        state.parameters = Parameters::parse(input.bytes(TEXT_BYTES_MAX)?)?;
        state.read_admitted(&mut input)?;
        state.read_relays(&mut input)?;
        state.index = input.u64()?;
        state.pending = state.read_edition(&mut input)?;
        state.published = state.read_edition(&mut input)?;
        if state.pending.as_ref().is_some_and(|pending| pending.edition().index() != state.index) {
            return Err(ReadError::Range.into());
        }
        for _ in 0..input.count(SUCCESSIONS_MAX)? {
            let succession = Succession::decode(input.bytes(SUCCESSION_BYTES_MAX)?)?;
            state.successions.push_back(succession);
        }
        state.services = Services::read(&mut input)?;
        input.end()?;
        Ok(state)
    }

    fn read_clocks(&mut self, input: &mut Reader<'_>) -> Result<(), EncodingError> {
        let count = usize::from(input.u8()?);
        if count > MEMBERS_MAX {
            return Err(ReadError::Range.into());
        }
        for _ in 0..count {
            let (member, sequence, utc_ms) = (NodeId(input.array()?), input.u64()?, input.u64()?);
            if self.clocks.last_key_value().is_some_and(|(last, _)| *last >= member) {
                return Err(ReadError::Range.into());
            }
            self.clocks.insert(member, Clock { sequence, utc_ms });
        }
        Ok(())
    }

    fn read_admitted(&mut self, input: &mut Reader<'_>) -> Result<(), EncodingError> {
        for _ in 0..input.count(ADMISSIONS_MAX)? {
            let (node, bounds) = (NodeId(input.array()?), read_admission(input)?);
            let (floor_ms, described) = (input.u64()?, input.u8()?);
            let ascending = self.admitted.last_key_value().is_none_or(|(last, _)| *last < node);
            if !ascending || described > DESCRIBES_MAX {
                return Err(ReadError::Range.into());
            }
            self.admitted.insert(node, Admitted { bounds, floor_ms, described });
        }
        Ok(())
    }

    fn read_relays(&mut self, input: &mut Reader<'_>) -> Result<(), EncodingError> {
        for _ in 0..input.count(ADMISSIONS_MAX)? {
            let relay = Arc::new(SignedAnnouncement::decode(input.bytes(ANNOUNCEMENT_BYTES_MAX)?)?);
            let ascending = self.relays.last_key_value().is_none_or(|(last, _)| *last < relay.node_id());
            let admitted = self.admitted.contains_key(&relay.node_id());
            if !ascending || !admitted || self.claims.check(relay.announcement()).is_err() {
                return Err(ReadError::Range.into());
            }
            self.claims.take(relay.announcement());
            self.relays.insert(relay.node_id(), relay);
        }
        Ok(())
    }

    fn read_edition(&self, input: &mut Reader<'_>) -> Result<Option<SignedEdition>, EncodingError> {
        if !input.flag()? {
            return Ok(None);
        }
        let edition = SignedEdition::decode(input.bytes(EDITION_BYTES_MAX)?)?;
        if edition.edition().network_id() != self.network {
            return Err(Problem::OtherKind.into());
        }
        Ok(Some(edition))
    }
}
