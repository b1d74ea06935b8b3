//! The task that drives all tunnels of a manager: one core, one socket, one loop.
//!
//! Each turn goes through the same things in the same order: what was ready and found no room, commands, packets that came,
//! streams that have news, requests that can be answered now, and what is ready to leave. Each has a budget, so that none keeps
//! the others waiting. Commands never wait for the network: what they begin leaves when there is room.

use crate::bell::Bell;
use crate::commands::{COMMANDS_A_TURN, Commands};
use crate::error::{Closed, StartError};
use crate::manager::{KeepGuards, READY_MAX, STREAM_BUFFER_BYTES, STREAMS_MAX, TunnelMgrConfig};
use crate::queues::StreamQueues;
use crate::request::Command;
use crate::socket::{Socket, now};
use crate::tunnels::Tunnels;
use identity::{DoorKey, LinkSecret, NodeSecret};
use link::Now;
use network_document::NetworkId;
use session::CongestionControl;
use shaped_node::{
    CircuitsConfig, Isolation, Mode, NearEnd, NodeConfig, NodeEvent, PacingConfig, PoolConfig, ShapedNode, Side,
};
use shaping::{RateClass, SlotLength};
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};
use tunnel_plan::{Guards, Target};
use wire::flow::ResetReason;

/// How long a driver that stops gives its farewells to leave.
pub(crate) const FAREWELL: Duration = Duration::from_millis(100);
/// Longest sleep.
pub(crate) const SLEEP_MAX: Duration = Duration::from_secs(60);

/// What a turn has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// There is more to do at once.
    More,
    /// Nothing to do until something happens.
    Idle,
    /// The manager has stopped.
    Over,
}

/// The task's state.
pub(crate) struct Driver {
    node: ShapedNode<StreamQueues>,
    socket: Socket,
    commands: Commands<Command>,
    bell: Arc<Bell>,
    tunnels: Tunnels,
    streams: u16,
    keep_guards: Option<KeepGuards>,
    stop_at: Option<Instant>,
    stopped: Vec<oneshot::Sender<()>>,
}

impl Drop for Driver {
    /// The runtime has ended under the task: nothing waits for anything any more, and what can be said at once is said.
    fn drop(&mut self) {
        self.socket.say_farewell(&mut self.node);
    }
}

impl Driver {
    pub(crate) fn new(
        mut config: TunnelMgrConfig,
        commands: mpsc::Receiver<Command>,
        sender: mpsc::WeakSender<Command>,
    ) -> Result<Self, StartError> {
        check("the number of ready tunnels", config.ready.into(), 0..=READY_MAX.into())?;
        check("the number of streams", config.streams.into(), 1..=STREAMS_MAX.into())?;
        let (least, most) = STREAM_BUFFER_BYTES;
        check("the buffer of a stream", config.stream_buffer, least..=most)?;
        if config.rules.target() != Target::Exit {
            return Err(StartError::Target);
        }
        let packet_bytes = config.document.charter().packet_size().packet();
        let socket = Socket::bind(config.bind, packet_bytes)?;
        let keep_guards = config.keep_guards.take();
        let (streams, buffer, rules) = (config.streams, config.stream_buffer, config.rules);
        let mut node = ShapedNode::new(node_config(config)?, now(), [], Box::new(None));
        let bell = Arc::new(Bell::default());
        node.attach_queues(now(), StreamQueues::new(streams, buffer, Arc::clone(&bell)));
        Ok(Self {
            node,
            socket,
            commands: Commands::new(commands),
            tunnels: Tunnels::new(sender, Arc::clone(&bell), rules),
            bell,
            streams,
            keep_guards,
            stop_at: None,
            stopped: Vec::new(),
        })
    }

    /// Runs until the manager is stopped or nobody is left who could use it.
    pub(crate) async fn run(mut self) {
        loop {
            match self.turn() {
                Ok(Turn::More) => tokio::task::yield_now().await,
                Ok(Turn::Idle) => self.sleep().await,
                Ok(Turn::Over) => break,
                Err(error) => {
                    warn!(%error, "the network socket of a tunnel manager failed");
                    break;
                }
            }
        }
        if let Some(queues) = self.node.queues() {
            queues.end_all(ResetReason::TunnelLost);
        }
        self.tunnels.close_all(Closed::Stopped);
        self.socket.say_farewell(&mut self.node);
        for answer in std::mem::take(&mut self.stopped) {
            // Who asked may have gone.
            let _ = answer.send(());
        }
    }

    fn turn(&mut self) -> io::Result<Turn> {
        let mut has_more = self.socket.send_stuck(&mut self.node);
        has_more |= self.take_commands();
        has_more |= self.socket.receive(&mut self.node)?;
        let time = now();
        self.node.handle_timeout_if_due(time);
        self.look_at_streams(time);
        self.tunnels.answer(time.instant, &mut self.node);
        has_more |= self.socket.send(&mut self.node);
        self.drain_events();
        Ok(match self.stop_at {
            Some(at) if at <= time.instant => Turn::Over,
            _ if has_more => Turn::More,
            _ => Turn::Idle,
        })
    }

    /// Cancel-safe are all that is waited for: readiness is remembered, and a command is received whole or not at all.
    async fn sleep(&mut self) {
        let time = Instant::now();
        let queues = self.node.queues().and_then(|queues| queues.poll_timeout());
        let due = [self.node.poll_timeout(), queues, self.tunnels.poll_timeout(), self.stop_at];
        let until = due.into_iter().flatten().min().unwrap_or(time + SLEEP_MAX).min(time + SLEEP_MAX);
        tokio::select! {
            biased;
            command = self.commands.next(), if !self.commands.is_forsaken() => {
                if let Some(command) = command {
                    self.obey(command);
                }
            }
            () = self.socket.ready() => {}
            () = self.bell.rung() => {}
            () = tokio::time::sleep_until(until.into()) => {}
        }
    }

    /// True if there may be more.
    fn take_commands(&mut self) -> bool {
        for _ in 0..COMMANDS_A_TURN {
            let Some(command) = self.commands.poll() else { return false };
            self.obey(command);
        }
        true
    }

    fn obey(&mut self, command: Command) {
        let time = now();
        match command {
            Command::Get { parameters, until, answer } => {
                self.tunnels.get(time, &mut self.node, &parameters, until, answer);
            }
            Command::Launch { parameters, until, answer } => {
                self.tunnels.launch(time, &mut self.node, &parameters, until, answer);
            }
            Command::Onion { address, parameters, until, answer } => {
                self.tunnels.seek(time, &mut self.node, address, &parameters, until, answer);
            }
            Command::Retire { tunnel } => self.tunnels.retire(&mut self.node, tunnel),
            Command::Connect { tunnel, to, answer } => {
                drop(answer.send(self.tunnels.connect(&mut self.node, tunnel, to, self.streams)));
            }
            Command::Describe { tunnel, answer } => drop(answer.send(self.node.tunnel_status(tunnel))),
            Command::Document { next, answer } => drop(answer.send(self.node.set_document(time, *next))),
            Command::Summary { answer } => drop(answer.send(self.tunnels.summary(&mut self.node))),
            Command::Stop { answer } => {
                self.stopped.push(answer);
                self.stop(time);
            }
        }
    }

    fn stop(&mut self, time: Now) {
        if self.stop_at.is_none() {
            self.tunnels.close_all(Closed::Stopped);
            self.node.close(time);
            self.stop_at = Some(time.instant + FAREWELL);
        }
    }

    fn look_at_streams(&mut self, time: Now) {
        let news = self.bell.take();
        self.tunnels.handle_released(&mut self.node, &news.released);
        if let Some(queues) = self.node.queues() {
            for flow in news.flows {
                queues.look_at(time.instant, flow);
            }
            queues.handle_timeout(time.instant);
        }
        self.node.handle_queues(time);
        let open = self.node.queues().map_or(0, |queues| {
            queues.free_closed();
            queues.open_count()
        });
        if self.commands.is_forsaken() && open == 0 {
            self.stop(time);
        }
    }

    /// Keeps and logs what happened. No relay is named.
    fn drain_events(&mut self) {
        while let Some(event) = self.node.poll_event() {
            match event {
                NodeEvent::GuardsChanged(text) => {
                    if let Some(keep) = &mut self.keep_guards {
                        keep(&text);
                    }
                }
                NodeEvent::NoPath(refusal) => warn!("there is no path: {refusal}"),
                NodeEvent::ServiceFailed(failure) => debug!(%failure, "a service was not reached"),
                NodeEvent::TunnelsFull => warn!("there are as many tunnels as there may be; no further one is made"),
                NodeEvent::LegDown(leg, why) => info!(leg, %why, "a leg is out of use"),
                NodeEvent::TunnelLost(reason) => info!(%reason, "session lost"),
                event => debug!(?event, "links and tunnels"),
            }
        }
    }
}

pub(crate) fn check(name: &'static str, value: usize, range: RangeInclusive<usize>) -> Result<(), StartError> {
    let (lowest, highest) = range.clone().into_inner();
    if range.contains(&value) { Ok(()) } else { Err(StartError::Range { name, lowest, highest }) }
}

fn node_config(config: TunnelMgrConfig) -> Result<NodeConfig, StartError> {
    let network = config.document.network_id();
    let legs = config.rules.legs();
    let guards = known_guards(config.guards.as_deref(), network, legs)?;
    let packet_size = config.document.charter().packet_size();
    let pool = PoolConfig { tunnels: config.ready, isolation: Isolation::Clients, ..PoolConfig::default() };
    let circuits = CircuitsConfig {
        document: config.document,
        guards,
        rules: config.rules,
        exit: config.exit,
        near: NearEnd::only(config.bind.is_ipv4()),
        pool,
        services: None,
        memory_max: config.memory_max,
        // Without meaning in mode `off`.
        up: RateClass::SLOWEST,
        down: RateClass::SLOWEST,
    };
    Ok(NodeConfig {
        side: Side::Circuits(Some(Box::new(circuits))),
        mode: Mode::Off,
        pacing: PacingConfig::Constant,
        packet_size,
        slot: SlotLength::DEFAULT,
        // A client over circuits is nobody: the core makes its own keys, and knows its network from the document.
        network_id: [0; 32],
        node_secret: NodeSecret::from_seed(random()?),
        link_secret: LinkSecret::from_bytes(random()?),
        door_key: DoorKey::from_bytes(random()?),
        session_timeout: config.session_timeout,
        max_flows: config.streams,
        congestion: CongestionControl::Bbr,
        hops: None,
        seed: random()?,
    })
}

/// The guards of a text that was kept, or none yet.
pub(crate) fn known_guards(kept: Option<&str>, network: NetworkId, legs: u8) -> Result<Guards, StartError> {
    let mut guards = match kept {
        Some(text) => Guards::parse(text, network)?,
        None => Guards::new(network, legs)?,
    };
    guards.set_primaries(legs)?;
    Ok(guards)
}

pub(crate) fn random() -> io::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| io::Error::other("no random bytes"))?;
    Ok(bytes)
}
