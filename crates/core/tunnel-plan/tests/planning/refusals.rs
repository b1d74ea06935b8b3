//! Every refusal, word by word.

use crate::network::{ALL, EXIT, INNER, choose, guards_of, id, relay, rng, run_by};
use identity::{DoorKey, LinkKey, NodeId, OnionKey, OperatorSecret};
use network_document::{Charter, Contact, Descriptor, Label, NetworkDocument, Roles};
use std::net::SocketAddr;
use tunnel_plan::{Choice, Path, PathRules, Relaxation, Relays, Target, Ways};

fn rules(hops: u8, legs: u8) -> PathRules {
    PathRules::new(hops, legs).expect("a tunnel")
}

/// What is said when nothing can be chosen.
fn said(descriptors: &[Descriptor], rules: PathRules, guards: &[NodeId]) -> String {
    let refused = choose(&Relays::from_descriptors(descriptors), rules, guards, &mut rng(1));
    refused.expect_err("too small").to_string()
}

fn chosen(descriptors: &[Descriptor], rules: PathRules) -> Vec<Path> {
    let relays = Relays::from_descriptors(descriptors);
    choose(&relays, rules, &guards_of(descriptors), &mut rng(1)).expect("relaxed enough")
}

#[test]
fn exits() {
    let inner: Vec<Descriptor> = (0..4).map(|number| relay(number, INNER)).collect();
    let none = "a path needs a relay with the role `exit`, and of the network's 4 relays none has it; \
                ask the network's operators for more relays";
    assert_eq!(said(&inner, rules(3, 2), &guards_of(&inner)), none);
    assert_eq!(
        said(&[relay(1, EXIT)], rules(1, 1), &[]),
        "a path of one hop needs a relay with the roles `guard` and `exit`, and of the network's 1 with the role `exit` none has both; \
         ask the network's operators for more relays"
    );
    assert_eq!(chosen(&[relay(1, ALL)], rules(1, 1))[0].hops(), [id(1)]);
    let all: Vec<Descriptor> = (0..5).map(|number| relay(number, ALL)).collect();
    let (relays, guards) = (Relays::from_descriptors(&all), guards_of(&all));
    let mut choice = Choice { relays: &relays, rules: rules(3, 2), guards: &guards, allows: &|_| false, legs: &[] };
    assert_eq!(
        choice.paths(&mut rng(1)).expect_err("none is allowed").to_string(),
        "1 exit that may be used is needed, and what was asked for allows 0 of the network's 5; \
         ask for another destination, or the operators for an exit that allows this one"
    );
    let legs = &chosen(&all, rules(3, 2))[..1];
    choice.legs = legs;
    assert_eq!(
        choice.paths(&mut rng(1)).expect_err("the exit is not allowed").to_string(),
        "a further leg leads to the tunnel's exit, which is no longer an exit of the network or not allowed; build a new tunnel"
    );
}

#[test]
fn directories() {
    let directory = Roles { directory: true, ..Roles::default() };
    let to = |hops, target| rules(hops, 1).to(target);
    let mut network: Vec<Descriptor> = (0..4).map(|number| relay(number, ALL)).collect();
    assert_eq!(
        said(&network, to(3, Target::Directory), &guards_of(&network)),
        "a path needs a relay with the role `directory`, and of the network's 4 relays none has it; \
         ask the network's operators for more relays"
    );
    network.push(relay(4, directory));
    assert_eq!(chosen(&network, to(3, Target::Directory))[0].exit(), id(4));
    assert_eq!(chosen(&network, to(2, Target::Directory))[0].exit(), id(4));
    assert_eq!(
        said(&network, to(1, Target::Directory), &guards_of(&network)),
        "a path of one hop needs a relay with the roles `guard` and `directory`, and of the network's 1 with the role \
         `directory` none has both; ask the network's operators for more relays"
    );
    assert_eq!(
        said(&network, to(3, Target::ExitAndDirectory), &guards_of(&network)),
        "a path needs a relay with the role `exit` and `directory`, and of the network's 5 relays none has it; \
         ask the network's operators for more relays"
    );
    network[2].roles.directory = true;
    assert_eq!(chosen(&network, to(3, Target::ExitAndDirectory))[0].exit(), id(2));
    let path = &chosen(&network, to(1, Target::Directory))[0];
    assert_eq!(path.hops(), [id(2)]);
    assert!(path.is_in(&Relays::from_descriptors(&network)));
    network[2].roles.directory = false;
    assert!(!path.is_in(&Relays::from_descriptors(&network)), "it is no longer what the path ends at");
    let both = &mut network[4];
    (both.roles, both.operator) = (Roles { guard: true, ..directory }, crate::network::operator(1));
    assert_eq!(chosen(&network, to(1, Target::Directory))[0].hops(), [id(4)]);
}

#[test]
fn an_invitation_leads_to_its_directory_and_nowhere_else() {
    let operator = OperatorSecret::from_seed([9; 32]).operator_key();
    let charter = Charter::new(Label::new("x", "name").expect("a label"), Default::default(), vec![operator], 1);
    let contact = |number: u8| Contact {
        node_id: id(number.into()),
        link_key: LinkKey([number; 32]),
        door_key: DoorKey::from_bytes([1; 32]),
        onion_key: OnionKey([number; 32]),
        addresses: vec![SocketAddr::from(([10, 0, number, 1], 4433))],
    };
    let document = NetworkDocument::of_contacts(charter.expect("a charter"), (1..4).map(contact).collect());
    let relays = Relays::new(&document.expect("good contacts"));
    let guards: Vec<NodeId> = (1..4).map(id).collect();
    let path = choose(&relays, rules(1, 1).to(Target::Directory), &[], &mut rng(1)).expect("one hop");
    assert_eq!(path[0].hops().len(), 1);
    for (hops, target) in [(1, Target::Exit), (3, Target::Exit), (2, Target::Directory), (3, Target::Directory)] {
        assert_eq!(
            choose(&relays, rules(hops, 1).to(target), &guards, &mut rng(1)).expect_err("no document").to_string(),
            "an invitation leads over one hop to its directory nodes and nowhere else, and there is no document yet; \
             fetch one through a directory tunnel of one hop first"
        );
    }
}

#[test]
fn guards() {
    let middle = Roles { guard: false, middle: true, exit: false, directory: false };
    let mut network = vec![relay(0, INNER), relay(1, middle), relay(2, middle), relay(3, EXIT)];
    assert_eq!(
        said(&network, rules(3, 2), &guards_of(&network)),
        "legs never share a guard, so 2 relays with the role `guard` are needed, and the network has 1; \
         ask for fewer legs, or ask the network's operators for more relays"
    );
    network.push(relay(4, INNER));
    assert_eq!(
        said(&network, rules(3, 2), &[id(0)]),
        "legs never share a guard, so 2 of this client's guards are needed, and 1 can be used now; \
         check this machine's network and wait, they are tried again, or ask for fewer legs"
    );
    assert_eq!(
        said(&network, rules(3, 1), &[]),
        "legs never share a guard, so 1 of this client's guards are needed, and 0 can be used now; \
         check this machine's network and wait, they are tried again"
    );
    network[0] = run_by(3, relay(0, INNER));
    let near = "a guard is not the exit, nor of its operator or subnet, so 2 guards apart from one exit are needed, and no exit \
                has more than 1 of this client's; allow paths within one operator or subnet (its operator may then see both \
                ends), ask for fewer legs, or ask the network's operators for more relays";
    assert_eq!(said(&network, rules(3, 2), &guards_of(&network)), near);
    assert_eq!(chosen(&network, rules(3, 2).relaxed(Relaxation::SharedOperators)).len(), 2);
}

#[test]
fn middles() {
    let four: Vec<Descriptor> = (0..4).map(|number| relay(number, ALL)).collect();
    assert_eq!(
        said(&four, rules(3, 2), &guards_of(&four)),
        "2 middles are needed, of other operators and subnets than their guard and exit and each on one leg only, and of the \
         network's 4 there is room for 1; allow legs to share middles, ask for fewer legs, or ask the network's operators for \
         more relays"
    );
    let relaxed = chosen(&four, rules(3, 2).relaxed(Relaxation::SharedMiddles));
    assert_ne!(relaxed[0].first(), relaxed[1].first());
    // Two operators: each path has one relay too many.
    let two: Vec<Descriptor> = (0..6).map(|number| run_by(number % 2, relay(number, ALL))).collect();
    assert_eq!(
        said(&two, rules(3, 1), &guards_of(&two)),
        "1 middles are needed, of other operators and subnets than their guard and exit and each on one leg only, and of the \
         network's 6 there is room for 0; allow paths within one operator or subnet (its operator may then see both ends), or \
         ask the network's operators for more relays"
    );
    assert_eq!(chosen(&two, rules(2, 1)).len(), 1, "two hops need no middle");
    // Nothing that may be relaxed helps two relays.
    let pair = &two[..2];
    assert!(said(pair, rules(3, 1), &guards_of(pair)).ends_with("for 0; ask the network's operators for more relays"));
    let strictest = rules(3, 2).relaxed(Relaxation::SharedOperators);
    assert!(said(&four[..2], strictest, &guards_of(&four)).contains("legs"), "guards are never shared");
}

/// The table of the README.
#[test]
fn the_least_networks() {
    let of = |count: u16, operators: u16| -> Vec<Descriptor> {
        (0..count).map(|number| run_by(number % operators, relay(number, ALL))).collect()
    };
    let is_enough = |network: &[Descriptor], relaxation| {
        let relays = Relays::from_descriptors(network);
        choose(&relays, rules(3, 2).relaxed(relaxation), &guards_of(network), &mut rng(1)).is_ok()
    };
    let (nothing, middles, operators) = (Relaxation::Nothing, Relaxation::SharedMiddles, Relaxation::SharedOperators);
    assert!(is_enough(&of(5, 3), nothing) && !is_enough(&of(4, 4), nothing) && !is_enough(&of(5, 2), nothing));
    assert!(is_enough(&of(3, 3), middles) && !is_enough(&of(2, 2), middles) && !is_enough(&of(6, 2), middles));
    assert!(is_enough(&of(3, 1), operators) && !is_enough(&of(2, 2), operators));
}

#[test]
fn numbers() {
    let said = |hops, legs| PathRules::new(hops, legs).expect_err("no tunnel").to_string();
    assert_eq!(said(0, 1), "a path has 1 to 3 hops, not 0");
    assert_eq!(said(4, 1), "a path has 1 to 3 hops, not 4");
    assert_eq!(said(3, 0), "a tunnel has 1 to 8 legs, not 0");
    assert_eq!(said(3, 9), "a tunnel has 1 to 8 legs, not 9");
    assert_eq!(said(1, 2), "2 legs of one hop would all lead to the exit itself; use 2 or 3 hops, or one leg");
}

/// Legs of one hop need as many ways to one exit; an exit with fewer is passed over.
#[test]
fn ways() {
    let mut descriptors: Vec<Descriptor> = (1..=4).map(|number| relay(number, ALL)).collect();
    descriptors[2].addresses.push(SocketAddr::from(([10, 9, 9, 9], 4433)));
    let (relays, guards) = (Relays::from_descriptors(&descriptors), guards_of(&descriptors));
    let count = |near: usize, exit: &NodeId| {
        let far = descriptors.iter().find(|relay| relay.node_id == *exit).map_or(&[][..], |relay| &relay.addresses);
        Ways::new(&vec![true; near], far).count()
    };
    let direct = |near: usize, legs: u8, allows: &dyn Fn(&NodeId) -> bool| {
        let rules = PathRules::direct(legs).expect("a tunnel");
        let choice = Choice { relays: &relays, rules, guards: &guards, allows, legs: &[] };
        choice.direct_paths(&|exit| count(near, exit), &mut rng(1))
    };
    let paths = direct(1, 2, &|_| true).expect("one exit has two addresses");
    assert!(paths.len() == 2 && paths.iter().all(|path| path.hops() == [id(3)]));
    assert_eq!(direct(2, 2, &|exit| *exit == id(1)).expect("two ends and one address").len(), 2);
    let refused = direct(1, 3, &|_| true).expect_err("two ways at most");
    assert_eq!(
        refused.to_string(),
        "each leg of one hop takes another way to the exit, from another address of this machine or to another one of the exit's, \
         so 3 ways to one exit are needed, and no exit that may be used has more than 2; name further addresses or interfaces of \
         this machine, of a family that the exit has an address of, ask the exit's operator to announce a further address, or ask \
         for fewer legs"
    );
    let refused = direct(1, 2, &|_| false).expect_err("none is allowed");
    assert!(refused.to_string().starts_with("1 exit that may be used is needed"), "{refused}");
    let rules = PathRules::direct(3).and_then(|rules| rules.with_legs(2));
    assert!(rules.is_ok_and(|rules| rules.has_only_ways() && rules.hops() == 1));
}
