//! Every state of a client's circuit against everything that can come or be wanted, as a table that a person has read.

use super::*;
use crate::case_table::{Cases, Step};
use crate::layer::Side;
use crate::parts::Part;
use crate::service::{Cookie, ServiceKey};
use packet_crypto::keys::RawKeys;
use std::fmt::Write;
use std::time::Duration;

const COOKIE: Cookie = Cookie([6; 32]);
const FIRST: usize = 0;
const LAST: usize = 1;

/// A circuit of two hops whose relays are in the hands of the test.
struct Bench {
    now: Instant,
    circuit: Circuit,
    relays: [RelayLayers; 2],
    heard: String,
}

fn second() -> Position {
    Position::FIRST.next().expect("three hops are possible")
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn new() -> Self {
        let (now, mut circuit, first) = one_hop_with(Instant::now(), (1, 2), Features::RENDEZVOUS);
        let keys = test_keys(3, 4);
        let last = RelayLayers::new(&keys, second(), REGION);
        circuit.layers.push(&keys);
        let figures = HopFigures { handshake_time: None, features: Features::RENDEZVOUS };
        circuit.hops.push(Hop { node_id: NodeId([7; 32]), figures, binding: keys.binding });
        Self { now, circuit, relays: [first, last], heard: String::new() }
    }

    /// A cell of one of the relays, as it comes to the client.
    fn cell(&mut self, from: usize, addressed: bool, fill: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let (mut cell, mut filler) = (region(), Filler::new(&[5; 16]));
        fill(&mut cell[self.relays[from].body()]);
        self.relays[from].seal(&mut cell, addressed, &mut filler).expect("a fresh key");
        if from == LAST {
            self.relays[FIRST].pass_back(&mut cell, &mut filler).expect("a fresh key");
        }
        cell
    }

    fn take(&mut self, command: Command, mut cell: Vec<u8>) {
        let received = self.circuit.handle_cell(self.now, command, &mut cell);
        self.heard = format!("{received:?}").to_lowercase();
    }

    /// A reply of a relay to the last request, or to none.
    fn reply(&mut self, from: usize, is_asked: bool, reply: Reply<'_>) {
        let number = if is_asked { self.circuit.last_request } else { RequestNumber::UNASKED };
        let cell = self.cell(from, true, |body| reply.write(number, body));
        self.take(Command::Relay, cell);
    }

    fn command(&mut self, result: Result<(), CommandError>) {
        self.heard = result.map_or_else(|error| format!("{error:?}").to_lowercase(), |()| "done".to_owned());
    }

    fn state(&self) -> &'static str {
        match (&self.circuit.state, &self.circuit.role) {
            (State::Building(build), _) if build.position() == Position::FIRST => "first hop asked for",
            (State::Building(_), _) => "extending",
            (State::Asking(_), _) => "asking",
            (State::Truncating { .. }, _) => "truncating",
            (State::Severed, _) => "severed",
            (State::Closed { telling: Some(_), .. }, _) => "telling that it is over",
            (State::Closed { asked: true, .. }, _) => "answering that it is over",
            (State::Closed { .. }, _) => "over",
            (State::Ready, Role::None) => "ready",
            (State::Ready, Role::Waiting(..)) => "waiting",
            (State::Ready, Role::Joined(..)) if self.circuit.is_virtual() => "with another's end",
            (State::Ready, Role::Joined(..)) => "joined",
            (State::Ready, Role::Point(_)) => "point",
        }
    }

    /// What it tells its caller, and the command of its next cell.
    fn said(&mut self) -> String {
        let mut said = String::new();
        while let Some(event) = self.circuit.poll_event() {
            let _ = write!(said, "; tells {}", format!("{event:?}").to_lowercase());
        }
        while let Some(message) = self.circuit.poll_message() {
            let _ = write!(said, "; hands over {message:?}");
        }
        if let Some(head) = self.circuit.poll_cell(self.now, &mut region()) {
            let _ = write!(said, "; says {}", format!("{:?}", head.command).to_lowercase());
        }
        said
    }
}

fn waits(bench: &mut Bench) {
    bench.circuit.establish_rendezvous(bench.now, COOKIE).expect("it is offered");
    bench.reply(LAST, true, Reply::Done);
}

fn joined(bench: &mut Bench) {
    waits(bench);
    bench.reply(LAST, true, Reply::Passed(Part { index: 0, count: 1, bytes: b"answer" }));
}

fn virtual_hop(circuit: &mut Circuit) -> Result<(), CommandError> {
    let raw = RawKeys { initiator: [0x11; 32].into(), responder: [0x22; 32].into() };
    circuit.add_virtual_hop(&raw, Side::Client)
}

fn states() -> Vec<Step<Bench>> {
    vec![
        ("first hop asked for", |bench| {
            let network = Network { id: [1; 32], packet_size: PacketSize::DEFAULT };
            let config = CircuitConfig { network, features: Features::default() };
            let circuit = Circuit::new(bench.now, config, CircuitId(9), spec(), [4; 32]);
            bench.circuit = circuit.expect("the library works");
        }),
        ("ready", |_| {}),
        ("extending", |bench| {
            let next = RelaySpec { node_id: NodeId([8; 32]), ..spec() };
            bench.circuit.extend(bench.now, next).expect("a circuit that is ready");
        }),
        ("truncating to the first hop", |bench| {
            bench.circuit.truncate(bench.now, Position::FIRST).expect("a circuit that is ready");
        }),
        ("severed behind the first hop", |bench| bench.reply(FIRST, false, Reply::Truncated(Reason::LinkDown))),
        ("asking", |bench| bench.circuit.establish_rendezvous(bench.now, COOKIE).expect("it is offered")),
        ("waiting", waits),
        ("joined", joined),
        ("joined, with the layer of the other end", |bench| {
            joined(bench);
            virtual_hop(&mut bench.circuit).expect("it is joined");
        }),
        ("point", |bench| {
            let asked = bench.circuit.establish_introduction(bench.now, ServiceKey([8; 32]), &[1; 64]);
            asked.expect("it is offered");
            bench.reply(LAST, true, Reply::Done);
        }),
        ("telling that it is over", |bench| bench.circuit.destroy(bench.now)),
        ("answering that it is over", |bench| bench.take(Command::Destroy, region())),
        ("over", |bench| bench.circuit.handle_link_down()),
    ]
}

fn inputs() -> Vec<Step<Bench>> {
    [what_comes(), what_is_wanted()].concat()
}

fn what_comes() -> Vec<Step<Bench>> {
    fn nonsense() -> Part<'static> {
        Part { index: 0, count: 1, bytes: &[1; 32] }
    }
    vec![
        ("CREATED that answers nothing", |bench| {
            let mut cell = region();
            nonsense().write(&mut cell);
            bench.take(Command::Created, cell);
        }),
        ("CREATED that cannot be read", |bench| bench.take(Command::Created, vec![0xff; REGION])),
        ("a command that is none of a client's", |bench| bench.take(Command::Create, region())),
        ("a cell of the last hop", |bench| {
            let cell = bench.cell(LAST, false, |body| body.fill(7));
            bench.take(Command::Relay, cell);
        }),
        ("that cell again", |bench| {
            let cell = bench.cell(LAST, false, |body| body.fill(7));
            bench.take(Command::Relay, cell.clone());
            bench.take(Command::Relay, cell);
        }),
        ("that cell altered", |bench| {
            let mut cell = bench.cell(LAST, false, |body| body.fill(7));
            cell[700] ^= 1;
            bench.take(Command::Relay, cell);
        }),
        ("a cell of the first hop", |bench| {
            let cell = bench.cell(FIRST, false, |body| body.fill(7));
            bench.take(Command::Relay, cell);
        }),
        ("no message of the last hop", |bench| {
            let cell = bench.cell(LAST, true, |body| body.fill(0));
            bench.take(Command::Relay, cell);
        }),
        ("EXTENDED that answers nothing", |bench| bench.reply(LAST, true, Reply::Extended(nonsense()))),
        ("EXTENDED of the first hop", |bench| bench.reply(FIRST, true, Reply::Extended(nonsense()))),
        ("REFUSED", |bench| bench.reply(LAST, true, Reply::Refused(Reason::Full))),
        ("REFUSED, unasked", |bench| bench.reply(LAST, false, Reply::Refused(Reason::Full))),
        ("TRUNCATED of the first hop", |bench| bench.reply(FIRST, true, Reply::Truncated(Reason::Finished))),
        ("TRUNCATED of the last hop", |bench| bench.reply(LAST, true, Reply::Truncated(Reason::Finished))),
        ("TRUNCATED of the first hop, unasked", |bench| bench.reply(FIRST, false, Reply::Truncated(Reason::LinkDown))),
        ("TRUNCATED of the last hop, unasked", |bench| bench.reply(LAST, false, Reply::Truncated(Reason::LinkDown))),
        ("DONE", |bench| bench.reply(LAST, true, Reply::Done)),
        ("DONE of the first hop", |bench| bench.reply(FIRST, true, Reply::Done)),
        ("PASSED", |bench| bench.reply(LAST, true, Reply::Passed(nonsense()))),
        ("PASSED of the first hop", |bench| bench.reply(FIRST, true, Reply::Passed(nonsense()))),
        ("DESTROY", |bench| bench.take(Command::Destroy, region())),
        ("DESTROYED", |bench| bench.take(Command::Destroyed, region())),
        ("its link is down", |bench| bench.circuit.handle_link_down()),
        ("a minute passes", |bench| {
            for _ in 0..60 {
                bench.now += Duration::from_secs(1);
                while bench.circuit.poll_cell(bench.now, &mut region()).is_some() {}
            }
        }),
    ]
}

fn what_is_wanted() -> Vec<Step<Bench>> {
    vec![
        ("is to be extended", |bench| {
            let result = bench.circuit.extend(bench.now, RelaySpec { node_id: NodeId([9; 32]), ..spec() });
            bench.command(result);
        }),
        ("is to be extended to a hop that it has", |bench| {
            let result = bench.circuit.extend(bench.now, spec());
            bench.command(result);
        }),
        ("is to be truncated to the first hop", |bench| {
            let result = bench.circuit.truncate(bench.now, Position::FIRST);
            bench.command(result);
        }),
        ("is to ask for a meeting", |bench| {
            let result = bench.circuit.establish_rendezvous(bench.now, COOKIE);
            bench.command(result);
        }),
        ("is to have the other end's layer", |bench| {
            let result = virtual_hop(&mut bench.circuit);
            bench.command(result);
        }),
        ("is to be taken down", |bench| bench.circuit.destroy(bench.now)),
        ("is to carry a cell", |bench| {
            let sealed = bench.circuit.seal(bench.now, &mut region());
            bench.heard = sealed.map_or_else(|error| format!("{error:?}").to_lowercase(), |_| "sealed".to_owned());
        }),
    ]
}

#[test]
fn every_state_and_every_input() {
    let cases = Cases {
        fresh: Bench::new,
        settle: |bench: &mut Bench| {
            bench.said();
            bench.heard.clear();
        },
        describe: |bench, (), _| {
            let (heard, state) = (std::mem::take(&mut bench.heard), bench.state());
            let heard = if heard.is_empty() { String::new() } else { format!(" ({heard})") };
            format!("{state}{heard}{}", bench.said())
        },
        width: 40,
    };
    let table = cases.table(&states(), &inputs());
    insta::assert_snapshot!(table);
}
