//! A node with a service, the directory that has its records, and the servers behind it.

use super::due::Due;
use super::{RING, Setting};
use crate::apps::{Records, Unshaped, port};
use crate::memory_queues::{self, MemoryQueues};
use identity::{AccessKey, ServiceSecret};
use link::Now;
use network_document::NetworkDocument;
use onion_service::{DaySecret, ServiceAddress, ServiceConfig};
use shaped_node::{Mode, ServiceNode, ServiceNodeConfig, ServicePorts, ServiceSetting, SlotPlan};
use shaping::{Grid, SlotLength};
use simnet::Network;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tunnel_plan::{Guards, PathRules};
use wire::packet::PacketSize;

/// Queue pairs.
const FLOWS: u16 = 32;
const SEED: [u8; 32] = [0x5e; 32];

/// The node, which is as well whoever signs its records and takes them to the directory.
pub struct ServiceHost {
    /// The node under test.
    pub node: ServiceNode<MemoryQueues>,
    /// The servers behind it.
    pub servers: Unshaped,
    /// Where it sends from.
    pub address: SocketAddr,
    /// Whether it is dead: nothing comes in or out, and nobody is told.
    pub is_dead: bool,
    pub(super) place: simnet::NodeId,
    secret: ServiceSecret,
    records: Records,
    /// Records that were published.
    pub published: usize,
    /// The last slot that was made, in shaped modes.
    made: u64,
    /// In mode `off`.
    due: Due,
}

/// The address of the service.
pub fn service_address() -> ServiceAddress {
    ServiceAddress(ServiceSecret::from_seed(SEED).public_key())
}

impl ServiceHost {
    pub(super) fn new(
        setting: &Setting,
        document: &NetworkDocument,
        now: Now,
        place: simnet::NodeId,
        records: Records,
        clients: &[AccessKey],
    ) -> Self {
        let network = document.network_id();
        let config = ServiceConfig { clients: clients.to_vec(), ..ServiceConfig::new(network) };
        let ports = [port::ECHO, port::SINK, port::MEGABYTE, port::ENDLESS, port::STALLED];
        let ports = ports.map(|port| (port, SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        let config = ServiceNodeConfig {
            services: vec![ServiceSetting { address: service_address(), config, ports: ServicePorts::new(ports) }],
            document: document.clone(),
            guards: Guards::new(network, 2).expect("two"),
            rules: PathRules::new(3, 2).expect("a tunnel").relaxed(setting.relaxation),
            ipv4: true,
            mode: setting.service_mode.unwrap_or(setting.mode),
            slot: SlotLength::DEFAULT,
            base: setting.class,
            fastest: setting.class,
            session_timeout: setting.session_timeout,
            memory_max: setting.memory_max,
            tunnels_max: setting.service_tunnels,
            max_flows: FLOWS,
            hops: None,
            seed: [setting.seed as u8; 32],
        };
        let mut node = ServiceNode::new(config, now).expect("a service");
        let (shaped, unshaped) = memory_queues::pair(FLOWS, RING);
        node.attach_queues(now, shaped);
        node.handle_directory_time(now, now.unix_s * 1_000);
        Self {
            node,
            servers: Unshaped::new(unshaped, false),
            address: SocketAddr::from(([198, 51, 100, 9], 40_001)),
            is_dead: false,
            place,
            secret: ServiceSecret::from_seed(SEED),
            records,
            published: 0,
            made: 0,
            due: Due::default(),
        }
    }

    pub(super) fn poll_timeout(&mut self, now: Now, grid: &Grid) -> Option<Instant> {
        let next = match self.node.mode() {
            Mode::Off => self.due.known(self.servers.rings()).unwrap_or_else(|| self.node.poll_timeout(now)),
            // Its own times are those of slots.
            _ => self.next_slot(now.instant, grid).map(|slot| grid.instant_of(slot)),
        };
        next.filter(|_| !self.is_dead)
    }

    /// Somebody may have changed something in it.
    pub(super) fn touch(&mut self) {
        self.due.touch();
    }

    fn next_slot(&self, now: Instant, grid: &Grid) -> Option<u64> {
        self.node.next_busy_slot(grid.next_slot(now).max(self.made + 1))
    }

    pub(super) fn handle_packet(&mut self, now: Now, from: SocketAddr, packet: &mut [u8]) {
        if !self.is_dead {
            self.touch();
            self.node.handle_packet(now, from, false, packet);
            self.node.settle(now);
        }
    }

    pub(super) fn act(&mut self, now: Now, grid: &Grid, network: &mut Network) {
        if self.is_dead {
            return;
        }
        if self.node.mode() == Mode::Off {
            if self.due.rests(now.instant, self.servers.rings()) {
                return;
            }
            self.node.handle_timeout_if_due(now);
            self.node.handle_queues(now);
        } else if let Some(slot) = self.next_slot(now.instant, grid)
            && grid.instant_of(slot) <= now.instant
        {
            self.made = slot;
            self.node.handle_timeout(now);
            self.node.handle_queues(now);
            let mut plan = SlotPlan::default();
            self.node.prepare_slot(now, slot, false, &|_| 0, &mut plan);
            for run in plan.runs {
                for packet in run.packets.chunks(PacketSize::DEFAULT.packet()) {
                    network.send(self.address, run.to.to, packet);
                }
            }
        }
        while let Some(order) = self.node.poll_publication(now) {
            let (day, mut record) = (order.publication.day, order.publication.record);
            let network = self.node.document().expect("it has one").network_id();
            record.signature = DaySecret::new(&self.secret, network, day).sign(&record.message(network));
            let revision = record.revision;
            self.records.borrow_mut().insert(record.key, record);
            self.published += 1;
            self.node.handle_published(now, order.service, day, revision, true);
        }
        while self.node.poll_event().is_some() {}
        if self.node.mode() != Mode::Off {
            return;
        }
        let mut out = Vec::new();
        while let Some(to) = self.node.poll_transmit(now, super::BATCH, &mut out) {
            for packet in out.chunks(PacketSize::DEFAULT.packet()) {
                network.send(self.address, to.to, packet);
            }
            out.clear();
        }
        self.due.set(self.node.poll_timeout(now));
    }

    /// The directory's time goes on.
    pub fn tell_time(&mut self, now: Now) {
        self.node.handle_directory_time(now, now.unix_s * 1_000);
    }

    /// How long it takes until a record is out, generously.
    pub const PATIENCE: Duration = Duration::from_secs(30);
}
