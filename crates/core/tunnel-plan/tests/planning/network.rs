//! Made-up relays, and an independent look at what was chosen.

use identity::{DoorKey, LinkKey, NodeId, OnionKey};
use network_document::{Descriptor, Label, Roles, Subnet};
use onion::Interval;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use shaping::RateClass;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use tunnel_plan::{Choice, Path, PathRules, Refusal, Relaxation, Relays, Target};

pub(crate) const ALL: Roles = Roles { guard: true, middle: true, exit: true, directory: false };
pub(crate) const INNER: Roles = Roles { guard: true, middle: true, exit: false, directory: false };
pub(crate) const EXIT: Roles = Roles { guard: false, middle: false, exit: true, directory: false };

pub(crate) fn id(number: u16) -> NodeId {
    let mut bytes = [9; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    NodeId(bytes)
}

/// A relay of its own operator, in a subnet of its own.
pub(crate) fn relay(number: u16, roles: Roles) -> Descriptor {
    let [high, low] = number.to_be_bytes();
    Descriptor {
        node_id: id(number),
        link_key: LinkKey(id(number).0),
        door_key: DoorKey::from_bytes([1; 32]),
        onion_keys: vec![(Interval(1), OnionKey(id(number).0))],
        addresses: vec![SocketAddr::from(([10, high, low, 1], 4433))],
        hop_ports: None,
        roles,
        operator: operator(number),
        bandwidth: RateClass::new(20).expect("a class"),
    }
}

pub(crate) fn operator(number: u16) -> Label {
    Label::new(&format!("operator-{number}"), "operator").expect("a label")
}

pub(crate) fn run_by(number: u16, descriptor: Descriptor) -> Descriptor {
    Descriptor { operator: operator(number), ..descriptor }
}

pub(crate) fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// A network of `relays` relays in which operators, subnets and roles are drawn.
pub(crate) fn random(relays: u16, seed: u64) -> Vec<Descriptor> {
    let mut rng = rng(seed);
    let mut below = |bound: u16| u8::try_from(rng.next_u32() % u32::from(bound)).expect("small bounds");
    let draw = |number| {
        let mut relay = relay(number, ALL);
        relay.operator = operator(u16::from(below(1 + relays / 2)));
        relay.addresses = vec![SocketAddr::from(([10, 0, below(relays), 1 + below(200)], 1 + number))];
        if below(4) == 0 {
            let address = [0xfd00, 1, u16::from(below(relays / 2 + 1)), 4, 0, 0, 0, 1 + number];
            relay.addresses.push(SocketAddr::from((address, 1 + number)));
        }
        relay.roles = Roles { guard: below(3) > 0, middle: below(3) > 0, exit: below(2) > 0, directory: below(2) > 0 };
        relay.bandwidth = RateClass::new(below(53)).expect("a class");
        relay
    };
    (0..relays).map(draw).collect()
}

/// All guards of a network, in the order of their names.
pub(crate) fn guards_of(descriptors: &[Descriptor]) -> Vec<NodeId> {
    descriptors.iter().filter(|relay| relay.roles.guard).map(|relay| relay.node_id).collect()
}

pub(crate) fn choose(
    relays: &Relays,
    rules: PathRules,
    guards: &[NodeId],
    rng: &mut ChaCha20Rng,
) -> Result<Vec<Path>, Refusal> {
    Choice { relays, rules, guards, allows: &|_| true, legs: &[] }.paths(rng)
}

/// Which rule some paths break, looked up in the descriptors alone.
pub(crate) fn broken_rule(descriptors: &[Descriptor], rules: PathRules, paths: &[Path]) -> Option<&'static str> {
    let find = |node: &NodeId| descriptors.iter().find(|relay| relay.node_id == *node);
    if paths.len() != usize::from(rules.legs())
        || paths.iter().any(|path| path.hops().len() != usize::from(rules.hops()))
    {
        return Some("number");
    }
    if paths.iter().any(|path| path.exit() != paths[0].exit()) {
        return Some("one exit");
    }
    let mut on_legs = Vec::new();
    for path in paths {
        let Some(hops) = path.hops().iter().map(find).collect::<Option<Vec<_>>>() else { return Some("unknown relay") };
        let last = hops.len() - 1;
        let roles_fit = hops.iter().enumerate().all(|(place, relay)| {
            let Roles { guard, middle, exit, directory } = relay.roles;
            let ends = match rules.target() {
                Target::Exit => exit,
                Target::Directory => directory,
                Target::ExitAndDirectory => exit && directory,
                Target::Meeting => middle,
            };
            (place > 0 || guard) && (place != last || ends) && (place == 0 || place == last || middle)
        });
        if !roles_fit {
            return Some("role");
        }
        for (place, relay) in hops.iter().enumerate() {
            for other in &hops[..place] {
                if let Some(rule) = too_near(relay, other, rules.relaxation()) {
                    return Some(rule);
                }
            }
        }
        on_legs.push(path.hops()[..last].to_vec());
    }
    let firsts: BTreeSet<NodeId> = paths.iter().map(Path::first).collect();
    if rules.hops() > 1 && firsts.len() != paths.len() {
        return Some("shared guard");
    }
    let apart: Vec<NodeId> = on_legs.concat();
    let shared = apart.iter().collect::<BTreeSet<_>>().len() != apart.len();
    (shared && rules.relaxation() == Relaxation::Nothing).then_some("shared middle")
}

fn too_near(one: &Descriptor, other: &Descriptor, relaxation: Relaxation) -> Option<&'static str> {
    let subnets =
        |relay: &Descriptor| relay.addresses.iter().map(|address| Subnet::of(address.ip())).collect::<BTreeSet<_>>();
    let strict = relaxation < Relaxation::SharedOperators;
    match () {
        () if one.node_id == other.node_id => Some("relay twice"),
        () if strict && one.operator == other.operator => Some("operator"),
        () if strict && !subnets(one).is_disjoint(&subnets(other)) => Some("subnet"),
        () => None,
    }
}
