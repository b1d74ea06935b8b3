//! The consensus engine behind one narrow trait, so that another could take its place.
//!
//! [`Paxos`] is OmniPaxos as released, in the subset that fault simulation found clean: no snapshots, no stop sign, no
//! trimming, ids 1 to n without gaps, one ordered channel from each member to each other, and no message of anybody
//! who is not a member. Where the subset ends, a call has no way in: such messages have no encoding, and the storage
//! refuses what only they would cause.

use crate::entry::Entry;
use crate::ids::LogIndex;
use thiserror::Error;

mod message;
mod paxos;
mod store;

pub(crate) use message::fuzz;
pub(crate) use message::{read_entries, write_entries};
pub(crate) use paxos::{Paxos, PaxosTicks};
pub use store::{LogReader, ReadError};
pub(crate) use store::{Store, StoreFailure};

/// Longest frame to a peer, in bytes. Longer messages travel in parts.
pub const FRAME_BYTES_MAX: usize = 2 << 20;

/// When a message may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// It promises nothing about this node's disk: it may leave before the records of its turn are synced.
    BeforeSync,
    /// It says what this node holds: only what is synced may be said.
    AfterSync,
}

/// A message of the engine to another member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EngineMessage {
    /// The engine's id of the receiver.
    pub(crate) to: u64,
    /// When it may leave.
    pub(crate) class: Class,
    /// Heartbeats may overtake, be lost and be thrown away; all others need their order.
    pub(crate) is_heartbeat: bool,
    /// Encoded.
    pub(crate) bytes: Vec<u8>,
}

/// Bytes that are no message of the engine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("the bytes are no message of the engine")]
pub(crate) struct MessageError;

/// Who leads, as far as this member knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leader {
    /// Its engine id.
    pub(crate) engine_id: u64,
    /// The number of its round: a leader that leads again has another one.
    pub(crate) round: u32,
    /// This member is in step with it.
    pub(crate) in_step: bool,
}

/// One instance: the consensus of one term.
pub(crate) trait Engine: Send {
    /// A message of the member `from`, which the caller has authenticated as one.
    fn handle(&mut self, from: u64, bytes: &[u8]) -> Result<(), MessageError>;
    /// A connection to `peer` began; what was sent before may be lost.
    fn handle_connection(&mut self, peer: u64);
    /// One step of the clock.
    fn tick(&mut self);
    /// Puts an entry at the end of the log; only a leader that is in step can, others get the entry back.
    fn propose(&mut self, entry: Entry) -> Result<(), Entry>;
    /// Takes the messages that are to be sent, in their order.
    fn drain(&mut self, out: &mut Vec<EngineMessage>);
    /// How many entries are decided.
    fn decided(&self) -> LogIndex;
    /// How many entries there are, decided or not.
    fn length(&self) -> LogIndex;
    /// Who leads.
    fn leader(&self) -> Option<Leader>;
}
