//! How a relay comes into the directory, stays there and leaves.

use crate::network::{
    Folder, Harm, Hesitant, Hostile, INTERVAL_MS, KEY_INTERVALS, Members, Memory, START_MS, Switch, member, profile,
    reach, relay,
};
use directory_mirror::{
    Mirror, Outcome, Publisher, PublisherConfig, PublisherError, PublisherStatus, Sources, WithdrawError,
};
use directory_stream::Open;
use network_document::{Announcement, OnionKeyFile};
use onion::Interval;
use relay_directory::{Order, Refusal};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// A directory, a mirror of it, and what the publisher of relay 1 needs.
struct Scene {
    members: Arc<Members>,
    folder: Folder,
    mirror: Mirror,
    config: PublisherConfig,
}

impl Scene {
    fn new(name: &str) -> Self {
        let (members, folder) = (Members::start("example"), Folder::new(name));
        let source: Arc<dyn Open> = Arc::new(Memory(Arc::clone(&members)));
        let mirror = Mirror::start(folder.config(&members, vec![Arc::clone(&source)])).expect("a mirror");
        let config = PublisherConfig {
            network: members.network(),
            secret: relay(1),
            profile: profile(1),
            onion_keys: folder.0.join("onion.keys"),
            members: Sources::new([source]),
            documents: mirror.documents(),
            clock: members.clock.clone(),
        };
        Self { members, folder, mirror, config }
    }

    fn start(&self) -> Publisher {
        Publisher::start(self.config.clone()).expect("a publisher")
    }

    /// What the directory knows of relay 1.
    fn known(&self) -> Option<Announcement> {
        let state = self.members.state();
        state.directory.relay(&relay(1).node_id()).map(|signed| signed.announcement().clone())
    }
}

async fn stands(publisher: &Publisher, wanted: impl Fn(&PublisherStatus) -> bool) -> PublisherStatus {
    let mut status = publisher.status();
    let found = tokio::time::timeout(Duration::from_secs(86_400), status.wait_for(|status| wanted(status))).await;
    let found = found.map(|found| found.expect("the publisher is there").clone());
    found.unwrap_or_else(|_| panic!("{:?}", *publisher.status().borrow()))
}

async fn said(publisher: &Publisher) -> PublisherStatus {
    stands(publisher, |status| status.outcome == Outcome::Said).await
}

/// Waits for a refusal with this code, and gives its words.
async fn refused(publisher: &Publisher, refusal: Refusal) -> String {
    let is = |status: &PublisherStatus| matches!(status.outcome, Outcome::Refused(code, _) if code == refusal.code());
    match stands(publisher, is).await.outcome {
        Outcome::Refused(_, words) => words,
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_relay_waits_to_be_admitted_and_is_in_the_next_edition() {
    let scene = Scene::new("admitted");
    let publisher = scene.start();
    assert_eq!(stands(&publisher, |_| true).await.outcome, Outcome::Waiting, "no edition, no clock of intervals");
    let words = refused(&publisher, Refusal::NotAdmitted).await;
    assert!(words.contains(&format!("the operators have to admit {}", relay(1).node_id())), "{words}");
    sleep(Duration::from_secs(3_600)).await;
    scene.members.admit(1);
    let status = said(&publisher).await;
    let known = scene.known().expect("the directory has it");
    assert_eq!((status.said_ms, status.until_ms), (Some(known.published_ms), Some(known.expires_ms)));
    assert_eq!(status.is_listed, Some(false));
    let late_ms = scene.members.clock.now_ms() - START_MS - 3_600_000 - INTERVAL_MS;
    assert!(late_ms <= 130_000, "within two of the longest waits: {late_ms}");
    assert!(stands(&publisher, |status| status.is_listed == Some(true)).await.outcome == Outcome::Said);
    let document = scene.mirror.documents().borrow().clone().expect("an edition");
    let listed = document.relay(&relay(1).node_id()).expect("it is in the edition");
    assert_eq!(listed.addresses, profile(1).addresses);
    let keys = publisher.keys().borrow().clone();
    let (interval, key) = listed.onion_keys[0];
    assert_eq!(keys.of(interval).map(|secret| secret.onion_key()), Some(key), "the relay has the secrets of its keys");
}

#[tokio::test(start_paused = true)]
async fn words_that_are_old_after_try_again_were_not_taken() {
    let scene = Scene::new("hesitant");
    scene.members.admit(1);
    // Another machine with the relay's keys, whose clock is ahead.
    let clock = scene.members.clock.clone();
    let ahead = directory_mirror::Clock::new(move || clock.now_ms() + 300_000);
    let other = Publisher::start(PublisherConfig { clock: ahead, ..scene.config.clone() }).expect("a publisher");
    said(&other).await;
    drop(other);
    let config =
        PublisherConfig { members: Sources::new(Hesitant::twice(&scene.members, false)), ..scene.config.clone() };
    let publisher = Publisher::start(config).expect("a publisher");
    let spoken = |status: &PublisherStatus| status.outcome != Outcome::Waiting;
    let first = stands(&publisher, spoken).await;
    assert!(matches!(first.outcome, Outcome::Unreached(_)) && first.said_ms.is_none(), "{first:?}");
    let words = refused(&publisher, Refusal::Old).await;
    assert!(words.contains("another machine"), "{words}");
}

#[tokio::test(start_paused = true)]
async fn a_relay_speaks_once_in_a_key_interval_and_is_never_missing() {
    let scene = Scene::new("renews");
    scene.members.admit(1);
    let publisher = scene.start();
    said(&publisher).await;
    reach(&scene.mirror, 3).await;
    let mut published = vec![scene.known().expect("it is there").published_ms];
    for index in 3..4 * KEY_INTERVALS {
        reach(&scene.mirror, index).await;
        let document = scene.mirror.documents().borrow().clone().expect("an edition");
        assert!(document.relay(&relay(1).node_id()).is_some(), "it is in edition {index}");
        published.push(scene.known().expect("it is there").published_ms);
        // What it says is on the disk, and it answers under the keys of two intervals.
        let file = std::fs::read_to_string(&scene.config.onion_keys).expect("a file");
        let keys = OnionKeyFile::parse(&file).expect("a file of secrets");
        let interval = Interval(index / KEY_INTERVALS);
        assert!(keys.keys(interval).is_some() && keys.of(Interval(interval.0 + 1)).is_some());
        assert_eq!(keys.of(Interval(interval.0.wrapping_sub(1))).is_some(), interval.0 > 0, "at {index}");
    }
    published.dedup();
    assert_eq!(published.len(), 4, "at the start and in three key intervals");
    for (interval, at_ms) in published.iter().enumerate().skip(1) {
        let since = at_ms - START_MS - interval as u64 * KEY_INTERVALS * INTERVAL_MS;
        assert!(since <= KEY_INTERVALS * INTERVAL_MS / 2, "in the first half: {since}");
    }
    let mode = std::fs::metadata(&scene.config.onion_keys).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(start_paused = true)]
async fn what_changed_is_said_at_once_and_what_did_not_is_not() {
    let scene = Scene::new("changes");
    scene.members.admit(1);
    let publisher = scene.start();
    let first = said(&publisher).await.said_ms;
    publisher.set_profile(profile(1));
    sleep(Duration::from_secs(60)).await;
    assert_eq!(publisher.status().borrow().said_ms, first);
    let mut moved = profile(1);
    moved.addresses = vec![([192, 0, 2, 77], 4433).into()];
    publisher.set_profile(moved.clone());
    stands(&publisher, |status| status.said_ms > first).await;
    assert_eq!(scene.known().expect("it is there").descriptor.addresses, moved.addresses);
    // As it cannot be: an exit without ports.
    moved.roles.exit = true;
    publisher.set_profile(moved.clone());
    let status = stands(&publisher, |status| matches!(status.outcome, Outcome::Invalid(_))).await;
    assert!(matches!(&status.outcome, Outcome::Invalid(words) if words.contains("exit-ports")), "{status:?}");
    moved.exit_ports = "80,443".parse().ok();
    publisher.set_profile(moved);
    said(&publisher).await;
    assert!(scene.known().expect("it is there").exit_ports.is_some());
    // More often than four times in an interval: later.
    let mut own = profile(1);
    for port in 1..=3 {
        own.addresses = vec![([192, 0, 2, 77], port).into()];
        let before = publisher.status().borrow().clone();
        publisher.set_profile(own.clone());
        stands(&publisher, |status| *status != before).await;
    }
    let words = refused(&publisher, Refusal::Quota).await;
    assert!(words.ends_with("it is said again later"), "{words}");
    said(&publisher).await;
    assert_eq!(scene.known().expect("it is there").descriptor.addresses, own.addresses);
}

#[tokio::test(start_paused = true)]
async fn refusals_name_their_cause() {
    let scene = Scene::new("causes");
    (1..=2).for_each(|number| scene.members.admit(number));
    let publisher = scene.start();
    said(&publisher).await;
    // Another relay with files that were copied from this one.
    let config =
        PublisherConfig { secret: relay(2), onion_keys: scene.folder.0.join("other.keys"), ..scene.config.clone() };
    let twin = Publisher::start(config.clone()).expect("a publisher");
    let words = refused(&twin, Refusal::SharedKey).await;
    assert!(words.contains("give it keys of its own"), "{words}");
    twin.set_profile(profile(2));
    said(&twin).await;
    // More than operators vouch for.
    let mut other = profile(2);
    other.operator = crate::network::label("mallory");
    twin.set_profile(other);
    let words = refused(&twin, Refusal::NotVouchedFor).await;
    assert!(words.contains("have the operators admit it with more"), "{words}");
    drop(twin);
    // A clock that is an hour ahead.
    let wrong = PublisherConfig { clock: scene.members.wrong_clock(1_200_000), profile: profile(2), ..config.clone() };
    let ahead = Publisher::start(wrong).expect("a publisher");
    let words = refused(&ahead, Refusal::Ahead).await;
    assert!(words.contains("this machine's clock is the likely cause"), "{words}");
    drop(ahead);
    // Out, and in again only with the operators.
    scene.members.order(Order::Expel { node: relay(1).node_id() });
    assert!(stands(&publisher, |status| status.is_listed == Some(false)).await.outcome == Outcome::Said);
    refused(&publisher, Refusal::NotAdmitted).await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_speaks_through_a_mirror_and_through_outages() {
    let mut scene = Scene::new("through");
    scene.members.admit(1);
    let switch = Switch::to(Hostile(Harm::Ends));
    let member: Arc<dyn Open> = Arc::new(switch.clone());
    let service = Arc::new(scene.mirror.service(Sources::new([member])));
    scene.config.members = Sources::new([Arc::new(Memory(service)) as Arc<dyn Open>]);
    let publisher = scene.start();
    let is = |words: &'static str| move |status: &PublisherStatus| matches!(&status.outcome, Outcome::Unreached(said) if said.contains(words));
    stands(&publisher, is("this node reaches no member")).await;
    switch.turn_to(Memory(Arc::clone(&scene.members)));
    said(&publisher).await;
    assert!(scene.known().is_some());
    // A mirror that passes nothing on says so.
    scene.config.members =
        Sources::new([Arc::new(Memory(Arc::new(scene.mirror.service(Sources::new([]))))) as Arc<dyn Open>]);
    drop(publisher);
    let publisher = scene.start();
    stands(&publisher, is("passes no commands on")).await;
    // Nobody signs for another node: such a command is refused where it comes in.
    let member: Arc<dyn Open> = Arc::new(Memory(Arc::clone(&scene.members)));
    scene.config.members =
        Sources::new([Arc::new(Memory(Arc::new(scene.mirror.service(Sources::new([member]))))) as Arc<dyn Open>]);
    scene.config.network = network_document::NetworkId([7; 32]);
    drop(publisher);
    refused(&scene.start(), Refusal::Signature).await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_stops_for_good_is_out() {
    let scene = Scene::new("withdraws");
    let publisher = scene.start();
    refused(&publisher, Refusal::NotAdmitted).await;
    let refusal = publisher.withdraw().await.expect_err("nothing is there to withdraw");
    assert!(matches!(&refusal, WithdrawError::Refused(words) if words.contains("not admitted this node")), "{refusal}");
    scene.members.admit(1);
    let publisher = scene.start();
    said(&publisher).await;
    assert_eq!(publisher.node_id(), relay(1).node_id());
    publisher.withdraw().await.expect("it was there");
    assert!(scene.known().is_none());
    let mut config = scene.config.clone();
    config.members = Sources::new([Arc::new(Hostile(Harm::Shut)) as Arc<dyn Open>]);
    let unreached = Publisher::start(config).expect("a publisher").withdraw().await.expect_err("nobody is there");
    assert!(unreached.to_string().contains("it is out when its announcement expires"), "{unreached}");
    // A start says it again.
    said(&scene.start()).await;
    assert!(scene.known().is_some());
}

#[tokio::test(start_paused = true)]
async fn onion_secrets_are_kept_over_a_start_and_damage_is_said() {
    let scene = Scene::new("secrets");
    scene.members.admit(1);
    let publisher = scene.start();
    said(&publisher).await;
    let before = publisher.keys().borrow().reveal();
    drop(publisher);
    let publisher = scene.start();
    said(&publisher).await;
    assert_eq!(publisher.keys().borrow().reveal(), before);
    drop(publisher);
    std::fs::write(&scene.config.onion_keys, "nonsense").expect("a file");
    let error = Publisher::start(scene.config.clone()).expect_err("nonsense");
    assert!(matches!(error, PublisherError::Keys { .. }) && error.to_string().contains("onion.keys"), "{error}");
    // Nobody is told of keys whose secrets are not on the disk.
    let mut config = scene.config.clone();
    config.onion_keys = scene.folder.0.join("gone").join("onion.keys");
    config.secret = member(1);
    let publisher = Publisher::start(config).expect("a publisher");
    stands(&publisher, |status| matches!(status.outcome, Outcome::Keys(_))).await;
    assert_eq!(publisher.status().borrow().key_interval, None);
}
