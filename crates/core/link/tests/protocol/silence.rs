//! Links on a grid that fall silent, and what reports say.

use crate::net::{Fate, Net};
use link::{DownReason, LinkEvent};
use std::time::Duration;

fn count(net: &Net, node: usize) -> [usize; 5] {
    let of = |wanted: fn(&LinkEvent) -> bool| net.events_of(node, wanted);
    [
        of(|event| matches!(event, LinkEvent::Up { .. })),
        of(|event| matches!(event, LinkEvent::Replaced { .. })),
        of(|event| matches!(event, LinkEvent::Quiet { .. })),
        of(|event| matches!(event, LinkEvent::Back { .. })),
        of(|event| matches!(event, LinkEvent::Down { .. })),
    ]
}

#[test]
fn an_outage_of_some_seconds_keeps_link_and_keys() {
    let (mut net, link) = Net::pair(|_| {});
    net.run(Duration::from_secs(2));
    net.set_filter(|_| Fate::Lose);
    net.run(Duration::from_secs(5));
    assert_eq!((count(&net, 0), count(&net, 1)), ([1, 0, 1, 0, 0], [1, 0, 1, 0, 0]));
    let exit = net.link_of(1);
    net.clear_filter();
    let cells = net.nodes[0].cells.len();
    net.run(Duration::from_millis(100));
    assert!(net.nodes[0].cells.len() > cells, "the old keys simply go on");
    net.run(Duration::from_secs(8));
    for node in 0..2 {
        let [up, _, quiet, back, down] = count(&net, node);
        assert_eq!((up, quiet, back, down), (1, 1, 1, 0), "node {node}");
    }
    assert_eq!((net.link_of(0), net.link_of(1)), (link, exit), "ids stay");
}

#[test]
fn a_long_outage_takes_the_link_down_and_the_dial_brings_it_up_again() {
    let (mut net, link) = Net::pair(|_| {});
    net.run(Duration::from_secs(2));
    net.set_filter(|_| Fate::Lose);
    net.run(Duration::from_secs(29));
    assert_eq!(count(&net, 0)[4], 0);
    net.run(Duration::from_secs(3));
    let silent = |event: &LinkEvent| matches!(event, LinkEvent::Down { reason: DownReason::Silent, .. });
    assert_eq!((net.events_of(0, silent), net.events_of(1, silent)), (1, 1));
    assert_eq!(net.nodes[1].endpoint.link_count(), 0, "the exit forgets it");
    assert_eq!(net.nodes[1].endpoint.table_sizes().0, 0);
    // A link that is down sends message 1 alone, at its back-off.
    let sent = net.nodes[0].sent;
    net.run(Duration::from_secs(60));
    assert!((40..=54).contains(&(net.nodes[0].sent - sent)), "{}", net.nodes[0].sent - sent);
    net.clear_filter();
    assert!(net.run_until(Duration::from_millis(1_600), |net| net.is_up(0) && net.is_up(1)));
    assert!(net.nodes[0].endpoint.is_up(link));
    let LinkEvent::Up { fresh, .. } = net.nodes[0].events.last().expect("events") else { panic!("up") };
    assert!(!fresh, "the same process as before");
}

#[test]
fn reports_measure_loss_marks_and_round_trip() {
    let (mut net, link) = Net::pair(|_| {});
    net.run(Duration::from_secs(2));
    let (entry, mut number) = (net.nodes[0].address, 0u32);
    net.set_filter(move |packet| {
        number += 1;
        packet.ce = number.is_multiple_of(10);
        if packet.from == entry && number % 14 == 1 { Fate::Lose } else { Fate::Deliver }
    });
    net.run(Duration::from_secs(15));
    let figures = net.nodes[0].endpoint.figures(link).expect("a link that is up");
    // Packets alternate between the ends, so every seventh packet of the entry is lost.
    assert!((141..=145).contains(&figures.outbound.per_mille()), "{figures:?}");
    assert_eq!(figures.inbound.lost, 0, "{figures:?}");
    assert!(figures.outbound.span >= Duration::from_secs(9) && figures.outbound.span < Duration::from_secs(13));
    assert!(figures.inbound.marked > 100, "{figures:?}");
    assert!(figures.rtt.abs_diff(Duration::from_millis(40)) < Duration::from_millis(6), "{figures:?}");
    let exit = net.nodes[1].endpoint.figures(net.link_of(1)).expect("a link that is up");
    assert_eq!(exit.outbound.lost, 0);
    assert!((141..=145).contains(&exit.inbound.per_mille()), "{exit:?}");
    let reports = net.events_of(0, |event| matches!(event, LinkEvent::Report { .. }));
    // One a second, and some beside those that were lost.
    assert!((15..=26).contains(&reports), "{reports}");
    net.clear_filter();
    net.run(Duration::from_secs(13));
    let figures = net.nodes[0].endpoint.figures(link).expect("a link that is up");
    assert_eq!(figures.outbound.lost, 0, "losses are forgotten after ten seconds");
}

#[test]
fn packets_that_never_left_are_no_losses() {
    let (mut net, link) = Net::pair(|_| {});
    net.run(Duration::from_secs(2));
    for _ in 0..12 * 200 {
        net.step();
        net.seal(0, link).expect("a spare");
        net.nodes[0].endpoint.take_back(link, 1);
    }
    let figures = net.nodes[0].endpoint.figures(link).expect("a link that is up");
    assert!(figures.outbound.lost <= 1 && figures.outbound.sent > 1900, "{figures:?}");
}

#[test]
fn the_links_own_packets_take_slots_and_add_none() {
    let (mut net, _) = Net::pair(|config| config.rekey_after = Duration::from_secs(3));
    assert!(net.run_until(Duration::from_secs(1), |net| net.is_up(0) && net.is_up(1)));
    let before = [net.nodes[0].sent, net.nodes[1].sent];
    let slots = 20 * 200;
    for _ in 0..slots {
        net.step();
    }
    for (node, before) in net.nodes.iter().zip(before) {
        assert_eq!(node.sent - before, slots, "exactly one packet a slot");
        assert!(node.next_cell < slots - 20, "of which some were the link's own");
    }
}

#[test]
fn a_closed_link_is_gone_at_once() {
    let (mut net, link) = Net::pair(|_| {});
    net.run(Duration::from_secs(1));
    net.nodes[0].endpoint.close(link);
    assert_eq!(net.nodes[0].endpoint.table_sizes().0, 0);
    assert_eq!(net.nodes[0].endpoint.link_count(), 0);
    assert_eq!(net.seal(0, link).map(|packet| packet.to), None);
    net.run(Duration::from_secs(40));
    assert_eq!(net.nodes[1].endpoint.link_count(), 0);
    assert_eq!(net.nodes[0].endpoint.poll_timeout(), None, "nothing is left to do");
}
