//! Handshakes between nodes that may talk to each other.

use crate::net::{Fate, NOON, Net, SLOT, accept_only, config, peer};
use link::{DialError, DownReason, Endpoint, LinkEvent};
use std::time::Duration;

#[test]
fn a_pair_comes_up_in_one_round_trip_and_carries_cells_both_ways() {
    let (mut net, link) = Net::pair(|_| {});
    assert!(net.run_until(Duration::from_millis(200), |net| net.is_up(0) && net.is_up(1)));
    let LinkEvent::Up { link: up, rtt, fresh, dialled, parameters, .. } = net.nodes[0].events[0] else { panic!("up") };
    assert_eq!((up, fresh, dialled, parameters), (link, true, true, [0; 7]));
    assert!(rtt >= Duration::from_millis(40) && rtt <= Duration::from_millis(40) + 2 * SLOT, "{rtt:?}");
    net.run(Duration::from_secs(5));
    for node in 0..2 {
        let cells = &net.nodes[node].cells;
        assert!(cells.len() > 900, "{}", cells.len());
        assert!(cells.windows(2).all(|pair| pair[0] + 1 == pair[1]), "every cell, in order");
    }
    let LinkEvent::Up { dialled, node_id, .. } = net.nodes[1].events[1] else { panic!("up") };
    assert_eq!((dialled, node_id), (false, Some(net.nodes[0].endpoint.config().node_id)));
}

#[test]
fn parameters_travel_both_ways() {
    let (mut net, _) = Net::pair(|config| config.parameters = [config.node_id.0[0]; 7]);
    net.nodes[0].endpoint.set_parameters([3; 7]);
    assert!(net.run_until(Duration::from_secs(1), |net| net.is_up(1)));
    let exit = net.nodes[1].endpoint.config().parameters;
    assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Up { parameters, .. } if *parameters == exit)), 1);
    assert_eq!(net.events_of(1, |event| matches!(event, LinkEvent::Up { parameters, .. } if *parameters == [3; 7])), 1);
}

#[test]
fn the_calendar_may_be_a_day_off_and_not_two() {
    for (days, comes_up) in [(-2, false), (-1, true), (1, true), (2, false)] {
        let (mut net, _) = Net::pair(|_| {});
        // The entry makes message 1 on its own day; the exit reads it at noon.
        net.set_filter(|_| Fate::Deliver);
        net.now.unix_s = NOON.saturating_add_signed(days * 86_400);
        net.step();
        net.now.unix_s = NOON;
        net.run(Duration::from_millis(150));
        assert_eq!(net.is_up(0), comes_up, "{days} days");
        assert_eq!(net.nodes[1].endpoint.counters().stranger > 0, !comes_up);
    }
}

#[test]
fn a_lost_message_is_repeated_with_a_fresh_one() {
    let (mut net, _) = Net::pair(|_| {});
    let mut count = 0;
    net.set_filter(move |_| {
        count += 1;
        if count <= 2 { Fate::Lose } else { Fate::Deliver }
    });
    assert!(net.run_until(Duration::from_secs(2), |net| net.is_up(0) && net.is_up(1)));
    assert!(net.nodes[1].endpoint.counters().answered <= 2);
}

#[test]
fn a_first_message_that_was_overtaken_does_not_spoil_the_later_one() {
    let (mut net, _) = Net::pair(|_| {});
    // The first message 1 is held back until the second was answered.
    let mut held = Vec::new();
    net.recording = Some(Vec::new());
    net.set_filter(|_| Fate::Lose);
    net.step();
    held.extend(net.recording.take().expect("a recording"));
    assert_eq!(held.len(), 1);
    net.clear_filter();
    assert!(net.run_until(Duration::from_secs(1), |net| net.nodes[1].endpoint.counters().answered == 1));
    net.arrive(held.remove(0));
    assert_eq!(net.nodes[1].endpoint.counters().stale_handshake, 1);
    assert!(net.run_until(Duration::from_millis(200), |net| net.is_up(0) && net.is_up(1)));
    net.run(Duration::from_secs(3));
    assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Quiet { .. })), 0);
}

#[test]
fn another_version_is_told_and_counted() {
    let (mut net, link) = Net::pair(|_| {});
    let mut exit = net.nodes[1].endpoint.config().clone();
    exit.version = 9;
    net.nodes[1].endpoint = Endpoint::new(exit, [7; 32]);
    net.run(Duration::from_secs(3));
    assert!(!net.is_up(0) && net.nodes[1].endpoint.link_count() == 0);
    assert!(net.nodes[1].endpoint.counters().wrong_version >= 2);
    assert_eq!(net.nodes[0].events[0], LinkEvent::WrongVersion { link, theirs: 9 });
}

#[test]
fn a_dial_that_nobody_answers_says_so_once_and_goes_on() {
    let (mut net, link) = Net::pair(|_| {});
    net.set_filter(|_| Fate::Lose);
    net.run(Duration::from_secs(120));
    assert_eq!(net.nodes[0].events, [LinkEvent::Unanswered { link }]);
    let sent = net.nodes[0].sent;
    assert!((120 * 2 / 3..120).contains(&sent), "a message 1 each 1.5 s at least, with back-off: {sent}");
    net.clear_filter();
    assert!(net.run_until(Duration::from_millis(1_600), |net| net.is_up(0)));
}

#[test]
fn a_restarted_process_takes_its_link_over_and_is_known_as_new() {
    let fresh = |event: &LinkEvent| matches!(event, LinkEvent::Replaced { fresh: true, .. });
    // The entry dies: its successor dials at once.
    let (mut net, _) = Net::pair(|_| {});
    net.run(Duration::from_secs(2));
    net.restart(0, 50);
    net.dial(0, 1);
    assert!(net.run_until(Duration::from_millis(300), |net| net.events_of(1, fresh) == 1));
    assert_eq!(net.nodes[1].endpoint.link_count(), 1);
    // The exit dies: the entry hears silence for a second and makes a handshake.
    net.run(Duration::from_secs(2));
    net.restart(1, 51);
    assert!(net.run_until(Duration::from_secs(2), |net| net.events_of(0, fresh) == 1));
    assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Quiet { .. })), 1);
    assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Down { .. })), 0);
    net.run(Duration::from_millis(100));
    assert!(net.is_up(0) && net.is_up(1));
}

#[test]
fn a_new_handshake_replaces_a_working_link_only_after_a_packet_under_its_keys() {
    // Node 2 has the same settings as node 0: a second process with the same key.
    let (mut entry, mut exit) = (config(1), config(2));
    exit.accept = accept_only(&[&entry]);
    entry.parameters = [1; 7];
    let mut net = Net::new(vec![entry.clone(), exit, entry]);
    net.dial(0, 1);
    assert!(net.run_until(Duration::from_secs(1), |net| net.is_up(1)));
    let (exit_address, second) = (net.nodes[1].address, net.nodes[2].address);
    net.set_filter(
        move |packet| {
            if packet.from == exit_address && packet.to == second { Fate::Lose } else { Fate::Deliver }
        },
    );
    net.dial(2, 1);
    net.run(Duration::from_secs(5));
    assert!(net.nodes[1].endpoint.counters().answered >= 3, "it is answered");
    assert_eq!(net.events_of(1, |event| matches!(event, LinkEvent::Replaced { .. })), 0, "and changes nothing");
    assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Quiet { .. })), 0);
    let cells = net.nodes[1].cells.len();
    net.run(Duration::from_secs(1));
    assert!(net.nodes[1].cells.len() > cells + 180);
    // Once it may answer, it takes the link; the first takes it back, and the exit sees what is going on.
    net.clear_filter();
    net.run(Duration::from_secs(30));
    assert!(net.events_of(1, |event| matches!(event, LinkEvent::Replaced { fresh: true, .. })) >= 2);
    assert!(net.events_of(1, |event| matches!(event, LinkEvent::SameKeyElsewhere { .. })) >= 1);
    assert_eq!(net.nodes[1].endpoint.link_count(), 1);
}

#[test]
fn of_two_crossing_dials_that_of_the_smaller_node_id_stays() {
    let (mut one, mut two) = (config(1), config(2));
    (one.accept, two.accept) = (accept_only(&[&two]), accept_only(&[&one]));
    let smaller = usize::from(two.node_id < one.node_id);
    let mut net = Net::new(vec![one, two]);
    let links = [net.dial(0, 1), net.dial(1, 0)];
    net.run(Duration::from_secs(10));
    let stays = links[smaller];
    assert!(net.nodes[smaller].endpoint.is_up(stays));
    assert!(!net.nodes[1 - smaller].endpoint.is_up(links[1 - smaller]), "the other dial waits");
    let up = |node: usize| {
        let endpoint = &net.nodes[node].endpoint;
        endpoint.links().filter(|link| endpoint.is_up(*link)).count()
    };
    assert_eq!((up(0), up(1)), (1, 1));
    assert!(net.events_of(0, |event| matches!(event, LinkEvent::Down { reason: DownReason::Crossed, .. })) <= 1);
    // When the link that stays is gone, the other node's dial has its turn.
    net.nodes[smaller].endpoint.close(stays);
    assert!(
        net.run_until(Duration::from_secs(60), |net| { net.nodes[1 - smaller].endpoint.is_up(links[1 - smaller]) })
    );
}

#[test]
fn dials_are_bounded_and_unique() {
    let mut entry = config(1);
    entry.max_links = 2;
    let mut net = Net::new(vec![entry, config(2), config(3), config(4)]);
    let first = net.dial(0, 1);
    let (two, three) = (peer(&config(3)), peer(&config(4)));
    let now = net.now;
    let address = |node: usize| crate::net::address(node as u8 + 1, 1000);
    let endpoint = &mut net.nodes[0].endpoint;
    assert_eq!(endpoint.dial(now, &two, address(1), [0; 7]), Err(DialError::AlreadyDialled), "same address");
    assert_eq!(endpoint.dial(now, &peer(&config(2)), address(2), [0; 7]), Err(DialError::AlreadyDialled), "same key");
    assert!(endpoint.dial(now, &two, address(2), [0; 7]).is_ok());
    assert_eq!(endpoint.dial(now, &three, address(3), [0; 7]), Err(DialError::TooManyLinks));
    endpoint.close(first);
    let again = endpoint.dial(now, &three, address(3), [0; 7]).expect("room again");
    assert_ne!(again, first, "an id is never used again");
    assert!(!endpoint.is_up(first) && endpoint.peer_address(first).is_none());
}

#[test]
fn a_dial_follows_a_new_address() {
    let (mut net, link) = Net::pair(|_| {});
    let (now, moved) = (net.now, crate::net::address(9, 9));
    net.nodes[1].address = moved;
    net.run(Duration::from_secs(2));
    assert!(!net.is_up(0));
    net.nodes[0].endpoint.set_dial_address(now, link, moved).expect("a free address");
    assert!(net.run_until(Duration::from_millis(200), |net| net.is_up(0) && net.is_up(1)));
}
