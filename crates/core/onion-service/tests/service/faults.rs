//! Relays that die, a directory that does not answer, clocks that are wrong, clients that are not let in.

use crate::world::{World, address, closed, config, day_key};
use identity::{AccessKey, AccessSecret, NodeId, ServiceSecret};
use onion_service::{
    Action, AddressError, CLIENTS_MAX, ClientConfig, ClientError, ClientIntroduction, ConfigError, DAY_MS, Day,
    IntroductionRefusal, OpenError, ServiceAddress, ServiceConfig, ServiceCore,
};
use relay_directory::ServiceRecord;
use std::time::Duration;

#[test]
fn points_that_are_lost_are_replaced_and_records_say_so() {
    for seed in 10..16 {
        let mut world = World::new(seed, config());
        for round in 0..20 {
            let alive: Vec<_> = world.waiting.values().map(|waiting| waiting.relay).collect();
            let victim = alive[world.below(alive.len() as u32) as usize];
            world.kill(victim);
            // A client that comes at once may have to ask again; it gets through over the points that are left.
            let mut client = world.client(None, 0, 2);
            assert_eq!(world.visit(&mut client), Ok(2), "seed {seed}, round {round}");
            world.run(Duration::from_secs(1_500));
            assert_eq!(world.service.live_points(), 3, "seed {seed}, round {round}");
            world.dead.clear();
        }
        assert_eq!(world.directory.refused, 0, "seed {seed}: within the directory's bounds");
    }
}

#[test]
fn all_points_at_once_are_back_within_a_minute() {
    let mut world = World::new(20, config());
    let relays: Vec<_> = world.waiting.values().map(|waiting| waiting.relay).collect();
    relays.into_iter().for_each(|relay| world.kill(relay));
    assert_eq!(world.service.live_points(), 0);
    world.run(Duration::from_secs(60));
    assert_eq!(world.service.live_points(), 3);
    let mut client = world.client(None, 0, 1);
    assert_eq!(world.visit(&mut client), Ok(1));
}

/// Loses all points at once.
fn lose_all_points(world: &mut World) {
    let relays: Vec<_> = world.waiting.values().map(|waiting| waiting.relay).collect();
    relays.into_iter().for_each(|relay| world.kill(relay));
    world.dead.clear();
}

/// How long it takes until the record that is out names a point that is there.
fn unreachable_for(world: &mut World) -> Duration {
    let begun = world.now;
    while !world.is_reachable() {
        let waits = world.now - begun;
        world.run(Duration::from_millis(if waits < Duration::from_secs(10) { 100 } else { 1_000 }));
        assert!(world.now - begun < Duration::from_secs(3_600), "for an hour nobody could come");
    }
    world.now - begun
}

#[test]
fn points_that_go_together_are_one_loss() {
    for seed in 50..54 {
        let mut world = World::new(seed, config());
        lose_all_points(&mut world);
        assert!(unreachable_for(&mut world) <= Duration::from_secs(2), "seed {seed}");
        assert_eq!(world.service.live_points(), 3, "seed {seed}");
    }
}

/// The second record in a row comes within seconds, and no further one after more than half an interval, whatever came before.
#[test]
fn a_service_that_loses_all_points_again_and_again_is_found_soon() {
    for (seed, interval_s) in [(60, 600), (61, 600), (62, 2)] {
        let interval = Duration::from_secs(interval_s);
        let mut world = World::new(seed, ServiceConfig { interval, ..config() });
        world.run(interval);
        let mut waits = Vec::new();
        for _ in 0..16 {
            lose_all_points(&mut world);
            waits.push(unreachable_for(&mut world));
            let pause = u64::from(world.below(5_000));
            world.run(Duration::from_millis(pause));
        }
        let seconds = Duration::from_secs(8);
        assert!(waits[..3].iter().all(|wait| *wait <= seconds), "seed {seed}: {waits:?}");
        let longest = waits.iter().max().copied().unwrap_or_default();
        assert!(longest <= interval / 2 + seconds, "seed {seed}: {waits:?}");
        assert_eq!(world.directory.refused, 0, "seed {seed}: within the directory's bounds");
    }
}

/// While most points are there one record tells of several changes, and there is always one left for when they go.
#[test]
fn points_that_go_one_by_one_leave_a_record_for_when_most_are_gone() {
    let mut world = World::new(64, config());
    world.run(Duration::from_secs(600));
    for _ in 0..3 {
        let before = world.directory.taken;
        let relay = world.waiting.values().map(|waiting| waiting.relay).next().expect("a point");
        world.kill(relay);
        world.dead.clear();
        world.run(Duration::from_secs(61));
        let made = world.directory.taken - before;
        assert!(made <= 2, "one for each day, and no more: {made}");
    }
    lose_all_points(&mut world);
    assert!(unreachable_for(&mut world) <= Duration::from_secs(10));
}

/// The record that a client has is replaced while it builds its circuits: after the first point it has the new one, and not after the last.
#[test]
fn a_client_that_meets_nobody_at_a_point_looks_for_a_newer_record() {
    let mut world = World::new(66, config());
    let mut client = world.client(None, 0, 1);
    let Some(Action::Fetch { key }) = client.poll_action(world.now) else { panic!("first of all") };
    let old = world.directory.records.get(&key).cloned();
    client.handle_record(world.now, &key, old.as_ref());
    lose_all_points(&mut world);
    world.run(Duration::from_secs(10));
    assert_eq!((world.visit(&mut client), world.introductions), (Ok(1), 2));
}

/// The directory is away when the service begins, longer than a few tries take.
#[test]
fn a_record_that_was_not_taken_uses_nothing_up() {
    let mut world = World::new(65, config());
    lose_all_points(&mut world);
    world.directory.down = true;
    world.run(Duration::from_secs(60));
    assert!(world.directory.refused >= 6, "three for each day: {}", world.directory.refused);
    world.directory.down = false;
    assert!(unreachable_for(&mut world) <= Duration::from_secs(60));
}

#[test]
fn a_dead_network_is_not_hammered() {
    let mut world = World::new(21, config());
    world.dead = (1..=40).map(|relay| NodeId([relay; 32])).collect();
    let relays: Vec<_> = world.waiting.values().map(|waiting| waiting.relay).collect();
    relays.into_iter().for_each(|relay| world.kill(relay));
    let before = world.opened;
    world.run(Duration::from_secs(3_600));
    assert_eq!((world.opened, world.service.live_points()), (before, 0));
    world.dead.clear();
    world.run(Duration::from_secs(200));
    assert_eq!(world.service.live_points(), 3);
}

#[test]
fn a_directory_that_is_down_is_asked_again_and_has_the_record_soon() {
    let mut world = World::new(22, config());
    world.directory.records.clear();
    world.directory.down = true;
    world.run(Duration::from_secs(4 * 3_600));
    assert!((10..=160).contains(&world.directory.refused), "{} tries in four hours", world.directory.refused);
    let mut client = world.client(None, 0, 1);
    assert_eq!(world.visit(&mut client), Err(ClientError::NoRecord));
    world.directory.down = false;
    world.run(Duration::from_secs(1_000));
    let mut client = world.client(None, 0, 1);
    assert_eq!(world.visit(&mut client), Ok(1));
}

#[test]
fn records_of_a_service_that_is_off_end() {
    let mut world = World::new(23, config());
    world.running = false;
    let mut client = world.client(None, 0, 1);
    assert_eq!(world.visit(&mut client), Err(ClientError::Unanswered { tried: 3 }), "its record is there");
    world.now += Duration::from_secs(3 * 3_600);
    let mut client = world.client(None, 0, 1);
    let error = world.visit(&mut client).expect_err("its record has ended");
    assert_eq!(error, ClientError::NoRecord);
    assert!(error.to_string().starts_with("no such service or its record has expired"));
}

#[test]
fn a_record_that_somebody_holds_back_has_expired() {
    let mut world = World::new(24, config());
    let record = world.directory.records.get(&day_key(address(), Day::at(world.ms())).blinded).cloned();
    world.now += Duration::from_secs(4 * 3_600);
    // The same old record for whatever is asked: it is of one of the three days, and that one has ended.
    let answers: [&dyn Fn(bool) -> Option<ServiceRecord>; 2] =
        [&|_| record.clone(), &|first| record.clone().filter(|_| first)];
    let expected = [ClientError::Record(OpenError::Other), ClientError::NoRecord];
    for (answer, expected) in answers.into_iter().zip(expected) {
        let mut client = world.client(None, 0, 1);
        let mut first = true;
        while let Some(Action::Fetch { key }) = client.poll_action(world.now) {
            client.handle_record(world.now, &[0; 32], None);
            client.handle_record(world.now, &key, answer(first).as_ref());
            first = false;
        }
        assert_eq!(client.error(), Some(expected));
    }
}

#[test]
fn a_clock_that_is_a_day_off_finds_the_record() {
    for hour in 0..24 {
        let mut world = World::new(100 + hour, config());
        world.run(Duration::from_secs(hour * 3_600));
        let mut slow = world.client(None, -(DAY_MS as i64), 1);
        assert_eq!(world.visit(&mut slow), Ok(1), "hour {hour}");
        // Whose clock is ahead finds records that it takes for expired.
        let mut fast = world.client(None, DAY_MS as i64, 1);
        assert_eq!(world.visit(&mut fast), Err(ClientError::NoRecord), "hour {hour}");
        let mut hours = world.client(None, 3_600_000, 1);
        assert_eq!(world.visit(&mut hours), Ok(1), "hour {hour}");
    }
}

#[test]
fn the_directorys_clock_may_jump() {
    let mut world = World::new(30, config());
    // Members put the time right: a day ahead. The service asks for the keys of those days and goes on.
    world.jumped_ms = DAY_MS;
    let now_ms = world.ms();
    world.service.handle_directory_time(world.now, now_ms);
    world.run(Duration::from_secs(60));
    let mut client = world.client(None, 0, 1);
    assert_eq!(world.visit(&mut client), Ok(1));
    for day in Day::published_at(world.ms()) {
        assert!(world.service.published_until_ms(day).is_some_and(|until| until > world.ms()));
    }
}

#[test]
fn only_clients_on_the_list_get_in_and_who_is_taken_off_does_not() {
    let (alice, bob) = (AccessSecret::from_bytes([5; 32]), AccessSecret::from_bytes([6; 32]));
    let mut world = World::new(40, closed(&[alice.access_key(), bob.access_key()]));
    for access in [&alice, &bob] {
        let mut client = world.client(Some(access.clone()), 0, 2);
        assert_eq!(world.visit(&mut client), Ok(2));
    }
    for access in [None, Some(AccessSecret::from_bytes([7; 32]))] {
        let mut client = world.client(access, 0, 1);
        let error = world.visit(&mut client).expect_err("not on the list");
        assert_eq!(error, ClientError::Authorisation);
        assert!(error.to_string().contains("needs authorisation"));
    }
    // Bob holds the record that he opened; its keys are gone with the list.
    let mut held = world.client(Some(bob.clone()), 0, 1);
    while let Some(action) = held.poll_action(world.now) {
        match action {
            Action::Fetch { key } => {
                let record = world.directory.records.get(&key).cloned();
                held.handle_record(world.now, &key, record.as_ref());
            }
            Action::Meet { .. } => held.handle_meeting(world.now, &[NodeId([9; 32])]),
            Action::Work => {}
            Action::Introduce { name, message, .. } => {
                world.service.set_clients(world.now, vec![alice.access_key()]).expect("a list");
                let point = world.waiting[&name].point;
                assert_eq!(world.deliver(point, message.as_slice()), Err(IntroductionRefusal::Keys));
            }
        }
    }
    world.run(Duration::from_secs(700));
    let mut client = world.client(Some(bob), 0, 1);
    assert_eq!(world.visit(&mut client), Err(ClientError::Authorisation));
    let mut client = world.client(Some(alice), 0, 1);
    assert_eq!(world.visit(&mut client), Ok(1));
}

#[test]
fn configurations_that_cannot_be_are_refused() {
    let world = World::new(41, config());
    let refused = |config: ServiceConfig| ServiceCore::new(world.now, config, [1; 32]).err();
    assert_eq!(refused(ServiceConfig { points: 0, ..config() }), Some(ConfigError::Points { found: 0 }));
    assert_eq!(refused(ServiceConfig { points: 7, ..config() }), Some(ConfigError::Points { found: 7 }));
    let many: Vec<_> = (0..=CLIENTS_MAX as u8).map(|byte| AccessSecret::from_bytes([byte; 32]).access_key()).collect();
    assert_eq!(refused(closed(&many)), Some(ConfigError::Clients { found: 17 }));
    assert!(matches!(refused(closed(&[AccessKey([0; 32])])), Some(ConfigError::AccessKey(_))));
    assert_eq!(refused(ServiceConfig { introductions_per_second: 0, ..config() }), Some(ConfigError::Range));
    assert_eq!(refused(ServiceConfig { record_life: Duration::from_secs(1), ..config() }), Some(ConfigError::Range));
}

#[test]
fn a_client_of_another_network_or_with_a_typing_mistake_is_told() {
    let mut world = World::new(42, config());
    let network = network_document::NetworkId([9; 32]);
    let other = ServiceAddress(ServiceSecret::from_seed([3; 32]).public_key());
    let days = Day::sought_at(world.ms()).map(|day| day_key(other, day)).to_vec();
    let config = ClientConfig { network, legs: 1, access: None, features: 0 };
    let mut client = ClientIntroduction::new(world.now, config, days, world.ms(), [1; 32]);
    assert_eq!(world.visit(&mut client), Err(ClientError::NoRecord));
    let good = address().to_string();
    let text = format!("{}{}", if good.starts_with('a') { 'b' } else { 'a' }, &good[1..]);
    let error = text.parse::<ServiceAddress>().expect_err("a typing mistake");
    assert_eq!(error, AddressError::Checksum);
    assert!(error.to_string().contains("typing mistake"));
}

#[test]
fn a_client_whose_rendezvous_points_cannot_be_made_says_so() {
    let mut world = World::new(43, config());
    let mut client = world.client(None, 0, 2);
    while let Some(action) = client.poll_action(world.now) {
        if let Action::Fetch { key } = action {
            let record = world.directory.records.get(&key).cloned();
            client.handle_record(world.now, &key, record.as_ref());
        }
    }
    client.handle_meeting(world.now, &[]);
    assert_eq!(client.error(), Some(ClientError::Rendezvous));
}
