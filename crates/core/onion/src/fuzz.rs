//! The fuzz bodies of all that reads what another node wrote: run by libFuzzer and, over the committed corpora, by
//! `cargo test`.

use crate::handshake::{Features, Hello, Initiation, answer};
use crate::keys::BindingKey;
use crate::layer::{ClientLayers, RelayLayers};
use crate::message::{Reply, Request, read_extend_message};
use crate::parts::{Assembly, PARTS_MAX, Part, count};
use crate::service::{Ask, Asked, Cookie, ServiceKey, introduction_proof};
use crate::{
    CELLS_PER_NEIGHBOUR_MAX, Circuit, CircuitConfig, CircuitEvent, Dialled, Handled, Interval, Neighbour, Network,
    OnionKeys, OnionSecret, Position, Received, Relay, RelayConfig, RelaySpec, Unreachable,
};
use identity::{NodeId, NodeSecret};
use packet_crypto::filler::Filler;
use std::time::{Duration, Instant};
use wire::cell::{CellHead, CircuitId, Command};
use wire::packet::PacketSize;

pub(crate) const NETWORK: Network = Network { id: [1; 32], packet_size: PacketSize::DEFAULT };
pub(crate) const NODE: NodeId = NodeId([2; 32]);
/// The circuit that is made before the input is read; at a relay, the second one is too.
const GOOD: CircuitId = CircuitId(CircuitId::DIALLER_BIT | 1);
const GOOD_TOO: CircuitId = CircuitId(CircuitId::DIALLER_BIT | 2);
/// Bytes of kind, request and head of a part in front of the bytes of an ask.
const ASK_HEAD_LEN: usize = 8;

/// Parts and control messages: read or refused; what is read is written and reads the same; assemblies stay bounded.
///
/// # Panics
/// When a promise is broken: that is the finding.
pub fn onion_message(input: &[u8]) {
    let mut body = vec![0; input.len() + 64];
    if let Ok(part) = Part::read(input) {
        assert!(usize::from(part.count) <= PARTS_MAX && part.index < part.count, "a part of few");
        part.write(&mut body);
        assert_eq!(Part::read(&body), Ok(part), "a part reads as it was written");
        let mut assembly = Assembly::default();
        for _ in 0..3 {
            let message = assembly.take(&part);
            assert_eq!(message.is_some(), part.count == 1, "one part of two is never a message");
            let length = message.map_or(0, |message| message.len());
            assert!(count(length, 64).is_some_and(|count| usize::from(count) <= PARTS_MAX) || length > 64);
        }
    }
    if let Ok((number, request)) = Request::read(input) {
        request.write(number, &mut body);
        assert_eq!(Request::read(&body), Ok((number, request)), "a request reads as it was written");
    }
    if let Ok((number, reply)) = Reply::read(input) {
        reply.write(number, &mut body);
        assert_eq!(Reply::read(&body), Ok((number, reply)), "a reply reads as it was written");
    }
    for ask in (0..=u8::MAX).filter_map(Ask::new) {
        if let Some(asked) = Asked::read(ask, input) {
            assert_eq!(asked.write(), (ask, input.to_vec()), "an ask is written as it was read");
        }
    }
    if let Ok((node, first)) = read_extend_message(input) {
        assert_eq!(crate::message::extend_message(&node, first), input, "an extend message has two parts");
    }
}

/// One piece of an input: `control 1 | length 2 | bytes`.
fn pieces(mut input: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [control, high, low, rest @ ..] = input else { return None };
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (piece, behind) = rest.split_at(length);
        input = behind;
        Some((*control, piece))
    })
}

/// A region that begins with these bytes.
fn region(piece: &[u8]) -> Vec<u8> {
    let mut region = vec![0; NETWORK.packet_size.region()];
    let length = piece.len().min(region.len());
    region[..length].copy_from_slice(&piece[..length]);
    region
}

fn command(control: u8) -> Command {
    [Command::Relay, Command::Create, Command::Created, Command::Destroy, Command::Destroyed]
        [usize::from(control & 7) % 5]
}

pub(crate) fn keys() -> OnionKeys {
    OnionKeys::new(Interval(1), OnionSecret::from_bytes([3; 32]))
}

/// Feeds a relay that has two good circuits with cells of their clients and of two neighbours.
///
/// Bits 0 to 2 of a control byte choose the command, bits 3 and 4 neighbour and circuit; with bit 7 the bytes are sealed
/// by a good circuit's client (the second one's if bit 4 is set), as a control message if bit 6 is set; bit 5 lets time pass. A request
/// to be an introduction point gets a good signature.
///
/// # Panics
/// When a stranger's cell gets anywhere, or a bound is broken: that is the finding.
pub fn onion_relay(input: &[u8], start: Instant) {
    let config = RelayConfig {
        circuits_max: 8,
        circuits_per_neighbour: 4,
        features: Features::RENDEZVOUS,
        ..RelayConfig::new(NETWORK, NODE)
    };
    let (mut relay, mut now) = (Relay::new(config, keys(), [4; 32]), start);
    let (Some(first), Some(second)) =
        (good_circuit(&mut relay, now, (Neighbour(1), GOOD)), good_circuit(&mut relay, now, (Neighbour(1), GOOD_TOO)))
    else {
        return;
    };
    let mut clients = [first, second];
    for (control, piece) in pieces(input) {
        let from = Neighbour(1 + u32::from(control >> 3 & 1));
        let circuit = CircuitId(GOOD.0 + u32::from(control >> 4 & 1));
        let (mut cell, sealed) = (region(piece), control & 128 != 0);
        let handled = if sealed {
            let ((client, binding), circuit) = (&mut clients[usize::from(control >> 4 & 1)], circuit);
            sign(&mut cell, binding);
            let room = cell.len() - 24;
            cell.copy_within(..room, 24);
            let worn = client.seal(Position::FIRST, control & 64 != 0, &mut cell);
            worn.expect("an input is far shorter than the limit of a key");
            relay.handle_cell(now, Neighbour(1), CellHead { circuit, command: Command::Relay }, &mut cell)
        } else {
            relay.handle_cell(now, from, CellHead { circuit, command: command(control) }, &mut cell)
        };
        let carried = matches!(handled, Handled::Forward { .. } | Handled::Inner { .. });
        assert!(sealed || !carried, "a cell that nobody sealed got through: {handled:?}");
        while let Some(order) = relay.poll_order() {
            if control & 8 == 0 {
                relay.connected(now, order.circuit, Neighbour(2), Dialled::ByUs);
            } else {
                relay.not_connected(order.circuit, Unreachable::NoLink);
            }
        }
        if control & 32 != 0 {
            now += Duration::from_millis(700);
            relay.handle_timeout(now);
        }
        assert!(relay.circuits() <= 8, "more circuits than there may be");
        assert!(relay.is_consistent(), "an id leads to a circuit that does not have it");
        while relay.poll_event().is_some() {}
        let waiting: Vec<Neighbour> = relay.waiting().collect();
        for to in waiting {
            let polled = std::iter::from_fn(|| relay.poll_cell(now, to, &mut region(&[]))).count();
            assert!(polled <= CELLS_PER_NEIGHBOUR_MAX, "more own cells than may wait");
        }
    }
}

/// Puts a good key and signature into a request to be an introduction point.
fn sign(body: &mut [u8], binding: &BindingKey) {
    let secret = NodeSecret::from_seed([9; 32]);
    if body[0] == Ask::EstablishIntroduction as u8 && body[ASK_HEAD_LEN - 1] == 96 {
        let named = &mut body[ASK_HEAD_LEN..ASK_HEAD_LEN + 96];
        named[..32].copy_from_slice(&secret.node_id().0);
        named[32..].copy_from_slice(&secret.sign(&introduction_proof(binding)));
    }
}

/// Makes a good circuit and gives its client's side; `None` if the cryptographic library fails.
pub(crate) fn good_circuit(
    relay: &mut Relay,
    now: Instant,
    (neighbour, id): (Neighbour, CircuitId),
) -> Option<(ClientLayers, BindingKey)> {
    let hello = Hello::new(Position::FIRST, Features::RENDEZVOUS);
    let (mut initiation, first) = Initiation::begin(&NETWORK, &spec(), &hello, [5; 32]).ok()?;
    let mut cell = region(&[]);
    crate::parts::part(&first, 0, cell.len())?.write(&mut cell);
    relay.handle_cell(now, neighbour, CellHead { circuit: id, command: Command::Create }, &mut cell);
    relay.poll_cell(now, neighbour, &mut cell)?;
    let (keys, _) = initiation.finish(Part::read(&cell).ok()?.bytes).ok()?;
    let mut client = ClientLayers::default();
    client.push(&keys);
    Some((client, keys.binding))
}

fn spec() -> RelaySpec {
    RelaySpec { node_id: NODE, onion_key: OnionSecret::from_bytes([3; 32]).onion_key(), interval: Interval(1) }
}

/// Feeds a circuit whose first hop is good with cells of that hop and of whoever is on the way.
///
/// Bits 0 to 2 of a control byte choose the command; with bit 7 the bytes are sealed by the hop, as a control message if
/// bit 6 is set; bit 5 lets time pass, bit 4 extends, bit 3 truncates, both ask for a meeting of the kind that the first byte says.
///
/// # Panics
/// When a hop appears that nobody made, or a cell that nobody sealed is taken: that is the finding.
pub fn onion_circuit(input: &[u8], start: Instant) {
    let (mut now, config) = (start, CircuitConfig { network: NETWORK, features: Features::RENDEZVOUS });
    let mut circuit = Circuit::new(now, config, GOOD, spec(), [6; 32]).expect("the library works");
    let mut cell = region(&[]);
    circuit.poll_cell(now, &mut cell).expect("the first message is due");
    let first = Part::read(&cell).expect("a circuit writes parts").bytes.to_vec();
    let made = answer(&NETWORK, &NODE, &keys(), Features::RENDEZVOUS, [7; 32], &first).expect("a good first message");
    let (hop, _) = made.agreed.expect("the same version");
    let mut hop = RelayLayers::new(&hop, Position::FIRST, cell.len());
    crate::parts::part(&made.second, 0, cell.len()).expect("it fits").write(&mut cell);
    assert_eq!(circuit.handle_cell(now, Command::Created, &mut cell), Received::Handled);
    let mut filler = Filler::new(&[8; 16]);
    for (control, piece) in pieces(input) {
        let (mut cell, sealed) = (region(piece), control & 128 != 0);
        let received = if sealed {
            let room = cell.len() - 24;
            cell.copy_within(..room, 24);
            let worn = hop.seal(&mut cell, control & 64 != 0, &mut filler);
            worn.expect("an input is far shorter than the limit of a key");
            circuit.handle_cell(now, Command::Relay, &mut cell)
        } else {
            circuit.handle_cell(now, command(control), &mut cell)
        };
        assert!(sealed || !matches!(received, Received::Inner { .. }), "a cell that nobody sealed was taken");
        if control & 24 == 24 {
            ask(&mut circuit, now, piece);
        } else if control & 16 != 0 {
            let other = RelaySpec { node_id: NodeId([9; 32]), ..spec() };
            let _refused = circuit.extend(now, other);
        }
        if control & 24 == 8 {
            let _refused = circuit.truncate(now, Position::FIRST);
        }
        if control & 32 != 0 {
            now += Duration::from_millis(700);
        }
        let polled = std::iter::from_fn(|| circuit.poll_cell(now, &mut region(&[]))).count();
        assert!(polled <= 4, "a circuit says one thing at a time, in at most two cells");
        assert!(std::iter::from_fn(|| circuit.poll_message()).count() <= 1, "a cell brings one message at most");
        while let Some(event) = circuit.poll_event() {
            let added = matches!(event, CircuitEvent::Extended { position } if position != Position::FIRST);
            assert!(!added, "a hop that nobody made");
        }
        assert!(circuit.last() <= Some(Position::FIRST) && circuit.path().count() <= 1, "one hop was made");
    }
}

/// Asks the last hop for a meeting.
fn ask(circuit: &mut Circuit, now: Instant, piece: &[u8]) {
    let (cookie, key) = (Cookie([1; 32]), ServiceKey([2; 32]));
    let _refused = match piece.first().copied().unwrap_or_default() % 4 {
        0 => circuit.establish_rendezvous(now, cookie),
        1 => circuit.establish_introduction(now, key, &[3; 64]),
        2 => circuit.introduce(now, key, piece),
        _ => circuit.rendezvous(now, cookie, piece),
    };
}
