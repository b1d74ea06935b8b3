//! One loop: packets in, packets out, time, files.

use crate::counters::Snapshot;
use crate::handle::{Handle, NEIGHBOURS_SHOWN_MAX};
use crate::join::JoinPoint;
use crate::outbox::Outbox;
use crate::replay::ReplayFile;
use crate::sockets::Sockets;
use link::{Now, Route};
use network_document::{NetworkDocument, OnionKeyFile};
use onion::Interval;
use os_net::clock::unix_time;
use os_net::udp::{RecvBuffers, UdpSocket};
use relay_node::{Came, ConfigError, NodeEvent, RelayNode, RelayNodeConfig};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Packets of the relay's own, and cells that waited, in one turn; what is left comes in the next one.
const OWN_PACKETS_A_TURN: usize = 1_024;
/// Longest sleep: so old are published counters at most.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// From one publication of the counters to the next.
const PUBLISH: Duration = Duration::from_secs(1);

/// Where the socket of a relay's door comes from.
pub enum Door {
    /// It is opened at this address.
    Listen(SocketAddr),
    /// It is open already: handed over by whoever keeps the address taken while the process is restarted.
    Open(UdpSocket),
}

/// What a relay is started with.
pub struct RelaySettings {
    /// Where its door is.
    pub door: Door,
    /// The relay itself.
    pub node: RelayNodeConfig,
    /// Its network.
    pub document: NetworkDocument,
    /// The secrets of its onion keys.
    pub onion_keys: OnionKeyFile,
    /// The replay file, open for reading and appending; `None` forgets with the process.
    pub replay: Option<OwnedFd>,
    /// How long circuits may go on once the relay is stopped.
    pub drain: Duration,
    /// Bytes of the system's random source.
    pub seed: [u8; 32],
}

/// Why a relay does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The document does not fit the keys.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The door cannot be opened.
    #[error("the relay cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The replay file cannot be read.
    #[error("the replay file cannot be read")]
    Replay(#[source] io::Error),
    /// The system refused something else.
    #[error("the system refused what a relay needs")]
    System(#[source] io::Error),
}

/// A relay with its sockets.
pub struct CircuitRelay<J> {
    node: RelayNode,
    join: J,
    sockets: Sockets,
    outbox: Outbox,
    buffers: RecvBuffers,
    packet: Vec<u8>,
    replay: Option<ReplayFile>,
    drain: Duration,
    is_draining: bool,
    is_hurried: bool,
    handle: Handle,
    packets_sent: u64,
    send_failed: u64,
    next_publication: Instant,
}

pub(crate) fn now() -> Now {
    Now { instant: Instant::now(), unix_s: unix_time().as_secs() }
}

/// Goes by a later document, or says why not.
pub(crate) fn exchange(now: Now, node: &mut RelayNode, document: NetworkDocument, onion_keys: &OnionKeyFile) {
    let was_exit = node.is_exit();
    match node.set_document(now, document, onion_keys) {
        Ok(()) => {
            tracing::info!(interval = node.document().interval().0, "another document of the network is in force");
            if was_exit != node.is_exit() {
                tracing::warn!("the document has another role of this node as an exit than before: restart it");
            }
        }
        Err(error) => {
            tracing::warn!("a document of the network is refused, the one before stays in force: {error}");
        }
    }
}

impl<J: JoinPoint> CircuitRelay<J> {
    /// Opens the door. `join` gets what comes out of circuits, if the relay is an exit.
    ///
    /// # Errors
    /// When the document does not have the relay as its keys are, or the system refuses something.
    pub fn new(settings: RelaySettings, join: J) -> Result<Self, StartError> {
        let RelaySettings { door, node, document, onion_keys, replay, drain, seed } = settings;
        let packet_bytes = document.charter().packet_size().packet();
        let mut node = RelayNode::new(node, document, &onion_keys, seed)?;
        let sockets = match door {
            Door::Listen(address) => {
                let listen_failed = |source| StartError::Listen { address, source };
                UdpSocket::bind(address).and_then(Sockets::new).map_err(listen_failed)?
            }
            Door::Open(socket) => Sockets::new(socket).map_err(StartError::System)?,
        };
        let mut replay = replay.map(ReplayFile::new);
        if let Some(file) = &mut replay {
            node.remember_ephemerals(file.read().map_err(StartError::Replay)?);
        }
        let handle = Handle::new().map_err(StartError::System)?;
        Ok(Self {
            node,
            join,
            sockets,
            outbox: Outbox::new(packet_bytes),
            buffers: RecvBuffers::new(),
            packet: Vec::new(),
            replay,
            drain,
            is_draining: false,
            is_hurried: false,
            handle,
            packets_sent: 0,
            send_failed: 0,
            next_publication: Instant::now(),
        })
    }

    /// What is joined to circuits.
    pub(crate) fn join_mut(&mut self) -> &mut J {
        &mut self.join
    }

    /// Reaches the relay while it runs.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The interval of the document that it goes by.
    pub fn interval(&self) -> Interval {
        self.node.document().interval()
    }

    /// True when the document has it as an exit.
    pub fn is_exit(&self) -> bool {
        self.node.is_exit()
    }

    /// Where its door is.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.sockets.door().map_or_else(|| Err(io::ErrorKind::NotConnected.into()), UdpSocket::local_addr)
    }

    /// Runs until [`Handle::stop`], and then until no circuit is left.
    ///
    /// # Errors
    /// When the door's socket fails.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            let received = if self.outbox.is_blocked() { 0 } else { self.receive()? };
            let now = now();
            if self.node.poll_timeout(now).is_some_and(|at| at <= now.instant) {
                self.node.handle_timeout(now);
            }
            if self.join.poll_timeout().is_some_and(|at| at <= now.instant) {
                self.join.handle_timeout(now, &mut self.node);
            }
            if let Some((document, onion_keys)) = self.handle.take_document() {
                exchange(now, &mut self.node, document, &onion_keys);
            }
            self.follow_sockets(now);
            self.follow_events(now);
            self.join.pump(now, &mut self.node);
            let sent = self.send(now);
            self.stop_if_asked(now);
            if now.instant >= self.next_publication {
                self.next_publication = now.instant + PUBLISH;
                let snapshot = Snapshot::of(&self.node, self.packets_sent, self.send_failed);
                self.join.handle_snapshot(&snapshot, &self.node);
                self.handle.publish(snapshot, self.node.neighbours(now, NEIGHBOURS_SHOWN_MAX));
            }
            if self.join.is_over(now) {
                return Ok(());
            }
            if self.is_draining && self.node.is_drained() && self.outbox.is_empty() {
                self.handle.publish(Snapshot::of(&self.node, self.packets_sent, self.send_failed), Vec::new());
                return Ok(());
            }
            if received == 0 && !sent {
                self.sleep()?;
            }
        }
    }

    /// Takes what waits at sockets, up to a batch of each. Cells that go on are put together by their way.
    fn receive(&mut self) -> io::Result<usize> {
        let Self { sockets, buffers, node, join, outbox, .. } = self;
        let now = now();
        let mut packets = 0;
        for (via, socket) in sockets.ready()? {
            let received = socket.recv_arrivals(buffers, |arrival, packet| {
                let from = Route { via, from: arrival.to, to: arrival.from };
                match node.handle_packet(now, from, arrival.ce, packet) {
                    Came::Send { to } => outbox.push(to, packet),
                    Came::Inner { circuit, inner, number } => {
                        join.handle_inner(now, circuit, number, &packet[inner], node);
                    }
                    Came::Handled | Came::Dropped => {}
                }
            });
            match received {
                Ok(count) => packets += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(packets)
    }

    /// Sends what was put together, and what the relay itself has to say. True if anything left.
    fn send(&mut self, now: Now) -> bool {
        let mut own = 0;
        while !self.outbox.is_blocked() && own < OWN_PACKETS_A_TURN {
            self.packet.clear();
            let Some(to) = self.node.poll_packet(now, &mut self.packet) else { break };
            self.outbox.push(to, &self.packet);
            own += 1;
        }
        let flushed = self.outbox.flush(&self.sockets);
        self.packets_sent += flushed.sent;
        self.send_failed += flushed.failed;
        for (route, packets) in flushed.refused {
            self.node.handle_send_refused(now, route, packets);
        }
        flushed.sent + flushed.failed > 0
    }

    fn follow_sockets(&mut self, now: Now) {
        while let Some(order) = self.node.poll_socket_order() {
            match self.sockets.follow(order) {
                None => {}
                Some((via, Ok(local))) => self.node.handle_socket_opened(now, via, local),
                Some((via, Err(error))) => {
                    tracing::debug!(%error, "a socket for a hop could not be opened");
                    self.node.handle_socket_failed(now, via);
                }
            }
        }
    }

    fn follow_events(&mut self, now: Now) {
        while let Some(event) = self.node.poll_event() {
            match event {
                NodeEvent::Opened { .. } | NodeEvent::NotLast { .. } | NodeEvent::Closed { .. } => {
                    self.join.handle_event(now, event, &mut self.node);
                }
                NodeEvent::AcceptedEphemeral { ephemeral, day } => {
                    let written = self.replay.as_mut().map(|file| file.append(&ephemeral, day));
                    if let Some(Err(error)) = written {
                        tracing::warn!(%error, "the replay file cannot be written: handshakes may be answered twice");
                    }
                }
                NodeEvent::SameKeyElsewhere => {
                    tracing::warn!("another process uses the keys of this relay or of one of its neighbours");
                }
                NodeEvent::Drained => tracing::info!("no circuits are left"),
            }
        }
    }

    fn stop_if_asked(&mut self, now: Now) {
        let asked = self.join.poll_stop().or_else(|| self.handle.is_stopping().then_some(self.drain));
        if let Some(wait) = asked.filter(|_| !self.is_draining) {
            self.is_draining = true;
            tracing::info!(circuits = self.node.circuits(), "stopping: new circuits are refused");
            self.node.drain(now, wait);
        }
        if self.handle.is_stopping_now() && !self.is_hurried {
            self.is_hurried = true;
            self.node.drain(now, Duration::ZERO);
        }
    }

    /// Sleeps until a packet, room to send, somebody's word or a time-out.
    fn sleep(&mut self) -> io::Result<()> {
        if !self.join.prepare_sleep() {
            return Ok(());
        }
        let slept = self.wait();
        self.join.handle_woken();
        slept
    }

    fn wait(&self) -> io::Result<()> {
        let now = now();
        let next = self.node.poll_timeout(now).into_iter().chain(self.join.poll_timeout()).min();
        let until = next.map_or(SLEEP_MAX, |at| at.saturating_duration_since(now.instant)).min(SLEEP_MAX);
        let timeout = Timespec { tv_sec: until.as_secs() as i64, tv_nsec: i64::from(until.subsec_nanos()) };
        let mut watched =
            if self.outbox.is_blocked() { self.sockets.writable() } else { vec![self.sockets.readable()] };
        watched.push(PollFd::new(self.handle.bell(), PollFlags::IN));
        watched.extend(self.join.watched());
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(watched);
        self.handle.silence();
        Ok(())
    }
}
