//! Delay and loss.

use std::time::Duration;

use simnet::{Loss, Path};

use super::Plan;
use super::plain_pair::PlainPair;
use super::table::{Samples, Table, at_least, at_most, ratios};
use super::traffic::{Endless, Transfer, Way};
use crate::pair::{Mode, Pair, PairConfig, Role};
use crate::plain::Control;
use crate::recording::Limits;
use crate::relay::RelayConfig;

const DELAY: Duration = Duration::from_millis(20);
/// Chances of loss each way, with the least share of its rate that mode `constant` has to deliver.
const LOSSES: [(f64, Option<f64>); 3] = [(0.0, None), (0.01, Some(0.95)), (0.07, Some(0.88))];
const RATE: &str = "10 Mbit/s";
/// The line of mode `off`.
const LINE_BITS_PER_SECOND: u64 = 100_000_000;
const LINE_QUEUE_BYTES: usize = 1_000_000;
/// Least share of the plain pair's speed.
const LEAST_SHARE: f64 = 0.80;
const STALL_MAX_S: f64 = 1.0;
/// How long a transfer runs before it counts.
const SETTLE: Duration = Duration::from_secs(3);

fn heading(mode: &str, plan: &Plan) -> String {
    format!(
        "## Delay and loss in mode `{mode}`\n\n20 ms each way through a relay that loses packets independently of each \
         other, each way. Mbit/s of application bytes over {} s after the first 3 s, median (range) of {} rounds; a \
         stall is the longest time without a byte, in steps of 50 ms.\n\n",
        plan.seconds * 2,
        plan.rounds
    )
}

fn relay(path: Path) -> RelayConfig {
    // Nobody reads the recording.
    let limits = Limits { packets: 0, bytes_each: 0, bytes_total: 0 };
    RelayConfig::to(([127, 0, 0, 1], 0).into()).with_paths(path).with_limits(limits)
}

/// What arrived over all rounds.
#[derive(Default)]
struct Rounds {
    speeds: Vec<f64>,
    stalls: Samples,
}

impl Rounds {
    fn measure(
        &mut self,
        plan: &Plan,
        through: std::net::SocketAddr,
        server: &Endless,
        way: Way,
    ) -> anyhow::Result<()> {
        let transfer = Transfer::start(through, server, way)?;
        // A stall at the beginning counts as well.
        let first = transfer.watch(SETTLE)?;
        let seen = transfer.watch(Duration::from_secs(u64::from(plan.seconds) * 2))?;
        self.speeds.push(seen.megabits_per_second);
        self.stalls.push(first.stall.max(seen.stall).as_secs_f64());
        drop(transfer);
        // What was on its way has to leave the queues.
        std::thread::sleep(SETTLE);
        Ok(())
    }

    fn speed(&self) -> Samples {
        self.speeds.iter().copied().collect()
    }

    fn stall(&self) -> String {
        format!("{:.2} s, {}", self.stalls.largest(), at_most(self.stalls.largest(), STALL_MAX_S, 0))
    }
}

pub(super) fn constant(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let server = Endless::start()?;
    let mut table = Table::new(&[
        "mode `constant`, 10 Mbit/s",
        "class, Mbit/s",
        "Mbit/s",
        "share of the class",
        "target",
        "longest stall",
    ]);
    for (loss, least) in LOSSES {
        let path = Path::with_delay(DELAY).with_loss(Loss::Independent(loss));
        let config = PairConfig::new(Mode::constant(RATE)).with_forward(server.address).with_relay(relay(path));
        let pair = Pair::start(config)?;
        let rate = pair.status(Role::Exit)?.schedule.send.map_or(0, |rate| rate.bits_per_second) as f64 / 1e6;
        for way in Way::BOTH {
            progress(&format!("mode constant with {:.0} % loss, {}", loss * 100.0, way.name()));
            let mut rounds = Rounds::default();
            for _ in 0..plan.rounds {
                rounds.measure(plan, pair.forward(0), &server, way)?;
            }
            let share = rounds.speed().median() / rate;
            table.row(&[
                format!("{:.0} % loss, {}", loss * 100.0, way.name()),
                format!("{rate:.2}"),
                rounds.speed().show(2),
                format!("{share:.3}"),
                least.map_or_else(String::new, |least| at_least(share, least, 2)),
                rounds.stall(),
            ]);
        }
    }
    Ok(heading("constant", plan) + &table.finish())
}

pub(super) fn off(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let server = Endless::start()?;
    let mut table = Table::new(&[
        "mode `off`, 100 Mbit/s line, 1 MB queue",
        "Hushwire",
        "plain pair",
        "ratio by round",
        "target",
        "longest stall",
        "plain pair's",
    ]);
    for (congestion, control) in [("bbr", Control::Bbr), ("cubic", Control::Cubic)] {
        for (loss, _) in LOSSES {
            let path = Path::with_delay(DELAY)
                .with_loss(Loss::Independent(loss))
                .with_rate(LINE_BITS_PER_SECOND, LINE_QUEUE_BYTES);
            let config =
                PairConfig::new(Mode::Off { congestion }).with_forward(server.address).with_relay(relay(path.clone()));
            let pair = Pair::start(config)?;
            let plain = PlainPair::start(server.address, control, Some(relay(path)))?;
            for way in Way::BOTH {
                progress(&format!("mode off with {congestion} and {:.0} % loss, {}", loss * 100.0, way.name()));
                let [mut own, mut beside] = <[Rounds; 2]>::default();
                for _ in 0..plan.rounds {
                    own.measure(plan, pair.forward(0), &server, way)?;
                    beside.measure(plan, plain.address, &server, way)?;
                }
                let ratio = ratios(&own.speeds, &beside.speeds);
                progress(&format!("... {} beside {}", own.speed().show(1), beside.speed().show(1)));
                table.row(&[
                    format!("{congestion}, {:.0} % loss, {}", loss * 100.0, way.name()),
                    own.speed().show(1),
                    beside.speed().show(1),
                    ratio.show(2),
                    at_least(ratio.median(), LEAST_SHARE, 2),
                    own.stall(),
                    format!("{:.2} s", beside.stalls.largest()),
                ]);
            }
        }
    }
    Ok(heading("off", plan) + &table.finish())
}
