//! How circuits are built and used where nothing goes wrong, and what single losses cost.

use crate::net::{COMMON, INNER, Net, is_create, node_id, region, spec};
use onion::{CircuitEvent, CommandError, Dropped, Position, SealError};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use wire::cell::Command;

fn position(number: u8) -> Position {
    Position::new(number).expect("one of three")
}

#[test]
fn three_hops_are_built_and_carry_cells_both_ways() {
    let mut net = Net::new(3, 1);
    assert!(!net.circuit.is_ready());
    assert_eq!(net.circuit.seal(net.now, &mut region()), Err(SealError::NotReady));
    assert_eq!(net.circuit.extend(net.now, spec(2)), Err(CommandError::Busy));
    net.settle();
    assert_eq!(net.events, [CircuitEvent::Extended { position: position(1) }]);
    for node in [2, 3] {
        net.extend(node);
        net.settle();
    }
    assert_eq!(net.circuit.path().collect::<Vec<_>>(), [node_id(1), node_id(2), node_id(3)]);
    for hop in 1..=3 {
        let figures = net.circuit.hop(position(hop)).expect("it is built");
        assert_eq!(figures.features, COMMON);
        let trip = Duration::from_millis(20) * u32::from(hop);
        assert_eq!(figures.handshake_time, Some(trip), "10 ms each way and hop");
        let of_relay = net.delivered.is_empty() && net.relays[usize::from(hop) - 1].circuits() == 1;
        assert!(of_relay);
    }
    for byte in 0..50 {
        net.say(byte);
        net.settle();
        let (node, circuit, came) = *net.delivered.last().expect("it was delivered");
        assert_eq!((node, came), (3, byte));
        net.answer(3, circuit, byte ^ 0xff);
    }
    net.settle();
    assert_eq!(net.answers, (0..50).map(|byte| byte ^ 0xff).collect::<Vec<u8>>());
    assert_eq!(net.dropped, []);
    assert_eq!(net.circuit.extend(net.now, spec(4)), Err(CommandError::TooLong));
    assert_eq!(net.circuit.truncate(net.now, position(3)), Ok(()));
}

#[test]
fn both_ends_have_one_binding_key() {
    let mut net = Net::built(2, 2);
    net.say(1);
    net.settle();
    let (_, circuit, _) = net.delivered[0];
    let theirs = net.relays[1].binding_key(circuit).map(|key| *key.expose());
    assert!(theirs.is_some());
    assert_eq!(net.circuit.binding_key(position(2)).map(|key| *key.expose()), theirs);
    assert_ne!(net.circuit.binding_key(position(1)).map(|key| *key.expose()), theirs);
    assert_eq!(net.relays[1].features(circuit), Some(COMMON));
}

#[test]
fn a_relay_is_a_hop_only_once() {
    let mut net = Net::built(2, 3);
    assert_eq!(net.circuit.extend(net.now, spec(1)), Err(CommandError::Twice));
    assert_eq!(net.circuit.truncate(net.now, position(3)), Err(CommandError::NoSuchHop));
}

/// Each single cell of the building of three hops is lost once: the circuit is built all the same, by as many handshakes.
#[test]
fn every_single_lost_cell_is_made_good() {
    let mut whole = Net::new(3, 4);
    build_all(&mut whole);
    let cells = whole.sent;
    assert!(cells > 12, "{cells} cells");
    for lost in 0..cells {
        let mut net = Net::new(3, 4);
        let mut number = 0;
        net.set_filter(move |_| {
            number += 1;
            number != lost + 1
        });
        build_all(&mut net);
        assert_eq!(net.circuit.path().count(), 3, "without cell {lost}");
        let handshakes: u64 = net.relays.iter().map(|relay| relay.counters().handshakes).sum();
        assert_eq!(handshakes, 3, "a repeated message is no further handshake (cell {lost})");
        assert_eq!(net.circuits(), 3);
        net.say(7);
        net.settle();
        assert_eq!(net.delivered.last().map(|last| (last.0, last.2)), Some((3, 7)));
    }
}

fn build_all(net: &mut Net) {
    for node in 1..=3 {
        if node > 1 {
            net.extend(node);
        }
        net.run(Duration::from_secs(2));
    }
}

#[test]
fn a_repeated_first_message_gets_the_same_bytes_until_the_client_is_heard() {
    let mut net = Net::new(1, 5);
    let answers = Rc::new(RefCell::new(Vec::new()));
    let (seen, mut kept) = (Rc::clone(&answers), None);
    let create = Rc::new(RefCell::new(None));
    let keep = Rc::clone(&create);
    net.set_filter(move |cell| {
        if cell.head.command == Command::Created {
            seen.borrow_mut().push(cell.region.clone());
            return seen.borrow().len() > 3;
        }
        if cell.head.command == Command::Create && kept.is_none() {
            kept = Some(());
            *keep.borrow_mut() = Some(cell.clone());
        }
        true
    });
    net.run(Duration::from_secs(5));
    assert!(net.circuit.is_ready());
    assert_eq!(answers.borrow().len(), 4);
    assert!(answers.borrow().iter().all(|answer| *answer == answers.borrow()[0]));
    assert_eq!((net.relays[0].circuits(), net.relays[0].counters().handshakes), (1, 1));
    assert_eq!(net.circuit.hop(position(1)).and_then(|hop| hop.handshake_time), None, "which one was answered?");
    // Another first message under this id is none of this circuit's, and is not answered either.
    let mut other = create.borrow().clone().expect("a first message was sent");
    other.region[50] ^= 1;
    let unexpected =
        |net: &Net| net.relays[0].counters().dropped.get(&Dropped::Unexpected).copied().unwrap_or_default();
    net.deliver(other);
    net.settle();
    assert_eq!((answers.borrow().len(), unexpected(&net)), (4, 1));
    // Once the client has used the circuit, a late copy of its first message is not answered.
    net.say(1);
    net.settle();
    let copy = create.borrow().clone().expect("a first message was sent");
    net.deliver(copy);
    net.settle();
    assert_eq!((answers.borrow().len(), unexpected(&net)), (4, 2));
}

#[test]
fn parts_of_an_extend_may_come_in_any_order() {
    let mut net = Net::built(1, 6);
    net.relays.push(crate::net::relay(2, 2));
    let held = Rc::new(RefCell::new(Vec::new()));
    let hold = Rc::clone(&held);
    net.set_filter(move |cell| {
        let extend = cell.to == 1 && cell.head.command == Command::Relay;
        if extend && hold.borrow().len() < 2 {
            hold.borrow_mut().push(cell.clone());
            return false;
        }
        true
    });
    net.extend(2);
    net.run(Duration::from_millis(50));
    let cells: Vec<_> = held.borrow().clone();
    assert_eq!(cells.len(), 2, "an extend takes two cells");
    for cell in cells.into_iter().rev() {
        net.deliver(cell);
    }
    net.run(Duration::from_millis(200));
    assert_eq!(net.circuit.path().count(), 2);
}

#[test]
fn a_middle_relay_cannot_alter_anything() {
    for target in 1..=3 {
        let mut net = Net::built(3, 7);
        let mut place = 0;
        net.set_filter(move |cell| {
            if cell.to == target && !is_create(cell) {
                cell.region[place * 13 % 1265] ^= 1 << (place % 8);
                place += 1;
            }
            true
        });
        for byte in 0..100 {
            net.say(byte);
        }
        net.settle();
        assert_eq!(net.delivered, [], "altered before hop {target}");
        assert_eq!(net.relays[target - 1].counters().dropped.get(&Dropped::Forged), Some(&100));
        net.clear_filter();
        net.say(5);
        net.settle();
        assert_eq!(net.delivered.len(), 1, "the circuit goes on");
    }
}

#[test]
fn what_a_relay_writes_behind_the_layers_goes_one_link_far() {
    let mut net = Net::built(3, 8);
    let arrived = Rc::new(RefCell::new(Vec::new()));
    let see = Rc::clone(&arrived);
    net.set_filter(move |cell| {
        match cell.to {
            2 => cell.region[1289..].fill(0x77),
            3 => see.borrow_mut().push(cell.region[1265..].to_vec()),
            _ => {}
        }
        true
    });
    net.say(1);
    net.settle();
    assert_eq!(net.delivered.len(), 1);
    let mark = [0x77; 8];
    assert!(!arrived.borrow()[0].windows(8).any(|bytes| bytes == mark));
}

#[test]
fn cells_look_alike_to_each_link() {
    let mut net = Net::built(3, 9);
    let heads = Rc::new(RefCell::new(BTreeMap::new()));
    let see = Rc::clone(&heads);
    net.set_filter(move |cell| {
        let first: [u8; 8] = cell.region[..8].try_into().expect("eight bytes");
        *see.borrow_mut().entry(first).or_insert(0) += 1;
        true
    });
    for byte in 0..20 {
        net.say(byte);
    }
    net.settle();
    assert!(heads.borrow().values().all(|count| *count == 1), "a number came twice");
    assert_eq!(heads.borrow().len(), 60);
    assert_eq!(INNER, 72);
}
