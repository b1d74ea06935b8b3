//! Whatever happens, in any order: who gets in is who should, by what lies in the directory and who waits at relays.

use crate::world::{NETWORK, World, address, closed, day_key};
use identity::{AccessSecret, NodeId};
use onion_service::{ClientError, DAY_MS, Day, Descriptor, OpenError};
use std::time::Duration;

/// What a client meets that comes now, by definition.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// A record that it can open names a point that is there, for keys that are good.
    In,
    /// It is not on the list.
    Out,
    /// There is no record.
    Nothing,
    /// Nobody is where the record says.
    Nobody,
}

struct Reference {
    /// When the list was last changed: older records lead nowhere.
    list_ms: u64,
}

impl Reference {
    fn fate(&self, world: &World, access: Option<&AccessSecret>) -> Fate {
        let now_ms = world.ms();
        for day in Day::sought_at(now_ms).map(|day| day_key(address(), day)) {
            let Some(record) = world.directory.get(now_ms, &day.blinded) else { continue };
            let descriptor = match Descriptor::open(NETWORK, &day, &record, now_ms, access) {
                Ok(descriptor) => descriptor,
                Err(OpenError::Authorisation) => return Fate::Out,
                Err(error) => panic!("the service made it: {error}"),
            };
            let waits = |name, relay| world.waiting.get(name).is_some_and(|waiting| waiting.relay == relay);
            let there = descriptor.points.iter().any(|point| waits(&point.name, point.relay));
            return if there && record.revision > self.list_ms { Fate::In } else { Fate::Nobody };
        }
        Fate::Nothing
    }
}

fn event(world: &mut World, reference: &mut Reference, clients: &[AccessSecret], seed: u64) {
    match world.below(12) {
        0..=3 => {
            let relays: Vec<_> = world.waiting.values().map(|waiting| waiting.relay).collect();
            if let Some(relay) = relays.get(world.below(relays.len().max(1) as u32) as usize) {
                world.kill(*relay);
            }
        }
        4 => world.directory.down = true,
        5..=6 => world.directory.down = false,
        7 => {
            for relay in 1..=40 {
                if world.below(2) == 0 {
                    world.kill(NodeId([relay; 32]));
                }
            }
        }
        8 => world.dead.clear(),
        9 => {
            let count = 1 + world.below(clients.len() as u32) as usize;
            let list = clients[..count].iter().map(AccessSecret::access_key).collect();
            reference.list_ms = world.ms();
            world.service.set_clients(world.now, list).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        10 => {
            let seen = world.seen.clone();
            for (point, message) in seen.iter().rev().take(5) {
                assert!(world.deliver(*point, message).is_err(), "seed {seed}: it came before");
            }
        }
        _ => {
            world.jumped_ms += u64::from(world.below(DAY_MS as u32));
            let now_ms = world.ms();
            world.service.handle_directory_time(world.now, now_ms);
        }
    }
    let pause = Duration::from_secs(u64::from(world.below(4_000)));
    world.run(pause);
}

#[test]
fn who_gets_in_is_who_should_whatever_happens() {
    let clients: Vec<_> = (1..=4).map(|byte| AccessSecret::from_bytes([byte; 32])).collect();
    let mut fates = [0; 4];
    for seed in 1_000..1_030 {
        let mut world = World::new(seed, closed(&[clients[0].access_key()]));
        let mut reference = Reference { list_ms: 0 };
        for step in 0..40 {
            event(&mut world, &mut reference, &clients, seed);
            let who = clients[world.below(4) as usize].clone();
            let (fate, legs) = (reference.fate(&world, Some(&who)), 1 + world.below(8) as usize);
            let mut client = world.client(Some(who), 0, legs);
            let outcome = world.visit(&mut client);
            let place = format!("seed {seed}, step {step}: {fate:?} and {outcome:?}");
            match fate {
                Fate::In => assert_eq!(outcome, Ok(legs), "{place}"),
                Fate::Out => assert_eq!(outcome, Err(ClientError::Authorisation), "{place}"),
                Fate::Nothing => assert_eq!(outcome, Err(ClientError::NoRecord), "{place}"),
                // While it waited the service may have mended it, or the list that is new does not have the client.
                Fate::Nobody => assert!(
                    outcome == Ok(legs)
                        || matches!(outcome, Err(ClientError::Unanswered { .. } | ClientError::Authorisation)),
                    "{place}"
                ),
            }
            fates[fate as usize] += 1;
        }
        // When all is well again it takes a quarter of an hour at most until everybody on the list gets in.
        world.dead.clear();
        world.directory.down = false;
        world.run(Duration::from_secs(900));
        let mut client = world.client(Some(clients[0].clone()), 0, 3);
        assert_eq!(world.visit(&mut client), Ok(3), "seed {seed}: well again");
        assert_eq!(world.service.live_points(), 3, "seed {seed}");
    }
    assert!(fates.iter().all(|count| *count > 10), "all kinds of fates were met: {fates:?}");
}
