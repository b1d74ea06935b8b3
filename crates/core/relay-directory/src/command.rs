//! What is said to the directory: the messages of its application on the log.

use crate::order::SignedOrder;
use crate::refusal::Refusal;
use crate::service::SponsoredService;
use identity::{NodeId, NodeSecret, SIGNATURE_LEN};
use network_document::encoding::{ReadError, Reader, WriteBytes};
use network_document::{ANNOUNCEMENT_BYTES_MAX, Charter, EditionName, EncodingError, NetworkId, SignedAnnouncement};
use std::sync::Arc;

/// Bytes of a command at most: a service's record with its signatures.
pub const COMMAND_BYTES_MAX: usize = crate::service::SERVICE_BYTES_MAX + 512;
const WITHDRAW_CONTEXT: &[u8] = b"hushwire relay withdrawal 1";
const TICK_CONTEXT: &[u8] = b"hushwire directory tick 1";

/// A relay takes back what it said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Withdrawal {
    /// Which relay.
    pub node: NodeId,
    /// When it said so, in milliseconds since 1970 UTC: what it published until then is void.
    pub until_ms: u64,
    signature: [u8; SIGNATURE_LEN],
}

/// A member says what time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Which member.
    pub member: NodeId,
    /// Of two the higher one counts: so nobody can bring an old one again, and a clock may be put right.
    pub sequence: u64,
    /// Its time, in milliseconds since 1970 UTC.
    pub utc_ms: u64,
    signature: [u8; SIGNATURE_LEN],
}

/// A member says that this is the edition of its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// Which member.
    pub member: NodeId,
    /// Which edition.
    pub name: EditionName,
    /// Its signature, as it stands in the edition.
    pub signature: [u8; SIGNATURE_LEN],
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `describe`: a relay says how it is reached.
    Describe(Arc<SignedAnnouncement>),
    /// `withdraw`: a relay goes.
    Withdraw(Withdrawal),
    /// `admit`, `expel`, `parameter`, `members`: operators decide.
    Govern(Box<SignedOrder>),
    /// `tick`: a member's clock.
    Tick(Tick),
    /// `sign`: a member signs an edition.
    Sign(Vote),
    /// `publish-service`: a member lets a service's record in.
    PublishService(Box<SponsoredService>),
}

impl Withdrawal {
    /// As the relay.
    pub fn new(network: NetworkId, secret: &NodeSecret, until_ms: u64) -> Self {
        let node = secret.node_id();
        Self { node, until_ms, signature: secret.sign(&message(WITHDRAW_CONTEXT, network, &[until_ms])) }
    }
}

impl Tick {
    /// As the member.
    pub fn new(network: NetworkId, secret: &NodeSecret, sequence: u64, utc_ms: u64) -> Self {
        let signature = secret.sign(&message(TICK_CONTEXT, network, &[sequence, utc_ms]));
        Self { member: secret.node_id(), sequence, utc_ms, signature }
    }
}

impl Vote {
    /// As the member. Whoever does not go through [`crate::Signer`] may sign two editions of one index, which is a lie.
    pub fn new(network: NetworkId, secret: &NodeSecret, name: EditionName) -> Self {
        Self { member: secret.node_id(), name, signature: secret.sign(&name.message(network)) }
    }
}

fn message(context: &[u8], network: NetworkId, numbers: &[u64]) -> Vec<u8> {
    let mut message = [context, &network.0].concat();
    numbers.iter().for_each(|number| message.u64(*number));
    message
}

impl Command {
    /// The body of a message on the log.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Describe(announcement) => {
                out.u8(1);
                out.bytes(&announcement.encode());
            }
            Self::Withdraw(said) => {
                out.u8(2);
                out.raw(&said.node.0);
                out.u64(said.until_ms);
                out.raw(&said.signature);
            }
            Self::Govern(order) => {
                out.u8(order.order.kind());
                order.write(&mut out);
            }
            Self::Tick(tick) => {
                out.u8(7);
                out.raw(&tick.member.0);
                out.u64(tick.sequence);
                out.u64(tick.utc_ms);
                out.raw(&tick.signature);
            }
            Self::Sign(vote) => {
                out.u8(8);
                out.raw(&vote.member.0);
                out.u64(vote.name.index);
                out.raw(&vote.name.hash);
                out.raw(&vote.signature);
            }
            Self::PublishService(service) => {
                out.u8(9);
                service.write(&mut out);
            }
        }
        out
    }

    /// Reads such bytes. Nobody looks at signatures here.
    ///
    /// # Errors
    /// When they are not exactly as [`Command::encode`] writes them, or say what may not be.
    pub fn decode(bytes: &[u8]) -> Result<Self, EncodingError> {
        if bytes.len() > COMMAND_BYTES_MAX {
            return Err(ReadError::Long.into());
        }
        let mut input = Reader::new(bytes);
        let command = match input.u8()? {
            1 => {
                let announcement = SignedAnnouncement::decode(input.bytes(ANNOUNCEMENT_BYTES_MAX)?)?;
                Self::Describe(Arc::new(announcement))
            }
            2 => Self::Withdraw(Withdrawal {
                node: NodeId(input.array()?),
                until_ms: input.u64()?,
                signature: input.array()?,
            }),
            kind @ 3..=6 => Self::Govern(Box::new(SignedOrder::read(kind, &mut input)?)),
            7 => Self::Tick(Tick {
                member: NodeId(input.array()?),
                sequence: input.u64()?,
                utc_ms: input.u64()?,
                signature: input.array()?,
            }),
            8 => Self::Sign(Vote {
                member: NodeId(input.array()?),
                name: EditionName { index: input.u64()?, hash: input.array()? },
                signature: input.array()?,
            }),
            9 => Self::PublishService(Box::new(SponsoredService::read(&mut input)?)),
            _ => return Err(ReadError::Range.into()),
        };
        input.end()?;
        Ok(command)
    }

    /// Looks at all signatures. It is most of the work of a command and needs no state: a shell may do it on other threads.
    ///
    /// # Errors
    /// [`Refusal::Signature`], [`Refusal::TooFewOperators`].
    pub fn check(self, charter: &Charter, network: NetworkId) -> Result<Checked, Refusal> {
        let good = match &self {
            Self::Describe(announcement) => announcement.is_for(network),
            Self::Withdraw(said) => {
                said.node.verify(&message(WITHDRAW_CONTEXT, network, &[said.until_ms]), &said.signature)
            }
            Self::Govern(order) => {
                order.verify(charter)?;
                true
            }
            Self::Tick(tick) => {
                let said = message(TICK_CONTEXT, network, &[tick.sequence, tick.utc_ms]);
                tick.member.verify(&said, &tick.signature)
            }
            Self::Sign(vote) => vote.member.verify(&vote.name.message(network), &vote.signature),
            Self::PublishService(service) => {
                service.verify(network)?;
                true
            }
        };
        if good { Ok(Checked { command: self, network }) } else { Err(Refusal::Signature) }
    }
}

/// A command whose signatures are good, in one network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    pub(crate) command: Command,
    pub(crate) network: NetworkId,
}
