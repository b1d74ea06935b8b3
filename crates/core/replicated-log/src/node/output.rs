//! What a node tells its shell.

use crate::checkpoint::{CheckpointError, Members};
use crate::ids::{LogIndex, Offset, Term};
use crate::machine::{Applied, OpenRefusal, SubmitRefusal};
use identity::NodeId;
use std::time::Duration;
use thiserror::Error;

/// The shell's name for who asked; it comes back with the answer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Token(pub u64);

/// What happened. Everything here rests on what is saved on a majority.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A session is open, or not.
    Opened {
        /// Who asked.
        token: Token,
        /// Why not.
        refusal: Option<OpenRefusal>,
    },
    /// A message took effect.
    Acknowledged {
        /// Who asked.
        token: Token,
        /// Where it stands.
        offset: Offset,
        /// The application's answer.
        result: Vec<u8>,
    },
    /// A message does not count. Its number may only be used again for the same message.
    Refused {
        /// Who asked.
        token: Token,
        /// Why.
        refusal: SubmitRefusal,
    },
    /// The leader has no room; send it again, with the same number.
    Busy {
        /// Who asked.
        token: Token,
        /// When.
        retry_after: Duration,
    },
    /// The machine has everything that was acknowledged anywhere before the read was asked for.
    ReadReady {
        /// Who asked.
        token: Token,
        /// Up to where it reflects the log.
        offset: Offset,
    },
    /// A change of members was planned or withdrawn, or a term ended on request; `false` when that was not possible.
    Controlled {
        /// Who asked.
        token: Token,
        /// Whether it was done.
        done: bool,
    },
    /// An entry took its effect. They come in the order of offsets, without a gap; after a restart again from the term's
    /// first entry on.
    Applied(Applied),
    /// A term began.
    TermBegan {
        /// Which.
        term: Term,
        /// The offset of its first entry. It is ahead of what was applied when the node missed a term: see `skipped`.
        base: Offset,
        /// Who votes.
        members: Members,
        /// The node took a checkpoint instead of entries that it missed.
        skipped: bool,
    },
    /// The node votes no more. It may be stopped when every member has begun the term.
    Left,
    /// Another leads, or nobody is known to.
    Leader(Option<NodeId>),
    /// The node has stopped for good; the process should end with this sentence.
    Stopped(Fatal),
}

/// Why a node stops for good.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum Fatal {
    /// What was saved cannot be read back.
    #[error("the log on this node's disk cannot be read back: check the disk, then take the node out and add it anew")]
    Disk,
    /// A peer sent a log with a hole in it, or the engine left the subset that it is used in.
    #[error("the engine did what it must not: this is a fault of the program, please report it")]
    Engine,
    /// The state at the term's beginning is not the others'.
    #[error("this node's state differs from the others' at the beginning of term {term}: take it out and add it anew")]
    Diverged {
        /// Which term.
        term: Term,
    },
    /// The state is larger than a checkpoint may be.
    #[error("the applications' state is larger than a checkpoint may be")]
    TooLarge,
    /// The next term cannot be begun by this program.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// How a node stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// The term.
    pub term: Term,
    /// The node has a vote in it.
    pub votes: bool,
    /// Who leads, as far as is known.
    pub leader: Option<NodeId>,
    /// This node leads.
    pub leads: bool,
    /// The offset of the next entry to be applied.
    pub next: Offset,
    /// How many of the term's entries are decided.
    pub decided: LogIndex,
    /// How many there are.
    pub length: LogIndex,
    /// How many requests wait for an answer.
    pub waiting: usize,
}
