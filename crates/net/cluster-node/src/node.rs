//! A whole node: the connections to the others, the thread of the log, and the pipe of local programs, put together.

use crate::application::Applications;
use crate::credentials::CredentialStore;
use crate::driver::{self, Input, Peers, Running, Stopped};
use crate::folder::{Folder, FolderError};
use crate::member::{Member, MembersError};
use crate::pipe::{ListenError, Pipe};
use crate::transport::{self, BindError, Event, Fault, SendError, Session, Stream, Transport};
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use identity::NodeId;
use replicated_log::apps::Apps;
use replicated_log::{Checkpoint, ClusterId, Kind, Members, Outgoing, SessionEpoch, Term, Tuning};
use std::path::PathBuf;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// What a node's folder holds before it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beginning {
    /// The node, from earlier on.
    Earlier,
    /// Nothing: all members of the list found a cluster, each by itself. A node that lost its folder must not do so: it
    /// would break promises that it no longer knows of.
    Founder,
    /// Nothing: the node is new in a cluster that runs, and waits until its members add it.
    Newcomer,
}

/// What a node is made from.
pub struct Settings {
    /// Who it is, where it listens.
    pub transport: transport::Settings,
    /// What it shows and trusts; it may be exchanged while the node runs.
    pub credentials: CredentialStore,
    /// Everybody who is let in, this node included. Who votes among them the log says.
    pub members: Vec<Member>,
    /// Where its log is.
    pub folder: PathBuf,
    /// What is there.
    pub beginning: Beginning,
    /// Times and sizes of the log.
    pub tuning: Tuning,
    /// Path of the pipe.
    pub pipe: PathBuf,
    /// Users that may open the pipe, beside the process's own and root.
    pub pipe_users: Vec<u32>,
    /// Applications beside the built-in ones; the same on every member.
    pub applications: Applications,
    /// Those of them that somebody looks into while the log drives them, in their first state.
    pub live: Apps,
}

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Its folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its log.
    #[error(transparent)]
    Driver(#[from] driver::StartError),
    /// Its connections.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Its pipe.
    #[error(transparent)]
    Pipe(#[from] ListenError),
    /// The list cannot be the members of a cluster.
    #[error(transparent)]
    Members(#[from] replicated_log::MembersError),
    /// No random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// A node that runs. Dropping it ends its connections and its pipe, and its log when its handles are gone too.
#[derive(Debug)]
pub struct Node {
    handle: Handle,
    ended: oneshot::Receiver<Stopped>,
    stop_pump: oneshot::Sender<()>,
    pump: JoinHandle<()>,
    pipe: Owned,
}

/// A task that ends with its owner.
#[derive(Debug)]
struct Owned(JoinHandle<()>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks a node and tells it things, from anywhere.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Its log.
    pub log: Running,
    connections: transport::Sender,
}

impl Handle {
    /// Its connections.
    pub fn connections(&self) -> transport::Status {
        self.connections.status()
    }

    /// Lets in whoever is on this list and nobody else, from now on. It needs the runtime of the node around it.
    ///
    /// # Errors
    /// When the list cannot be used; the one before stays in force.
    pub fn set_members(&self, members: &[Member]) -> Result<(), MembersError> {
        self.connections.set_members(members)
    }
}

impl Node {
    /// Starts a node. It needs a tokio runtime around it, with time and I/O, as long as it runs.
    ///
    /// # Errors
    /// When one of its parts does not start; nothing runs then.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let (own, cluster) = (settings.transport.own, ClusterId(settings.transport.cluster));
        make_folder(&settings, (cluster, own))?;
        let folder = Folder::open(&settings.folder, (cluster, own))?;
        let mut incarnation = [0; 8];
        SystemRandom::new().fill(&mut incarnation).map_err(|_| StartError::Random)?;
        let transport = Transport::bind(settings.transport, settings.credentials, &settings.members)?;
        let pipe = Pipe::listen(&settings.pipe, settings.pipe_users)?;
        let connections = transport.sender();
        let (tell_end, ended) = oneshot::channel();
        let tell_end = move |why| drop(tell_end.send(why));
        let log = driver::start(
            folder,
            (cluster, own),
            u64::from_ne_bytes(incarnation),
            settings.tuning,
            (settings.applications, settings.live),
            Connections { own, sender: connections.clone() },
            tell_end,
        )?;
        let (stop_pump, stopped) = oneshot::channel();
        let pump = tokio::spawn(pump(transport, log.inputs.clone(), stopped));
        let pipe = Owned(tokio::spawn(pipe.serve(log.clone())));
        Ok(Self { handle: Handle { log, connections }, ended, stop_pump, pump, pipe })
    }

    /// To ask it and tell it things.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Waits until it ends by itself, and says why. Cancel-safe.
    pub async fn ended(&mut self) -> Stopped {
        // Its thread ends without a reason only in a panic.
        (&mut self.ended).await.unwrap_or(Stopped::Panicked)
    }

    /// Ends it: programs at its pipe lose their connections, what is written is synced, and the other members are told.
    ///
    /// # Errors
    /// When it had ended before, or could not sync.
    pub async fn stop(mut self) -> Result<(), Stopped> {
        self.pipe.0.abort();
        // One that has ended takes no inputs, and its reason is there.
        let _ = self.handle.log.inputs.send(Input::Stop).await;
        let why = self.ended().await;
        let Self { stop_pump, pump, .. } = self;
        let _ = stop_pump.send(());
        let _ = pump.await;
        match why {
            Stopped::Asked => Ok(()),
            other => Err(other),
        }
    }
}

/// The first files of a node that has none.
fn make_folder(settings: &Settings, (cluster, own): (ClusterId, NodeId)) -> Result<(), StartError> {
    let ids = settings.members.iter().map(|member| member.id);
    let (term, checkpoint) = match settings.beginning {
        Beginning::Earlier => return Ok(()),
        Beginning::Founder => (Term(1), Checkpoint::genesis(cluster, Members::new(ids)?)),
        Beginning::Newcomer => {
            let others = Members::new(ids.filter(|id| *id != own))?;
            (Term(0), Checkpoint::newcomer(cluster, others))
        }
    };
    Ok(Folder::create(&settings.folder, (cluster, own), term, &checkpoint.encode())?)
}

/// Takes what happens at the connections to the log. While the log takes nothing, nothing is read from them.
async fn pump(mut transport: Transport, inputs: mpsc::Sender<Input>, mut stop: oneshot::Receiver<()>) {
    let sender = transport.sender();
    loop {
        let event = tokio::select! {
            // Also when whoever would stop it is gone.
            _ = &mut stop => break,
            event = transport.next_event() => event,
        };
        let Some(event) = event else { break };
        if let Event::Connected { .. } | Event::Lost { .. } = event {
            let peers = sender.status().peers;
            let connected = peers.values().filter(|peer| peer.session.is_some()).count();
            tracing::info!(connected, of = peers.len(), "connections to other members");
        }
        let Some(input) = input(event, &sender) else { continue };
        if inputs.send(input).await.is_err() {
            break;
        }
    }
    transport.shutdown().await;
}

fn input(event: Event, sender: &transport::Sender) -> Option<Input> {
    match event {
        Event::Connected { peer, session, .. } => Some(Input::Connected(peer, SessionEpoch(session.0))),
        Event::Lost { peer, session, why } => {
            tracing::debug!(%why, "a connection ended");
            Some(Input::Lost(peer, SessionEpoch(session.0)))
        }
        Event::Frame { peer, session, stream: Stream::Client(_), .. } => {
            // Members carry no clients for each other: what a log orders is forwarded as the engine's messages.
            sender.disconnect(peer, session, Fault::Garbage);
            None
        }
        Event::Frame { peer, session, message, .. } => {
            Some(Input::Frame(peer, SessionEpoch(session.0), message.into()))
        }
        Event::Finished { .. } => None,
    }
}

/// The way from the log to the connections.
struct Connections {
    own: NodeId,
    sender: transport::Sender,
}

impl Peers for Connections {
    fn send(&mut self, frame: Outgoing) {
        let stream = match frame.kind {
            Kind::Ordered => Stream::Engine,
            Kind::Heartbeat => Stream::Heartbeat,
            Kind::Bulk => Stream::CatchUp,
        };
        let (peer, session) = (frame.to, Session(frame.epoch.0));
        match self.sender.send(peer, session, stream, frame.bytes.into()) {
            Ok(()) | Err(SendError::Over) => {}
            // A heartbeat may be lost, and whoever catches up asks again.
            Err(error @ SendError::Busy) => tracing::debug!(%error, "a frame is dropped"),
            Err(error @ SendError::TooLong) if stream == Stream::Heartbeat => {
                tracing::debug!(%error, "a heartbeat is dropped");
            }
            Err(error) => {
                tracing::warn!(%error, "a frame cannot be sent, and its connection ends");
                self.sender.disconnect(peer, session, Fault::Overflow);
            }
        }
    }

    fn refuse(&mut self, peer: NodeId, epoch: SessionEpoch) {
        self.sender.disconnect(peer, Session(epoch.0), Fault::Garbage);
    }

    fn set_members(&mut self, members: &Members) {
        let known = self.sender.status().peers;
        for member in members.iter().filter(|member| *member != self.own && !known.contains_key(member)) {
            tracing::warn!(%member, "this member votes, and this node's list of members does not have it");
        }
    }
}
