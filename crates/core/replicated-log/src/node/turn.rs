//! The end of a turn: what leaves, what is written, and in which order.

use super::{Fatal, Node};
use crate::engine::{Class, StoreFailure};
use crate::frame::Kind;
use crate::ids::{LogIndex, Now, SessionEpoch, Term};
use crate::node::Event;
use crate::record::{BATCH_HEADER_LEN, HEADER_LEN, encode_batch};
use identity::NodeId;
use std::collections::BTreeSet;

/// A frame for a peer. All but heartbeats of one peer leave in the order they come in, over one ordered channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// For whom.
    pub to: NodeId,
    /// In which connection; when that is over, drop it.
    pub epoch: SessionEpoch,
    /// How it may travel.
    pub kind: Kind,
    /// The frame.
    pub bytes: Vec<u8>,
}

/// Something to write, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Write {
    /// To the end of the log of a term.
    Append {
        /// Which term's.
        term: Term,
        /// Where the file ends before it; for [`crate::record::Places::handle_run`].
        position: u64,
        /// What.
        bytes: Vec<u8>,
        /// Which entries are in it: from which index, how many.
        runs: Vec<(LogIndex, usize)>,
    },
    /// A term begins: write the checkpoint under another name, sync it, write and sync a log with this header, then rename
    /// the checkpoint and sync the folder. From then on the node is in the term; files of the terms before it are kept for
    /// subscribers as long as the operator likes.
    BeginTerm {
        /// Which.
        term: Term,
        /// The checkpoint.
        checkpoint: Vec<u8>,
        /// The first bytes of the term's log.
        log_header: [u8; HEADER_LEN],
    },
}

/// What a shell does at the end of a turn: send `early`, do the `writes`, sync every log among them if `sync`, then hand
/// `unsynced` back. A write that fails ends the process: what is on the disk is unknown then.
#[derive(Debug)]
#[must_use = "a node takes no input until its turn is handed back"]
pub struct Turn {
    /// What may leave before the sync.
    pub early: Vec<Outgoing>,
    /// What is to be written.
    pub writes: Vec<Write>,
    /// Whether to sync before the turn is handed back.
    pub sync: bool,
    /// What waits for that.
    pub unsynced: Unsynced,
}

/// What may leave only when the turn is saved. [`Node::handle_saved`] opens it.
#[derive(Debug)]
#[must_use = "a node takes no input until its turn is handed back"]
pub struct Unsynced {
    released: Released,
    synced: bool,
}

/// What leaves after the sync.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Released {
    /// For peers.
    pub frames: Vec<Outgoing>,
    /// For clients and subscribers.
    pub events: Vec<Event>,
}

/// What gathers during a turn.
#[derive(Debug, Default)]
pub(super) struct Output {
    frames: Vec<(Class, Outgoing)>,
    pub(super) events: Vec<Event>,
    writes: Vec<Write>,
    sync: bool,
    /// A term begins in this turn: nothing may leave before its checkpoint is saved.
    all_late: bool,
    written: u64,
    synced: u64,
}

impl Output {
    pub(super) fn resumed(file_length: u64) -> Self {
        let length = file_length.max(HEADER_LEN as u64);
        Self { written: length, synced: length, ..Self::default() }
    }

    pub(super) fn send(&mut self, class: Class, frame: Outgoing) {
        self.frames.push((class, frame));
    }

    pub(super) fn begin_term(&mut self, term: Term, checkpoint: Vec<u8>, log_header: [u8; HEADER_LEN]) {
        self.writes.push(Write::BeginTerm { term, checkpoint, log_header });
        (self.written, self.synced) = (HEADER_LEN as u64, HEADER_LEN as u64);
        (self.sync, self.all_late) = (true, true);
    }

    /// How long the log's file is.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.events.is_empty() && self.writes.is_empty()
    }

    /// Which frames need not wait. Behind one that waits, all for its peer wait, or their order would change.
    fn split(&mut self) -> (Vec<Outgoing>, Vec<Outgoing>) {
        let mut waiting: BTreeSet<NodeId> = BTreeSet::new();
        let (mut early, mut late) = (Vec::new(), Vec::new());
        for (class, frame) in self.frames.drain(..) {
            let may_overtake = frame.kind == Kind::Heartbeat;
            let waits = class == Class::AfterSync || (!may_overtake && waiting.contains(&frame.to));
            if waits || self.all_late {
                waiting.insert(frame.to);
                late.push(frame);
            } else {
                early.push(frame);
            }
        }
        (early, late)
    }
}

impl Node {
    /// Ends a turn; `None` when there is nothing to do. Applies what is decided, a bounded number of entries at a time.
    pub fn poll_turn(&mut self, now: Now) -> Option<Turn> {
        self.begin_input();
        if self.fatal.is_none() {
            self.apply_decided();
            self.advance(now);
            self.drain_engine();
            self.save();
        }
        self.check_store();
        if let Some(fatal) = self.fatal {
            return self.stop(fatal);
        }
        if self.output.is_empty() {
            return None;
        }
        self.is_turn_out = true;
        let (early, frames) = self.output.split();
        let events = std::mem::take(&mut self.output.events);
        let (writes, sync) = (std::mem::take(&mut self.output.writes), std::mem::take(&mut self.output.sync));
        self.output.all_late = false;
        Some(Turn { early, writes, sync, unsynced: Unsynced { released: Released { frames, events }, synced: sync } })
    }

    /// The turn's writes are done, and synced if it said so. Gives what may leave from now on.
    pub fn handle_saved(&mut self, unsynced: Unsynced) -> Released {
        self.is_turn_out = false;
        if unsynced.synced {
            self.output.synced = self.output.written;
            self.beginning.is_saved = true;
        }
        self.store.handle_saved();
        unsynced.released
    }

    /// Makes a batch of what the storage wants to have saved.
    pub(super) fn save(&mut self) {
        let unsaved = self.store.take_unsaved();
        if unsaved.records.is_empty() {
            return;
        }
        let bytes = encode_batch(&unsaved.records, self.output.synced);
        debug_assert_eq!(bytes.len(), BATCH_HEADER_LEN + unsaved.records.len());
        let position = self.output.written;
        self.output.written += bytes.len() as u64;
        self.output.sync |= unsaved.needs_sync;
        self.output.writes.push(Write::Append { term: self.beginning.term, position, bytes, runs: unsaved.runs });
    }

    fn check_store(&mut self) {
        match self.store.failure() {
            Some(StoreFailure::Read) => self.fail(Fatal::Disk),
            Some(StoreFailure::Hole | StoreFailure::Decided | StoreFailure::Forbidden) => self.fail(Fatal::Engine),
            None => {}
        }
    }

    /// Nothing of a turn that failed leaves; the last event is said once.
    fn stop(&mut self, fatal: Fatal) -> Option<Turn> {
        let resumed = self.output.written;
        self.output = Output::resumed(resumed);
        if std::mem::replace(&mut self.is_stop_told, true) {
            return None;
        }
        self.is_turn_out = true;
        let released = Released { frames: Vec::new(), events: vec![Event::Stopped(fatal)] };
        let unsynced = Unsynced { released, synced: false };
        Some(Turn { early: Vec::new(), writes: Vec::new(), sync: false, unsynced })
    }
}
