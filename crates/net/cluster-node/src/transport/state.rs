//! What all tasks of a transport share: who is connected, the queues towards them, and the counters.

use super::counters::{Counters, Fault};
use super::dial;
use super::event::{ClientStream, Emitter, LostReason, Session, Stream};
use super::queue::{CLIENT_BYTES_MAX, QueueReceiver, QueueSender, queue};
use super::settings::Settings;
use crate::frame::{self, Kind, MESSAGE_MAX};
use crate::member::{Member, MembersError, Roster};
use bytes::Bytes;
use identity::NodeId;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, SendDatagramError};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

/// Streams of clients that either end may have open in one session. One more is refused as busy.
pub const CLIENTS_MAX: usize = 512;

/// Handshakes in progress. What comes beyond is ignored and counted; members try again.
pub const HANDSHAKES_MAX: usize = 64;

/// Messages that wait for one client's stream.
const CLIENT_MESSAGES_MAX: usize = 1_024;

/// Why a message did not go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SendError {
    /// The session is over, or never was.
    #[error("the session is over")]
    Over,
    /// The message is longer than its stream takes.
    #[error("the message is too long for its stream")]
    TooLong,
    /// The engine's queue was full, so its session ends.
    #[error("the peer's queue is full, and its session ends")]
    Overflow,
    /// There is no room on this stream at present, or too many are open. Try again later.
    #[error("the stream has no room at present")]
    Busy,
}

/// How the connections stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// Every other member.
    pub peers: BTreeMap<NodeId, PeerStatus>,
    /// Handshakes that failed or were refused: strangers, and members with a bad certificate.
    pub refused_handshakes: u64,
    /// Connections that were ignored because [`HANDSHAKES_MAX`] were in progress.
    pub ignored_handshakes: u64,
}

/// How one peer stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PeerStatus {
    /// The session and since when it stands, if one does.
    pub session: Option<(Session, Instant)>,
    /// Where the peer is.
    pub address: Option<SocketAddr>,
    /// Sessions that were begun.
    pub sessions: u64,
    /// Attempts to dial that led to none.
    pub failed_dials: u64,
    /// What it did that it must not.
    pub counters: Counters,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) roster: Roster,
    pub(super) endpoint: Endpoint,
    pub(super) client: ClientConfig,
    pub(super) events: Emitter,
    pub(super) handshakes: Arc<Semaphore>,
    state: Mutex<State>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct State {
    live: BTreeMap<NodeId, Live>,
    /// A loop for every member with a lower node id; dropping the sender ends it.
    dialers: BTreeMap<NodeId, watch::Sender<()>>,
    /// Held by a session from its beginning to the moment its end is reported.
    turns: BTreeMap<NodeId, Arc<tokio::sync::Mutex<()>>>,
    last_sessions: BTreeMap<NodeId, u64>,
    status: Status,
    is_stopped: bool,
}

/// What a session that stands can be asked for.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) session: Session,
    pub(super) closer: Closer,
    pub(super) engine: QueueSender,
    pub(super) catch_up: QueueSender,
    /// Streams of clients that this end opened, on their way to the session.
    pub(super) opener: mpsc::Sender<(ClientStream, QueueReceiver)>,
    pub(super) clients: BTreeMap<ClientStream, QueueSender>,
    pub(super) next_client: u64,
}

/// Ends a connection, and remembers why.
#[derive(Debug, Clone)]
pub(super) struct Closer {
    pub(super) connection: Connection,
    why: Arc<OnceLock<LostReason>>,
}

impl Closer {
    pub(super) fn new(connection: Connection) -> Self {
        Self { connection, why: Arc::new(OnceLock::new()) }
    }

    /// Ends it. The first reason counts.
    pub(super) fn close(&self, why: LostReason) {
        if self.connection.close_reason().is_none() && self.why.set(why).is_ok() {
            self.connection.close(why.code(), b"");
        }
    }

    /// Why it ended; waits until it has.
    pub(super) async fn closed(&self) -> LostReason {
        let error = self.connection.closed().await;
        self.why.get().copied().unwrap_or_else(|| LostReason::of(&error))
    }
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        roster: Roster,
        endpoint: Endpoint,
        tls: Arc<QuicClientConfig>,
        events: Emitter,
    ) -> Self {
        let mut client = ClientConfig::new(tls);
        client.transport_config(settings.transport());
        Self {
            settings,
            roster,
            endpoint,
            client,
            events,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            state: Mutex::default(),
            tasks: Mutex::default(),
        }
    }

    /// Runs a task that ends with the transport.
    pub(super) fn spawn(self: Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    pub(super) fn abort_tasks(&self) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).abort_all();
    }

    /// Ends every session, and lets no other begin.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.is_stopped = true;
        state.dialers.clear();
        for live in state.live.values() {
            live.closer.close(LostReason::Stopped);
        }
        self.endpoint.close(LostReason::Stopped.code(), b"");
    }

    /// Begins to dial every member with a lower node id that is not dialled yet.
    pub(super) fn dial_missing(self: &Arc<Self>) {
        for peer in self.roster.all().into_keys().filter(|peer| *peer < self.settings.own) {
            let (sender, receiver) = watch::channel(());
            {
                let mut state = self.state();
                if state.is_stopped || state.dialers.contains_key(&peer) {
                    continue;
                }
                state.dialers.insert(peer, sender);
            }
            Arc::clone(self).spawn(dial::keep_dialling(Arc::clone(self), peer, receiver));
        }
    }

    pub(super) fn set_members(self: &Arc<Self>, members: &[Member]) -> Result<(), MembersError> {
        let before = self.roster.all();
        self.roster.replace(self.settings.own, members)?;
        let after = self.roster.all();
        let stays = |peer: &NodeId| match (before.get(peer), after.get(peer)) {
            (Some(before), Some(after)) => before.name == after.name && before.proof == after.proof,
            _ => false,
        };
        {
            let mut state = self.state();
            for (_, live) in state.live.iter().filter(|(peer, _)| !stays(peer)) {
                live.closer.close(LostReason::Removed);
            }
            state.dialers.retain(|peer, _| after.contains_key(peer));
            state.status.peers.retain(|peer, _| after.contains_key(peer));
        }
        self.dial_missing();
        Ok(())
    }

    pub(super) fn status(&self) -> Status {
        let mut status = self.state().status.clone();
        for peer in self.roster.all().into_keys() {
            status.peers.entry(peer).or_default();
        }
        status
    }

    pub(super) fn note(&self, peer: NodeId, fault: Fault) {
        if self.roster.member(peer).is_some() {
            self.state().status.peers.entry(peer).or_default().counters.add(fault);
        }
    }

    pub(super) fn note_failed_dial(&self, peer: NodeId) {
        if self.roster.member(peer).is_some() {
            self.state().status.peers.entry(peer).or_default().failed_dials += 1;
        }
    }

    pub(super) fn note_refused_handshake(&self) {
        self.state().status.refused_handshakes += 1;
    }

    pub(super) fn note_ignored_handshake(&self) {
        self.state().status.ignored_handshakes += 1;
    }

    pub(super) fn disconnect(&self, peer: NodeId, session: Session, fault: Fault) {
        self.note(peer, fault);
        let _ = self.with_live(peer, session, |live| {
            live.closer.close(LostReason::Refused);
            Ok(())
        });
    }

    /// Whose turn it is to be the session with this peer.
    pub(super) fn turn(&self, peer: NodeId) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(self.state().turns.entry(peer).or_default())
    }

    /// Ends the session that stands, for one that is to come.
    pub(super) fn supersede(&self, peer: NodeId) {
        if let Some(live) = self.state().live.get(&peer) {
            live.closer.close(LostReason::Superseded);
        }
    }

    /// The number of the next session with this peer: above all before it, and at least what the peer wants.
    pub(super) fn next_session(&self, peer: NodeId, least: u64) -> Session {
        let mut state = self.state();
        let last = state.last_sessions.entry(peer).or_insert(0);
        *last = least.max(last.saturating_add(1));
        Session(*last)
    }

    /// Makes a session the one that stands. `false`: its peer is no member any more, or the node stops.
    pub(super) fn register(&self, peer: NodeId, live: Live) -> bool {
        let mut state = self.state();
        // Asked under the lock: whoever takes the peer off the list either sees the session, or is seen here.
        if state.is_stopped || self.roster.member(peer).is_none() {
            return false;
        }
        let status = state.status.peers.entry(peer).or_default();
        status.sessions += 1;
        status.session = Some((live.session, Instant::now()));
        status.address = Some(live.closer.connection.remote_address());
        state.live.insert(peer, live);
        true
    }

    pub(super) fn unregister(&self, peer: NodeId) {
        let mut state = self.state();
        state.live.remove(&peer);
        if let Some(status) = state.status.peers.get_mut(&peer) {
            (status.session, status.address) = (None, None);
        }
    }

    pub(super) fn send(&self, peer: NodeId, session: Session, stream: Stream, message: Bytes) -> Result<(), SendError> {
        if message.len() > MESSAGE_MAX {
            return Err(SendError::TooLong);
        }
        let sent = self.with_live(peer, session, |live| match stream {
            Stream::Engine => live.engine.push(message).map_err(|_| {
                live.closer.close(LostReason::Overflow);
                SendError::Overflow
            }),
            Stream::Heartbeat => send_heartbeat(&live.closer.connection, &message),
            Stream::CatchUp => live.catch_up.push(message).map_err(|_| SendError::Busy),
            Stream::Client(client) => {
                let queue = live.clients.get(&client).ok_or(SendError::Over)?;
                queue.push(message).map_err(|_| SendError::Busy)
            }
        });
        if sent == Err(SendError::Overflow) {
            self.note(peer, Fault::Overflow);
        }
        sent
    }

    pub(super) fn open(&self, peer: NodeId, session: Session) -> Result<ClientStream, SendError> {
        self.with_live(peer, session, |live| {
            if live.clients.len() >= CLIENTS_MAX {
                return Err(SendError::Busy);
            }
            let client = ClientStream { opened_here: true, number: live.next_client };
            let (sender, receiver) = client_queue();
            live.opener.try_send((client, receiver)).map_err(|_| SendError::Busy)?;
            live.next_client += 1;
            live.clients.insert(client, sender);
            Ok(client)
        })
    }

    /// Takes in a stream that the peer opened; `None` when the number was used or the session is over.
    pub(super) fn accept_client(&self, peer: NodeId, session: Session, client: ClientStream) -> Option<QueueReceiver> {
        let accepted = self.with_live(peer, session, |live| {
            if live.clients.contains_key(&client) {
                return Err(SendError::Busy);
            }
            let (sender, receiver) = client_queue();
            live.clients.insert(client, sender);
            Ok(receiver)
        });
        accepted.ok()
    }

    pub(super) fn finish(&self, peer: NodeId, session: Session, client: ClientStream) {
        let _ = self.with_live(peer, session, |live| {
            live.clients.remove(&client);
            Ok(())
        });
    }

    fn with_live<T>(
        &self,
        peer: NodeId,
        session: Session,
        ask: impl FnOnce(&mut Live) -> Result<T, SendError>,
    ) -> Result<T, SendError> {
        match self.state().live.get_mut(&peer) {
            Some(live) if live.session == session => ask(live),
            _ => Err(SendError::Over),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn client_queue() -> (QueueSender, QueueReceiver) {
    queue(CLIENT_MESSAGES_MAX, CLIENT_BYTES_MAX)
}

fn send_heartbeat(connection: &Connection, message: &[u8]) -> Result<(), SendError> {
    if message.len() > frame::BODY_MAX {
        return Err(SendError::TooLong);
    }
    let mut bytes = Vec::with_capacity(frame::HEADER_LEN + message.len());
    frame::encode(Kind::Message, message, &mut bytes);
    match connection.send_datagram(bytes.into()) {
        Ok(()) => Ok(()),
        Err(SendDatagramError::TooLarge) => Err(SendError::TooLong),
        Err(_) => Err(SendError::Over),
    }
}
