//! An onion service beside an exit: the same client, the same network made by the documented commands, the same server behind both, and
//! transfers through the two in turns.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Plan;
use super::table::{Samples, Table, at_least, at_most, ratios};
use crate::load::{self, Service};
use crate::network::Namespace;
use crate::one_network::{OneNetwork, Size};
use crate::socks::{self, Place};

/// One network that is measured.
struct Network {
    /// What tables call it.
    name: &'static str,
    /// The rate of a tunnel in mode `constant`; none: mode `off`.
    rate: Option<&'static str>,
    /// Relays beside the members.
    relays: u8,
    /// What each of them forwards at most.
    relay_rate: &'static str,
    /// At which Mbit/s the length of a transfer is guessed.
    guess: u64,
    /// Entries, each with tunnels of its own. In mode `off` the relays that a tunnel happens to draw decide, so one says little.
    clients: usize,
}

/// What is measured. Twelve relays are enough for legs that share none, and few enough that a service's half often has one of its client's.
const NETWORKS: [Network; 5] = [
    Network {
        name: "`constant`, 4 Mbit/s",
        rate: Some("4 Mbit/s"),
        relays: 12,
        relay_rate: "50 Mbit/s",
        guess: 4,
        clients: 1,
    },
    Network {
        name: "`constant`, 10 Mbit/s",
        rate: Some("10 Mbit/s"),
        relays: 12,
        relay_rate: "50 Mbit/s",
        guess: 10,
        clients: 1,
    },
    Network {
        name: "`off`, 12 relays of 20 Mbit/s",
        rate: None,
        relays: 12,
        relay_rate: "20 Mbit/s",
        guess: 30,
        clients: 4,
    },
    Network {
        name: "`off`, 40 relays of 20 Mbit/s",
        rate: None,
        relays: 40,
        relay_rate: "20 Mbit/s",
        guess: 30,
        clients: 4,
    },
    Network {
        name: "`off`, 12 relays of 1 Gbit/s",
        rate: None,
        relays: 12,
        relay_rate: "1 Gbit/s",
        guess: 300,
        clients: 1,
    },
];
/// Length of an interval of the directory.
const INTERVAL: &str = "2s";
/// Requests of a round.
const REQUESTS: usize = 50;
/// Bytes of each answer.
const ANSWER_BYTES: u64 = 1_000;
/// Between two requests.
const GAP: Duration = Duration::from_millis(20);
/// A transfer's first bytes find its speed; they are not counted.
const WARM_BYTES: u64 = 2_000_000;
/// Bytes that no transfer asks for at once.
const SOURCE_BYTES: u64 = 1 << 40;
/// A transfer that is silent for so long has failed.
const SILENCE: Duration = Duration::from_secs(60);
/// Legs of a tunnel.
const LEGS: usize = 2;
/// Most milliseconds to the first byte through a service, half of them.
const MOST_FIRST_BYTE: f64 = 40.0;
/// Least of an exit's throughput through a service.
const LEAST_SHARE: f64 = 0.5;

/// Figures of one way.
#[derive(Debug, Default)]
struct Figures {
    p50: Samples,
    p90: Samples,
    speeds: Vec<f64>,
}

/// Figures of one network.
#[derive(Debug, Default)]
struct Rounds {
    /// From the entry's first request for the service to its first byte.
    cold: Samples,
    exit: Figures,
    service: Figures,
}

/// In one line.
impl fmt::Display for Rounds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cold, exit, service } = self;
        write!(out, "the first of all after {} ms; ", cold.show(0))?;
        write!(out, "p50 {} ms by the exit, {} by the service; ", exit.p50.show(1), service.p50.show(1))?;
        write!(out, "{:.1?} and {:.1?} Mbit/s", exit.speeds, service.speeds)
    }
}

pub(super) fn section(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let mut all = Vec::new();
    for network in NETWORKS {
        progress(network.name);
        let here = Namespace::new("services")?;
        let measured = here.within(|| network.measure(plan))?;
        progress(&measured.to_string());
        all.push((network.name, measured));
    }
    Ok(page(plan, &all))
}

impl Network {
    fn measure(&self, plan: &Plan) -> anyhow::Result<Rounds> {
        let source = load::start(Service::Source { bytes: SOURCE_BYTES })?;
        let servers = vec![source.port()];
        let Self { rate, relays, relay_rate, .. } = *self;
        let size = Size { members: 3, relays, exits: 1, interval: INTERVAL, rate, relay_rate, servers };
        let mut net = OneNetwork::start(size, None)?;
        let service = net.add_service(source, false)?;
        net.until_published()?;
        let bytes = (u64::from(plan.seconds) * self.guess * 125_000).max(WARM_BYTES);
        let (exit, mut rounds) = (Place::from(source), Rounds::default());
        for client in 0..self.clients {
            net.add_entry(u8::try_from(client)?)?;
            net.until_linked(client, LEGS)?;
            let proxy = net.entries[client].address;
            let begun = Instant::now();
            socks::download(proxy, service.clone(), ANSWER_BYTES, SILENCE, |_| {})?;
            rounds.cold.push(begun.elapsed().as_secs_f64() * 1e3);
            net.until_met(client, LEGS)?;
            for _ in 0..plan.rounds {
                for (place, figures) in [(&exit, &mut rounds.exit), (&service, &mut rounds.service)] {
                    figures.measure(proxy, place, bytes)?;
                }
            }
        }
        net.end();
        Ok(rounds)
    }
}

impl Figures {
    fn measure(&mut self, proxy: SocketAddr, place: &Place, bytes: u64) -> anyhow::Result<()> {
        let fetch = |bytes| socks::download(proxy, place.clone(), bytes, SILENCE, |_| {});
        let mut times = Vec::with_capacity(REQUESTS);
        for _ in 0..REQUESTS {
            std::thread::sleep(GAP);
            times.push(fetch(ANSWER_BYTES)?.first_byte);
        }
        let at = |share| load::quantile(&times, share).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        self.p50.push(at(0.5));
        self.p90.push(at(0.9));
        fetch(WARM_BYTES)?;
        self.speeds.push(fetch(bytes)?.megabits_per_second());
        Ok(())
    }
}

fn page(plan: &Plan, all: &[(&str, Rounds)]) -> String {
    let mut text = format!(
        "## An onion service beside an exit\n\n{}{LEGS} legs of 3 hops; behind the service {LEGS} more. Median (range) of {} rounds in \
         turns, where there are several clients of each. First byte: milliseconds from the connection to the proxy to the first byte of an \
         answer of 1 kB, {REQUESTS} requests one after another over a tunnel that stands; the first one of all also finds the service. \
         Mbit/s: one download of about {} s.\n\n",
        super::circuits::profile_note(),
        plan.rounds,
        plan.seconds
    );
    let mut table =
        Table::new(&["network", "way", "first of all", "first byte p50", "p90", "Mbit/s", "of the exit's", "target"]);
    for (name, rounds) in all {
        let ways = [("exit", &rounds.exit), ("service", &rounds.service)];
        for (way, figures) in ways {
            let speeds: Samples = figures.speeds.iter().copied().collect();
            let mut cells = vec![(*name).to_owned(), way.to_owned()];
            let is_service = way == "service";
            cells.push(if is_service { rounds.cold.show(0) } else { String::new() });
            cells.extend([figures.p50.show(1), figures.p90.show(1), speeds.show(1)]);
            if is_service {
                let shares = ratios(&figures.speeds, &rounds.exit.speeds);
                let first = at_most(figures.p50.median(), MOST_FIRST_BYTE, 0);
                let share = at_least(shares.median(), LEAST_SHARE, 1);
                cells.extend([shares.show(2), format!("p50 {first}; share {share}")]);
            } else {
                cells.extend([String::new(), String::new()]);
            }
            table.row(&cells);
        }
    }
    text += &table.finish();
    text
}
