//! Every state of a circuit that is extended, cut and ended against everything that its client, the next relay, links and time can do,
//! as a table that a person has read.

use super::states::{Bench, MINE, REGION, head, hears, neighbour};
use crate::case_table::{Cases, Step};
use crate::handshake::FIRST_LEN;
use crate::message::{EXTEND_OVERHEAD, Request, extend_message};
use crate::parts::{self, Part};
use crate::relay::{Dialled, Handled, Neighbour, Side, Unreachable};
use identity::NodeId;
use std::time::Duration;
use wire::cell::{CellHead, Command};

/// The relay to which the circuit is extended.
const NEXT: Neighbour = Neighbour(20);
const NEXT_NODE: NodeId = NodeId([20; 32]);

impl Bench {
    /// The client asks for this relay behind the hop, with a first message that nobody but the next relay could judge. So many
    /// parts of it are said.
    fn extend(&mut self, number: u32, node: &NodeId, parts_said: u8) {
        let message = extend_message(node, &[3; FIRST_LEN]);
        let room = REGION - 24 - EXTEND_OVERHEAD;
        for index in 0..parts_said {
            let part = parts::part(&message, index, room).expect("two parts");
            self.request(MINE, number, Request::Extend(part));
        }
    }

    fn linked(&mut self) {
        self.relay.connected(self.now, self.keys[MINE], NEXT, Dialled::ByUs);
    }

    /// What the next relay is told.
    fn next_heard(&mut self) -> Vec<String> {
        let (mut region, mut heard) = (vec![0; REGION], Vec::new());
        while let Some(head) = self.relay.poll_cell(self.now, NEXT, &mut region) {
            heard.push(format!("{:?}", head.command).to_lowercase());
        }
        heard
    }

    /// The circuit on the side of the next relay, if there is one.
    fn next_side(&self) -> Option<Side> {
        self.relay.table.circuit(self.keys[MINE])?.onward.side()
    }

    /// A cell of the next relay. Without a circuit there, of one that never was.
    fn next_says(&mut self, command: Command, fill: impl FnOnce(&mut [u8])) -> Handled {
        let mut region = vec![0; REGION];
        fill(&mut region);
        let circuit = self.next_side().map_or(head(8, command).circuit, |side| side.id);
        self.relay.handle_cell(self.now, NEXT, CellHead { circuit, command }, &mut region)
    }

    /// Parts of an answer of two. What is in them, only the client can judge.
    fn created(&mut self, parts_said: u8, last: usize) {
        for index in 0..parts_said {
            let length = if index == 0 { REGION - 3 } else { last };
            let part = Part { index, count: 2, bytes: &[4; REGION][..length] };
            self.next_says(Command::Created, |region| part.write(region));
        }
    }

    fn short_created(&mut self) {
        self.next_says(Command::Created, |region| Part { index: 0, count: 1, bytes: &[4; 1_100] }.write(region));
    }

    /// A cell of the client for whoever is last.
    fn client_says(&mut self) -> Handled {
        let mut region = vec![7; REGION];
        let last = crate::layer::Position::FIRST;
        self.clients[MINE].0.seal(last, false, &mut region).expect("a fresh key");
        self.relay.handle_cell(self.now, neighbour(MINE), head(MINE, Command::Relay), &mut region)
    }
}

fn states() -> Vec<Step<Bench>> {
    fn connecting(bench: &mut Bench) {
        bench.extend(1, &NEXT_NODE, 2);
    }
    fn creating(bench: &mut Bench) {
        connecting(bench);
        bench.linked();
    }
    fn told(bench: &mut Bench) {
        creating(bench);
        bench.short_created();
    }
    fn open(bench: &mut Bench) {
        told(bench);
        bench.client_says();
    }
    vec![
        ("nothing behind it, and its client not heard", |_| {}),
        ("nothing behind it", |bench| {
            bench.client_says();
        }),
        ("assembling", |bench| bench.extend(1, &NEXT_NODE, 1)),
        ("connecting", connecting),
        ("creating", creating),
        ("creating, half of the answer there", |bench| {
            creating(bench);
            bench.created(1, 8);
        }),
        ("open, and the client may not know", told),
        ("open", open),
        ("refused", |bench| {
            connecting(bench);
            bench.relay.not_connected(bench.keys[MINE], Unreachable::NoLink);
        }),
        ("severed", |bench| {
            open(bench);
            bench.relay.handle_link_down(bench.now, NEXT);
        }),
        ("gone", |bench| {
            bench.relay.handle_link_down(bench.now, neighbour(MINE));
        }),
    ]
}

fn inputs() -> Vec<Step<Bench>> {
    vec![
        ("the same EXTEND again", |bench| bench.extend(1, &NEXT_NODE, 2)),
        ("another EXTEND", |bench| bench.extend(2, &NEXT_NODE, 2)),
        ("EXTEND to itself", |bench| {
            let own = crate::fuzz::NODE;
            bench.extend(2, &own, 2);
        }),
        ("TRUNCATE", |bench| {
            bench.request(MINE, 2, Request::Truncate);
        }),
        ("TRUNCATE with the number of the EXTEND", |bench| {
            bench.request(MINE, 1, Request::Truncate);
        }),
        ("a cell of the client", |bench| {
            bench.client_says();
        }),
        ("the client says that it is over", |bench| {
            bench.relay.handle_cell(bench.now, neighbour(MINE), head(MINE, Command::Destroy), &mut [0; REGION]);
        }),
        ("the client says CREATED", |bench| {
            bench.relay.handle_cell(bench.now, neighbour(MINE), head(MINE, Command::Created), &mut [0; REGION]);
        }),
        ("the link to the next relay is up", Bench::linked),
        ("the next relay is not known", |bench| {
            bench.relay.not_connected(bench.keys[MINE], Unreachable::UnknownNode);
        }),
        ("CREATED, the first half", |bench| bench.created(1, 8)),
        ("CREATED in two halves", |bench| bench.created(2, 8)),
        ("CREATED in one", Bench::short_created),
        ("CREATED that is longer than an EXTENDED can be", |bench| bench.created(2, REGION - 3)),
        ("CREATED that cannot be read", |bench| {
            bench.next_says(Command::Created, |region| region.fill(0xff));
        }),
        ("a cell of the next relay", |bench| {
            bench.next_says(Command::Relay, |region| region.fill(7));
        }),
        ("the next relay says that it is over", |bench| {
            bench.next_says(Command::Destroy, |_| {});
        }),
        ("the next relay says CREATE", |bench| {
            bench.next_says(Command::Create, |_| {});
        }),
        ("the next relay's link is down", |bench| bench.relay.handle_link_down(bench.now, NEXT)),
        ("the client's link is down", |bench| bench.relay.handle_link_down(bench.now, neighbour(MINE))),
        ("half a minute passes", |bench| bench.age(Duration::from_secs(31))),
        ("eleven minutes pass", |bench| bench.age(Duration::from_secs(660))),
        ("is worn out", |bench| bench.relay.destroy(bench.now, bench.keys[MINE], crate::Reason::WornOut)),
        ("the relay drains, and it is extended", |bench| {
            bench.relay.drain();
            bench.extend(2, &NEXT_NODE, 2);
        }),
    ]
}

#[test]
fn every_state_of_an_extension_and_every_input() {
    let cases = Cases {
        fresh: Bench::new,
        settle: |bench: &mut Bench| {
            let _before = (bench.heard(MINE), bench.next_heard());
            while bench.relay.poll_order().is_some() {}
            bench.relay.counters().forwarded
        },
        describe: |bench, forwarded, case| {
            assert!(bench.relay.is_consistent(), "{case}");
            let mut described = bench.state(MINE).to_owned();
            if bench.relay.counters().forwarded > forwarded {
                described += "; a cell goes on";
            }
            if bench.relay.poll_order().is_some() {
                described += "; a link is wanted";
            }
            described += &hears("hears", &bench.heard(MINE));
            described += &hears("next hears", &bench.next_heard());
            described
        },
        width: 46,
    };
    let table = cases.table(&states(), &inputs());
    insta::assert_snapshot!(table);
}
