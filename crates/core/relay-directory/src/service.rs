//! What an onion service leaves in the directory: sealed for whoever knows its address, and here only bytes with an owner.

use crate::refusal::Refusal;
use identity::{NodeId, NodeSecret, SIGNATURE_LEN};
use network_document::NetworkId;
use network_document::encoding::{ReadError, Reader, WriteBytes};

/// Bytes of a record's content at most: three introduction points with post-quantum keys, and room.
pub const SERVICE_BYTES_MAX: usize = 8_192;
/// Bytes of a record beside its content.
const RECORD_FRAME_BYTES: usize = 32 + 8 + 8 + 4 + SIGNATURE_LEN;
/// What an owner signs before network and record.
const SERVICE_CONTEXT: &[u8] = b"hushwire service record 1";
/// What a member signs before network and record.
const SPONSOR_CONTEXT: &[u8] = b"hushwire service sponsor 1";

/// A record: replaced by one of a higher revision, forgotten when it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRecord {
    /// The Ed25519 key under which it is found: a service's key of the day, which nobody can tell from another day's.
    pub key: [u8; 32],
    /// Of two the higher one counts.
    pub revision: u64,
    /// When it ends, in milliseconds since 1970 UTC.
    pub expires_ms: u64,
    /// At most [`SERVICE_BYTES_MAX`] bytes that only clients can read.
    pub content: Vec<u8>,
    /// The key's signature, over [`ServiceRecord::message`].
    pub signature: [u8; SIGNATURE_LEN],
}

impl ServiceRecord {
    /// What the owner of the key signs.
    pub fn message(&self, network: NetworkId) -> Vec<u8> {
        let mut message = [SERVICE_CONTEXT, &network.0].concat();
        self.write_content(&mut message);
        message
    }

    /// The bytes, as they stand in requests, answers and commands.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(RECORD_FRAME_BYTES + self.content.len());
        self.write(&mut out);
        out
    }

    /// Reads such bytes. Nobody looks at the signature here.
    ///
    /// # Errors
    /// When they are not exactly as [`ServiceRecord::encode`] writes them, or the content has more than [`SERVICE_BYTES_MAX`] bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ReadError> {
        let mut input = Reader::new(bytes);
        let record = Self::read(&mut input)?;
        input.end()?;
        Ok(record)
    }

    /// Looks at its size and its owner's signature.
    ///
    /// # Errors
    /// [`Refusal::Bulky`], [`Refusal::Signature`].
    pub fn verify(&self, network: NetworkId) -> Result<(), Refusal> {
        if self.content.len() > SERVICE_BYTES_MAX {
            return Err(Refusal::Bulky);
        }
        let owned = NodeId(self.key).verify(&self.message(network), &self.signature);
        if owned { Ok(()) } else { Err(Refusal::Signature) }
    }

    fn write_content(&self, out: &mut Vec<u8>) {
        out.raw(&self.key);
        out.u64(self.revision);
        out.u64(self.expires_ms);
        out.bytes(&self.content);
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.write_content(out);
        out.raw(&self.signature);
    }

    pub(crate) fn read(input: &mut Reader<'_>) -> Result<Self, ReadError> {
        let (key, revision, expires_ms) = (input.array()?, input.u64()?, input.u64()?);
        let content = input.bytes(SERVICE_BYTES_MAX)?.to_vec();
        Ok(Self { key, revision, expires_ms, content, signature: input.array()? })
    }
}

/// A record that a member lets in. Anybody can make keys, so floods are the member's: it has a quota, and whatever it wants to
/// let its clients do within that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SponsoredService {
    /// What is stored.
    pub record: ServiceRecord,
    /// Which member lets it in.
    pub sponsor: NodeId,
    signature: [u8; SIGNATURE_LEN],
}

impl SponsoredService {
    /// As a member.
    ///
    /// # Errors
    /// [`Refusal::Bulky`] for more than [`SERVICE_BYTES_MAX`] bytes.
    pub fn new(network: NetworkId, record: ServiceRecord, member: &NodeSecret) -> Result<Self, Refusal> {
        if record.content.len() > SERVICE_BYTES_MAX {
            return Err(Refusal::Bulky);
        }
        let signature = member.sign(&sponsored(network, &record));
        Ok(Self { record, sponsor: member.node_id(), signature })
    }

    pub(crate) fn verify(&self, network: NetworkId) -> Result<(), Refusal> {
        self.record.verify(network)?;
        let brought = self.sponsor.verify(&sponsored(network, &self.record), &self.signature);
        if brought { Ok(()) } else { Err(Refusal::Signature) }
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.raw(&self.sponsor.0);
        self.record.write(out);
        out.raw(&self.signature);
    }

    pub(crate) fn read(input: &mut Reader<'_>) -> Result<Self, ReadError> {
        let sponsor = NodeId(input.array()?);
        Ok(Self { record: ServiceRecord::read(input)?, sponsor, signature: input.array()? })
    }
}

fn sponsored(network: NetworkId, record: &ServiceRecord) -> Vec<u8> {
    let mut message = [SPONSOR_CONTEXT, &network.0].concat();
    record.write(&mut message);
    message
}
