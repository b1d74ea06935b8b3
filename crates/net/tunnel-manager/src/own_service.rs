//! A service of a program: it waits for streams where nobody learns that it is.

mod publish;
mod work;

use crate::error::{Closed, DocumentError, StartError};
use crate::manager::{KeepGuards, STREAM_BUFFER_BYTES, STREAMS_MAX, TunnelMgr};
use crate::start::{check, random};
use crate::stream::TunnelStream;
use identity::{AccessKey, ServiceSecret};
use network_document::NetworkDocument;
use onion_service::ServiceAddress;
use shaped_node::NextDocument;
use shaped_node::memory::MEMORY_MAX;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tunnel_plan::{PathRules, RulesError};
use work::{Command, ServiceWork};

/// Ports of a service at most.
pub const PORTS_MAX: usize = 64;
/// Streams that wait to be accepted. Further ones are refused: too many are open.
pub const BACKLOG_MAX: usize = 64;
/// Tunnels of clients at a time, at most.
pub const SERVICE_TUNNELS_MAX: usize = 1024;
/// Commands that wait for the driver. More wait in the tasks that have them.
const COMMANDS_MAX: usize = 64;

/// What a service is told at its start.
pub struct OnionServiceConfig {
    /// The network.
    pub document: NetworkDocument,
    /// The service's lasting key: whoever has it is the service.
    pub secret: ServiceSecret,
    /// Ports under which it can be reached: 1 to [`PORTS_MAX`].
    pub ports: Vec<u16>,
    /// Who is let in; empty for everybody who knows the address.
    pub clients: Vec<AccessKey>,
    /// Introduction points.
    pub points: usize,
    /// Three hops; as many legs as guards are used at the same time.
    pub rules: PathRules,
    /// The text of the guards' file of this service as it was kept last; none: guards are drawn.
    pub guards: Option<String>,
    /// As [`crate::TunnelMgrConfig::keep_guards`].
    pub keep_guards: Option<KeepGuards>,
    /// The address of its socket. Guards are dialled at addresses of its family.
    pub bind: SocketAddr,
    /// How long a client's session outlives its legs.
    pub session_timeout: Duration,
    /// Tunnels of clients at a time: 1 to [`SERVICE_TUNNELS_MAX`].
    pub tunnels: usize,
    /// Streams at a time: 2 to [`STREAMS_MAX`]. A client has at most half of them.
    pub streams: u16,
    /// Bytes of one direction of a stream that wait in this process: within [`STREAM_BUFFER_BYTES`].
    pub stream_buffer: usize,
    /// As [`crate::TunnelMgrConfig::memory_max`].
    pub memory_max: u64,
}

impl OnionServiceConfig {
    /// For everybody who knows the address, at one port: three introduction points, two guards, 64 clients, 256 streams.
    ///
    /// # Errors
    /// Never: there are such paths.
    pub fn new(document: NetworkDocument, secret: ServiceSecret, port: u16) -> Result<Self, RulesError> {
        Ok(Self {
            document,
            secret,
            ports: vec![port],
            clients: Vec::new(),
            points: 3,
            rules: PathRules::new(3, 2)?,
            guards: None,
            keep_guards: None,
            bind: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            session_timeout: Duration::from_secs(30),
            tunnels: 64,
            streams: 256,
            stream_buffer: 256 * 1024,
            memory_max: MEMORY_MAX,
        })
    }
}

impl fmt::Debug for OnionServiceConfig {
    /// Names neither the service nor its clients and guards.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnionServiceConfig").field("ports", &self.ports).finish_non_exhaustive()
    }
}

/// What a service does just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnionServiceFigures {
    /// Introduction points that take introductions.
    pub points: usize,
    /// Those that are wanted.
    pub points_wanted: usize,
    /// Whether the directory has a record of it, as far as it said.
    pub is_published: bool,
    /// Tunnels of clients.
    pub tunnels: usize,
    /// Streams that are not over on both sides.
    pub streams: usize,
}

/// A service. It waits at introduction points, comes to the rendezvous points where clients wait, and takes the streams that they open.
///
/// When it is dropped it takes no stream any more; those that were accepted go on, and with the last one it ends.
pub struct OnionService {
    address: ServiceAddress,
    commands: mpsc::Sender<Command>,
    arrived: mpsc::Receiver<(u16, TunnelStream)>,
    published: watch::Receiver<bool>,
}

impl OnionService {
    /// Begins to dial guards and to make introduction points, in a task of the present tokio runtime, which needs its drivers of I/O and
    /// time. Records go to the directory through tunnels of `manager`, one for each: it keeps that manager going. The service has guards
    /// and a socket of its own, so that nobody sees what its program does otherwise beside what its clients do.
    ///
    /// # Errors
    /// When the configuration is out of range, the guards' text cannot be read, or the system refuses a socket.
    pub fn start(manager: &TunnelMgr, config: OnionServiceConfig) -> Result<Self, StartError> {
        check("the number of streams", config.streams.into(), 2..=STREAMS_MAX.into())?;
        check("the number of tunnels", config.tunnels, 1..=SERVICE_TUNNELS_MAX)?;
        let (least, most) = STREAM_BUFFER_BYTES;
        check("the buffer of a stream", config.stream_buffer, least..=most)?;
        let mut ports = config.ports.clone();
        ports.sort_unstable();
        ports.dedup();
        if ports.len() != config.ports.len() || !(1..=PORTS_MAX).contains(&ports.len()) {
            return Err(StartError::Ports);
        }
        let address = ServiceAddress(config.secret.public_key());
        let (commands, received) = mpsc::channel(COMMANDS_MAX);
        let (arrive, arrived) = mpsc::channel(BACKLOG_MAX);
        let (publish, published) = watch::channel(false);
        let driver = ServiceWork::driver(config, random()?, manager.clone(), (received, arrive, publish))?;
        tokio::spawn(driver.run());
        Ok(Self { address, commands, arrived, published })
    }

    /// Under which others reach it.
    pub fn address(&self) -> ServiceAddress {
        self.address
    }

    /// Waits until the directory has a record of it: from then on it can be reached. Cancel-safe.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn wait_until_published(&mut self) -> Result<(), Closed> {
        self.published.wait_for(|is_published| *is_published).await.map(|_| ()).map_err(|_| Closed::Stopped)
    }

    /// Waits for the next stream, and takes it: its port, and the stream. The client is told that it has been taken. Cancel-safe.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn accept(&mut self) -> Result<(u16, TunnelStream), Closed> {
        let (port, stream) = self.arrived.recv().await.ok_or(Closed::Stopped)?;
        stream.flow().accept();
        Ok((port, stream))
    }

    /// Goes by a later document of the same network from now on. Points at relays that are gone are replaced.
    ///
    /// # Errors
    /// When it is of another network, not later, or the service has stopped.
    pub async fn set_document(&self, document: NetworkDocument) -> Result<(), DocumentError> {
        let next = Box::new(NextDocument::new(document));
        let answer = self.ask(|answer| Command::Document { next, answer }).await;
        Ok(answer.ok_or(DocumentError::Stopped)??)
    }

    /// What it does just now.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn figures(&self) -> Result<OnionServiceFigures, Closed> {
        self.ask(|answer| Command::Describe { answer }).await.ok_or(Closed::Stopped)
    }

    /// Ends all sessions and streams, and waits until clients have been told.
    pub async fn stop(&self) {
        let _ = self.ask(|answer| Command::Stop { answer }).await;
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.ok()?;
        answered.await.ok()
    }
}

impl fmt::Debug for OnionService {
    /// Does not name it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnionService(..)")
    }
}
