//! The life of a shaped process: boot, confinement, the loop of its mode, the supervisor's orders.

use crate::boot::{Boot, BootError};
use crate::documents::DocumentReader;
use crate::noise::NoiseRing;
use crate::off::OffLoop;
use crate::order::{Direction, Order};
use crate::replay::ReplayFile;
use crate::shaped::ShapedLoop;
use crate::sockets::Sockets;
use crate::status::Reporter;
use flow_queue::{Geometry, QueueSide, Side};
use link::{Now, Route, SocketOrder, Via};
use os_net::confine::{self, Needs};
use os_net::process_channel::{Channel, FromProcess, ReceiveError, ToProcess};
use os_net::slot_sender::Way;
use os_net::udp::{Arrival, RecvBuffers, UdpSocket};
use os_net::{clock, schedule};
use shaped_node::{NextDocument, NodeEvent, ShapedNode};
use shaping::ReadyNoise;
use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use thiserror::Error;
use tracing::{debug, info, warn};

/// Why a shaped process ended by itself. The supervisor prints it and starts another.
#[derive(Debug, Error)]
pub enum RunError {
    /// The boot message cannot be used.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// A descriptor that the boot message promises did not come.
    #[error("the supervisor did not hand over {0}")]
    Descriptor(&'static str),
    /// The segments cannot be mapped.
    #[error("cannot map the queues: {0}")]
    Queues(#[from] flow_queue::OpenError),
    /// The network socket or the clock failed.
    #[error("the network socket failed: {0}")]
    Socket(#[source] std::io::Error),
    /// The process could not be set up as asked.
    #[error("cannot set up the process: {0}")]
    Setup(#[source] std::io::Error),
    /// The supervisor's channel broke.
    #[error("the process channel failed: {0}")]
    Channel(#[source] ReceiveError),
}

/// Everything that both loops need.
pub(crate) struct Shell {
    pub(crate) node: ShapedNode<QueueSide>,
    pub(crate) sockets: Sockets,
    pub(crate) packet_bytes: usize,
    pub(crate) reporter: Reporter,
    channel: Channel,
    replay: ReplayFile,
    geometry: Geometry,
    assigns: bool,
    stop_at: Option<Instant>,
    /// Text that the supervisor is to keep and has not taken yet.
    unkept: Option<String>,
    /// A document of the network that is on its way in.
    documents: DocumentReader<NextDocument>,
}

/// Whether a loop goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Going {
    /// Go on.
    On,
    /// Say good-bye to the other nodes, then end.
    Stopping,
    /// End now.
    Ended,
}

/// Longest sleep: status and the supervisor are looked at this often at least.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// The same while a document is read by another thread.
const DOCUMENT_LOOK: Duration = Duration::from_millis(20);
/// Receive calls in a row before anything else is looked at.
const RECEIVE_ROUNDS: usize = 4;
/// How long a stopping process gives its good-byes to leave.
const FAREWELL: Duration = Duration::from_millis(100);

/// Runs a shaped process until its channel closes or it is told to stop. `fds` are in the order that
/// [`Boot`] states.
///
/// # Errors
/// When the process cannot do its work; the text is one sentence for the supervisor's user.
pub fn run(boot: Boot, channel: Channel, fds: Vec<OwnedFd>) -> Result<(), RunError> {
    let mut shell = Shell::new(&boot, channel, fds)?;
    if let Some(core) = boot.core {
        schedule::pin_to_core(core).map_err(|error| RunError::Setup(std::io::Error::other(error)))?;
    }
    schedule::set_exact_timers().map_err(|error| RunError::Setup(std::io::Error::other(error)))?;
    if boot.is_shaped() {
        ShapedLoop::start(&mut shell, &boot)?.run()
    } else {
        shell.confine(&boot);
        shell.ready();
        OffLoop::new(&mut shell).run()
    }
}

impl Shell {
    fn new(boot: &Boot, channel: Channel, fds: Vec<OwnedFd>) -> Result<Self, RunError> {
        let geometry = boot.queues;
        let assigns = boot.is_exit();
        let mut fds = fds.into_iter();
        let set: Vec<OwnedFd> = fds.by_ref().take(flow_queue::DESCRIPTORS).collect();
        let queues = QueueSide::open(&geometry, Side::Shaped, assigns, set)?;
        let socket = fds.next().ok_or(RunError::Descriptor("a network socket"))?;
        let socket = UdpSocket::from_owned_fd(socket).map_err(RunError::Socket)?;
        let replay = fds.next().ok_or(RunError::Descriptor("the replay file"))?;
        let mut replay = ReplayFile::new(replay);
        let remembered = replay.read().map_err(RunError::Setup)?;
        let config = boot.node_config(socket.local_addr().map_err(RunError::Socket)?, fds.next())?;
        let packet_bytes = config.packet_size.packet();
        let noise: Box<dyn ReadyNoise + Send> = match boot.sigma()? {
            Some(sigma) => Box::new(NoiseRing::start(sigma).map_err(RunError::Setup)?),
            None => Box::new(None),
        };
        let mut node = ShapedNode::new(config, now(), remembered, noise);
        node.attach_queues(now(), queues);
        let reporter = Reporter::new(Instant::now());
        Ok(Self {
            node,
            sockets: Sockets::new(socket),
            packet_bytes,
            reporter,
            channel,
            replay,
            geometry,
            assigns,
            stop_at: None,
            unkept: None,
            documents: DocumentReader::new(),
        })
    }

    /// Gives up what the process will not need. What the kernel lacks is said in `status`.
    pub(crate) fn confine(&mut self, boot: &Boot) {
        if boot.confine {
            self.reporter.confinement(confine::apply(&Needs::shaped(boot.realtime)));
        }
    }

    pub(crate) fn ready(&self) {
        self.tell(&FromProcess::Ready);
    }

    fn tell(&self, message: &FromProcess) {
        if let Err(error) = self.channel.send(message, &[]) {
            debug!(%error, "the supervisor does not take a message");
        }
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Takes what the network brought, and lets the node act on it. Returns the number of packets.
    pub(crate) fn receive(&mut self, buffers: &mut RecvBuffers) -> Result<usize, RunError> {
        let now = now();
        let mut packets = 0;
        for (via, socket) in self.sockets.iter() {
            for _ in 0..RECEIVE_ROUNDS {
                let node = &mut self.node;
                // An entry moves from network to network, so it does not hold on to an address of its own.
                let answers_from_there = self.assigns;
                let take = |Arrival { from, to, ce }, packet: &mut [u8]| {
                    let route = Route { via, from: to.filter(|_| answers_from_there), to: from };
                    node.handle_packet(now, route, ce, packet);
                };
                match socket.recv_arrivals(buffers, take) {
                    Ok(count) => packets += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => return Err(RunError::Socket(error)),
                }
            }
        }
        if packets > 0 {
            self.node.settle(now);
        }
        Ok(packets)
    }

    /// Passes on which sockets the links want. This process cannot open any itself.
    pub(crate) fn follow_socket_orders(&mut self) {
        while let Some(order) = self.node.poll_socket_order() {
            let (via, port, any_other) = match order {
                SocketOrder::Close { via } => {
                    self.sockets.close(via);
                    continue;
                }
                SocketOrder::Open { via, local_port, .. } => (via, local_port.unwrap_or(0), true),
                SocketOrder::Listen { via, port } => (via, port, false),
            };
            let asked = FromProcess::OpenSocket { number: via.0, port, any_other };
            if let Err(error) = self.channel.send(&asked, &[]) {
                debug!(%error, "the supervisor does not take a message");
                self.node.handle_socket_failed(now(), via);
            } else {
                self.sockets.order(via);
            }
        }
    }

    /// The system refused packets on their way out: perhaps a link leaves it.
    pub(crate) fn handle_unreachable(&mut self, way: &Way, packets: u64) {
        if let Some(route) = self.sockets.route(way) {
            self.node.handle_send_refused(now(), route, packets);
        }
    }

    /// Takes the supervisor's answer to an order of a socket.
    fn take_socket(&mut self, via: Via, descriptor: Option<OwnedFd>, refused: Option<String>) {
        let socket = descriptor.map(UdpSocket::from_owned_fd).transpose();
        let local = socket.as_ref().map_err(ToString::to_string).and_then(|socket| match socket {
            Some(socket) => socket.local_addr().map_err(|error| error.to_string()),
            None => Err(refused.unwrap_or_default()),
        });
        if !self.sockets.handle_answer(via, socket.ok().flatten()) {
            return;
        }
        match local {
            Ok(local) => self.node.handle_socket_opened(now(), via, local),
            Err(error) => {
                debug!(%error, "no socket for a hop");
                self.sockets.close(via);
                self.node.handle_socket_failed(now(), via);
            }
        }
    }

    /// Obeys the supervisor.
    pub(crate) fn handle_channel(&mut self) -> Result<Going, RunError> {
        self.follow_socket_orders();
        self.take_document();
        let received = match self.channel.try_receive::<ToProcess>() {
            Ok(Some(received)) => received,
            Ok(None) => return Ok(self.going()),
            Err(ReceiveError::Closed) => return Ok(Going::Ended),
            Err(error) => return Err(RunError::Channel(error)),
        };
        match received.message {
            ToProcess::Attach { generation } => {
                self.geometry = self.geometry.with_generation(generation);
                let queues = QueueSide::open(&self.geometry, Side::Shaped, self.assigns, received.descriptors)?;
                info!(generation, "queues of a new generation");
                self.node.attach_queues(now(), queues);
            }
            ToProcess::Stop { deadline_ms } => {
                if self.stop_at.is_none() {
                    self.node.close(now());
                    self.stop_at = Some(Instant::now() + FAREWELL.min(Duration::from_millis(deadline_ms)));
                }
            }
            ToProcess::Socket { number, refused } => {
                self.take_socket(Via(number), received.descriptors.into_iter().next(), refused);
                self.follow_socket_orders();
            }
            ToProcess::Order { body } => self.obey(body, received.descriptors),
            ToProcess::Boot { .. } => warn!("the supervisor sent a second boot message; it is ignored"),
        }
        Ok(self.going())
    }

    /// Carries an order out. One that cannot be read is the supervisor's fault; what it paid for is lost.
    fn obey(&mut self, body: serde_json::Value, descriptors: Vec<OwnedFd>) {
        let order: Order = match serde_json::from_value(body) {
            Ok(order) => order,
            Err(error) => return warn!(%error, "an order of the supervisor cannot be read"),
        };
        match order.grant_in() {
            Some((Direction::Own, grant)) => self.node.grant_own(grant),
            Some((Direction::Other, grant)) if !self.node.grant_other(grant) => {
                debug!("no session takes leave for the other node; it stays spent");
            }
            Some((Direction::Other, _)) | None => {}
        }
        if let Order::Document { bytes, .. } = order {
            self.documents.begin(descriptors.into_iter().next(), bytes, NextDocument::new);
            self.take_document();
        }
    }

    /// Goes by a document that has been read. No relay is named.
    fn take_document(&mut self) {
        let refused = match self.documents.poll() {
            None => return,
            Some(Ok(next)) => match self.node.set_document(now(), next) {
                Ok(()) => return info!("another document of the network is in force"),
                Err(refused) => refused.to_string(),
            },
            Some(Err(error)) => error.to_string(),
        };
        warn!("a document of the network is refused, the one before stays in force: {refused}");
    }

    /// How long a loop may sleep at most: a stopping one looks often whether it may end, one that waits for a document whether it is
    /// read.
    pub(crate) fn sleep_max(&self) -> Duration {
        let longest = self.stop_at.map_or(SLEEP_MAX, |_| FAREWELL / 4);
        if self.documents.is_busy() { longest.min(DOCUMENT_LOOK) } else { longest }
    }

    pub(crate) fn going(&self) -> Going {
        match self.stop_at {
            Some(at) if Instant::now() >= at => Going::Ended,
            Some(_) => Going::Stopping,
            None => Going::On,
        }
    }

    /// Stores and logs what happened. Neither peers nor sizes reach the log.
    pub(crate) fn drain_events(&mut self) {
        while let Some(event) = self.node.poll_event() {
            match event {
                NodeEvent::EphemeralAccepted(ephemeral, day) => {
                    if let Err(error) = self.replay.append(&ephemeral, day) {
                        warn!(%error, "cannot remember a handshake; after a restart it could be replayed");
                    }
                }
                NodeEvent::LinkUp(link, rtt) => info!(?link, ?rtt, "link up"),
                NodeEvent::LinkQuiet(link) => info!(?link, "nothing heard on the link"),
                NodeEvent::LinkBack(link) => info!(?link, "the link is heard again"),
                NodeEvent::LinkDown(link) => info!(?link, "link down"),
                NodeEvent::Hopped(link, index, cause) => {
                    debug!(?link, index, ?cause, "the link is on another pair of ports")
                }
                NodeEvent::SessionUp(link) => info!(?link, "session up"),
                NodeEvent::SessionLost(link, reason) => info!(?link, %reason, "session lost"),
                NodeEvent::PeerRestarted(link) => info!(?link, "the other node was restarted"),
                NodeEvent::ClassChanged(link, class) => warn!(?link, %class, "loss changed the link's rate class"),
                NodeEvent::RateFollowed(link, class) => debug!(?link, %class, "the rate follows the releases"),
                NodeEvent::Unanswered(link) => warn!(
                    ?link,
                    "several handshakes had no answer: check the peer string, the address, this machine's clock, a firewall for UDP, and that the path carries the packet size"
                ),
                NodeEvent::SameKeyElsewhere(link) => {
                    warn!(
                        ?link,
                        "two processes use this node's keys and take the link from each other; stop one of them"
                    );
                }
                NodeEvent::PeerIncompatible(link) => {
                    warn!(?link, "the other node speaks another version; install the same release on both");
                }
                NodeEvent::QueuesFailed(fault) => {
                    let sentence =
                        format!("the unshaped process broke the queue protocol ({fault}); its flows were reset");
                    self.tell(&FromProcess::Fault { sentence });
                }
                event => self.note_over_circuits(event),
            }
        }
        self.hand_over_kept_text();
    }

    /// The same for what only an entry over circuits says. No relay is named.
    fn note_over_circuits(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::GuardsChanged(text) => self.unkept = Some(text),
            NodeEvent::NoPath(refusal) => warn!("there is no path: {refusal}"),
            NodeEvent::LegUp(leg) => info!(leg, "a leg is in use"),
            NodeEvent::LegDown(leg, why) => info!(leg, %why, "a leg is out of use"),
            NodeEvent::UplinkFollowed(class) => debug!(%class, "the rate follows the releases"),
            NodeEvent::TunnelUp => info!("session up"),
            NodeEvent::TunnelLost(reason) => info!(%reason, "session lost"),
            // Which one is nobody's to read in a log.
            NodeEvent::ServiceFailed(failure) => info!("a service was not reached: {failure}"),
            NodeEvent::TunnelsFull => {
                warn!("there are as many tunnels as there may be; clients wait until one has ended")
            }
            NodeEvent::TunnelEnded(why) => info!(%why, "the tunnel is over; another one is built"),
            _ => {}
        }
    }

    /// What the supervisor has no room for now it is given later: without it a restart would take other guards.
    fn hand_over_kept_text(&mut self) {
        if let Some(text) = self.unkept.take()
            && let Err(error) = self.channel.send(&FromProcess::Keep { text: text.clone() }, &[])
        {
            debug!(%error, "the supervisor does not take what is to be kept; it is tried again");
            self.unkept = Some(text);
        }
    }

    /// Sends status when a second has passed.
    pub(crate) fn report(&mut self, now: Instant) {
        if !self.reporter.is_due(now) {
            return;
        }
        let body = self.reporter.body(now, self.node.status(), self.node.hop_figures(now));
        self.tell(&FromProcess::Status { body });
    }
}

/// Both clocks.
pub(crate) fn now() -> Now {
    Now { instant: Instant::now(), unix_s: clock::unix_time().as_secs() }
}
