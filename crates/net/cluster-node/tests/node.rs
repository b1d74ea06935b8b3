//! Whole nodes on loopback: with certificates, connections, folders and pipes, in one process.

use cluster_node::application::Applications;
use cluster_node::clients::Answer;
use cluster_node::credentials::{CredentialStore, Credentials, OwnKey};
use cluster_node::driver::{Request, Running};
use cluster_node::folder::FolderError;
use cluster_node::history::{Follower, Told};
use cluster_node::member::{Member, Proof};
use cluster_node::node::{Beginning, Node, Settings, StartError};
use cluster_node::pki::Root;
use cluster_node::transport;
use identity::NodeSecret;
use replicated_log::apps::{self, LogRequest};
use replicated_log::{Change, Sequence, SessionId, Tuning};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nothing that a test waits for takes longer on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// An address that no other member of any test has, in this process or another one. A port that was bound to find a free one may be
/// another's before it is bound again.
fn own_address() -> SocketAddr {
    static PORTS: AtomicU16 = AtomicU16::new(20_000);
    let own = std::process::id();
    let host = Ipv4Addr::new(127, 1 + (own >> 16) as u8 % 200, (own >> 8) as u8, own as u8);
    (host, PORTS.fetch_add(1, Ordering::Relaxed)).into()
}

struct Cluster {
    folder: PathBuf,
    root: Root,
    secrets: Vec<NodeSecret>,
    members: Vec<Member>,
    running: BTreeMap<usize, Node>,
}

impl Cluster {
    /// Keys, names and ports for so many nodes; none runs.
    fn new(name: &str, count: u8) -> Self {
        let folder = std::env::temp_dir().join(format!("hushwire-node-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        let root = Root::generate("test", &[], now_s(), 365).expect("a root");
        let secrets: Vec<NodeSecret> = (1..=count).map(|seed| NodeSecret::from_seed([seed; 32])).collect();
        let member = |(number, secret): (usize, &NodeSecret)| Member {
            id: secret.node_id(),
            name: format!("n{number}").parse().expect("a name"),
            address: own_address().into(),
            proof: Proof::Key,
        };
        let members = secrets.iter().enumerate().map(member).collect();
        Self { folder, root, secrets, members, running: BTreeMap::new() }
    }

    fn settings(&self, node: usize, beginning: Beginning, known: usize) -> Settings {
        let (member, key) = (&self.members[node], OwnKey::Node(&self.secrets[node]));
        let issued = self.root.issue(member.id, &member.name, now_s(), 90).expect("a certificate");
        let credentials = Credentials::from_pem(&issued.certificate, &key, self.root.certificate());
        Settings {
            transport: transport::Settings {
                own: member.id,
                cluster: [0xc2; 32],
                listen: member.address.to_string().parse().expect("an address"),
                retry_delay: Duration::from_millis(20),
                idle_timeout: Duration::from_secs(60),
                reset_secret: transport::Settings::reset_secret(&key),
            },
            credentials: CredentialStore::new(credentials.expect("good credentials")),
            members: self.members[..known].to_vec(),
            folder: self.folder.join(format!("log-{node}")),
            beginning,
            tuning: Tuning::default(),
            pipe: self.folder.join(format!("pipe-{node}")),
            pipe_users: Vec::new(),
            applications: Applications::default(),
            live: apps::Apps::new(),
        }
    }

    /// Starts a node with a list of the first `known` members.
    async fn start(&mut self, node: usize, beginning: Beginning, known: usize) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            match Node::start(self.settings(node, beginning, known)) {
                Ok(started) => {
                    self.running.insert(node, started);
                    return;
                }
                // The socket of the one that was stopped goes a moment later.
                Err(StartError::Bind(transport::BindError::Listen { .. })) => {}
                Err(error) => panic!("{error}"),
            }
            assert!(tokio::time::Instant::now() < deadline, "its port is not free again");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(&mut self, node: usize) {
        let running = self.running.remove(&node).expect("it runs");
        running.stop().await.expect("it stops when it is told to");
    }

    fn log(&self, node: usize) -> &Running {
        &self.running[&node].handle().log
    }

    /// Publishes so many messages at a node, one after the other.
    async fn publish(&self, node: usize, session: u128, count: u64) {
        let session = SessionId::new(session).expect("not zero");
        let opened = self.ask(node, Request::Open(session)).await;
        assert!(matches!(opened, Answer::Opened { .. }), "{opened:?}");
        for number in 1..=count {
            let data = format!("{}-{number}", session.bits());
            let body = LogRequest { topic: b"t", data: data.as_bytes() }.encode();
            let done = self.ask(node, Request::Submit(session, Sequence(number), apps::LOG, body)).await;
            assert!(matches!(done, Answer::Done { .. }), "{done:?}");
        }
    }

    async fn ask(&self, node: usize, request: Request) -> Answer {
        let answer = tokio::time::timeout(PATIENCE, self.log(node).ask(request)).await;
        answer.expect("an answer within the test's patience").expect("the node runs")
    }

    /// What a node tells from the beginning on, as soon as it is so many messages.
    async fn told(&self, node: usize, count: usize) -> Vec<Arc<Told>> {
        let history = Arc::clone(&self.log(node).history);
        let first = history.oldest().expect("its folder");
        let (mut follower, mut told) = (Follower::new(history, first), Vec::new());
        let gathered = async {
            while told.len() < count {
                if follower.is_behind() {
                    told.extend(follower.advance(64).expect("it is kept"));
                } else {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, gathered).await;
        assert!(in_time.is_ok(), "node {node} told {} of {count} messages", told.len());
        told
    }

    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let waited = async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "{what}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that was set").as_secs()
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(test);
}

#[test]
fn three_nodes_tell_one_order_also_to_one_that_was_away() {
    run(async {
        let mut cluster = Cluster::new("order", 3);
        for node in 0..3 {
            cluster.start(node, Beginning::Founder, 3).await;
        }
        cluster.publish(0, 7, 40).await;
        let first = cluster.told(0, 40).await;
        for node in [1, 2] {
            assert_eq!(cluster.told(node, 40).await, first);
        }
        cluster.stop(2).await;
        cluster.publish(1, 8, 40).await;
        cluster.start(2, Beginning::Earlier, 3).await;
        let all = cluster.told(2, 80).await;
        assert_eq!(all[..40], first[..]);
        for node in [0, 1] {
            assert_eq!(cluster.told(node, 80).await, all);
        }
        // A term's end is done on a majority, and the next one goes on.
        assert_eq!(cluster.ask(2, Request::EndTerm).await, Answer::Controlled(true));
        cluster.publish(2, 9, 5).await;
        let longer = cluster.told(2, 85).await;
        assert_eq!(cluster.told(0, 85).await, longer);
        assert_eq!(cluster.log(2).view.borrow().status.term.0, 2);
        for node in 0..3 {
            cluster.stop(node).await;
        }
    });
}

#[test]
fn a_newcomer_takes_the_place_of_a_member() {
    run(async {
        let mut cluster = Cluster::new("members", 4);
        for node in 0..3 {
            cluster.start(node, Beginning::Founder, 3).await;
        }
        cluster.publish(0, 7, 20).await;
        for node in 0..3 {
            cluster.running[&node].handle().set_members(&cluster.members).expect("a good list");
        }
        cluster.start(3, Beginning::Newcomer, 4).await;
        let (joins, leaves) = (cluster.members[3].id, cluster.members[1].id);
        let change = Change { add: Some(joins), remove: Some(leaves) };
        assert_eq!(cluster.ask(2, Request::Change(change)).await, Answer::Controlled(true));
        let changed = |cluster: &Cluster, node: usize| {
            let view = cluster.log(node).view.borrow();
            view.members.contains(joins) && !view.members.contains(leaves)
        };
        cluster.until("the members change", |cluster| [0, 2, 3].iter().all(|node| changed(cluster, *node))).await;
        cluster.stop(1).await;
        cluster.publish(3, 8, 20).await;
        let all = cluster.told(0, 40).await;
        // It tells what it has without a hole: at least what came after it joined.
        let told = cluster.told(3, 20).await;
        assert!(all.ends_with(&told) && told.len() >= 20, "{told:?}");
        for node in [0, 2, 3] {
            cluster.stop(node).await;
        }
    });
}

#[test]
fn a_node_begins_only_as_what_it_is() {
    run(async {
        let mut cluster = Cluster::new("begin", 3);
        let refused = |cluster: &Cluster, beginning| Node::start(cluster.settings(0, beginning, 3)).err();
        let empty = refused(&cluster, Beginning::Earlier);
        assert!(matches!(empty, Some(StartError::Folder(FolderError::Empty(_)))), "{empty:?}");
        cluster.start(0, Beginning::Founder, 3).await;
        cluster.stop(0).await;
        for beginning in [Beginning::Founder, Beginning::Newcomer] {
            let used = refused(&cluster, beginning);
            assert!(matches!(used, Some(StartError::Folder(FolderError::Used(_)))), "{used:?}");
        }
        cluster.start(0, Beginning::Earlier, 3).await;
        cluster.stop(0).await;
    });
}
