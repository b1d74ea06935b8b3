//! How circuits are cut and end, whoever begins it and whatever is lost.

use crate::net::{CIRCUIT, CLIENT, Cell, Net, node_id, region, relay, spec};
use onion::{Cause, CircuitEvent, Dropped, Neighbour, Position, Reason, RelayEvent, RelaySealError};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use wire::cell::{CellHead, CircuitId, Command};

fn position(number: u8) -> Position {
    Position::new(number).expect("one of three")
}

const LONG: Duration = Duration::from_secs(40);

#[test]
fn a_truncated_circuit_ends_at_its_new_last_hop_and_can_be_extended() {
    let mut net = Net::built(3, 1);
    net.circuit.truncate(net.now, position(1)).expect("a hop of three");
    net.settle();
    assert_eq!(net.events, [CircuitEvent::Truncated { last: position(1) }]);
    assert_eq!(net.circuits(), 1, "what was behind the first hop is gone");
    net.say(1);
    net.settle();
    assert_eq!(net.delivered.last().map(|last| (last.0, last.2)), Some((1, 1)));
    let circuit = net.delivered[0].1;
    net.extend(3);
    net.settle();
    assert_eq!(net.relays[0].poll_event(), Some(RelayEvent::Opened { circuit }));
    assert_eq!(net.relays[0].poll_event(), Some(RelayEvent::NotLast { circuit }));
    assert_eq!(net.relays[0].poll_event(), None);
    assert_eq!(net.relays[0].seal(net.now, circuit, &mut region()), Err(RelaySealError::NotLast));
    assert_eq!(net.circuit.path().collect::<Vec<_>>(), [node_id(1), node_id(3)]);
    net.say(2);
    net.settle();
    assert_eq!(net.delivered.last().map(|last| (last.0, last.2)), Some((3, 2)));
}

/// Cells that a circuit change overtakes are dropped: they are neither handed to the wrong hop nor delivered by it.
#[test]
fn cells_from_before_a_change_are_stale() {
    let mut net = Net::built(2, 2);
    let held: Rc<RefCell<Vec<Cell>>> = Rc::default();
    let hold = Rc::clone(&held);
    net.set_filter(move |cell| {
        let first = cell.from == CLIENT && hold.borrow().is_empty();
        if first {
            hold.borrow_mut().push(cell.clone());
        }
        !first
    });
    net.say(1);
    net.circuit.truncate(net.now, position(1)).expect("a hop of two");
    net.settle();
    // Sealed for the second hop, it now comes to the first, which is the last: not for it.
    let late = held.borrow()[0].clone();
    net.deliver(late);
    assert_eq!(net.delivered, []);
    assert_eq!(net.relays[0].counters().dropped.get(&Dropped::Stale), Some(&1));

    // The other way: a cell for the last hop is overtaken by an extension. The next hop does not get it.
    held.borrow_mut().clear();
    net.say(2);
    net.clear_filter();
    net.extend(2);
    net.settle();
    let late = held.borrow()[0].clone();
    net.deliver(late);
    net.settle();
    assert_eq!(net.delivered, []);
    assert_eq!(net.relays[0].counters().dropped.get(&Dropped::Stale), Some(&2));
    assert_eq!(net.relays[1].counters().dropped.get(&Dropped::Forged), None);
}

#[test]
fn answers_from_before_a_change_are_stale() {
    let mut net = Net::built(1, 3);
    net.say(1);
    net.settle();
    let circuit = net.delivered[0].1;
    let held: Rc<RefCell<Vec<Cell>>> = Rc::default();
    let hold = Rc::clone(&held);
    net.set_filter(move |cell| {
        hold.borrow_mut().push(cell.clone());
        false
    });
    net.answer(1, circuit, 9);
    net.clear_filter();
    net.circuit.truncate(net.now, position(1)).expect("the only hop");
    net.settle();
    let late = held.borrow()[0].clone();
    net.deliver(late);
    assert_eq!((net.answers.as_slice(), net.dropped.as_slice()), (&[][..], &[Dropped::Stale][..]));
}

#[test]
fn a_destroyed_circuit_is_forgotten_everywhere() {
    let mut net = Net::built(3, 4);
    net.say(1);
    net.settle();
    let (_, circuit, _) = net.delivered[0];
    assert_eq!(net.relays[2].poll_event(), Some(RelayEvent::Opened { circuit }));
    net.circuit.destroy(net.now);
    net.settle();
    assert_eq!(net.events, [CircuitEvent::Closed { cause: Cause::Asked }]);
    assert!(net.circuit.is_finished());
    assert_eq!(net.circuits(), 0);
    let closed = RelayEvent::Closed { circuit, reason: Reason::Finished };
    assert_eq!(net.relays[2].poll_event(), Some(closed));
    assert_eq!(net.relays[2].seal(net.now, circuit, &mut region()), Err(RelaySealError::Unknown));
    assert!(net.relays.iter_mut().all(|relay| relay.poll_event().is_none()));
}

/// The exit learns that the client is done, never why.
#[test]
fn an_ending_goes_outward_without_its_reason() {
    let mut net = Net::built(3, 5);
    let reasons = Rc::new(RefCell::new(Vec::new()));
    let see = Rc::clone(&reasons);
    net.set_filter(move |cell| {
        if cell.head.command == Command::Destroy {
            see.borrow_mut().push((cell.to, Reason::from(cell.region[0])));
        }
        true
    });
    net.relays[0].handle_link_down(net.now, Neighbour(0));
    net.settle();
    assert_eq!(*reasons.borrow(), [(2, Reason::Finished), (3, Reason::Finished)]);
    assert_eq!(net.circuits(), 0);
}

#[test]
fn every_single_lost_cell_of_an_ending_is_made_good() {
    for lost in 0..6 {
        let mut net = Net::built(3, 6);
        net.say(0);
        net.settle();
        let mut number = 0;
        net.set_filter(move |cell| {
            let ending = matches!(cell.head.command, Command::Destroy | Command::Destroyed);
            number += usize::from(ending);
            !ending || number != lost + 1
        });
        net.circuit.destroy(net.now);
        net.run(LONG);
        assert!(net.circuit.is_finished());
        assert_eq!(net.circuits(), 0, "without cell {lost}; circuits that were used do not end of themselves so soon");
        assert!(net.relays.iter().all(|relay| relay.poll_timeout().is_none()), "nothing is left to do");
    }
}

#[test]
fn every_single_lost_cell_of_a_truncation_is_made_good() {
    for lost in 0..10 {
        let mut net = Net::built(3, 7);
        net.say(0);
        net.settle();
        let mut number = 0;
        net.set_filter(move |_| {
            number += 1;
            number != lost + 1
        });
        net.circuit.truncate(net.now, position(2)).expect("a hop of three");
        net.run(LONG);
        assert_eq!(net.events, [CircuitEvent::Truncated { last: position(2) }], "without cell {lost}");
        assert_eq!(net.circuits(), 2);
    }
}

#[test]
fn a_relay_that_restarts_is_noticed() {
    let mut net = Net::built(3, 8);
    net.relays[1] = relay(2, 99);
    net.say(1);
    net.settle();
    let reason = Reason::UnknownCircuit;
    assert_eq!(net.events, [CircuitEvent::Severed { last: position(1), reason }]);
    assert_eq!(net.circuit.path().collect::<Vec<_>>(), [node_id(1)]);
    assert!(!net.circuit.is_ready());
    net.extend(2);
    net.settle();
    net.extend(3);
    net.settle();
    net.say(2);
    net.settle();
    assert_eq!(net.delivered.last().map(|last| (last.0, last.2)), Some((3, 2)));
    // The circuit that the third relay had over the old second one is gone, or goes when it is idle.
    net.run(Duration::from_secs(700));
    assert_eq!(net.circuits(), 0, "idle circuits end");
}

#[test]
fn the_first_relay_restarts() {
    let mut net = Net::built(2, 9);
    net.relays[0] = relay(1, 99);
    net.say(1);
    net.settle();
    assert_eq!(net.events, [CircuitEvent::Closed { cause: Cause::Told(Reason::UnknownCircuit) }]);
    assert!(net.circuit.is_finished());
}

#[test]
fn a_link_that_goes_down_severs_and_the_news_is_repeated() {
    let mut net = Net::built(3, 10);
    let mut lost = 3;
    net.set_filter(move |cell| {
        let news = cell.to == CLIENT;
        lost -= i32::from(news && lost > 0);
        !(news && lost > 0)
    });
    net.relays[1].handle_link_down(net.now, Neighbour(3));
    net.settle();
    for byte in 0..20 {
        if net.circuit.is_ready() {
            net.say(byte);
        }
        net.settle();
    }
    let severed = CircuitEvent::Severed { last: position(2), reason: Reason::LinkDown };
    assert_eq!(net.events, [severed]);
    assert_eq!(net.delivered, []);
}

#[test]
fn what_cannot_be_reached_is_refused_by_name() {
    let mut net = Net::built(1, 11);
    let failed = |reason| CircuitEvent::ExtendFailed { cause: Cause::Told(reason) };
    net.extend(2);
    net.settle();
    net.relays.push(relay(2, 2));
    net.unreachable = vec![2];
    net.extend(2);
    net.settle();
    net.unreachable.clear();
    net.relays[0].drain();
    net.extend(2);
    net.settle();
    assert_eq!(net.events, [failed(Reason::UnknownNode), failed(Reason::Unreachable), failed(Reason::Draining)]);
    net.events.clear();
    assert!(!net.circuit.is_ready(), "after a failure the circuit is truncated first");
    net.circuit.truncate(net.now, position(1)).expect("the last hop");
    net.settle();
    net.say(1);
    net.settle();
    assert_eq!(net.delivered.last().map(|last| (last.0, last.2)), Some((1, 1)));
}

#[test]
fn a_relay_that_never_answers_is_given_up() {
    let mut net = Net::built(1, 12);
    net.relays.push(relay(2, 2));
    net.set_filter(|cell| cell.to != 2);
    net.extend(2);
    net.run(LONG);
    assert_eq!(net.events, [CircuitEvent::ExtendFailed { cause: Cause::TimedOut }]);
    net.set_filter(|cell| cell.to != 1);
    net.circuit.truncate(net.now, position(1)).expect("the last hop");
    net.run(LONG);
    assert_eq!(net.events.last(), Some(&CircuitEvent::Closed { cause: Cause::TimedOut }));
    net.run(LONG);
    assert!(net.circuit.is_finished());
}

/// A relay that answers in the place of another: it does not have that one's key.
#[test]
fn an_impostor_is_given_up_after_some_answers() {
    let mut net = Net::new(1, 13);
    net.set_filter(|cell| {
        if cell.head.command == Command::Created {
            cell.region[100] ^= 1;
        }
        true
    });
    net.run(LONG);
    assert_eq!(net.events, [CircuitEvent::Closed { cause: Cause::Handshake }]);
    net.run(LONG);
    assert_eq!(net.circuits(), 0, "the relay was told, and forgot the half-open circuit");
}

#[test]
fn half_open_circuits_are_forgotten() {
    let mut net = Net::new(1, 14);
    net.set_filter(|cell| cell.to != CLIENT && cell.head.command != Command::Destroy);
    net.run(Duration::from_millis(400));
    assert_eq!(net.circuits(), 1);
    net.run(LONG);
    assert_eq!(net.circuits(), 0);
    assert_eq!(net.events, [CircuitEvent::Closed { cause: Cause::TimedOut }]);
}

/// A request that was overtaken by a later one changes nothing.
#[test]
fn an_old_request_is_ignored() {
    let mut net = Net::built(1, 17);
    net.relays.push(relay(2, 2));
    let held: Rc<RefCell<Vec<Cell>>> = Rc::default();
    let hold = Rc::clone(&held);
    net.set_filter(move |cell| {
        hold.borrow_mut().push(cell.clone());
        false
    });
    net.circuit.truncate(net.now, position(1)).expect("the only hop");
    net.run(Duration::from_millis(1));
    net.clear_filter();
    net.run(Duration::from_secs(1));
    net.extend(2);
    net.settle();
    net.say(1);
    net.settle();
    assert_eq!(net.delivered.last().map(|last| (last.0, last.2)), Some((2, 1)));
    let late = held.borrow()[0].clone();
    net.deliver(late);
    net.say(2);
    net.settle();
    assert_eq!(net.delivered.last().map(|last| (last.0, last.2)), Some((2, 2)), "the second hop is still there");
    assert_eq!(net.relays[0].counters().dropped.get(&Dropped::Stale), Some(&1));
}

/// A hop that the client has not spoken to gets nothing through, and another node's cells get nowhere.
#[test]
fn a_next_hop_speaks_only_after_the_client() {
    let mut net = Net::built(1, 18);
    net.relays.push(relay(2, 2));
    let id = Rc::new(RefCell::new(None));
    let see = Rc::clone(&id);
    net.set_filter(move |cell| {
        if cell.head.command == Command::Create {
            *see.borrow_mut() = Some(cell.head.circuit);
        }
        true
    });
    net.extend(2);
    net.settle();
    let circuit = id.borrow().expect("a first message went on");
    let head = CellHead { circuit, command: Command::Relay };
    let back = |net: &mut Net, from| {
        let before = net.relays[0].counters().forwarded;
        net.deliver(Cell { from, to: 1, head, region: region() });
        net.relays[0].counters().forwarded - before
    };
    assert_eq!(back(&mut net, 2), 0, "the client has not spoken to it");
    net.say(1);
    net.settle();
    assert_eq!((back(&mut net, 3), back(&mut net, 2)), (0, 1));
}

/// A client that builds and then says nothing loses the hop, and learns it when it speaks.
#[test]
fn a_hop_that_is_not_spoken_to_is_forgotten() {
    let mut net = Net::built(2, 16);
    net.run(LONG);
    assert_eq!(net.events, [CircuitEvent::Severed { last: position(1), reason: Reason::TimedOut }]);
    assert_eq!(net.circuits(), 1);
}

#[test]
fn cells_of_no_circuit_are_answered_seldom() {
    let mut net = Net::built(1, 15);
    let stranger = CellHead { circuit: CircuitId(CIRCUIT.0 + 5), command: Command::Relay };
    for _ in 0..5_000 {
        net.deliver(Cell { from: CLIENT, to: 1, head: stranger, region: region() });
    }
    net.set_filter(|_| false);
    let before = net.sent;
    net.settle();
    assert_eq!(net.sent - before, 100);
    assert_eq!(net.relays[0].counters().dropped.get(&Dropped::UnknownCircuit), Some(&5_000));
    let of_link = CellHead { circuit: CircuitId::LINK, command: Command::Create };
    net.deliver(Cell { from: CLIENT, to: 1, head: of_link, region: region() });
    assert_eq!(net.circuits(), 1, "circuit 0 is the link's");
    assert_eq!(spec(1).node_id, node_id(1));
}

#[test]
fn a_relay_that_has_waited_long_enough_ends_its_circuits_in_steps() {
    let mut net = Net::built(3, 9);
    net.say(1);
    net.settle();
    assert_eq!(net.relays[0].destroy_some(net.now, Reason::Draining, 0), 0);
    assert_eq!(net.relays[0].destroy_some(net.now, Reason::Draining, 8), 1);
    assert!(net.relays[0].is_leaving());
    net.settle();
    assert_eq!(net.events, [CircuitEvent::Closed { cause: Cause::Told(Reason::Draining) }]);
    assert_eq!(net.circuits(), 0);
    assert!(!net.relays[0].is_leaving(), "both sides know");
}

/// Both ends give a cell the same number, which feedback about legs is counted in.
#[test]
fn both_ends_count_cells_alike() {
    let mut net = Net::built(3, 10);
    let before = net.circuit.sealed();
    for byte in 0..3 {
        net.say(byte);
    }
    net.settle();
    assert_eq!(net.circuit.sealed(), before + 3);
    assert_eq!(net.numbers, [before, before + 1, before + 2]);
    let (node, circuit, _) = net.delivered[0];
    let sealed = net.relays[2].sealed(circuit).expect("it is there");
    net.answer(node, circuit, 1);
    net.settle();
    assert_eq!(net.relays[2].sealed(circuit), Some(sealed + 1));
    assert_eq!(net.numbers.last(), Some(&sealed));
    assert_eq!(net.relays[0].circuits_of(Neighbour(0)), 1);
}
