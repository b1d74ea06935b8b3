//! Members that die, at the worst moments and as many as may.

use crate::harness::{Cluster, relay};
use crate::{admit, describe};
use directory_node::Stopped;
use relay_directory::{CODE_TRY_AGAIN, SignRefusal, Signer};

/// As many die as may, and editions go on with what comes meanwhile.
async fn as_many_dead_as_may_be(members: u8, liars: u8) {
    let name = format!("dead-{members}-{liars}");
    let mut cluster = Cluster::new(&name, members, liars);
    cluster.start_all().await;
    let all: Vec<usize> = (0..usize::from(members)).collect();
    cluster.until_published(&all, 1).await;
    let quorum = cluster.charter.founding().expect("a directory").electorate.quorum();
    // The leader is one of them.
    let leader = cluster.leader().await;
    let mut living = all.clone();
    living.retain(|node| *node != leader);
    cluster.stop(leader).await;
    for node in living.split_off(quorum) {
        cluster.stop(node).await;
    }
    // The log takes commands again once it has another leader.
    cluster.ordered(living[0], admit(&cluster, 1, 1)).await;
    // Another member has what is ordered a little later.
    let is_known =
        |cluster: &Cluster| cluster.look(living[1], |directory| directory.admission(&relay(1).node_id()).is_some());
    cluster.until("the admission at another member", is_known).await;
    cluster.ordered(living[1], describe(&cluster, 1)).await;
    cluster.until_published(&living, cluster.highest() + 2).await;
    let has = cluster.look(living[0], |directory| directory.relay(&relay(1).node_id()).is_some());
    assert!(has && cluster.fetch(living[1], cluster.look(living[1], |one| one.published_name()).hash).await.is_some());
}

#[tokio::test]
async fn of_three_members_one_may_be_dead() {
    as_many_dead_as_may_be(3, 0).await;
}

#[tokio::test]
async fn of_five_members_two_may_be_dead_if_none_lies_and_else_one() {
    // Most of both is waiting for intervals.
    tokio::join!(as_many_dead_as_may_be(5, 0), as_many_dead_as_may_be(5, 1));
}

#[tokio::test]
async fn of_seven_members_two_may_be_dead() {
    as_many_dead_as_may_be(7, 2).await;
}

#[tokio::test]
async fn a_leader_that_dies_while_an_edition_is_signed_stops_nothing() {
    let mut cluster = Cluster::new("publication", 4, 1);
    cluster.start_all().await;
    cluster.until_published(&[0, 1, 2, 3], 1).await;
    let leader = cluster.leader().await;
    let signing = |cluster: &Cluster| {
        let standing = cluster.look(leader, |directory| directory.standing());
        standing.waiting > standing.published.index && (1..3).contains(&standing.signatures)
    };
    cluster.until("an edition has some of its signatures", signing).await;
    let before = cluster.look(leader, |directory| directory.standing());
    cluster.stop(leader).await;
    let others: Vec<usize> = (0..4).filter(|node| *node != leader).collect();
    cluster.until_published(&others, before.waiting + 2).await;
    // However that one ended, the chain has no two of an index: each names one that was published before it.
    let mut next = cluster.look(others[0], |directory| directory.published_name());
    let mut indices = Vec::new();
    while let Some(edition) = cluster.fetch(others[0], next.hash).await {
        indices.push(edition.edition().index());
        next = edition.edition().previous();
    }
    assert!(indices.len() >= 2 && indices.windows(2).all(|pair| pair[0] > pair[1]), "{indices:?}");
    cluster.start(leader, false).await;
    cluster.until_published(&[0, 1, 2, 3], cluster.highest() + 1).await;
}

#[tokio::test]
async fn a_member_whose_disk_takes_no_promise_ends_and_the_others_go_on() {
    let mut cluster = Cluster::new("disk", 4, 1);
    cluster.start_all().await;
    cluster.until_published(&[0, 1, 2, 3], 1).await;
    // A folder that is not there any more takes as much as a full disk. It is moved, for the member may write as it goes.
    std::fs::rename(cluster.folder.join("state-3"), cluster.folder.join("gone-3")).expect("it is there");
    let why = cluster.ended(3).await;
    assert!(matches!(why, Stopped::Files(_)) && why.to_string().contains("promise"), "{why}");
    cluster.until_published(&[0, 1, 2], cluster.highest() + 2).await;
}

/// A member as it would begin with what is on its disk.
fn kept(cluster: &Cluster, node: usize) -> Option<Signer> {
    let (files, promise) = cluster.files(node).ok()?;
    let mut signer = Signer::new(cluster.charter.network_id(), cluster.secrets[node].clone(), promise);
    signer.restore_held(&files.held()?).ok()?;
    Some(signer)
}

/// What a relay hands to a member while the log stands, and what the relay never says again, is in an edition once it goes on.
#[tokio::test]
async fn what_a_member_was_handed_while_the_log_stood_gets_there_over_a_start_and_without_its_relay() {
    let mut cluster = Cluster::new("handed", 4, 1);
    cluster.start_all().await;
    cluster.ordered(0, admit(&cluster, 1, 1)).await;
    cluster.until_published(&[0, 1, 2, 3], cluster.highest() + 1).await;
    cluster.stop(3).await;
    cluster.stop(2).await;
    let said = cluster.submit(0, describe(&cluster, 1)).await;
    assert_eq!(said.code, CODE_TRY_AGAIN, "{said:?}");
    assert!(cluster.counts(0).unordered > 0);
    let holds = |cluster: &Cluster| kept(cluster, 0).is_some_and(|signer| signer.held() == 1);
    cluster.until("what it was handed is on its disk", holds).await;
    cluster.stop(0).await;
    let mut signer = kept(&cluster, 0).expect("it is kept");
    assert_eq!(signer.held(), 1);
    let refusal = cluster.look(1, |directory| signer.consider(u64::MAX, directory));
    assert!(
        matches!(refusal, Err(SignRefusal::LeavesOut(node)) if node == relay(1).node_id())
            || matches!(refusal, Err(SignRefusal::Nothing | SignRefusal::Promised { .. })),
        "{refusal:?}"
    );
    for node in [0, 2, 3] {
        cluster.start(node, false).await;
    }
    let has = |cluster: &Cluster| {
        cluster.look(1, |directory| {
            let relays = directory.published().map(|edition| edition.edition().relays());
            relays.is_some_and(|relays| relays.iter().any(|one| one.node_id() == relay(1).node_id()))
        })
    };
    cluster.until("an edition with the relay", has).await;
}
