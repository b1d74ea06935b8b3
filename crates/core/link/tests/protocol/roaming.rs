//! Peers that move, and packets that are copied.

use crate::net::{Fate, Net, Packet, address};
use link::LinkEvent;
use redact::Sensitive;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

fn moved(event: &LinkEvent) -> bool {
    matches!(event, LinkEvent::PeerAddressChanged { .. })
}

/// Where the exit's packets go, from now on.
fn watch(net: &mut Net) -> Rc<RefCell<Vec<std::net::SocketAddr>>> {
    let (seen, exit) = (Rc::new(RefCell::new(Vec::new())), net.nodes[1].address);
    let log = seen.clone();
    net.set_filter(move |packet| {
        if packet.from == exit {
            log.borrow_mut().push(packet.to);
        }
        Fate::Deliver
    });
    seen
}

#[test]
fn a_moved_entry_proves_its_address_and_the_grid_never_stops() {
    let (mut net, _) = Net::pair(|_| {});
    net.run(Duration::from_secs(2));
    let (old, new) = (net.nodes[0].address, address(9, 9));
    net.nodes[0].address = new;
    let seen = watch(&mut net);
    let steps = 60;
    for _ in 0..steps {
        net.step();
    }
    let to = seen.borrow().clone();
    assert_eq!(to.len(), steps, "one packet a slot, moved or not");
    let first_new = to.iter().position(|to| *to == new).expect("a challenge");
    let last_old = to.iter().rposition(|to| *to == old).expect("packets to the old place");
    let between = &to[first_new..=last_old];
    let challenges = between.iter().filter(|to| **to == new).count();
    assert!(challenges * 3 <= between.len() + 2, "one slot of three: {challenges} of {}", between.len());
    assert!((7..=11).contains(&between.len()), "proven within a round trip: {} slots", between.len());
    assert!(to[last_old + 1..].iter().all(|to| *to == new));
    assert_eq!(net.events_of(1, moved), 1);
    let address = Sensitive::new(new);
    assert_eq!(
        net.events_of(1, |event| matches!(event, LinkEvent::PeerAddressChanged { address: a, .. } if *a == address)),
        1
    );
    net.run(Duration::from_secs(3));
    assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Quiet { .. })), 0);
}

#[test]
fn a_moved_exit_is_followed_too() {
    let (mut net, link) = Net::pair(|_| {});
    net.run(Duration::from_secs(2));
    let new = address(9, 9);
    net.nodes[1].address = new;
    net.run(Duration::from_millis(500));
    assert_eq!(net.events_of(0, moved), 1);
    assert_eq!(net.nodes[0].endpoint.peer_address(link), Some(new));
    let cells = net.nodes[1].cells.len();
    net.run(Duration::from_secs(3));
    assert!(net.nodes[1].cells.len() >= cells + 590, "{} cells", net.nodes[1].cells.len() - cells);
    // The dial goes to the old address, so the link must live on by its old keys.
    assert_eq!(net.events_of(0, |event| matches!(event, LinkEvent::Quiet { .. })), 0);
}

#[test]
fn copied_packets_do_not_steal_the_stream() {
    // An observer copies each packet of the entry and gets his copy to the exit first, from a victim's address.
    let (mut net, _) = Net::pair(|_| {});
    net.run(Duration::from_secs(2));
    let (entry, victim) = (net.nodes[0].address, address(66, 6));
    let copies = Rc::new(RefCell::new(Vec::new()));
    let (exit, taken) = (net.nodes[1].address, copies.clone());
    let seen = Rc::new(RefCell::new(Vec::new()));
    let log = seen.clone();
    net.set_filter(move |packet| {
        if packet.from == entry {
            taken.borrow_mut().push(Packet { from: victim, ..packet.clone() });
        }
        if packet.from == exit {
            log.borrow_mut().push(packet.to);
        }
        Fate::Deliver
    });
    let slots = 4000;
    for _ in 0..slots {
        net.step();
        for copy in copies.take() {
            net.arrive(copy);
        }
    }
    let to = seen.borrow().clone();
    let stolen = to.iter().filter(|to| **to == victim).count();
    // The victim is tried for 2 s of every 12 s, one slot of three: about 5 % of all packets.
    assert!(stolen > 0 && stolen * 15 < to.len(), "{stolen} of {}", to.len());
    assert_eq!(net.events_of(1, moved), 0);
    let cells = net.nodes[0].cells.len();
    assert!(cells + stolen + 100 > slots, "all others reached the entry: {cells}");
    assert!(net.nodes[0].cells.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn a_single_copied_packet_costs_one_challenge_or_two() {
    let (mut net, link) = Net::pair(|_| {});
    net.run(Duration::from_secs(2));
    let mut copy = net.seal(0, link).expect("a link that is up");
    copy.from = address(66, 6);
    net.arrive(copy);
    let seen = watch(&mut net);
    net.run(Duration::from_secs(4));
    let stolen = seen.borrow().iter().filter(|to| **to == address(66, 6)).count();
    // The next genuine packet, one slot later, comes from the proven place and ends it.
    assert!(stolen <= 2, "{stolen}");
    assert_eq!(net.events_of(1, moved), 0);
}
