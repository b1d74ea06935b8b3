//! Connections between members: one for each pair, dialled by the member with the higher node id.
//!
//! What comes up is data ([`Event`]), and what goes down are calls that never wait ([`Transport::send`] and the rest).

mod accept;
mod connection_ids;
mod counters;
mod dial;
mod event;
mod frames;
mod queue;
mod session;
mod settings;
mod state;
mod streams;

pub use counters::{Counters, Fault};
pub use event::{ClientStream, Event, LostReason, Session, Stream};
pub use queue::{CATCH_UP_BYTES_MAX, CLIENT_BYTES_MAX, QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX};
pub use settings::{BindError, Settings};
pub use state::{CLIENTS_MAX, HANDSHAKES_MAX, PeerStatus, SendError, Status};

use crate::credentials::CredentialStore;
use crate::member::{Member, MembersError, Roster};
use crate::tls::{self, Gate};
use bytes::Bytes;
use event::EventReceiver;
use identity::NodeId;
use state::Shared;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long [`Transport::shutdown`] waits for the peers to have heard of it.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// The connections of one node. Dropping it ends them; [`Transport::shutdown`] also waits until the peers were told.
#[derive(Debug)]
pub struct Transport {
    shared: Arc<Shared>,
    events: EventReceiver,
}

/// Sends and asks from any thread, beside the one place that takes events.
#[derive(Debug, Clone)]
pub struct Sender(Arc<Shared>);

impl Transport {
    /// Opens the socket and begins to dial and to answer. It needs a tokio runtime around it, here and later.
    ///
    /// # Errors
    /// When the socket cannot be opened, the list of members cannot be used, or a certificate is not this node's.
    pub fn bind(settings: Settings, credentials: CredentialStore, members: &[Member]) -> Result<Self, BindError> {
        settings.check()?;
        let own = members.iter().find(|member| member.id == settings.own);
        settings::check_own(own, &credentials)?;
        let roster = Roster::new(settings.own, members)?;
        let gate = Gate { credentials, roster: roster.clone() };
        let (client, server) = (tls::client(&gate)?, tls::server(&gate)?);
        let endpoint = settings.endpoint(server)?;
        let (emitter, events) = event::channel();
        let shared = Arc::new(Shared::new(settings, roster, endpoint, client, emitter));
        Arc::clone(&shared).spawn(accept::serve(Arc::clone(&shared)));
        shared.dial_missing();
        Ok(Self { shared, events })
    }

    /// What happened next. `None` after [`Transport::shutdown`]. Nothing is lost when the future is dropped.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.next().await
    }

    /// What happened already, without waiting.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.poll()
    }

    /// A handle that can be given away.
    pub fn sender(&self) -> Sender {
        Sender(Arc::clone(&self.shared))
    }

    /// As [`Sender::send`].
    ///
    /// # Errors
    /// As [`Sender::send`].
    pub fn send(&self, peer: NodeId, session: Session, stream: Stream, message: Bytes) -> Result<(), SendError> {
        self.shared.send(peer, session, stream, message)
    }

    /// Puts another list of members in force: whoever is not on it, or is there with another name or proof, loses its
    /// connection at once and is let in no more; whoever is there anew is dialled if its node id is the lower one.
    ///
    /// # Errors
    /// When the list cannot be used; the one before stays in force.
    pub fn set_members(&self, members: &[Member]) -> Result<(), MembersError> {
        self.shared.set_members(members)
    }

    /// Connections and counters.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Where it listens, and dials from.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.shared.endpoint.local_addr()
    }

    /// Tells every peer that this node stops, and ends all connections. Events that nobody took are dropped.
    pub async fn shutdown(mut self) {
        self.shared.stop();
        self.events.close();
        // The farewell is sent by the endpoint; whoever does not answer is not waited for longer.
        let _ = tokio::time::timeout(FAREWELL_MAX, self.shared.endpoint.wait_idle()).await;
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.shared.stop();
        self.shared.abort_tasks();
    }
}

impl Sender {
    /// Hands a message over: to the stream of the engine, in order; as a heartbeat, which may be lost; as a piece to catch
    /// up with, on a stream of its own; or to a client's stream. It never waits. A message for a session that is over is
    /// dropped.
    ///
    /// # Errors
    /// When the message did not go: see [`SendError`]. A queue of the engine that is full ends its session.
    pub fn send(&self, peer: NodeId, session: Session, stream: Stream, message: Bytes) -> Result<(), SendError> {
        self.0.send(peer, session, stream, message)
    }

    /// Opens a stream for one client. The peer learns of it with the first message.
    ///
    /// # Errors
    /// When the session is over or has [`CLIENTS_MAX`] streams.
    pub fn open(&self, peer: NodeId, session: Session) -> Result<ClientStream, SendError> {
        self.0.open(peer, session)
    }

    /// Says that nothing more will be sent on a client's stream. What is queued still goes.
    pub fn finish(&self, peer: NodeId, session: Session, stream: ClientStream) {
        self.0.finish(peer, session, stream);
    }

    /// As [`Transport::set_members`]; within the runtime that the transport is in.
    ///
    /// # Errors
    /// As [`Transport::set_members`].
    pub fn set_members(&self, members: &[Member]) -> Result<(), MembersError> {
        self.0.set_members(members)
    }

    /// Counts a fault that only the core can see: another term, a foreign sender.
    pub fn note(&self, peer: NodeId, fault: Fault) {
        self.0.note(peer, fault);
    }

    /// Ends the session, because its peer sent what it must not. It is dialled again as after any other end.
    pub fn disconnect(&self, peer: NodeId, session: Session, fault: Fault) {
        self.0.disconnect(peer, session, fault);
    }

    /// Connections and counters.
    pub fn status(&self) -> Status {
        self.0.status()
    }
}
