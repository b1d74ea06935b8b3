//! Records of services through mirrors: published, found, kept for a while, and refused when there are too many.

use crate::network::{Folder, Harm, Hesitant, Hostile, Members, Memory, relay};
use directory_mirror::{
    Mirror, PublishError, RECORD_AGE_MAX, STREAM_QUESTIONS_MAX, STREAM_RECORDS_MAX, ServicePublisher, Sources,
};
use directory_stream::{Answers, Asker, Open};
use identity::NodeSecret;
use relay_directory::{
    Answer, CODE_TRY_AGAIN, Refusal, ServiceAnswer, ServiceRecord, ServiceRequest, ServicesStanding,
};
use std::sync::Arc;
use std::time::Duration;

fn record(members: &Members, owner: &NodeSecret, revision: u64) -> ServiceRecord {
    let expires_ms = members.state().directory.time_ms() + 3_600_000;
    let mut record =
        ServiceRecord { key: owner.node_id().0, revision, expires_ms, content: vec![5; 2_681], signature: [0; 64] };
    record.signature = owner.sign(&record.message(members.network()));
    record
}

/// A mirror of these members, and a way to it.
fn mirror(members: &Arc<Members>, name: &str) -> (Folder, Mirror, Arc<dyn Open>) {
    let folder = Folder::new(name);
    let member: Arc<dyn Open> = Arc::new(Memory(Arc::clone(members)));
    let mirror = Mirror::start(folder.config(members, vec![Arc::clone(&member)])).expect("a mirror");
    let service = Arc::new(mirror.service(Sources::new([member])));
    (folder, mirror, Arc::new(Memory(service)))
}

async fn found(way: &dyn Open, key: [u8; 32]) -> ServiceAnswer {
    let mut asker = Asker::open(way).await.expect("a stream");
    asker.ask(&ServiceRequest::Record { key }).await.expect("an answer")
}

#[tokio::test(start_paused = true)]
async fn what_is_published_through_one_mirror_is_found_through_another() {
    let members = Members::start("records");
    let ((_one, near, at_near), (_other, far, at_far)) = (mirror(&members, "records-1"), mirror(&members, "records-2"));
    let owner = relay(7);
    let key = owner.node_id().0;
    let publisher = ServicePublisher::start(members.network(), Sources::new([at_near]));
    let mut time = publisher.time();
    let heard = time.wait_for(Option::is_some).await.expect("the publisher is there").expect("a time").now_ms();
    let is = members.state().directory.time_ms();
    assert!(heard.abs_diff(is) < 60_000, "{heard} {is}");
    assert_eq!(found(&*at_far, key).await, ServiceAnswer::Record(None));
    let first = record(&members, &owner, 1);
    publisher.publish(&first).await.expect("it is taken");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(
        found(&*at_far, key).await,
        ServiceAnswer::Record(Some(first.clone())),
        "that there was none is forgotten"
    );
    // It is kept here, and not for long.
    let second = record(&members, &owner, 2);
    publisher.publish(&second).await.expect("it is taken");
    let asked = members.state().records_asked;
    assert_eq!(found(&*at_far, key).await, ServiceAnswer::Record(Some(first)));
    assert_eq!(members.state().records_asked, asked, "nobody asks again");
    tokio::time::sleep(RECORD_AGE_MAX).await;
    assert_eq!(found(&*at_far, key).await, ServiceAnswer::Record(Some(second.clone())));
    // What the directory says comes back in words.
    let again = publisher.publish(&record(&members, &owner, 1)).await;
    assert!(
        matches!(&again, Err(PublishError::Refused { code, sentence })
        if *code == Refusal::Old.code() && sentence.contains("another machine")),
        "{again:?}"
    );
    let altered = publisher.publish(&ServiceRecord { revision: 9, ..second }).await;
    assert!(matches!(altered, Err(PublishError::Refused { code, .. }) if code == Refusal::Signature.code()));
    drop((near, far));
}

#[tokio::test(start_paused = true)]
async fn a_flood_on_one_stream_stops_at_the_mirror_and_others_go_through() {
    let members = Members::start("flood");
    let (_folder, _mirror, way) = mirror(&members, "flood");
    let mut flood = Asker::open(&*way).await.expect("a stream");
    let records: Vec<ServiceRecord> =
        (1..=50).map(|number| record(&members, &NodeSecret::from_seed([number; 32]), 1)).collect();
    let (mut taken, mut put_off) = (0, 0);
    for number in 0..200 {
        let request = ServiceRequest::Publish(records[number % 50].clone());
        match flood.ask(&request).await.expect("an answer") {
            ServiceAnswer::Submit(outcome) if outcome.is_done() => taken += 1,
            ServiceAnswer::Submit(outcome) if outcome.code == CODE_TRY_AGAIN => put_off += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((taken, put_off), (STREAM_RECORDS_MAX, 200 - STREAM_RECORDS_MAX));
    let publisher = ServicePublisher::start(members.network(), Sources::new([Arc::clone(&way)]));
    publisher.publish(&record(&members, &relay(7), 1)).await.expect("another stream has its share");
    // Questions have a bound of their own, and to what is beyond there is no answer rather than a wrong one.
    let mut curious = Asker::open(&*way).await.expect("a stream");
    let (mut none, mut unknown) = (0, 0);
    for number in 0..100u8 {
        match curious.ask(&ServiceRequest::Record { key: [number; 32] }).await.expect("an answer") {
            ServiceAnswer::Record(None) => none += 1,
            ServiceAnswer::Fetch(Answer::Unknown) => unknown += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((none, unknown), (STREAM_QUESTIONS_MAX, 100 - STREAM_QUESTIONS_MAX));
    assert!(members.state().records_asked <= STREAM_QUESTIONS_MAX as usize);
    assert_eq!(
        Asker::open(&*way).await.expect("a stream").ask(&ServiceRequest::Services).await.expect("an answer"),
        ServiceAnswer::Fetch(Answer::Unknown),
        "only a member knows"
    );
    let standing = members.state().directory.services_standing(&crate::network::member(1).node_id());
    assert!(matches!(standing, ServicesStanding { records_64ths: 1, .. }), "{standing:?}");
}

#[tokio::test(start_paused = true)]
async fn whoever_is_asked_and_lies_or_stalls_has_no_say() {
    let members = Members::start("liars-of-records");
    let owner = relay(7);
    let good = record(&members, &owner, 1);
    let command = sponsored(&members, good.clone());
    members.state().directory.apply(&command);
    let folder = Folder::new("liars-of-records");
    // Somebody else's record, one with a wrong signature, silence, and one who has it.
    let forged = ServiceRecord { content: b"forged".to_vec(), ..good.clone() };
    let sources: [Arc<dyn Open>; 2] = [Arc::new(Hostile(Harm::Ends)), Arc::new(Memory(Arc::clone(&members)))];
    let mirror = Mirror::start(folder.config(&members, sources.to_vec())).expect("a mirror");
    let way = Memory(Arc::new(mirror.service(Sources::new(sources))));
    assert_eq!(found(&way, good.key).await, ServiceAnswer::Record(Some(good.clone())));
    let liar: Arc<dyn Open> = Arc::new(Memory(Arc::new(Forger(forged))));
    let way = Memory(Arc::new(mirror.service(Sources::new([Arc::clone(&liar)]))));
    assert_eq!(found(&way, good.key).await, ServiceAnswer::Fetch(Answer::Unknown), "a forged record is none");
    let silent: Arc<dyn Open> = Arc::new(Hostile(Harm::Silence));
    let way = Memory(Arc::new(mirror.service(Sources::new([silent]))));
    assert_eq!(found(&way, good.key).await, ServiceAnswer::Fetch(Answer::Unknown));
    // A publisher says so, in time, and goes on asking for the time.
    let nobody: Arc<dyn Open> = Arc::new(Hostile(Harm::Shut));
    let publisher = ServicePublisher::start(members.network(), Sources::new([nobody]));
    let failed = publisher.publish(&good).await;
    assert!(matches!(failed, Err(PublishError::Unreached(_))), "{failed:?}");
    assert!(publisher.time().borrow().is_none());
    drop(mirror);
}

fn sponsored(members: &Members, record: ServiceRecord) -> Vec<u8> {
    let service = relay_directory::SponsoredService::new(members.network(), record, &crate::network::member(1));
    relay_directory::Command::PublishService(Box::new(service.expect("a record"))).encode()
}

/// Always this record.
struct Forger(ServiceRecord);

impl Answers for Forger {
    type Stream = ();

    async fn answer(&self, (): &mut (), _: ServiceRequest) -> ServiceAnswer {
        ServiceAnswer::Record(Some(self.0.clone()))
    }
}

/// A publisher that asks two of the same kind, of whom the first hesitates.
fn hesitant(members: &Arc<Members>, takes: bool) -> ServicePublisher {
    ServicePublisher::start(members.network(), Sources::new(Hesitant::twice(members, takes)))
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_old_after_try_again_was_taken_only_if_it_is_there() {
    let members = Members::start("hesitant");
    let owner = relay(7);
    let first = record(&members, &owner, 5);
    assert_eq!(hesitant(&members, true).publish(&first).await, Ok(()), "it was taken, and is there");
    // Another machine with the same key said something later, or something else.
    let other = ServiceRecord { content: vec![6; 100], ..first.clone() };
    let other = ServiceRecord { signature: owner.sign(&other.message(members.network())), ..other };
    for late in [record(&members, &owner, 4), other] {
        let published = hesitant(&members, false).publish(&late).await;
        assert!(
            matches!(&published, Err(PublishError::Refused { code, .. }) if *code == Refusal::Old.code()),
            "{published:?}"
        );
    }
    assert_eq!(members.state().directory.service(&first.key), Some(&first));
}
