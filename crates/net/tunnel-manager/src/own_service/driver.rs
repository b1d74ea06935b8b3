//! The task that drives a service: one core, one socket, one loop, as for a manager's tunnels.

use super::publish::{publisher, sign};
use super::{OnionServiceConfig, OnionServiceFigures};
use crate::bell::Bell;
use crate::commands::{COMMANDS_A_TURN, Commands};
use crate::driver::{FAREWELL, SLEEP_MAX, Turn, known_guards};
use crate::error::StartError;
use crate::manager::{KeepGuards, TunnelMgr};
use crate::queues::StreamQueues;
use crate::socket::{Socket, now};
use crate::stream::TunnelStream;
use directory_mirror::{DirectoryTime, ServicePublisher};
use identity::ServiceSecret;
use link::Now;
use network_document::NetworkId;
use onion_service::{Day, ServiceAddress, ServiceConfig};
use shaped_node::{
    DocumentRefused, Mode, NextDocument, NodeEvent, PublicationOrder, ServiceNode, ServiceNodeConfig, ServiceNodeEvent,
    ServicePorts, ServiceSetting,
};
use shaping::{RateClass, SlotLength};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};
use wire::flow::ResetReason;

/// Records that are on their way. A further one counts as not taken, and another is made.
const PUBLISHING_MAX: usize = 4;

/// One thing to be done.
pub(super) enum Command {
    /// Another document of the network.
    Document { next: Box<NextDocument>, answer: oneshot::Sender<Result<(), DocumentRefused>> },
    /// What it does.
    Describe { answer: oneshot::Sender<OnionServiceFigures> },
    /// Everything ends.
    Stop { answer: oneshot::Sender<()> },
}

/// What leads to and from the handle: its commands, streams with their ports, and whether a record is out.
pub(super) type Ways = (mpsc::Receiver<Command>, mpsc::Sender<(u16, TunnelStream)>, watch::Sender<bool>);

/// The task's state.
pub(super) struct ServiceDriver {
    node: ServiceNode<StreamQueues>,
    socket: Socket,
    network: NetworkId,
    secret: ServiceSecret,
    bell: Arc<Bell>,
    commands: Commands<Command>,
    arrived: mpsc::Sender<(u16, TunnelStream)>,
    published: watch::Sender<bool>,
    publisher: Arc<ServicePublisher>,
    time: watch::Receiver<Option<DirectoryTime>>,
    /// Records on their way: day, revision, and whether it was taken.
    under_way: JoinSet<(Day, u64, bool)>,
    keep_guards: Option<KeepGuards>,
    stop_at: Option<Instant>,
    stopped: Vec<oneshot::Sender<()>>,
}

impl Drop for ServiceDriver {
    /// The runtime has ended under the task: nothing waits for anything any more, and what can be said at once is said.
    fn drop(&mut self) {
        self.socket.say_farewell(&mut self.node);
    }
}

impl ServiceDriver {
    pub(super) fn new(
        mut config: OnionServiceConfig,
        seed: [u8; 32],
        manager: TunnelMgr,
        (commands, arrived, published): Ways,
    ) -> Result<Self, StartError> {
        let network = config.document.network_id();
        let socket = Socket::bind(config.bind, config.document.charter().packet_size().packet())?;
        let (streams, buffer, secret) = (config.streams, config.stream_buffer, config.secret.clone());
        let keep_guards = config.keep_guards.take();
        let mut node = ServiceNode::new(node_config(config, network, seed)?, now())?;
        let bell = Arc::new(Bell::default());
        node.attach_queues(now(), StreamQueues::taking(streams, buffer, Arc::clone(&bell)));
        let publisher = Arc::new(publisher(network, manager));
        Ok(Self {
            node,
            socket,
            network,
            secret,
            bell,
            commands: Commands::new(commands),
            arrived,
            published,
            time: publisher.time(),
            publisher,
            under_way: JoinSet::new(),
            keep_guards,
            stop_at: None,
            stopped: Vec::new(),
        })
    }

    /// Runs until the service is stopped, or its handle and all its streams are gone.
    pub(super) async fn run(mut self) {
        loop {
            match self.turn() {
                Ok(Turn::More) => tokio::task::yield_now().await,
                Ok(Turn::Idle) => self.sleep().await,
                Ok(Turn::Over) => break,
                Err(error) => {
                    warn!(%error, "the network socket of a service failed");
                    break;
                }
            }
        }
        if let Some(queues) = self.node.queues() {
            queues.end_all(ResetReason::TunnelLost);
        }
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
        self.publish(time);
        has_more |= self.socket.send(&mut self.node);
        self.drain_events();
        Ok(match self.stop_at {
            Some(at) if at <= time.instant => Turn::Over,
            _ if has_more => Turn::More,
            _ => Turn::Idle,
        })
    }

    /// Cancel-safe are all that is waited for: readiness and changes are remembered, a command is received whole or not at all, and a
    /// task's end is taken when it is returned.
    async fn sleep(&mut self) {
        let time = now();
        let queues = self.node.queues().and_then(|queues| queues.poll_timeout());
        let due = [self.node.poll_timeout(time), queues, self.stop_at];
        let longest = time.instant + SLEEP_MAX;
        let until = due.into_iter().flatten().min().unwrap_or(longest).min(longest);
        tokio::select! {
            biased;
            command = self.commands.next(), if !self.commands.is_forsaken() => {
                if let Some(command) = command {
                    self.obey(command);
                }
            }
            Some(published) = self.under_way.join_next() => self.handle_published(published),
            Ok(()) = self.time.changed() => self.handle_directory_time(),
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
            Command::Document { next, answer } => drop(answer.send(self.node.set_document(time, *next))),
            Command::Describe { answer } => drop(answer.send(self.figures())),
            Command::Stop { answer } => {
                self.stopped.push(answer);
                self.stop(time);
            }
        }
    }

    fn figures(&self) -> OnionServiceFigures {
        let status = self.node.status();
        let service = status.services.into_iter().next().unwrap_or_default();
        OnionServiceFigures {
            points: service.points,
            points_wanted: service.points_wanted,
            is_published: *self.published.borrow(),
            tunnels: service.tunnels,
            streams: service.flows,
        }
    }

    fn stop(&mut self, time: Now) {
        if self.stop_at.is_none() {
            self.node.close(time);
            self.stop_at = Some(time.instant + FAREWELL);
        }
    }

    fn look_at_streams(&mut self, time: Now) {
        let news = self.bell.take();
        if let Some(queues) = self.node.queues() {
            for flow in news.flows {
                queues.look_at(time.instant, flow);
            }
            queues.handle_timeout(time.instant);
        }
        self.node.handle_queues(time);
        let Some(queues) = self.node.queues() else { return };
        while let Some((port, flow)) = queues.poll_came() {
            let stream = TunnelStream::new(flow);
            if let Err(mpsc::error::TrySendError::Full((_, stream))) = self.arrived.try_send((port, stream)) {
                stream.flow().refuse(ResetReason::TooManyFlows);
            }
        }
        queues.free_closed();
        if self.commands.is_forsaken() && queues.open_count() == 0 {
            self.stop(time);
        }
    }

    /// Says to the service when it is. The record it makes has to be good by the directory's clock.
    fn handle_directory_time(&mut self) {
        let ms = self.time.borrow_and_update().as_ref().map(DirectoryTime::now_ms);
        if let Some(ms) = ms {
            self.node.handle_directory_time(now(), ms);
        }
    }

    /// Brings records on their way.
    fn publish(&mut self, time: Now) {
        while let Some(PublicationOrder { service, publication }) = self.node.poll_publication(time) {
            let (day, revision) = (publication.day, publication.record.revision);
            if self.under_way.len() >= PUBLISHING_MAX {
                self.node.handle_published(time, service, day, revision, false);
                continue;
            }
            let record = sign(self.network, &self.secret, &publication);
            let publisher = Arc::clone(&self.publisher);
            self.under_way.spawn(async move {
                let taken = publisher.publish(&record).await;
                (day, revision, taken.map_err(|error| warn!("{error}")).is_ok())
            });
        }
    }

    fn handle_published(&mut self, published: Result<(Day, u64, bool), tokio::task::JoinError>) {
        let Ok((day, revision, taken)) = published else { return };
        self.node.handle_published(now(), 0, day, revision, taken);
        if taken {
            self.published.send_replace(true);
        }
    }

    /// Keeps and logs what happened. No relay and no client is named.
    fn drain_events(&mut self) {
        while let Some(event) = self.node.poll_event() {
            match event {
                ServiceNodeEvent::Node(NodeEvent::GuardsChanged(text)) => {
                    if let Some(keep) = &mut self.keep_guards {
                        keep(&text);
                    }
                }
                ServiceNodeEvent::Node(NodeEvent::NoPath(refusal)) => warn!("there is no path: {refusal}"),
                ServiceNodeEvent::Tunnels(event) => info!(?event, "tunnels of clients"),
                ServiceNodeEvent::Node(event) => debug!(?event, "links and circuits of a service"),
            }
        }
    }
}

fn node_config(
    config: OnionServiceConfig,
    network: NetworkId,
    seed: [u8; 32],
) -> Result<ServiceNodeConfig, StartError> {
    let guards = known_guards(config.guards.as_deref(), network, config.rules.legs())?;
    // Where a stream leads is the application's matter: the port alone is of interest.
    let ports = config.ports.iter().map(|port| (*port, SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port))));
    let service = ServiceSetting {
        address: ServiceAddress(config.secret.public_key()),
        config: ServiceConfig { points: config.points, clients: config.clients, ..ServiceConfig::new(network) },
        ports: ServicePorts::new(ports),
    };
    Ok(ServiceNodeConfig {
        services: vec![service],
        guards,
        document: config.document,
        rules: config.rules,
        ipv4: config.bind.is_ipv4(),
        mode: Mode::Off,
        // Without meaning in mode `off`.
        slot: SlotLength::DEFAULT,
        base: RateClass::SLOWEST,
        fastest: RateClass::SLOWEST,
        session_timeout: config.session_timeout,
        tunnels_max: config.tunnels,
        max_flows: config.streams,
        memory_max: config.memory_max,
        hops: None,
        seed,
    })
}
