//! What is bounded, and what happens at the bound.

use crate::shell::{Cluster, id, session};
use replicated_log::apps::{LOG, LogRequest, PING_PONG, built_in};
use replicated_log::{
    BODY_BYTES_MAX, Event, FRAME_BYTES_MAX, Fatal, Replay, Sequence, SubmitError, SubmitRefusal, Token, Tuning,
};

fn body(length: usize) -> Vec<u8> {
    LogRequest { topic: b"t", data: &vec![b'x'; length] }.encode()
}

#[test]
fn defect_8_queues_and_frames_have_no_bound() {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    cluster.open(1, 9);
    let node = cluster.nodes.get_mut(&1).expect("it runs");
    let too_long = node.submit(Token(0), (session(9), Sequence(1)), LOG, &vec![0; BODY_BYTES_MAX + 1]);
    assert_eq!(too_long, Err(SubmitError::TooLong));
    let mut taken = 0;
    let busy = loop {
        match node.submit(Token(0), (session(9), Sequence(taken + 1)), LOG, &body(100)) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(busy, SubmitError::Busy { .. }) && taken <= 16_384, "{busy} after {taken}");
    assert!(busy.to_string().contains("try again in 50 ms"), "{busy}");
    let (now, long) = (cluster.now(), vec![0; FRAME_BYTES_MAX + 1]);
    let node = cluster.nodes.get_mut(&1).expect("it runs");
    assert!(node.handle_frame(now, id(2), &long).is_err());
    cluster.run(3_000);
    assert_eq!(cluster.answers(1).len() as u64 + count_busy(&cluster, 1), taken, "each has an answer, none is dropped");
}

fn count_busy(cluster: &Cluster, number: u8) -> u64 {
    let answered = |event: &&Event| matches!(event, Event::Busy { .. } | Event::Refused { .. });
    cluster.events[&number].iter().filter(answered).count() as u64
}

#[test]
fn a_message_longer_than_a_frame_travels_in_parts() {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    let (leader, other) = (cluster.leader(), cluster.follower());
    cluster.open(leader, 9);
    cluster.stop(other);
    for sequence in 1..=5 {
        cluster.submit(leader, (9, sequence), LOG, &body(900_000));
        cluster.run(20);
    }
    cluster.run(1_000);
    cluster.start(other);
    cluster.run(1_000);
    assert!(cluster.largest_frame > FRAME_BYTES_MAX / 2, "the laggard got 4.5 MB in parts");
    cluster.assert_alike();
}

#[test]
fn old_entries_live_on_disk_and_are_read_for_a_laggard() {
    let tuning = Tuning { window_entries_max: 16, ..Tuning::default() };
    let (mut cluster, _, other) = Cluster::with_laggard(tuning, 200);
    let before: usize = cluster.disks.values().map(|disk| disk.files().reads).sum();
    cluster.start(other);
    cluster.run(1_000);
    let after: usize = cluster.disks.values().map(|disk| disk.files().reads).sum();
    assert!(after > before, "the window has 16 entries, the laggard missed 200");
    cluster.assert_alike();
}

#[test]
fn a_disk_that_cannot_be_read_stops_the_node_with_a_sentence() {
    let tuning = Tuning { window_entries_max: 16, ..Tuning::default() };
    let (mut cluster, _, other) = Cluster::with_laggard(tuning, 100);
    cluster.disks.values().for_each(|disk| disk.files().is_broken = true);
    let serving = cluster.leader();
    cluster.start(other);
    cluster.disks[&other].files().is_broken = false;
    cluster.run(1_000);
    assert!(cluster.events[&serving].contains(&Event::Stopped(Fatal::Disk)), "and nothing else leaves it");
    assert!(Fatal::Disk.to_string().contains("check the disk"));
}

#[test]
fn a_node_with_another_state_stops_at_the_beginning_of_the_term() {
    let mut cluster = Cluster::new(3);
    // One member begins with a checkpoint that says something else.
    let odd = cluster.follower_before_election();
    cluster.run(2_000);
    let stopped = |event: &Event| matches!(event, Event::Stopped(Fatal::Diverged { .. }));
    assert!(cluster.events[&odd].iter().any(stopped), "{:?}", cluster.events[&odd]);
}

impl Cluster {
    /// Gives node 1 another genesis: the same members, and a machine with a log time.
    fn follower_before_election(&mut self) -> u8 {
        let checkpoint = {
            let files = self.disks[&1].files();
            let machine = self.nodes[&1].machine().snapshot();
            let mut checkpoint =
                replicated_log::Checkpoint::decode(&files.checkpoint, crate::shell::CLUSTER).expect("genesis");
            checkpoint.machine = machine;
            checkpoint.machine[7] = 1;
            checkpoint
        };
        self.stop(1);
        self.add(1, &checkpoint);
        // The others elect one of themselves first.
        self.cut.insert(1);
        self.run(1_000);
        self.heal(1);
        1
    }
}

#[test]
fn reads_wait_for_what_was_acknowledged_anywhere() {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    let (leader, other) = (cluster.leader(), cluster.follower());
    cluster.open(leader, 9);
    cluster.submit(leader, (9, 1), PING_PONG, b"ping");
    cluster.run(100);
    let acknowledged = cluster.answers(leader).pop().expect("an answer").1;
    (0..100).for_each(|token| cluster.nodes.get_mut(&other).expect("it runs").read(Token(token)).expect("room"));
    let before = cluster.nodes[&other].status().next;
    cluster.run(100);
    let ready = cluster.events[&other].iter().filter_map(|event| match event {
        Event::ReadReady { offset, .. } => Some(offset.0),
        _ => None,
    });
    let ready: Vec<u64> = ready.collect();
    assert!(ready.len() == 100 && ready.iter().all(|offset| *offset > acknowledged));
    assert!(cluster.nodes[&other].status().next.0 - before.0 <= 2, "they shared a barrier");
}

#[test]
fn a_gap_of_a_client_is_an_error_that_names_what_is_expected() {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    cluster.open(2, 9);
    cluster.submit(2, (9, 5), PING_PONG, b"ping");
    cluster.run(100);
    let refused = Event::Refused { token: Token(5), refusal: SubmitRefusal::Gap { expected: Sequence(1) } };
    assert!(cluster.events[&2].contains(&refused));
}

#[test]
fn going_through_a_term_again_gives_the_same() {
    let mut cluster = Cluster::new(3);
    cluster.run(500);
    cluster.open(1, 9);
    (1..=40).for_each(|sequence| cluster.submit(1, (9, sequence), LOG, &body(10)));
    cluster.run(200);
    let told = cluster.events[&1].iter().filter_map(|event| match event {
        Event::Applied(applied) => Some(applied.clone()),
        _ => None,
    });
    let told: Vec<_> = told.collect();
    let files = cluster.disks[&1].files();
    let mut replay = Replay::new(crate::shell::CLUSTER, &files.checkpoint, built_in()).expect("our own");
    let mut decoder = replicated_log::record::LogDecoder::new(replicated_log::record::Header {
        cluster: crate::shell::CLUSTER,
        node: id(1),
        term: files.term,
    });
    decoder.push(&files.log);
    let mut again = Vec::new();
    while let Some((_, records)) = decoder.poll_batch().expect("our own") {
        for (_, entries) in records.into_iter().filter_map(|record| record.entries) {
            again.extend(entries.iter().filter_map(|entry| replay.handle_entry(entry).expect("our own log")));
        }
    }
    assert_eq!(again[..told.len()], told[..]);
}
