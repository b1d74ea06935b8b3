//! Three relays with real sockets, each in its thread, and a client made of the cores.

mod client;
mod rig;

use circuit_relay::{CircuitRelay, Handle, JoinPoint, NothingJoined, RelaySettings, StartError};
use client::Client;
use link::{HopConfig, Now};
use network_document::NetworkDocument;
use onion::{CircuitEvent, CircuitKey, Reason};
use port_hopping::causes::{ByteBudget, Timers, UnsafeTimers};
use port_hopping::interval::Interval;
use relay_node::{NodeEvent, RelayNode, RelayNodeConfig};
use rig::{addresses, document, node_id, settings};
use std::net::UdpSocket;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

/// Sends back what comes out of circuits.
struct Echo;

impl JoinPoint for Echo {
    fn handle_inner(&mut self, now: Now, circuit: CircuitKey, _: u64, inner: &[u8], node: &mut RelayNode) {
        node.send_inner(now, circuit, inner).expect("a cell just came from there");
    }

    fn handle_event(&mut self, _: Now, _: NodeEvent, _: &mut RelayNode) {}

    fn handle_timeout(&mut self, _: Now, _: &mut RelayNode) {}

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
}

struct Running {
    handle: Handle,
    thread: JoinHandle<std::io::Result<()>>,
}

fn start<J: JoinPoint + Send + 'static>(settings: RelaySettings, join: J) -> Running {
    let relay = CircuitRelay::new(settings, join).expect("a relay");
    let handle = relay.handle();
    Running { handle, thread: std::thread::spawn(move || relay.run()) }
}

impl Running {
    fn stop(self) {
        self.handle.stop();
        self.thread.join().expect("no panic").expect("its sockets held");
    }
}

fn network() -> (NetworkDocument, [Running; 3]) {
    let addresses = addresses(3);
    let document = document(&addresses);
    let relays = [
        start(settings(1, addresses[0], &document), NothingJoined),
        start(settings(2, addresses[1], &document), NothingJoined),
        start(settings(3, addresses[2], &document), Echo),
    ];
    (document, relays)
}

#[test]
fn cells_go_through_three_relays_and_back() {
    let (document, relays) = network();
    let mut client = Client::dial(document, &node_id(1), [50; 32]);
    client.open(&[node_id(1), node_id(2), node_id(3)]);
    assert!(client.run_until(SOON, |client| client.is_built(3)), "{:?}", client.events);
    for byte in 0..200 {
        client.say(byte);
        if byte % 20 == 19 {
            let all = usize::from(byte) + 1;
            assert!(client.run_until(SOON, |client| client.answers.len() == all), "{} of {all}", client.answers.len());
        }
    }
    assert_eq!(client.answers, (0..200).collect::<Vec<u8>>(), "loopback keeps their order, and so do relays");
    for (place, relay) in relays.into_iter().enumerate() {
        let handle = relay.handle.clone();
        relay.stop();
        let last = handle.snapshot();
        let minimum = if place == 2 { 200 } else { 400 };
        assert!(last.sent >= minimum && last.dropped == 0, "relay {place}: {last}");
        assert_eq!(last.circuits, 0);
        assert!(last.to_string().contains("0 circuits"));
    }
}

/// Links of relays hop as links of a pair do, and who uses the circuit notices nothing.
#[test]
fn links_between_relays_hop_and_no_cell_is_lost() {
    let addresses = addresses(3);
    let document = document(&addresses);
    let interval = Interval::new(Duration::from_millis(300), Duration::from_millis(500)).expect("in order");
    let timers = Timers::below_floor(interval, ByteBudget::DEFAULT, UnsafeTimers);
    let hopping = |relay: u8| {
        let address = addresses[usize::from(relay) - 1];
        let mut settings = settings(relay, address, &document);
        let hops = RelayNodeConfig::hops_of(&document, &node_id(relay), address.port());
        assert!(hops.offer.is_some());
        settings.node.hops = Some(HopConfig { timers, ..hops });
        settings
    };
    let relays = [start(hopping(1), NothingJoined), start(hopping(2), NothingJoined), start(hopping(3), Echo)];
    let mut client = Client::dial(document.clone(), &node_id(1), [52; 32]);
    client.open(&[node_id(1), node_id(2), node_id(3)]);
    assert!(client.run_until(SOON, |client| client.is_built(3)), "{:?}", client.events);
    let (begun, mut said) = (Instant::now(), 0_usize);
    let hops = || relays.iter().map(|relay| relay.handle.snapshot().hops).collect::<Vec<_>>();
    // The guard dials the middle, the middle dials the exit; the client does not hop.
    while hops().iter().zip([3, 6, 3]).any(|(hops, least)| *hops < least) {
        assert!(begun.elapsed() < SOON, "{:?} hops", hops());
        client.say(said as u8);
        said += 1;
        assert!(client.run_until(SOON, |client| client.answers.len() == said), "{} of {said}", client.answers.len());
    }
    for (place, relay) in relays.into_iter().enumerate() {
        let handle = relay.handle.clone();
        relay.stop();
        let last = handle.snapshot();
        assert_eq!((last.dropped, last.send_failed), (0, 0), "relay {place}: {last}");
    }
}

#[test]
fn a_relay_that_is_stopped_ends_its_circuits_by_name() {
    let (document, [guard, middle, exit]) = network();
    let mut client = Client::dial(document, &node_id(1), [51; 32]);
    client.open(&[node_id(1), node_id(2), node_id(3)]);
    assert!(client.run_until(SOON, |client| client.is_built(3)), "{:?}", client.events);
    middle.handle.stop();
    let severed =
        |client: &Client| matches!(client.events.last(), Some(CircuitEvent::Severed { reason: Reason::Draining, .. }));
    assert!(client.run_until(SOON, severed), "{:?}", client.events);
    middle.stop();
    guard.stop();
    exit.stop();
}

#[test]
fn what_keeps_a_relay_from_starting_is_said() {
    let addresses = addresses(2);
    let document = document(&addresses);
    let taken = UdpSocket::bind(addresses[0]).expect("free just now");
    let error = CircuitRelay::new(settings(1, addresses[0], &document), NothingJoined).err();
    assert!(matches!(&error, Some(StartError::Listen { address, .. }) if *address == addresses[0]), "{error:?}");
    drop(taken);
    let error = CircuitRelay::new(settings(9, addresses[0], &document), NothingJoined).err();
    assert!(matches!(&error, Some(StartError::Config(_))), "{error:?}");
}
