//! The original's defects, each as a test; the table is docs/original-defects.md.

use crate::shell::{Cluster, id};
use replicated_log::apps::PING_PONG;
use replicated_log::{Change, Checkpoint, Event, LogIndex, Members, Term, Token, Tuning};

fn with_pings(count: u64) -> Cluster {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    cluster.open(1, 9);
    for sequence in 1..=count {
        cluster.submit(1, (9, sequence), PING_PONG, b"ping");
        cluster.run(10);
    }
    cluster.run(100);
    assert_eq!(cluster.answers(1).len() as u64, count);
    cluster
}

#[test]
fn defect_1_a_restarted_node_has_forgotten_everything() {
    let mut cluster = with_pings(20);
    let before = cluster.states();
    (1..=3).for_each(|number| cluster.stop(number));
    (1..=3).for_each(|number| cluster.start(number));
    assert!(cluster.nodes.values().all(|node| node.status().length >= LogIndex(20)), "the log is on the disk");
    cluster.run(1_000);
    cluster.assert_alike();
    cluster.submit(2, (9, 20), PING_PONG, b"ping");
    cluster.run(100);
    assert_eq!(cluster.answers(2).pop().expect("the first answer").2, b"pong 20");
    assert_eq!(before[0].len(), cluster.states()[0].len());
}

#[test]
fn defect_2_a_new_leader_leaves_the_unchosen_entries_of_the_old_one() {
    let mut cluster = with_pings(3);
    let leader = cluster.leader();
    // The entry reaches one follower, whose acceptance reaches nobody; then the leader is gone.
    let other = cluster.follower();
    cluster.submit(leader, (9, 4), PING_PONG, b"ping");
    cluster.run(1);
    cluster.run(1);
    cluster.stop(leader);
    cluster.run(2_000);
    cluster.submit(other, (9, 4), PING_PONG, b"ping");
    cluster.run(500);
    assert_eq!(cluster.answers(other).pop().expect("an answer").2, b"pong 4", "once, whoever proposed it");
    cluster.assert_alike();
}

#[test]
fn defect_3_a_follower_campaigns_at_its_first_check() {
    let mut cluster = with_pings(1);
    let (leader, other) = (cluster.leader(), cluster.follower());
    cluster.stop(other);
    cluster.run(300);
    cluster.start(other);
    cluster.run(3_000);
    assert_eq!(cluster.leader(), leader, "who comes back finds the leader in office");
}

#[test]
fn defect_3_a_wall_clock_that_jumps_moves_no_timeout() {
    let mut cluster = with_pings(1);
    let leader = cluster.leader();
    // UTC is a field of its own that no timeout reads: a day passes there and a step on the monotonic clock.
    let mut now = cluster.now();
    now.utc_ms += 86_400_000;
    cluster.nodes.values_mut().for_each(|node| node.handle_timeout(now));
    cluster.run(1_000);
    assert_eq!(cluster.leader(), leader);
}

#[test]
fn defect_4_a_leader_hears_nothing_between_its_rounds() {
    let mut cluster = with_pings(1);
    let leader = cluster.leader();
    cluster.submit(leader, (9, 2), PING_PONG, b"ping");
    let asked = cluster.now_ms;
    let is_answered = |cluster: &Cluster| cluster.answers(leader).iter().any(|answer| answer.0 == Token(2));
    while !is_answered(&cluster) && cluster.now_ms < asked + 1_000 {
        cluster.run(1);
    }
    assert!(cluster.now_ms - asked <= 10, "answered within {} ms", cluster.now_ms - asked);
}

#[test]
fn defect_5_a_dead_peer_ends_the_node() {
    let mut cluster = with_pings(1);
    let other = cluster.follower();
    let rest = *cluster.nodes.keys().find(|number| **number != other).expect("two are left");
    cluster.stop(other);
    cluster.submit(rest, (9, 2), PING_PONG, b"ping");
    cluster.run(3_000);
    assert_eq!(cluster.answers(rest).pop().expect("two of three go on").2, b"pong 2");
}

#[test]
fn defect_6_failover_takes_a_minute() {
    let mut cluster = with_pings(1);
    let old = cluster.leader();
    cluster.stop(old);
    let gone = cluster.now_ms;
    while !cluster.nodes.values().any(|node| node.status().leads) && cluster.now_ms < gone + 10_000 {
        cluster.run(1);
    }
    let took = cluster.now_ms - gone;
    assert!(took <= 500, "a new leader after {took} ms with rounds of 100 ms");
}

#[test]
fn defect_7_an_entry_that_a_majority_has_stays_unchosen() {
    let mut cluster = with_pings(1);
    let (leader, other) = (cluster.leader(), cluster.follower());
    cluster.cut.insert(other);
    cluster.submit(leader, (9, 2), PING_PONG, b"ping");
    cluster.run(20);
    assert_eq!(cluster.answers(leader).pop().expect("leader and one follower").2, b"pong 2");
}

#[test]
fn defect_9_a_laggard_gets_the_whole_log_with_every_message() {
    let tuning = Tuning { term_entries_max: 64, window_entries_max: 16, ..Tuning::default() };
    let (mut cluster, leader, other) = Cluster::with_laggard(tuning, 300);
    assert!(cluster.nodes[&leader].status().term > Term(3), "terms ended: {:?}", cluster.nodes[&leader].status());
    assert!(cluster.largest_frame < 20_000, "{} bytes at most so far", cluster.largest_frame);
    cluster.start(other);
    cluster.run(2_000);
    cluster.assert_alike();
    let took = |event: &Event| matches!(event, Event::TermBegan { skipped: true, .. });
    assert!(cluster.events[&other].iter().any(took), "it took the checkpoint");
}

#[test]
fn defect_9_members_never_change() {
    let mut cluster = with_pings(10);
    let members = Members::new((1..=3).map(id)).expect("three");
    cluster.add(4, &Checkpoint::newcomer(crate::shell::CLUSTER, members));
    let gone = cluster.follower();
    let change = Change { add: Some(id(4)), remove: Some(id(gone)) };
    let leader = cluster.leader();
    cluster.nodes.get_mut(&leader).expect("it runs").change_members(Token(1), change).expect("room");
    cluster.run(3_000);
    assert!(cluster.events[&gone].contains(&Event::Left));
    let status = cluster.nodes[&4].status();
    assert!(status.votes && status.term == Term(2), "{status:?}");
    assert!(cluster.events[&leader].contains(&Event::Controlled { token: Token(1), done: true }));
    cluster.stop(gone);
    cluster.assert_alike();
    // The new member's vote counts: with one of the two old ones gone it makes the majority.
    let old = *cluster.nodes.keys().find(|number| **number != 4).expect("two old ones");
    cluster.stop(old);
    cluster.run(2_000);
    cluster.submit(4, (9, 11), PING_PONG, b"ping");
    cluster.run(1_500);
    assert_eq!(cluster.answers(4).pop().expect("two of three").2, b"pong 11");
}
