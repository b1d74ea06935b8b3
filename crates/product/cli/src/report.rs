//! What `status` says: the supervisor's knowledge and the figures of both processes, in one schema.

use crate::budget::Shared;
use crate::refusals::{RefusalLog, refusals};
use admin::mirror::nobody_answers;
use admin::status::{
    Counters, Edges, Flows, Hops, HostedService, LastMinute, Link, LinkState, Memory, Mode, Privacy, Rate,
    Role as AdminRole, SCHEMA_VERSION, Schedule, Services, Severity, Status, Warning,
};
use config::{Config, Role, Service};
use node::{NodeRole, NodeStatus, ProcessStatus};
use serde::Deserialize;
use shaped_tunnel::{HopFigures, HostedStatus, LinkStatus, ShapedStatus};
use shaping::{CellRate, RateClass, SlotLength};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tunnels::{entry_tunnels, exit_neighbours, exit_tunnels, tunnel_memory};
use wire::packet::PacketSize;

mod tunnels;
mod warnings;

/// Letters of a node id that are shown.
const PEER_LETTERS: usize = 12;
/// Causes of hops and blocked ports that are shown.
const HOPS_SHOWN: usize = 8;
/// Header bytes before a packet on IPv4.
const IPV4_AND_UDP: usize = 28;
/// Header bytes before a packet on IPv6.
const IPV6_AND_UDP: usize = 48;
/// An entry that nobody has answered for so long after its start is told what the cause may be.
const SILENCE_WARNED: Duration = Duration::from_secs(15);

/// Makes states of the node for the admin socket.
#[derive(Debug)]
pub(crate) struct Reporter {
    facts: Facts,
    started: Instant,
    links: Mutex<Vec<Seen>>,
    log: Mutex<Log>,
    spent: Shared,
    /// Somebody at the other end of a link has answered since the start.
    answered: AtomicBool,
}

/// What the log has been told.
#[derive(Debug, Default)]
struct Log {
    refusals: RefusalLog,
    narrow: bool,
    silent: bool,
}

/// What the configuration says.
#[derive(Debug)]
struct Facts {
    mode: config::Mode,
    slot: SlotLength,
    /// How long before its slot a cell is made.
    lead: Duration,
    packet_size: PacketSize,
    /// What an entry asks of its exit.
    down: Option<RateClass>,
    max_flows: u16,
    warnings: Vec<Warning>,
    /// Names of a service node's services.
    hosts: Vec<String>,
}

/// A link as it was last seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    state: LinkState,
    since: Instant,
}

impl Reporter {
    /// A reporter of the node with this configuration, which starts now.
    pub(crate) fn new(config: &Config, spent: Shared) -> Self {
        let down = match &config.role {
            Role::Entry(entry) => Some(entry.down),
            Role::Exit(_) => None,
        };
        let warnings = config.warnings().into_iter().map(|warning| Warning {
            severity: if warning.is_alarm() { Severity::Alarm } else { Severity::Warning },
            sentence: format!("`{}`: {warning}", warning.key()),
        });
        let facts = Facts {
            mode: config.shaping.mode,
            slot: config.shaping.slot,
            lead: config.shaping.lead,
            packet_size: config.network.packet_size,
            down,
            max_flows: config.queues.max_flows,
            warnings: warnings.collect(),
            hosts: Vec::new(),
        };
        Self::of(facts, spent)
    }

    /// A reporter of a service node.
    pub(crate) fn of_services(file: &Service, packet_size: PacketSize) -> Self {
        let off = Warning {
            severity: Severity::Alarm,
            sentence: format!("`shaping.mode`: {}", config::Warning::ModeOffOverCircuits),
        };
        let facts = Facts {
            mode: file.shaping.mode,
            slot: file.shaping.slot,
            lead: file.shaping.lead,
            packet_size,
            down: None,
            max_flows: file.queues.max_flows,
            warnings: if file.shaping.mode.is_shaped() { Vec::new() } else { vec![off] },
            hosts: file.hosts.iter().map(|host| host.name.clone()).collect(),
        };
        Self::of(facts, Shared::default())
    }

    fn of(facts: Facts, spent: Shared) -> Self {
        Self {
            facts,
            started: Instant::now(),
            links: Mutex::new(Vec::new()),
            log: Mutex::default(),
            spent,
            answered: AtomicBool::new(false),
        }
    }

    /// The services of a service node.
    fn services(&self, shaped: &ShapedStatus) -> Option<Services> {
        let figures = shaped.service.as_ref()?;
        let service = |(name, status): (&String, &HostedStatus)| HostedService {
            name: name.clone(),
            points: status.points as u64,
            points_wanted: status.points_wanted as u64,
            published_for_s: status.published_for_s,
            tunnels: status.tunnels as u64,
            flows: status.flows as u64,
            work_bits: status.work_bits,
            introductions: status.introductions.clone(),
        };
        Some(Services {
            links: shaped.node.links.iter().filter(|link| link.up).count() as u64,
            tunnels: figures.tunnels.tunnels as u64,
            joined: figures.joined as u64,
            meetings: figures.meetings as u64,
            list: self.facts.hosts.iter().zip(&figures.services).map(service).collect(),
        })
    }

    /// Looks at the links, so that `status` can say since when they are as they are, and logs what was refused. To be
    /// called every second. Returns whether a session is up.
    pub(crate) fn observe(&self, node: &NodeStatus) -> bool {
        let shaped = shaped_status(node);
        if let Some(shaped) = shaped.as_ref().filter(|shaped| shaped.node.circuits.is_none()) {
            self.update_links(shaped);
        }
        let silence = self.silence(shaped.as_ref());
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sentence) = silence.filter(|_| !log.silent) {
            tracing::warn!("{sentence}");
            log.silent = true;
        }
        if let Some(line) = log.refusals.poll_line(Instant::now(), refusals(node, shaped.as_ref())) {
            tracing::info!("refused or dropped since the last such line: {line}");
        }
        let narrow = shaped.as_ref().and_then(|shaped| self.narrow_path(shaped));
        if let Some(sentence) = narrow.as_ref().filter(|_| !log.narrow) {
            tracing::error!("{sentence}");
        }
        log.narrow = narrow.is_some();
        shaped.is_some_and(|shaped| shaped.node.links.iter().any(|link| link.session_up))
    }

    /// The sentence for an entry that nobody has answered since it started. An exit waits to be dialled.
    fn silence(&self, shaped: Option<&ShapedStatus>) -> Option<String> {
        let shaped = shaped?;
        // An exit waits to be dialled.
        if self.facts.down.is_none() && self.facts.hosts.is_empty() {
            return None;
        }
        if shaped.node.links.iter().any(|link| link.up) {
            self.answered.store(true, Ordering::Relaxed);
        }
        let is_silent = !self.answered.load(Ordering::Relaxed) && self.started.elapsed() >= SILENCE_WARNED;
        let whom = if shaped.node.circuits.is_some() { "no guard" } else { "no exit" };
        is_silent.then(|| nobody_answers(whom, self.facts.packet_size.packet()))
    }

    /// The sentence about a path on which no packet can leave.
    fn narrow_path(&self, shaped: &ShapedStatus) -> Option<String> {
        let links = &shaped.node.links;
        let all_up = !links.is_empty() && links.iter().all(|link| link.up && link.session_up);
        let packet = self.facts.packet_size.packet();
        let (mtu_4, mtu_6) = (packet + IPV4_AND_UDP, packet + IPV6_AND_UDP);
        (shaped.too_narrow > 0 && !all_up).then(|| {
            format!(
                "the path does not carry packets of {packet} bytes, the size of all packets of the network: an \
                 interface on it has an MTU below {mtu_4} (IPv4) or {mtu_6} (IPv6); raise it or take another path"
            )
        })
    }

    /// The state now.
    pub(crate) fn status(&self, node: &NodeStatus) -> Status {
        let shaped = shaped_status(node);
        let links = shaped.as_ref().map(|shaped| self.links(shaped)).unwrap_or_default();
        let warnings = self.warnings(node, shaped.as_ref(), &links);
        Status {
            schema: SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            role: Some(match node.role {
                NodeRole::Entry => AdminRole::Entry,
                NodeRole::Exit => AdminRole::Exit,
                NodeRole::Service => AdminRole::Service,
            }),
            mode: Some(match self.facts.mode {
                config::Mode::Constant => Mode::Constant,
                config::Mode::Stepped => Mode::Stepped,
                config::Mode::Dp => Mode::Dp,
                config::Mode::Queue => Mode::Queue,
                config::Mode::Off => Mode::Off,
            }),
            uptime_s: node.uptime_s,
            links,
            schedule: self.schedule(shaped.as_ref()),
            last_minute: shaped.as_ref().and_then(|shaped| self.last_minute(shaped)),
            privacy: self.privacy(shaped.as_ref()),
            counters: self.counters(node, shaped.as_ref()),
            exit: shaped.as_ref().and_then(|shaped| shaped.exit.as_ref()).map(exit_tunnels),
            neighbours: shaped
                .as_ref()
                .and_then(|shaped| shaped.exit.as_ref())
                .map(exit_neighbours)
                .unwrap_or_default(),
            clients: shaped.as_ref().and_then(|shaped| shaped.exit.as_ref()).map(|exit| exit.clients as u64),
            circuits: shaped.as_ref().and_then(|shaped| shaped.node.circuits.as_ref()).and_then(entry_tunnels),
            services: shaped.as_ref().and_then(|shaped| self.services(shaped)),
            flows: self.flows(node),
            processes: processes(node, shaped.as_ref()).iter().map(ProcessStatus::to_admin).collect(),
            memory: Memory {
                segments_bytes: Some(node.segments_bytes),
                session_bound_bytes: shaped.as_ref().map(|shaped| shaped.node.session_memory_max),
                ..tunnel_memory(shaped.as_ref())
            },
            warnings,
        }
    }

    /// What the ledger has paid for, and what came of it at this node's own edges.
    fn privacy(&self, shaped: Option<&ShapedStatus>) -> Option<Privacy> {
        let releases = shaped?.node.links.iter().filter_map(|link| link.releases);
        let edges = releases.map(|link| Edges {
            released: link.released,
            unpaid: link.unpaid,
            without_noise: link.without_noise,
            missed: link.missed,
        });
        let edges = edges.reduce(|sum, link| Edges {
            released: sum.released + link.released,
            unpaid: sum.unpaid + link.unpaid,
            without_noise: sum.without_noise + link.without_noise,
            missed: sum.missed + link.missed,
        });
        let paid = self.spent.privacy();
        (paid.is_some() || edges.is_some()).then(|| Privacy { edges, ..paid.unwrap_or_default() })
    }

    /// What the schedule cost. Cells are made a lead time before their slot, so bytes wait as much longer.
    fn last_minute(&self, shaped: &ShapedStatus) -> Option<LastMinute> {
        let minute = shaped.node.last_minute?;
        let waited = |us: Option<u64>| us.map(|us| us.saturating_add(self.facts.lead.as_micros() as u64));
        Some(LastMinute {
            cells_sent: Some(minute.cells),
            data_cells_sent: Some(minute.data_cells),
            useful_share: (minute.cells > 0).then(|| minute.data_cells as f64 / minute.cells as f64),
            wait_mean_us: waited(minute.wait_mean_us),
            wait_p95_us: waited(minute.wait_p95_us),
        })
    }

    fn update_links(&self, shaped: &ShapedStatus) -> Vec<Seen> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.truncate(shaped.node.links.len());
        for (index, link) in shaped.node.links.iter().enumerate() {
            let before = links.get(index).copied();
            let state = match (link.up && link.session_up, before.map(|seen| seen.state)) {
                (true, _) => LinkState::Up,
                (false, Some(LinkState::Up | LinkState::Lost)) => LinkState::Lost,
                (false, Some(LinkState::Connecting) | None) => LinkState::Connecting,
            };
            match before {
                Some(seen) if seen.state == state => {}
                Some(_) => links[index] = Seen { state, since: Instant::now() },
                None => links.push(Seen { state, since: Instant::now() }),
            }
        }
        links.clone()
    }

    fn links(&self, shaped: &ShapedStatus) -> Vec<Link> {
        if shaped.node.circuits.is_some() {
            return shaped.node.links.iter().zip(hops_of(shaped)).map(|(link, hops)| guard(link, hops)).collect();
        }
        let seen = self.update_links(shaped);
        let links = shaped.node.links.iter().zip(seen).zip(hops_of(shaped));
        links
            .map(|((link, seen), hops)| Link {
                peer: short_name(&link.peer),
                node_id: Some(link.peer.clone()),
                state: Some(seen.state),
                since_s: Some(seen.since.elapsed().as_secs()),
                rtt_us: (link.rtt_us > 0).then_some(link.rtt_us),
                loss_per_mille: link.up.then_some(u32::from(link.loss_per_mille)),
                hops,
            })
            .collect()
    }

    fn schedule(&self, shaped: Option<&ShapedStatus>) -> Schedule {
        if self.facts.mode == config::Mode::Off {
            return Schedule::default();
        }
        let sent = shaped.filter(|shaped| !shaped.node.links.is_empty()).map(|shaped| {
            if shaped.node.circuits.is_some() {
                // One schedule, of which each link has a share.
                return self.rate_of(shaped.node.links.iter().map(|link| link.rate_bits_per_second).sum());
            }
            let rates = shaped.node.links.iter().map(|link| self.rate_of(link.rate_bits_per_second));
            rates.fold(Rate { bits_per_second: 0, packets_per_second: 0, bytes_per_month: 0 }, |sum, rate| Rate {
                bits_per_second: sum.bits_per_second.saturating_add(rate.bits_per_second),
                packets_per_second: sum.packets_per_second.saturating_add(rate.packets_per_second),
                bytes_per_month: sum.bytes_per_month.saturating_add(rate.bytes_per_month),
            })
        });
        // Where the other direction follows its load, this node is not told its rate.
        let constant = self.facts.mode == config::Mode::Constant;
        let received = self.facts.down.filter(|_| constant).map(|class| self.rate_of(class.bits_per_second()));
        Schedule { slot_ms: Some(self.facts.slot.as_millis()), send: sent, receive: received }
    }

    fn rate_of(&self, bits_per_second: u64) -> Rate {
        let class = RateClass::at_least(bits_per_second).unwrap_or(RateClass::FASTEST);
        let size = self.facts.packet_size;
        Rate {
            bits_per_second,
            packets_per_second: CellRate::new(class, self.facts.slot, size.session_packet()).cells_per_second(),
            bytes_per_month: class.wire_bytes_per_month(size.session_packet(), size.packet()),
        }
    }

    fn counters(&self, node: &NodeStatus, shaped: Option<&ShapedStatus>) -> Counters {
        let own = |name: &str| shaped.and_then(|shaped| shaped.node.counters.get(name).copied());
        let slots = shaped.and_then(|shaped| shaped.slots.as_ref());
        let spares = slots.map_or(0, |slots| slots.cover_packets);
        let age = node.shaped.body_age_ms.map(Duration::from_millis);
        let sampled = age.and_then(|age| self.started.elapsed().checked_sub(age));
        Counters {
            sampled_at_ms: sampled.map(|time| time.as_millis() as u64),
            packet_size: Some(self.facts.packet_size.packet() as u32),
            packets_sent: shaped.map(|shaped| shaped.packets_sent.saturating_add(slots.map_or(0, |slots| slots.sent))),
            packets_received: own("packets_received"),
            data_cells_sent: own("data_cells_sent"),
            cover_cells_sent: own("cover_cells_sent").map(|cells| cells.saturating_add(spares)),
            missed_slots: slots.map(|slots| slots.missed),
            late_cells: slots.map(|slots| slots.late_slots),
            application_bytes_in: unshaped_count(node, "bytes_to_tunnel"),
            application_bytes_out: unshaped_count(node, "bytes_from_tunnel"),
            drops: refusals(node, shaped),
        }
    }

    fn flows(&self, node: &NodeStatus) -> Flows {
        Flows {
            open: unshaped_count(node, "flows_open"),
            max: Some(u64::from(self.facts.max_flows)),
            opened: unshaped_count(node, "flows_opened"),
            refused: unshaped_body(node).map(|body| body["ended"]["too_many_flows"].as_u64().unwrap_or(0)),
            swapped: unshaped_body(node).and_then(swapped),
        }
    }
}

/// What an entry says about connections that may go by shared memory, if there were any.
fn swapped(body: &serde_json::Value) -> Option<BTreeMap<String, u64>> {
    let counts = serde_json::from_value::<BTreeMap<String, u64>>(body.get("swapped")?.clone()).ok()?;
    (counts.get("connections") > Some(&0)).then_some(counts)
}

/// What a process says about the hops of its links, in their order.
fn hops_of(shaped: &ShapedStatus) -> impl Iterator<Item = Option<Hops>> + '_ {
    shaped.hops.iter().map(|hops| hops.as_ref().map(hop_row)).chain(std::iter::repeat(None))
}

/// A guard of an entry over circuits. Guards come and go with legs, so nobody counts for how long they are as they are.
fn guard(link: &LinkStatus, hops: Option<Hops>) -> Link {
    Link {
        peer: short_name(&link.peer),
        node_id: Some(link.peer.clone()),
        state: Some(if link.up { LinkState::Up } else { LinkState::Connecting }),
        since_s: None,
        rtt_us: (link.rtt_us > 0).then_some(link.rtt_us),
        loss_per_mille: link.up.then_some(u32::from(link.loss_per_mille)),
        hops,
    }
}

fn short_name(node_id: &str) -> String {
    node_id.chars().take(PEER_LETTERS).collect()
}

/// What a process says about hops, cut to what is shown.
fn hop_row(hops: &HopFigures) -> Hops {
    Hops {
        hops: hops.index,
        local_port: hops.local_port,
        remote_port: hops.remote_port,
        age_ms: hops.age_ms,
        bytes: hops.bytes,
        causes: hops.causes.iter().take(HOPS_SHOWN).cloned().collect(),
        blocked: hops.blocked.iter().take(HOPS_SHOWN).copied().collect(),
    }
}

fn shaped_status(node: &NodeStatus) -> Option<ShapedStatus> {
    node.shaped.body.as_ref().and_then(|body| ShapedStatus::deserialize(body).ok())
}

/// All processes. The shaped one says in its own figures what it has given up.
fn processes(node: &NodeStatus, shaped: Option<&ShapedStatus>) -> Vec<ProcessStatus> {
    let mut all: Vec<ProcessStatus> = node.processes().into_iter().cloned().collect();
    let own = all.iter_mut().find(|process| process.name == node.shaped.name);
    if let (Some(process), Some(shaped)) = (own, shaped) {
        process.confinement = shaped.confinement.clone();
    }
    all
}

fn unshaped_body(node: &NodeStatus) -> Option<&serde_json::Value> {
    node.unshaped.body.as_ref()
}

fn unshaped_count(node: &NodeStatus, name: &str) -> Option<u64> {
    unshaped_body(node)?.get(name)?.as_u64()
}

#[cfg(test)]
mod tests;
