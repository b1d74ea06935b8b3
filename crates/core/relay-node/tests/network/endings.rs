//! What happens when relays and links fail, and when a relay is stopped.

use crate::net::{Net, client_address};
use onion::{Cause, CircuitEvent, Reason};
use relay_node::{DIAL_TIME, Limits, NodeEvent};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_relay_that_never_answers_is_given_up_and_not_dialled_for_everybody() {
    let mut net = Net::new(3, Limits::default(), 1);
    net.relays[2].asleep = true;
    let client = net.add_client(client_address(1), 0);
    let first = net.open(client, &[0, 1, 2]);
    net.run(SECOND);
    assert_eq!(net.path(client, first).circuit.path().count(), 2);
    net.run(DIAL_TIME);
    let unreachable = CircuitEvent::ExtendFailed { cause: Cause::Told(Reason::Unreachable) };
    assert_eq!(net.path(client, first).events.last(), Some(&unreachable));
    assert_eq!(net.relays[1].node.link_count(), 1, "nobody dials any more");
    // Shortly after, others are told at once.
    let second = net.open(client, &[0, 1, 2]);
    net.run(SECOND / 2);
    assert_eq!(net.path(client, second).events.last(), Some(&unreachable));
    let counters = *net.relays[1].node.counters();
    assert_eq!((counters.dials, counters.dials_failed), (1, 1));
    net.relays[2].asleep = false;
    net.run(2 * SECOND);
    let third = net.open(client, &[0, 1, 2]);
    net.run(SECOND);
    assert!(net.is_built(client, third, 3));
}

#[test]
fn a_next_relay_that_dies_is_noticed_and_clients_are_told_why() {
    let mut net = Net::new(3, Limits::default(), 1);
    let (client, circuit) = net.built(client_address(1), &[0, 1, 2]);
    net.say(client, circuit, 1);
    net.run(SECOND);
    net.relays[2].asleep = true;
    for second in 0..20 {
        if second == 4 {
            // Circuits that are there may wait for it, new ones are told at once.
            let other = net.open(client, &[0, 1, 2]);
            net.run(SECOND / 2);
            let unreachable = CircuitEvent::ExtendFailed { cause: Cause::Told(Reason::Unreachable) };
            assert_eq!(net.path(client, other).events.last(), Some(&unreachable));
            net.clients[client].paths.remove(&other);
        }
        if net.path(client, circuit).circuit.is_ready() {
            net.say(client, circuit, 2);
        }
        net.run(SECOND);
    }
    let path = net.path(client, circuit);
    let severed = matches!(path.events.last(), Some(CircuitEvent::Severed { last, reason: Reason::LinkDown }) if last.number() == 2);
    assert!(severed, "{:?}", path.events);
    assert_eq!(net.relays[1].node.counters().links_dead, 1);
    assert_eq!(net.relays[1].node.circuits(), 2, "what is before it lives on");
    net.relays[2].asleep = false;
    // The dead relay's own end notices as well, or is told by the first cell of a circuit that nobody knows.
    net.run(70 * SECOND);
    assert_eq!(net.relays[2].node.circuits(), 0);
}

#[test]
fn a_relay_that_restarts_takes_its_circuits_along_at_once() {
    let mut net = Net::new(3, Limits::default(), 1);
    let (client, circuit) = net.built(client_address(1), &[0, 1, 2]);
    net.say(client, circuit, 1);
    net.run(SECOND);
    net.restart(2);
    net.say(client, circuit, 2);
    net.run(5 * SECOND);
    let last = net.path(client, circuit).events.last();
    assert!(matches!(last, Some(CircuitEvent::Severed { reason: Reason::LinkDown, .. })), "{last:?}");
    let again = net.open(client, &[0, 1, 2]);
    net.run(SECOND);
    assert!(net.is_built(client, again, 3));
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    let mut net = Net::new(3, Limits::default(), 1);
    let (client, circuit) = net.built(client_address(1), &[0, 1, 2]);
    net.say(client, circuit, 1);
    net.run(SECOND);
    net.clients.clear();
    net.run(700 * SECOND);
    assert_eq!(net.relays.iter().map(|host| host.node.circuits()).sum::<u32>(), 0);
    assert_eq!(
        net.relays[0].node.link_count(),
        1,
        "the client's link is down, the one to the next relay is not old enough"
    );
    let closed = net.relays[2].events.last();
    assert!(matches!(closed, Some(NodeEvent::Closed { reason: Reason::Finished, .. })), "{closed:?}");
    net.run(700 * SECOND);
    assert_eq!(net.relays.iter().map(|host| host.node.link_count()).sum::<usize>(), 0);
}

#[test]
fn a_relay_that_is_stopped_refuses_waits_and_tells() {
    let mut net = Net::new(3, Limits { circuits_per_client: 200, ..Limits::default() }, 1);
    let (client, circuit) = net.built(client_address(1), &[0, 1, 2]);
    let more: Vec<u32> = (0..150)
        .map(|_| {
            let circuit = net.open(client, &[0, 1]);
            net.run(SECOND / 10);
            circuit
        })
        .collect();
    assert_eq!(net.relays[1].node.circuits(), 151);
    let now = net.now;
    net.relays[1].node.drain(now, 10 * SECOND);
    let late = net.open(client, &[0, 1, 2]);
    net.run(SECOND);
    let refused = CircuitEvent::ExtendFailed { cause: Cause::Told(Reason::Draining) };
    assert_eq!(net.path(client, late).events.last(), Some(&refused), "what is new is refused by name");
    net.say(client, circuit, 7);
    net.run(SECOND);
    assert_eq!(net.path(client, circuit).bytes(), [7], "what is there goes on");
    assert!(!net.relays[1].node.is_drained());
    net.run(10 * SECOND);
    assert!(net.relays[1].node.is_drained());
    assert_eq!(net.relays[1].events.iter().filter(|event| **event == NodeEvent::Drained).count(), 1);
    assert_eq!(net.relays[1].node.circuits(), 0);
    for circuit in more.iter().chain([&circuit]) {
        let told = net.path(client, *circuit).events.last();
        assert!(matches!(told, Some(CircuitEvent::Severed { reason: Reason::Draining, .. })), "{told:?}");
    }
    assert_eq!(net.relays[2].node.circuits(), 0, "those behind are told as well");
}

#[test]
fn a_stopped_guard_tells_clients_themselves_and_an_empty_relay_is_done_at_once() {
    let mut net = Net::new(3, Limits::default(), 1);
    let now = net.now;
    net.relays[2].node.drain(now, 60 * SECOND);
    assert!(net.relays[2].node.is_drained());
    let (client, circuit) = net.built(client_address(1), &[0, 1]);
    let now = net.now;
    net.relays[0].node.drain(now, Duration::ZERO);
    net.run(SECOND);
    let told = CircuitEvent::Closed { cause: Cause::Told(Reason::Draining) };
    assert_eq!(net.path(client, circuit).events.last(), Some(&told));
    assert!(net.relays[0].node.is_drained());
}
