//! Two ends and the cells between them.

use super::super::*;
use crate::leg::{Building, Fresh};
use crate::message::Message;
use crate::{First, JoinPoint};
use wire::leg::{LegHeader, LegKind};

pub(super) const MS: Duration = Duration::from_millis(1);

/// A circuit of tests: its layer numbers, and a name.
#[derive(Debug)]
pub(super) struct TestCircuit(pub(super) u8);

impl Circuit for TestCircuit {
    type Carrier = u8;
    fn into_carrier(self) -> u8 {
        self.0
    }
}

pub(super) fn built(name: u8, path: &[u8]) -> Built<TestCircuit> {
    let path = path.iter().map(|node| NodeId([*node; 32])).collect();
    Building::new(TestCircuit(name)).into_built(path).map_err(|(_, error)| error).expect("a path")
}

pub(super) fn id(number: u8) -> LegId {
    LegId::new(number).expect("below 16")
}

/// A cell under way.
#[derive(Debug, Clone)]
pub(super) struct Cell {
    pub(super) leg: LegId,
    pub(super) number: u64,
    pub(super) inner: Vec<u8>,
}

impl Cell {
    pub(super) fn header(&self) -> LegHeader {
        LegHeader::decode(&self.inner).expect("a good cell").0
    }

    pub(super) fn message(&self) -> Option<Message> {
        let (header, body) = LegHeader::decode(&self.inner).expect("a good cell");
        (header.kind == LegKind::Link).then(|| Message::decode(body).expect("a good message"))
    }
}

/// One end, with the layer numbers of its circuits.
pub(super) struct End {
    pub(super) tunnel: Tunnel<u8>,
    numbers: BTreeMap<LegId, u64>,
}

impl End {
    pub(super) fn new(tunnel: Tunnel<u8>) -> Self {
        Self { tunnel, numbers: BTreeMap::new() }
    }

    fn number(&mut self, leg: LegId) -> u64 {
        let number = self.numbers.entry(leg).or_default();
        *number += 1;
        *number - 1
    }

    /// All cells of its own that are due.
    pub(super) fn own_cells(&mut self, now: Instant) -> Vec<Cell> {
        let mut cells = Vec::new();
        while let Some(leg) = self.tunnel.poll_own(now) {
            cells.push(self.own_cell(now, leg));
        }
        cells
    }

    pub(super) fn own_cell(&mut self, now: Instant, leg: LegId) -> Cell {
        let (number, mut message) = (self.number(leg), Vec::new());
        let header = self.tunnel.own_header(now, leg, number, &mut message).expect("the leg is there");
        Cell { leg, number, inner: [&header.encode()[..], &message].concat() }
    }

    pub(super) fn data_cell(&mut self, now: Instant, leg: LegId, body: &[u8]) -> Cell {
        let number = self.number(leg);
        let header = self.tunnel.data_header(now, leg, number, body.len() as u16).expect("the leg is linked");
        Cell { leg, number, inner: [&header.encode()[..], body].concat() }
    }

    pub(super) fn message_cell(&mut self, leg: LegId, message: &Message) -> Cell {
        let mut body = Vec::new();
        message.encode(&mut body);
        let number = self.number(leg);
        let feedback = wire::leg::Feedback::default();
        let length = body.len() as u16;
        let header = LegHeader { kind: LegKind::Link, feedback_leg: 0, length, tunnel_number: 0, feedback };
        Cell { leg, number, inner: [&header.encode()[..], &body].concat() }
    }

    pub(super) fn take(&mut self, now: Instant, cell: &Cell) {
        self.tunnel.handle_cell(now, cell.leg, cell.number, &cell.inner);
    }

    pub(super) fn packets(&mut self, now: Instant) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.tunnel.poll_packet(now)).collect()
    }

    pub(super) fn events(&mut self) -> Vec<TunnelEvent> {
        std::iter::from_fn(|| self.tunnel.poll_event()).collect()
    }

    pub(super) fn released(&mut self) -> Vec<LegEnd> {
        std::iter::from_fn(|| self.tunnel.poll_released()).map(|released| released.why).collect()
    }
}

pub(super) fn nonce() -> Nonce {
    Nonce::new([0x5a; 32])
}

pub(super) fn client(now: Instant) -> End {
    End::new(Tunnel::client(now, TunnelConfig::default(), nonce(), [1; 32]))
}

/// What the exit makes of the first cell of a circuit.
pub(super) fn first(join_point: &mut JoinPoint, now: Instant, cell: &Cell) -> First<u8> {
    join_point.handle_first(now, Fresh::new(cell.leg.number()), true, cell.number, &cell.inner)
}

/// A client and an exit whose legs `0..legs` are linked, and 20 ms have passed.
pub(super) struct Pair {
    pub(super) now: Instant,
    pub(super) join_point: JoinPoint,
    pub(super) client: End,
    pub(super) exit: End,
}

impl Pair {
    pub(super) fn linked(legs: u8) -> Self {
        let mut now = crate::origin();
        let mut join_point = JoinPoint::default();
        let mut client = client(now);
        let mut exit: Option<End> = None;
        for leg in 0..legs {
            client.tunnel.add_leg(now, built(leg, &[10 + leg, 20 + leg, 30])).expect("it fits");
        }
        for cell in client.own_cells(now) {
            match first(&mut join_point, now, &cell) {
                First::New(_, accepted) => {
                    exit = Some(End::new(Tunnel::exit(now, TunnelConfig::default(), accepted, [2; 32])));
                }
                First::Joins(_, accepted) => {
                    let exit = exit.as_mut().expect("made before");
                    exit.tunnel.accept(now, accepted).expect("it fits");
                }
                other => panic!("{other:?}"),
            }
        }
        let mut exit = exit.expect("at least one leg");
        let answers = exit.own_cells(now);
        now += 20 * MS;
        for cell in answers {
            client.take(now, &cell);
        }
        for cell in client.own_cells(now) {
            exit.take(now, &cell);
        }
        client.events();
        exit.events();
        Self { now, join_point, client, exit }
    }
}
