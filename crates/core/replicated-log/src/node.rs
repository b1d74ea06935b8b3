//! One node: the engine of the present term, the machine, clients, peers, and everything that changes terms.

use crate::FRAME_BYTES_MAX;
use crate::apps::Apps;
use crate::checkpoint::{Checkpoint, CheckpointError, CheckpointHash, Members};
use crate::engine::{Class, Engine, EngineMessage, LogReader, Paxos, PaxosTicks, Store};
use crate::frame::{Body, Frame, FrameError, MESSAGE_BYTES_MAX};
use crate::ids::{ClusterId, LogIndex, Now, Offset, SessionEpoch, Term};
use crate::machine::Machine;
use crate::record::Recovered;
use crate::timers::Timers;
use clients::Clients;
use following::{Fetch, Learner};
use identity::NodeId;
use leading::Leading;
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;
use turn::Output;

mod clients;
mod commands;
mod following;
mod leading;
mod output;
mod terms;
mod tuning;
mod turn;

pub use commands::SubmitError;
pub use output::{Event, Fatal, Status, Token};
pub use tuning::{TuneError, Tuning};
pub use turn::{Outgoing, Released, Turn, Unsynced, Write};

/// At most one notice of the term to a peer in this time.
const NOTICE_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Timer {
    /// One step of the engine's clock.
    Engine,
    /// The leader writes its time into the log.
    LogTime,
    /// What waits for the leader's log has gathered.
    Gather,
    /// What was not answered is sent again.
    Retry,
    /// A node without a vote asks for more.
    Fetch,
}

#[derive(Debug)]
struct Peer {
    epoch: SessionEpoch,
    /// Parts of a long message.
    parts: Vec<u8>,
    noticed: Option<Duration>,
}

/// What the present term began with.
#[derive(Debug)]
struct Beginning {
    term: Term,
    base: Offset,
    members: Members,
    previous_members: Members,
    hash: CheckpointHash,
    length: u64,
    /// The checkpoint is on disk, so it may be served and rested on.
    is_saved: bool,
}

/// Why a node cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum OpenError {
    /// The checkpoint on disk cannot be used.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A setting is out of range.
    #[error(transparent)]
    Tuning(#[from] TuneError),
}

/// One node of a cluster, without clock, disk and network.
///
/// A shell gives it inputs (`handle_*` and commands), at most a bounded number, and then takes one [`Turn`] with
/// [`Self::poll_turn`] and does what it says, in its order: send what may leave early, write, sync, and hand the turn back
/// with [`Self::handle_saved`], which releases what rests on the disk. Until then no further input is taken.
/// [`Self::poll_deadline`] says when [`Self::handle_timeout`] wants to be called.
pub struct Node {
    cluster: ClusterId,
    own: NodeId,
    incarnation: u64,
    tuning: Tuning,
    beginning: Beginning,
    store: Store,
    engine: Option<Box<dyn Engine>>,
    machine: Machine,
    applied: LogIndex,
    peers: BTreeMap<NodeId, Peer>,
    clients: Clients,
    leading: Leading,
    learner: Option<Learner>,
    fetch: Option<Fetch>,
    timers: Timers<Timer>,
    output: Output,
    is_turn_out: bool,
    fatal: Option<Fatal>,
    is_stop_told: bool,
}

impl Node {
    /// A node as its files have it: the newest checkpoint that is whole, and what [`crate::record::LogDecoder`] made of
    /// that term's log, already cut to its good length **and synced**: what was read may not have been on the disk yet.
    ///
    /// `incarnation` is a random number of this start. `apps` are in their initial state. A node that is new in a running
    /// cluster begins with [`Checkpoint::newcomer`], a new cluster with [`Checkpoint::genesis`], and an empty log.
    ///
    /// # Errors
    /// When the checkpoint cannot be used here, or a setting is out of range.
    pub fn open(
        identity: (ClusterId, NodeId),
        incarnation: u64,
        tuning: Tuning,
        checkpoint: &[u8],
        log: (Recovered, Box<dyn LogReader>),
        apps: Apps,
    ) -> Result<Self, OpenError> {
        tuning.check()?;
        let (cluster, own) = identity;
        let (hash, length) = (CheckpointHash::of(checkpoint), checkpoint.len() as u64);
        let checkpoint = Checkpoint::decode(checkpoint, cluster)?;
        let machine = Machine::restore(&checkpoint, apps)?;
        let (recovered, reader) = log;
        let store = Store::new(checkpoint.term, &recovered, tuning.window_entries_max, reader);
        let engine = engine(own, &checkpoint.members, checkpoint.term, &tuning, &store);
        let beginning = Beginning {
            term: checkpoint.term,
            base: checkpoint.base,
            members: checkpoint.members,
            previous_members: checkpoint.previous_members,
            hash,
            length,
            is_saved: true,
        };
        let mut timers = Timers::default();
        [Timer::Engine, Timer::Retry, Timer::Fetch].into_iter().for_each(|timer| timers.set(timer, Duration::ZERO));
        #[cfg_attr(not(feature = "planted-faults"), expect(unused_mut, reason = "only a planted fault changes it"))]
        let mut node = Self {
            cluster,
            own,
            incarnation,
            tuning,
            beginning,
            store,
            engine,
            machine,
            applied: LogIndex(0),
            peers: BTreeMap::new(),
            clients: Clients::default(),
            leading: Leading::default(),
            learner: None,
            fetch: None,
            timers,
            output: Output::resumed(recovered.file_length),
            is_turn_out: false,
            fatal: None,
            is_stop_told: false,
        };
        #[cfg(feature = "planted-faults")]
        if tuning.without_sessions {
            node.machine.plant_without_sessions();
        }
        Ok(node)
    }

    /// The machine, to ask its applications; [`Self::read`] says from when on it is not old.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The members of the present term.
    pub fn members(&self) -> &Members {
        &self.beginning.members
    }

    /// How things are.
    pub fn status(&self) -> Status {
        Status {
            term: self.beginning.term,
            votes: self.engine.is_some(),
            leader: self.leader_node(),
            leads: self.leads(),
            next: Offset(self.beginning.base.0 + self.applied.0),
            decided: self.decided(),
            length: self.store.length(),
            waiting: self.clients.count(),
        }
    }

    /// A connection with a peer began. The shell has authenticated the peer; whoever is no member is answered nothing but
    /// what a newcomer or somebody who missed a term may know.
    pub fn handle_session(&mut self, now: Now, peer: NodeId, epoch: SessionEpoch) {
        self.begin_input();
        if peer == self.own || self.fatal.is_some() {
            return;
        }
        self.peers.insert(peer, Peer { epoch, parts: Vec::new(), noticed: None });
        if let (Some(engine), Some(engine_id)) = (&mut self.engine, self.beginning.members.engine_id(peer)) {
            engine.handle_connection(engine_id);
        }
        if self.leader_node() == Some(peer) {
            self.clients.resend_all();
        }
        self.send_notice(now, peer);
    }

    /// A connection ended. One that was replaced already says nothing.
    pub fn handle_session_end(&mut self, peer: NodeId, epoch: SessionEpoch) {
        self.begin_input();
        if self.peers.get(&peer).is_some_and(|present| present.epoch == epoch) {
            self.peers.remove(&peer);
            self.fetch.take_if(|fetch| fetch.peer == peer);
        }
    }

    /// A frame came from the authenticated peer `from`. Frames of older connections are dropped.
    ///
    /// # Errors
    /// When the frame is none that the peer may send: close its connection.
    pub fn handle_frame(&mut self, now: Now, from: NodeId, bytes: &[u8]) -> Result<(), FrameError> {
        self.begin_input();
        if bytes.len() > FRAME_BYTES_MAX {
            return Err(FrameError::TooLong);
        }
        let mut frame = Frame::decode(bytes)?;
        let Some(peer) = self.peers.get_mut(&from) else { return Ok(()) };
        if peer.epoch != frame.epoch || self.fatal.is_some() {
            return Ok(());
        }
        if let Body::Part { last, bytes } = &frame.body {
            peer.parts.extend_from_slice(bytes);
            if peer.parts.len() > MESSAGE_BYTES_MAX {
                return Err(FrameError::TooLong);
            }
            if !last {
                return Ok(());
            }
            frame = Frame::decode(&std::mem::take(&mut peer.parts))?;
        }
        self.handle_body(now, from, frame)
    }

    /// The time has come that [`Self::poll_deadline`] named, or any other.
    pub fn handle_timeout(&mut self, now: Now) {
        self.begin_input();
        while let Some(timer) = self.timers.poll(now.monotonic) {
            // The next step counts from now: a node that was stopped does not make up for the steps it missed.
            let again = |interval: u64| now.monotonic + Duration::from_millis(interval);
            match timer {
                Timer::Engine => {
                    self.timers.set(timer, again(self.tuning.tick_ms));
                    self.engine.iter_mut().for_each(|engine| engine.tick());
                }
                Timer::LogTime => self.leading.is_tick_due = true,
                Timer::Gather => self.leading.is_gathered = true,
                Timer::Retry => {
                    self.timers.set(timer, again(self.tuning.retry_ms));
                    self.clients
                        .resend_since(now.monotonic.saturating_sub(Duration::from_millis(self.tuning.retry_ms)));
                }
                Timer::Fetch => {
                    self.timers.set(timer, again(self.tuning.tick_ms * 2));
                    self.fetch_again(now);
                }
            }
        }
    }

    /// When to call [`Self::handle_timeout`], and then [`Self::poll_turn`], at the latest. It may lie in the past.
    pub fn poll_deadline(&self) -> Option<Duration> {
        if self.fatal.is_some() {
            return None;
        }
        if self.applied < self.decided() { Some(Duration::ZERO) } else { self.timers.deadline() }
    }

    fn handle_body(&mut self, now: Now, from: NodeId, frame: Frame) -> Result<(), FrameError> {
        match frame.body {
            Body::Engine(bytes) | Body::Heartbeat(bytes) => {
                if frame.term != self.beginning.term {
                    // Either it learns of the term here, or its answer tells of the term there.
                    self.send_notice(now, from);
                    return Ok(());
                }
                let engine_id = self.beginning.members.engine_id(from).ok_or(FrameError::Stranger)?;
                self.engine.iter_mut().try_for_each(|engine| engine.handle(engine_id, &bytes))?;
            }
            Body::Forward(entries) if self.beginning.members.contains(from) => self.handle_forward(from, entries),
            // In another term the sender may have been a member, or be one soon.
            Body::Forward(_) if frame.term != self.beginning.term => {}
            Body::Forward(_) => return Err(FrameError::Stranger),
            Body::ForwardBusy(entries) => self.handle_forward_busy(&entries),
            Body::Notice { hash, length } => self.handle_notice(now, from, frame.term, hash, length),
            Body::FetchCheckpoint { at } => self.serve_checkpoint(from, at),
            Body::Checkpoint { at, bytes } => self.handle_checkpoint(now, from, frame.term, at, &bytes)?,
            Body::FetchEntries { from: index } => self.serve_entries(now, from, frame.term, index),
            Body::Entries { from: index, decided, leader, entries } => {
                if frame.term == self.beginning.term {
                    self.handle_entries(now, from, index, decided, leader, entries);
                }
            }
            Body::Part { .. } => return Err(FrameError::Malformed),
        }
        Ok(())
    }

    /// # Panics
    /// When the shell gives an input between taking a turn and handing it back: then what it had saved would be unknown.
    fn begin_input(&self) {
        assert!(!self.is_turn_out, "a turn was taken and not handed back with handle_saved");
    }

    fn decided(&self) -> LogIndex {
        self.engine.as_ref().map_or_else(|| self.store.decided(), |engine| engine.decided())
    }

    fn leader_node(&self) -> Option<NodeId> {
        let leader = self.engine.as_ref()?.leader()?;
        self.beginning.members.node(leader.engine_id)
    }

    fn leads(&self) -> bool {
        let leader = self.engine.as_ref().and_then(|engine| engine.leader());
        leader.is_some_and(|leader| leader.in_step) && self.leader_node() == Some(self.own)
    }

    fn is_peer_entitled(&self, peer: NodeId) -> bool {
        self.beginning.members.contains(peer)
            || self.beginning.previous_members.contains(peer)
            || self.machine.plan().is_some_and(|plan| plan.add == Some(peer))
    }

    fn send_notice(&mut self, now: Now, to: NodeId) {
        if !self.beginning.is_saved || !self.is_peer_entitled(to) {
            return;
        }
        let Some(peer) = self.peers.get_mut(&to) else { return };
        if peer.noticed.is_some_and(|at| now.monotonic < at + NOTICE_INTERVAL) {
            return;
        }
        peer.noticed = Some(now.monotonic);
        let body = Body::Notice { hash: self.beginning.hash, length: self.beginning.length };
        self.send(to, Class::AfterSync, body);
    }

    /// Queues a frame for the end of the turn; to nobody when there is no connection.
    fn send(&mut self, to: NodeId, class: Class, body: Body) {
        let Some(peer) = self.peers.get(&to) else { return };
        let (kind, term, epoch) = (body.kind(), self.beginning.term, peer.epoch);
        let bytes = Frame { term, epoch, body }.encode();
        if bytes.len() <= FRAME_BYTES_MAX {
            self.output.send(class, Outgoing { to, epoch, kind, bytes });
            return;
        }
        let mut pieces = bytes.chunks(FRAME_BYTES_MAX / 2).peekable();
        while let Some(piece) = pieces.next() {
            let body = Body::Part { last: pieces.peek().is_none(), bytes: piece.to_vec() };
            let bytes = Frame { term, epoch, body }.encode();
            self.output.send(class, Outgoing { to, epoch, kind, bytes });
        }
    }

    /// Queues what the engine wants to send.
    fn drain_engine(&mut self) {
        let mut messages: Vec<EngineMessage> = Vec::new();
        self.engine.iter_mut().for_each(|engine| engine.drain(&mut messages));
        for message in messages {
            let Some(to) = self.beginning.members.node(message.to) else { continue };
            let body = if message.is_heartbeat { Body::Heartbeat(message.bytes) } else { Body::Engine(message.bytes) };
            self.send(to, message.class, body);
        }
    }

    fn fail(&mut self, fatal: Fatal) {
        self.fatal.get_or_insert(fatal);
    }
}

/// The engine of a term for a node that votes in it.
fn engine(own: NodeId, members: &Members, term: Term, tuning: &Tuning, store: &Store) -> Option<Box<dyn Engine>> {
    let engine_id = members.engine_id(own).filter(|_| term > Term(0))?;
    let ticks = PaxosTicks { election: tuning.election_ticks, resend: tuning.resend_ticks };
    Some(Box::new(Paxos::new(term, engine_id, members.count() as u64, ticks, store.clone())))
}
