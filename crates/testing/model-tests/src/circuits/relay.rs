//! A relay, and behind it at an exit the end of tunnels with its servers.

use super::documents::{node_id, secret};
use super::due::Due;
use super::{FLOWS, RING, Setting};
use crate::apps::Unshaped;
use crate::exit_slots::SlotDriver;
use crate::memory_queues::{self, MemoryQueues};
use identity::{DoorKey, LinkSecret, NodeSecret};
use link::{Now, Route};
use network_document::{NetworkDocument, OnionKeyFile};
use onion::Interval;
use relay_node::{Came, Limits, NodeEvent, RelayNode, RelayNodeConfig};
use shaped_node::{CircuitExit, ExitConfig, ExitSchedule};
use shaping::SlotLength;
use simnet::Network;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// What a relay does to cells on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Nothing.
    #[default]
    Well,
    /// It is dead: nothing comes in or out, and nobody is told.
    Dead,
    /// It alters a bit of every fifth cell that it forwards.
    Alters,
    /// It drops four cells in a row of every 64.
    DropsPattern,
    /// It sends everything twice.
    Repeats,
    /// It sends every cell behind the next one.
    Reorders,
}

/// One relay with its driver's state.
pub struct RelayHost {
    /// The relay.
    pub node: RelayNode,
    /// Whether it does its work.
    pub health: Health,
    /// Cells that it has forwarded.
    forwarded: u64,
    /// The cell that it keeps back.
    kept: Option<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// The exit behind it, with its servers.
    exit: Option<(CircuitExit<MemoryQueues>, Unshaped)>,
    /// The exit's slots, in shaped modes.
    slots: Option<SlotDriver>,
    /// Where it sends from.
    pub address: SocketAddr,
    pub(super) place: simnet::NodeId,
    pub(super) generation: u8,
    due: Due,
}

/// Secrets of an interval and of the one before.
pub(super) fn onion_keys(relay: usize, interval: Interval) -> OnionKeyFile {
    let mut file = OnionKeyFile::default();
    for number in interval.0 - 1..=interval.0 {
        let mut secret = [relay as u8 + 1; 32];
        secret[..8].copy_from_slice(&number.to_be_bytes());
        file.prepare(Interval(number), secret);
    }
    file
}

fn node_config(relay: usize, limits: Limits) -> RelayNodeConfig {
    RelayNodeConfig {
        node_id: node_id(relay),
        link_secret: LinkSecret::from_bytes(secret(relay)),
        door_key: DoorKey::from_bytes(secret(relay)),
        hops: None,
        bandwidth: None,
        limits,
    }
}

impl RelayHost {
    pub(super) fn new(
        relay: usize,
        document: &NetworkDocument,
        setting: &Setting,
        start: Instant,
        (place, address): (simnet::NodeId, SocketAddr),
        (generation, now): (u8, Now),
        limits: Limits,
    ) -> Self {
        let seed = [generation.wrapping_mul(31) ^ relay as u8; 32];
        let node =
            RelayNode::new(node_config(relay, limits), document.clone(), &onion_keys(relay, document.interval()), seed)
                .expect("the document has it");
        let is_exit = relay >= setting.relays;
        let schedule = setting.mode.is_shaped().then(|| ExitSchedule {
            mode: setting.mode,
            pacing: setting.pacing.clone(),
            slot: SlotLength::DEFAULT,
            fastest: setting.class,
        });
        let slots = schedule.as_ref().filter(|_| is_exit);
        let slots = slots.map(|schedule| {
            SlotDriver::new(start, schedule.slot.duration(), document.charter().packet_size().packet())
        });
        let exit = is_exit.then(|| {
            let config = ExitConfig {
                packet_size: document.charter().packet_size(),
                session_packet: document.charter().packet_size().session_packet(),
                node_secret: NodeSecret::from_seed(secret(relay)),
                session_timeout: Duration::from_secs(30),
                tunnels_max: 64,
                flows_per_tunnel: FLOWS,
                memory_max: setting.memory_max,
                schedule,
                seed: [generation.wrapping_mul(37) ^ relay as u8; 32],
            };
            let mut exit =
                CircuitExit::new(config, setting.noise.source(setting.seed + 1 + relay as u64, &setting.pacing));
            let (shaped, unshaped) = memory_queues::pair(FLOWS, RING);
            exit.attach_queues(now, shaped);
            (exit, Unshaped::new(unshaped, false))
        });
        Self {
            node,
            health: Health::Well,
            forwarded: 0,
            kept: None,
            exit,
            slots,
            address,
            place,
            generation,
            due: Due::default(),
        }
    }

    pub(super) fn unshaped_mut(&mut self) -> Option<&mut Unshaped> {
        self.exit.as_mut().map(|(_, unshaped)| unshaped)
    }

    /// Bytes that an exit's servers have received.
    pub fn served(&self) -> u64 {
        self.exit.as_ref().map_or(0, |(_, unshaped)| unshaped.served())
    }

    /// Flows that are open at an exit's servers.
    pub fn flows(&self) -> usize {
        self.exit.as_ref().map_or(0, |(_, unshaped)| unshaped.open_count())
    }

    /// A named count of an exit's status.
    pub fn count(&self, name: &str) -> u64 {
        self.exit.as_ref().and_then(|(exit, _)| exit.status().counters.get(name).copied()).unwrap_or(0)
    }

    /// Sends a cell on, or does to it what it does to cells on purpose.
    fn forward(&mut self, from: SocketAddr, to: SocketAddr, packet: &mut [u8], network: &mut Network) {
        self.forwarded += 1;
        match self.health {
            Health::DropsPattern if self.forwarded % 64 < 4 => return,
            Health::Alters if self.forwarded.is_multiple_of(5) => packet[700] ^= 4,
            Health::Repeats => {
                network.send(from, to, packet);
            }
            Health::Reorders => {
                let before = self.kept.replace((from, to, packet.to_vec()));
                let Some((from, to, kept)) = before.filter(|_| self.forwarded.is_multiple_of(2)) else { return };
                if let Some((from, to, newer)) = self.kept.take() {
                    network.send(from, to, &newer);
                }
                network.send(from, to, &kept);
                return;
            }
            Health::Well | Health::Dead | Health::Alters | Health::DropsPattern => {}
        }
        network.send(from, to, packet);
    }

    /// Where a packet leaves: at the address that its link came to, if it has several.
    fn from(&self, route: Route) -> SocketAddr {
        route.from.map_or(self.address, |ip| SocketAddr::new(ip, self.address.port()))
    }

    /// Somebody may have changed something in it.
    pub(super) fn touch(&mut self) {
        self.due.touch();
    }

    fn rests(&self, now: Now) -> bool {
        let rings = self.exit.as_ref().is_some_and(|(_, unshaped)| unshaped.rings());
        self.slots.is_none() && self.due.rests(now.instant, rings)
    }

    pub(super) fn poll_timeout(&self, now: Now) -> Option<Instant> {
        if self.health == Health::Dead {
            return None;
        }
        let known = self.rests(now).then(|| self.due.known(false)).flatten();
        known.unwrap_or_else(|| self.next_due(now))
    }

    fn next_due(&self, now: Now) -> Option<Instant> {
        let exit = self.exit.as_ref().map(|(exit, _)| exit);
        let slot = self.slots.as_ref().zip(exit).and_then(|(slots, exit)| slots.next_time(now.instant, exit));
        let exit = exit.and_then(CircuitExit::poll_timeout);
        [self.node.poll_timeout(now), exit, slot].into_iter().flatten().min()
    }

    pub(super) fn handle_packet(&mut self, now: Now, from: Route, packet: &mut [u8], network: &mut Network) {
        if self.health == Health::Dead {
            return;
        }
        self.touch();
        match self.node.handle_packet(now, from, false, packet) {
            Came::Send { to } => {
                let from = self.from(to);
                self.forward(from, to.to, packet, network);
            }
            Came::Inner { circuit, inner, number } => {
                if let Some((exit, _)) = &mut self.exit {
                    exit.handle_inner(now, circuit, number, &packet[inner], &mut self.node);
                }
            }
            Came::Handled | Came::Dropped => {}
        }
    }

    pub(super) fn act(&mut self, now: Now, network: &mut Network) {
        if self.health == Health::Dead || self.rests(now) {
            return;
        }
        if self.node.poll_timeout(now).is_some_and(|at| at <= now.instant) {
            self.node.handle_timeout(now);
        }
        let circuits = &mut self.node;
        if let Some((exit, _)) = &mut self.exit {
            if exit.poll_timeout().is_some_and(|at| at <= now.instant) {
                exit.handle_timeout(now, circuits);
            }
            match &mut self.slots {
                Some(slots) => {
                    for departure in slots.turn(now, exit, circuits) {
                        network.send(self.address, departure.to, &departure.bytes);
                    }
                }
                None => exit.handle_queues(now),
            }
        }
        while let Some(event) = circuits.poll_event() {
            match (event, &mut self.exit) {
                (NodeEvent::Closed { circuit, .. }, Some((exit, _))) => {
                    exit.handle_circuit_gone(now, circuit, circuits);
                }
                (NodeEvent::NotLast { circuit }, Some((exit, _))) => {
                    exit.handle_circuit_extended(now, circuit, circuits);
                }
                _ => {}
            }
        }
        if let Some((exit, _)) = &mut self.exit {
            exit.pump(now, circuits);
            while exit.poll_event().is_some() {}
        }
        let mut bytes = Vec::new();
        while let Some(route) = self.node.poll_packet(now, &mut bytes) {
            network.send(self.from(route), route.to, &bytes);
            bytes.clear();
        }
        self.due.set(self.next_due(now));
    }
}
