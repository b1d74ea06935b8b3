//! The entry, driven as its shell does: without slots it sends what there is; with slots packets are made a lead time before each
//! busy slot and leave at the slot, and queues are read when packets are made and at no other time.

use super::due::Due;
use super::{BATCH, FLOWS, RING, Setting};
use crate::apps::Unshaped;
use crate::leaks::Leak;
use crate::memory_queues::{self, MemoryQueues};
use identity::{AccessSecret, DoorKey, LinkSecret, NodeSecret};
use link::Now;
use network_document::NetworkDocument;
use session::CongestionControl;
use shaped_node::{CircuitsConfig, NearEnd, NodeConfig, NodeEvent, Run, ServicesConfig, ShapedNode, Side, SlotPlan};
use shaping::{Grid, SlotLength};
use simnet::Network;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tunnel_plan::{Guards, PathRules, Target};
use wire::packet::PacketSize;

/// How long before its slot a packet is made.
const LEAD: Duration = Duration::from_millis(1);

/// The entry with its applications.
pub struct EntryHost {
    /// The node under test.
    pub node: ShapedNode<MemoryQueues>,
    /// Its applications.
    pub unshaped: Unshaped,
    /// Events, as they came.
    pub events: Vec<(Duration, NodeEvent)>,
    /// The text of the guards' file, as it was stored last.
    pub guards: Option<String>,
    /// Where it sends from, at its first end.
    pub address: SocketAddr,
    /// The same of every end.
    pub addresses: Vec<SocketAddr>,
    pub(super) places: Vec<simnet::NodeId>,
    leak: Option<Leak>,
    ready: Option<(Instant, Vec<Run>)>,
    made: Option<u64>,
    /// In mode `off`.
    due: Due,
}

impl EntryHost {
    pub(super) fn new(
        setting: &Setting,
        document: &NetworkDocument,
        now: Now,
        places: Vec<simnet::NodeId>,
        stored: Option<String>,
    ) -> Self {
        let circuits = circuits_config(setting, document, places.len(), stored.as_deref());
        let config = node_config(setting, circuits);
        let mut node = ShapedNode::new(config, now, [], setting.noise.source(setting.seed, &setting.pacing));
        let (shaped, unshaped) = memory_queues::pair(FLOWS, RING);
        node.attach_queues(now, shaped);
        let address = |end| SocketAddr::from(([198, 51, 100 + end as u8, 7], 40_000));
        let addresses: Vec<SocketAddr> = (0..places.len()).map(address).collect();
        Self {
            node,
            unshaped: Unshaped::new(unshaped, true),
            events: Vec::new(),
            guards: stored,
            address: addresses[0],
            addresses,
            places,
            leak: setting.leak,
            ready: None,
            made: None,
            due: Due::default(),
        }
    }

    /// A named count of the node's status.
    pub fn count(&self, name: &str) -> u64 {
        self.node.status().counters.get(name).copied().unwrap_or(0)
    }

    /// Somebody may have changed something in it.
    pub(super) fn touch(&mut self) {
        self.due.touch();
    }

    /// When it has something to do.
    pub(super) fn poll_timeout(&mut self, now: Now, grid: &Grid) -> Option<Instant> {
        if !self.node.mode().is_shaped() {
            return self.due.known(self.unshaped.rings()).unwrap_or_else(|| self.node.poll_timeout());
        }
        let make = self.next_slot(now.instant, grid).map(|slot| make_at(grid, slot));
        make.into_iter().chain(self.ready.as_ref().map(|(at, _)| *at)).min()
    }

    /// As the loop of the mode does.
    pub(super) fn act(&mut self, now: Now, grid: &Grid, network: &mut Network) {
        if self.node.mode().is_shaped() {
            self.act_shaped(now, grid, network);
        } else {
            self.act_off(now, network);
        }
        while let Some(event) = self.node.poll_event() {
            if let NodeEvent::GuardsChanged(text) = &event {
                self.guards = Some(text.clone());
            }
            self.events.push((network.elapsed(), event));
        }
    }

    fn act_off(&mut self, now: Now, network: &mut Network) {
        if self.due.rests(now.instant, self.unshaped.rings()) {
            return;
        }
        self.node.handle_timeout_if_due(now);
        self.node.handle_queues(now);
        let mut out = Vec::new();
        while let Some(to) = self.node.poll_transmit(now, BATCH, &mut out) {
            for packet in out.chunks(PacketSize::DEFAULT.packet()) {
                network.send(self.addresses[to.via.0 as usize], to.to, packet);
            }
            out.clear();
        }
        self.due.set(self.node.poll_timeout());
    }

    fn act_shaped(&mut self, now: Now, grid: &Grid, network: &mut Network) {
        if let Some((_, runs)) = self.ready.take_if(|(at, _)| *at <= now.instant) {
            for run in runs {
                for packet in run.packets.chunks(PacketSize::DEFAULT.packet()) {
                    network.send(self.addresses[run.to.via.0 as usize], run.to.to, packet);
                }
            }
        }
        if let Some(slot) = self.next_slot(now.instant, grid)
            && make_at(grid, slot) <= now.instant
        {
            self.make_slot(now, slot, grid);
        }
    }

    fn next_slot(&self, now: Instant, grid: &Grid) -> Option<u64> {
        let reachable = grid.next_slot(now).max(self.made.map_or(0, |made| made + 1));
        self.node.next_busy_slot(reachable)
    }

    fn make_slot(&mut self, now: Now, slot: u64, grid: &Grid) {
        self.made = Some(slot);
        let data_before = self.count("data_cells_sent");
        self.node.handle_timeout(now);
        self.node.handle_queues(now);
        let mut plan = SlotPlan::default();
        self.node.prepare_slot(now, slot, false, &|_| 0, &mut plan);
        let mut at = grid.instant_of(slot);
        if self.leak == Some(Leak::LaterWithData) && self.count("data_cells_sent") > data_before {
            at += Duration::from_micros(50);
        }
        self.ready = Some((at, plan.runs));
    }
}

/// What a node at this entry knows of its circuits. `stored`: the guards' file.
fn circuits_config(setting: &Setting, document: &NetworkDocument, ends: usize, stored: Option<&str>) -> CircuitsConfig {
    let network = document.network_id();
    let guards = stored.map(|text| Guards::parse(text, network).expect("what was stored"));
    let guards = guards.unwrap_or_else(|| Guards::new(network, setting.legs).expect("1 to 8 legs"));
    let target = if setting.service { Target::ExitAndDirectory } else { Target::Exit };
    let rules = match setting.hops {
        1 => PathRules::direct(setting.legs),
        hops => PathRules::new(hops, setting.legs),
    };
    let rules = rules.expect("a tunnel").relaxed(setting.relaxation).to(target);
    CircuitsConfig {
        document: document.clone(),
        guards,
        rules,
        exit: None,
        near: (0..ends).map(|end| NearEnd { ipv4: true, port: 40_000, name: format!("end {end}") }).collect(),
        pool: setting.pool,
        services: setting.service.then(|| services(setting)),
        memory_max: setting.memory_max,
        up: setting.class,
        down: setting.class,
    }
}

fn node_config(setting: &Setting, circuits: CircuitsConfig) -> NodeConfig {
    let mut seed = [77; 32];
    seed[..8].copy_from_slice(&setting.seed.to_be_bytes());
    NodeConfig {
        side: Side::Circuits(Some(Box::new(circuits))),
        mode: setting.mode,
        pacing: setting.pacing.clone(),
        packet_size: PacketSize::DEFAULT,
        slot: SlotLength::DEFAULT,
        network_id: [0; 32],
        node_secret: NodeSecret::from_seed([99; 32]),
        link_secret: LinkSecret::from_bytes([99; 32]),
        door_key: DoorKey::from_bytes([99; 32]),
        session_timeout: setting.session_timeout,
        max_flows: FLOWS,
        congestion: CongestionControl::Bbr,
        hops: None,
        seed,
    }
}

fn services(setting: &Setting) -> ServicesConfig {
    ServicesConfig { access: setting.access.map(AccessSecret::from_bytes) }
}

fn make_at(grid: &Grid, slot: u64) -> Instant {
    let at = grid.instant_of(slot);
    at.checked_sub(LEAD).unwrap_or(at)
}
