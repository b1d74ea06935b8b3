//! What operators decide: who is in, what everybody does, who the members are.

use crate::refusal::Refusal;
use identity::{NodeId, NodeSecret, OperatorKey, OperatorSecret, SIGNATURE_LEN};
use network_document::encoding::{ReadError, Reader, WriteBytes};
use network_document::{
    Charter, Electorate, EncodingError, Label, MEMBERS_MAX, NetworkId, OPERATORS_MAX, Parameters, Roles,
};
use shaping::RateClass;
use std::collections::BTreeMap;

/// What an order's file begins with.
const FILE_MAGIC: [u8; 8] = *b"HWORDR01";
/// Bytes of the text in an order at most.
const TEXT_BYTES_MAX: usize = 4_096;
/// What is signed before network, number and order.
const SIGNATURE_CONTEXT: &[u8] = b"hushwire directory order 1";

/// What operators vouch for of a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The places on circuits that it may claim.
    pub roles: Roles,
    /// The fastest that it may claim to be.
    pub bandwidth: RateClass,
    /// Who runs it.
    pub operator: Label,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// A relay may describe itself from now on, within these bounds. For one that may already, the bounds change.
    Admit {
        /// Which.
        node: NodeId,
        /// Its bounds.
        admission: Admission,
    },
    /// A relay is out, at once.
    Expel {
        /// Which.
        node: NodeId,
    },
    /// Everybody behaves so from the next edition on.
    Parameter(Box<Parameters>),
    /// The directory has these members from now on. The term is the present one's and 1.
    Members(Electorate),
}

/// A decision with its number and signatures. Each number counts once, and in order, so no old decision comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedOrder {
    /// One more than the last decision that took effect; the first is 1.
    pub number: u64,
    /// What was decided.
    pub order: Order,
    operators: BTreeMap<OperatorKey, [u8; SIGNATURE_LEN]>,
    members: BTreeMap<NodeId, [u8; SIGNATURE_LEN]>,
}

impl Order {
    /// The command's number on the wire.
    pub(crate) fn kind(&self) -> u8 {
        match self {
            Self::Admit { .. } => 3,
            Self::Expel { .. } => 4,
            Self::Parameter(_) => 5,
            Self::Members(_) => 6,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Admit { node, admission } => {
                out.raw(&node.0);
                write_admission(out, admission);
            }
            Self::Expel { node } => out.raw(&node.0),
            Self::Parameter(parameters) => out.bytes(parameters.text().as_bytes()),
            Self::Members(electorate) => out.bytes(electorate.text().as_bytes()),
        }
    }

    fn read(kind: u8, input: &mut Reader<'_>) -> Result<Self, EncodingError> {
        Ok(match kind {
            3 => Self::Admit { node: NodeId(input.array()?), admission: read_admission(input)? },
            4 => Self::Expel { node: NodeId(input.array()?) },
            5 => Self::Parameter(Box::new(Parameters::parse(input.bytes(TEXT_BYTES_MAX)?)?)),
            6 => Self::Members(Electorate::parse(input.bytes(TEXT_BYTES_MAX)?)?),
            _ => return Err(ReadError::Range.into()),
        })
    }
}

pub(crate) fn write_admission(out: &mut Vec<u8>, admission: &Admission) {
    let Roles { guard, middle, exit, directory } = admission.roles;
    out.u8(u8::from(guard) | u8::from(middle) << 1 | u8::from(exit) << 2 | u8::from(directory) << 3);
    out.u8(admission.bandwidth.number());
    out.u8(admission.operator.as_str().len() as u8);
    out.raw(admission.operator.as_str().as_bytes());
}

pub(crate) fn read_admission(input: &mut Reader<'_>) -> Result<Admission, EncodingError> {
    let roles = input.u8()?;
    if !(1..16).contains(&roles) {
        return Err(ReadError::Range.into());
    }
    let has = |bit| roles & bit != 0;
    let roles = Roles { guard: has(1), middle: has(2), exit: has(4), directory: has(8) };
    let bandwidth = RateClass::new(input.u8()?).map_err(|_| ReadError::Range)?;
    let length = usize::from(input.u8()?);
    let operator = Label::new(std::str::from_utf8(input.raw(length)?).unwrap_or_default(), "operator")?;
    Ok(Admission { roles, bandwidth, operator })
}

impl SignedOrder {
    /// Nobody has signed yet.
    pub fn new(number: u64, order: Order) -> Self {
        Self { number, order, operators: BTreeMap::new(), members: BTreeMap::new() }
    }

    /// Adds an operator's signature.
    pub fn sign(&mut self, network: NetworkId, secret: &OperatorSecret) {
        self.operators.insert(secret.operator_key(), secret.sign(&self.message(network)));
    }

    /// Adds the signature of a member of before: [`Order::Members`] needs k of them.
    pub fn consent(&mut self, network: NetworkId, secret: &NodeSecret) {
        self.members.insert(secret.node_id(), secret.sign(&self.message(network)));
    }

    /// Which operators have signed.
    pub fn operators(&self) -> impl ExactSizeIterator<Item = &OperatorKey> {
        self.operators.keys()
    }

    /// Who of the members has signed.
    pub fn consenting(&self) -> impl Iterator<Item = &NodeId> {
        self.members.keys()
    }

    /// True when enough members of an electorate have signed.
    pub(crate) fn has_consent_of(&self, electorate: &Electorate) -> bool {
        self.consenting().filter(|member| electorate.contains(member)).count() >= electorate.quorum()
    }

    /// Every signature must be good, and enough of the charter's operators must have signed. Whose members' signatures count is
    /// another question.
    ///
    /// # Errors
    /// [`Refusal::Signature`], [`Refusal::TooFewOperators`].
    pub fn verify(&self, charter: &Charter) -> Result<(), Refusal> {
        let message = self.message(charter.network_id());
        let operators = self.operators.iter();
        let good = operators.clone().all(|(by, bytes)| charter.operators().contains(by) && by.verify(&message, bytes));
        if !good || !self.members.iter().all(|(by, bytes)| by.verify(&message, bytes)) {
            return Err(Refusal::Signature);
        }
        let (found, needed) = (self.operators.len(), charter.threshold());
        if found < needed { Err(Refusal::TooFewOperators { found, needed }) } else { Ok(()) }
    }

    fn message(&self, network: NetworkId) -> Vec<u8> {
        let mut message = [SIGNATURE_CONTEXT, &network.0].concat();
        message.u8(self.order.kind());
        message.u64(self.number);
        self.order.write(&mut message);
        message
    }

    /// A file in which operators hand it to each other.
    pub fn encode_file(&self, network: NetworkId) -> Vec<u8> {
        let mut out = [FILE_MAGIC.as_slice(), &network.0].concat();
        out.u8(self.order.kind());
        self.write(&mut out);
        out
    }

    /// Reads such a file. Nobody looks at signatures here.
    ///
    /// # Errors
    /// When it is not exactly as [`SignedOrder::encode_file`] writes it.
    pub fn decode_file(bytes: &[u8]) -> Result<(NetworkId, Self), EncodingError> {
        let mut input = Reader::new(bytes);
        if input.array::<8>()? != FILE_MAGIC {
            return Err(ReadError::Range.into());
        }
        let (network, kind) = (NetworkId(input.array()?), input.u8()?);
        let order = Self::read(kind, &mut input)?;
        input.end()?;
        Ok((network, order))
    }

    /// The bytes behind the kind.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.u64(self.number);
        self.order.write(out);
        out.u8(self.operators.len() as u8);
        for (by, bytes) in &self.operators {
            out.raw(&by.0);
            out.raw(bytes);
        }
        out.u8(self.members.len() as u8);
        for (by, bytes) in &self.members {
            out.raw(&by.0);
            out.raw(bytes);
        }
    }

    pub(crate) fn read(kind: u8, input: &mut Reader<'_>) -> Result<Self, EncodingError> {
        let (number, order) = (input.u64()?, Order::read(kind, input)?);
        let operators = read_signatures(input, OPERATORS_MAX, OperatorKey)?;
        let members = read_signatures(input, MEMBERS_MAX, NodeId)?;
        if !members.is_empty() && !matches!(order, Order::Members(_)) {
            return Err(ReadError::Long.into());
        }
        Ok(Self { number, order, operators, members })
    }
}

fn read_signatures<K: Ord + Copy>(
    input: &mut Reader<'_>,
    max: usize,
    key: fn([u8; 32]) -> K,
) -> Result<BTreeMap<K, [u8; SIGNATURE_LEN]>, ReadError> {
    let count = usize::from(input.u8()?);
    if count > max {
        return Err(ReadError::Range);
    }
    let mut signatures = BTreeMap::new();
    for _ in 0..count {
        let by = key(input.array()?);
        if signatures.last_key_value().is_some_and(|(last, _)| *last >= by) {
            return Err(ReadError::Range);
        }
        signatures.insert(by, input.array()?);
    }
    Ok(signatures)
}
