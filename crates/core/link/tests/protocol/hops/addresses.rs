//! Responders with several addresses.

use super::{NEVER, hop, hopping_pair, index, is_trouble, is_whole, settle, status};
use crate::net::{Fate, Net, SEVERAL, config};
use link::{HopConfig, HopOffer};
use port_hopping::targets::TargetAddress;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// A pair whose exit offers its own address and two others, over these ports.
fn several(ports: &'static str) -> (Net, link::LinkId) {
    let exit = config(2).node_id;
    let (mut net, link) = hopping_pair(NEVER, |config| {
        if config.node_id != exit {
            return;
        }
        let addresses = SEVERAL.into_iter().chain([IpAddr::from([192, 0, 2, 2])]).map(TargetAddress::One);
        let offer = HopOffer::new(ports.parse().expect("ports"), addresses.collect()).expect("a short offer");
        config.hops = config.hops.take().map(|hops| HopConfig { offer: Some(offer), ..hops });
    });
    net.nodes[1].several = true;
    (net, link)
}

/// Lets in only what answers a packet that went the same way: a translator of the strictest kind.
fn translate_strictly(net: &mut Net) {
    let (entry, mut asked) = (net.nodes[0].address.ip(), BTreeSet::new());
    net.set_filter(move |packet| {
        if packet.from.ip() == entry {
            asked.insert((packet.from, packet.to));
            return Fate::Deliver;
        }
        if asked.contains(&(packet.to, packet.from)) { Fate::Deliver } else { Fate::Lose }
    });
}

#[test]
fn a_link_hops_between_addresses_and_loses_nothing() {
    // One port: only the address tells one pair from the next.
    for ports in ["20000-50000", "443"] {
        let (mut net, link) = several(ports);
        translate_strictly(&mut net);
        settle(&mut net);
        net.recording = Some(Vec::new());
        for _ in 0..20 {
            hop(&mut net, link);
            net.run(Duration::from_millis(2_500));
        }
        let entry = net.nodes[0].address.ip();
        let packets = net.recording.take().unwrap_or_default();
        let used: BTreeSet<IpAddr> =
            packets.iter().filter(|packet| packet.from.ip() == entry).map(|p| p.to.ip()).collect();
        assert_eq!(used.len(), 3, "{ports}: {used:?}");
        for node in 0..2 {
            assert_eq!(index(&net.nodes[node], &net), 20, "{ports}: {:?}", status(&net, node));
            assert!(is_whole(&net.nodes[node].cells), "{ports}: node {node}");
            assert_eq!(net.events_of(node, is_trouble), 0, "{ports}: node {node}");
        }
    }
}

#[test]
fn an_address_that_is_not_reached_is_passed_over() {
    let (mut net, link) = several("20000-50000");
    settle(&mut net);
    let dead = SEVERAL[0];
    net.set_filter(move |packet| {
        if [packet.from, packet.to].iter().any(|end| end.ip() == dead) { Fate::Lose } else { Fate::Deliver }
    });
    for _ in 0..10 {
        hop(&mut net, link);
        net.run(Duration::from_millis(2_500));
    }
    for node in 0..2 {
        assert_eq!(index(&net.nodes[node], &net), 10);
        assert!(is_whole(&net.nodes[node].cells), "node {node}");
    }
}
