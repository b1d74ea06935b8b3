//! What differs at an entry over circuits.

use super::{NodeConfig, NodeEvent, ShapedNode, Side};
use crate::circuits::{
    Circuits, DocumentRefused, Group, NextDocument, Outlet, PoolConfig, SeekRefused, ServiceState, ServiceWish,
    SessionSetting, SlotOutlet, Took, TunnelHolder, TunnelId, TunnelStatus, TunnelsFull, Uplink,
};
use crate::flow::{Far, Flow, Owner};
use crate::pacing::{Ceilings, Grounds, Traffic};
use crate::queues::FlowQueues;
use crate::tunnel::{Portions, Tunnel};
use identity::{DoorKey, LinkSecret, NodeSecret};
use link::{LinkId, Now, Route};
use network_document::NetworkDocument;
use onion_service::ServiceAddress;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use std::time::{Duration, Instant};
use tunnel_plan::{PathRules, Refusal};
use wire::cell::CellHead;
use wire::flow::Syn;
use wire::local::QueueRef;

/// A cell and its answer wait for a slot at each end, and for another if that one is taken.
const SLOTS_OF_A_ROUND_TRIP: u32 = 4;

/// The part of a node over circuits, if it is one. Its endpoint is nobody's: all keys are made for this process alone.
pub(super) fn circuits_of(config: &mut NodeConfig, now: Now, rng: &mut ChaCha20Rng) -> Option<Circuits> {
    let mut random = || {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    let Side::Circuits(circuits) = &mut config.side else { return None };
    let mut circuits = circuits.take()?;
    // A service node keeps no tunnels of its own.
    if config.mode.is_shaped() && circuits.pool != PoolConfig::NONE {
        circuits.pool = PoolConfig::ONE;
    }
    let network = circuits.document.charter().network();
    (config.network_id, config.packet_size) = (network.id, network.packet_size);
    config.node_secret = NodeSecret::from_seed(random());
    config.link_secret = LinkSecret::from_bytes(random());
    config.door_key = DoorKey::from_bytes(random());
    let shaped = config.mode.is_shaped();
    let (up, down) = (circuits.up, circuits.down);
    let session = SessionSetting {
        packet_max: config.packet_size.session_packet(),
        max_flows: config.max_flows,
        timeout: config.session_timeout,
        rate: if shaped { up.max(down).bits_per_second() } else { u64::MAX },
        slack: if shaped { SLOTS_OF_A_ROUND_TRIP * config.slot.duration() } else { Duration::ZERO },
    };
    let uplink = shaped.then(|| {
        let grounds = Grounds {
            ceilings: Ceilings { own: up, other: down },
            slot: config.slot,
            session_packet: session.packet_max,
            from_slot: 0,
            unix_s: now.unix_s,
        };
        Uplink::new(config.mode, &config.pacing, grounds, circuits.rules.legs())
    });
    Some(Circuits::new(now, *circuits, session, uplink, random()))
}

impl<Q: FlowQueues> ShapedNode<Q> {
    pub(crate) fn handle_circuit_cell(&mut self, now: Now, link: LinkId, head: CellHead, region: &mut [u8]) {
        // The packet that brought a link up may carry its first cell.
        self.settle_links(now);
        let took = self.circuits.as_mut().map(|circuits| circuits.handle_cell(now, link, head, region));
        match took {
            Some(Took::Known) | None => {}
            Some(Took::Unknown) => self.counters.unknown_circuit += 1,
            Some(Took::Bad) => self.counters.bad_cells += 1,
        }
    }

    pub(super) fn advance_circuits(&mut self, now: Now) {
        let Some(circuits) = &mut self.circuits else { return };
        circuits.advance(now, &mut self.endpoint, &mut self.near);
        for event in circuits.take_events() {
            self.note(event);
        }
    }

    /// The unshaped process opened a flow.
    pub(super) fn handle_syn_over_circuits(&mut self, now: Now, queue: QueueRef, syn: Syn) {
        let Some(circuits) = &mut self.circuits else { return };
        let owner = match circuits.owner_of(now, &syn) {
            Ok(owner) => owner,
            Err(reason) => {
                let flow = Flow::new(queue, Owner::Group(Group(syn.client)), syn.client, syn.kind, Far::Gone);
                if self.near.insert(flow) {
                    self.near.reset(queue.index, reason);
                }
                return;
            }
        };
        let is_of_service = circuits.is_of_service(owner);
        let tunnel = if let Owner::Tunnel(number) = owner { circuits.tunnel_mut(number) } else { None };
        match tunnel {
            Some(tunnel) => tunnel.handle_syn(queue, syn, &mut self.near),
            None => {
                let flow = Flow::new(queue, owner, syn.client, syn.kind, Far::Waiting(syn));
                self.near.insert(flow);
            }
        }
        // Whoever seeks a service gives up by itself.
        if !is_of_service {
            self.note_if_waiting(now, queue);
        }
    }

    /// Lets edges of the direction up pass.
    pub(super) fn step_uplink(&mut self, now: Now, slot: u64) {
        let traffic = self.traffic_over_circuits(now, slot);
        let Some(uplink) = self.circuits.as_mut().and_then(Circuits::uplink_mut) else { return };
        let edge = uplink.poll(slot, now.unix_s, traffic, &mut self.noise);
        if let Some(class) = edge.class {
            self.note(NodeEvent::UplinkFollowed(class));
        }
        for (link, class) in edge.capped {
            self.note(NodeEvent::ClassChanged(link, class));
        }
        if edge.epoch_began {
            self.admit_again(now, is_over_circuits);
        }
    }

    /// What the rule of the direction up may know before its next release, where it asks.
    fn traffic_over_circuits(&mut self, now: Now, slot: u64) -> Traffic {
        let uplink = self.circuits.as_mut().and_then(Circuits::uplink_mut);
        let Some(uplink) = uplink.filter(|uplink| uplink.looks_at_traffic(slot, now.unix_s)) else {
            return Traffic::default();
        };
        let sent = std::mem::take(&mut uplink.sent_bytes);
        let tunnels = self.circuits.iter_mut().flat_map(Circuits::tunnels_mut);
        let unsent: u64 = tunnels.map(|tunnel: &mut Tunnel| tunnel.session.unsent_bytes()).sum();
        Traffic { backlog: unsent + self.near.waiting_of(is_over_circuits), sent }
    }

    /// One packet of a slot of a guard's link.
    pub(crate) fn fill_cell_over_circuits(&mut self, now: Now, link: LinkId, out: &mut Vec<u8>) -> Option<Route> {
        let circuits = self.circuits.as_mut()?;
        let (scratch, counters) = (&mut self.scratch, &mut self.counters);
        let mut outlet = SlotOutlet { endpoint: &mut self.endpoint, scratch, counters };
        circuits.fill_slot(now, &mut self.near, link, &mut outlet, out)
    }

    /// Cover that stands ready for a packet of a slot.
    pub(crate) fn seal_spare_over_circuits(&mut self, now: Now, link: LinkId, out: &mut Vec<u8>) -> Option<Route> {
        self.circuits.as_mut()?.seal_spare(now, link, &mut self.endpoint, out)
    }

    /// One batch of what leaves now, all for one route.
    pub(super) fn poll_circuits(&mut self, now: Now, max: usize, out: &mut Vec<u8>) -> Option<Route> {
        let circuits = self.circuits.as_mut()?;
        let mut outlet = Outlet {
            endpoint: &mut self.endpoint,
            ready: &mut self.held,
            scratch: &mut self.scratch,
            data_cells: &mut self.counters.data_cells,
            cover_cells: &mut self.counters.cover_cells,
            link_cells: &mut self.counters.link_cells,
        };
        circuits.fill(now, &mut self.near, Portions::OFF, max, &mut outlet);
        let (to, batch) = self.held.pop_front()?;
        out.extend_from_slice(&batch);
        Some(to)
    }

    // --- tunnels over circuits, for whoever hands them out ---

    /// The document that the node goes by; none of a node without circuits.
    pub fn document(&self) -> Option<&NetworkDocument> {
        self.circuits.as_ref().map(Circuits::document)
    }

    /// Goes by a later document of the same network from now on. It retires what it must and nothing else: legs over a relay that is
    /// gone, which are replaced gently, and tunnels whose exit is gone, which finish their flows.
    ///
    /// # Errors
    /// [`DocumentRefused`]; nothing has changed then.
    pub fn set_document(&mut self, now: Now, next: NextDocument) -> Result<(), DocumentRefused> {
        let circuits = self.circuits.as_mut().ok_or(DocumentRefused::NoCircuits)?;
        circuits.set_document(now, next, &mut self.near)?;
        self.settle(now);
        Ok(())
    }

    /// The tunnel of a group, which takes one that is ready if it has none. `None`: none is up. Flows whose SYN has the group's
    /// number for a client go there ([`crate::Isolation::Clients`]).
    pub fn take_tunnel(&mut self, now: Instant, group: Group) -> Option<TunnelId> {
        let circuits = self.circuits.as_mut()?;
        circuits.take(now, group)?;
        circuits.tunnel_of(group)
    }

    /// The tunnel that a group has, once it is up.
    pub fn tunnel_of(&self, group: Group) -> Option<TunnelId> {
        self.circuits.as_ref()?.tunnel_of(group)
    }

    /// Makes a tunnel for a group now, by rules of its own, and returns its number. What the group had before is retired.
    ///
    /// # Errors
    /// When there are as many tunnels as there may be.
    pub fn launch_tunnel(&mut self, now: Now, group: Group, rules: PathRules) -> Result<u64, TunnelsFull> {
        let circuits = self.circuits.as_mut().ok_or(TunnelsFull)?;
        let number = circuits.launch(now.instant, group, rules, &mut self.near)?;
        self.settle(now);
        Ok(number)
    }

    /// The tunnel of a group to a service, by its number. Without one the service is sought from now on;
    /// [`ShapedNode::service_state`] says what comes of it. Flows to the address whose SYN has the group's number for a client go there.
    ///
    /// # Errors
    /// [`SeekRefused`].
    pub fn seek_service(&mut self, now: Now, address: ServiceAddress, wish: ServiceWish) -> Result<u64, SeekRefused> {
        let circuits = self.circuits.as_mut().ok_or(SeekRefused::Tunnels(TunnelsFull))?;
        let number = circuits.wish(now, address, wish)?;
        self.settle(now);
        Ok(number)
    }

    /// What came of [`ShapedNode::seek_service`].
    pub fn service_state(&self, number: u64) -> ServiceState {
        self.circuits.as_ref().map_or(ServiceState::Over(None), |circuits| circuits.service_state(number))
    }

    /// Lets the flows of a tunnel finish and gives it no new ones.
    pub fn retire_tunnel(&mut self, number: u64) {
        if let Some(circuits) = &mut self.circuits {
            circuits.retire(number, &mut self.near);
        }
    }

    /// What is known of a tunnel; `None` when it is over.
    pub fn tunnel_status(&self, id: TunnelId) -> Option<TunnelStatus> {
        self.circuits.as_ref()?.tunnel_status(id, &self.near)
    }

    /// Whose a tunnel is; `None` when it is over.
    pub fn tunnel_holder(&self, id: TunnelId) -> Option<TunnelHolder> {
        self.circuits.as_ref()?.holder_of(id)
    }

    /// Whose each tunnel is, and whether it is up.
    pub fn tunnel_holders(&self) -> impl Iterator<Item = (TunnelHolder, bool)> + '_ {
        self.circuits.iter().flat_map(Circuits::holders)
    }

    /// Why a tunnel has no path, if the network has none for it.
    pub fn refusal_of(&self, number: u64) -> Option<Refusal> {
        self.circuits.as_ref()?.refusal_of(number)
    }

    /// Why no tunnel can be ready, if the network has no paths for any.
    pub fn pool_refusal(&self) -> Option<Refusal> {
        self.circuits.as_ref()?.pool_refusal()
    }
}

fn is_over_circuits(owner: Owner) -> bool {
    matches!(owner, Owner::Tunnel(_) | Owner::Group(_))
}
