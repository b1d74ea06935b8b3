//! What an exit says about its tunnels: counts, and nothing about anybody.

use super::CircuitExit;
use crate::flow::Owner;
use crate::memory::MemoryAccount;
use crate::minute::MinuteStatus;
use crate::parameters::Mode;
use crate::queues::FlowQueues;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) data_cells: u64,
    pub(super) own_cells: u64,
    pub(super) refused: u64,
    pub(super) faults: u64,
    pub(super) packets_lost: u64,
    pub(super) stale_messages: u64,
    pub(super) session_failures: u64,
    pub(super) empty_while_waiting: u64,
}

/// The exit's end of tunnels in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExitStatus {
    /// Tunnels.
    pub tunnels: usize,
    /// Tunnels whose session is up.
    pub sessions: usize,
    /// Legs that are in use, of all tunnels.
    pub legs: usize,
    /// Open flows.
    pub flows: usize,
    /// Most bytes that tunnels may hold.
    pub session_memory_max: u64,
    /// What they hold now, by kind.
    #[serde(default)]
    pub memory: MemoryAccount,
    /// Most that they held at once.
    #[serde(default)]
    pub memory_peak: u64,
    /// What was done and refused, by name.
    pub counters: BTreeMap<String, u64>,
}

impl<Q: FlowQueues> CircuitExit<Q> {
    /// What `status` shows.
    pub fn status(&self) -> ExitStatus {
        let joined = || self.tunnels.values();
        ExitStatus {
            tunnels: joined().count(),
            sessions: joined().filter(|joined| joined.tunnel.is_up()).count(),
            legs: joined().map(|joined| joined.legs.linked()).sum(),
            flows: self.near.table.len(),
            session_memory_max: self.memory.max(),
            memory: self.memory(),
            memory_peak: self.memory.peak(),
            counters: self.counter_map(),
        }
    }

    /// Tunnels that are served as this service of the node, and the flows in them.
    pub fn served_as(&self, service: usize) -> (usize, usize) {
        let of = self.tunnels.iter().filter(|(_, joined)| joined.service.is_some_and(|(number, _)| number == service));
        let ids: Vec<u64> = of.map(|(id, _)| *id).collect();
        let flows = self.near.table.flows().filter(|flow| ids.iter().any(|id| flow.owner == Owner::Tunnel(*id)));
        (ids.len(), flows.count())
    }

    /// How the cells of tunnels leave.
    pub fn mode(&self) -> Mode {
        self.config.schedule.as_ref().map_or(Mode::Off, |schedule| schedule.mode)
    }

    /// The last minute's cells and waiting times; none in mode `off`.
    pub fn last_minute(&self) -> Option<MinuteStatus> {
        self.is_shaped().then(|| self.near.minute.status())
    }

    fn counter_map(&self) -> BTreeMap<String, u64> {
        let counters = &self.counters;
        let own = [
            ("data_cells_sent", counters.data_cells),
            ("cover_cells_sent", counters.own_cells),
            ("legs_refused", counters.refused),
            ("bad_cells", counters.faults),
            ("links_dropped", self.join_point.dropped_links()),
            ("packets_lost", counters.packets_lost),
            ("stale_messages", counters.stale_messages),
            ("session_failures", counters.session_failures),
            ("empty_cells_while_flows_wait", counters.empty_while_waiting),
            ("datagrams_dropped", self.near.datagrams_dropped),
            ("flows_cut_for_memory", self.memory.flows_cut),
            ("sessions_cut_for_memory", self.memory.sessions_cut),
            ("tunnels_refused_for_memory", self.memory.refused),
        ];
        own.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
    }
}
