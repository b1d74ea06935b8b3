//! The fuzz bodies of the receive path: run by libFuzzer and, over the committed corpora, by `cargo test`.

use crate::offer::{HopOffer, OFFER_ADDRESSES_MAX, OFFER_RANGES_MAX};
use crate::{Accept, Endpoint, EndpointConfig, HopConfig, LinkEvent, LinkId, Now, Peer, Route, SocketOrder, Via};
use identity::{DoorKey, LinkSecret, NodeSecret};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;
use wire::cell::{CellHead, CircuitId, Command};

/// Feeds an endpoint that accepts and dials with packets cut from `input`, and lets time pass between them.
///
/// Each piece is `control 1 | length 2 | bytes`; the control byte chooses the sender, the time that passes, and whether
/// the bytes are bent into a packet of the right size. Whatever comes, nothing panics and every bound holds.
///
/// # Panics
/// When the endpoint breaks a bound or answers a stranger: that is the finding.
pub fn link_packets(input: &[u8], start: Now) {
    let (mut endpoint, peer) = (Endpoint::new(settings(1), [9; 32]), settings(2));
    let size = endpoint.config().packet_size.packet();
    let peer = Peer { node_id: peer.node_id, link_key: peer.link_secret.link_key(), door_key: peer.door_key };
    let (dialled, stranger) = (SocketAddr::from(([192, 0, 2, 2], 1)), SocketAddr::from(([192, 0, 2, 3], 1)));
    let link = endpoint.dial(start, &peer, dialled, [0; 7]).expect("the first dial");
    let (mut now, mut rest, mut out) = (start, input, Vec::new());
    while let [control, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (piece, behind) = tail.split_at(length);
        rest = behind;
        let mut packet = piece.to_vec();
        if control & 1 != 0 {
            packet.resize(size, *control);
        }
        let from = if control & 2 != 0 { dialled } else { stranger };
        endpoint.handle_packet(now, from, control & 4 != 0, &mut packet);
        now.instant += Duration::from_millis(u64::from(control >> 3) * 20);
        now.unix_s += u64::from(control >> 3) * 1000;
        endpoint.handle_timeout(now);
        out.clear();
        endpoint.poll_own_packet(now, link, &mut out);
        assert!(out.is_empty() || out.len() == size, "one packet of P bytes at most");
        assert_eq!(endpoint.poll_door_packet(now, &mut out), None, "a stranger is not answered");
        while endpoint.poll_event().is_some() {}
        assert_eq!(endpoint.link_count(), 1, "nobody came in");
    }
}

/// Reads `input` as what a responder offers to hop over. What is read is within its bounds and is written as it came.
///
/// # Panics
/// When it is not: that is the finding.
pub fn hop_offer(input: &[u8], _: Now) {
    let Ok(offer) = HopOffer::decode(input) else { return };
    assert!(offer.ports().ranges().len() <= OFFER_RANGES_MAX && offer.addresses().len() <= OFFER_ADDRESSES_MAX);
    let written = offer.encode();
    assert_eq!(HopOffer::decode(&written), Ok(offer));
    assert_eq!(written.len(), length_of(input), "the same number of ranges and addresses");
}

/// Where an offer that can be read ends.
fn length_of(input: &[u8]) -> usize {
    let ranges = usize::from(u16::from_be_bytes([input[0], input[1]]));
    let addresses = usize::from(input[2 + 4 * ranges]);
    3 + 4 * ranges + 17 * addresses
}

/// Brings a link up between an honest endpoint and one whose cells are cut from `input`.
///
/// Bit 0 of the first byte says which of them dials, bit 1 whether there is a grid, bit 2 whether both hop. Then come pieces, each
/// `control 1 | length 2 | bytes`: bit 0 of the control byte lets the dishonest end behave for once, else the bytes are
/// the body of its next packet; bit 1 moves it to another address, bit 2 is the congestion mark, the rest is time. With hops, the packet comes on each
/// socket of the honest end in turn.
///
/// # Panics
/// When the honest endpoint breaks a bound: that is the finding.
pub fn hostile_peer(input: &[u8], start: Now) {
    let Some((&first, mut rest)) = input.split_first() else { return };
    let (mut pair, link) = Pair::up(first, start);
    while let [control, high, low, tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(tail.len());
        let (piece, behind) = tail.split_at(length);
        rest = behind;
        let wait = u64::from(control >> 3);
        pair.pass_time(Duration::from_millis(wait * wait * 10));
        if control & 1 == 1 {
            pair.exchange();
            continue;
        }
        let mut packet = pair.dishonest.seal_any(link, piece);
        let from = if control & 2 == 0 { DISHONEST } else { ELSEWHERE };
        let via = pair.next_socket();
        let from = Route { via, from: None, to: from.into() };
        pair.honest.handle_packet(pair.now, from, control & 4 != 0, &mut packet);
        pair.check();
    }
}

/// Addresses of both ends, and where the dishonest one may move to.
const HONEST: ([u8; 4], u16) = ([192, 0, 2, 1], 1);
const DISHONEST: ([u8; 4], u16) = ([192, 0, 2, 2], 1);
const ELSEWHERE: ([u8; 4], u16) = ([192, 0, 2, 3], 1);

/// Packets of its own that an endpoint without a grid may have ready at one instant: a message of each kind, and some.
const OWN_PACKETS_MAX: usize = 32;

struct Pair {
    now: Now,
    honest: Endpoint,
    dishonest: Endpoint,
    /// The honest end's sockets, the door's first.
    sockets: VecDeque<Via>,
}

impl Pair {
    /// Both ends with a link that is up, and the dishonest end's name for it.
    fn up(bits: u8, start: Now) -> (Self, LinkId) {
        let (honest_dials, gridded, hops) = (bits & 1 == 1, bits & 2 == 2, bits & 4 == 4);
        let config = |seed| EndpointConfig { gridded, hops: hops.then(hop_config), ..settings(seed) };
        let (honest, dishonest) = (Endpoint::new(config(1), [9; 32]), Endpoint::new(config(2), [8; 32]));
        let mut pair = Self { now: start, honest, dishonest, sockets: VecDeque::from([Via::DOOR]) };
        let (dialler, peer, to) = if honest_dials {
            (&mut pair.honest, settings(2), DISHONEST)
        } else {
            (&mut pair.dishonest, settings(1), HONEST)
        };
        let peer = Peer { node_id: peer.node_id, link_key: peer.link_secret.link_key(), door_key: peer.door_key };
        dialler.dial(start, &peer, to.into(), [0; 7]).expect("the first dial");
        for _ in 0..4 {
            pair.exchange();
            pair.pass_time(Duration::from_millis(20));
        }
        let link = pair.dishonest.links().next().expect("the handshake needs two round trips");
        let is_up = |endpoint: &Endpoint| endpoint.links().any(|link| endpoint.is_up(link));
        assert!(is_up(&pair.honest) && is_up(&pair.dishonest), "nothing was lost");
        (pair, link)
    }

    fn pass_time(&mut self, passed: Duration) {
        self.now.instant += passed;
        self.honest.handle_timeout(self.now);
        self.dishonest.handle_timeout(self.now);
    }

    /// All that the ends have to say to each other goes over, as if both were honest.
    fn exchange(&mut self) {
        for packet in own_packets(&mut self.dishonest, self.now) {
            self.honest.handle_packet(self.now, SocketAddr::from(DISHONEST), false, &mut packet.clone());
        }
        self.check();
        for packet in own_packets(&mut self.honest, self.now) {
            self.dishonest.handle_packet(self.now, SocketAddr::from(HONEST), false, &mut packet.clone());
        }
        while self.dishonest.poll_event().is_some() {}
    }

    fn next_socket(&mut self) -> Via {
        self.sockets.rotate_left(1);
        self.sockets[0]
    }

    fn check(&mut self) {
        assert!(self.honest.link_count() <= 1, "one peer has one link");
        while let Some(order) = self.honest.poll_socket_order() {
            match order {
                SocketOrder::Open { via, .. } | SocketOrder::Listen { via, .. } => {
                    self.sockets.push_back(via);
                    self.honest.handle_socket_opened(self.now, via, HONEST.into());
                }
                SocketOrder::Close { via } => self.sockets.retain(|socket| *socket != via),
            }
        }
        assert!(self.sockets.len() <= crate::SOCKETS_MAX + 1, "a link has a bound of sockets");
        while let Some(event) = self.honest.poll_event() {
            if let LinkEvent::Report { figures, .. } = event {
                for direction in [figures.inbound, figures.outbound] {
                    assert!(direction.lost <= direction.sent && direction.per_mille() <= 1000, "{direction:?}");
                }
            }
        }
    }
}

/// Everything of its own that an endpoint sends now; on a grid one packet a link, a cover cell if there is no other.
fn own_packets(endpoint: &mut Endpoint, now: Now) -> Vec<Vec<u8>> {
    let (size, gridded) = (endpoint.config().packet_size.packet(), endpoint.config().gridded);
    let mut packets = Vec::new();
    let mut out = Vec::new();
    while endpoint.poll_door_packet(now, &mut out).is_some() {
        packets.push(std::mem::take(&mut out));
    }
    let links: Vec<LinkId> = endpoint.links().collect();
    for link in links {
        let before = packets.len();
        while endpoint.poll_own_packet(now, link, &mut out).is_some() {
            packets.push(std::mem::take(&mut out));
            if gridded {
                break;
            }
        }
        let cover = CellHead { circuit: CircuitId::LINK, command: Command::Cover };
        if gridded && packets.len() == before && endpoint.seal_cell(now, link, cover, |_| {}, &mut out).is_ok() {
            packets.push(std::mem::take(&mut out));
        }
    }
    assert!(packets.len() <= OWN_PACKETS_MAX, "the number of answers has a bound");
    assert!(packets.iter().all(|packet| packet.len() == size), "packets of P bytes");
    packets
}

fn hop_config() -> HopConfig {
    let ports = "5000-5003".parse().expect("a range of ports");
    let offer = Some(HopOffer::new(ports, Vec::new()).expect("one range"));
    HopConfig { offer, door_port: 1, timers: port_hopping::causes::Timers::default() }
}

fn settings(seed: u8) -> EndpointConfig {
    let node = NodeSecret::from_seed([seed; 32]).node_id();
    let (secret, door) = (LinkSecret::from_bytes([seed; 32]), DoorKey::from_bytes([seed; 32]));
    EndpointConfig { accept: Accept::Anyone, ..EndpointConfig::new(node, secret, door) }
}
