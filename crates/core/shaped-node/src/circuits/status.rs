//! What is told of circuits to their own user.

use super::{CircuitTunnel, Circuits, Shared, Stage, TunnelHolder, TunnelId, Uplink};
use crate::flow::Owner;
use crate::memory::{Holder, MemoryAccount, MemoryPool};
use crate::near::Near;
use crate::queues::FlowQueues;
use crate::status::{LinkStatus, release_status};
use conflux::{LegId, LegState};
use link::LinkId;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tunnel_plan::{Cause, Refusal};

/// All tunnels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CircuitsStatus {
    /// By number.
    pub tunnels: Vec<TunnelStatus>,
    /// Tunnels since the start, the present ones included.
    pub made: u64,
    /// Why a path is missing, in one sentence.
    pub refusal: Option<String>,
    /// Why a service was not reached that is in another mode, in one sentence, until one is reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_refusal: Option<String>,
}

/// A tunnel and its legs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// Its number.
    pub number: u64,
    /// How often there was a tunnel of this number, this one included; 0 before its first leg.
    pub made: u64,
    /// Whose it is.
    pub holder: TunnelHolder,
    /// The session is up.
    pub session_up: bool,
    /// Round trip of the session in microseconds; 0 before there is one.
    pub session_rtt_us: u64,
    /// Legs, in the order in which they were asked for; those that are on their way out come last.
    pub legs: Vec<LegStatus>,
    /// How often a data cell went on another leg than the one before.
    pub switches: u64,
    /// Bytes that it holds, by kind.
    #[serde(default)]
    pub memory: MemoryAccount,
}

/// One of the wanted legs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegStatus {
    /// Number of the leg in the tunnel; none before it is one.
    pub leg: Option<u8>,
    /// `waiting`, `dialling`, `building`, `linking`, `linked`, `silent` or `draining`.
    pub state: String,
    /// Node ids of its relays, the exit last. For the node's own user alone: it never reaches a log.
    pub path: Vec<String>,
    /// From which end of this machine to which address of the exit, of a leg of one hop that has others beside it. As private as
    /// the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub way: Option<String>,
    /// Smoothed round trip in microseconds.
    pub rtt_us: Option<u64>,
    /// Data cells that were sent on it.
    pub data_cells: u64,
    /// Cells of all kinds that came on it.
    pub received: u64,
    /// Cells lost of a thousand lately.
    pub loss_per_mille: Option<u32>,
}

impl Circuits {
    /// What `status` shows.
    pub(crate) fn status<Q: FlowQueues>(&self, near: &Near<Q>) -> CircuitsStatus {
        CircuitsStatus {
            tunnels: self.tunnels.values().map(|tunnel| tunnel.status(&self.shared, near)).collect(),
            made: self.shared.made,
            refusal: self.shared.refusal.map(|refusal| refusal.to_string()),
            service_refusal: self.services.mode_refusal.map(|failure| failure.to_string()),
        }
    }

    /// What all tunnels hold together, and may hold.
    pub(crate) fn memory_pool(&self) -> &MemoryPool {
        &self.shared.memory
    }

    /// One tunnel, if it is there.
    pub(crate) fn tunnel_status<Q: FlowQueues>(&self, id: TunnelId, near: &Near<Q>) -> Option<TunnelStatus> {
        let tunnel = self.tunnels.get(&id.number).filter(|tunnel| tunnel.is(id));
        tunnel.map(|tunnel| tunnel.status(&self.shared, near))
    }

    /// Whose a tunnel is, if it is there.
    pub(crate) fn holder_of(&self, id: TunnelId) -> Option<TunnelHolder> {
        self.tunnels.get(&id.number).filter(|tunnel| tunnel.is(id)).map(|tunnel| tunnel.holder.public())
    }

    /// Whose each tunnel is, and whether it is up.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (TunnelHolder, bool)> + '_ {
        self.tunnels.values().map(|tunnel| (tunnel.holder.public(), tunnel.is_up()))
    }

    /// Why a tunnel has no path.
    pub(crate) fn refusal_of(&self, number: u64) -> Option<Refusal> {
        let tunnel = self.tunnels.get(&number).filter(|tunnel| tunnel.joined.is_none())?;
        // Guards that do not answer may be back any time.
        tunnel.refusal.filter(|refusal| !matches!(refusal.cause, Cause::FewUsable { .. }))
    }

    /// Each guard's link.
    pub(crate) fn link_statuses(&self) -> impl Iterator<Item = LinkStatus> + '_ {
        let session_up = self.tunnels.values().any(CircuitTunnel::is_up);
        self.shared.links.iter().map(move |(link, guard)| {
            let status = LinkStatus {
                peer: guard.node.to_string(),
                up: guard.up,
                session_up: guard.up && session_up,
                rtt_us: micros(guard.rtt),
                loss_per_mille: guard.loss_per_mille,
                ..LinkStatus::default()
            };
            match &self.shared.uplink {
                Some(uplink) => with_share(status, uplink, *link),
                None => status,
            }
        })
    }
}

impl CircuitTunnel {
    pub(super) fn is_up(&self) -> bool {
        self.joined.as_ref().and_then(|joined| joined.tunnel.as_ref()).is_some_and(crate::tunnel::Tunnel::is_up)
    }

    /// Whether it is this one, and not one that had its number or will have it.
    fn is(&self, id: TunnelId) -> bool {
        self.id() == id && self.joined.is_some()
    }

    fn status<Q: FlowQueues>(&self, shared: &Shared, near: &Near<Q>) -> TunnelStatus {
        let queues = near.set_aside_for(|owner| owner == Owner::Tunnel(self.number));
        let session = self.joined.as_ref().and_then(|joined| joined.tunnel.as_ref());
        let rtt = session.filter(|tunnel| tunnel.is_up()).map(|tunnel| tunnel.session.stats().rtt);
        let held: Vec<_> = self.places.iter().filter_map(|place| leg_of(&place.stage)).collect();
        let leaving = self.routes.values().filter(|leg| !held.contains(leg));
        let way = |number| self.way_of(shared, number).filter(|_| self.rules.has_only_ways());
        let legs = self.places.iter().enumerate().map(|(number, place)| LegStatus {
            way: way(number).map(|way| shared.way_in_words(way)),
            ..self.leg_status(&place.stage)
        });
        TunnelStatus {
            number: self.number,
            made: self.made,
            holder: self.holder.public(),
            session_up: self.is_up(),
            session_rtt_us: rtt.map_or(0, micros),
            legs: legs.chain(leaving.filter_map(|leg| self.figures(*leg))).collect(),
            switches: self.switches,
            memory: MemoryAccount { queues, ..self.memory() },
        }
    }

    fn leg_status(&self, stage: &Stage) -> LegStatus {
        let state = match stage {
            Stage::Waiting { .. } => "waiting",
            Stage::Dialling { .. } => "dialling",
            Stage::Building { .. } => "building",
            Stage::Joined { leg, .. } => match self.figures(*leg) {
                Some(figures) => return figures,
                None => "waiting",
            },
        };
        let path = stage.path().map(|path| path.hops().iter().map(ToString::to_string).collect());
        LegStatus {
            leg: None,
            state: state.to_owned(),
            path: path.unwrap_or_default(),
            way: None,
            rtt_us: None,
            data_cells: 0,
            received: 0,
            loss_per_mille: None,
        }
    }

    fn figures(&self, leg: LegId) -> Option<LegStatus> {
        let figures = self.joined.as_ref()?.legs.leg(leg)?;
        // Behind the last relay of a leg to a service is the service, which is nobody's to know.
        let shown = figures.path.len() - usize::from(self.is_of_service());
        let path = &figures.path[..shown];
        let state = match figures.state {
            LegState::Linking => "linking",
            LegState::Linked => "linked",
            LegState::Silent => "silent",
            LegState::Draining => "draining",
        };
        Some(LegStatus {
            leg: Some(leg.number()),
            state: state.to_owned(),
            path: path.iter().map(ToString::to_string).collect(),
            way: None,
            rtt_us: figures.rtt.map(micros),
            data_cells: figures.outbound.data_sent,
            received: figures.received,
            loss_per_mille: figures.loss_per_mille,
        })
    }
}

/// What a link's share of the schedule is. Releases are of the whole of it: the first share stands for them.
fn with_share(status: LinkStatus, uplink: &Uplink, link: LinkId) -> LinkStatus {
    let Some((share, classes)) = uplink.share_of(link).zip(uplink.classes_of(link)) else { return status };
    let shares = u64::from(uplink.shares());
    LinkStatus {
        rate_bits_per_second: classes.in_force.bits_per_second() / shares,
        configured_bits_per_second: classes.configured.bits_per_second() / shares,
        allowed_bits_per_second: classes.allowed.bits_per_second() / shares,
        cells_per_second: uplink.cells_per_second() / shares,
        steps_down: classes.steps_down,
        releases: uplink.figures().filter(|_| share == 0).map(release_status),
        ..status
    }
}

fn leg_of(stage: &Stage) -> Option<LegId> {
    match stage {
        Stage::Joined { leg, .. } => Some(*leg),
        Stage::Waiting { .. } | Stage::Dialling { .. } | Stage::Building { .. } => None,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
