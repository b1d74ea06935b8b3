//! What the engine must never be asked for, and never be told.

#![allow(clippy::disallowed_methods, reason = "a test reads the sources; the core opens no file")]

use crate::shell::{Cluster, id};
use replicated_log::apps::PING_PONG;
use replicated_log::{Change, FrameError, Token};
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("the sources are here") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a readable file");
            found.push((path, text));
        }
    }
}

#[test]
fn trap_nothing_outside_the_clean_subset_is_called() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    let forbidden = [
        "engine.snapshot(",
        "engine.trim(",
        "engine.reconfigure(",
        "engine.try_become_leader(",
        "engine.set_priority(",
        "engine.read",
        ".is_reconfigured(",
        "StopSign::with",
        "flexible_quorum: Some",
    ];
    let mut users = 0;
    for (path, text) in &files {
        users += usize::from(text.contains("use omnipaxos::"));
        for call in forbidden {
            assert!(!text.contains(call), "{} has `{call}`", path.display());
        }
        let may_use = path.components().any(|part| part.as_os_str() == "engine");
        assert!(may_use || !text.contains("use omnipaxos::"), "{} uses the engine directly", path.display());
    }
    assert!(users >= 3 && files.len() > 20, "the scan found {users} users in {} files", files.len());
    let all: String = files.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(all.matches("self.engine.append(").count(), 1, "one place appends, and it asks who leads first");
}

#[test]
fn trap_a_stranger_never_reaches_the_engine() {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    let leader = cluster.leader();
    let now = cluster.now();
    let node = cluster.nodes.get_mut(&leader).expect("it runs");
    let epoch = replicated_log::SessionEpoch(999);
    // A request to be prepared, of the kind that panics a leader that does not know the sender.
    let frame = |kind: u8| {
        let mut bytes = vec![1, kind];
        bytes.extend(1_u64.to_be_bytes());
        bytes.extend(999_u64.to_be_bytes());
        bytes.push(1);
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 0]);
        bytes.extend(1_u64.to_be_bytes());
        bytes
    };
    for stranger in [0, 4, 99] {
        assert_eq!(node.handle_frame(now, id(stranger), &frame(1)), Ok(()), "without a connection it is dropped");
        node.handle_session(now, id(stranger), epoch);
        assert_eq!(node.handle_frame(now, id(stranger), &frame(1)), Err(FrameError::Stranger));
        assert_eq!(node.handle_frame(now, id(stranger), &frame(2)), Err(FrameError::Stranger));
    }
}

#[test]
fn trap_messages_of_another_term_or_connection_never_reach_the_engine() {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    let (leader, other) = (cluster.leader(), cluster.follower());
    let now = cluster.now();
    let length = cluster.nodes[&leader].status();
    let node = cluster.nodes.get_mut(&leader).expect("it runs");
    let epoch = replicated_log::SessionEpoch(500);
    node.handle_session(now, id(other), epoch);
    for (term, epoch) in [(9_u64, 500_u64), (0, 500), (1, 499)] {
        // "I have promised to a leader of round 4 billion": in its own term it would depose anybody.
        let mut bytes = vec![1, 1];
        bytes.extend(term.to_be_bytes());
        bytes.extend(epoch.to_be_bytes());
        bytes.push(2);
        for _ in 0..2 {
            bytes.extend([0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
            bytes.extend(1_u64.to_be_bytes());
        }
        bytes.extend([0; 16]);
        assert_eq!(node.handle_frame(now, id(other), &bytes), Ok(()));
    }
    assert_eq!((node.status().leads, node.status().length), (true, length.length));
}

#[test]
fn trap_a_proposal_is_never_left_to_the_engines_forwarding() {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    let (leader, other) = (cluster.leader(), cluster.follower());
    cluster.open(other, 9);
    // The leader is gone with the proposal on its way; the follower sends it again to the next one.
    cluster.submit(other, (9, 1), PING_PONG, b"ping");
    cluster.run(1);
    cluster.stop(leader);
    cluster.run(3_000);
    assert_eq!(cluster.answers(other).pop().expect("an answer").2, b"pong 1");
}

#[test]
fn trap_a_cluster_of_one_cannot_come_about() {
    let mut cluster = Cluster::new(2);
    cluster.run(500);
    let leader = cluster.leader();
    let change = Change { add: None, remove: Some(id(cluster.follower())) };
    cluster.nodes.get_mut(&leader).expect("it runs").change_members(Token(3), change).expect("room");
    cluster.run(500);
    let refused = replicated_log::Event::Controlled { token: Token(3), done: false };
    assert!(cluster.events[&leader].contains(&refused));
}

#[test]
fn trap_a_stopped_clock_makes_no_burst_of_ticks() {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    let leader = cluster.leader();
    // A node that could not run for a minute takes one step of the engine's clock, not three thousand.
    cluster.now_ms += 60_000;
    cluster.run(1_000);
    assert_eq!(cluster.leader(), leader);
}
