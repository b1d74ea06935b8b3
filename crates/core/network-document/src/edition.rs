//! An edition: what a directory says of its network for one interval. Members sign it, clients go by it.

use crate::announcement::{ANNOUNCEMENT_BYTES_MAX, EncodingError, SignedAnnouncement};
use crate::charter::{Charter, NetworkId};
use crate::electorate::Electorate;
use crate::encoding::{Reader, WriteBytes};
use crate::error::Problem;
use crate::founding::Founding;
use crate::seen::Seen;
use identity::NodeId;
use onion::Interval;
use packet_crypto::keys::sha256;
use std::fmt::Write as _;
use std::sync::Arc;

mod diff;
mod head;
mod signed;

pub use diff::EditionDiff;
pub use head::EditionHead;
pub use signed::{SignedEdition, UnsignedError};

/// Relays of an edition at most; further ones are left out.
pub const EDITION_RELAYS_MAX: usize = 5_000;
/// Bytes of an edition at most, signatures included. So many of the longest announcements always fit.
pub const EDITION_BYTES_MAX: usize = 2_000_000;
/// Bytes of its text at most: a charter with all operators and members, and the members and parameters of the day.
pub(crate) const HEAD_BYTES_MAX: usize = 16_384;
/// What an edition begins with.
const MAGIC: [u8; 8] = *b"HWEDTN01";
/// What is hashed before an edition.
const HASH_CONTEXT: &[u8] = b"hushwire directory edition 1";
/// What is signed before network, index and hash.
const SIGNATURE_CONTEXT: &[u8] = b"hushwire directory signature 1";

const _: () = assert!(
    EDITION_RELAYS_MAX * (ANNOUNCEMENT_BYTES_MAX + 2) + HEAD_BYTES_MAX + 4_096 <= EDITION_BYTES_MAX,
    "as many relays as there may be fit, however long they are"
);

/// Which edition: its interval, and the hash of all that it says. Index 0 with the network id is the charter, which every first
/// edition names as the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EditionName {
    /// The number of its interval.
    pub index: u64,
    /// SHA-256 over what it says.
    pub hash: [u8; 32],
}

impl EditionName {
    /// What a member signs to say that this is the edition of its index.
    pub fn message(&self, network: NetworkId) -> Vec<u8> {
        [SIGNATURE_CONTEXT, &network.0, &self.index.to_be_bytes(), &self.hash].concat()
    }
}

/// An edition that nobody may have signed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edition {
    head: EditionHead,
    network: NetworkId,
    relays: Vec<Arc<SignedAnnouncement>>,
    hash: [u8; 32],
}

impl Edition {
    /// The edition of these relays, in any order.
    ///
    /// # Errors
    /// When a relay has no onion key for it or shares a name, a key or an address with another one, or there are too many.
    pub fn new(head: EditionHead, mut relays: Vec<Arc<SignedAnnouncement>>) -> Result<Self, Problem> {
        relays.sort_unstable_by_key(|relay| relay.node_id());
        let mut seen = Seen::new(head.key_interval(), EDITION_RELAYS_MAX);
        for relay in &relays {
            seen.take_announcement(relay.announcement())?;
        }
        let network = head.charter().network_id();
        let mut edition = Self { head, network, relays, hash: [0; 32] };
        edition.hash = hash(&edition.body());
        Ok(edition)
    }

    /// True when bytes begin as those of an edition do, whatever follows.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.starts_with(&MAGIC)
    }

    /// What names it.
    pub fn name(&self) -> EditionName {
        EditionName { index: self.index(), hash: self.hash }
    }

    /// SHA-256 over what it says.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The number of its interval, from 1.
    pub fn index(&self) -> u64 {
        self.head.index
    }

    /// The newest edition before it that enough members had signed when it was made.
    pub fn previous(&self) -> EditionName {
        self.head.previous
    }

    /// All but the relays.
    pub fn head(&self) -> &EditionHead {
        &self.head
    }

    /// What the network is.
    pub fn charter(&self) -> &Charter {
        self.head.charter()
    }

    /// What names the network.
    pub fn network_id(&self) -> NetworkId {
        self.network
    }

    /// Who has to sign it.
    pub fn electorate(&self) -> &Electorate {
        &self.head.electorate
    }

    /// The number of the onion keys that it is for.
    pub fn key_interval(&self) -> Interval {
        self.head.key_interval()
    }

    /// When its interval begins, in milliseconds since 1970 UTC.
    pub fn valid_after_ms(&self) -> u64 {
        self.founding().begin_ms(self.index())
    }

    /// When the next one is due, in milliseconds since 1970 UTC.
    pub fn fresh_until_ms(&self) -> u64 {
        self.founding().begin_ms(self.index().saturating_add(1))
    }

    /// When nobody may go by it any more, in milliseconds since 1970 UTC.
    pub fn valid_until_ms(&self) -> u64 {
        let founding = self.founding();
        founding.begin_ms(self.index().saturating_add(founding.valid_intervals))
    }

    /// The relays, ascending by name.
    pub fn relays(&self) -> &[Arc<SignedAnnouncement>] {
        &self.relays
    }

    /// Where a relay stands among the others.
    pub(crate) fn place(&self, node: &NodeId) -> Option<usize> {
        self.relays.binary_search_by_key(node, |relay| relay.node_id()).ok()
    }

    fn founding(&self) -> &Founding {
        self.head.founding()
    }

    /// The lines of a document, for people.
    pub(crate) fn text(&self) -> String {
        let mut text = self.head.text();
        let _fits = writeln!(text, "relays {}", self.relays.len());
        for relay in &self.relays {
            text.push_str(&relay.text());
        }
        text
    }

    /// The bytes that are hashed.
    pub(crate) fn body(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES_MAX / 4 + self.relays.len() * ANNOUNCEMENT_BYTES_MAX);
        out.raw(&MAGIC);
        out.bytes(self.head.text().as_bytes());
        out.count(self.relays.len());
        for relay in &self.relays {
            let bytes = relay.encode();
            out.count(bytes.len());
            out.raw(&bytes);
        }
        out
    }

    pub(crate) fn read(input: &mut Reader<'_>) -> Result<Self, EncodingError> {
        let start = input.remaining();
        if input.array::<8>()? != MAGIC {
            return Err(Problem::OtherKind.into());
        }
        let head = EditionHead::parse(input.bytes(HEAD_BYTES_MAX)?)?;
        let mut seen = Seen::new(head.key_interval(), EDITION_RELAYS_MAX);
        let count = input.count(EDITION_RELAYS_MAX)?;
        let mut relays = Vec::with_capacity(count);
        for _ in 0..count {
            let relay = read_announcement(input)?;
            seen.take_announcement(relay.announcement())?;
            relays.push(Arc::new(relay));
        }
        let body = &start[..start.len() - input.remaining().len()];
        let network = head.charter().network_id();
        Ok(Self { head, network, relays, hash: hash(body) })
    }
}

fn read_announcement(input: &mut Reader<'_>) -> Result<SignedAnnouncement, EncodingError> {
    let length = input.count(ANNOUNCEMENT_BYTES_MAX)?;
    SignedAnnouncement::decode(input.raw(length)?)
}

fn hash(body: &[u8]) -> [u8; 32] {
    sha256(&[HASH_CONTEXT, body].concat())
}
