//! A node as a whole: what `hushwire status -c node.toml --json` prints of all its parts, and the screen for people.

use crate::cluster::{self, ClusterStatus};
use crate::directory::{self, DirectoryStatus};
use crate::mirror::{self, MirrorStatus};
use crate::parts::PartsStatus;
use crate::relay::{self, RelayStatus};
use crate::render;
use crate::status::{Severity, Status, Warning};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Version of [`WholeStatus`]. Fields are added, never renamed or removed within a version; the parts in it have versions of their own.
pub const WHOLE_SCHEMA_VERSION: u32 = 1;

/// A node and its parts. One that the node does not have, or that gave no answer, is `null`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WholeStatus {
    /// [`WHOLE_SCHEMA_VERSION`].
    pub schema: u32,
    /// Version of the program that asked.
    pub version: String,
    /// Its parts as programs; none where a role was asked that is no part of a node.
    pub node: Option<PartsStatus>,
    /// `[cluster]`: its place in the log.
    pub cluster: Option<ClusterStatus>,
    /// `[cluster.directory]`: how the directory stands, as this member says.
    pub directory: Option<DirectoryStatus>,
    /// `[mirror]`.
    pub mirror: Option<MirrorStatus>,
    /// `[relay]`.
    pub relay: Option<RelayStatus>,
    /// `[exit]`.
    pub exit: Option<Box<Status>>,
    /// `[entry]`.
    pub entry: Option<Box<Status>>,
    /// `[service]`.
    pub service: Option<Box<Status>>,
    /// Parts of the file that gave no answer: they start, wait for a document, or do not run.
    pub silent: Vec<String>,
}

impl WholeStatus {
    /// What an operator should know of the parts that have no screen with warnings of their own.
    pub fn warnings(&self) -> Vec<Warning> {
        let of_directory = self.directory.iter().flat_map(DirectoryStatus::warnings);
        of_directory.chain(self.mirror.iter().flat_map(MirrorStatus::warnings)).collect()
    }

    /// The screen: the parts, then each of them, then what is wrong. `now_ms` is UTC milliseconds by this machine's clock.
    pub fn screen(&self, now_ms: u64, colour: bool) -> String {
        let mut screens: Vec<String> = self.node.iter().map(PartsStatus::screen).collect();
        screens.extend(self.cluster.as_ref().map(cluster::screen));
        screens.extend(self.directory.as_ref().map(directory::screen));
        screens.extend(self.mirror.as_ref().map(|status| mirror::screen(status, now_ms)));
        screens.extend(self.relay.as_ref().map(relay::screen));
        screens.extend(
            [&self.exit, &self.entry, &self.service].into_iter().flatten().map(|status| render::screen(status, colour)),
        );
        let mut text = screens.join("\n");
        if !self.silent.is_empty() {
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "\nno answer of {}: it starts, waits for the network's document, or does not run",
                self.silent.join(", ")
            );
        }
        for Warning { severity, sentence } in self.mirror.iter().flat_map(MirrorStatus::warnings) {
            let word = match severity {
                Severity::Notice => "note",
                Severity::Warning => "warning",
                Severity::Alarm => "ALARM",
            };
            let _ = writeln!(text, "\n{word}: {}", render::printable(&sentence));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterMember;
    use crate::directory::{DirectoryMember, DirectoryService, DirectoryServices};
    use crate::mirror::{Announced, HeldEdition};
    use crate::parts::{PartState, PartStatus};
    use crate::peers::{Neighbour, Peers};
    use crate::status::{EntryTunnel, ExitTunnels, Leg, Link, LinkState, Role};

    fn neighbour(name: &str) -> Neighbour {
        Neighbour {
            node_id: name.into(),
            answers: true,
            dialled: true,
            rtt_us: Some(31_000),
            loss_per_mille: Some(4),
            hops: 6,
        }
    }

    fn cluster() -> ClusterStatus {
        ClusterStatus {
            schema: 1,
            version: "0.1.0".into(),
            node_id: "hwn1own".into(),
            name: "n1.example".into(),
            pid: 11,
            leader: Some("n2.example".into()),
            term: 1,
            votes: true,
            members: vec![
                ClusterMember { node_id: "hwn1own".into(), own: true, votes: true, ..ClusterMember::default() },
                ClusterMember {
                    node_id: "hwn1two".into(),
                    votes: true,
                    connected_s: Some(61),
                    connections: 1,
                    ..ClusterMember::default()
                },
                ClusterMember { node_id: "hwn1three".into(), votes: true, connections: 2, ..ClusterMember::default() },
            ],
            ..ClusterStatus::default()
        }
    }

    fn directory() -> DirectoryStatus {
        DirectoryStatus {
            version: 1,
            published: 7,
            hash: "0a".repeat(32),
            relays: Some(6),
            needed: 2,
            late_intervals: Some(0),
            term: 1,
            admitted: 6,
            described: 6,
            next_order: 7,
            signatures: 3,
            members: vec![DirectoryMember { member: "hwn1own".into(), signed: true, said_behind_ms: Some(4_000) }],
            services: DirectoryServices { takes_new: true, ..DirectoryServices::default() },
            service: Some(DirectoryService { streams: 4, open: 1, ..DirectoryService::default() }),
            ..DirectoryStatus::default()
        }
    }

    fn mirror() -> MirrorStatus {
        let edition = HeldEdition { index: 7, hash: "0a".repeat(32), valid_until_ms: 9_000_000, relays: 6, term: 1 };
        MirrorStatus {
            schema: 1,
            version: "0.1.0".into(),
            pid: 12,
            network: "example".into(),
            packet_size: 1350,
            edition: Some(edition),
            valid: true,
            tunnels: true,
            answered: true,
            fetched_ms: Some(1_000),
            next_ms: 600_000,
            skew_ms: Some(90_000),
            clock_is_wrong: true,
            announced: Some(Announced { outcome: "said".into(), listed: Some(true), ..Announced::default() }),
            ..MirrorStatus::default()
        }
    }

    fn relay() -> RelayStatus {
        RelayStatus {
            schema: 1,
            version: "0.1.0".into(),
            node_id: "hwn1own".into(),
            pid: 13,
            links: 3,
            clients: 2,
            circuits: 5,
            neighbours: vec![neighbour("hwn1relay"), Neighbour { answers: false, ..neighbour("hwn1quiet") }],
            ..RelayStatus::default()
        }
    }

    fn exit() -> Status {
        Status {
            schema: 1,
            version: "0.1.0".into(),
            role: Some(Role::Exit),
            exit: Some(ExitTunnels { links: 2, ..ExitTunnels::default() }),
            neighbours: vec![neighbour("hwn1middle")],
            clients: Some(1),
            ..Status::default()
        }
    }

    fn entry() -> Status {
        let leg = Leg { number: Some(0), state: "linked".into(), path: vec!["hwn1guard".into()], ..Leg::default() };
        let guard = Link {
            peer: "hwn1guard".into(),
            node_id: Some("hwn1guard".into()),
            state: Some(LinkState::Up),
            since_s: Some(5),
            ..Link::default()
        };
        Status {
            schema: 1,
            version: "0.1.0".into(),
            role: Some(Role::Entry),
            links: vec![guard],
            circuits: Some(EntryTunnel { legs: vec![leg], ..EntryTunnel::default() }),
            ..Status::default()
        }
    }

    /// A node with every part there is.
    fn whole() -> WholeStatus {
        let part = |name: &str, pid| PartStatus {
            name: name.into(),
            state: PartState::Running,
            pid: Some(pid),
            ..PartStatus::default()
        };
        WholeStatus {
            schema: WHOLE_SCHEMA_VERSION,
            version: "0.1.0".into(),
            node: Some(PartsStatus {
                schema: 1,
                version: "0.1.0".into(),
                pid: 10,
                parts: vec![part("cluster", 11), part("mirror", 12)],
            }),
            cluster: Some(cluster()),
            directory: Some(directory()),
            mirror: Some(mirror()),
            relay: Some(relay()),
            exit: Some(Box::new(exit())),
            entry: Some(Box::new(entry())),
            service: None,
            silent: Vec::new(),
        }
    }

    #[test]
    fn the_schema_of_a_node_is_as_it_was() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&whole()).expect("plain values"));
    }

    #[test]
    fn the_schema_of_peers_is_as_it_was() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&Peers::of(&whole())).expect("plain values"));
    }

    #[test]
    fn the_screens_of_a_node_and_its_peers() {
        let silent = WholeStatus { entry: None, silent: vec!["entry".into()], ..whole() };
        insta::assert_snapshot!(format!("{}\n----\n{}", silent.screen(60_000, false), Peers::of(&silent).screen()));
    }

    #[test]
    fn what_is_written_is_read_and_later_fields_are_passed_over() -> Result<(), serde_json::Error> {
        let text = serde_json::to_string(&whole())?;
        assert_eq!(serde_json::from_str::<WholeStatus>(&text)?, whole());
        let later: WholeStatus =
            serde_json::from_str(r#"{"schema":2,"service":{"name":"x"},"relay":{"circuits":4,"later":1}}"#)?;
        assert_eq!((later.schema, later.relay.map(|relay| relay.circuits)), (2, Some(4)));
        let peers = Peers::of(&whole());
        assert_eq!(serde_json::from_str::<Peers>(&serde_json::to_string(&peers)?)?, peers);
        Ok(())
    }

    #[test]
    fn peers_are_named_and_clients_are_not() {
        let peers = Peers::of(&whole());
        let named: Vec<(&str, &str, &str)> =
            peers.peers.iter().map(|peer| (peer.part.as_str(), peer.node_id.as_str(), peer.state.as_str())).collect();
        let expected = [
            ("cluster", "hwn1two", "up"),
            ("cluster", "hwn1three", "lost"),
            ("relay", "hwn1relay", "up"),
            ("relay", "hwn1quiet", "silent"),
            ("exit", "hwn1middle", "up"),
            ("entry", "hwn1guard", "up"),
        ];
        assert_eq!(named, expected);
        assert_eq!(peers.clients, [("exit".to_owned(), 1), ("relay".to_owned(), 2)].into());
    }
}
