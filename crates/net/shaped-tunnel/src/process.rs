//! The life of a shaped process: boot, confinement, the loop of its mode, the supervisor's orders.

use crate::boot::{Boot, BootError};
use crate::documents::DocumentReader;
use crate::driven::{Driven, Note};
use crate::noise::NoiseRing;
use crate::off::OffLoop;
use crate::order::{Ask, Order};
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
use shaped_node::{NextDocument, ShapedNode};
use shaping::ReadyNoise;
use std::collections::VecDeque;
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
pub(crate) struct Shell<N> {
    pub(crate) node: N,
    pub(crate) sockets: Sockets,
    pub(crate) packet_bytes: usize,
    pub(crate) reporter: Reporter,
    channel: Channel,
    replay: ReplayFile,
    geometry: Geometry,
    assigns: bool,
    /// Others dial it, so it answers from the address that they came to.
    has_door: bool,
    stop_at: Option<Instant>,
    /// Text that the supervisor is to keep and has not taken yet.
    unkept: Option<String>,
    /// What the supervisor is asked and has not taken yet.
    unasked: VecDeque<Ask>,
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
/// Questions that wait for the supervisor; of more, the oldest is dropped.
const ASKS_MAX: usize = 64;
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
    let handed = Handed::new(channel, boot.queues, boot.is_exit(), fds)?;
    let (mut replay, document) = (handed.replay, handed.document);
    let remembered = replay.read().map_err(RunError::Setup)?;
    let sockets = std::iter::once(&handed.socket).chain(&handed.further);
    let bound: Result<Vec<_>, _> = sockets.map(UdpSocket::local_addr).collect();
    let config = boot.node_config(&bound.map_err(RunError::Socket)?, document)?;
    let packet_bytes = config.packet_size.packet();
    let noise: Box<dyn ReadyNoise + Send> = match boot.sigma()? {
        Some(sigma) => Box::new(NoiseRing::start(sigma).map_err(RunError::Setup)?),
        None => Box::new(None),
    };
    let node = ShapedNode::new(config, now(), remembered, noise);
    let handed = Handed { replay, document: None, ..handed };
    Shell::new(node, packet_bytes, boot.is_exit(), handed).run(&boot.pace())
}

/// What the supervisor hands over at the start, in the order of the descriptors.
pub(crate) struct Handed {
    channel: Channel,
    geometry: Geometry,
    /// Whether the shaped process hands out queue pairs.
    assigns: bool,
    queues: QueueSide,
    pub(crate) socket: UdpSocket,
    /// Further ones, of an entry with several ends.
    further: Vec<UdpSocket>,
    replay: ReplayFile,
    pub(crate) document: Option<OwnedFd>,
}

impl Handed {
    pub(crate) fn new(
        channel: Channel,
        geometry: Geometry,
        assigns: bool,
        fds: Vec<OwnedFd>,
    ) -> Result<Self, RunError> {
        let mut fds = fds.into_iter();
        let set: Vec<OwnedFd> = fds.by_ref().take(flow_queue::DESCRIPTORS).collect();
        let queues = QueueSide::open(&geometry, Side::Shaped, assigns, set)?;
        let socket = fds.next().ok_or(RunError::Descriptor("a network socket"))?;
        let socket = UdpSocket::from_owned_fd(socket).map_err(RunError::Socket)?;
        let replay = ReplayFile::new(fds.next().ok_or(RunError::Descriptor("the replay file"))?);
        let document = fds.next();
        let further: Result<Vec<_>, _> = fds.map(UdpSocket::from_owned_fd).collect();
        let further = further.map_err(RunError::Socket)?;
        Ok(Self { channel, geometry, assigns, queues, socket, further, replay, document })
    }
}

/// How a process runs its loop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Whether cells leave on the slot grid.
    pub(crate) is_shaped: bool,
    /// Length of a slot in milliseconds.
    pub(crate) slot_ms: u32,
    /// How long before its slot a packet is made, in microseconds.
    pub(crate) lead_us: u64,
    /// How long before a slot the sender starts to spin, in microseconds.
    pub(crate) spin_us: u64,
    /// Real-time priority of the sender thread.
    pub(crate) realtime: Option<u8>,
    /// Core to which the process is pinned.
    pub(crate) core: Option<usize>,
    /// Whether the process confines itself.
    pub(crate) confine: bool,
}

impl<N: Driven> Shell<N> {
    pub(crate) fn new(mut node: N, packet_bytes: usize, has_door: bool, handed: Handed) -> Self {
        let Handed { channel, geometry, assigns, queues, socket, further, replay, document: _ } = handed;
        node.attach_queues(now(), queues);
        Self {
            node,
            sockets: Sockets::new(socket, further),
            packet_bytes,
            reporter: Reporter::new(Instant::now()),
            channel,
            replay,
            geometry,
            assigns,
            has_door,
            stop_at: None,
            unkept: None,
            unasked: VecDeque::new(),
            documents: DocumentReader::new(),
        }
    }

    pub(crate) fn run(mut self, pace: &Pace) -> Result<(), RunError> {
        if let Some(core) = pace.core {
            schedule::pin_to_core(core).map_err(|error| RunError::Setup(std::io::Error::other(error)))?;
        }
        schedule::set_exact_timers().map_err(|error| RunError::Setup(std::io::Error::other(error)))?;
        if pace.is_shaped {
            ShapedLoop::start(&mut self, pace)?.run()
        } else {
            self.confine(pace);
            self.ready();
            OffLoop::new(&mut self).run()
        }
    }

    /// Gives up what the process will not need. What the kernel lacks is said in `status`.
    pub(crate) fn confine(&mut self, pace: &Pace) {
        if pace.confine {
            self.reporter.confinement(confine::apply(&Needs::shaped(pace.realtime)));
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
                let answers_from_there = self.has_door;
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
            let (via, beside, port, any_other) = match order {
                SocketOrder::Close { via } => {
                    self.sockets.close(via);
                    continue;
                }
                SocketOrder::Open { via, beside, local_port, .. } => (via, beside, local_port.unwrap_or(0), true),
                SocketOrder::Listen { via, port } => (via, Via::DOOR, port, false),
            };
            let asked = FromProcess::OpenSocket { number: via.0, beside: beside.0, port, any_other };
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
            ToProcess::Introduced { .. } => warn!("an introduction that nobody asked for"),
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
        if let Order::Document { bytes, .. } = order {
            self.documents.begin(descriptors.into_iter().next(), bytes, NextDocument::new);
            return self.take_document();
        }
        self.node.obey(now(), order);
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

    /// Stores what happened, and passes on what the supervisor is to know.
    pub(crate) fn drain_events(&mut self) {
        while let Some(note) = self.node.poll_note(now()) {
            match note {
                Note::Remember(ephemeral, day) => {
                    if let Err(error) = self.replay.append(&ephemeral, day) {
                        warn!(%error, "cannot remember a handshake; after a restart it could be replayed");
                    }
                }
                Note::Keep(text) => self.unkept = Some(text),
                Note::Fault(sentence) => self.tell(&FromProcess::Fault { sentence }),
                Note::Ask(ask) => self.ask(ask),
                Note::Nothing => {}
            }
        }
        self.hand_over_kept_text();
        self.hand_over_asks();
    }

    /// Asks the supervisor, in turn.
    pub(crate) fn ask(&mut self, ask: Ask) {
        if self.unasked.len() >= ASKS_MAX {
            // Whoever wanted it asks again after a while.
            self.unasked.pop_front();
        }
        self.unasked.push_back(ask);
    }

    /// The same for what is asked of it.
    fn hand_over_asks(&mut self) {
        while let Some(ask) = self.unasked.pop_front() {
            let sent = serde_json::to_value(&ask)
                .map_err(|error| error.to_string())
                .and_then(|body| self.channel.send(&FromProcess::Ask { body }, &[]).map_err(|error| error.to_string()));
            if let Err(error) = sent {
                debug!(%error, "the supervisor does not take a question; it is asked again");
                return self.unasked.push_front(ask);
            }
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
    pub(crate) fn report(&mut self, now: Now) {
        if !self.reporter.is_due(now.instant) {
            return;
        }
        let (node, service) = self.node.figures();
        let body = self.reporter.body(now.instant, node, self.node.hop_figures(now.instant), service);
        self.tell(&FromProcess::Status { body });
    }
}

/// Both clocks.
pub(crate) fn now() -> Now {
    Now { instant: Instant::now(), unix_s: clock::unix_time().as_secs() }
}
