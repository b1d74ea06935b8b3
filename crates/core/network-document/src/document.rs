//! The document: charter, interval, relays, and the operators' signatures under it.

use crate::charter::Charter;
use crate::descriptor::{Descriptor, SignedDescriptor};
use crate::error::{DocumentError, Problem};
use crate::lines::{Lines, TEXT_MAX, hex, key, number, signature};
use crate::network::NetworkDocument;
use crate::seen::Seen;
use identity::{OperatorKey, OperatorSecret, SIGNATURE_LEN};
use onion::Interval;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Relays of a document that operators sign at most; further ones are refused. Whoever has more of them has a directory.
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
        if charter.founding().is_some() {
            return Err(Problem::OtherKind);
        }
        if interval == Interval::LASTING {
            return Err(Problem::Lasting);
        }
        let network = charter.network_id();
        if !relays.iter().all(|relay| relay.is_for(network)) {
            return Err(Problem::NodeSignature);
        }
        relays.sort_unstable_by_key(|relay| relay.descriptor().node_id);
        let mut seen = Seen::new(interval, RELAYS_MAX);
        for relay in &relays {
            seen.take(relay.descriptor())?;
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
        if charter.founding().is_some() {
            return Err(lines.here(Problem::OtherKind));
        }
        let network = charter.network_id();
        let start = lines.at();
        let interval = lines.take("interval")?;
        let interval = Interval(number("interval", interval).map_err(|problem| lines.here(problem))?);
        lines.check_form(start, &format!("interval {}\n", interval.0))?;
        if interval == Interval::LASTING {
            return Err(lines.here(Problem::Lasting));
        }
        let (mut relays, mut seen) = (Vec::new(), Seen::new(interval, RELAYS_MAX));
        while lines.next_is("relay") {
            let relay = SignedDescriptor::read(&mut lines, verify.then_some(network))?;
            seen.take(relay.descriptor()).map_err(|problem| lines.here(problem))?;
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
        Ok(NetworkDocument::of_operators(self))
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

    pub(crate) fn signed_relays(&self) -> &[SignedDescriptor] {
        &self.relays
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

    pub(crate) fn message(&self) -> Vec<u8> {
        [SIGNATURE_CONTEXT, self.body().as_bytes()].concat()
    }
}
