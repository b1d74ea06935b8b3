//! Round trips of 64 bytes.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::Context;

use super::Plan;
use super::plain_pair::PlainPair;
use super::table::{Samples, Table, at_most};
use super::traffic::{Endless, Transfer, Way};
use crate::load::{self, Service};
use crate::pair::{Mode, Pair, PairConfig};
use crate::plain::Control;

/// Round trips of one round.
const COUNT: usize = 400;
/// Mean pause between two of them: no multiple of a slot.
const GAP: Duration = Duration::from_micros(9_300);
/// Downloads beside the round trips of a loaded link.
const DOWNLOADS: usize = 8;
/// How long downloads run before round trips count.
const SETTLE: Duration = Duration::from_secs(2);
/// What mode `off` may add to the plain pair's median, in milliseconds.
const MORE_OFF_MS: f64 = 0.3;
/// What mode `constant` may add each way beside slot and lead, in milliseconds.
const MORE_CONSTANT_MS: f64 = 1.0;
const SLOT_MS: f64 = 5.0;
const LEAD_MS: f64 = 1.0;
/// How much slower the slowest hundredth may become under load.
const LOADED_MAX: f64 = 1.5;
const RATE: &str = "10 Mbit/s";

/// Median and 99th hundredth of each round, in milliseconds.
#[derive(Default)]
struct RoundTrips {
    p50: Samples,
    p99: Samples,
}

impl RoundTrips {
    fn measure(&mut self, to: SocketAddr) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect(to)?;
        // The first messages open the flow.
        load::latencies(&mut stream, 10, GAP)?;
        let times = load::latencies(&mut stream, COUNT, GAP)?;
        let at = |share| load::quantile(&times, share).map(|time| time.as_secs_f64() * 1e3);
        self.p50.push(at(0.5).context("there are round trips")?);
        self.p99.push(at(0.99).context("there are round trips")?);
        Ok(())
    }

    fn row(&self, table: &mut Table, name: &str, target: String) {
        table.row(&[name.to_owned(), self.p50.show(2), self.p99.show(2), target]);
    }
}

pub(super) fn section(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let echo = load::start(Service::Echo)?;
    let mut text = format!(
        "## Round trips of 64 bytes\n\nMilliseconds, median (range) of {} rounds of {COUNT} round trips in turns, at \
         random times.\n\n",
        plan.rounds
    );
    let mut table = Table::new(&["through", "p50", "p99", "target"]);
    off(plan, echo, progress, &mut table)?;
    constant(plan, echo, progress, &mut table)?;
    text += &table.finish();
    Ok(text)
}

fn off(plan: &Plan, echo: SocketAddr, progress: &dyn Fn(&str), table: &mut Table) -> anyhow::Result<()> {
    let pair = Pair::start(PairConfig::new(Mode::Off { congestion: "bbr" }).with_forward(echo))?;
    let plain = PlainPair::start(echo, Control::Cubic, None)?;
    let [mut direct, mut own, mut beside] = <[RoundTrips; 3]>::default();
    for round in 1..=plan.rounds {
        progress(&format!("round trips in mode off, round {round}"));
        direct.measure(echo)?;
        own.measure(pair.forward(0))?;
        beside.measure(plain.address)?;
    }
    direct.row(table, "nothing: client and server alone", String::new());
    beside.row(table, "plain pair", String::new());
    let bound = beside.p50.median() + MORE_OFF_MS;
    own.row(
        table,
        "mode `off`",
        format!("p50 of the plain pair + {MORE_OFF_MS}: {}", at_most(own.p50.median(), bound, 2)),
    );
    Ok(())
}

fn constant(plan: &Plan, echo: SocketAddr, progress: &dyn Fn(&str), table: &mut Table) -> anyhow::Result<()> {
    let source = Endless::start()?;
    let config = PairConfig::new(Mode::constant(RATE)).with_forward(echo).with_forward(source.address);
    let pair = Pair::start(config)?;
    let [mut idle, mut loaded] = <[RoundTrips; 2]>::default();
    for round in 1..=plan.rounds {
        progress(&format!("round trips in mode constant, round {round}"));
        idle.measure(pair.forward(0))?;
        let downloads: std::io::Result<Vec<Transfer>> =
            (0..DOWNLOADS).map(|_| Transfer::start(pair.forward(1), &source, Way::Down)).collect();
        let downloads = downloads?;
        std::thread::sleep(SETTLE);
        loaded.measure(pair.forward(0))?;
        drop(downloads);
        // What was on its way has to leave the queues.
        std::thread::sleep(SETTLE);
    }
    let bound = 2.0 * (SLOT_MS + LEAD_MS + MORE_CONSTANT_MS);
    idle.row(
        table,
        &format!("mode `constant`, {RATE}, 5 ms slots, idle"),
        format!("p99 of two ways of slot + lead + 1 ms: {}", at_most(idle.p99.median(), bound, 1)),
    );
    loaded.row(
        table,
        &format!("the same under {DOWNLOADS} downloads"),
        format!("p99 of 1.5 x idle: {}", at_most(loaded.p99.median(), LOADED_MAX * idle.p99.median(), 1)),
    );
    Ok(())
}
