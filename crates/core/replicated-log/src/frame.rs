//! What members say to each other; docs/spec/cluster-log.md, "Frames".

use crate::CheckpointHash;
use crate::engine::{read_entries, write_entries};
use crate::entry::Entry;
use crate::ids::{LogIndex, SessionEpoch, Term};
use identity::NodeId;
use thiserror::Error;
use wire::encoding::{ReadError, Reader, WriteBytes};

const VERSION: u8 = 1;

/// Longest message that parts are put together to: a whole term's log with what stands around it.
pub(crate) const MESSAGE_BYTES_MAX: usize = 96 << 20;

/// Bytes that are no frame. The peer is at fault: close its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum FrameError {
    /// Cut, altered or of another version.
    #[error("the frame is not one of this version")]
    Malformed,
    /// Longer than any may be.
    #[error("the frame or message is too long")]
    TooLong,
    /// From somebody whom nothing is accepted from.
    #[error("the sender is no member")]
    Stranger,
}

impl From<ReadError> for FrameError {
    fn from(_: ReadError) -> Self {
        Self::Malformed
    }
}

impl From<crate::engine::MessageError> for FrameError {
    fn from(_: crate::engine::MessageError) -> Self {
        Self::Malformed
    }
}

/// What a frame is, for a transport that looks no further.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// May be lost, overtake and be overtaken.
    Heartbeat,
    /// Must arrive in order, or the connection must end.
    Ordered,
    /// Many bytes that are not urgent, on a stream of their own if the transport has one: parts of checkpoints.
    Bulk,
}

/// A decoded frame. The term is the sender's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The term of whoever sent it.
    pub term: Term,
    /// The connection it was sent in.
    pub epoch: SessionEpoch,
    pub(crate) body: Body,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    Engine(Vec<u8>),
    Heartbeat(Vec<u8>),
    /// Entries for the leader to append.
    Forward(Vec<Entry>),
    /// Entries that the leader has no room for.
    ForwardBusy(Vec<Entry>),
    /// The sender is in this frame's term, which began with a checkpoint of this hash and length.
    Notice {
        hash: CheckpointHash,
        length: u64,
    },
    FetchCheckpoint {
        at: u64,
    },
    Checkpoint {
        at: u64,
        bytes: Vec<u8>,
    },
    /// Decided entries from here on, please.
    FetchEntries {
        from: LogIndex,
    },
    Entries {
        from: LogIndex,
        decided: LogIndex,
        leader: Option<NodeId>,
        entries: Vec<Entry>,
    },
    /// A piece of an encoded frame that is too long for one.
    Part {
        last: bool,
        bytes: Vec<u8>,
    },
}

impl Body {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Heartbeat(_) => Kind::Heartbeat,
            Self::Checkpoint { .. } => Kind::Bulk,
            _ => Kind::Ordered,
        }
    }

    /// Heartbeats and everything by which one finds that a term is over carry what no order is needed for.
    fn number(&self) -> u8 {
        match self {
            Self::Engine(_) => 1,
            Self::Heartbeat(_) => 2,
            Self::Forward(_) => 3,
            Self::ForwardBusy(_) => 4,
            Self::Notice { .. } => 5,
            Self::FetchCheckpoint { .. } => 6,
            Self::Checkpoint { .. } => 7,
            Self::FetchEntries { .. } => 8,
            Self::Entries { .. } => 9,
            Self::Part { .. } => 10,
        }
    }
}

impl Frame {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.u8(VERSION);
        out.u8(self.body.number());
        out.u64(self.term.0);
        out.u64(self.epoch.0);
        match &self.body {
            Body::Engine(bytes) | Body::Heartbeat(bytes) => out.raw(bytes),
            Body::Forward(entries) | Body::ForwardBusy(entries) => write_entries(entries, &mut out),
            Body::Notice { hash, length } => {
                out.raw(&hash.0);
                out.u64(*length);
            }
            Body::FetchCheckpoint { at } => out.u64(*at),
            Body::Checkpoint { at, bytes } => {
                out.u64(*at);
                out.raw(bytes);
            }
            Body::FetchEntries { from } => out.u64(from.0),
            Body::Entries { from, decided, leader, entries } => {
                out.u64(from.0);
                out.u64(decided.0);
                out.u8(u8::from(leader.is_some()));
                out.raw(&leader.map_or([0; 32], |leader| leader.0));
                write_entries(entries, &mut out);
            }
            Body::Part { last, bytes } => {
                out.u8(u8::from(*last));
                out.raw(bytes);
            }
        }
        out
    }

    /// The frame in these bytes.
    ///
    /// # Errors
    /// When they are none of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut input = Reader::new(bytes);
        if input.u8()? != VERSION {
            return Err(FrameError::Malformed);
        }
        let number = input.u8()?;
        let (term, epoch) = (Term(input.u64()?), SessionEpoch(input.u64()?));
        let rest = |input: &mut Reader<'_>| input.raw(input.remaining().len()).map(<[u8]>::to_vec);
        let body = match number {
            1 => Body::Engine(rest(&mut input)?),
            2 => Body::Heartbeat(rest(&mut input)?),
            3 => Body::Forward(read_entries(&mut input)?),
            4 => Body::ForwardBusy(read_entries(&mut input)?),
            5 => Body::Notice { hash: CheckpointHash(input.array()?), length: input.u64()? },
            6 => Body::FetchCheckpoint { at: input.u64()? },
            7 => Body::Checkpoint { at: input.u64()?, bytes: rest(&mut input)? },
            8 => Body::FetchEntries { from: LogIndex(input.u64()?) },
            9 => {
                let (from, decided) = (LogIndex(input.u64()?), LogIndex(input.u64()?));
                let (there, leader): (bool, [u8; 32]) = (input.flag()?, input.array()?);
                if !there && leader != [0; 32] {
                    return Err(FrameError::Malformed);
                }
                let entries = read_entries(&mut input)?;
                Body::Entries { from, decided, leader: there.then_some(NodeId(leader)), entries }
            }
            10 => Body::Part { last: input.flag()?, bytes: rest(&mut input)? },
            _ => return Err(FrameError::Malformed),
        };
        input.end()?;
        Ok(Self { term, epoch, body })
    }
}

pub(crate) mod fuzz {
    //! Any bytes as a frame.

    use super::*;

    /// What is read is written as it was.
    ///
    /// # Panics
    /// When it is not: that is the finding.
    pub fn frame(input: &[u8]) {
        if let Ok(frame) = Frame::decode(input) {
            assert_eq!(frame.encode(), input, "a frame is written as it was read");
        }
        crate::engine::fuzz::message(input);
    }
}
