//! A service's part of the driver: streams that clients opened, and records that go to the directory.

use super::publish::{publisher, sign};
use super::{OnionServiceConfig, OnionServiceFigures};
use crate::bell::Bell;
use crate::driver::{Driver, Work};
use crate::error::StartError;
use crate::manager::{KeepGuards, TunnelMgr};
use crate::queues::StreamQueues;
use crate::socket::{Socket, now};
use crate::start::known_guards;
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
use std::future::pending;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
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

/// The core of a service whose streams are in this process.
type CoreNode = ServiceNode<StreamQueues>;

/// See the module.
pub(super) struct ServiceWork {
    network: NetworkId,
    secret: ServiceSecret,
    arrived: mpsc::Sender<(u16, TunnelStream)>,
    published: watch::Sender<bool>,
    publisher: Arc<ServicePublisher>,
    time: watch::Receiver<Option<DirectoryTime>>,
    /// Records on their way: day, revision, and whether it was taken.
    under_way: JoinSet<(Day, u64, bool)>,
    keep_guards: Option<KeepGuards>,
}

impl ServiceWork {
    /// The driver of a service.
    pub(super) fn driver(
        mut config: OnionServiceConfig,
        seed: [u8; 32],
        manager: TunnelMgr,
        (commands, arrived, published): Ways,
    ) -> Result<Driver<Self>, StartError> {
        let network = config.document.network_id();
        let socket = Socket::bind(config.bind, config.document.charter().packet_size().packet())?;
        let (streams, buffer, secret) = (config.streams, config.stream_buffer, config.secret.clone());
        let keep_guards = config.keep_guards.take();
        let mut node = ServiceNode::new(node_config(config, network, seed)?, now())?;
        let bell = Arc::new(Bell::default());
        node.attach_queues(now(), StreamQueues::taking(streams, buffer, Arc::clone(&bell)));
        let publisher = Arc::new(publisher(network, manager));
        let work = Self {
            network,
            secret,
            arrived,
            published,
            time: publisher.time(),
            publisher,
            under_way: JoinSet::new(),
            keep_guards,
        };
        Ok(Driver::new(node, socket, bell, commands, work))
    }

    fn figures(&self, node: &CoreNode) -> OnionServiceFigures {
        let status = node.status();
        let service = status.services.into_iter().next().unwrap_or_default();
        OnionServiceFigures {
            points: service.points,
            points_wanted: service.points_wanted,
            is_published: *self.published.borrow(),
            tunnels: service.tunnels,
            streams: service.flows,
        }
    }

    /// Says to the service when it is. The record it makes has to be good by the directory's clock.
    fn handle_directory_time(&mut self, node: &mut CoreNode) {
        let ms = self.time.borrow_and_update().as_ref().map(DirectoryTime::now_ms);
        if let Some(ms) = ms {
            node.handle_directory_time(now(), ms);
        }
    }

    /// Brings records on their way.
    fn publish(&mut self, time: Now, node: &mut CoreNode) {
        while let Some(PublicationOrder { service, publication }) = node.poll_publication(time) {
            let (day, revision) = (publication.day, publication.record.revision);
            if self.under_way.len() >= PUBLISHING_MAX {
                node.handle_published(time, service, day, revision, false);
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

    fn handle_published(&mut self, node: &mut CoreNode, published: Result<(Day, u64, bool), tokio::task::JoinError>) {
        let Ok((day, revision, taken)) = published else { return };
        node.handle_published(now(), 0, day, revision, taken);
        if taken {
            self.published.send_replace(true);
        }
    }
}

impl Work for ServiceWork {
    type Node = CoreNode;
    type Command = Command;
    const WHOSE: &'static str = "a service";

    fn obey(&mut self, time: Now, node: &mut Self::Node, command: Command) -> Option<oneshot::Sender<()>> {
        match command {
            Command::Document { next, answer } => drop(answer.send(node.set_document(time, *next))),
            Command::Describe { answer } => drop(answer.send(self.figures(node))),
            Command::Stop { answer } => return Some(answer),
        }
        None
    }

    fn take_streams(&mut self, queues: &mut StreamQueues) {
        while let Some((port, flow)) = queues.poll_came() {
            let stream = TunnelStream::new(flow);
            if let Err(mpsc::error::TrySendError::Full((_, stream))) = self.arrived.try_send((port, stream)) {
                stream.flow().refuse(ResetReason::TooManyFlows);
            }
        }
    }

    fn advance(&mut self, time: Now, node: &mut Self::Node) {
        self.publish(time, node);
    }

    /// Keeps and logs what happened. No relay and no client is named.
    fn drain_events(&mut self, node: &mut Self::Node) {
        while let Some(event) = node.poll_event() {
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

    /// Cancel-safe: changes are remembered, and a task's end is taken when it is returned.
    async fn wait(&mut self, node: &mut Self::Node) {
        tokio::select! {
            biased;
            Some(published) = self.under_way.join_next() => self.handle_published(node, published),
            Ok(()) = self.time.changed() => self.handle_directory_time(node),
            else => pending().await,
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
