//! Video through a real pair, beside the same settings in the simulator.

use std::sync::mpsc;
use std::time::Duration;

use admin::status::Status;
use anyhow::Context;
use shaping::accountant::Epsilon;
use shaping::{DpParameters, DpSettings, RateClass};
use shaping_sim::recommended::{Promise, dp_modes};
use shaping_sim::{
    Average, ConstantRate, Dp, Exchanges, Latencies, Mode as Simulated, Setup, Workload, run_seeds, video_segments,
};

use super::Plan;
use super::off::own_processes;
use super::table::Table;
use crate::pair::{Mode, Pair, PairConfig, Role};
use crate::players::{self, Watched};

/// Longest wait for segments that are under way when the trace ends.
const DRAIN: Duration = Duration::from_secs(60);
/// Seeds of the simulation.
const SEEDS: u32 = 4;
/// Seed of the segments that the real players ask for.
const TRACE_SEED: u64 = 1;
/// What the one player of a constant rate gets down, in bits per second.
const ALONE_DOWN: u64 = 1_700_000;
const ALONE_UP: u64 = 256_000;

/// One row of the table: the same in both worlds.
struct Case {
    clients: u32,
    config: PairConfig,
    modes: [Simulated; 2],
    workload: Workload,
}

/// What is measured in either world.
struct Figures {
    overhead: f64,
    mean_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    useful: String,
    more: String,
}

/// Players for `seconds` of the plan each.
pub(super) fn section(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let length = Duration::from_secs(plan.seconds.into());
    let mut text = format!(
        "## Video through a real pair, {} s\n\nOpen loop, a segment of 0.45 MB (mean) every 5 s for each player; all \
         processes and both ends on one machine, the nodes with real-time priority; the simulation has the same settings and starts at the same class.\n\n",
        plan.seconds
    );
    let mut table =
        Table::new(&["players, mode", "where", "overhead", "mean", "p95", "p99", "cells with data down", "beside"]);
    for players in &plan.players {
        let case = if *players == 1 { alone()? } else { crowd(*players)? };
        let name = format!("{}, {}", case.clients, mode_name(&case));
        progress(&format!("{name}: simulated"));
        simulated(&case, length)?.row(&mut table, &name, "simulation");
        progress(&format!("{name}: {} s", plan.seconds));
        real(&case, length)?.row(&mut table, "", "real pair");
    }
    text += &table.finish();
    Ok(text)
}

fn mode_name(case: &Case) -> &'static str {
    if matches!(case.config.mode, Mode::Paced { .. }) { "`dp`" } else { "`constant`" }
}

/// One player at a constant class.
fn alone() -> anyhow::Result<Case> {
    let class = |bits| RateClass::at_least(bits).map(ConstantRate::Class).map(Simulated::Constant);
    let rate = |bits: u64| format!("{bits} bit/s");
    Ok(Case {
        clients: 1,
        config: PairConfig::new(Mode::Constant { up: rate(ALONE_UP), down: rate(ALONE_DOWN), slot_ms: 5 }),
        modes: [class(ALONE_UP)?, class(ALONE_DOWN)?],
        workload: Workload::Exchanges(Exchanges::video(1)?),
    })
}

/// Many players in mode `dp` with the recommended rules, from the ceiling on, as a node starts.
fn crowd(clients: u32) -> anyhow::Result<Case> {
    let workload = Workload::Exchanges(Exchanges::video(clients)?);
    let [up, down] = dp_modes(&workload, &Promise::new(Epsilon::new(1.0)?))?;
    let mut most = [String::new(), String::new()];
    let mut config = PairConfig::new(Mode::constant("256 kbit/s"));
    let mut modes = Vec::new();
    for (index, (mode, role)) in [(up, Role::Entry), (down, Role::Exit)].into_iter().enumerate() {
        let Simulated::Dp(Dp { parameters, .. }) = mode else {
            anyhow::bail!("{clients} players are too few for mode dp");
        };
        let settings = *parameters.settings();
        most[index] = format!("{} bit/s", settings.ceiling.bits_per_second());
        for (key, share) in [("gain", settings.gain), ("margin", settings.margin), ("errors", settings.errors)] {
            config = config.with_line_of(role, "dp", &format!("{key} = {:.6}", f64::from(share.0) / 1024.0));
        }
        let parameters = DpParameters::new(DpSettings { initial: settings.ceiling, ..settings })?;
        modes.push(Simulated::Dp(Dp { parameters, estimate_bytes: None }));
    }
    let [up, down] = most;
    config.mode = Mode::Paced { mode: "dp", up, down };
    let modes = modes.try_into().map_err(|_| anyhow::anyhow!("there are two directions"))?;
    Ok(Case { clients, config, modes, workload })
}

fn simulated(case: &Case, length: Duration) -> anyhow::Result<Figures> {
    let [up, down] = &case.modes;
    let average = Average::of(&run_seeds(&case.workload, [up, down], &Setup::new(length, 1), SEEDS)?);
    Ok(Figures {
        overhead: average.overhead,
        mean_ms: average.mean_ms,
        p95_ms: average.p95_ms,
        p99_ms: average.p99_ms,
        useful: format!("{:.0} %", average.useful_share_down * 100.0),
        more: format!("{SEEDS} seeds"),
    })
}

fn real(case: &Case, length: Duration) -> anyhow::Result<Figures> {
    let server = players::serve()?;
    let trace = video_segments(case.clients, length, TRACE_SEED)?;
    // Other work of the machine would else be measured as missed slots.
    let pair = Pair::start(case.config.clone().with_line("process", "realtime = true"))?;
    let processes = own_processes(&pair)?;
    let proxy = pair.proxy();
    let (started, when_started) = mpsc::channel();
    let playing = std::thread::spawn(move || {
        // The other side waits until the players have come, or for the error.
        players::play(proxy, server, &trace, length, DRAIN, || {
            let _ = started.send(());
        })
    });
    if when_started.recv().is_err() {
        playing.join().map_err(|_| anyhow::anyhow!("the players died"))??;
        anyhow::bail!("the players did not start\n{}", pair.logs());
    }
    let both = || anyhow::Ok([pair.status(Role::Entry)?, pair.status(Role::Exit)?]);
    let (before, cpu) = (both()?, processes.cpu_ns());
    std::thread::sleep(length);
    let (after, cpu) = (both()?, processes.cpu_since(&cpu));
    let watched = playing.join().map_err(|_| anyhow::anyhow!("the players died"))?;
    let watched = watched.with_context(|| pair.logs())?;
    let wire: u64 = before
        .iter()
        .zip(&after)
        .map(|(before, after)| wire_bytes(before, after))
        .sum::<Option<u64>>()
        .context("the nodes do not count packets")?;
    let late: u64 = before.iter().zip(&after).map(|(before, after)| late(after) - late(before)).sum();
    Ok(Figures::of(&watched, wire, useful(&before[1], &after[1]), late, cpu.iter().sum::<f64>() / length.as_secs_f64()))
}

impl Figures {
    fn of(watched: &Watched, wire_bytes: u64, useful: f64, late: u64, cores: f64) -> Self {
        let times = Latencies::of(watched.latencies.clone());
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let application = watched.application_bytes.max(1) as f64;
        Self {
            overhead: wire_bytes as f64 / application - 1.0,
            mean_ms: milliseconds(times.mean),
            p95_ms: milliseconds(times.p95),
            p99_ms: milliseconds(times.p99),
            useful: format!("{useful:.0} %"),
            more: format!(
                "{} segments, {} missing, {late} cells late or slots missed, {:.0} % of a core",
                times.count,
                watched.missing,
                cores * 100.0
            ),
        }
    }

    fn row(&self, table: &mut Table, name: &str, place: &str) {
        let time = |ms: f64| if ms < 1e3 { format!("{ms:.0} ms") } else { format!("{:.2} s", ms / 1e3) };
        table.row(&[
            name.to_owned(),
            place.to_owned(),
            format!("{:.2}", self.overhead),
            time(self.mean_ms),
            time(self.p95_ms),
            time(self.p99_ms),
            self.useful.clone(),
            self.more.clone(),
        ]);
    }
}

/// UDP payload that a node sent between two looks.
fn wire_bytes(before: &Status, after: &Status) -> Option<u64> {
    let packets = after.counters.packets_sent?.checked_sub(before.counters.packets_sent?)?;
    Some(packets * u64::from(after.counters.packet_size?))
}

fn late(status: &Status) -> u64 {
    status.counters.late_cells.unwrap_or(0) + status.counters.missed_slots.unwrap_or(0)
}

/// Cells with data, per cent of all.
fn useful(before: &Status, after: &Status) -> f64 {
    let of =
        |count: fn(&Status) -> Option<u64>| count(after).unwrap_or(0).saturating_sub(count(before).unwrap_or(0)) as f64;
    let (data, cover) = (of(|it| it.counters.data_cells_sent), of(|it| it.counters.cover_cells_sent));
    data / (data + cover).max(1.0) * 100.0
}
