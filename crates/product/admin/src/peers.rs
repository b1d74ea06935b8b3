//! The neighbours of a node: who is at the other ends of its links, and how these do. Never what goes over them, or on to whom.

use crate::cluster::ClusterStatus;
use crate::render::{UNKNOWN, duration, printable};
use crate::status::{Link, LinkState, Status};
use crate::whole::WholeStatus;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Version of [`Peers`]. Fields are added, never renamed or removed within a version.
pub const PEERS_SCHEMA_VERSION: u32 = 1;

/// A relay at the other end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Neighbour {
    /// Its node id.
    pub node_id: String,
    /// Whether it answers; else it has been silent lately, and the link ends soon.
    pub answers: bool,
    /// Whether this node dialled it; else it dialled this node.
    pub dialled: bool,
    /// Smoothed round trip in microseconds.
    pub rtt_us: Option<u64>,
    /// Loss on the way to it over the last ten seconds, in thousandths.
    pub loss_per_mille: Option<u32>,
    /// How often the link went to another pair of ports.
    pub hops: u64,
}

/// The neighbours of all parts of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Peers {
    /// [`PEERS_SCHEMA_VERSION`].
    pub schema: u32,
    /// Version of the program.
    pub version: String,
    /// By part, and within a part by name.
    pub peers: Vec<Peer>,
    /// Links of clients by part. They have no name.
    pub clients: BTreeMap<String, u64>,
    /// Parts that run and gave no answer.
    pub silent: Vec<String>,
}

/// One neighbour.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// The part of this node that has the link: `cluster`, `relay`, `exit` or `entry`.
    pub part: String,
    /// The neighbour's node id.
    pub node_id: String,
    /// `connecting`, `up`, `silent` or `lost`.
    pub state: String,
    /// Seconds since it came into that state.
    pub since_s: Option<u64>,
    /// Smoothed round trip in microseconds.
    pub rtt_us: Option<u64>,
    /// Loss on the way to it over the last ten seconds, in thousandths.
    pub loss_per_mille: Option<u32>,
    /// How often the link went to another pair of ports; none where links do not hop.
    pub hops: Option<u64>,
}

impl Peers {
    /// What a node knows of its neighbours.
    pub fn of(status: &WholeStatus) -> Self {
        let mut peers = Vec::new();
        let mut clients = BTreeMap::new();
        if let Some(cluster) = &status.cluster {
            peers.extend(members(cluster));
        }
        if let Some(relay) = &status.relay {
            peers.extend(relay.neighbours.iter().map(|neighbour| of_neighbour("relay", neighbour)));
            clients.insert("relay".to_owned(), relay.clients);
        }
        for (part, status) in [("exit", &status.exit), ("entry", &status.entry), ("service", &status.service)] {
            let Some(status) = status else { continue };
            peers.extend(links(part, status));
            clients.extend(status.clients.map(|count| (part.to_owned(), count)));
        }
        let (version, silent) = (status.version.clone(), status.silent.clone());
        Self { schema: PEERS_SCHEMA_VERSION, version, peers, clients, silent }
    }

    /// The screen.
    pub fn screen(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{:<8} {:<66} {:<22} {:>10} {:>7} {:>5}",
            "PART", "NODE", "LINK", "ROUND TRIP", "LOSS", "HOPS"
        );
        for peer in &self.peers {
            let since = peer.since_s.map_or(String::new(), |seconds| format!(" for {}", duration(seconds)));
            let state = format!("{}{since}", printable(&peer.state));
            let rtt = peer.rtt_us.map_or(UNKNOWN.to_owned(), |us| format!("{:.1} ms", us as f64 / 1_000.0));
            let loss =
                peer.loss_per_mille.map_or(UNKNOWN.to_owned(), |loss| format!("{:.1} %", f64::from(loss) / 10.0));
            let hops = peer.hops.map_or("-".to_owned(), |hops| hops.to_string());
            let (part, node) = (printable(&peer.part), printable(&peer.node_id));
            let _ = writeln!(text, "{part:<8} {node:<66} {state:<22} {rtt:>10} {loss:>7} {hops:>5}");
        }
        if self.peers.is_empty() {
            text = "no neighbours\n".to_owned();
        }
        for (part, count) in &self.clients {
            let _ = writeln!(text, "{}: {count} links of clients, who have no name here", printable(part));
        }
        for part in &self.silent {
            let _ = writeln!(text, "{} gave no answer", printable(part));
        }
        text
    }
}

fn members(cluster: &ClusterStatus) -> impl Iterator<Item = Peer> + '_ {
    cluster.members.iter().filter(|member| !member.own).map(|member| Peer {
        part: "cluster".to_owned(),
        node_id: member.node_id.clone(),
        state: match (member.connected_s, member.connections) {
            (Some(_), _) => "up",
            (None, 0) => "connecting",
            (None, _) => "lost",
        }
        .to_owned(),
        since_s: member.connected_s,
        ..Peer::default()
    })
}

fn links<'a>(part: &'static str, status: &'a Status) -> impl Iterator<Item = Peer> + 'a {
    let pairs = status.links.iter().map(move |link: &Link| Peer {
        part: part.to_owned(),
        node_id: link.node_id.clone().unwrap_or_else(|| link.peer.clone()),
        state: match link.state {
            Some(LinkState::Up) => "up",
            Some(LinkState::Lost) => "lost",
            Some(LinkState::Connecting) | None => "connecting",
        }
        .to_owned(),
        since_s: link.since_s,
        rtt_us: link.rtt_us,
        loss_per_mille: link.loss_per_mille,
        hops: link.hops.as_ref().map(|hops| hops.hops),
    });
    pairs.chain(status.neighbours.iter().map(move |neighbour| of_neighbour(part, neighbour)))
}

fn of_neighbour(part: &str, neighbour: &Neighbour) -> Peer {
    Peer {
        part: part.to_owned(),
        node_id: neighbour.node_id.clone(),
        state: if neighbour.answers { "up" } else { "silent" }.to_owned(),
        since_s: None,
        rtt_us: neighbour.rtt_us,
        loss_per_mille: neighbour.loss_per_mille,
        hops: Some(neighbour.hops),
    }
}
