//! The manager as a program sees it: a handle of the driver's task.

mod work;

use crate::any_tunnel::AnyTunnel;
use crate::client_dir_tunnel::ClientDirTunnel;
use crate::client_onion_tunnel::ClientOnionTunnel;
use crate::client_tunnel::ClientTunnel;
use crate::engine::{Engine, ask};
use crate::error::{DocumentError, OnionError, StartError, TunnelError};
use crate::parameters::{DirParameters, Isolation, OnionParameters, Purpose, TunnelParameters};
use crate::request::{Command, Got, Summary};
use identity::NodeId;
use network_document::NetworkDocument;
use onion_service::ServiceAddress;
use shaped_node::NextDocument;
use shaped_node::memory::MEMORY_MAX;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tunnel_plan::{PathRules, Relaxation, RulesError, Target};
use work::ManagerWork;

/// Commands that wait for the driver. More wait in the tasks that have them.
const COMMANDS_MAX: usize = 256;
/// Tunnels that a pool keeps ready at most.
pub const READY_MAX: u8 = 8;
/// Streams at a time, at most.
pub const STREAMS_MAX: u16 = 4096;
/// Bytes of one direction of a stream that wait in this process, least and most.
pub const STREAM_BUFFER_BYTES: (usize, usize) = (16 * 1024, 16 << 20);

/// Where a new text of the guards' file goes: see [`TunnelMgrConfig::keep_guards`].
pub(crate) type KeepGuards = Box<dyn FnMut(&str) + Send>;

/// What a manager is told at its start.
pub struct TunnelMgrConfig {
    /// The network.
    pub document: NetworkDocument,
    /// Hops, legs and what paths may share, of the tunnels that are kept ready. There are as many guards as legs.
    pub rules: PathRules,
    /// Tunnels that are kept ready beside those in use: up to [`READY_MAX`]; 0 for a program that only launches its own.
    pub ready: u8,
    /// The only exit that is used, if it is not left to chance.
    pub exit: Option<NodeId>,
    /// The text of the guards' file as it was kept last; none: guards are drawn.
    pub guards: Option<String>,
    /// Called with a new text of the guards' file. A program that loses it enters the network through other relays after each
    /// start, which sooner or later is through a bad one. It runs in the driver's task, so it must not block for long.
    pub keep_guards: Option<KeepGuards>,
    /// The address of the socket. Guards are dialled at addresses of its family.
    pub bind: SocketAddr,
    /// How long a session outlives its legs.
    pub session_timeout: Duration,
    /// Streams at a time: 1 to [`STREAMS_MAX`].
    pub streams: u16,
    /// Bytes of one direction of a stream that wait in this process: within [`STREAM_BUFFER_BYTES`].
    pub stream_buffer: usize,
    /// Bytes that all tunnels may hold together beside these buffers, at least [`shaped_node::memory::MEMORY_MAX_LEAST`]: when they are reached, the
    /// tunnels that hold most are held back first.
    pub memory_max: u64,
}

impl TunnelMgrConfig {
    /// Two legs of three hops, one tunnel ready, any exit, and a port of IPv4 that the system chooses.
    ///
    /// # Errors
    /// Never: there are such tunnels.
    pub fn new(document: NetworkDocument) -> Result<Self, RulesError> {
        Ok(Self {
            document,
            rules: PathRules::new(3, 2)?,
            ready: 1,
            exit: None,
            guards: None,
            keep_guards: None,
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            session_timeout: Duration::from_secs(30),
            streams: 256,
            stream_buffer: 256 * 1024,
            memory_max: MEMORY_MAX,
        })
    }
}

impl fmt::Debug for TunnelMgrConfig {
    /// Guards are nobody else's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TunnelMgrConfig")
            .field("rules", &self.rules)
            .field("ready", &self.ready)
            .finish_non_exhaustive()
    }
}

/// Keeps tunnels over a network and hands them out. Clones are handles of the same manager. It ends with its last handle, the
/// last tunnel's and the last stream.
#[derive(Clone)]
pub struct TunnelMgr {
    commands: mpsc::Sender<Command>,
    rules: PathRules,
}

impl TunnelMgr {
    /// Begins to dial guards and to fill the pool, in a task of the present tokio runtime, which needs its drivers of I/O and
    /// time.
    ///
    /// # Errors
    /// When the configuration is out of range, the guards' text cannot be read, or the system refuses a socket.
    pub fn start(config: TunnelMgrConfig) -> Result<Self, StartError> {
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let rules = config.rules;
        let driver = ManagerWork::driver(config, received, commands.downgrade())?;
        tokio::spawn(driver.run());
        Ok(Self { commands, rules })
    }

    /// The tunnel of an isolation group: the one that it has, or one out of the pool. When none is ready it is waited for,
    /// until the deadline: this never makes the manager build more than it does anyway, so that nobody who watches the network
    /// learns when it is asked.
    ///
    /// # Errors
    /// When none is ready in time, or there cannot be one.
    pub async fn get(&self, parameters: TunnelParameters) -> Result<ClientTunnel, TunnelError> {
        let until = Instant::now() + parameters.deadline;
        let got = self.ask(|answer| Command::Get { parameters, until: Some(until), answer }).await?;
        client(got).ok_or(TunnelError::Deadline(parameters.deadline))
    }

    /// The same without waiting: none, if none is ready.
    ///
    /// # Errors
    /// When there cannot be one.
    pub async fn try_get(&self, parameters: TunnelParameters) -> Result<Option<ClientTunnel>, TunnelError> {
        Ok(client(self.ask(|answer| Command::Get { parameters, until: None, answer }).await?))
    }

    /// Builds a tunnel now, of any rules. If its isolation group has another one, that is retired.
    ///
    /// # Errors
    /// When it is not up at the deadline, there cannot be such a tunnel, or it would not lead to an exit.
    pub async fn launch(&self, parameters: TunnelParameters) -> Result<ClientTunnel, TunnelError> {
        // What leads to a directory is another type, which cannot do what this one can.
        if parameters.rules.is_some_and(|rules| rules.target() != Target::Exit) {
            return Err(TunnelError::Target);
        }
        self.build(parameters).await.map(ClientTunnel::new)
    }

    /// Builds a tunnel to a directory node now. It is nobody else's, and ends when its last handle is dropped and its streams
    /// have finished, so that what is asked next goes another way.
    ///
    /// With a document of contacts ([`NetworkDocument::of_contacts`]) and one hop this is how a program that has an invitation
    /// comes to its first document.
    ///
    /// # Errors
    /// When it is not up at the deadline, or there cannot be such a tunnel.
    pub async fn get_dir(&self, parameters: DirParameters) -> Result<ClientDirTunnel, BuildError> {
        let engine = self.build(parameters.tunnel()?).await?;
        Ok(ClientDirTunnel::new(engine))
    }

    async fn build(&self, parameters: TunnelParameters) -> Result<Engine, TunnelError> {
        let until = Instant::now() + parameters.deadline;
        let got = self.ask(|answer| Command::Launch { parameters, until, answer }).await?;
        got.ok_or(TunnelError::Deadline(parameters.deadline))
    }

    /// Begins to say what tunnel to build.
    pub fn builder(&self) -> TunnelBuilder {
        let rules = self.rules;
        TunnelBuilder {
            manager: self.clone(),
            hops: rules.hops(),
            legs: rules.legs(),
            relaxation: rules.relaxation(),
            parameters: TunnelParameters::default(),
        }
    }

    /// The tunnel of an isolation group to a service; if it has none, the service is sought now: its record is asked for through a
    /// directory tunnel that is built for this, rendezvous points are asked to wait, the service is introduced to them, and where it
    /// comes the tunnel begins. Who watches the network can see that circuits are built.
    ///
    /// It is the group's until nobody has had a stream or a handle there for five minutes, or it is retired. With [`Isolation::Alone`] it
    /// is retired when its last handle is dropped.
    ///
    /// # Errors
    /// When there is no record of the service, it does not let this client in, nobody answers in time, or too many services are sought.
    pub async fn get_onion(
        &self,
        address: ServiceAddress,
        parameters: OnionParameters,
    ) -> Result<ClientOnionTunnel, OnionError> {
        let until = Instant::now() + parameters.deadline;
        let parameters = Box::new(parameters);
        let asked = ask(&self.commands, |answer| Command::Onion { address, parameters, until, answer }).await;
        let engine = asked.unwrap_or(Err(TunnelError::Stopped.into()))?;
        Ok(ClientOnionTunnel::new(engine.had()))
    }

    /// Gives a tunnel of any kind no new streams. Those that it has go on until they end, then it ends as well. Who asks for a tunnel of
    /// its group next gets another one.
    pub async fn retire_tunnel(&self, tunnel: &AnyTunnel) {
        let tunnel = tunnel.engine().id();
        // A manager that has stopped has retired all of them.
        let _ = self.commands.send(Command::Retire { tunnel }).await;
    }

    /// Goes by a later document of the same network from now on. Tunnels whose relays are all still there stay; one whose exit is gone
    /// finishes its streams.
    ///
    /// # Errors
    /// When it is of another network, not later, or the manager has stopped.
    pub async fn set_document(&self, document: NetworkDocument) -> Result<(), DocumentError> {
        let next = Box::new(NextDocument::new(document));
        let answer = ask(&self.commands, |answer| Command::Document { next, answer }).await;
        Ok(answer.ok_or(DocumentError::Stopped)??)
    }

    /// What the manager keeps, in counts.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn summary(&self) -> Result<Summary, TunnelError> {
        ask(&self.commands, |answer| Command::Summary { answer }).await.ok_or(TunnelError::Stopped)
    }

    /// Ends all tunnels, and waits until exits have been told.
    pub async fn stop(&self) {
        let _ = ask(&self.commands, |answer| Command::Stop { answer }).await;
    }

    async fn ask(&self, command: impl FnOnce(oneshot::Sender<Got>) -> Command) -> Got {
        ask(&self.commands, command).await.unwrap_or(Err(TunnelError::Stopped))
    }
}

fn client(engine: Option<Engine>) -> Option<ClientTunnel> {
    engine.map(ClientTunnel::new)
}

impl fmt::Debug for TunnelMgr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TunnelMgr(..)")
    }
}

/// Says step by step what tunnel to build, beginning with the manager's own rules.
#[derive(Debug, Clone)]
pub struct TunnelBuilder {
    manager: TunnelMgr,
    hops: u8,
    legs: u8,
    relaxation: Relaxation,
    parameters: TunnelParameters,
}

impl TunnelBuilder {
    /// Hops of each path.
    #[must_use]
    pub fn hops(mut self, hops: u8) -> Self {
        self.hops = hops;
        self
    }

    /// Number of paths, at most as many as the manager has guards for.
    #[must_use]
    pub fn legs(mut self, legs: u8) -> Self {
        self.legs = legs;
        self
    }

    /// What paths may share.
    #[must_use]
    pub fn relaxed(mut self, relaxation: Relaxation) -> Self {
        self.relaxation = relaxation;
        self
    }

    /// What it is for.
    #[must_use]
    pub fn purpose(mut self, purpose: Purpose) -> Self {
        self.parameters.purpose = purpose;
        self
    }

    /// With whom it is shared.
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.parameters.isolation = isolation;
        self
    }

    /// How long is waited for it.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.parameters.deadline = deadline;
        self
    }

    /// What has been said so far, for [`TunnelMgr::get`] or [`TunnelMgr::launch`].
    ///
    /// # Errors
    /// When no tunnel has such paths.
    pub fn parameters(&self) -> Result<TunnelParameters, RulesError> {
        let rules = PathRules::new(self.hops, self.legs)?.relaxed(self.relaxation);
        Ok(TunnelParameters { rules: Some(rules), ..self.parameters })
    }

    /// Builds it now.
    ///
    /// # Errors
    /// As [`TunnelMgr::launch`]; and when no tunnel has such paths.
    pub async fn build(self) -> Result<ClientTunnel, BuildError> {
        let parameters = self.parameters()?;
        Ok(self.manager.launch(parameters).await?)
    }
}

/// A tunnel could not be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// No tunnel has such paths.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// There is none now.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
}
