//! What the log holds.

use crate::ids::{AppId, Sequence, SessionId, Term};
use crate::{CheckpointHash, Members};
use identity::NodeId;
use std::sync::Arc;
use thiserror::Error;
use wire::encoding::{ReadError, Reader, WriteBytes};

/// Largest body of one message, in bytes. A longer one is refused where it comes in.
pub const BODY_BYTES_MAX: usize = 1 << 20;

/// Largest encoded entry, in bytes: a body with what stands around it, or a list of members.
pub(crate) const ENTRY_BYTES_MAX: usize = BODY_BYTES_MAX + 64;

/// An encoded [`Command`]: the engine moves these bytes and never looks at them. Cloning shares them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry(pub(crate) Arc<[u8]>);

impl Entry {
    /// Bytes that were an entry before: from a log file or a peer.
    ///
    /// # Errors
    /// When they are more than any entry has.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > ENTRY_BYTES_MAX { Err(EntryError::TooLarge) } else { Ok(Self(bytes.into())) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl omnipaxos::storage::Entry for Entry {
    type Snapshot = omnipaxos::storage::NoSnapshot;
}

/// A wish to change the members: at most one joins and at most one leaves, so that old and new majorities overlap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Change {
    /// Who joins. It follows the log first; only when it has caught up does its vote begin to count.
    pub add: Option<NodeId>,
    /// Who leaves.
    pub remove: Option<NodeId>,
}

/// One entry of the log, decoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// The first entry of every term: the hash of the checkpoint that the term began with. Whose own differs stops.
    TermStart(CheckpointHash),
    /// A session begins.
    Open {
        /// Which.
        session: SessionId,
        /// The log's time when its client asked; one that comes much later is a leftover and opens nothing.
        log_time_ms: u64,
    },
    /// A message of a client.
    Submit {
        /// Whose.
        session: SessionId,
        /// Its number there.
        sequence: Sequence,
        /// Which application takes it.
        app: AppId,
        /// What it says to the application.
        body: Vec<u8>,
    },
    /// The leader's clock, in milliseconds since 1970 UTC.
    Tick(u64),
    /// A place in the log that a reader waits for.
    Barrier {
        /// Whose.
        origin: NodeId,
        /// A random number of that node's start, so that a restarted one takes no old barrier for its own.
        incarnation: u64,
        /// Its number since.
        tag: u64,
    },
    /// Members are to change: whoever joins may follow the log from here on.
    Plan {
        /// It counts in this term only: what an operator wanted long ago must not come true later.
        term: Term,
        /// How.
        change: Change,
    },
    /// The change that was planned is not wanted any more.
    Unplan {
        /// It counts in this term only.
        term: Term,
    },
    /// The term ends here: what comes after in its log does not count.
    EndTerm {
        /// Which term: an end that was meant for an earlier one does not count.
        term: Term,
        /// Who votes in the next term.
        members: Members,
        /// How the machine behaves from the next term on; a node that does not know this number stops.
        behaviour: u16,
    },
}

/// Bytes that are no entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum EntryError {
    /// More bytes than an entry may have.
    #[error("the entry is too large")]
    TooLarge,
    /// No entry that this version knows.
    #[error("these bytes are no entry of this version")]
    Malformed,
}

impl From<ReadError> for EntryError {
    fn from(_: ReadError) -> Self {
        Self::Malformed
    }
}

/// A client's message as it stands in an entry: what [`Command::Submit`] owns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Message<'a> {
    pub(crate) session: SessionId,
    pub(crate) sequence: Sequence,
    pub(crate) app: AppId,
    pub(crate) body: &'a [u8],
}

/// The first byte of a message's entry.
const SUBMIT: u8 = 3;

impl<'a> Message<'a> {
    /// The message of an entry; `None` if that is something else.
    pub(crate) fn of(entry: &'a Entry) -> Option<Result<Self, EntryError>> {
        let mut bytes = Reader::new(&entry.0);
        (bytes.u8() == Ok(SUBMIT)).then(|| Self::read(&mut bytes))
    }

    fn read(bytes: &mut Reader<'a>) -> Result<Self, EntryError> {
        let (session, sequence, app) = (session(bytes)?, Sequence(bytes.u64()?), AppId(bytes.u16()?));
        Ok(Self { session, sequence, app, body: bytes.raw(bytes.remaining().len())? })
    }

    pub(crate) fn encode(&self) -> Entry {
        let mut out = Vec::with_capacity(27 + self.body.len());
        out.u8(SUBMIT);
        out.u128(self.session.bits());
        out.u64(self.sequence.0);
        out.u16(self.app.0);
        out.raw(self.body);
        Entry(out.into())
    }
}

impl Command {
    /// As the log has it; docs/spec/cluster-log.md, "Entries".
    pub fn encode(&self) -> Entry {
        let mut out = Vec::new();
        match self {
            Self::TermStart(hash) => {
                out.u8(1);
                out.raw(&hash.0);
            }
            Self::Open { session, log_time_ms } => {
                out.u8(2);
                out.u128(session.bits());
                out.u64(*log_time_ms);
            }
            Self::Submit { session, sequence, app, body } => {
                return Message { session: *session, sequence: *sequence, app: *app, body }.encode();
            }
            Self::Tick(utc_ms) => {
                out.u8(4);
                out.u64(*utc_ms);
            }
            Self::Barrier { origin, incarnation, tag } => {
                out.u8(5);
                out.raw(&origin.0);
                out.u64(*incarnation);
                out.u64(*tag);
            }
            Self::Plan { term, change } => {
                out.u8(6);
                out.u64(term.0);
                for node in [change.add, change.remove] {
                    out.u8(u8::from(node.is_some()));
                    out.raw(&node.map_or([0; 32], |node| node.0));
                }
            }
            Self::Unplan { term } => {
                out.u8(7);
                out.u64(term.0);
            }
            Self::EndTerm { term, members, behaviour } => {
                out.u8(8);
                out.u64(term.0);
                out.u16(*behaviour);
                members.encode(&mut out);
            }
        }
        Entry(out.into())
    }

    /// The command in an entry.
    ///
    /// # Errors
    /// When the bytes are no entry of this version.
    pub fn decode(entry: &Entry) -> Result<Self, EntryError> {
        let mut bytes = Reader::new(&entry.0);
        let command = match bytes.u8()? {
            1 => Self::TermStart(CheckpointHash(bytes.array()?)),
            2 => Self::Open { session: session(&mut bytes)?, log_time_ms: bytes.u64()? },
            SUBMIT => {
                let Message { session, sequence, app, body } = Message::read(&mut bytes)?;
                Self::Submit { session, sequence, app, body: body.to_vec() }
            }
            4 => Self::Tick(bytes.u64()?),
            5 => Self::Barrier { origin: NodeId(bytes.array()?), incarnation: bytes.u64()?, tag: bytes.u64()? },
            6 => {
                let term = Term(bytes.u64()?);
                Self::Plan {
                    term,
                    change: Change { add: optional_node(&mut bytes)?, remove: optional_node(&mut bytes)? },
                }
            }
            7 => Self::Unplan { term: Term(bytes.u64()?) },
            8 => {
                let (term, behaviour) = (Term(bytes.u64()?), bytes.u16()?);
                let members = Members::decode(&mut bytes).map_err(|_| EntryError::Malformed)?;
                Self::EndTerm { term, members, behaviour }
            }
            _ => return Err(EntryError::Malformed),
        };
        bytes.end()?;
        Ok(command)
    }
}

fn session(bytes: &mut Reader<'_>) -> Result<SessionId, EntryError> {
    SessionId::new(bytes.u128()?).map_err(|_| EntryError::Malformed)
}

fn optional_node(bytes: &mut Reader<'_>) -> Result<Option<NodeId>, EntryError> {
    let there = bytes.flag()?;
    let id: [u8; 32] = bytes.array()?;
    match (there, id) {
        (true, id) => Ok(Some(NodeId(id))),
        (false, [0, ..]) if id == [0; 32] => Ok(None),
        (false, _) => Err(EntryError::Malformed),
    }
}
