//! Programs at a unix listener of an entry, plain and under the library of `hushwire swap`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum as _;

use super::Plan;
use super::processes::Watched;
use super::table::{Samples, Table, ratios};
use super::traffic::Endless;
use crate::load::{self, Service};
use crate::pair::{Mode, Pair, PairConfig, Role, swap_library};
use crate::process;
use crate::unix_load::{Done, Work};

/// What a run may take beside its transfer.
const MORE: Duration = Duration::from_secs(60);

const WORKS: [Work; 3] = [Work::Down, Work::Up, Work::Trips];

fn name(work: Work) -> &'static str {
    match work {
        Work::Down => "download, 64 KiB a call",
        Work::Up => "upload, 64 KiB a call",
        Work::Trips => "64 B there and back",
    }
}

/// All rounds of one work, plain or swapped.
#[derive(Default)]
struct Rounds {
    /// Mbit/s, or microseconds of a round trip.
    speed: Vec<f64>,
    /// Seconds of processor time for 10^9 bytes, or microseconds for a round trip: of the entry's unshaped process, and of
    /// the program.
    entry: Vec<f64>,
    program: Vec<f64>,
    /// Calls of the unshaped process that moved bytes by a ring: which way they went.
    ring_calls: Vec<f64>,
}

pub(super) fn section(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let (endless, echo) = (Endless::start()?, load::start(Service::Echo)?);
    let config = PairConfig::new(Mode::Off { congestion: "bbr" });
    let pair = Pair::start(config.with_unix_forward(endless.address).with_unix_forward(echo))?;
    let unshaped = pair.pids(Role::Entry)?.into_iter().find(|(name, _)| name == "unshaped-server");
    let watched = Watched(vec![unshaped.context("the entry has an unshaped process")?]);
    let mut rounds: Vec<[Rounds; 2]> = WORKS.iter().map(|_| Default::default()).collect();
    let (mut connections, mut ring_calls_before) = (0, 0);
    for round in 1..=plan.rounds {
        for (work, ways) in WORKS.iter().zip(&mut rounds) {
            for (is_swapped, rounds) in ways.iter_mut().enumerate() {
                progress(&format!("swap, round {round} of {}: {}", plan.rounds, name(*work)));
                let path = pair.unix_forward(usize::from(*work == Work::Trips));
                let before = watched.cpu_ns();
                let done = run(&path, *work, plan.seconds, is_swapped == 1)?;
                let entry_s = watched.cpu_since(&before).first().copied().unwrap_or_default();
                rounds.push(*work, done, entry_s);
                connections += 1;
                let ring_calls = ring_calls(&pair, connections)?;
                check_way(*work, is_swapped == 1, ring_calls - ring_calls_before)?;
                rounds.ring_calls.push((ring_calls - ring_calls_before) as f64);
                ring_calls_before = ring_calls;
            }
        }
    }
    Ok(show(plan, &rounds))
}

/// Calls by a ring that the entry has counted when so many connections have come and ended. Its status is new each second.
fn ring_calls(pair: &Pair, connections: u64) -> anyhow::Result<u64> {
    let began = Instant::now();
    loop {
        let flows = pair.status(Role::Entry)?.flows;
        let swapped = flows.swapped.unwrap_or_default();
        let count = |name: &str| swapped.get(name).copied().unwrap_or_default();
        if count("connections") == connections && flows.open == Some(0) {
            return Ok(count("ring_sends") + count("ring_receives"));
        }
        anyhow::ensure!(began.elapsed() < MORE, "a connection does not end: {swapped:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A swapped stream goes by rings, and small messages do not, nor does anything plain.
fn check_way(work: Work, is_swapped: bool, ring_calls: u64) -> anyhow::Result<()> {
    let should = is_swapped && work != Work::Trips;
    let kind = if is_swapped { "swapped" } else { "plain" };
    anyhow::ensure!(should == (ring_calls > 0), "{}, {kind}: {ring_calls} calls by a ring", name(work));
    Ok(())
}

impl Rounds {
    fn push(&mut self, work: Work, done: Done, entry_s: f64) {
        let (speed, unit) = match work {
            Work::Trips => (done.trip_us, done.bytes as f64 / 64.0 / 1e6),
            _ => (done.bytes as f64 * 8.0 / 1e6 / done.seconds, done.bytes as f64 / 1e9),
        };
        self.speed.push(speed);
        self.entry.push(entry_s / unit);
        self.program.push(done.cpu_s / unit);
    }
}

fn run(path: &Path, work: Work, seconds: u32, is_swapped: bool) -> anyhow::Result<Done> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("unix-load").arg("--to").arg(path).args(["--seconds", &seconds.to_string(), "--work"]);
    command.args(work.to_possible_value().map(|value| value.get_name().to_owned()));
    if is_swapped {
        command.env("LD_PRELOAD", swap_library()?);
    }
    let output = process::run(&mut command, Duration::from_secs(seconds.into()) + MORE)?;
    serde_json::from_slice(&output.stdout).context("the client prints JSON")
}

fn show(plan: &Plan, rounds: &[[Rounds; 2]]) -> String {
    let text = format!(
        "## At a unix listener of an entry\n\nMode `off`, pair and program on one machine; median (range) of {} rounds of {} s in \
         turns. Speed: Mbit/s, or microseconds of a round trip. Processor time of the entry's unshaped process and of the program: \
         seconds for 10^9 bytes, or microseconds for a round trip. By a ring: calls of the unshaped process; without any, all went by \
         the socket, as small messages should. Ratio: swapped divided by plain, round by round.\n\n",
        plan.rounds, plan.seconds
    );
    let mut table = Table::new(&["load", "what", "plain", "swapped", "ratio"]);
    for (work, [plain, swapped]) in WORKS.iter().zip(rounds) {
        let figures = [
            ("speed", &plain.speed, &swapped.speed, 0),
            ("unshaped process", &plain.entry, &swapped.entry, 2),
            ("program", &plain.program, &swapped.program, 2),
            ("by a ring", &plain.ring_calls, &swapped.ring_calls, 0),
        ];
        for (what, plain, swapped, decimals) in figures {
            let show = |figures: &[f64]| figures.iter().copied().collect::<Samples>().show(decimals);
            let row = [name(*work).to_owned(), what.to_owned(), show(plain), show(swapped)];
            table.row(&[row.as_slice(), &[ratios(swapped, plain).show(2)]].concat());
        }
    }
    text + &table.finish()
}
