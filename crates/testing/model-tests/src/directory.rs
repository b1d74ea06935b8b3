//! The directory against a reference, and among liars.

use identity::{DoorKey, LinkSecret, NodeSecret, OnionKey, OperatorSecret};
use network_document::{Announcement, Charter, Descriptor, Electorate, Founding, Label, NetworkId, Roles};
use onion::Interval;
use relay_directory::{Admission, Command, Order, SignedOrder};
use shaping::RateClass;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

mod liars;
mod random;
mod reference;

pub use liars::{LiarsOutcome, among_liars};
pub use random::{RandomOutcome, against_the_reference};

/// When interval 0 begins.
pub const START_MS: u64 = 1_800_000_000_000;
/// How long an interval is.
pub const INTERVAL_MS: u64 = 60_000;
/// After so many intervals relays change their onion keys.
pub const KEY_INTERVALS: u64 = 4;
/// Operators who must sign, of three.
pub const THRESHOLD: u8 = 2;

fn seed(kind: u8, number: u32) -> [u8; 32] {
    let mut seed = [kind; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    seed
}

/// An operator's secret; 1 to 3 are the network's.
pub fn operator(number: u32) -> OperatorSecret {
    OperatorSecret::from_seed(seed(1, number))
}

/// A member's secret.
pub fn member(number: u32) -> NodeSecret {
    NodeSecret::from_seed(seed(2, number))
}

/// A relay's secret.
pub fn relay(number: u32) -> NodeSecret {
    NodeSecret::from_seed(seed(3, number))
}

fn label(text: &str) -> Label {
    Label::new(text, "operator").expect("a label")
}

/// These members.
pub fn electorate(term: u64, members: &[u32], liars: u8) -> Electorate {
    let members = members.iter().map(|number| member(*number).node_id()).collect();
    Electorate::new(term, members, liars).expect("enough members")
}

/// Three operators, and these first members.
pub fn charter(members: &[u32], liars: u8) -> Arc<Charter> {
    let operators = (1..=3).map(|number| operator(number).operator_key()).collect();
    let charter = Charter::new(label("model"), Default::default(), operators, THRESHOLD).expect("a charter");
    let mut founding = Founding::new(START_MS, electorate(1, members, liars));
    (founding.interval_ms, founding.key_intervals, founding.valid_intervals) = (INTERVAL_MS, KEY_INTERVALS, 3);
    Arc::new(charter.with_directory(founding).expect("a founding"))
}

/// What operators vouch for.
pub fn admission(class: u8) -> Admission {
    let roles = Roles { guard: true, middle: true, exit: false, directory: false };
    Admission { roles, bandwidth: RateClass::new(class).expect("a class"), operator: label("alice") }
}

/// What a relay says, in numbers: an address, a key and so on are one of a few, so that relays get into each other's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// Which relay.
    pub relay: u32,
    /// Its link key, by number.
    pub key: u32,
    /// Its address, by number.
    pub address: u32,
    /// The first of its two onion keys' intervals.
    pub interval: u64,
    /// Its rate class.
    pub class: u8,
    /// When it said so.
    pub published_ms: u64,
    /// When it ends.
    pub expires_ms: u64,
}

impl Said {
    /// In full.
    pub fn announcement(&self) -> Announcement {
        let onion = |interval: u64| {
            let mut key = seed(5, self.relay);
            key[8..16].copy_from_slice(&interval.to_be_bytes());
            (Interval(interval), OnionKey(key))
        };
        let [_, b, c, d] = self.address.to_be_bytes();
        let descriptor = Descriptor {
            node_id: relay(self.relay).node_id(),
            link_key: LinkSecret::from_bytes(seed(4, self.key)).link_key(),
            door_key: DoorKey::from_bytes(seed(6, self.relay)),
            onion_keys: vec![onion(self.interval), onion(self.interval + 1)],
            addresses: vec![SocketAddr::from((Ipv4Addr::new(100, b, c, d), 4433))],
            hop_ports: None,
            roles: Roles { guard: true, middle: true, exit: false, directory: false },
            operator: label("alice"),
            bandwidth: RateClass::new(self.class).expect("a class"),
        };
        let (next_link_key, next_door_key, exit_ports) = (None, None, None);
        let (published_ms, expires_ms) = (self.published_ms, self.expires_ms);
        Announcement { descriptor, next_link_key, next_door_key, exit_ports, published_ms, expires_ms }
    }

    /// Signed by the relay.
    pub fn command(&self, network: NetworkId) -> Command {
        let signed = self.announcement().sign(network, &relay(self.relay));
        Command::Describe(Arc::new(signed.expect("a good announcement")))
    }
}

/// An order with the signatures of these operators and members.
pub fn order(network: NetworkId, number: u64, order: Order, operators: &[u32], members: &[u32]) -> Command {
    let mut signed = SignedOrder::new(number, order);
    operators.iter().for_each(|by| signed.sign(network, &operator(*by)));
    members.iter().for_each(|by| signed.consent(network, &member(*by)));
    Command::Govern(Box::new(signed))
}
