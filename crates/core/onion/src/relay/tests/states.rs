//! Every state of a circuit at a place to meet against everything that can come, as a table that a person has read.

use crate::case_table::{Cases, Step};
use crate::fuzz::{NETWORK, NODE, good_circuit, keys};
use crate::handshake::Features;
use crate::keys::BindingKey;
use crate::layer::{ClientLayers, Position};
use crate::message::{Reply, Request, RequestNumber};
use crate::parts::{self, Part};
use crate::relay::circuit::Onward;
use crate::relay::{CircuitKey, Handled, Neighbour, Relay, RelayConfig};
use crate::service::{Asked, Cookie, ServiceKey, introduction_proof};
use identity::NodeSecret;
use std::time::{Duration, Instant};
use wire::cell::{CellHead, CircuitId, Command};

pub(super) const MINE: usize = 0;
pub(super) const OTHER: usize = 1;
/// Waits for others, whatever is asked of the two.
const THIRD: usize = 2;
pub(super) const REGION: usize = 1313;

/// A relay with three circuits, each from a neighbour of its own.
pub(super) struct Bench {
    pub(super) relay: Relay,
    pub(super) now: Instant,
    pub(super) clients: Vec<(ClientLayers, BindingKey)>,
    pub(super) requests: [u32; 3],
    pub(super) keys: Vec<CircuitKey>,
}

pub(super) fn neighbour(circuit: usize) -> Neighbour {
    Neighbour(circuit as u32 + 1)
}

pub(super) fn head(circuit: usize, command: Command) -> CellHead {
    CellHead { circuit: CircuitId(CircuitId::DIALLER_BIT | (circuit as u32 + 10)), command }
}

fn cookie(circuit: usize) -> Cookie {
    Cookie([circuit as u8 + 1; 32])
}

fn secret(circuit: usize) -> NodeSecret {
    NodeSecret::from_seed([circuit as u8 + 1; 32])
}

fn name(circuit: usize) -> ServiceKey {
    ServiceKey(secret(circuit).node_id().0)
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    pub(super) fn new() -> Self {
        let now = Instant::now();
        let config = RelayConfig { features: Features::RENDEZVOUS, ..RelayConfig::new(NETWORK, NODE) };
        let mut relay = Relay::new(config, keys(), [4; 32]);
        let clients = (0..3).map(|circuit| {
            let id = head(circuit, Command::Create).circuit;
            good_circuit(&mut relay, now, (neighbour(circuit), id)).expect("a good handshake")
        });
        let clients = clients.collect();
        let keys = relay.table.iter().map(|(key, _)| key).collect();
        let mut bench = Self { relay, now, clients, requests: [0; 3], keys };
        bench.waits(THIRD, cookie(THIRD));
        bench.heard(THIRD);
        bench
    }

    fn cell(&mut self, from: usize, addressed: bool, fill: impl FnOnce(&mut [u8])) -> Handled {
        let mut region = vec![0; REGION];
        fill(&mut region[24..]);
        self.clients[from].0.seal(Position::FIRST, addressed, &mut region).expect("a fresh key");
        let handled = self.relay.handle_cell(self.now, neighbour(from), head(from, Command::Relay), &mut region);
        if let Handled::Forward { to, .. } = &handled {
            let to = to.0 as usize - 1;
            let taken = self.clients[to].0.open(&mut region).expect("a cell for this client");
            assert!(!taken.addressed && region[72..].iter().all(|byte| *byte == 7), "what one end said comes whole");
        }
        assert!(self.relay.is_consistent());
        handled
    }

    pub(super) fn request(&mut self, from: usize, number: u32, request: Request<'_>) -> Handled {
        self.cell(from, true, |body| request.write(RequestNumber(number), body))
    }

    fn ask_again(&mut self, from: usize, asked: Asked<'_>) {
        let (ask, message) = asked.write();
        let part = parts::part(&message, 0, 1_000).expect("it is short");
        self.request(from, self.requests[from], Request::Ask(ask, part));
    }

    fn ask(&mut self, from: usize, asked: Asked<'_>) {
        self.requests[from] += 1;
        self.ask_again(from, asked);
    }

    fn waits(&mut self, circuit: usize, under: Cookie) {
        self.ask(circuit, Asked::EstablishRendezvous(under));
    }

    fn is_point(&mut self, circuit: usize) {
        let signature = secret(circuit).sign(&introduction_proof(&self.clients[circuit].1));
        self.ask(circuit, Asked::EstablishIntroduction(name(circuit), &signature));
    }

    fn received(&mut self, circuit: usize, number: u32) {
        self.request(circuit, number, Request::Received);
    }

    /// What a circuit's client is told.
    pub(super) fn heard(&mut self, circuit: usize) -> Vec<String> {
        let (mut region, mut heard) = (vec![0; REGION], Vec::new());
        while let Some(head) = self.relay.poll_cell(self.now, neighbour(circuit), &mut region) {
            heard.push(match head.command {
                Command::Relay => {
                    let taken = self.clients[circuit].0.open(&mut region).expect("a cell for this client");
                    assert!(taken.addressed);
                    match Reply::read(&region[24..]).expect("a reply").1 {
                        Reply::Passed(_) => "passed".to_owned(),
                        Reply::Extended(_) => "extended".to_owned(),
                        reply => format!("{reply:?}").to_lowercase(),
                    }
                }
                command => format!("{command:?}").to_lowercase(),
            });
        }
        heard
    }

    pub(super) fn state(&self, circuit: usize) -> &'static str {
        match self.relay.table.circuit(self.keys[circuit]).map(|circuit| &circuit.onward) {
            None => "gone",
            Some(Onward::End) => "nothing",
            Some(Onward::Assembling(_)) => "assembling",
            Some(Onward::Connecting { .. }) => "connecting",
            Some(Onward::Creating { .. }) => "creating",
            Some(Onward::Open { answer: Some(_), .. }) => "open, to be told",
            Some(Onward::Open { answer: None, .. }) => "open",
            Some(Onward::Refused(_)) => "refused",
            Some(Onward::Severed { .. }) => "cut off",
            Some(Onward::Gathering(..)) => "gathering",
            Some(Onward::Waiting(_)) => "waiting",
            Some(Onward::Point(_)) => "point",
            Some(Onward::Passing(_)) => "passing",
            Some(Onward::Introduced) => "introduced",
            Some(Onward::Spliced { .. }) => "joined",
        }
    }

    pub(super) fn age(&mut self, by: Duration) {
        self.now += by;
        self.relay.handle_timeout(self.now);
    }
}

fn joined(bench: &mut Bench, client: usize, service: usize) {
    bench.waits(client, cookie(client));
    bench.ask(service, Asked::Rendezvous(cookie(client), b"answer"));
    bench.received(client, bench.requests[client]);
}

fn states() -> Vec<Step<Bench>> {
    vec![
        ("nothing", |_| {}),
        ("gathering", |bench| {
            bench.requests[MINE] += 1;
            let part = Part { index: 0, count: 2, bytes: &[1; 32] };
            bench.request(MINE, 1, Request::Ask(crate::service::Ask::Rendezvous, part));
        }),
        ("waiting", |bench| bench.waits(MINE, cookie(MINE))),
        ("waiting, and answered", |bench| {
            bench.waits(MINE, cookie(MINE));
            bench.ask(OTHER, Asked::Rendezvous(cookie(MINE), b"answer"));
        }),
        ("answering one that waits", |bench| {
            bench.waits(OTHER, cookie(OTHER));
            bench.ask(MINE, Asked::Rendezvous(cookie(OTHER), b"answer"));
        }),
        ("joined, as client", |bench| joined(bench, MINE, OTHER)),
        ("joined, as service", |bench| joined(bench, OTHER, MINE)),
        ("point", |bench| bench.is_point(MINE)),
        ("point, and asked", |bench| {
            bench.is_point(MINE);
            bench.ask(OTHER, Asked::Introduce(name(MINE), b"sealed"));
        }),
        ("introducing to a point", |bench| {
            bench.is_point(OTHER);
            bench.ask(MINE, Asked::Introduce(name(OTHER), b"sealed"));
        }),
        ("introduced", |bench| {
            bench.is_point(OTHER);
            bench.ask(MINE, Asked::Introduce(name(OTHER), b"sealed"));
            bench.received(OTHER, 1);
        }),
        ("refused", |bench| bench.ask(MINE, Asked::Rendezvous(cookie(9), b"answer"))),
        ("cut off", |bench| {
            joined(bench, MINE, OTHER);
            bench.requests[OTHER] += 1;
            bench.request(OTHER, 2, Request::Truncate);
        }),
    ]
}

fn inputs() -> Vec<Step<Bench>> {
    fn truncate(bench: &mut Bench, circuit: usize) {
        bench.requests[circuit] += 1;
        bench.request(circuit, bench.requests[circuit], Request::Truncate);
    }
    fn destroy(bench: &mut Bench, circuit: usize) {
        bench.relay.handle_cell(bench.now, neighbour(circuit), head(circuit, Command::Destroy), &mut [0; REGION]);
    }
    vec![
        ("the same request again", |bench| {
            let asked = Asked::Rendezvous(cookie(8), b"answer");
            if bench.requests[MINE] > 0 {
                bench.ask_again(MINE, asked);
            }
        }),
        ("a request without a number", |bench| {
            bench.request(MINE, 0, Request::Truncate);
        }),
        ("waits", |bench| bench.waits(MINE, cookie(7))),
        ("waits under another's cookie", |bench| bench.waits(MINE, cookie(THIRD))),
        ("becomes a point", |bench| bench.is_point(MINE)),
        ("becomes a point with a wrong signature", |bench| {
            bench.ask(MINE, Asked::EstablishIntroduction(name(MINE), &[1; 64]));
        }),
        ("introduces to nobody", |bench| bench.ask(MINE, Asked::Introduce(name(9), b"sealed"))),
        ("answers a third one that waits", |bench| bench.ask(MINE, Asked::Rendezvous(cookie(THIRD), b"answer"))),
        ("answers nobody", |bench| bench.ask(MINE, Asked::Rendezvous(cookie(9), b"answer"))),
        ("truncates", |bench| truncate(bench, MINE)),
        ("has received", |bench| bench.received(MINE, 1)),
        ("has received what was not said", |bench| bench.received(MINE, 99)),
        ("sends a cell", |bench| {
            bench.cell(MINE, false, |body| body.fill(7));
        }),
        ("the other sends a cell", |bench| {
            bench.cell(OTHER, false, |body| body.fill(7));
        }),
        ("the other truncates", |bench| truncate(bench, OTHER)),
        ("destroys", |bench| destroy(bench, MINE)),
        ("the other destroys", |bench| destroy(bench, OTHER)),
        ("the other's link is down", |bench| bench.relay.handle_link_down(bench.now, neighbour(OTHER))),
        ("its link is down", |bench| bench.relay.handle_link_down(bench.now, neighbour(MINE))),
        ("half a minute passes", |bench| bench.age(Duration::from_secs(31))),
        ("a minute passes", |bench| bench.age(Duration::from_secs(61))),
        ("is worn out", |bench| bench.relay.destroy(bench.now, bench.keys[MINE], crate::Reason::WornOut)),
        ("the relay drains, and it waits", |bench| {
            bench.relay.drain();
            bench.waits(MINE, cookie(7));
        }),
    ]
}

#[test]
fn every_state_and_every_input() {
    let cases = Cases {
        fresh: Bench::new,
        settle: |bench: &mut Bench| {
            let _before = [MINE, OTHER, THIRD].map(|circuit| bench.heard(circuit));
            bench.relay.counters().forwarded
        },
        describe: |bench, forwarded, case| {
            assert!(bench.relay.is_consistent(), "{case}");
            let mut described = format!("{}, other {}", bench.state(MINE), bench.state(OTHER));
            for (who, circuit) in [("hears", MINE), ("other hears", OTHER), ("third hears", THIRD)] {
                described += &hears(who, &bench.heard(circuit));
            }
            if bench.relay.counters().forwarded > forwarded {
                described += "; a cell goes over";
            }
            described
        },
        width: 40,
    };
    let table = cases.table(&states(), &inputs());
    insta::assert_snapshot!(table);
}

pub(super) fn hears(who: &str, heard: &[String]) -> String {
    if heard.is_empty() { String::new() } else { format!("; {who} {}", heard.join(", ")) }
}
