//! A manager's part of the driver: who waits for which tunnel, and what is asked of them.

use super::{KeepGuards, READY_MAX, STREAM_BUFFER_BYTES, STREAMS_MAX, TunnelMgrConfig};
use crate::bell::Bell;
use crate::driver::{Driver, Work};
use crate::error::{Closed, StartError};
use crate::queues::StreamQueues;
use crate::request::Command;
use crate::socket::{Socket, now};
use crate::start::{check, known_guards, random};
use crate::tunnels::Tunnels;
use identity::{DoorKey, LinkSecret, NodeSecret};
use link::Now;
use session::CongestionControl;
use shaped_node::{
    CircuitsConfig, Isolation, Mode, NearEnd, NodeConfig, NodeEvent, PacingConfig, PoolConfig, ShapedNode, Side,
    TunnelId,
};
use shaping::{RateClass, SlotLength};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};
use tunnel_plan::Target;

/// See the module.
pub(super) struct ManagerWork {
    tunnels: Tunnels,
    streams: u16,
    keep_guards: Option<KeepGuards>,
}

impl ManagerWork {
    /// The driver of a manager's tunnels.
    pub(super) fn driver(
        mut config: TunnelMgrConfig,
        commands: mpsc::Receiver<Command>,
        sender: mpsc::WeakSender<Command>,
    ) -> Result<Driver<Self>, StartError> {
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
        let work = Self { tunnels: Tunnels::new(sender, Arc::clone(&bell), rules), streams, keep_guards };
        Ok(Driver::new(node, socket, bell, commands, work))
    }
}

impl Work for ManagerWork {
    type Node = ShapedNode<StreamQueues>;
    type Command = Command;
    const WHOSE: &'static str = "a tunnel manager";

    fn obey(&mut self, time: Now, node: &mut Self::Node, command: Command) -> Option<oneshot::Sender<()>> {
        match command {
            Command::Get { parameters, until, answer } => {
                self.tunnels.get(time, node, &parameters, until, answer);
            }
            Command::Launch { parameters, until, answer } => {
                self.tunnels.launch(time, node, &parameters, until, answer);
            }
            Command::Onion { address, parameters, until, answer } => {
                self.tunnels.seek(time, node, address, &parameters, until, answer);
            }
            Command::Retire { tunnel } => self.tunnels.retire(node, tunnel),
            Command::Connect { tunnel, to, answer } => {
                drop(answer.send(self.tunnels.connect(node, tunnel, to, self.streams)));
            }
            Command::Describe { tunnel, answer } => drop(answer.send(node.tunnel_status(tunnel))),
            Command::Document { next, answer } => drop(answer.send(node.set_document(time, *next))),
            Command::Summary { answer } => drop(answer.send(self.tunnels.summary(node))),
            Command::Stop { answer } => return Some(answer),
        }
        None
    }

    fn handle_released(&mut self, node: &mut Self::Node, released: &[TunnelId]) {
        self.tunnels.handle_released(node, released);
    }

    fn advance(&mut self, time: Now, node: &mut Self::Node) {
        self.tunnels.answer(time.instant, node);
    }

    /// Keeps and logs what happened. No relay is named.
    fn drain_events(&mut self, node: &mut Self::Node) {
        while let Some(event) = node.poll_event() {
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

    fn poll_timeout(&self) -> Option<Instant> {
        self.tunnels.poll_timeout()
    }

    fn close(&mut self) {
        self.tunnels.close_all(Closed::Stopped);
    }
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
