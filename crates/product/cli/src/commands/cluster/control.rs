//! What a running node answers at its admin socket.

use crate::budget::unix_s;
use admin::cluster::{CLUSTER_SCHEMA_VERSION, ClusterAnswer, ClusterMember, ClusterRequest, ClusterStatus};
use admin::directory::DirectoryService;
use admin::protocol::{Request, Response};
use admin::status::SCHEMA_VERSION;
use cluster_node::clients::Answer;
use cluster_node::credentials::CredentialStore;
use cluster_node::driver;
use cluster_node::member::Member;
use cluster_node::node::Handle;
use cluster_node::pki::CertificateInfo;
use cluster_node::transport::{Fault, PeerStatus};
use directory_node::{Counts, ServiceCounts};
use identity::NodeId;
use replicated_log::Change;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a majority may take for a change.
const PATIENCE: Duration = Duration::from_secs(4);

/// A node and what its status says beside what it knows itself.
#[derive(Clone)]
pub(super) struct Control {
    handle: Handle,
    own: NodeId,
    credentials: CredentialStore,
    pipe: String,
    begun: Instant,
    names: Names,
    stop: mpsc::Sender<()>,
    /// As a member of a directory.
    counts: Option<Counts>,
}

/// The names of members, as the newest list has them.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Arc<Mutex<BTreeMap<NodeId, String>>>);

impl Names {
    /// Takes those of a list; one who is not on it keeps the name that was known.
    pub(super) fn learn(&self, members: &[Member]) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.extend(members.iter().map(|member| (member.id, member.name.to_string())));
    }

    fn of(&self, node: NodeId) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&node).cloned()
    }

    fn shown(&self, node: NodeId) -> String {
        self.of(node).unwrap_or_else(|| node.to_string())
    }

    fn find(&self, text: &str) -> Option<NodeId> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let named = names.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(node, _)| *node);
        named.or_else(|| text.parse().ok())
    }
}

impl Control {
    /// `stop` gets a word when somebody asks for the node's end.
    pub(super) fn new(
        handle: Handle,
        own: NodeId,
        credentials: CredentialStore,
        pipe: String,
        names: Names,
        stop: mpsc::Sender<()>,
    ) -> Self {
        Self { handle, own, credentials, pipe, begun: Instant::now(), names, stop, counts: None }
    }

    /// It is a member of a directory, whose service counts what it does.
    pub(super) fn with_counts(self, counts: Option<Counts>) -> Self {
        Self { counts, ..self }
    }

    pub(super) async fn answer(self, request: Request) -> Response {
        match request {
            Request::Cluster(request) => Response::Cluster { answer: self.cluster(request).await },
            Request::Stop => {
                // A word that waits already says the same.
                let _ = self.stop.try_send(());
                Response::Stopping
            }
            Request::Version => {
                Response::Version { version: env!("CARGO_PKG_VERSION").to_owned(), status_schema: SCHEMA_VERSION }
            }
            Request::Status | Request::HopStatus | Request::Parts(_) | Request::Mirror | Request::Relay => {
                Response::Refused { reason: "this is a node of a cluster; ask `hushwire cluster status`".to_owned() }
            }
        }
    }

    async fn cluster(&self, request: ClusterRequest) -> ClusterAnswer {
        let asked = match request {
            ClusterRequest::Status => return ClusterAnswer::Status { status: Box::new(self.status()) },
            ClusterRequest::Change { add, remove } => match (self.found(add), self.found(remove)) {
                (Ok(add), Ok(remove)) => driver::Request::Change(Change { add, remove }),
                (Err(reason), _) | (_, Err(reason)) => return ClusterAnswer::NotDone { reason },
            },
            ClusterRequest::Withdraw => driver::Request::Withdraw,
            ClusterRequest::EndTerm => driver::Request::EndTerm,
        };
        let not_done = |reason: &str| ClusterAnswer::NotDone { reason: reason.to_owned() };
        match tokio::time::timeout(PATIENCE, self.handle.log.ask(asked)).await {
            Ok(Some(Answer::Controlled(true))) => ClusterAnswer::Done,
            Ok(Some(Answer::Controlled(false))) => not_done(
                "it does not fit how the cluster stands: another change is planned, nothing is planned, who is to join votes \
                 already, who is to leave does not, or too few would be left",
            ),
            Ok(Some(Answer::NotTaken(error))) => not_done(&error.to_string()),
            Ok(Some(Answer::Busy(_))) => not_done("too many requests wait"),
            Ok(Some(_)) => not_done("the node answered something else"),
            Ok(None) => not_done("the node has stopped"),
            Err(_) => not_done("no majority of the members answers; it is done when one does, if nobody withdraws it"),
        }
    }

    fn found(&self, member: Option<String>) -> Result<Option<NodeId>, String> {
        let find = |text: String| {
            self.names
                .find(&text)
                .ok_or_else(|| format!("{text} is no node id, and no name in this node's list of members"))
        };
        member.map(find).transpose()
    }

    fn status(&self) -> ClusterStatus {
        let view = self.handle.log.view.borrow().clone();
        let connections = self.handle.connections();
        let status = view.status;
        let shown = |node: Option<NodeId>| node.map(|node| self.names.shown(node));
        // Who votes and who is let in, each once.
        let mut all: BTreeMap<NodeId, PeerStatus> = connections.peers;
        for node in view.members.iter().chain([self.own]) {
            all.entry(node).or_default();
        }
        let member = |(node, peer): (NodeId, PeerStatus)| ClusterMember {
            node_id: node.to_string(),
            name: self.names.of(node),
            votes: view.members.contains(node),
            own: node == self.own,
            connected_s: peer.session.map(|(_, since)| since.elapsed().as_secs()),
            connections: peer.sessions,
            failed_dials: peer.failed_dials,
            faults: Fault::ALL.iter().map(|fault| peer.counters.count(*fault)).sum(),
        };
        let shown_certificate = CertificateInfo::from_der(self.credentials.current().certificate_der());
        let until = shown_certificate.ok().map(|info| info.not_after_s);
        ClusterStatus {
            schema: CLUSTER_SCHEMA_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            node_id: self.own.to_string(),
            name: self.names.shown(self.own),
            pid: std::process::id(),
            uptime_s: self.begun.elapsed().as_secs(),
            pipe: self.pipe.clone(),
            term: status.term.0,
            votes: status.votes,
            leader: shown(status.leader),
            leads: status.leads,
            next: status.next.0,
            decided: status.decided.0,
            length: status.length.0,
            waiting: status.waiting as u64,
            applied: view.applied,
            syncs: view.syncs,
            sync_us: microseconds(view.sync_time),
            longest_sync_us: microseconds(view.longest_sync),
            certificate_until_unix_s: until,
            certificate_left_s: until.map(|until| until.saturating_sub_unsigned(unix_s())),
            joins: shown(view.plan.and_then(|plan| plan.add)),
            leaves: shown(view.plan.and_then(|plan| plan.remove)),
            members: all.into_iter().map(member).collect(),
            refused_handshakes: connections.refused_handshakes,
            service: self.counts.as_ref().map(|counts| service(counts.now())),
        }
    }
}

fn service(counts: ServiceCounts) -> DirectoryService {
    DirectoryService {
        streams: counts.streams,
        open: counts.open,
        stalled: counts.stalled,
        invalid: counts.invalid,
        strangers_open: counts.strangers_open,
        strangers_closed: counts.strangers_closed,
        commands: counts.commands,
        put_off: counts.put_off,
        strangers: counts.strangers,
        over_quota: counts.over_quota,
        refused: counts.refused,
        unordered: counts.unordered,
    }
}

fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
