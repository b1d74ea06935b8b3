//! What differs at an entry over circuits.

use super::{NodeConfig, ShapedNode, Side};
use crate::circuits::{COMMON, Circuits, Outlet, SessionSetting, Took};
use crate::flow::{Far, Flow, Owner};
use crate::queues::FlowQueues;
use crate::tunnel::Portions;
use identity::{DoorKey, LinkSecret, NodeSecret};
use link::{LinkId, Now, Route};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::Rng;
use wire::cell::CellHead;
use wire::flow::Syn;
use wire::local::QueueRef;

/// The part of a node over circuits, if it is one. Its endpoint is nobody's: all keys are made for this process alone.
pub(super) fn circuits_of(config: &mut NodeConfig, now: Now, rng: &mut ChaCha20Rng) -> Option<Circuits> {
    let mut random = || {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    let Side::Circuits(circuits) = &mut config.side else { return None };
    let circuits = circuits.take()?;
    debug_assert!(!config.mode.is_shaped(), "circuits have no slots yet");
    let network = circuits.document.charter().network();
    (config.network_id, config.packet_size) = (network.id, network.packet_size);
    config.node_secret = NodeSecret::from_seed(random());
    config.link_secret = LinkSecret::from_bytes(random());
    config.door_key = DoorKey::from_bytes(random());
    let session = SessionSetting {
        packet_max: config.packet_size.session_packet(),
        max_flows: config.max_flows,
        timeout: config.session_timeout,
        congestion: config.congestion,
    };
    Some(Circuits::new(now, *circuits, session, random()))
}

impl<Q: FlowQueues> ShapedNode<Q> {
    pub(super) fn handle_circuit_cell(&mut self, now: Now, link: LinkId, head: CellHead, region: &mut [u8]) {
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
        match self.circuits.as_mut().and_then(|circuits| circuits.tunnel_mut(COMMON)) {
            Some(tunnel) => tunnel.handle_syn(queue, syn, &mut self.near),
            None => {
                let flow = Flow::new(queue, Owner::Tunnel(COMMON), syn.client, syn.kind, Far::Waiting(syn));
                self.near.insert(flow);
            }
        }
        self.note_if_waiting(now, queue);
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
}
