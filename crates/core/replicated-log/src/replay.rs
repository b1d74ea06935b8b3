//! Going through old entries again, for a subscriber who wants them from an offset on.

use crate::apps::Apps;
use crate::entry::Entry;
use crate::ids::{ClusterId, Offset};
use crate::machine::{Applied, Machine, Outcome};
use crate::{Checkpoint, CheckpointError, CheckpointHash};
use thiserror::Error;

/// Why an old term cannot be gone through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ReplayError {
    /// Its checkpoint cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The log is not the one of this checkpoint.
    #[error("the log belongs to another checkpoint")]
    OtherLog,
}

/// Applies the log of one kept term from its checkpoint on: it gives the same as the node did then, at about a
/// microsecond an entry. Give it the decided entries in their order; it has no side effect.
pub struct Replay {
    machine: Machine,
    next: Offset,
    hash: CheckpointHash,
    is_over: bool,
}

impl Replay {
    /// From the bytes of a term's checkpoint, with applications in their initial state.
    ///
    /// # Errors
    /// When the checkpoint cannot be used.
    pub fn new(cluster: ClusterId, checkpoint: &[u8], apps: Apps) -> Result<Self, ReplayError> {
        let hash = CheckpointHash::of(checkpoint);
        let checkpoint = Checkpoint::decode(checkpoint, cluster)?;
        let next = checkpoint.base;
        Ok(Self { machine: Machine::restore(&checkpoint, apps)?, next, hash, is_over: false })
    }

    /// The offset of the next entry.
    pub fn next(&self) -> Offset {
        self.next
    }

    /// The next decided entry of the term's log; `None` behind the term's end.
    ///
    /// # Errors
    /// When the log belongs to another checkpoint.
    pub fn handle_entry(&mut self, entry: &Entry) -> Result<Option<Applied>, ReplayError> {
        if self.is_over {
            return Ok(None);
        }
        let applied = self.machine.apply(self.next, entry);
        self.next.0 += 1;
        match &applied.outcome {
            Outcome::Started(hash) if *hash != self.hash => return Err(ReplayError::OtherLog),
            Outcome::Ended { .. } => self.is_over = true,
            _ => {}
        }
        Ok(Some(applied))
    }
}
