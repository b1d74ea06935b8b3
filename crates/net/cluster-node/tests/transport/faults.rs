//! Members that misbehave.

use crate::harness::{CLUSTER, Cluster, RawPeer, framed, pair};
use bytes::Bytes;
use cluster_node::frame::{Hello, Kind};
use cluster_node::transport::{Event, Fault, LostReason, QUEUE_BYTES_MAX, SendError, Stream};

/// What a member's first bytes come to.
async fn is_refused(hello: &Hello, fault: Fault, why: LostReason, own: usize, node: usize) {
    let cluster = Cluster::new(3);
    let mut started = cluster.start(node);
    let peer = RawPeer::member(&cluster, own, node).await;
    let (mut send, _receive) = peer.connection.open_bi().await.expect("a stream");
    send.write_all(&framed(Kind::Hello, &hello.encode())).await.expect("a connection");
    assert_eq!(peer.closed().await, Some(why as u64));
    assert_eq!(started.transport.status().peers[&cluster.id(own)].counters.count(fault), 1);
    started.silent().await;
}

#[tokio::test]
async fn a_hello_of_another_cluster_node_or_direction_is_refused_and_counted() {
    let ids = Cluster::new(3);
    let hello = |from: usize, to: usize| Hello { cluster: CLUSTER, from: ids.id(from).0, to: ids.id(to).0, session: 1 };
    is_refused(&hello(2, 0), Fault::ForeignId, LostReason::ForeignId, 1, 0).await;
    is_refused(&hello(1, 2), Fault::ForeignId, LostReason::ForeignId, 1, 0).await;
    let other = Hello { cluster: [0; 32], ..hello(1, 0) };
    is_refused(&other, Fault::ForeignId, LostReason::ForeignId, 1, 0).await;
    is_refused(&hello(0, 2), Fault::WrongDirection, LostReason::WrongDirection, 0, 2).await;
}

/// What bytes behind a good hello come to.
async fn cuts_off(bytes: &[u8], fault: Fault, why: LostReason) {
    let cluster = Cluster::new(2);
    for kind in ["engine", "uni", "bi"] {
        let mut node = cluster.start(0);
        let (peer, mut engine) = RawPeer::greeted(&cluster, 1, 0).await;
        node.connected(cluster.id(1)).await;
        match kind {
            "engine" => engine.write_all(bytes).await.expect("a connection"),
            "uni" => {
                let mut send = peer.connection.open_uni().await.expect("a stream");
                send.write_all(bytes).await.expect("a connection");
                let _ = send.finish();
            }
            _ => {
                let (mut send, _receive) = peer.connection.open_bi().await.expect("a stream");
                send.write_all(bytes).await.expect("a connection");
                let _ = send.finish();
            }
        }
        assert_eq!(node.lost(cluster.id(1)).await.1, why, "{kind}");
        assert_eq!(peer.closed().await, Some(why as u64), "{kind}");
        assert_eq!(node.transport.status().peers[&cluster.id(1)].counters.count(fault), 1, "{kind}");
        node.kill().await;
    }
}

/// The original's frames had no bound: a peer filled the memory.
#[tokio::test]
async fn defect_a_frame_has_no_bound() {
    cuts_off(&[0xff; 4], Fault::TooLong, LostReason::TooLong).await;
    cuts_off(&[0, 4, 0, 3], Fault::TooLong, LostReason::TooLong).await;
}

#[tokio::test]
async fn garbage_is_cut_off_and_counted() {
    cuts_off(b"{\"from\":\"n1\"}\r", Fault::TooLong, LostReason::TooLong).await;
    cuts_off(&[0, 0, 0, 3, 9, 1, 0], Fault::Garbage, LostReason::Garbage).await;
    cuts_off(&framed(Kind::Hello, b""), Fault::Garbage, LostReason::Garbage).await;
}

#[tokio::test]
async fn a_datagram_that_is_no_heartbeat_is_cut_off_and_counted() {
    let cluster = Cluster::new(2);
    let mut node = cluster.start(0);
    let (peer, _engine) = RawPeer::greeted(&cluster, 1, 0).await;
    node.connected(cluster.id(1)).await;
    peer.connection.send_datagram(Bytes::from_static(&[0, 0, 0, 9, 3, 1, 0])).expect("datagrams are on");
    assert_eq!(node.lost(cluster.id(1)).await.1, LostReason::Garbage);
    assert_eq!(peer.closed().await, Some(LostReason::Garbage as u64));
}

#[tokio::test]
async fn a_member_that_says_nothing_is_cut_off() {
    let cluster = Cluster::new(2);
    let node = cluster.start(0);
    let peer = RawPeer::member(&cluster, 1, 0).await;
    assert_eq!(peer.closed().await, Some(LostReason::Silent as u64));
    assert_eq!(node.transport.status().peers[&cluster.id(1)].counters.count(Fault::Silent), 1);
}

#[tokio::test]
async fn what_the_reader_of_frames_refuses_ends_the_session_and_is_counted() {
    let cluster = Cluster::new(2);
    let (mut low, mut high, session) = pair(&cluster).await;
    low.transport.sender().note(cluster.id(1), Fault::WrongTerm);
    low.transport.sender().disconnect(cluster.id(1), session, Fault::Garbage);
    assert_eq!(low.lost(cluster.id(1)).await, (session, LostReason::Refused));
    assert_eq!(high.lost(cluster.id(0)).await, (session, LostReason::Refused));
    let counters = low.transport.status().peers[&cluster.id(1)].counters.clone();
    assert_eq!((counters.count(Fault::WrongTerm), counters.count(Fault::Garbage)), (1, 1));
    assert!(high.connected(cluster.id(0)).await > session, "it is dialled again");
}

#[tokio::test]
async fn a_peer_that_takes_nothing_loses_its_session_and_never_blocks_the_sender() {
    let cluster = Cluster::new(3);
    let mut nodes: Vec<_> = (0..3).map(|node| cluster.start(node)).collect();
    let mut sender = nodes.remove(2);
    let (to_stuck, to_good) = {
        let mut sessions = std::collections::BTreeMap::new();
        while sessions.len() < 2 {
            if let Event::Connected { peer, session, .. } = sender.event().await {
                sessions.insert(peer, session);
            }
        }
        (sessions[&cluster.id(0)], sessions[&cluster.id(1)])
    };
    let message = Bytes::from(vec![0; 1 << 20]);
    let mut sent = 0;
    let refused = loop {
        match sender.transport.send(cluster.id(0), to_stuck, Stream::Engine, message.clone()) {
            Ok(()) => sent += message.len(),
            Err(error) => break error,
        }
        assert!(sent < 4 * QUEUE_BYTES_MAX, "the queue is bounded");
    };
    assert_eq!(refused, SendError::Overflow);
    sender.transport.send(cluster.id(1), to_good, Stream::Engine, Bytes::from_static(b"still")).expect("another queue");
    assert_eq!(sender.lost(cluster.id(0)).await, (to_stuck, LostReason::Overflow));
    let mut good = nodes.remove(1);
    assert_eq!(good.frame().await.3, Bytes::from_static(b"still"));
    assert_eq!(sender.transport.status().peers[&cluster.id(0)].counters.count(Fault::Overflow), 1);
}
