//! Lists and certificates that change while nodes run.

use crate::harness::{Cluster, RawPeer, Shown, name, now_s, pair, root};
use bytes::Bytes;
use cluster_node::credentials::{CredentialFiles, CredentialStore, Credentials, KeptKey, OwnKey};
use cluster_node::member::{Member, Proof, id_of_name};
use cluster_node::pki::CertificateInfo;
use cluster_node::transport::{BindError, LostReason, Settings, Stream, Transport};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::CertificateDer;

#[tokio::test]
async fn a_member_that_is_taken_off_the_list_loses_its_connection_and_comes_back_with_it() {
    let cluster = Cluster::new(3);
    let mut nodes: Vec<_> = (0..3).map(|node| cluster.start(node)).collect();
    for node in &nodes {
        node.until("all are connected", |status| status.peers.values().all(|peer| peer.session.is_some())).await;
    }
    let without: Vec<Member> = [0, 2].map(|node: usize| cluster.members[node].clone()).to_vec();
    for node in [0, 2] {
        nodes[node].transport.set_members(&without).expect("a good list");
    }
    for node in [0, 2] {
        assert_eq!(nodes[node].lost(cluster.id(1)).await.1, LostReason::Removed);
        let status = nodes[node].transport.status();
        assert_eq!(status.peers.len(), 1, "{status:?}");
        assert!(status.peers.values().all(|peer| peer.session.is_some() && peer.sessions == 1), "the others stay");
    }
    nodes[0].until("the removed one is refused", |status| status.refused_handshakes > 0).await;
    for node in [0, 2] {
        nodes[node].transport.set_members(&cluster.members).expect("a good list");
    }
    for node in [0, 2] {
        nodes[node].connected(cluster.id(1)).await;
    }
}

#[tokio::test]
async fn a_certificate_is_renewed_and_a_root_changed_without_a_restart() {
    let cluster = Cluster::new(2);
    let store = CredentialStore::new(cluster.credentials(0));
    let mut low = cluster.start_with(0, store.clone());
    let mut high = cluster.start(1);
    let session = low.connected(cluster.id(1)).await;
    let shown = async || {
        let certificate = cluster.certificate(1);
        let peer = RawPeer::connect(&cluster, 0, Shown::Certificate(&certificate, cluster.secret(1)), |_| {}).await;
        let identity = peer.expect("a member").connection.peer_identity().expect("a certificate");
        let chain = identity.downcast::<Vec<CertificateDer<'static>>>().expect("a chain");
        CertificateInfo::from_der(&chain[0]).expect("a certificate").serial
    };
    let before = shown().await;
    assert_eq!(shown().await, before);
    let other_root = root();
    let both = format!("{}{}", cluster.root.certificate(), other_root.certificate());
    let key = OwnKey::Node(cluster.secret(0));
    store.replace(Credentials::from_pem(&cluster.certificate(0), &key, &both).expect("good credentials"));
    assert_ne!(shown().await, before, "the next handshake shows it");
    high.transport.send(cluster.id(0), session, Stream::Engine, Bytes::from_static(b"on")).expect("room");
    assert_eq!(low.frame().await.1, session, "connections that stand are not touched");
    // From here on the other end's certificate may be of either root.
    let issued = other_root.issue(cluster.id(1), &cluster.members[1].name, now_s(), 90).expect("a certificate");
    let peer = RawPeer::connect(&cluster, 0, Shown::Certificate(&issued.certificate, cluster.secret(1)), |_| {}).await;
    let (mut send, mut receive) = peer.expect("a member").connection.open_bi().await.expect("a stream");
    let _ = send.write_all(&[0]).await;
    let waited = tokio::time::timeout(std::time::Duration::from_millis(200), receive.read(&mut [0; 1])).await;
    assert!(waited.is_err(), "it is let in and waited for");
    high.connected(cluster.id(0)).await;
}

#[tokio::test]
async fn changed_files_are_taken_into_use_and_broken_ones_are_not() {
    let cluster = Cluster::new(2);
    let folder = std::env::temp_dir().join(format!("cluster-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let (certificate, roots) = (folder.join("n.crt"), folder.join("root.crt"));
    std::fs::write(&certificate, cluster.certificate(0)).expect("a file");
    std::fs::write(&roots, cluster.root.certificate()).expect("a file");
    let key = KeptKey::Node(cluster.secret(0).clone());
    let files = CredentialFiles { certificate: certificate.clone(), roots, key };
    let store = CredentialStore::new(files.load().expect("good files"));
    let shown = || store.current().certificate_der().to_vec();
    let before = shown();
    let keeper = tokio::spawn(files.keep_fresh(store.clone(), std::time::Duration::from_millis(10)));
    std::fs::write(&certificate, "half a file").expect("a file");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(shown(), before, "what cannot be used changes nothing");
    std::fs::write(&certificate, cluster.certificate(1)).expect("a file");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(shown(), before, "nor does another node's");
    std::fs::write(&certificate, cluster.certificate(0)).expect("a file");
    let begin = std::time::Instant::now();
    while shown() == before {
        assert!(begin.elapsed().as_secs() < 20, "the newer file is not taken");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    keeper.abort();
    std::fs::remove_dir_all(&folder).expect("a folder");
}

#[tokio::test]
async fn only_the_higher_node_id_dials() {
    let cluster = Cluster::new(2);
    let (low, high, _) = pair(&cluster).await;
    let dialled = |node: &crate::harness::Node, peer| node.transport.status().peers[&peer].failed_dials;
    assert_eq!((dialled(&low, cluster.id(1)), dialled(&high, cluster.id(0))), (0, 0));
    let alone = cluster.start_alone(0).await;
    assert_eq!(alone, 0, "the lower one waits");
}

#[tokio::test]
async fn what_others_would_refuse_is_refused_at_the_start() {
    let cluster = Cluster::new(2);
    let bind = |settings: Settings, credentials, members: &[Member]| {
        Transport::bind(settings, CredentialStore::new(credentials), members).err()
    };
    let own = || cluster.credentials(0);
    let without = bind(cluster.settings(0), own(), &cluster.members[1..]);
    assert!(matches!(without, Some(BindError::NotAMember)), "{without:?}");
    let other = bind(cluster.settings(0), cluster.credentials(1), &cluster.members);
    assert!(matches!(other, Some(BindError::OtherKey)), "{other:?}");
    let mut renamed = cluster.members.clone();
    renamed[0].name = "elsewhere.cluster.example".parse().expect("a name");
    let named = bind(cluster.settings(0), own(), &renamed);
    assert!(matches!(named, Some(BindError::OtherName(_))), "{named:?}");
    let mut settings = cluster.settings(0);
    settings.idle_timeout = std::time::Duration::from_millis(1);
    assert!(matches!(bind(settings, own(), &cluster.members), Some(BindError::Times)));
    let _first = cluster.start(0);
    // Inside a runtime of the test's own.
    assert!(matches!(bind(cluster.settings(0), own(), &cluster.members), Some(BindError::Listen { .. })));
}

/// Certificates of any tool and kind of key, members known by name: what a configuration of the original has.
#[tokio::test]
async fn members_may_be_known_by_name_alone() {
    let mut cluster = Cluster::new(2);
    let root_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = pem("CERTIFICATE", params.self_signed(&root_key).expect("a root").der());
    let issuer = Issuer::new(params, root_key);
    let mut texts = Vec::new();
    for node in 0..2 {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let mut leaf = CertificateParams::new(vec![name(node)]).expect("a name");
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = pem("CERTIFICATE", leaf.signed_by(&key, &issuer).expect("a certificate").der());
        texts.push((certificate, pem("PRIVATE KEY", &key.serialize_der())));
        cluster.members[node].id = id_of_name(&cluster.members[node].name);
        cluster.members[node].proof = Proof::Name;
    }
    let start = |node: usize| {
        let (certificate, key) = &texts[node];
        let credentials = Credentials::from_pem(certificate, &OwnKey::Pem(key), &root).expect("good credentials");
        cluster.start_with(node, CredentialStore::new(credentials))
    };
    let (mut one, mut other) = (start(0), start(1));
    let session = one.connected(cluster.id(1)).await;
    assert_eq!(other.connected(cluster.id(0)).await, session);
    let (certificate, key) = (&texts[0].0, OwnKey::Pem(&texts[1].1));
    assert!(Credentials::from_pem(certificate, &key, &root).is_err(), "another certificate's key");
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", data_encoding::BASE64.encode(der))
}
