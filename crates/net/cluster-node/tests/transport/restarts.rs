//! Ends and beginnings.

use crate::harness::{Cluster, agree, pair};
use bytes::Bytes;
use cluster_node::transport::{LostReason, SendError, Session, Stream};
use std::time::{Duration, Instant};

/// An end is noticed within this: before the next keep-alive, after 20 s, and far before the idle timeout of a minute.
const SOON: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_member_that_was_killed_is_connected_again_from_either_end() {
    let cluster = Cluster::new(2);
    let (mut low, mut high, mut session) = pair(&cluster).await;
    for victim in [1, 0] {
        // No farewell: as after kill -9.
        let (id_low, id_high) = (cluster.id(0), cluster.id(1));
        let begin;
        if victim == 1 {
            high.kill().await;
            begin = Instant::now();
            high = cluster.start(1);
            let (lost, why) = low.lost(id_high).await;
            assert_eq!(lost, session);
            // The new connection tells; or, where the last packet was not acknowledged before the kill and comes again
            // before that connection stands, the new socket's answer to it.
            assert!(matches!(why, LostReason::Superseded | LostReason::Restarted), "{why}");
        } else {
            low.kill().await;
            begin = Instant::now();
            low = cluster.start(0);
            // Whoever says nothing notices with the next keep-alive, after 20 s; an engine always has a heartbeat to send.
            let beat = high.transport.send(id_low, session, Stream::Heartbeat, Bytes::from_static(b"beat"));
            assert!(matches!(beat, Ok(()) | Err(SendError::Over)), "{beat:?}");
            assert_eq!(high.lost(id_low).await, (session, LostReason::Restarted));
        }
        assert!(begin.elapsed() < SOON, "{:?}: a restart is noticed at once", begin.elapsed());
        let next = agree(&cluster, &mut low, &mut high).await;
        assert!(next > session, "{next:?} follows {session:?}");
        session = next;
        high.transport.send(id_low, session, Stream::Engine, Bytes::from_static(b"again")).expect("room");
        assert_eq!(low.frame().await.1, session);
    }
}

#[tokio::test]
async fn both_may_be_started_again_at_once() {
    let cluster = Cluster::new(2);
    let (low, high, session) = pair(&cluster).await;
    low.kill().await;
    high.kill().await;
    let (_low, _high, next) = pair(&cluster).await;
    assert!(next > session);
}

#[tokio::test]
async fn a_shutdown_is_told() {
    let cluster = Cluster::new(2);
    let (mut low, high, session) = pair(&cluster).await;
    high.shut_down().await;
    assert_eq!(low.lost(cluster.id(1)).await, (session, LostReason::Stopped));
}

/// The original's dial loop ended for good when waiting for the connection's end failed.
#[tokio::test]
async fn defect_the_dial_loop_ends_for_good() {
    let cluster = Cluster::new(2);
    let mut high = cluster.start(1);
    high.until("dialling nobody fails several times", |status| status.peers[&cluster.id(0)].failed_dials >= 1).await;
    for _ in 0..3 {
        let mut low = cluster.start(0);
        let session = low.connected(cluster.id(1)).await;
        assert_eq!(high.connected(cluster.id(0)).await, session);
        low.shut_down().await;
        high.lost(cluster.id(0)).await;
    }
}

/// The original unwrapped the stream's result: a send to a dead peer was a panic.
#[tokio::test]
async fn defect_a_send_to_a_dead_peer_panics() {
    let cluster = Cluster::new(2);
    let (low, mut high, session) = pair(&cluster).await;
    let id_low = cluster.id(0);
    low.kill().await;
    for stream in [Stream::Engine, Stream::Heartbeat, Stream::CatchUp] {
        assert_eq!(
            high.transport.send(id_low, session, stream, Bytes::from_static(b"lost")),
            Ok(()),
            "nobody knows yet"
        );
    }
    let mut again = cluster.start(0);
    high.lost(id_low).await;
    for stream in [Stream::Engine, Stream::Heartbeat, Stream::CatchUp] {
        let sent = high.transport.send(id_low, session, stream, Bytes::from_static(b"late"));
        assert_eq!(sent, Err(SendError::Over));
    }
    let next = high.connected(id_low).await;
    high.transport.send(id_low, next, Stream::Engine, Bytes::from_static(b"first")).expect("room");
    again.connected(cluster.id(1)).await;
    assert_eq!(again.frame().await.3, Bytes::from_static(b"first"), "nothing of an older session comes");
    let foreign = high.transport.send(cluster.id(1), Session(1), Stream::Engine, Bytes::new());
    assert_eq!(foreign, Err(SendError::Over), "nor to itself");
}
