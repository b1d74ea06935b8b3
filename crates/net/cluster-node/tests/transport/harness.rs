//! Nodes of a test cluster, and a peer that says whatever a test wants.

use bytes::Bytes;
use cluster_node::credentials::{CredentialStore, Credentials, OwnKey};
use cluster_node::frame::{Hello, Kind, encode};
use cluster_node::member::{Member, Proof};
use cluster_node::pki::Root;
use cluster_node::transport::{Event, LostReason, Session, Settings, Stream, Transport};
use identity::{NodeId, NodeSecret};
use quinn::crypto::rustls::QuicClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nothing that a test waits for takes longer on the busiest machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const CLUSTER: [u8; 32] = [0xc1; 32];

/// A root, and members whose node ids are in the order of their numbers.
pub(crate) struct Cluster {
    pub(crate) root: Root,
    secrets: Vec<NodeSecret>,
    pub(crate) members: Vec<Member>,
}

impl Cluster {
    pub(crate) fn new(nodes: usize) -> Self {
        let mut secrets: Vec<NodeSecret> = (1..=nodes as u8).map(|seed| NodeSecret::from_seed([seed; 32])).collect();
        secrets.sort_by_key(NodeSecret::node_id);
        let member = |(number, secret): (usize, &NodeSecret)| Member {
            id: secret.node_id(),
            name: name(number).parse().expect("a name"),
            address: own_address().into(),
            proof: Proof::Key,
        };
        let members = secrets.iter().enumerate().map(member).collect();
        Self { root: root(), secrets, members }
    }

    pub(crate) fn id(&self, node: usize) -> NodeId {
        self.members[node].id
    }

    pub(crate) fn secret(&self, node: usize) -> &NodeSecret {
        &self.secrets[node]
    }

    pub(crate) fn address(&self, node: usize) -> SocketAddr {
        self.members[node].address.to_string().parse().expect("the harness gives addresses")
    }

    pub(crate) fn certificate(&self, node: usize) -> String {
        let issued = self.root.issue(self.id(node), &self.members[node].name, now_s(), 90);
        issued.expect("a certificate").certificate
    }

    pub(crate) fn credentials(&self, node: usize) -> Credentials {
        let key = OwnKey::Node(self.secret(node));
        Credentials::from_pem(&self.certificate(node), &key, self.root.certificate()).expect("good credentials")
    }

    pub(crate) fn settings(&self, node: usize) -> Settings {
        Settings {
            own: self.id(node),
            cluster: CLUSTER,
            listen: self.address(node),
            retry_delay: Duration::from_millis(20),
            idle_timeout: Duration::from_secs(60),
            reset_secret: Settings::reset_secret(&OwnKey::Node(self.secret(node))),
        }
    }

    pub(crate) fn start(&self, node: usize) -> Node {
        self.start_with(node, CredentialStore::new(self.credentials(node)))
    }

    /// Starts a node whose peers are not there, and says how often it has dialled after a while.
    pub(crate) async fn start_alone(&self, node: usize) -> u64 {
        let mut alone = Self::new(self.members.len());
        alone.root = root();
        let started = alone.start(node);
        tokio::time::sleep(Duration::from_millis(200)).await;
        started.transport.status().peers.values().map(|peer| peer.failed_dials).sum()
    }

    pub(crate) fn start_with(&self, node: usize, credentials: CredentialStore) -> Node {
        let runtime = OwnRuntime::start();
        let inside = runtime.handle.enter();
        let transport = Transport::bind(self.settings(node), credentials, &self.members).expect("a free port");
        drop(inside);
        Node { transport, runtime }
    }
}

/// A transport with a test's patience, and with a runtime of its own, so that it can end as a killed process does.
pub(crate) struct Node {
    pub(crate) transport: Transport,
    runtime: OwnRuntime,
}

/// A runtime in a thread of its own, which ends when this is dropped.
struct OwnRuntime {
    handle: tokio::runtime::Handle,
    stop: tokio::sync::oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl OwnRuntime {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let handle = runtime.handle().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let _ = runtime.block_on(stopped);
        });
        Self { handle, stop, thread }
    }

    /// Everything in it is gone when this returns.
    async fn end(self) {
        let Self { thread, stop, .. } = self;
        drop(stop);
        let ended = tokio::task::spawn_blocking(move || thread.join()).await;
        ended.expect("waiting does not panic").expect("the runtime does not panic");
    }
}

impl Node {
    /// Ends it without a farewell, as kill -9 does, and waits until its port is free.
    pub(crate) async fn kill(self) {
        let Self { transport, runtime } = self;
        let address = transport.local_address().expect("it is bound");
        runtime.end().await;
        drop(transport);
        free(address).await;
    }

    /// Ends it with a farewell, and waits until its port is free.
    pub(crate) async fn shut_down(self) {
        let Self { transport, runtime } = self;
        let address = transport.local_address().expect("it is bound");
        transport.shutdown().await;
        drop(runtime);
        free(address).await;
    }

    pub(crate) async fn event(&mut self) -> Event {
        let event = tokio::time::timeout(PATIENCE, self.transport.next_event()).await;
        event.expect("an event within the test's patience").expect("the transport stands")
    }

    /// Passes over everything but a connection with this peer.
    pub(crate) async fn connected(&mut self, with: NodeId) -> Session {
        loop {
            if let Event::Connected { peer, session, .. } = self.event().await
                && peer == with
            {
                return session;
            }
        }
    }

    /// Passes over everything but the loss of this peer.
    pub(crate) async fn lost(&mut self, with: NodeId) -> (Session, LostReason) {
        loop {
            if let Event::Lost { peer, session, why } = self.event().await
                && peer == with
            {
                return (session, why);
            }
        }
    }

    /// Passes over everything but messages.
    pub(crate) async fn frame(&mut self) -> (NodeId, Session, Stream, Bytes) {
        loop {
            if let Event::Frame { peer, session, stream, message } = self.event().await {
                return (peer, session, stream, message);
            }
        }
    }

    /// Nothing happens for a while.
    pub(crate) async fn silent(&mut self) {
        let quiet = tokio::time::timeout(Duration::from_millis(150), self.transport.next_event()).await;
        assert!(quiet.is_err(), "{quiet:?}");
    }

    /// Waits until the status is as wanted.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&cluster_node::transport::Status) -> bool) {
        let begin = std::time::Instant::now();
        while !is(&self.transport.status()) {
            assert!(begin.elapsed() < PATIENCE, "{what}: {:?}", self.transport.status());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Two nodes that are connected: the lower one, the higher one, and their session.
pub(crate) async fn pair(cluster: &Cluster) -> (Node, Node, Session) {
    let (mut low, mut high) = (cluster.start(0), cluster.start(1));
    let session = agree(cluster, &mut low, &mut high).await;
    (low, high, session)
}

/// The next session that the higher node, which dials, knows of: the lower one begins it too. On a busy machine the
/// lower one may have begun others before, which the higher one had given up.
pub(crate) async fn agree(cluster: &Cluster, low: &mut Node, high: &mut Node) -> Session {
    let session = high.connected(cluster.id(0)).await;
    loop {
        let begun = low.connected(cluster.id(1)).await;
        if begun == session {
            return session;
        }
        assert!(begun < session, "{begun:?} is after {session:?}");
    }
}

async fn free(address: SocketAddr) {
    let begin = std::time::Instant::now();
    while UdpSocket::bind(address).is_err() {
        assert!(begin.elapsed() < PATIENCE, "the port stays taken");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn root() -> Root {
    Root::generate("test root", &["cluster.example".parse().expect("a name")], now_s(), 365).expect("a root")
}

pub(crate) fn name(node: usize) -> String {
    format!("n{node}.cluster.example")
}

pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock behind 1970").as_secs()
}

/// An address that no other member of any test has, in this process or another one. A port that was bound to find a free one may be
/// another's before it is bound again.
fn own_address() -> SocketAddr {
    static PORTS: AtomicU16 = AtomicU16::new(20_000);
    let own = std::process::id();
    let host = Ipv4Addr::new(127, 1 + (own >> 16) as u8 % 200, (own >> 8) as u8, own as u8);
    (host, PORTS.fetch_add(1, Ordering::Relaxed)).into()
}

/// What a raw peer shows.
pub(crate) enum Shown<'a> {
    /// No certificate at all.
    Nothing,
    /// This certificate, with this node's key.
    Certificate(&'a str, &'a NodeSecret),
}

/// A QUIC client that is no transport: it says what a test wants it to.
pub(crate) struct RawPeer {
    pub(crate) connection: quinn::Connection,
    _endpoint: quinn::Endpoint,
}

impl RawPeer {
    /// Connects to a node of the cluster, whose certificate it does check.
    pub(crate) async fn connect(
        cluster: &Cluster,
        node: usize,
        shown: Shown<'_>,
        change: impl FnOnce(&mut rustls::ClientConfig),
    ) -> Result<Self, quinn::ConnectionError> {
        Self::connect_in(cluster, node, shown, rustls::crypto::aws_lc_rs::default_provider(), change).await
    }

    pub(crate) async fn connect_in(
        cluster: &Cluster,
        node: usize,
        shown: Shown<'_>,
        provider: rustls::crypto::CryptoProvider,
        change: impl FnOnce(&mut rustls::ClientConfig),
    ) -> Result<Self, quinn::ConnectionError> {
        let mut roots = rustls::RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(cluster.root.certificate().as_bytes()).expect("a root");
        roots.add(root).expect("a root");
        let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots);
        let mut tls = match shown {
            Shown::Nothing => builder.with_no_client_auth(),
            Shown::Certificate(certificate, secret) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate")];
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(secret.pkcs8_der().to_vec()));
                builder.with_client_auth_cert(chain, key).expect("a key")
            }
        };
        tls.alpn_protocols = vec![b"hushwire-cluster/1".to_vec()];
        change(&mut tls);
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("TLS 1.3")));
        let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a free port");
        let connecting = endpoint.connect_with(config, cluster.address(node), &name(node)).expect("a good name");
        Ok(Self { connection: connecting.await?, _endpoint: endpoint })
    }

    /// As a member that is let in.
    pub(crate) async fn member(cluster: &Cluster, own: usize, node: usize) -> Self {
        let certificate = cluster.certificate(own);
        let shown = Shown::Certificate(&certificate, cluster.secret(own));
        Self::connect(cluster, node, shown, |_| {}).await.expect("a member is let in")
    }

    /// As a member that has said hello and been answered.
    pub(crate) async fn greeted(cluster: &Cluster, own: usize, node: usize) -> (Self, quinn::SendStream) {
        let peer = Self::member(cluster, own, node).await;
        let hello = Hello { cluster: CLUSTER, from: cluster.id(own).0, to: cluster.id(node).0, session: 1 };
        let (mut send, mut receive) = peer.connection.open_bi().await.expect("a stream");
        send.write_all(&framed(Kind::Hello, &hello.encode())).await.expect("a connection");
        let mut answer = [0; 14];
        receive.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer[..6], [0, 0, 0, 10, 2, 1]);
        (peer, send)
    }

    /// Waits until the node ends the connection, and says with which number.
    pub(crate) async fn closed(&self) -> Option<u64> {
        let error = tokio::time::timeout(PATIENCE, self.connection.closed()).await.expect("the node ends it");
        match error {
            quinn::ConnectionError::ApplicationClosed(close) => Some(close.error_code.into_inner()),
            _ => None,
        }
    }
}

pub(crate) fn framed(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(kind, body, &mut bytes);
    bytes
}
