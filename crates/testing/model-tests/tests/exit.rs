//! The exit's end of tunnels over circuits, with real links, circuits, relays, tunnels and sessions on virtual time.

use conflux::{LegEnd, Refusal};
use model_tests::apps::{MEGABYTE, port};
use model_tests::exit_world::{EXIT, QUEUES, World};
use onion::{Features, Reason};
use shaped_node::{ExitEvent, TunnelOver};
use std::time::Duration;

const ONE: [usize; 3] = [0, 2, EXIT];
const OTHER: [usize; 3] = [1, 3, EXIT];
const SOON: Duration = Duration::from_secs(20);

fn world(seed: u64, tunnels_max: usize) -> World {
    println!("seed {seed}");
    World::new(seed, tunnels_max)
}

/// A megabyte there and back again, and another one back alone.
fn moves_a_megabyte_both_ways(world: &mut World, client: usize) {
    let echo = world.clients[client].start(port::ECHO, MEGABYTE);
    let download = world.clients[client].start(port::MEGABYTE, 1);
    let done = world
        .run_until(SOON, |world| [echo, download].iter().all(|flow| world.clients[client].flow(*flow).is_finished));
    let [echoed, loaded] = [echo, download].map(|flow| world.clients[client].flow(flow));
    assert!(done, "{echoed:?} {loaded:?} {:?}", world.exit.status());
    assert_eq!([echoed.received, loaded.received], [MEGABYTE; 2]);
}

#[test]
fn one_leg_carries_a_megabyte_both_ways() {
    let mut world = world(1, 8);
    let client = world.connected(&[ONE]);
    moves_a_megabyte_both_ways(&mut world, client);
    let status = world.exit.status();
    assert_eq!((status.tunnels, status.sessions, status.legs), (1, 1, 1));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.servers.free_count(), usize::from(QUEUES), "every queue pair came back");
    assert_eq!(world.exit.status().flows, 0);
}

#[test]
fn two_legs_carry_it_as_well_and_both_are_used() {
    let mut world = world(2, 8);
    let client = world.connected(&[ONE, OTHER]);
    moves_a_megabyte_both_ways(&mut world, client);
    assert_eq!(world.exit.status().legs, 2);
    let received: Vec<u64> = world.clients[client].tunnel.legs().map(|leg| leg.received).collect();
    assert!(received.iter().all(|cells| *cells > 100), "{received:?}");
}

#[test]
fn loss_on_the_links_loses_nothing() {
    let mut world = world(3, 8);
    let client = world.connected(&[ONE, OTHER]);
    world.lost_per_mille = 20;
    moves_a_megabyte_both_ways(&mut world, client);
}

#[test]
fn a_leg_that_is_lost_loses_nothing() {
    let mut world = world(4, 8);
    let client = world.connected(&[ONE, OTHER]);
    let flow = world.clients[client].start(port::MEGABYTE, 1);
    assert!(world.run_until(SOON, |world| world.clients[client].flow(flow).received > MEGABYTE / 4));
    let now = world.now;
    world.clients[client].destroy(now, 1);
    assert!(world.run_until(SOON, |world| world.clients[client].flow(flow).is_finished));
    assert_eq!(world.clients[client].flow(flow).received, MEGABYTE);
    assert_eq!((world.exit.status().legs, world.exit.status().tunnels), (1, 1));
    // And a new one takes its place.
    let document = world.document.clone();
    world.clients[client].open(now, &document, &ONE, true);
    assert!(world.run_until(SOON, |world| world.exit.status().legs == 2));
    moves_a_megabyte_both_ways(&mut world, client);
}

#[test]
fn many_tunnels_share_the_exit_evenly() {
    let mut world = world(5, 8);
    let clients = [0; 4].map(|_| world.connected(&[ONE]));
    let flows = clients.map(|client| world.clients[client].start(port::ENDLESS, 1));
    world.run_for(Duration::from_secs(3));
    let received = [0, 1, 2, 3].map(|place: usize| world.clients[clients[place]].flow(flows[place]).received);
    let (least, most) = (received.iter().min(), received.iter().max());
    assert!(least > Some(&MEGABYTE), "{received:?}");
    assert!(most.copied() < least.map(|least| least * 2), "{received:?}");
    assert_eq!(world.dropped_at_exit(), 0, "what the relay has no room for stays in the sessions");
}

#[test]
fn a_tunnel_that_loses_its_legs_ends_and_frees_its_flows() {
    let mut world = world(6, 8);
    let client = world.connected(&[ONE]);
    world.clients[client].start(port::ENDLESS, 1);
    world.clients[client].start(port::SINK, MEGABYTE * 100);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.servers.free_count(), usize::from(QUEUES) - 2);
    let now = world.now;
    world.clients[client].destroy(now, 1);
    world.run_for(Duration::from_secs(12));
    let status = world.exit.status();
    assert_eq!((status.tunnels, status.legs, status.flows), (0, 0, 0));
    assert_eq!(world.servers.free_count(), usize::from(QUEUES));
    assert!(world.exit.is_empty() && world.circuits_at_exit() == 0);
    let over = |event: &ExitEvent| matches!(event, ExitEvent::TunnelOver(1, TunnelOver::Legs(_)));
    assert!(world.events.iter().any(over), "{:?}", world.events);
}

#[test]
fn a_closing_exit_tells_its_clients_and_takes_no_more() {
    let mut world = world(7, 8);
    let client = world.connected(&[ONE, OTHER]);
    let now = world.now;
    world.exit.close(now);
    assert!(world.run_until(SOON, |world| world.clients[client].lost.is_some()));
    world.run_for(Duration::from_secs(2));
    assert!(world.exit.is_empty() && world.circuits_at_exit() == 0, "{:?}", world.exit.status());
    let late = world.add_client(Features::LINKING);
    let document = world.document.clone();
    let now = world.now;
    world.clients[late].open(now, &document, &ONE, true);
    world.run_for(Duration::from_secs(3));
    assert!(!world.clients[late].is_connected() && world.exit.is_empty());
    assert_eq!(world.clients[late].severed, [Reason::Draining]);
}

#[test]
fn a_client_without_the_feature_is_cut_off() {
    let mut world = world(8, 8);
    let document = world.document.clone();
    for features in [Features::default(), Features(1 << 7)] {
        let client = world.add_client(features);
        let now = world.now;
        world.clients[client].open(now, &document, &ONE, true);
        world.run_for(Duration::from_secs(3));
        assert_eq!(world.clients[client].severed, [Reason::Protocol]);
        assert_eq!(world.exit.status().tunnels, 0);
    }
    assert_eq!(world.exit.status().counters["bad_cells"], 2);
}

#[test]
fn data_or_nonsense_on_a_circuit_that_is_no_leg_closes_it() {
    let mut world = world(9, 8);
    let document = world.document.clone();
    let mut data = vec![0; 40];
    (data[0], data[2]) = (1 << 4, 10);
    let nonsense = vec![0xff; 40];
    for inner in [data, nonsense] {
        let client = world.add_client(Features::LINKING);
        let now = world.now;
        let circuit = world.clients[client].open(now, &document, &ONE, false);
        assert!(world.run_until(SOON, |world| world.clients[client].is_built(circuit)));
        // A cover cell changes nothing.
        world.say(client, circuit, &[0; 40]);
        world.run_for(Duration::from_secs(1));
        assert!(world.clients[client].severed.is_empty());
        world.say(client, circuit, &inner);
        world.run_for(Duration::from_secs(1));
        assert_eq!(world.clients[client].severed, [Reason::Protocol]);
    }
}

#[test]
fn a_leg_that_breaks_the_protocol_is_closed_and_the_others_go_on() {
    let mut world = world(10, 8);
    let client = world.connected(&[ONE, OTHER]);
    // LINKED_ACK that nothing asked for.
    let mut inner = vec![0; 40];
    (inner[0], inner[2], inner[19], inner[20]) = (2 << 4, 2, 3, 7);
    world.say(client, 1, &inner);
    assert!(world.run_until(SOON, |world| world.exit.status().legs == 1));
    assert_eq!(world.exit.status().counters["bad_cells"], 1);
    moves_a_megabyte_both_ways(&mut world, client);
}

#[test]
fn a_full_exit_says_so_by_name() {
    let mut world = world(11, 2);
    world.connected(&[ONE]);
    world.connected(&[ONE]);
    let document = world.document.clone();
    for refused in 1..=6 {
        let client = world.add_client(Features::LINKING);
        let now = world.now;
        world.clients[client].open(now, &document, &ONE, true);
        world.run_for(Duration::from_secs(3));
        assert_eq!(world.clients[client].ended, [LegEnd::Refused(Refusal::Full)]);
        assert_eq!((world.exit.status().tunnels, world.exit.status().counters["legs_refused"]), (2, refused));
        assert_eq!(world.circuits_at_exit(), 2, "the refused circuit is gone");
    }
}

/// The inner part of a LINK for a tunnel of its own.
fn link_cell(tunnel: u32) -> Vec<u8> {
    let header = [&[2 << 4, 0, 41][..], &[0; 16]].concat();
    let nonce = [&tunnel.to_be_bytes()[..], &[0; 28]].concat();
    [&header[..], &[1, 0, 1, 0, 0, 0, 0, 0, 0], &nonce].concat()
}

#[test]
fn a_flood_of_links_is_bounded() {
    const CIRCUITS: u32 = 1_100;
    let mut world = world(15, 8);
    let document = world.document.clone();
    let client = world.add_client(Features::LINKING);
    let now = world.now;
    let circuits = (0..CIRCUITS).map(|_| world.clients[client].open(now, &document, &[0, EXIT], false));
    let circuits: Vec<u32> = circuits.collect();
    let built = |world: &World| circuits.iter().all(|circuit| world.clients[client].is_built(*circuit));
    assert!(world.run_until(SOON, built));
    for circuit in &circuits {
        world.say(client, *circuit, &link_cell(*circuit));
    }
    world.run_for(Duration::from_millis(200));
    let status = world.exit.status();
    assert_eq!((status.tunnels, status.counters["links_dropped"]), (8, 100), "a thousand are looked at in a second");
    assert_eq!(status.counters["legs_refused"], 992);
    world.run_for(Duration::from_secs(3));
    assert_eq!(
        world.circuits_at_exit(),
        108,
        "refused circuits are gone, those whose LINK was dropped may say it again"
    );
}

#[test]
fn one_tunnel_does_not_take_all_queue_pairs() {
    let mut world = world(12, 8);
    let greedy = world.connected(&[ONE]);
    for _ in 0..QUEUES / 2 {
        world.clients[greedy].start(port::ENDLESS, 1);
    }
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.servers.free_count(), usize::from(QUEUES / 2));
    let modest = world.connected(&[OTHER]);
    moves_a_megabyte_both_ways(&mut world, modest);
}

#[test]
fn queues_of_a_new_generation_reset_the_flows_and_nothing_else() {
    let mut world = world(13, 8);
    let client = world.connected(&[ONE]);
    let flow = world.clients[client].start(port::ENDLESS, 1);
    world.run_for(Duration::from_secs(1));
    world.replace_queues();
    assert!(world.run_until(SOON, |world| world.clients[client].flow(flow).reset.is_some()));
    moves_a_megabyte_both_ways(&mut world, client);
}

#[test]
fn nothing_secret_is_printed() {
    let mut world = world(14, 8);
    world.connected(&[ONE]);
    let text = format!("{:?} {:#?}", world.exit, world.exit.status());
    assert!(!text.to_lowercase().contains("nonce") && !text.contains("99, 99"), "{text}");
}
