//! The file that operators sign to begin a term of the directory outside its log: when a liar leads it, or too few live.

use crate::charter::{Charter, NetworkId};
use crate::electorate::Electorate;
use crate::error::{DocumentError, Problem};
use crate::lines::{Lines, hex, key, signature};
use data_encoding::HEXLOWER;
use identity::{OperatorKey, OperatorSecret, SIGNATURE_LEN};
use std::collections::BTreeMap;
use std::fmt::Write as _;

const VERSION: (&str, &str) = ("hushwire-term", "1");
/// What is signed before the lines.
const SIGNATURE_CONTEXT: &[u8] = b"hushwire directory term 1";

/// Who the members are from a term on, and with which state they begin. Any number of operators may have signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TermFile {
    network: NetworkId,
    checkpoint: [u8; 32],
    electorate: Electorate,
    signatures: BTreeMap<OperatorKey, [u8; SIGNATURE_LEN]>,
}

impl TermFile {
    /// Nobody has signed yet. The electorate's term must be above every one that anybody has seen; `checkpoint` is SHA-256 over
    /// the directory's state with which its members begin.
    pub fn new(network: NetworkId, checkpoint: [u8; 32], electorate: Electorate) -> Self {
        Self { network, checkpoint, electorate, signatures: BTreeMap::new() }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is not exactly as [`TermFile::text`] writes it.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let mut lines = Lines::new(bytes)?;
        if lines.take(VERSION.0)? != VERSION.1 {
            let problem = Problem::Value { keyword: VERSION.0, rule: "1, the only version that there is" };
            return Err(lines.here(problem));
        }
        let (network, checkpoint) = (take_hash(&mut lines, "network")?, take_hash(&mut lines, "checkpoint")?);
        let electorate = Electorate::read(&mut lines)?;
        let mut file = Self::new(NetworkId(network), checkpoint, electorate);
        let keyword = "operator-signature";
        while let Some(value) = lines.take_if(keyword) {
            let rule = "the key of an operator and a signature";
            let split = value.split_once(' ').ok_or(Problem::Value { keyword, rule });
            let read = split.and_then(|(by, bytes)| Ok((key::<OperatorKey>(keyword, by)?, signature(keyword, bytes)?)));
            let (by, bytes) = read.map_err(|problem| lines.here(problem))?;
            if file.signatures.last_key_value().is_some_and(|(last, _)| *last >= by) {
                return Err(lines.here(Problem::Order { keyword }));
            }
            file.signatures.insert(by, bytes);
        }
        lines.finish()?;
        lines.check_form(0, &file.text())?;
        Ok(file)
    }

    /// The whole text.
    pub fn text(&self) -> String {
        let mut text = self.body();
        for (by, bytes) in &self.signatures {
            let _fits = writeln!(text, "operator-signature {by} {}", hex(bytes));
        }
        text
    }

    /// Adds an operator's signature.
    pub fn sign(&mut self, secret: &OperatorSecret) {
        self.signatures.insert(secret.operator_key(), secret.sign(&self.message()));
    }

    /// Looks at network and signatures: every one must be good and an operator's, and there must be enough.
    ///
    /// # Errors
    /// [`Problem::OtherDocument`] for another network, [`Problem::UnknownOperator`], [`Problem::OperatorSignature`],
    /// [`Problem::TooFewSignatures`].
    pub fn verify(&self, charter: &Charter) -> Result<(), Problem> {
        if self.network != charter.network_id() {
            return Err(Problem::OtherDocument);
        }
        let message = self.message();
        for (by, bytes) in &self.signatures {
            if !charter.operators().contains(by) {
                return Err(Problem::UnknownOperator);
            }
            if !by.verify(&message, bytes) {
                return Err(Problem::OperatorSignature);
            }
        }
        let (found, needed) = (self.signatures.len(), charter.threshold());
        if found < needed { Err(Problem::TooFewSignatures { found, needed }) } else { Ok(()) }
    }

    /// The members from here on.
    pub fn electorate(&self) -> &Electorate {
        &self.electorate
    }

    /// SHA-256 over the state with which they begin.
    pub fn checkpoint(&self) -> [u8; 32] {
        self.checkpoint
    }

    fn body(&self) -> String {
        let (network, checkpoint) = (self.network, HEXLOWER.encode(&self.checkpoint));
        let electorate = self.electorate.text();
        format!("{} {}\nnetwork {network}\ncheckpoint {checkpoint}\n{electorate}", VERSION.0, VERSION.1)
    }

    fn message(&self) -> Vec<u8> {
        [SIGNATURE_CONTEXT, self.body().as_bytes()].concat()
    }
}

fn take_hash(lines: &mut Lines<'_>, keyword: &'static str) -> Result<[u8; 32], DocumentError> {
    let value = lines.take(keyword)?;
    let hash = HEXLOWER.decode(value.as_bytes()).ok().and_then(|hash| hash.try_into().ok());
    hash.ok_or_else(|| lines.here(Problem::Value { keyword, rule: "a hash of 64 digits 0 to 9 and a to f" }))
}
