//! What members say to each other, on every kind of stream.

use crate::harness::{Cluster, RawPeer, framed, pair};
use bytes::Bytes;
use cluster_node::frame::{Kind, MESSAGE_MAX};
use cluster_node::transport::{ClientStream, Event, SendError, Stream};

#[tokio::test]
async fn two_members_prove_who_they_are_and_exchange_messages() {
    let cluster = Cluster::new(2);
    let (mut low, mut high, session) = pair(&cluster).await;
    let (id_low, id_high) = (cluster.id(0), cluster.id(1));
    for stream in [Stream::Engine, Stream::CatchUp, Stream::Heartbeat] {
        low.transport.send(id_high, session, stream, Bytes::from_static(b"ping")).expect("room");
        assert_eq!(high.frame().await, (id_low, session, stream, Bytes::from_static(b"ping")));
        high.transport.send(id_low, session, stream, Bytes::from_static(b"pong")).expect("room");
        assert_eq!(low.frame().await, (id_high, session, stream, Bytes::from_static(b"pong")));
    }
    let sessions = low.transport.status().peers[&id_high].sessions;
    assert_eq!((sessions, high.transport.status().peers[&id_low].sessions), (1, 1), "one connection for the pair");
}

#[tokio::test]
async fn three_members_are_all_connected_once() {
    let cluster = Cluster::new(3);
    let mut nodes: Vec<_> = (0..3).map(|node| cluster.start(node)).collect();
    for (own, node) in nodes.iter_mut().enumerate() {
        for _ in 0..2 {
            let event = node.event().await;
            assert!(matches!(event, Event::Connected { peer, .. } if peer != cluster.id(own)), "{event:?}");
        }
        node.silent().await;
        let status = node.transport.status();
        assert!(status.peers.values().all(|peer| peer.session.is_some() && peer.sessions == 1), "{status:?}");
    }
}

#[tokio::test]
async fn the_engines_messages_keep_their_order_and_large_ones_come_whole() {
    let cluster = Cluster::new(2);
    let (mut low, high, session) = pair(&cluster).await;
    let lengths = [0, 1, 1_000, 300_000, 5, MESSAGE_MAX, 7, 262_144, 262_145];
    for (number, length) in lengths.iter().enumerate() {
        let message = vec![number as u8; *length].into();
        high.transport.send(cluster.id(0), session, Stream::Engine, message).expect("room");
    }
    for (number, length) in lengths.iter().enumerate() {
        let (_, _, _, message) = low.frame().await;
        assert_eq!(message, vec![number as u8; *length]);
    }
    let long = Bytes::from(vec![0; MESSAGE_MAX + 1]);
    let refused = high.transport.send(cluster.id(0), session, Stream::Engine, long);
    assert_eq!(refused, Err(SendError::TooLong));
    let refused = high.transport.send(cluster.id(0), session, Stream::Heartbeat, vec![0; 2_000].into());
    assert_eq!(refused, Err(SendError::TooLong), "a heartbeat is one datagram");
}

#[tokio::test]
async fn each_client_has_a_stream_of_its_own_which_both_ends_can_open_and_end() {
    let cluster = Cluster::new(2);
    let (mut low, mut high, session) = pair(&cluster).await;
    let (id_low, id_high) = (cluster.id(0), cluster.id(1));
    let sender = low.transport.sender();
    let first = sender.open(id_high, session).expect("a session");
    let second = sender.open(id_high, session).expect("a session");
    let reverse = high.transport.sender().open(id_low, session).expect("a session");
    assert_eq!(reverse, ClientStream { opened_here: true, number: 0 });
    sender.send(id_high, session, Stream::Client(second), Bytes::from_static(b"two")).expect("room");
    let there = ClientStream { opened_here: false, number: second.number };
    assert_eq!(high.frame().await, (id_low, session, Stream::Client(there), Bytes::from_static(b"two")));
    high.transport.send(id_low, session, Stream::Client(there), Bytes::from_static(b"answer")).expect("room");
    assert_eq!(low.frame().await, (id_high, session, Stream::Client(second), Bytes::from_static(b"answer")));
    sender.finish(id_high, session, second);
    let event = high.event().await;
    assert_eq!(event, Event::Finished { peer: id_low, session, stream: there, is_whole: true });
    let late = sender.send(id_high, session, Stream::Client(second), Bytes::new());
    assert_eq!(late, Err(SendError::Over));
    high.transport.send(id_low, session, Stream::Client(there), Bytes::from_static(b"rest")).expect("it is half open");
    assert_eq!(low.frame().await.3, Bytes::from_static(b"rest"));
    sender.send(id_high, session, Stream::Client(first), Bytes::from_static(b"one")).expect("room");
    assert_eq!(high.frame().await.3, Bytes::from_static(b"one"));
}

/// The original took one stream of a connection at a time: the second one waited until the first ended.
#[tokio::test]
async fn defect_a_second_stream_waits_for_the_first() {
    let cluster = Cluster::new(2);
    let mut low = cluster.start(0);
    let (peer, _engine) = RawPeer::greeted(&cluster, 1, 0).await;
    let mut waiting = peer.connection.open_uni().await.expect("a stream");
    waiting.write_all(&[0, 0]).await.expect("a connection");
    let (mut idle, _answers) = peer.connection.open_bi().await.expect("a stream");
    idle.write_all(&framed(Kind::Open, &9u64.to_be_bytes())).await.expect("a connection");
    let mut second = peer.connection.open_uni().await.expect("a stream");
    second.write_all(&framed(Kind::Message, b"second")).await.expect("a connection");
    assert_eq!(low.frame().await.3, Bytes::from_static(b"second"));
    waiting.write_all(&[0, 5, Kind::Message as u8, 1, b'o', b'n', b'e']).await.expect("a connection");
    assert_eq!(low.frame().await.3, Bytes::from_static(b"one"));
}

/// The original's clients bound the loopback address, so it worked on one host only.
#[tokio::test]
async fn defect_clients_bind_the_loopback_address() {
    let cluster = Cluster::new(2);
    let (mut low, _high) = (cluster.start(0), cluster.start(1));
    let event = low.event().await;
    assert!(matches!(event, Event::Connected { address, .. } if address == cluster.address(1)), "{event:?}");
}
