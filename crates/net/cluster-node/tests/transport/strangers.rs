//! Who is not let in.

use crate::harness::{Cluster, RawPeer, Shown, framed, name, now_s, root};
use cluster_node::frame::{Hello, Kind};
use identity::NodeSecret;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, PKCS_ED25519};
use rustls::NamedGroup;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

/// The stranger hears nothing but the end, and the node says nothing upward but counts it.
async fn gets_nothing(shown: Shown<'_>, cluster: &Cluster) {
    let mut node = cluster.start(0);
    // In TLS 1.3 a client is done before its certificate is looked at.
    if let Ok(peer) = RawPeer::connect(cluster, 0, shown, |_| {}).await {
        if let Ok((mut send, mut receive)) = peer.connection.open_bi().await {
            let hello = Hello { cluster: [0xc1; 32], from: cluster.id(1).0, to: cluster.id(0).0, session: 1 };
            let _ = send.write_all(&framed(Kind::Hello, &hello.encode())).await;
            assert!(receive.read(&mut [0; 1]).await.is_err(), "a stranger is told something");
        }
        peer.closed().await;
    }
    node.until("the handshake is counted", |status| status.refused_handshakes == 1).await;
    node.silent().await;
    assert!(node.transport.status().peers[&cluster.id(1)].session.is_none());
    node.kill().await;
}

/// The original's servers asked for no certificate, so whoever reached the port was a member.
#[tokio::test]
async fn defect_a_stranger_without_a_certificate_is_a_member() {
    let cluster = Cluster::new(2);
    gets_nothing(Shown::Nothing, &cluster).await;
}

#[tokio::test]
async fn a_certificate_of_another_root_is_refused() {
    let cluster = Cluster::new(2);
    let other = root().issue(cluster.id(1), &cluster.members[1].name, now_s(), 90).expect("a certificate");
    gets_nothing(Shown::Certificate(&other.certificate, cluster.secret(1)), &cluster).await;
}

#[tokio::test]
async fn a_good_certificate_of_somebody_who_is_not_on_the_list_is_refused() {
    let cluster = Cluster::new(2);
    let stranger = NodeSecret::from_seed([99; 32]);
    for asked in ["n7.cluster.example".to_owned(), name(1)] {
        let asked = asked.parse().expect("a name");
        let issued = cluster.root.issue(stranger.node_id(), &asked, now_s(), 90).expect("a certificate");
        gets_nothing(Shown::Certificate(&issued.certificate, &stranger), &cluster).await;
    }
    let other_name = "n7.cluster.example".parse().expect("a name");
    let issued = cluster.root.issue(cluster.id(1), &other_name, now_s(), 90).expect("a certificate");
    gets_nothing(Shown::Certificate(&issued.certificate, cluster.secret(1)), &cluster).await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused() {
    let cluster = Cluster::new(2);
    let then = now_s() - 2 * 86_400;
    let old = cluster.root.issue(cluster.id(1), &cluster.members[1].name, then, 1).expect("a certificate");
    gets_nothing(Shown::Certificate(&old.certificate, cluster.secret(1)), &cluster).await;
}

#[tokio::test]
async fn a_certificate_for_servers_only_is_refused() {
    let cluster = Cluster::new(2);
    let certificate = server_only(&cluster);
    gets_nothing(Shown::Certificate(&certificate, cluster.secret(1)), &cluster).await;
}

#[tokio::test]
async fn a_peer_without_the_post_quantum_exchange_is_refused() {
    let cluster = Cluster::new(2);
    let mut node = cluster.start(0);
    let certificate = cluster.certificate(1);
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups.retain(|group| group.name() == NamedGroup::X25519);
    let shown = Shown::Certificate(&certificate, cluster.secret(1));
    let refused = RawPeer::connect_in(&cluster, 0, shown, provider, |_| {}).await;
    assert!(refused.is_err());
    node.until("the handshake is counted", |status| status.refused_handshakes == 1).await;
    node.silent().await;
}

#[tokio::test]
async fn another_protocol_is_refused() {
    let cluster = Cluster::new(2);
    let node = cluster.start(0);
    let certificate = cluster.certificate(1);
    let shown = Shown::Certificate(&certificate, cluster.secret(1));
    let refused = RawPeer::connect(&cluster, 0, shown, |tls| tls.alpn_protocols = vec![b"px".to_vec()]).await;
    assert!(refused.is_err());
    node.until("the handshake is counted", |status| status.refused_handshakes == 1).await;
}

/// With the root's key, as somebody with another tool would make it.
fn server_only(cluster: &Cluster) -> String {
    let key = PrivatePkcs8KeyDer::from_pem_slice(cluster.root.reveal_key().as_bytes()).expect("a key");
    let root_key = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519).expect("a key");
    let mut issuer = CertificateParams::default();
    issuer.distinguished_name = rcgen::DistinguishedName::new();
    issuer.distinguished_name.push(rcgen::DnType::CommonName, cluster.root.info().subject.as_str());
    let mut params = CertificateParams::new(vec![name(1)]).expect("a name");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let leaf = PrivatePkcs8KeyDer::from(cluster.secret(1).pkcs8_der().to_vec());
    let leaf = KeyPair::from_pkcs8_der_and_sign_algo(&leaf, &PKCS_ED25519).expect("a key");
    let signed = params.signed_by(&leaf, &Issuer::new(issuer, root_key)).expect("a certificate");
    let body = data_encoding::BASE64.encode(signed.der());
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}
