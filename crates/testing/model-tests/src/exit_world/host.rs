//! A service node with what its supervisor does for it: lasting secrets, a directory, the directory's time.

use super::{LATENCY, Packet};
use crate::apps::{Unshaped, port};
use crate::memory_queues::{self, MemoryQueues};
use identity::ServiceSecret;
use link::Now;
use network_document::NetworkDocument;
use onion_service::{DaySecret, ServiceAddress, ServiceConfig};
use relay_directory::ServiceRecord;
use shaped_node::{
    Mode, NodeEvent, PublicationOrder, Run, ServiceNode, ServiceNodeConfig, ServiceNodeEvent, ServicePorts,
    ServiceSetting, SlotPlan,
};
use shaping::{RateClass, SlotLength};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tunnel_plan::{Guards, PathRules, Relaxation};

/// Queue pairs.
pub(super) const QUEUES: u16 = 32;
/// Bytes of a ring.
const RING: usize = 64 * 1024;
const SEED: [u8; 32] = [0x6e; 32];
/// How long a record takes to the directory and back.
const PUBLISHING: Duration = Duration::from_millis(50);
const SLOT_MS: u32 = 5;

/// What kind of node it is to be.
#[derive(Debug, Clone)]
pub struct HostSettings {
    /// Services.
    pub services: usize,
    /// Off or constant.
    pub mode: Mode,
    /// Tunnels at a time.
    pub tunnels_max: usize,
    /// Introductions a second of each point.
    pub introductions_per_second: u32,
    /// How long a record is good.
    pub record_life: Duration,
}

impl Default for HostSettings {
    fn default() -> Self {
        Self {
            services: 1,
            mode: Mode::Off,
            tunnels_max: 16,
            introductions_per_second: 10,
            record_life: Duration::from_secs(3 * 3_600),
        }
    }
}

/// A service node.
pub struct Host {
    /// Its core.
    pub node: ServiceNode<MemoryQueues>,
    pub(super) address: SocketAddr,
    /// The servers behind it.
    pub servers: Unshaped,
    /// What it sent, if that is wanted: when, where to, how long.
    pub sent: Option<Vec<(Instant, SocketAddr, usize)>>,
    /// Whether records are taken.
    pub is_directory_up: bool,
    /// What lies in the directory.
    pub directory: BTreeMap<[u8; 32], ServiceRecord>,
    /// How often a record was taken.
    pub published: u64,
    /// The newest text of its guards' file.
    pub guards: Option<String>,
    orders: Vec<(Instant, PublicationOrder)>,
    time: (u64, Instant),
    /// When it began: its slots are counted from then.
    pub began: Instant,
    slots: Option<Slots>,
    network: network_document::NetworkId,
}

/// Its slot clock: everything leaves at its slot, in time.
struct Slots {
    start: Instant,
    slot: Duration,
    made: u64,
    plan: SlotPlan,
    packet_bytes: usize,
}

/// The lasting secret of a service.
pub fn service_secret(service: usize) -> ServiceSecret {
    ServiceSecret::from_seed([0x70 + service as u8; 32])
}

/// Its address.
pub fn service_address(service: usize) -> ServiceAddress {
    ServiceAddress(service_secret(service).public_key())
}

/// The first service has all servers; the second one has the echo behind port 80.
fn ports(service: usize) -> ServicePorts {
    let server = |number: u16| SocketAddr::from(([127, 0, 0, 1], number));
    match service {
        0 => {
            ServicePorts::new([port::ECHO, port::SINK, port::MEGABYTE, port::ENDLESS].map(|port| (port, server(port))))
        }
        _ => ServicePorts::new([(80, server(port::ECHO))]),
    }
}

impl Host {
    pub(super) fn new(now: Now, document: &NetworkDocument, address: SocketAddr, settings: &HostSettings) -> Self {
        let network = document.network_id();
        let setting = |service| ServiceSetting {
            address: service_address(service),
            config: ServiceConfig {
                introductions_per_second: settings.introductions_per_second,
                record_life: settings.record_life,
                ..ServiceConfig::new(network)
            },
            ports: ports(service),
        };
        let slot = SlotLength::from_millis(SLOT_MS).expect("5 ms");
        let config = ServiceNodeConfig {
            services: (0..settings.services).map(setting).collect(),
            document: document.clone(),
            guards: Guards::new(network, 2).expect("two guards"),
            rules: PathRules::new(3, 2).expect("two guards").relaxed(Relaxation::SharedOperators),
            ipv4: true,
            mode: settings.mode,
            slot,
            base: RateClass::SLOWEST,
            fastest: RateClass::at_least(2_000_000).expect("a class"),
            session_timeout: Duration::from_secs(10),
            memory_max: shaped_node::memory::MEMORY_MAX,
            tunnels_max: settings.tunnels_max,
            max_flows: QUEUES,
            hops: None,
            seed: SEED,
        };
        let mut node = ServiceNode::new(config, now).expect("a good configuration");
        let (shaped, unshaped) = memory_queues::pair(QUEUES, RING);
        node.attach_queues(now, shaped);
        let packet_bytes = document.charter().packet_size().packet();
        let slots = settings.mode.is_shaped().then(|| Slots {
            start: now.instant,
            slot: slot.duration(),
            made: 0,
            plan: SlotPlan::default(),
            packet_bytes,
        });
        let time = (now.unix_s * 1_000, now.instant);
        node.handle_directory_time(now, time.0);
        Self {
            node,
            address,
            servers: Unshaped::new(unshaped, false),
            sent: None,
            is_directory_up: true,
            directory: BTreeMap::new(),
            published: 0,
            guards: None,
            orders: Vec::new(),
            time,
            began: now.instant,
            slots,
            network,
        }
    }

    /// The directory's time, in milliseconds since 1970 UTC.
    pub fn directory_ms(&self, now: Now) -> u64 {
        self.time.0 + now.instant.duration_since(self.time.1).as_millis() as u64
    }

    pub(super) fn next_time(&mut self, now: Now) -> Option<Instant> {
        let order = self.orders.first().map(|(at, _)| *at);
        let next = match &self.slots {
            // Under a schedule its own times are those of slots.
            Some(slots) => slots.next(now.instant, &self.node).map(|(_, at)| at),
            None => self.node.poll_timeout(now),
        };
        [next, order].into_iter().flatten().min()
    }

    pub(super) fn pump(&mut self, now: Now, out: &mut Vec<Packet>) {
        self.node.settle(now);
        self.answer_directory(now);
        match self.slots.take() {
            Some(mut slots) => {
                self.turn(now, &mut slots, out);
                self.slots = Some(slots);
            }
            None => {
                self.node.handle_timeout_if_due(now);
                self.node.handle_queues(now);
                let mut bytes = Vec::new();
                while let Some(route) = self.node.poll_transmit(now, 64, &mut bytes) {
                    self.leave(now, route.to, &std::mem::take(&mut bytes), out);
                }
            }
        }
        while let Some(order) = self.node.poll_publication(now) {
            self.orders.push((now.instant + PUBLISHING, order));
        }
        while let Some(event) = self.node.poll_event() {
            if let ServiceNodeEvent::Node(NodeEvent::GuardsChanged(text)) = event {
                self.guards = Some(text);
            }
        }
        while self.node.poll_socket_order().is_some() {}
    }

    fn leave(&mut self, now: Now, to: SocketAddr, packets: &[u8], out: &mut Vec<Packet>) {
        for packet in packets.chunks(self.packet_bytes()) {
            if let Some(sent) = &mut self.sent {
                sent.push((now.instant, to, packet.len()));
            }
            out.push(Packet { from: self.address, to, bytes: packet.to_vec() });
        }
    }

    fn packet_bytes(&self) -> usize {
        self.node.document().map_or(1, |document| document.charter().packet_size().packet())
    }

    /// Signs what is to be signed, as a supervisor does, and answers.
    fn answer_directory(&mut self, now: Now) {
        while self.orders.first().is_some_and(|(at, _)| *at <= now.instant) {
            let (_, PublicationOrder { service, publication }) = self.orders.remove(0);
            let mut record = publication.record;
            let secret = DaySecret::new(&service_secret(service), self.network, publication.day);
            assert_eq!(record.key, secret.public_key(), "the record of another key");
            assert!(record.expires_ms > self.directory_ms(now));
            record.signature = secret.sign(&record.message(self.network));
            let revision = record.revision;
            if self.is_directory_up {
                self.published += 1;
                self.directory.insert(record.key, record);
            }
            self.node.handle_published(now, service, publication.day, revision, self.is_directory_up);
        }
    }

    fn turn(&mut self, now: Now, slots: &mut Slots, out: &mut Vec<Packet>) {
        let Some((slot, at)) = slots.next(now.instant, &self.node) else {
            self.node.handle_timeout_if_due(now);
            return self.node.handle_queues(now);
        };
        if at > now.instant {
            // As its process does: before the slot only packets count.
            return;
        }
        slots.made = slot;
        self.node.handle_timeout(now);
        self.node.handle_queues(now);
        self.node.prepare_slot(now, slot, false, &|_| 0, &mut slots.plan);
        for Run { to, packets, .. } in slots.plan.runs.drain(..) {
            assert_eq!(packets.len() % slots.packet_bytes, 0);
            self.leave(now, to.to, &packets, out);
        }
    }
}

impl Slots {
    fn time_of(&self, slot: u64) -> Instant {
        self.start + self.slot * u32::try_from(slot).expect("a short run")
    }

    fn next(&self, now: Instant, node: &ServiceNode<MemoryQueues>) -> Option<(u64, Instant)> {
        let passed = now.saturating_duration_since(self.start).as_nanos() / self.slot.as_nanos();
        let reachable = if self.time_of(passed as u64) < now { passed as u64 + 1 } else { passed as u64 };
        let slot = node.next_busy_slot(reachable.max(self.made + 1))?;
        Some((slot, self.time_of(slot)))
    }
}

const _: () = assert!(LATENCY.as_millis() > 0, "there is a network between them");
