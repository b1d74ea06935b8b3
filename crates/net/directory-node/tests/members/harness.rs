//! A cluster of members.

use cluster_node::credentials::{CredentialStore, Credentials, OwnKey};
use cluster_node::member::{Member, Proof};
use cluster_node::node::{Beginning, Node, Settings, StartError};
use cluster_node::pki::Root;
use cluster_node::transport;
use directory_node::{
    DirectoryNode, ServiceClient, ServiceCounts, SharedDirectory, StateFiles, StateFilesError, Stopped, begin,
    cluster_of,
};
use identity::{DoorKey, LinkSecret, NodeId, NodeSecret, OnionKey, OperatorSecret};
use network_document::{
    Announcement, Charter, Descriptor, Electorate, Founding, Label, Roles, SignedEdition, TermFile,
};
use onion::Interval;
use relay_directory::{
    Answer, CODE_TRY_AGAIN, CommandOutcome, Directory, Promise, Refusal, Request, ServiceAnswer, ServiceRecord,
    ServiceRequest,
};
use replicated_log::Tuning;
use shaping::RateClass;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nothing that a test waits for takes longer on the busiest machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// The shortest that there is.
pub(crate) const INTERVAL_MS: u64 = 1_000;

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_millis() as u64
}

/// An address that no other member of any test has, in this process or another one. A port that was bound to find a free one may be
/// another's before it is bound again.
fn own_address() -> SocketAddr {
    static PORTS: AtomicU16 = AtomicU16::new(20_000);
    let own = std::process::id();
    let host = Ipv4Addr::new(127, 1 + (own >> 16) as u8 % 200, (own >> 8) as u8, own as u8);
    (host, PORTS.fetch_add(1, Ordering::Relaxed)).into()
}

/// 32 bytes of a number, of one kind.
fn seed(kind: u8, number: u32) -> [u8; 32] {
    let mut seed = [kind; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    seed
}

pub(crate) fn relay(number: u32) -> NodeSecret {
    NodeSecret::from_seed(seed(0x80, number))
}

/// What a relay says of itself, with all that makes such words long.
pub(crate) fn announcement(number: u32, published_ms: u64) -> Announcement {
    let [_, b, c, d] = number.to_be_bytes();
    Announcement {
        descriptor: Descriptor {
            node_id: relay(number).node_id(),
            link_key: LinkSecret::from_bytes(seed(0x81, number)).link_key(),
            door_key: DoorKey::from_bytes(seed(0x82, number)),
            onion_keys: vec![(Interval(0), OnionKey(seed(0x83, number))), (Interval(1), OnionKey(seed(0x84, number)))],
            addresses: vec![SocketAddr::from((Ipv4Addr::new(100, b, c, d), 4433))],
            hop_ports: "40000-49999".parse().ok(),
            roles: Roles { guard: true, middle: true, ..Roles::default() },
            operator: Label::new("alice", "operator").expect("a label"),
            bandwidth: RateClass::at_least(20_000_000).expect("a class"),
        },
        next_link_key: None,
        next_door_key: None,
        exit_ports: None,
        published_ms,
        expires_ms: published_ms + 600_000,
    }
}

struct Runs {
    node: Node,
    member: DirectoryNode,
    directory: SharedDirectory,
}

pub(crate) struct Cluster {
    pub(crate) folder: PathBuf,
    pub(crate) charter: Arc<Charter>,
    pub(crate) operator: OperatorSecret,
    pub(crate) secrets: Vec<NodeSecret>,
    root: Root,
    members: Vec<Member>,
    /// The term outside the log with which members begin from now on, and its state.
    term: Option<(TermFile, Vec<u8>)>,
    running: BTreeMap<usize, Runs>,
}

impl Cluster {
    /// Keys, names and ports for so many members, of whom so many may lie; none runs.
    pub(crate) fn new(name: &str, count: u8, liars: u8) -> Self {
        Self::with_interval(name, count, liars, INTERVAL_MS)
    }

    /// The same, with intervals of another length.
    pub(crate) fn with_interval(name: &str, count: u8, liars: u8, interval_ms: u64) -> Self {
        let folder = std::env::temp_dir().join(format!("hushwire-members-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        let root = Root::generate("test", &[], now_ms() / 1_000, 365).expect("a root");
        let secrets: Vec<NodeSecret> = (1..=count).map(|seed| NodeSecret::from_seed([seed; 32])).collect();
        let member = |(number, secret): (usize, &NodeSecret)| Member {
            id: secret.node_id(),
            name: format!("n{number}").parse().expect("a name"),
            address: own_address().into(),
            proof: Proof::Key,
        };
        let members = secrets.iter().enumerate().map(member).collect();
        let operator = OperatorSecret::from_seed([0x77; 32]);
        let electorate = Electorate::new(1, secrets.iter().map(NodeSecret::node_id).collect(), liars).expect("enough");
        let mut founding = Founding::new(now_ms(), electorate);
        (founding.interval_ms, founding.key_intervals) = (interval_ms, 600);
        let label = Label::new("example", "name").expect("a label");
        let charter = Charter::new(label, Default::default(), vec![operator.operator_key()], 1).expect("a charter");
        let charter = Arc::new(charter.with_directory(founding).expect("a founding"));
        Self { folder, charter, operator, secrets, root, members, term: None, running: BTreeMap::new() }
    }

    pub(crate) fn socket(&self, node: usize) -> PathBuf {
        self.folder.join(format!("socket-{node}"))
    }

    pub(crate) fn files(&self, node: usize) -> Result<(StateFiles, Promise), StateFilesError> {
        StateFiles::open(&self.folder.join(format!("state-{node}")))
    }

    fn settings(&self, node: usize, founds: bool, directory: &SharedDirectory) -> Settings {
        let (member, key) = (&self.members[node], OwnKey::Node(&self.secrets[node]));
        let issued = self.root.issue(member.id, &member.name, now_ms() / 1_000, 90).expect("a certificate");
        let credentials = Credentials::from_pem(&issued.certificate, &key, self.root.certificate());
        let (applications, live) = directory.applications();
        Settings {
            transport: transport::Settings {
                own: member.id,
                cluster: cluster_of([0; 32], &self.charter, self.term.as_ref().map(|(file, _)| file)),
                listen: member.address.to_string().parse().expect("an address"),
                retry_delay: Duration::from_millis(20),
                idle_timeout: Duration::from_secs(60),
                reset_secret: transport::Settings::reset_secret(&key),
            },
            credentials: CredentialStore::new(credentials.expect("good credentials")),
            members: self.members.iter().filter(|member| self.is_voter(member.id)).cloned().collect(),
            folder: self.log_folder(node),
            beginning: if founds && !self.log_folder(node).exists() { Beginning::Founder } else { Beginning::Earlier },
            tuning: Tuning::default(),
            pipe: self.folder.join(format!("pipe-{node}")),
            pipe_users: Vec::new(),
            applications,
            live,
        }
    }

    fn is_voter(&self, id: NodeId) -> bool {
        self.term.as_ref().is_none_or(|(file, _)| file.electorate().contains(&id))
    }

    fn log_folder(&self, node: usize) -> PathBuf {
        let term = self.term.as_ref().map_or(1, |(file, _)| file.electorate().term());
        self.folder.join(format!("log-{term}-{node}"))
    }

    fn first(&self) -> Directory {
        let term = self.term.as_ref().map(|(file, state)| (file, state.as_slice()));
        begin(Arc::clone(&self.charter), term).expect("it has a directory")
    }

    /// From now on members begin with what this member kept on its disk, in a term that the operator signed.
    pub(crate) fn begin_term(&mut self, kept_by: usize, members: &[usize], term: u64) {
        let state = std::fs::read(self.folder.join(format!("state-{kept_by}/directory.state"))).expect("it is kept");
        let ids = members.iter().map(|node| self.secrets[*node].node_id()).collect();
        let hash = Directory::decode(Arc::clone(&self.charter), &state).expect("a state").hash();
        let electorate = Electorate::new(term, ids, 0).expect("enough");
        let mut file = TermFile::new(self.charter.network_id(), hash, electorate);
        file.sign(&self.operator);
        self.term = Some((file, state));
    }

    pub(crate) async fn start_all(&mut self) {
        for node in 0..self.secrets.len() {
            self.start(node, true).await;
        }
    }

    pub(crate) async fn start(&mut self, node: usize, founds: bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let (directory, started) = loop {
            let directory = SharedDirectory::new(self.first());
            match Node::start(self.settings(node, founds, &directory)) {
                Ok(started) => break (directory, started),
                // The socket of the one that was stopped goes a moment later.
                Err(StartError::Bind(transport::BindError::Listen { .. })) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(tokio::time::Instant::now() < deadline, "its port is not free again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let state = self.folder.join(format!("state-{node}"));
        let files = if founds { StateFiles::create(&state) } else { StateFiles::open(&state) };
        let settings = directory_node::Settings {
            directory: directory.clone(),
            secret: self.secrets[node].clone(),
            files: files.expect("its folder"),
            socket: self.socket(node),
        };
        let member = DirectoryNode::start(started.handle().log.clone(), settings).expect("its socket");
        self.running.insert(node, Runs { node: started, member, directory });
    }

    pub(crate) async fn stop(&mut self, node: usize) {
        let Runs { node, member, .. } = self.running.remove(&node).expect("it runs");
        drop(member);
        node.stop().await.expect("it stops when it is told to");
    }

    /// Waits until a member ends by itself, and takes it and its node away.
    pub(crate) async fn ended(&mut self, node: usize) -> Stopped {
        let Runs { node, mut member, .. } = self.running.remove(&node).expect("it runs");
        let why = tokio::time::timeout(PATIENCE, member.ended()).await.expect("it ends");
        drop(member);
        node.stop().await.expect("it stops when it is told to");
        why
    }

    /// Commands and all else that took effect at this node since it started.
    pub(crate) fn applied(&self, node: usize) -> u64 {
        self.running[&node].node.handle().log.view.borrow().applied
    }

    /// What the service of a member has done.
    pub(crate) fn counts(&self, node: usize) -> ServiceCounts {
        self.running[&node].member.counts().now()
    }

    pub(crate) async fn leader(&self) -> usize {
        let leads = |runs: &Runs| runs.node.handle().log.view.borrow().status.leads;
        self.until("somebody leads", |cluster| cluster.running.values().any(leads)).await;
        self.running.iter().find(|(_, runs)| leads(runs)).map_or(0, |(node, _)| *node)
    }

    pub(crate) fn look<T>(&self, node: usize, at: impl FnOnce(&Directory) -> T) -> T {
        self.running[&node].directory.look(at)
    }

    /// The newest index that any running member knows to be published.
    pub(crate) fn highest(&self) -> u64 {
        let index = |runs: &Runs| runs.directory.look(|directory| directory.published_name().index);
        self.running.values().map(index).max().unwrap_or_default()
    }

    /// The present index, by the clock.
    pub(crate) fn due(&self) -> u64 {
        self.charter.founding().expect("a directory").index_at(now_ms())
    }

    /// Until all of these know a published edition that is as new.
    pub(crate) async fn until_published(&self, nodes: &[usize], index: u64) {
        let known = |cluster: &Self, node: &usize| cluster.look(*node, |directory| directory.published_name().index);
        let all = |cluster: &Self| nodes.iter().all(|node| known(cluster, node) >= index);
        self.until(&format!("an edition {index} at all of {nodes:?}"), all).await;
    }

    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waited = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "{what}");
    }

    pub(crate) async fn ask(&self, node: usize, request: ServiceRequest) -> ServiceAnswer {
        let socket = self.socket(node);
        let ask = move || ServiceClient::connect(&socket).expect("it is served").ask(&request).expect("an answer");
        tokio::task::spawn_blocking(ask).await.expect("it was asked")
    }

    pub(crate) async fn submit(&self, node: usize, command: Vec<u8>) -> CommandOutcome {
        match self.ask(node, ServiceRequest::Submit(command)).await {
            ServiceAnswer::Submit(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    /// Says a command until it has taken effect: while there is no leader, or a busy one, a member says that it was not ordered in time.
    pub(crate) async fn ordered(&self, node: usize, command: Vec<u8>) {
        self.said(node, ServiceRequest::Submit(command)).await;
    }

    /// The same for whatever the log has to take.
    pub(crate) async fn said(&self, node: usize, request: ServiceRequest) -> PutOff {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut put_off = PutOff::default();
        loop {
            let outcome = match self.ask(node, request.clone()).await {
                ServiceAnswer::Submit(outcome) => outcome,
                other => panic!("{other:?}"),
            };
            if outcome.is_done() {
                return put_off;
            }
            // What was not ordered in time may have been ordered later.
            let is_old =
                outcome.code == Refusal::Old.code() || outcome.code == Refusal::OrderNumber { expected: 0 }.code();
            if is_old && put_off.late > 0 {
                put_off.old += 1;
                return put_off;
            }
            assert!(is_late(&outcome) && tokio::time::Instant::now() < deadline, "{outcome:?}");
            put_off.late += 1;
        }
    }

    pub(crate) async fn publish(&self, node: usize, record: ServiceRecord) -> CommandOutcome {
        match self.ask(node, ServiceRequest::Publish(record)).await {
            ServiceAnswer::Submit(outcome) => outcome,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn fetch(&self, node: usize, hash: [u8; 32]) -> Option<SignedEdition> {
        match self.ask(node, ServiceRequest::Fetch(Request::ByHash { hash })).await {
            ServiceAnswer::Fetch(Answer::Full(bytes)) => Some(SignedEdition::decode(&bytes).expect("an edition")),
            ServiceAnswer::Fetch(Answer::Unknown) => None,
            other => panic!("{other:?}"),
        }
    }
}

/// Whether the log did not take it in time. That one client says more than it may is something else.
pub(crate) fn is_late(outcome: &CommandOutcome) -> bool {
    outcome.code == CODE_TRY_AGAIN
        && ["in time", "too many commands wait"].iter().any(|part| outcome.sentence.contains(part))
}

/// How often a member answered to the same words before they had taken effect.
#[derive(Debug, Default)]
pub(crate) struct PutOff {
    /// That they were not ordered in time.
    pub(crate) late: u64,
    /// That they had been ordered meanwhile.
    pub(crate) old: u64,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Members that run write into the folder.
        self.running.clear();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
