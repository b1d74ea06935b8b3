//! A service node on virtual time: real records, introductions, meetings, circuits, relays and sessions. What its supervisor and the
//! directory do is done by the model.

use identity::NodeId;
use model_tests::apps::{MEGABYTE, port};
use model_tests::exit_world::{HostSettings, World, service_address};
use onion_service::{Day, Descriptor};
use shaped_node::{MEETINGS_MAX, Mode};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use wire::flow::ResetReason;

const SECOND: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_secs(60);

fn world(seed: u64, settings: &HostSettings) -> World {
    println!("seed {seed}");
    World::with_host(seed, settings)
}

/// Where the first service waits, as its record of the day says.
fn points(world: &World) -> BTreeSet<NodeId> {
    let (network, ms) = (world.document.network_id(), world.host().directory_ms(world.now));
    let day = service_address(0).day_key(network, Day::at(ms)).expect("a good address");
    let record = &world.host().directory[&day.blinded];
    let found = Descriptor::open(network, &day, record, ms, None).expect("its own record");
    found.points.iter().map(|point| point.relay).collect()
}

/// A relay by its name.
fn number(world: &World, relay: &NodeId) -> usize {
    // Relays have their names from their numbers.
    (0..world.relays())
        .find(|number| identity::NodeSecret::from_seed([*number as u8 + 1; 32]).node_id() == *relay)
        .expect("a relay of the network")
}

fn moves_a_megabyte_both_ways(world: &mut World, client: usize) {
    let echo = world.clients[client].start(port::ECHO, MEGABYTE);
    let download = world.clients[client].start(port::MEGABYTE, 1);
    let done = world
        .run_until(SOON, |world| [echo, download].iter().all(|flow| world.clients[client].flow(*flow).is_finished));
    let [echoed, loaded] = [echo, download].map(|flow| world.clients[client].flow(flow));
    assert!(done, "{echoed:?} {loaded:?} {:?}", world.host().node.status());
    assert_eq!([echoed.received, loaded.received], [MEGABYTE; 2]);
}

#[test]
fn who_knows_the_address_reaches_the_service_over_one_leg_and_over_two() {
    for legs in [1, 2] {
        let mut world = world(1, &HostSettings::default());
        let client = world.guest(0, legs, None).expect("the service is there");
        moves_a_megabyte_both_ways(&mut world, client);
        let status = world.host().node.status();
        assert_eq!((status.tunnels.tunnels, status.tunnels.legs, status.joined), (1, legs, legs));
        assert_eq!((status.services[0].tunnels, status.services[0].introductions["accepted"]), (1, 1));
        assert_eq!(world.delivered_by_relays(), 0, "no relay between them had anything to hand over");
        assert!(world.host().guards.is_some(), "its guards are to be kept");
    }
}

#[test]
fn services_of_one_node_have_addresses_ports_and_tunnels_of_their_own() {
    let mut world = world(2, &HostSettings { services: 2, ..HostSettings::default() });
    let [first, second] = [0, 1].map(|service| world.guest(service, 1, None).expect("the service is there"));
    // Port 80 of the one sends a megabyte, that of the other sends back what it gets.
    let (loaded, echoed) = (world.clients[first].start(80, 1), world.clients[second].start(80, 5_000));
    // The second one has no such port, and the first one's servers are none of its.
    let refused = world.clients[second].start(port::ECHO, 100);
    let done = world.run_until(SOON, |world| {
        world.clients[first].flow(loaded).is_finished
            && world.clients[second].flow(echoed).is_finished
            && world.clients[second].flow(refused).reset.is_some()
    });
    assert!(done, "{:?}", world.host().node.status());
    assert_eq!(world.clients[first].flow(loaded).received, MEGABYTE);
    assert_eq!(world.clients[second].flow(echoed).received, 5_000);
    assert_eq!(world.clients[second].flow(refused).reset, Some(ResetReason::Refused));
    let status = world.host().node.status();
    assert_eq!(status.services.iter().map(|service| service.tunnels).collect::<Vec<_>>(), [1, 1]);
    // For how long a record is there is a matter of the directory's time alone.
    let left = status.services[0].published_for_s.expect("it is published");
    let (now, later_ms) = (world.now, world.host().directory_ms(world.now) + 3_600_000);
    world.host_mut().node.handle_directory_time(now, later_ms);
    let then = world.host().node.status().services[0].published_for_s.expect("for three hours");
    assert!((3_599..=3_601).contains(&(left - then)), "{left} {then}");
}

#[test]
fn a_point_that_dies_is_replaced_and_the_record_says_so() {
    let mut world = world(3, &HostSettings::default());
    let before = points(&world);
    // Guests go over those before.
    let dead = *before.iter().find(|relay| number(&world, relay) > 6).expect("one of three, with this seed");
    world.kill(number(&world, &dead));
    let repaired = world.run_until(Duration::from_secs(1_000), |world| {
        let status = &world.host().node.status().services[0];
        let named = points(world);
        status.points == 3 && named.len() == 3 && !named.contains(&dead)
    });
    assert!(repaired, "{:?} {:?}", world.host().node.status(), points(&world));
    assert!(world.guest(0, 1, None).is_ok(), "and others find it");
}

#[test]
#[ignore = "26 hours of a network; cargo xtask long service-day"]
fn a_day_brings_new_points_new_keys_and_no_hole() {
    let mut world = world(4, &HostSettings::default());
    let (before, keys) = (points(&world), world.host().directory.len());
    // Points live for 18 to 24 hours. In each hour the service is found.
    for _ in 0..26 {
        world.run_for(Duration::from_secs(3_600));
        assert!(!points(&world).is_empty());
    }
    let after = points(&world);
    assert!(before.intersection(&after).count() < before.len(), "{before:?} {after:?}");
    assert!(world.host().directory.len() > keys, "records of another day are there");
    assert!(world.guest(0, 1, None).is_ok());
    assert_eq!(world.host().node.status().services[0].points, 3);
}

#[test]
fn a_directory_that_is_down_is_asked_again() {
    let mut world = world(5, &HostSettings { record_life: Duration::from_secs(200), ..HostSettings::default() });
    world.host_mut().is_directory_up = false;
    let before = world.host().published;
    // Renewed after a third to a half of that.
    world.run_for(Duration::from_secs(120));
    assert_eq!(world.host().published, before);
    world.host_mut().is_directory_up = true;
    // Records that were not taken count among those of ten minutes, of which the directory takes four.
    assert!(world.run_until(Duration::from_secs(700), |world| world.host().published > before));
    assert!(world.guest(0, 1, None).is_ok());
}

/// Introductions that lead nowhere: what they cost is bounded, and others come through when they are over.
#[test]
fn clients_that_wait_nowhere_cost_a_bounded_number_of_circuits() {
    let mut world = world(6, &HostSettings::default());
    world.kill(11);
    for _ in 0..6 {
        world.false_guest(0, 11);
    }
    let mut most = 0;
    for _ in 0..100 {
        world.run_for(SECOND / 5);
        most = most.max(world.host().node.status().meetings);
    }
    assert!((1..=MEETINGS_MAX).contains(&most), "{most}");
    assert!(world.guest(0, 1, None).is_ok(), "{:?}", world.host().node.status());
    let over = world.run_until(SOON, |world| world.host().node.status().meetings == 0);
    let status = world.host().node.status();
    assert!(over, "{status:?}");
    assert_eq!((status.joined, status.node.counters["meetings_missed"]), (1, 6));
}

#[test]
fn a_node_that_stops_leaves_nothing_behind() {
    let mut world = world(7, &HostSettings::default());
    let client = world.guest(0, 2, None).expect("the service is there");
    moves_a_megabyte_both_ways(&mut world, client);
    let now = world.now;
    world.host_mut().node.close(now);
    assert!(world.run_until(SOON, |world| world.clients[client].lost.is_some()), "its client is told");
    world.run_for(Duration::from_secs(5));
    assert!(world.host().node.status().joined == 0, "{:?}", world.host().node.status());
    let now = world.now;
    for circuit in world.clients[client].circuits() {
        world.clients[client].destroy(now, circuit);
    }
    world.run_for(Duration::from_secs(20));
    for relay in 0..world.relays() {
        assert_eq!(world.circuits_at(relay), 0, "relay {relay}");
    }
}

/// What leaves the node in six seconds with a client there, from the client's first flow on.
fn line(seed: u64, flows: bool) -> Vec<(Duration, SocketAddr, usize)> {
    let settings = HostSettings { mode: Mode::Constant, ..HostSettings::default() };
    let mut world = world(seed, &settings);
    let client = world.guest_asking(0, 2, Some((1, 8)));
    let began = world.host().began;
    world.host_mut().sent = Some(Vec::new());
    if flows {
        let echo = world.clients[client].start(port::ECHO, 50_000);
        let load = world.clients[client].start(port::MEGABYTE, 1);
        world.run_for(3 * SECOND);
        assert!(world.clients[client].flow(echo).received > 10_000, "{:?}", world.clients[client].flow(echo));
        assert!(world.clients[client].flow(load).received > 10_000, "{:?}", world.clients[client].flow(load));
        world.run_for(3 * SECOND);
    } else {
        world.run_for(6 * SECOND);
    }
    let sent = world.host_mut().sent.take().expect("it was wanted");
    let since = |at: Instant| at - began;
    sent.into_iter().map(|(at, to, length)| (since(at), to, length)).collect()
}

#[test]
fn under_a_schedule_the_line_says_nothing_of_what_clients_do() {
    let (idle, loaded) = (line(8, false), line(8, true));
    assert!(idle.len() > 500, "{}", idle.len());
    assert!(idle == loaded, "{} {} packets", idle.len(), loaded.len());
    assert!(idle.iter().all(|(_, _, length)| *length == 1_350));
    assert!(idle.iter().all(|(at, ..)| at.as_millis().is_multiple_of(5)), "all on the grid");
}

/// Points, introductions and meetings leave in slots of the base, which is there anyway: until a tunnel begins, the line is the same.
#[test]
fn under_a_schedule_introductions_do_not_show() {
    let settings = HostSettings { mode: Mode::Constant, ..HostSettings::default() };
    let lines = [false, true].map(|knocks| {
        let mut world = world(9, &settings);
        let (began, until) = (world.host().began, world.now.instant + 100 * SECOND);
        world.host_mut().sent = Some(Vec::new());
        world.kill(11);
        if knocks {
            // Clients that are met by nobody make the node build circuits, and no tunnel begins.
            world.false_guest(0, 11);
            world.false_guest(0, 11);
        }
        let left = until.duration_since(world.now.instant);
        assert!(left > SECOND, "both of them took their time");
        world.run_for(left);
        assert_eq!(world.host().node.status().services[0].introductions["accepted"], if knocks { 2 } else { 0 });
        let sent = world.host_mut().sent.take().expect("it was wanted");
        sent.into_iter().map(|(at, to, length)| (at - began, to, length)).collect::<Vec<_>>()
    });
    let [quiet, knocked] = lines;
    assert!(quiet.len() > 500, "{}", quiet.len());
    assert!(quiet == knocked, "{} {} packets", quiet.len(), knocked.len());
}
