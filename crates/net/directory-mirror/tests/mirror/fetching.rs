//! How a mirror comes to the newest edition, and what it keeps.

use crate::network::{
    Fixed, Folder, Harm, Hostile, INTERVAL_MS, KEY_INTERVALS, Members, Memory, START_MS, Switch, VALID_INTERVALS,
    index, profile, reach, relay, stands,
};
use directory_mirror::{Mirror, MirrorStream, Publisher, PublisherConfig, Sources, StartError, fetch_edition};
use directory_stream::{Answers, Asker, Open};
use network_document::SignedEdition;
use relay_directory::{Answer, DirectoryClient, Request, ServiceAnswer, ServiceRequest};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

fn memory(members: &Arc<Members>) -> Arc<dyn Open> {
    Arc::new(Memory(Arc::clone(members)))
}

fn publisher(members: &Arc<Members>, folder: &Folder, mirror: &Mirror, number: u8) -> Publisher {
    members.admit(number);
    let config = PublisherConfig {
        network: members.network(),
        secret: relay(number),
        profile: profile(number),
        onion_keys: folder.0.join(format!("onion.keys.{number}")),
        members: Sources::new([memory(members)]),
        documents: mirror.documents(),
        clock: members.clock.clone(),
    };
    Publisher::start(config).expect("a publisher")
}

#[tokio::test(start_paused = true)]
async fn a_mirror_begins_with_nothing_and_keeps_what_it_believes() {
    let (members, folder) = (Members::start("example"), Folder::new("begin"));
    let mirror = Mirror::start(folder.config(&members, vec![memory(&members)])).expect("a mirror");
    // Before the first edition there is none, and that is said.
    let early = stands(&mirror, |status| status.error.is_some()).await;
    assert!(early.held.is_none() && !early.is_valid, "{early:?}");
    reach(&mirror, 1).await;
    let published = members.published();
    let files = folder.files();
    let network = files.network.expect("a path");
    for path in [&files.cache, &network] {
        assert_eq!(std::fs::metadata(path).expect("a file").permissions().mode() & 0o777, 0o600);
    }
    let bytes = std::fs::read(&network).expect("a file");
    assert_eq!(SignedEdition::decode(&bytes).expect("an edition"), published);
    let status = stands(&mirror, |status| status.error.is_none()).await;
    let held = status.held.expect("an edition");
    assert_eq!((held.name, held.relays, held.term), (published.edition().name(), 0, 1));
    assert_eq!(held.valid_until_ms, START_MS + (1 + VALID_INTERVALS) * INTERVAL_MS);
    assert!(status.is_valid && status.forks.is_empty() && status.counts.editions == 1);
    assert!(status.skew_ms.expect("the time").abs() <= 10_000, "members speak every ten seconds");
}

#[tokio::test(start_paused = true)]
async fn editions_are_asked_for_at_moments_that_nobody_moves() {
    let (members, folder) = (Members::start("example"), Folder::new("moments"));
    sleep(Duration::from_millis(INTERVAL_MS)).await;
    let mirror = Mirror::start(folder.config(&members, vec![memory(&members)])).expect("a mirror");
    reach(&mirror, 1).await;
    members.state().asked_ms.clear();
    let service = mirror.service(Sources::new([]));
    for wanted in 2..14 {
        // Whoever asks the mirror moves nothing.
        for _ in 0..wanted {
            service.answer(&mut MirrorStream::default(), ServiceRequest::Fetch(Request::Full)).await;
        }
        reach(&mirror, wanted).await;
    }
    let asked = members.state().asked_ms.clone();
    let mut shares = Vec::new();
    for index in 2..14 {
        let begin_ms = START_MS + index * INTERVAL_MS;
        let within: Vec<u64> =
            asked.iter().filter(|at| (begin_ms..begin_ms + INTERVAL_MS).contains(at)).copied().collect();
        // Members sign within ten seconds of the beginning; whoever comes earlier comes again.
        let (last, early) = within.split_last().expect("asked in every interval");
        assert!(early.iter().all(|at| at - begin_ms < 10_000), "{within:?}");
        assert!(*last - begin_ms < INTERVAL_MS / 4 + 60_000, "{within:?}");
        shares.push(*last - begin_ms);
    }
    shares.dedup();
    assert!(shares.len() > 6, "another moment in each interval: {shares:?}");
}

#[tokio::test(start_paused = true)]
async fn a_start_goes_on_from_where_an_earlier_run_was() {
    let (members, folder) = (Members::start("example"), Folder::new("restart"));
    let mirror = Mirror::start(folder.config(&members, vec![memory(&members)])).expect("a mirror");
    reach(&mirror, 1).await;
    let old = members.published();
    reach(&mirror, 3).await;
    drop(mirror);
    // Whoever is asked now has the edition of before, which is still valid.
    let liar = Arc::new(Fixed(Answer::Full(old.encode())));
    let switch = Switch::to(Memory(liar));
    std::fs::remove_file(folder.files().network.expect("a path")).expect("it was there");
    let mirror = Mirror::start(folder.config(&members, vec![Arc::new(switch.clone())])).expect("a mirror");
    reach(&mirror, 3).await;
    assert!(folder.files().network.expect("a path").exists(), "it is there for others at once");
    let status = stands(&mirror, |status| status.counts.refused > 0).await;
    let error = status.error.expect("words");
    assert!(error.contains("this node has seen number 3"), "{error}");
    assert!(index(&mirror) == 3 && status.is_valid, "the last good one");
    switch.turn_to(Memory(Arc::clone(&members)));
    reach(&mirror, 4).await;
    assert!(stands(&mirror, |status| status.error.is_none()).await.is_valid);
}

#[tokio::test(start_paused = true)]
async fn after_a_month_a_mirror_learns_of_new_members_and_tells_others() {
    let (members, folder) = (Members::start("example"), Folder::new("month"));
    let mirror = Mirror::start(folder.config(&members, vec![memory(&members)])).expect("a mirror");
    reach(&mirror, 1).await;
    drop(mirror);
    for _ in 0..3 {
        members.change_members();
        sleep(Duration::from_millis(INTERVAL_MS)).await;
    }
    tokio::time::advance(Duration::from_secs(30 * 86_400)).await;
    sleep(Duration::from_millis(INTERVAL_MS)).await;
    let mirror = Mirror::start(folder.config(&members, vec![memory(&members)])).expect("a mirror");
    assert!(!stands(&mirror, |status| status.held.is_some()).await.is_valid || index(&mirror) > 4_000, "it has ended");
    reach(&mirror, 4_000).await;
    assert_eq!(stands(&mirror, |status| status.error.is_none()).await.held.map(|held| held.term), Some(4));
    // A mirror of the mirror, which was away as long and has to learn of all members.
    let other = Folder::new("month-other");
    let service = Arc::new(mirror.service(Sources::new([])));
    let behind = Mirror::start(other.config(&members, vec![Arc::new(Memory(service))])).expect("a mirror");
    reach(&behind, 4_000).await;
}

#[tokio::test(start_paused = true)]
async fn a_mirror_of_a_mirror_has_the_same_and_differences_are_made_for_others() {
    let (members, [first, second]) = (Members::start("example"), [Folder::new("first"), Folder::new("second")]);
    let near = Mirror::start(first.config(&members, vec![memory(&members)])).expect("a mirror");
    let service = Arc::new(near.service(Sources::new([])));
    let far = Mirror::start(second.config(&members, vec![Arc::new(Memory(Arc::clone(&service)))])).expect("a mirror");
    // Relays, so that a difference is shorter than the whole.
    let relays: Vec<Publisher> = (1..=3).map(|number| publisher(&members, &first, &near, number)).collect();
    reach(&far, 3).await;
    assert!(relays.iter().all(|relay| relay.status().borrow().is_listed == Some(true)));
    assert_eq!(far.documents().borrow().as_ref().map(|document| document.hash()), {
        let edition = near.documents().borrow().clone().expect("an edition");
        Some(edition.hash())
    });
    // A stale client gets a difference, and an old edition by its hash.
    let mut client = DirectoryClient::new(members.network());
    let source = Memory(Arc::clone(&service));
    let newest = members.published();
    let previous = newest.edition().previous().hash;
    let old = fetch_edition(&source, members.network(), previous).await.expect("it is kept");
    client.handle_full(members.clock.now_ms(), &old.encode()).expect("it is valid");
    let mut asker = Asker::open(&source).await.expect("a stream");
    match asker.ask(&ServiceRequest::Fetch(client.poll_request())).await.expect("an answer") {
        ServiceAnswer::Fetch(answer @ Answer::Diff(_)) => {
            client.handle_decoded(members.clock.now_ms(), answer).expect("it fits");
        }
        answer => panic!("{answer:?}"),
    }
    assert_eq!(client.index(), newest.edition().index());
    let unknown = fetch_edition(&source, members.network(), [9; 32]).await.expect_err("nobody has it").to_string();
    assert!(unknown.contains("nothing of the kind"), "{unknown}");
    let standing = asker.ask(&ServiceRequest::Standing).await.expect("an answer");
    let ServiceAnswer::Standing(standing) = standing else { panic!("{standing:?}") };
    assert!(standing.time_ms.abs_diff(members.clock.now_ms()) <= 10_000, "the time goes on in between");
    let members_unknown = asker.ask(&ServiceRequest::Members).await.expect("an answer");
    assert_eq!(members_unknown, ServiceAnswer::Fetch(Answer::Unknown));
}

#[tokio::test(start_paused = true)]
async fn a_service_may_die_and_come_back() {
    let (members, folder) = (Members::start("example"), Folder::new("dies"));
    let switch = Switch::to(Memory(Arc::clone(&members)));
    let mirror = Mirror::start(folder.config(&members, vec![Arc::new(switch.clone())])).expect("a mirror");
    reach(&mirror, 2).await;
    switch.turn_to(Hostile(Harm::Shut));
    let status = stands(&mirror, |status| status.error.is_some()).await;
    assert!(status.error.expect("words").contains("no relay answers") && status.is_valid);
    // The last good one lasts as long as it is valid, and no longer.
    let status = stands(&mirror, |status| !status.is_valid).await;
    assert_eq!(members.clock.now_ms() / 1_000, (START_MS + (2 + VALID_INTERVALS) * INTERVAL_MS) / 1_000);
    assert!(index(&mirror) == 0 && status.held.is_some_and(|held| held.name.index == 2));
    sleep(Duration::from_secs(3_600)).await;
    let broken = mirror.status().borrow().counts.broken;
    assert!((20..400).contains(&broken), "it goes on trying, a minute apart at most: {broken}");
    switch.turn_to(Memory(Arc::clone(&members)));
    reach(&mirror, 2 + KEY_INTERVALS).await;
    assert!(stands(&mirror, |status| status.error.is_none()).await.is_valid);
}

#[tokio::test(start_paused = true)]
async fn files_that_are_damaged_or_of_another_network_are_found_out() {
    let (members, folder) = (Members::start("example"), Folder::new("damaged"));
    let mirror = Mirror::start(folder.config(&members, vec![memory(&members)])).expect("a mirror");
    reach(&mirror, 1).await;
    drop(mirror);
    let other = Members::start("another");
    let refused = Mirror::start(folder.config(&other, vec![memory(&other)])).expect_err("of another network");
    assert!(matches!(refused, StartError::OtherNetwork(_)), "{refused}");
    let cache = folder.files().cache;
    let mut bytes = std::fs::read(&cache).expect("a file");
    bytes.truncate(bytes.len() - 9);
    std::fs::write(&cache, &bytes).expect("a file");
    let mirror = Mirror::start(folder.config(&members, vec![memory(&members)])).expect("a mirror");
    let note = mirror.status().borrow().error.clone().expect("a note");
    assert!(note.contains("was damaged") && folder.0.join("directory.cache.damaged").exists(), "{note}");
    reach(&mirror, 1).await;
    assert!(matches!(Mirror::start(folder.config(&members, Vec::new())), Err(StartError::NoSources)));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_told_to_nobody() {
    let (members, folder) = (Members::start("example"), Folder::new("unwritable"));
    let mut config = folder.config(&members, vec![memory(&members)]);
    config.files.cache = folder.0.join("gone").join("directory.cache");
    let mirror = Mirror::start(config).expect("a mirror");
    let says = |error: &Option<String>| error.as_ref().is_some_and(|error| error.contains("what came cannot be kept"));
    let status = stands(&mirror, |status| says(&status.error)).await;
    assert!(status.held.is_some() && !status.is_valid && index(&mirror) == 0, "{status:?}");
    std::fs::create_dir(folder.0.join("gone")).expect("a folder");
    reach(&mirror, 1).await;
    drop(mirror);
    // What an earlier run left is on the disk: this process goes by it even if it can tell no other one.
    let mut config = folder.config(&members, vec![memory(&members)]);
    config.files.cache = folder.0.join("gone").join("directory.cache");
    config.files.network = Some(folder.0.join("nowhere").join("network"));
    let mirror = Mirror::start(config).expect("a mirror");
    reach(&mirror, 1).await;
    assert!(stands(&mirror, |status| status.error.is_some()).await.error.expect("words").contains("nowhere"));
}
