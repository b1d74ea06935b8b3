//! What a service node says about itself. Nothing here names a client, a relay, or a service's address.

use super::ServiceNode;
use crate::exit::ExitStatus;
use crate::queues::FlowQueues;
use crate::status::NodeStatus;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The node in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceNodeStatus {
    /// Links and their cells.
    pub node: NodeStatus,
    /// Tunnels of clients.
    pub tunnels: ExitStatus,
    /// Circuits that are joined to clients'.
    pub joined: usize,
    /// Meetings under way.
    pub meetings: usize,
    /// The services, in the order of the configuration.
    pub services: Vec<HostedStatus>,
}

/// One service in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostedStatus {
    /// Introduction points that take introductions.
    pub points: usize,
    /// Those that are wanted.
    pub points_wanted: usize,
    /// For how many seconds more the directory has a record of it, by the directory's time; none: it has none.
    pub published_for_s: Option<u64>,
    /// Tunnels of clients.
    pub tunnels: usize,
    /// Open flows.
    pub flows: usize,
    /// Bits of work that the next records ask for.
    pub work_bits: u8,
    /// Introductions that were taken and refused, by name.
    pub introductions: BTreeMap<String, u64>,
}

impl<Q: FlowQueues> ServiceNode<Q> {
    /// What `status` shows, as things stood when the time was told last.
    pub fn status(&self) -> ServiceNodeStatus {
        let services = self.services.iter().enumerate().map(|(number, service)| {
            let figures = service.core.figures();
            let (tunnels, flows) = self.exit.served_as(number);
            let introductions = [
                ("accepted", figures.accepted),
                ("malformed", figures.malformed),
                ("forged", figures.forged),
                ("replayed", figures.replayed),
                ("too_fast", figures.too_fast),
                ("full", figures.full),
            ];
            HostedStatus {
                points: service.core.live_points(),
                points_wanted: service.points_wanted,
                published_for_s: service.published_for(self.now).map(|left| left.as_secs()),
                tunnels,
                flows,
                work_bits: service.core.work_bits(),
                introductions: introductions.map(|(name, count)| (name.to_owned(), count)).into(),
            }
        });
        let tunnels = self.exit.status();
        let mut node = self.node.status();
        node.flows = tunnels.flows;
        node.session_memory_max = tunnels.session_memory_max;
        (node.memory, node.memory_peak) = (tunnels.memory, tunnels.memory_peak);
        // The entry's part has no data cells of its own.
        for (name, count) in &tunnels.counters {
            *node.counters.entry(name.clone()).or_default() += count;
        }
        node.counters.extend(self.errand_counters().map(|(name, count)| (name.to_owned(), count)));
        ServiceNodeStatus {
            node,
            tunnels,
            joined: self.joined.len(),
            meetings: self.meetings(),
            services: services.collect(),
        }
    }
}
