//! What a node says about itself. Nothing here names a destination or a client.

use crate::circuits::{Circuits, CircuitsStatus};
use crate::memory::{MemoryAccount, MemoryPool};
use crate::minute::MinuteStatus;
use crate::node::ShapedNode;
use crate::pacing::ReleaseFigures;
use crate::queues::FlowQueues;
use link::{LinkId, PastHop};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Instant;

/// Counts since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) data_cells: u64,
    pub(crate) cover_cells: u64,
    pub(crate) link_cells: u64,
    pub(crate) bad_cells: u64,
    pub(crate) unknown_circuit: u64,
    pub(crate) stale_messages: u64,
    pub(crate) empty_while_waiting: u64,
    pub(crate) session_failures: u64,
}

/// State of the node's shaped process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// `constant`, `stepped`, `dp`, `queue` or `off`.
    pub mode: String,
    /// One entry per link.
    pub links: Vec<LinkStatus>,
    /// Open flows.
    pub flows: usize,
    /// Cells sent, received and dropped, by name.
    pub counters: BTreeMap<String, u64>,
    /// Most bytes that sessions may hold for slow readers; over circuits, all that tunnels may hold.
    pub session_memory_max: u64,
    /// What tunnels over circuits hold, by kind.
    #[serde(default)]
    pub memory: MemoryAccount,
    /// Most that they held at once.
    #[serde(default)]
    pub memory_peak: u64,
    /// What the schedule cost in the last minute; none in mode `off`.
    pub last_minute: Option<MinuteStatus>,
    /// At an entry over circuits: its tunnels.
    #[serde(default)]
    pub circuits: Option<CircuitsStatus>,
}

/// State of one link.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkStatus {
    /// The other node's id.
    pub peer: String,
    /// Keys are agreed.
    pub up: bool,
    /// The session is up.
    pub session_up: bool,
    /// Round trip of the session in microseconds, of the handshake before there is one.
    pub rtt_us: u64,
    /// Loss on the way to the other node over the last ten seconds, in thousandths.
    pub loss_per_mille: u16,
    /// Bits per second of session packets in force; 0 in mode `off`.
    pub rate_bits_per_second: u64,
    /// What was asked for, or the most; 0 in mode `off`.
    pub configured_bits_per_second: u64,
    /// What the breaker allows; 0 in mode `off`.
    pub allowed_bits_per_second: u64,
    /// Cells per second.
    pub cells_per_second: u64,
    /// How often the breaker lowered the class.
    pub steps_down: u64,
    /// In modes whose rate follows releases: what happened at the edges.
    pub releases: Option<ReleaseStatus>,
}

/// The pair of ports of a link, and how it came there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HopFigures {
    /// Hops since the link came up through a door.
    pub index: u64,
    /// This end's port.
    pub local_port: Option<u16>,
    /// The other end's port.
    pub remote_port: u16,
    /// Milliseconds since the pair was taken.
    pub age_ms: u64,
    /// Bytes of UDP payload on it, both directions.
    pub bytes: u64,
    /// Causes of the last hops, oldest first, as far as this end knows them.
    pub causes: Vec<String>,
    /// Ports of the other end that are held for blocked.
    pub blocked: Vec<u16>,
}

/// What happened at the edges of a direction whose rate follows releases. All of it is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseStatus {
    /// Values let out since the link came up.
    pub released: u64,
    /// Edges without leave: nothing was let out, the last rate went on.
    pub unpaid: u64,
    /// Edges at which no noise was ready.
    pub without_noise: u64,
    /// Edges that went by unseen.
    pub missed: u64,
    /// Epochs whose leave came too late.
    pub leave_lost: u64,
    /// One past the last epoch that is paid for.
    pub paid_until: Option<u64>,
    /// No leave came for so long that the rate is the configured one again.
    pub spent: bool,
}

impl<Q: FlowQueues> ShapedNode<Q> {
    /// What `status` shows.
    pub fn status(&self) -> NodeStatus {
        let shaped = self.config.mode.is_shaped();
        let links = self.peers.values().map(|peer| LinkStatus {
            peer: peer.node.to_string(),
            up: peer.up,
            session_up: peer.direct.as_ref().is_some_and(|direct| direct.tunnel.is_up()),
            rtt_us: peer.direct.as_ref().map_or(peer.rtt, |direct| direct.tunnel.session.stats().rtt).as_micros()
                as u64,
            loss_per_mille: peer.loss_per_mille,
            rate_bits_per_second: if shaped { peer.pacing.class().bits_per_second() } else { 0 },
            configured_bits_per_second: if shaped { peer.pacing.breaker.configured().bits_per_second() } else { 0 },
            allowed_bits_per_second: if shaped { peer.pacing.breaker.class().bits_per_second() } else { 0 },
            cells_per_second: if shaped { peer.pacing.cells_per_second() } else { 0 },
            steps_down: peer.pacing.breaker.steps_down(),
            releases: peer.pacing.figures().map(release_status),
        });
        let memory = self
            .peers
            .values()
            .filter_map(|peer| peer.direct.as_ref())
            .map(|direct| direct.tunnel.session.memory_max_bytes());
        let pool = self.circuits.as_ref().map(Circuits::memory_pool);
        let circuits = self.circuits.as_ref().map(|circuits| circuits.status(&self.near));
        let held = circuits.iter().flat_map(|circuits| &circuits.tunnels).map(|tunnel| tunnel.memory);
        NodeStatus {
            mode: self.config.mode.name().to_owned(),
            links: links.chain(self.circuits.iter().flat_map(Circuits::link_statuses)).collect(),
            flows: self.near.table.len(),
            counters: self.counter_map(),
            session_memory_max: memory.sum::<u64>() + pool.map_or(0, MemoryPool::max),
            memory: held.fold(MemoryAccount::default(), |sum, held| sum + held),
            memory_peak: pool.map_or(0, MemoryPool::peak),
            last_minute: shaped.then(|| self.near.minute.status()),
            circuits,
        }
    }

    /// The hops of each link, in the order of [`NodeStatus::links`]; none of one that stays on its pair.
    pub fn hop_figures(&self, now: Instant) -> Vec<Option<HopFigures>> {
        let of = |link: &LinkId| {
            let status = self.endpoint.hop_status(now, *link)?;
            let cause = |hop: &PastHop| hop.cause.map_or_else(|| "followed".to_owned(), |cause| cause.to_string());
            Some(HopFigures {
                index: status.index,
                local_port: status.local_port,
                remote_port: status.remote_port,
                age_ms: u64::try_from(status.age.as_millis()).unwrap_or(u64::MAX),
                bytes: status.bytes,
                causes: status.past.iter().map(cause).collect(),
                blocked: status.blocked.iter().map(|(port, _)| *port).collect(),
            })
        };
        self.peers.keys().chain(self.circuits.iter().flat_map(Circuits::links)).map(of).collect()
    }

    fn counter_map(&self) -> BTreeMap<String, u64> {
        let over_circuits = self.circuits.as_ref().map_or(0, Circuits::session_failures);
        let pool = self.circuits.as_ref().map(Circuits::memory_pool);
        let own = [
            ("data_cells_sent", self.counters.data_cells),
            ("cover_cells_sent", self.counters.cover_cells),
            ("link_cells_sent", self.counters.link_cells),
            ("packets_received", self.endpoint.counters().opened),
            ("bad_cells", self.counters.bad_cells),
            ("unknown_circuit", self.counters.unknown_circuit),
            ("stale_messages", self.counters.stale_messages),
            ("empty_while_waiting", self.counters.empty_while_waiting),
            ("session_failures", self.counters.session_failures + over_circuits),
            ("datagrams_dropped", self.near.datagrams_dropped),
            ("flows_cut_for_memory", pool.map_or(0, |pool| pool.flows_cut)),
            ("sessions_cut_for_memory", pool.map_or(0, |pool| pool.sessions_cut)),
        ];
        let own = own.into_iter().map(|(name, count)| (name.to_owned(), count));
        let drops = self.endpoint.counters().drops().map(|(reason, count)| (format!("dropped_{reason:?}"), count));
        own.chain(drops).collect()
    }
}

pub(crate) fn release_status(figures: ReleaseFigures) -> ReleaseStatus {
    let counts = figures.counts;
    ReleaseStatus {
        released: counts.released,
        unpaid: counts.no_grant,
        without_noise: counts.no_noise + counts.foreign_noise,
        missed: counts.missed,
        leave_lost: figures.grants_lost,
        paid_until: figures.paid_until,
        spent: figures.spent,
    }
}
