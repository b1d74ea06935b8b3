//! What a term begins with: everything that the entries before it amount to.

use crate::ids::{ClusterId, Offset, Term};
use aws_lc_rs::digest::{SHA256, digest};
use identity::NodeId;
use std::fmt;
use thiserror::Error;
use wire::encoding::{ReadError, Reader, WriteBytes};

/// Fewest members. A log of one member orders nothing that a file would not; the engine refuses it too.
pub(crate) const MEMBERS_MIN: usize = 2;

/// Most members: each more costs the leader one copy of every entry.
pub(crate) const MEMBERS_MAX: usize = 15;

/// Largest checkpoint, in bytes: what a laggard takes in at most. A node whose own grows beyond it stops with a sentence.
pub const CHECKPOINT_BYTES_MAX: usize = 1 << 28;

const MAGIC: [u8; 8] = *b"HWCHKPT1";

/// How the machine of this version behaves; [`crate::Command::EndTerm`] raises it once every member knows it.
pub(crate) const BEHAVIOUR: u16 = 1;

/// SHA-256 over an encoded checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CheckpointHash(pub [u8; 32]);

impl CheckpointHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }
}

impl fmt::Debug for CheckpointHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

/// Who votes in a term: 2 to 15 node ids, sorted, each once. The engine's ids are places in this list, from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Members(Vec<NodeId>);

/// A list that cannot be the members of a term.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum MembersError {
    /// One or none.
    #[error(
        "a cluster needs at least {MEMBERS_MIN} members, better three: one member alone orders nothing, use a file"
    )]
    TooFew,
    /// Too many.
    #[error("a cluster has at most {MEMBERS_MAX} members")]
    TooMany,
    /// One of them twice.
    #[error("a member stands in the list twice")]
    Twice,
    /// Bytes that are no list.
    #[error("these bytes are no list of members")]
    Malformed,
}

impl From<ReadError> for MembersError {
    fn from(_: ReadError) -> Self {
        Self::Malformed
    }
}

impl Members {
    /// From ids in any order.
    ///
    /// # Errors
    /// When there are too few, too many, or one twice.
    pub fn new(ids: impl IntoIterator<Item = NodeId>) -> Result<Self, MembersError> {
        let mut ids: Vec<NodeId> = ids.into_iter().take(MEMBERS_MAX + 1).collect();
        ids.sort_unstable();
        match ids.len() {
            ..MEMBERS_MIN => Err(MembersError::TooFew),
            _ if ids.len() > MEMBERS_MAX => Err(MembersError::TooMany),
            _ if ids.windows(2).any(|pair| pair[0] == pair[1]) => Err(MembersError::Twice),
            _ => Ok(Self(ids)),
        }
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.0.iter().copied()
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Whether this node votes.
    pub fn contains(&self, node: NodeId) -> bool {
        self.0.binary_search(&node).is_ok()
    }

    /// The engine's id of a member, from 1 without gaps.
    pub(crate) fn engine_id(&self, node: NodeId) -> Option<u64> {
        self.0.binary_search(&node).ok().map(|place| place as u64 + 1)
    }

    /// The member behind an engine's id.
    pub(crate) fn node(&self, engine_id: u64) -> Option<NodeId> {
        self.0.get(usize::try_from(engine_id.checked_sub(1)?).ok()?).copied()
    }

    /// With one more, one less, or one for another.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn changed(&self, change: crate::Change) -> Result<Self, MembersError> {
        let kept = self.iter().filter(|node| Some(*node) != change.remove);
        Self::new(kept.chain(change.add))
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.u8(self.0.len() as u8);
        self.0.iter().for_each(|node| out.raw(&node.0));
    }

    pub(crate) fn decode(bytes: &mut Reader<'_>) -> Result<Self, MembersError> {
        let count = bytes.u8()?;
        let mut ids = Vec::with_capacity(usize::from(count).min(MEMBERS_MAX));
        for _ in 0..count {
            ids.push(NodeId(bytes.array()?));
        }
        let sorted = ids.windows(2).all(|pair| pair[0] < pair[1]);
        if sorted { Self::new(ids) } else { Err(MembersError::Malformed) }
    }
}

/// The state that a term begins with. Every member has the same bytes, and the term's first entry holds their hash.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// Whose.
    pub cluster: ClusterId,
    /// The term that begins with it.
    pub term: Term,
    /// The offset of the term's first entry.
    pub base: Offset,
    /// How the machine behaves from here on.
    pub behaviour: u16,
    /// Who votes in the term.
    pub members: Members,
    /// Who voted in the term before; they may fetch this checkpoint even if they have left. Equal to `members` in term 1.
    pub previous_members: Members,
    /// The machine: sessions and applications.
    pub machine: Vec<u8>,
}

/// Bytes that are no checkpoint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum CheckpointError {
    /// Cut, altered or something else.
    #[error("these bytes are no checkpoint of a cluster")]
    Malformed,
    /// Of another cluster.
    #[error("the checkpoint is of another cluster")]
    OtherCluster,
    /// Made by a newer version.
    #[error(
        "the checkpoint needs behaviour {needed} and this program knows up to {BEHAVIOUR}: install a newer version"
    )]
    TooNew {
        /// What it needs.
        needed: u16,
    },
    /// The machine's state in it cannot be read.
    #[error("an application of the checkpoint is missing here or cannot read its state")]
    Machine,
}

impl From<ReadError> for CheckpointError {
    fn from(_: ReadError) -> Self {
        Self::Malformed
    }
}

impl Checkpoint {
    /// What term 1 begins with: nothing, and these members.
    pub fn genesis(cluster: ClusterId, members: Members) -> Self {
        let machine = Vec::new();
        let previous_members = members.clone();
        Self { cluster, term: Term(1), base: Offset(0), behaviour: BEHAVIOUR, members, previous_members, machine }
    }

    /// What a node begins with that is to join a running cluster: term 0, and members whom it may ask.
    pub fn newcomer(cluster: ClusterId, members: Members) -> Self {
        Self { term: Term(0), ..Self::genesis(cluster, members) }
    }

    /// The bytes that are stored, fetched and hashed; docs/spec/cluster-log.md, "Checkpoint".
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.machine.len() + 1_100);
        out.raw(&MAGIC);
        out.raw(&self.cluster.0);
        out.u64(self.term.0);
        out.u64(self.base.0);
        out.u16(self.behaviour);
        self.members.encode(&mut out);
        self.previous_members.encode(&mut out);
        out.raw(&self.machine);
        out
    }

    /// From stored or fetched bytes.
    ///
    /// # Errors
    /// When they are no checkpoint, of another cluster, or of a newer version.
    pub fn decode(bytes: &[u8], cluster: ClusterId) -> Result<Self, CheckpointError> {
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(CheckpointError::Malformed);
        }
        if ClusterId(reader.array()?) != cluster {
            return Err(CheckpointError::OtherCluster);
        }
        let (term, base, behaviour) = (Term(reader.u64()?), Offset(reader.u64()?), reader.u16()?);
        if behaviour > BEHAVIOUR {
            return Err(CheckpointError::TooNew { needed: behaviour });
        }
        let members = Members::decode(&mut reader).map_err(|_| CheckpointError::Malformed)?;
        let previous_members = Members::decode(&mut reader).map_err(|_| CheckpointError::Malformed)?;
        let machine = reader.remaining().to_vec();
        Ok(Self { cluster, term, base, behaviour, members, previous_members, machine })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Change;

    fn members(numbers: &[u8]) -> Result<Members, MembersError> {
        Members::new(numbers.iter().map(|number| NodeId([*number; 32])))
    }

    #[test]
    fn trap_a_single_member_is_refused_with_a_sentence() {
        let error = members(&[1]).expect_err("one is too few");
        assert!(error.to_string().contains("at least 2 members"), "{error}");
        assert_eq!(members(&[1, 1]), Err(MembersError::Twice));
        assert_eq!(members(&(1..=16).collect::<Vec<_>>()), Err(MembersError::TooMany));
    }

    #[test]
    fn trap_engine_ids_are_dense_whatever_the_node_ids_are() {
        let members = members(&[200, 3, 77]).expect("three");
        let ids: Vec<_> = members.iter().map(|node| members.engine_id(node)).collect();
        assert_eq!(ids, [Some(1), Some(2), Some(3)]);
        assert_eq!((members.node(0), members.node(4)), (None, None), "0 and unknown ids are nobody");
        assert_eq!(members.node(2), Some(NodeId([77; 32])));
    }

    #[test]
    fn members_change_by_one() {
        let three = members(&[1, 2, 3]).expect("three");
        let replaced = three.changed(Change { add: Some(NodeId([9; 32])), remove: Some(NodeId([1; 32])) });
        assert_eq!(replaced, members(&[2, 3, 9]));
        let two = members(&[1, 2]).expect("two");
        assert_eq!(two.changed(Change { add: None, remove: Some(NodeId([1; 32])) }), Err(MembersError::TooFew));
    }

    #[test]
    fn a_checkpoint_is_read_as_it_was_written_and_only_in_its_cluster() {
        let cluster = ClusterId([5; 32]);
        let mut checkpoint = Checkpoint::genesis(cluster, members(&[1, 2, 3]).expect("three"));
        checkpoint.machine = vec![1, 2, 3];
        let bytes = checkpoint.encode();
        assert_eq!(Checkpoint::decode(&bytes, cluster), Ok(checkpoint.clone()));
        assert_eq!(Checkpoint::decode(&bytes, ClusterId([6; 32])), Err(CheckpointError::OtherCluster));
        assert_eq!(Checkpoint::decode(&bytes[..60], cluster), Err(CheckpointError::Malformed));
        checkpoint.behaviour = BEHAVIOUR + 1;
        let error = Checkpoint::decode(&checkpoint.encode(), cluster).expect_err("too new");
        assert!(error.to_string().contains("install a newer version"), "{error}");
    }
}
