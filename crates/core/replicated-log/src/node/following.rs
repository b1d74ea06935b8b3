//! Catching up: fetching a checkpoint, following the log without a vote, and serving those who do.

use super::{NOTICE_INTERVAL, Node};
use crate::CHECKPOINT_BYTES_MAX;
use crate::checkpoint::CheckpointHash;
use crate::engine::Class;
use crate::entry::Entry;
use crate::frame::{Body, FrameError};
use crate::ids::{LogIndex, Now, Term};
use identity::NodeId;
use std::time::Duration;

/// Bytes of one piece of a checkpoint.
const CHUNK_BYTES: usize = 256 << 10;

/// Entries that are served at once.
const SERVED_ENTRIES: u64 = 512;

/// Bytes of entries that are served at once, but for the first entry.
const SERVED_BYTES: usize = 512 << 10;

/// A fetch of which nothing came for so long is given up; the next notice begins another.
const FETCH_PATIENCE: Duration = Duration::from_secs(2);

/// A newcomer that did not ask for so long has not caught up.
const LEARNER_PATIENCE: Duration = Duration::from_secs(2);

/// A checkpoint on its way to this node.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) peer: NodeId,
    term: Term,
    hash: CheckpointHash,
    length: u64,
    bytes: Vec<u8>,
    heard: Duration,
}

/// How far a node without a vote has come, as it told this one.
#[derive(Debug)]
pub(super) struct Learner {
    node: NodeId,
    from: LogIndex,
    heard: Duration,
}

impl Node {
    /// A peer is in another term than this node.
    pub(super) fn handle_notice(&mut self, now: Now, from: NodeId, term: Term, hash: CheckpointHash, length: u64) {
        if term < self.beginning.term {
            self.send_notice(now, from);
        }
        let is_known = self.fetch.as_ref().is_some_and(|fetch| fetch.term >= term);
        if term <= self.beginning.term || is_known || length > CHECKPOINT_BYTES_MAX as u64 {
            return;
        }
        self.fetch = Some(Fetch { peer: from, term, hash, length, bytes: Vec::new(), heard: now.monotonic });
        self.send(from, Class::AfterSync, Body::FetchCheckpoint { at: 0 });
    }

    pub(super) fn serve_checkpoint(&mut self, to: NodeId, at: u64) {
        if !self.is_peer_entitled(to) || !self.beginning.is_saved || at >= self.beginning.length {
            return;
        }
        let bytes = self.store.read_checkpoint(self.beginning.term, at, CHUNK_BYTES);
        self.send(to, Class::BeforeSync, Body::Checkpoint { at, bytes });
    }

    /// A piece of the checkpoint that is being fetched; others are left over from an earlier fetch.
    pub(super) fn handle_checkpoint(
        &mut self,
        now: Now,
        from: NodeId,
        term: Term,
        at: u64,
        bytes: &[u8],
    ) -> Result<(), FrameError> {
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        if fetch.peer != from || fetch.term != term || fetch.bytes.len() as u64 != at || bytes.is_empty() {
            return Ok(());
        }
        fetch.bytes.extend_from_slice(bytes);
        fetch.heard = now.monotonic;
        let so_far = fetch.bytes.len() as u64;
        if so_far < fetch.length {
            self.send(from, Class::BeforeSync, Body::FetchCheckpoint { at: so_far });
            return Ok(());
        }
        let Some(fetch) = self.fetch.take() else { return Ok(()) };
        if so_far != fetch.length || CheckpointHash::of(&fetch.bytes) != fetch.hash {
            return Err(FrameError::Malformed);
        }
        self.install(fetch.bytes).map_err(|_| FrameError::Malformed)
    }

    /// Asks again, and gives up on who does not answer.
    pub(super) fn fetch_again(&mut self, now: Now) {
        self.fetch.take_if(|fetch| now.monotonic > fetch.heard + FETCH_PATIENCE);
        if self.fetch.is_some() || self.engine.is_some() {
            return;
        }
        // One after the other, a round of patience each, until somebody answers; a leader knows who is to be added.
        let connected: Vec<NodeId> =
            self.beginning.members.iter().filter(|node| self.peers.contains_key(node)).collect();
        let turn = now.monotonic.as_millis() / NOTICE_INTERVAL.as_millis();
        let chosen = usize::try_from(turn).unwrap_or_default().checked_rem(connected.len());
        if let Some(peer) = chosen.map(|chosen| connected[chosen]) {
            self.ask_entries(peer);
        }
    }

    fn ask_entries(&mut self, peer: NodeId) {
        self.send(peer, Class::AfterSync, Body::FetchEntries { from: self.store.length() });
    }

    /// Someone without a vote, or with a checkpoint to fetch first, wants decided entries.
    pub(super) fn serve_entries(&mut self, now: Now, to: NodeId, term: Term, from: LogIndex) {
        if term != self.beginning.term {
            self.send_notice(now, to);
            return;
        }
        let is_planned = self.machine.plan().is_some_and(|plan| plan.add == Some(to));
        if !is_planned && !self.beginning.members.contains(to) {
            return;
        }
        if is_planned {
            self.learner = Some(Learner { node: to, from, heard: now.monotonic });
        }
        let decided = self.decided();
        let mut entries = self.store.entries(from, decided.min(LogIndex(from.0.saturating_add(SERVED_ENTRIES))));
        let mut bytes = 0;
        let fits = entries.iter().take_while(|entry| {
            let is_first = bytes == 0;
            bytes += entry.as_bytes().len() + 4;
            is_first || bytes <= SERVED_BYTES
        });
        let fits = fits.count();
        entries.truncate(fits);
        let leader = self.leader_node();
        self.send(to, Class::AfterSync, Body::Entries { from, decided, leader, entries });
    }

    pub(super) fn handle_entries(
        &mut self,
        _now: Now,
        peer: NodeId,
        from: LogIndex,
        decided: LogIndex,
        leader: Option<NodeId>,
        entries: Vec<Entry>,
    ) {
        if self.engine.is_some() || from != self.store.length() || !self.beginning.members.contains(peer) {
            return;
        }
        if !entries.is_empty() {
            self.store.append_decided(from, entries);
        }
        // The leader counts how far a newcomer is, so the next question goes to it.
        let next = leader.filter(|node| self.peers.contains_key(node)).unwrap_or(peer);
        if self.store.length() < decided || next != peer {
            self.ask_entries(next);
        }
    }

    pub(super) fn has_caught_up(&self, now: Now, newcomer: NodeId) -> bool {
        self.learner.as_ref().is_some_and(|learner| {
            learner.node == newcomer
                && now.monotonic <= learner.heard + LEARNER_PATIENCE
                && learner.from.0 + self.tuning.catch_up_entries >= self.decided().0
        })
    }
}
