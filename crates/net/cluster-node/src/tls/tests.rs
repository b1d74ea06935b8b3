use super::*;
use crate::credentials::{Credentials, OwnKey};
use crate::member::{Member, Proof};
use crate::pki::Root;
use identity::NodeSecret;
use rustls::pki_types::ServerName;
use rustls::quic::{ClientConnection, ServerConnection, Version};
use rustls::{NamedGroup, ProtocolVersion};
use std::time::{SystemTime, UNIX_EPOCH};

fn gates() -> (Gate, Gate) {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock behind 1970").as_secs();
    let root = Root::generate("root", &[], now_s, 10).expect("a root");
    let secrets = [1, 2].map(|seed| NodeSecret::from_seed([seed; 32]));
    let members = [0, 1].map(|node| Member {
        id: secrets[node].node_id(),
        name: format!("n{node}.example").parse().expect("a name"),
        address: "127.0.0.1:1".parse().expect("an address"),
        proof: Proof::Key,
    });
    let gate = |node: usize| {
        let issued = root.issue(members[node].id, &members[node].name, now_s, 5).expect("a certificate");
        let key = OwnKey::Node(&secrets[node]);
        let credentials = Credentials::from_pem(&issued.certificate, &key, root.certificate()).expect("credentials");
        let roster = Roster::new(members[node].id, &members).expect("a good list");
        Gate { credentials: CredentialStore::new(credentials), roster }
    };
    (gate(0), gate(1))
}

#[test]
fn a_handshake_ends_with_tls_1_3_the_hybrid_exchange_our_protocol_and_both_certificates() {
    let (near, far) = gates();
    let name = ServerName::try_from("n1.example").expect("a name");
    let client = client_config(&near).expect("a configuration");
    let mut client = ClientConnection::new(Arc::new(client), Version::V1, name, Vec::new()).expect("a client");
    let server = server_config(&far).expect("a configuration");
    let mut server = ServerConnection::new(Arc::new(server), Version::V1, Vec::new()).expect("a server");
    for _ in 0..4 {
        // Each piece is of one epoch of keys, and must be read as such.
        while let Some(bytes) = piece(|bytes| client.write_hs(bytes).is_some()) {
            server.read_hs(&bytes).expect("a good flight");
        }
        while let Some(bytes) = piece(|bytes| server.write_hs(bytes).is_some()) {
            client.read_hs(&bytes).expect("a good flight");
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    for ((version, group), (protocol, certificates)) in [
        (
            (client.protocol_version(), client.negotiated_key_exchange_group().map(|group| group.name())),
            (client.alpn_protocol(), client.peer_certificates().map(<[_]>::len)),
        ),
        (
            (server.protocol_version(), server.negotiated_key_exchange_group().map(|group| group.name())),
            (server.alpn_protocol(), server.peer_certificates().map(<[_]>::len)),
        ),
    ] {
        assert_eq!(version, Some(ProtocolVersion::TLSv1_3));
        assert_eq!(group, Some(NamedGroup::X25519MLKEM768));
        assert_eq!((protocol, certificates), (Some(PROTOCOL), Some(1)));
    }
    assert_eq!(server.server_name(), None, "the name does not travel in the clear");
}

/// What one call writes; `None` when there is nothing more.
fn piece(write: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let changes_keys = write(&mut bytes);
    (changes_keys || !bytes.is_empty()).then_some(bytes)
}
