//! Introductions that are too many, come twice or are forged.

use crate::world::{World, config};
use onion_service::{
    Action, ClientError, ClientIntroduction, INTRODUCED_MAX, INTRODUCTION_LEN, IntroductionRefusal, PointId,
    ServiceConfig,
};
use std::time::Duration;

const RELAY: identity::NodeId = identity::NodeId([99; 32]);

/// Does what a client wants done until it introduces itself: to whom, and how.
fn next_introduction(
    world: &World,
    client: &mut ClientIntroduction,
) -> Option<([u8; 32], Box<[u8; INTRODUCTION_LEN]>)> {
    loop {
        match client.poll_action(world.now)? {
            Action::Fetch { key } => {
                let record = world.directory.records.get(&key).cloned();
                client.handle_record(world.now, &key, record.as_ref());
            }
            Action::Meet { .. } => client.handle_meeting(world.now, &[RELAY]),
            Action::Work => while !client.work(world.now, 1_000) {},
            Action::Introduce { name, message, .. } => return Some((name, message)),
        }
    }
}

/// Introductions of so many clients that go no farther, each for the point that it drew.
fn made(world: &mut World, clients: usize) -> Vec<(PointId, Vec<u8>)> {
    let mut made = Vec::new();
    for _ in 0..clients {
        let mut client = world.client(None, 0, 1);
        let introduction = next_introduction(world, &mut client);
        made.extend(introduction.map(|(name, message)| (world.waiting[&name].point, message.to_vec())));
    }
    made
}

#[test]
fn what_came_is_taken_once_at_one_point() {
    let mut world = World::new(60, config());
    for _ in 0..20 {
        let mut client = world.client(None, 0, 1);
        assert_eq!(world.visit(&mut client), Ok(1));
        world.run(Duration::from_secs(5));
    }
    let (meetings, seen) = (world.meetings, world.seen.clone());
    let points: Vec<_> = world.waiting.values().map(|waiting| waiting.point).collect();
    for (place, (taken_at, message)) in seen.iter().enumerate() {
        world.run(Duration::from_secs(5));
        for point in &points {
            let expected = if point == taken_at { IntroductionRefusal::Replay } else { IntroductionRefusal::Sealed };
            assert_eq!(world.deliver(*point, message), Err(expected), "introduction {place}");
        }
        let mut other_work = message.clone();
        other_work[9] ^= 1;
        assert_eq!(world.deliver(*taken_at, &other_work), Err(IntroductionRefusal::Replay));
    }
    world.settle();
    assert_eq!(world.meetings, meetings, "nobody is met again");
    assert_eq!(world.service.figures().replayed, 40);
}

#[test]
fn a_flood_is_bounded_counted_and_ends_and_who_works_gets_through_it() {
    let mut world = World::new(61, config());
    // Fifty a second at each of the points, made without work as if for an old record, for three minutes.
    let flood = made(&mut world, 600);
    let mut through = 0;
    for second in 0..170 {
        for (point, message) in flood.iter().skip(second % 4 * 150).take(150) {
            let mut junk = message.clone();
            // Sealed once and sent with another last byte: what a stranger can do at the price of nothing.
            junk[INTRODUCTION_LEN - 1 - second % 8] ^= second as u8 | 1;
            let refused = world.deliver(*point, &junk).expect_err("it is altered");
            assert!(matches!(refused, IntroductionRefusal::Sealed | IntroductionRefusal::Rate));
        }
        world.run(Duration::from_secs(1));
        if second >= 80 && second % 20 == 0 {
            let mut client = world.client(None, 0, 1);
            through += u32::from(world.visit(&mut client).is_ok());
        }
    }
    assert!(world.service.work_bits() >= 12, "{} bits", world.service.work_bits());
    let figures = world.service.figures();
    assert!(figures.too_fast > 18_000 && figures.forged < 7_000, "{figures:?}");
    assert_eq!(through, 5, "who works gets through");
    world.run(Duration::from_secs(3_600));
    assert_eq!(world.service.work_bits(), 0, "it is calm again");
    assert_eq!(world.directory.refused, 0);
}

#[test]
fn good_introductions_beyond_what_waits_are_refused_and_nothing_grows() {
    let mut world = World::new(62, ServiceConfig { introductions_per_second: 1_000, ..config() });
    let good = made(&mut world, INTRODUCED_MAX + 20);
    let mut outcomes = Vec::new();
    for (point, message) in &good {
        outcomes.push(world.deliver(*point, message));
    }
    assert!(outcomes[..INTRODUCED_MAX].iter().all(Result::is_ok));
    assert!(outcomes[INTRODUCED_MAX..].iter().all(|outcome| *outcome == Err(IntroductionRefusal::Busy)));
    world.settle();
    // Busy is not for ever: the same introduction may come again.
    let (point, message) = &good[INTRODUCED_MAX];
    assert_eq!(world.deliver(*point, message), Ok(()));
}

#[test]
fn what_is_no_introduction_is_refused_before_any_work() {
    let mut world = World::new(63, config());
    let point = world.waiting.values().next().expect("a point").point;
    for length in [0, 1, INTRODUCTION_LEN - 1, INTRODUCTION_LEN + 1] {
        assert_eq!(world.deliver(point, &vec![0; length]), Err(IntroductionRefusal::Length));
    }
    assert_eq!(world.deliver(point, &[0; INTRODUCTION_LEN]), Err(IntroductionRefusal::Keys));
    assert_eq!(world.deliver(PointId(999), &[0; INTRODUCTION_LEN]), Err(IntroductionRefusal::Point));
    assert_eq!((world.service.figures().malformed, world.service.figures().accepted), (6, 0));
}

#[test]
fn a_client_whom_nobody_answers_tries_each_point_once_and_gives_up() {
    let mut world = World::new(64, config());
    let mut client = world.client(None, 0, 1);
    let mut sent = 0;
    let error = loop {
        while let Some((name, _)) = next_introduction(&world, &mut client) {
            sent += 1;
            client.handle_introduced(world.now, &[0; 32], false);
            client.handle_introduced(world.now, &name, sent != 2);
        }
        match (client.error(), client.next_wake()) {
            (Some(error), _) => break error,
            (None, wake) => world.now = wake.expect("it waits"),
        }
    };
    assert_eq!((error, sent), (ClientError::Unanswered { tried: 3 }, 3));
}

/// What each introduction of a client comes to, in order: when it was sent, and the name of its point.
fn sent_of(world: &mut World, client: &mut ClientIntroduction, until: Duration) -> Vec<(Duration, [u8; 32])> {
    let (begun, mut sent) = (world.now, Vec::new());
    while client.error().is_none() {
        while let Some((name, _)) = next_introduction(world, client) {
            sent.push((world.now - begun, name));
        }
        match client.next_wake() {
            Some(wake) if wake <= begun + until => world.now = wake,
            _ => break,
        }
    }
    sent
}

#[test]
fn beside_a_point_that_is_silent_another_one_is_tried() {
    let mut world = World::new(65, config());
    let mut client = world.client(None, 0, 1);
    let sent = sent_of(&mut world, &mut client, Duration::from_secs(6));
    let times: Vec<u128> = sent.iter().map(|(at, _)| at.as_millis()).collect();
    assert_eq!(times, [0, 2_500, 5_000], "one after another, while those before are on their way");

    // One that comes late is as good, and those beside it are not missed.
    client.handle_introduced(world.now, &sent[0].1, true);
    client.handle_introduced(world.now, &sent[1].1, false);
    let again = sent_of(&mut world, &mut client, Duration::from_secs(6));
    assert_eq!((again.len(), client.error()), (0, None), "it waits for the service");
}

#[test]
fn points_that_are_late_are_waited_for_until_the_last_has_failed() {
    let mut world = World::new(66, config());
    let mut client = world.client(None, 0, 1);
    let sent = sent_of(&mut world, &mut client, Duration::from_secs(20));
    assert_eq!((sent.len(), client.error()), (3, None), "all are on their way");
    for (_, name) in &sent[..2] {
        client.handle_introduced(world.now, name, false);
        assert_eq!(client.poll_action(world.now), None, "there is one left");
    }
    client.handle_introduced(world.now, &sent[2].1, false);
    assert!(matches!(client.poll_action(world.now), Some(Action::Fetch { .. })), "the record may be old");
}

#[test]
fn points_that_say_nothing_at_all_end_in_an_error() {
    let mut world = World::new(67, config());
    let mut client = world.client(None, 0, 1);
    let sent = sent_of(&mut world, &mut client, Duration::from_secs(120));
    assert_eq!((sent.len(), client.error()), (3, Some(ClientError::Unanswered { tried: 3 })));
}
