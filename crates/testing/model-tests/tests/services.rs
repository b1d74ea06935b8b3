//! A client and a service that meet at two rendezvous points, with real links, circuits, relays, tunnels and sessions on virtual
//! time: one introduction, two legs of circuits that are joined, one session from end to end.

use model_tests::apps::{MEGABYTE, port};
use model_tests::exit_world::{EXIT, INTRODUCTION_POINT, RENDEZVOUS_POINTS, World};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

fn world(seed: u64) -> World {
    println!("seed {seed}");
    World::with_service(seed)
}

/// A megabyte there and back again, and another one back alone.
fn moves_a_megabyte_both_ways(world: &mut World, client: usize) {
    let echo = world.clients[client].start(port::ECHO, MEGABYTE);
    let download = world.clients[client].start(port::MEGABYTE, 1);
    let done = world
        .run_until(SOON, |world| [echo, download].iter().all(|flow| world.clients[client].flow(*flow).is_finished));
    let [echoed, loaded] = [echo, download].map(|flow| world.clients[client].flow(flow));
    assert!(done, "{echoed:?} {loaded:?} {:?}", world.service().exit.status());
    assert_eq!([echoed.received, loaded.received], [MEGABYTE; 2]);
}

#[test]
fn a_client_reaches_a_service_over_one_meeting_and_over_two() {
    for legs in [1, 2] {
        let mut world = world(1);
        let client = world.visitor(legs);
        moves_a_megabyte_both_ways(&mut world, client);
        let status = world.service().exit.status();
        assert_eq!((status.tunnels, status.sessions, status.legs), (1, 1, legs));
        let received: Vec<u64> = world.clients[client].tunnel.legs().map(|leg| leg.received).collect();
        assert!(received.iter().all(|cells| *cells > 100), "{received:?}");
        // No relay between them had anything to hand over, and none of them knows of it as a tunnel.
        assert_eq!(world.exit.status().tunnels, 0);
        assert_eq!(world.delivered_by_relays(), 0);
    }
}

#[test]
fn loss_on_the_links_loses_nothing() {
    let mut world = world(2);
    let client = world.visitor(2);
    world.lost_per_mille = 10;
    moves_a_megabyte_both_ways(&mut world, client);
}

#[test]
fn introduction_and_meeting_get_through_loss() {
    for seed in 3..6 {
        let mut world = world(seed);
        world.lost_per_mille = 30;
        let client = world.visitor(2);
        world.lost_per_mille = 0;
        moves_a_megabyte_both_ways(&mut world, client);
    }
}

/// Several megabytes are under way when one of the two rendezvous points dies: they come over the other, every byte right.
#[test]
fn a_rendezvous_point_that_is_killed_stops_no_transfer() {
    let mut world = world(6);
    let client = world.visitor(2);
    let echo = world.clients[client].start(port::ECHO, 6 * MEGABYTE);
    let part = world.run_until(SOON, |world| world.clients[client].flow(echo).received > 2 * MEGABYTE);
    assert!(part, "{:?}", world.clients[client].flow(echo));
    world.kill(RENDEZVOUS_POINTS[0]);
    world.run_for(SECOND / 5);
    let before = world.clients[client].flow(echo).received;
    assert!(before < 5 * MEGABYTE, "it was under way: {before}");
    world.run_for(SECOND);
    let after = world.clients[client].flow(echo).received;
    assert!(after > before + 100_000, "{before} {after}: it goes on within a second");
    let done = world.run_until(4 * SOON, |world| world.clients[client].flow(echo).is_finished);
    let flow = world.clients[client].flow(echo);
    assert!(done, "{flow:?}");
    assert_eq!((flow.received, flow.reset), (6 * MEGABYTE, None));
    assert!(world.run_until(SOON, |world| world.service().exit.status().legs == 1), "the dead leg is out");
    assert_eq!((world.service().exit.status().tunnels, world.clients[client].lost.is_some()), (1, false));
}

/// The introduction point is needed for introductions alone.
#[test]
fn an_introduction_point_that_is_killed_harms_no_session() {
    let mut world = world(7);
    let client = world.visitor(2);
    world.kill(INTRODUCTION_POINT);
    world.kill(EXIT);
    moves_a_megabyte_both_ways(&mut world, client);
}

#[test]
fn several_clients_have_sessions_of_their_own() {
    let mut world = world(8);
    let clients: Vec<usize> = (0..4).map(|_| world.visitor(2)).collect();
    let flows: Vec<_> = clients.iter().map(|client| world.clients[*client].start(port::MEGABYTE, 1)).collect();
    let done = world.run_until(4 * SOON, |world| {
        clients.iter().zip(&flows).all(|(client, flow)| world.clients[*client].flow(*flow).is_finished)
    });
    assert!(done, "{:?}", world.service().exit.status());
    assert_eq!((world.service().exit.status().tunnels, world.service().joined.len()), (4, 8));
    for (client, flow) in clients.iter().zip(&flows) {
        assert_eq!(world.clients[*client].flow(*flow).received, MEGABYTE);
    }
}

/// What a client leaves, the service and the relays forget.
#[test]
fn a_client_that_ends_its_circuits_leaves_nothing() {
    let mut world = world(9);
    let client = world.visitor(2);
    let now = world.now;
    for circuit in world.clients[client].circuits() {
        world.clients[client].destroy(now, circuit);
    }
    let gone =
        world.run_until(SOON, |world| world.service().exit.status().tunnels == 0 && world.service().joined.is_empty());
    assert!(gone, "{:?} {:?}", world.service().exit.status(), world.service().joined);
    for relay in RENDEZVOUS_POINTS {
        assert_eq!(world.circuits_at(relay), 0);
    }
}
