//! What the process says about itself once a second, from a clock of its own.

use os_net::confine::Confinement;
use os_net::slot_sender::Statistics;
use os_net::udp::SendError;
use serde::{Deserialize, Serialize};
use shaped_node::{ExitStatus, HopFigures, HostedStatus, NodeStatus};
use std::time::{Duration, Instant};

/// Time between two reports.
const EVERY: Duration = Duration::from_secs(1);

/// Body of the shaped process's status message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShapedStatus {
    /// Links, sessions and cells.
    pub node: NodeStatus,
    /// The hops of each link, in the same order.
    #[serde(default)]
    pub hops: Vec<Option<HopFigures>>,
    /// The slot sender's counts; none in mode `off`.
    pub slots: Option<Statistics>,
    /// Packets that the kernel took (mode `off`; with slots they are in `slots`).
    pub packets_sent: u64,
    /// Batches that the kernel refused.
    pub send_failures: u64,
    /// Packets that the kernel refused because they are larger than the MTU of the path's first network.
    pub too_narrow: u64,
    /// The last refusal in one sentence.
    pub last_send_failure: Option<String>,
    /// What the process has given up.
    pub confinement: Option<Confinement>,
    /// At an exit over circuits: the relay and its tunnels.
    #[serde(default)]
    pub exit: Option<ExitFigures>,
    /// At a service node: its services and their tunnels.
    #[serde(default)]
    pub service: Option<ServiceFigures>,
}

/// A service node in numbers, and nothing about anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceFigures {
    /// Tunnels of clients.
    pub tunnels: ExitStatus,
    /// Circuits that are joined to clients'.
    pub joined: usize,
    /// Meetings under way.
    pub meetings: usize,
    /// The services, in the order of the configuration.
    pub services: Vec<HostedStatus>,
}

/// An exit over circuits in numbers, and nothing about anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitFigures {
    /// Links, half-open ones included.
    pub links: usize,
    /// Links of clients, and of nodes that the document does not have.
    #[serde(default)]
    pub clients: usize,
    /// The relays at the other ends of links, at most 128 of them.
    #[serde(default)]
    pub neighbours: Vec<ExitNeighbour>,
    /// Circuits, those that go on to others included.
    pub circuits: u32,
    /// Cells that wait for the relay's rate.
    pub waiting: usize,
    /// Tunnels that end here.
    pub tunnels: ExitStatus,
}

/// A relay at the other end of a link of an exit. What goes over it is not said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitNeighbour {
    /// Its node id.
    pub node: String,
    /// Whether it answers.
    pub answers: bool,
    /// Whether the exit dialled it.
    pub dialled: bool,
    /// Smoothed round trip in microseconds, once there is one.
    pub rtt_us: Option<u64>,
    /// Lost of a thousand packets sent to it in the last ten seconds.
    pub loss_per_mille: u16,
    /// How often the link went to another pair of ports.
    pub hops: u64,
}

/// Collects what a report needs.
#[derive(Debug)]
pub(crate) struct Reporter {
    due: Instant,
    slots: Option<Statistics>,
    packets_sent: u64,
    send_failures: u64,
    too_narrow: u64,
    last_send_failure: Option<SendError>,
    confinement: Option<Confinement>,
}

impl Reporter {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            due: now,
            slots: None,
            packets_sent: 0,
            send_failures: 0,
            too_narrow: 0,
            last_send_failure: None,
            confinement: None,
        }
    }

    pub(crate) fn is_due(&self, now: Instant) -> bool {
        now >= self.due
    }

    pub(crate) fn sent(&mut self, packets: u64) {
        self.packets_sent += packets;
    }

    pub(crate) fn send_failed(&mut self, error: SendError) {
        self.send_failures += 1;
        self.too_narrow += u64::from(matches!(error, SendError::TooNarrow { .. }));
        self.last_send_failure = Some(error);
    }

    pub(crate) fn slots(&mut self, statistics: Statistics) {
        self.slots = Some(statistics);
    }

    pub(crate) fn confinement(&mut self, report: Confinement) {
        self.confinement = Some(report);
    }

    /// The report that is due now.
    pub(crate) fn body(
        &mut self,
        now: Instant,
        node: NodeStatus,
        hops: Vec<Option<HopFigures>>,
        service: Option<ServiceFigures>,
    ) -> serde_json::Value {
        self.due = now + EVERY;
        let status = ShapedStatus {
            node,
            hops,
            slots: self.slots.clone(),
            packets_sent: self.packets_sent,
            send_failures: self.send_failures,
            too_narrow: self.slots.as_ref().map_or(self.too_narrow, |slots| slots.too_narrow),
            last_send_failure: self.last_send_failure.map(|error| error.to_string()),
            confinement: self.confinement.clone(),
            exit: None,
            service,
        };
        serde_json::to_value(status).unwrap_or(serde_json::Value::Null)
    }
}
