//! The document: charter, interval, relays, and the operators' signatures under it.

use crate::charter::{Charter, NetworkId};
use crate::descriptor::{Descriptor, SignedDescriptor};
use crate::error::{DocumentError, Problem};
use crate::lines::{Lines, TEXT_MAX, hex, key, number, signature};
use identity::{LinkKey, NodeId, OperatorKey, OperatorSecret, SIGNATURE_LEN};
use onion::{Interval, RelaySpec};
use packet_crypto::keys::sha256;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Relays of a network at most; further ones are refused.
pub const RELAYS_MAX: usize = 512;
/// What is signed before the lines.
const SIGNATURE_CONTEXT: &[u8] = b"hushwire network document 1";

/// A document that not enough operators may have signed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    charter: Charter,
    interval: Interval,
    relays: Vec<SignedDescriptor>,
    signatures: BTreeMap<OperatorKey, [u8; SIGNATURE_LEN]>,
}

impl Draft {
    /// A document that nobody has signed. The order of relays has no meaning.
    ///
    /// # Errors
    /// When a descriptor was made for another network, has no onion key of this interval, or shares a name, a key or an
    /// address with another one; when there are too many.
    pub fn new(charter: Charter, interval: Interval, mut relays: Vec<SignedDescriptor>) -> Result<Self, Problem> {
        let network = charter.network_id();
        if !relays.iter().all(|relay| relay.is_for(network)) {
            return Err(Problem::NodeSignature);
        }
        relays.sort_unstable_by_key(|relay| relay.descriptor().node_id);
        let mut seen = Seen::default();
        for relay in &relays {
            seen.take(relay.descriptor(), interval)?;
        }
        let draft = Self { charter, interval, relays, signatures: BTreeMap::new() };
        if draft.body().len() > TEXT_MAX / 2 {
            return Err(Problem::TooLong);
        }
        Ok(draft)
    }

    /// Reads a document. Every signature that is there must be good; how many there are is not looked at.
    ///
    /// # Errors
    /// When it is not exactly as [`Draft::text`] writes it, or a signature is not good.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        Self::read(bytes, true)
    }

    /// `verify` is false for the fuzz body alone, which cannot sign.
    pub(crate) fn read(bytes: &[u8], verify: bool) -> Result<Self, DocumentError> {
        let mut lines = Lines::new(bytes)?;
        let charter = Charter::read(&mut lines)?;
        let network = charter.network_id();
        let start = lines.at();
        let interval = lines.take("interval")?;
        let interval = Interval(number("interval", interval).map_err(|problem| lines.here(problem))?);
        lines.check_form(start, &format!("interval {}\n", interval.0))?;
        let (mut relays, mut seen) = (Vec::new(), Seen::default());
        while lines.next_is("relay") {
            let relay = SignedDescriptor::read(&mut lines, verify.then_some(network))?;
            seen.take(relay.descriptor(), interval).map_err(|problem| lines.here(problem))?;
            relays.push(relay);
        }
        let mut draft = Self { charter, interval, relays, signatures: BTreeMap::new() };
        draft.read_signatures(&mut lines, verify)?;
        lines.finish()?;
        Ok(draft)
    }

    fn read_signatures(&mut self, lines: &mut Lines<'_>, verify: bool) -> Result<(), DocumentError> {
        let keyword = "operator-signature";
        let (start, message) = (lines.at(), self.message());
        let mut last = None;
        while let Some(value) = lines.take_if(keyword) {
            let rule = "the key of an operator and a signature";
            let split = value.split_once(' ').ok_or(Problem::Value { keyword, rule });
            let read = split.and_then(|(by, bytes)| {
                let (by, bytes) = (key::<OperatorKey>(keyword, by)?, signature(keyword, bytes)?);
                if last.is_some_and(|last| last >= by) {
                    return Err(Problem::Order { keyword });
                }
                if !self.charter.operators().contains(&by) {
                    return Err(Problem::UnknownOperator);
                }
                if verify && !by.verify(&message, &bytes) {
                    return Err(Problem::OperatorSignature);
                }
                Ok((by, bytes))
            });
            let (by, bytes) = read.map_err(|problem| lines.here(problem))?;
            last = Some(by);
            self.signatures.insert(by, bytes);
        }
        lines.check_form(start, &self.signature_lines())
    }

    /// Adds an operator's signature.
    ///
    /// # Errors
    /// When it is none of the network's operators.
    pub fn sign(&mut self, secret: &OperatorSecret) -> Result<(), Problem> {
        let by = secret.operator_key();
        if !self.charter.operators().contains(&by) {
            return Err(Problem::UnknownOperator);
        }
        self.signatures.insert(by, secret.sign(&self.message()));
        Ok(())
    }

    /// Takes the signatures of another copy of the same document.
    ///
    /// # Errors
    /// When it is another document.
    pub fn merge(&mut self, other: &Self) -> Result<(), Problem> {
        if self.body() != other.body() {
            return Err(Problem::OtherDocument);
        }
        self.signatures.extend(other.signatures.iter().map(|(by, bytes)| (*by, *bytes)));
        Ok(())
    }

    /// The document itself, if enough operators signed it.
    ///
    /// # Errors
    /// [`Problem::TooFewSignatures`].
    pub fn finish(self) -> Result<NetworkDocument, Problem> {
        let (found, needed) = (self.signatures.len(), self.charter.threshold());
        if found < needed {
            return Err(Problem::TooFewSignatures { found, needed });
        }
        let of = |relay: (usize, &SignedDescriptor)| (relay.1.descriptor().link_key, relay.0);
        let by_link_key = self.relays.iter().enumerate().map(of).collect();
        Ok(NetworkDocument { by_link_key, draft: self })
    }

    /// The whole text.
    pub fn text(&self) -> String {
        self.body() + &self.signature_lines()
    }

    /// What the network is.
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// The time that it is for.
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// All relays, in ascending order of their names.
    pub fn relays(&self) -> impl ExactSizeIterator<Item = &Descriptor> {
        self.relays.iter().map(SignedDescriptor::descriptor)
    }

    /// Who has signed, in ascending order.
    pub fn signers(&self) -> impl Iterator<Item = OperatorKey> + '_ {
        self.signatures.keys().copied()
    }

    /// The lines that are signed.
    fn body(&self) -> String {
        let mut text = self.charter.text();
        let _fits = writeln!(text, "interval {}", self.interval.0);
        for relay in &self.relays {
            text.push_str(&relay.text());
        }
        text
    }

    fn signature_lines(&self) -> String {
        let mut text = String::new();
        for (by, bytes) in &self.signatures {
            let _fits = writeln!(text, "operator-signature {by} {}", hex(bytes));
        }
        text
    }

    fn message(&self) -> Vec<u8> {
        [SIGNATURE_CONTEXT, self.body().as_bytes()].concat()
    }
}

/// What relays may not share.
#[derive(Default)]
struct Seen {
    last: Option<NodeId>,
    relays: usize,
    keys: BTreeSet<[u8; 32]>,
    onion_keys: BTreeSet<[u8; 32]>,
    addresses: BTreeSet<SocketAddr>,
}

impl Seen {
    fn take(&mut self, relay: &Descriptor, interval: Interval) -> Result<(), Problem> {
        if self.last.is_some_and(|last| last >= relay.node_id) {
            return Err(Problem::Order { keyword: "relay" });
        }
        self.last = Some(relay.node_id);
        self.relays += 1;
        if self.relays > RELAYS_MAX {
            return Err(Problem::TooMany { keyword: "relay", max: RELAYS_MAX });
        }
        if relay.onion_key(interval).is_none() {
            return Err(Problem::NoOnionKey);
        }
        if !self.keys.insert(relay.link_key.0) {
            return Err(Problem::Shared { keyword: "link-key" });
        }
        if !relay.onion_keys.iter().all(|(_, key)| self.onion_keys.insert(key.0)) {
            return Err(Problem::Shared { keyword: "onion-key" });
        }
        if !relay.addresses.iter().all(|address| self.addresses.insert(*address)) {
            return Err(Problem::Shared { keyword: "address" });
        }
        Ok(())
    }
}

/// A document that enough operators signed: what nodes and clients go by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkDocument {
    draft: Draft,
    by_link_key: BTreeMap<LinkKey, usize>,
}

impl NetworkDocument {
    /// Reads a document.
    ///
    /// # Errors
    /// As [`Draft::parse`], and when too few operators signed.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let draft = Draft::parse(bytes)?;
        let line = 1 + bytes.iter().filter(|byte| **byte == b'\n').count();
        draft.finish().map_err(|problem| DocumentError { line, problem })
    }

    /// The document with its signatures.
    pub fn as_draft(&self) -> &Draft {
        &self.draft
    }

    /// What the network is.
    pub fn charter(&self) -> &Charter {
        &self.draft.charter
    }

    /// What names the network.
    pub fn network_id(&self) -> NetworkId {
        self.draft.charter.network_id()
    }

    /// The time that it is for.
    pub fn interval(&self) -> Interval {
        self.draft.interval
    }

    /// SHA-256 over the lines that are signed: two documents with one hash say the same.
    pub fn hash(&self) -> [u8; 32] {
        sha256(&self.draft.message())
    }

    /// All relays, in ascending order of their names.
    pub fn relays(&self) -> impl ExactSizeIterator<Item = &Descriptor> {
        self.draft.relays()
    }

    /// The relay of this name.
    pub fn relay(&self, node: &NodeId) -> Option<&Descriptor> {
        let found = self.draft.relays.binary_search_by_key(node, |relay| relay.descriptor().node_id).ok()?;
        Some(self.draft.relays[found].descriptor())
    }

    /// The relay with this link key.
    pub fn relay_of_link(&self, key: &LinkKey) -> Option<&Descriptor> {
        self.by_link_key.get(key).map(|place| self.draft.relays[*place].descriptor())
    }

    /// What a client needs to extend a circuit to a relay.
    pub fn spec(&self, node: &NodeId) -> Option<RelaySpec> {
        let (interval, relay) = (self.interval(), self.relay(node)?);
        Some(RelaySpec { node_id: *node, onion_key: relay.onion_key(interval)?, interval })
    }

    /// True when this document may take the place of `old`: the same network, a later interval.
    pub fn supersedes(&self, old: &Self) -> bool {
        self.network_id() == old.network_id() && self.interval() > old.interval()
    }
}
