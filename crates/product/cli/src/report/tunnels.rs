//! Tunnels over circuits: of an entry, its own; of an exit and a service, how many there are. What they hold.

use admin::peers::Neighbour;
use admin::status::{EntryTunnel, ExitTunnels, HeldMemory, Leg, Memory};
use shaped_tunnel::{
    CircuitsStatus, ExitFigures, ExitNeighbour, MemoryAccount, ShapedStatus, TunnelHolder, TunnelStatus,
};

/// Tunnels that are shown.
const TUNNELS_SHOWN: usize = 8;
/// Legs that are shown: eight, and as many on their way out.
const LEGS_SHOWN: usize = 16;
/// Relays of a leg that are shown.
const HOPS_OF_LEG: usize = 3;
/// Neighbours of an exit that are shown.
const NEIGHBOURS_SHOWN: usize = 128;

/// The tunnels of an entry, those in use first.
pub(super) fn entry_tunnels(circuits: &CircuitsStatus) -> Option<EntryTunnel> {
    let mut tunnels: Vec<&TunnelStatus> = circuits.tunnels.iter().collect();
    tunnels.sort_by_key(|tunnel| match tunnel.holder {
        TunnelHolder::Group => 0,
        TunnelHolder::Pool => 1,
        TunnelHolder::Service => 2,
        TunnelHolder::Nobody => 3,
    });
    let mut tunnels = tunnels.into_iter().take(TUNNELS_SHOWN).map(|tunnel| entry_tunnel(tunnel, circuits));
    let first = tunnels.next()?;
    Some(EntryTunnel { others: tunnels.collect(), ..first })
}

fn entry_tunnel(tunnel: &TunnelStatus, circuits: &CircuitsStatus) -> EntryTunnel {
    let total = tunnel.legs.iter().fold(0_u64, |sum, leg| sum.saturating_add(leg.data_cells));
    let legs = tunnel.legs.iter().take(LEGS_SHOWN).map(|leg| Leg {
        number: leg.leg,
        state: leg.state.clone(),
        path: leg.path.iter().take(HOPS_OF_LEG).cloned().collect(),
        way: leg.way.clone(),
        rtt_us: leg.rtt_us,
        share: (leg.leg.is_some() && total > 0).then(|| leg.data_cells as f64 / total as f64),
        data_cells: leg.data_cells,
        received: leg.received,
        loss_per_mille: leg.loss_per_mille,
    });
    let held = match tunnel.holder {
        TunnelHolder::Group => "in use",
        TunnelHolder::Pool => "ready",
        TunnelHolder::Service => "service",
        TunnelHolder::Nobody => "retired",
    };
    EntryTunnel {
        number: tunnel.number,
        held: held.to_owned(),
        tunnels: circuits.made,
        session_up: tunnel.session_up,
        rtt_us: (tunnel.session_rtt_us > 0).then_some(tunnel.session_rtt_us),
        switches: tunnel.switches,
        memory: held_memory(&tunnel.memory),
        legs: legs.collect(),
        refusal: circuits.refusal.clone(),
        others: Vec::new(),
    }
}

/// What tunnels over circuits hold, if the node has any.
pub(super) fn tunnel_memory(shaped: Option<&ShapedStatus>) -> Memory {
    let has_tunnels = |shaped: &&ShapedStatus| shaped.exit.is_some() || shaped.node.circuits.is_some();
    let Some(shaped) = shaped.filter(has_tunnels) else { return Memory::default() };
    Memory {
        held: Some(held_memory(&shaped.node.memory)),
        held_peak_bytes: Some(shaped.node.memory_peak),
        flows_cut: shaped.node.counters.get("flows_cut_for_memory").copied(),
        sessions_cut: shaped.node.counters.get("sessions_cut_for_memory").copied(),
        ..Memory::default()
    }
}

fn held_memory(account: &MemoryAccount) -> HeldMemory {
    let MemoryAccount { reorder, unread, unacknowledged, waiting, legs, handshakes, overhead, queues } = *account;
    HeldMemory { reorder, unread, unacknowledged, waiting, legs, handshakes, overhead, queues }
}

/// What ends and goes through at an exit over circuits.
pub(super) fn exit_tunnels(exit: &ExitFigures) -> ExitTunnels {
    ExitTunnels {
        links: exit.links as u64,
        circuits: u64::from(exit.circuits),
        tunnels: exit.tunnels.tunnels as u64,
        sessions: exit.tunnels.sessions as u64,
        legs: exit.tunnels.legs as u64,
    }
}

/// The relays at the other ends of an exit's links.
pub(super) fn exit_neighbours(exit: &ExitFigures) -> Vec<Neighbour> {
    let row = |neighbour: &ExitNeighbour| Neighbour {
        node_id: neighbour.node.clone(),
        answers: neighbour.answers,
        dialled: neighbour.dialled,
        rtt_us: neighbour.rtt_us,
        loss_per_mille: Some(neighbour.loss_per_mille.into()),
        hops: neighbour.hops,
    };
    exit.neighbours.iter().take(NEIGHBOURS_SHOWN).map(row).collect()
}
