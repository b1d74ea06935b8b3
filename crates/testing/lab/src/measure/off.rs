//! Throughput in mode `off` beside the plain pair, with processor time.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use super::Plan;
use super::plain_pair::PlainPair;
use super::processes::Watched;
use super::table::{Samples, Table, at_least, ratios};
use super::traffic::Way;
use crate::pair::{Mode, Pair, PairConfig, Role};
use crate::plain::Control;
use crate::process;
use crate::programs;
use crate::scratch::Scratch;
use crate::servers::{self, Nginx, Server};

/// The object that curl fetches.
const OBJECT_BYTES: u64 = 1_000_000_000;
const OBJECT: &str = "object";
/// Least speed in Mbit/s, and least share of the plain pair's.
const LEAST: f64 = 1200.0;
const LEAST_SHARE: f64 = 0.45;
/// A transfer of a gigabyte on a busy machine.
const WITHIN: Duration = Duration::from_secs(300);
/// iperf3 closes its port after a test and opens it again.
const PORT_REOPENS: Duration = Duration::from_millis(500);

/// One way of moving bytes.
#[derive(Clone, Copy, Debug)]
enum Load {
    Iperf { way: Way, streams: u32 },
    Curl,
}

const LOADS: [Load; 5] = [
    Load::Iperf { way: Way::Up, streams: 1 },
    Load::Iperf { way: Way::Down, streams: 1 },
    Load::Iperf { way: Way::Up, streams: 8 },
    Load::Iperf { way: Way::Down, streams: 8 },
    Load::Curl,
];

impl Load {
    fn name(self) -> String {
        match self {
            Self::Iperf { way, streams: 1 } => format!("iperf3 {}, 1 stream", way.name()),
            Self::Iperf { way, streams } => format!("iperf3 {}, {streams} streams", way.name()),
            Self::Curl => "curl, download of 1 GB".to_owned(),
        }
    }
}

/// One transfer: what arrived, and what it cost each process.
struct Transfer {
    megabits_per_second: f64,
    cpu_s_per_gb: Vec<f64>,
}

/// All rounds of one load through one system.
#[derive(Default)]
struct Rounds {
    speeds: Vec<f64>,
    cpu: Vec<Samples>,
}

impl Rounds {
    fn push(&mut self, transfer: Transfer) {
        self.speeds.push(transfer.megabits_per_second);
        self.cpu.resize_with(transfer.cpu_s_per_gb.len(), Samples::default);
        self.cpu.iter_mut().zip(transfer.cpu_s_per_gb).for_each(|(all, one)| all.push(one));
    }
}

struct Servers {
    iperf: Server,
    nginx: Nginx,
    _folder: Scratch,
}

pub(super) fn section(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let folder = Scratch::new()?;
    let servers = Servers { iperf: servers::iperf3(&folder)?, nginx: Nginx::start()?, _folder: folder };
    servers.nginx.publish(OBJECT, OBJECT_BYTES)?;
    let config = PairConfig::new(Mode::Off { congestion: "bbr" }).with_forward(servers.iperf.address);
    let pair = Pair::start(config)?;
    let plain_iperf = PlainPair::start(servers.iperf.address, Control::Cubic, None)?;
    let plain_nginx = PlainPair::start(servers.nginx.http.address, Control::Cubic, None)?;
    let ours = own_processes(&pair)?;
    let mut rounds: Vec<[Rounds; 2]> = LOADS.iter().map(|_| Default::default()).collect();
    for round in 1..=plan.rounds {
        for (load, [own, plain]) in LOADS.iter().zip(&mut rounds) {
            progress(&format!("off, round {round} of {}: {}", plan.rounds, load.name()));
            let (through, proxy) = match load {
                Load::Iperf { .. } => (pair.forward(0), None),
                Load::Curl => (servers.nginx.http.address, Some(pair.proxy())),
            };
            let moved = transfer(*load, plan, through, proxy, &ours);
            own.push(moved.with_context(|| format!("the pair; {}", servers.iperf.process.log_tail()))?);
            let system = match load {
                Load::Iperf { .. } => &plain_iperf,
                Load::Curl => &plain_nginx,
            };
            let moved = transfer(*load, plan, system.address, None, &system.watched());
            plain.push(moved.with_context(|| format!("the plain pair; {}", servers.iperf.process.log_tail()))?);
        }
    }
    Ok(speeds(plan, &rounds) + &costs(&ours, &plain_iperf.watched(), &rounds))
}

/// The four working processes of a pair, in the order in which a byte from the application meets them.
pub(super) fn own_processes(pair: &Pair) -> anyhow::Result<Watched> {
    let mut all = pair.pids(Role::Entry)?;
    all.extend(pair.pids(Role::Exit)?);
    let order = ["unshaped-server", "shaped-client", "shaped-server", "unshaped-client"];
    let find = |name: &&str| all.iter().find(|(found, _)| found == name).cloned();
    let found: Vec<_> = order.iter().filter_map(find).collect();
    anyhow::ensure!(found.len() == order.len(), "the pair has the processes {all:?}");
    Ok(Watched(found))
}

fn transfer(
    load: Load,
    plan: &Plan,
    to: SocketAddr,
    proxy: Option<SocketAddr>,
    watched: &Watched,
) -> anyhow::Result<Transfer> {
    std::thread::sleep(PORT_REOPENS);
    let before = watched.cpu_ns();
    let (bytes, seconds) = match load {
        Load::Iperf { way, streams } => iperf(to, way, streams, plan.seconds)?,
        Load::Curl => curl(to, proxy)?,
    };
    let cpu_s_per_gb = watched.cpu_since(&before).iter().map(|seconds| seconds / (bytes / 1e9)).collect();
    Ok(Transfer { megabits_per_second: bytes * 8.0 / 1e6 / seconds, cpu_s_per_gb })
}

/// Bytes that the receiver counted, and seconds.
fn iperf(to: SocketAddr, way: Way, streams: u32, seconds: u32) -> anyhow::Result<(f64, f64)> {
    let mut command = Command::new(programs::find("iperf3")?);
    command.args(["--client", &to.ip().to_string(), "--port", &to.port().to_string(), "--json"]);
    command.args(["--time", &seconds.to_string(), "--parallel", &streams.to_string()]);
    if way == Way::Down {
        command.arg("--reverse");
    }
    let output = process::run(&mut command, WITHIN)?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let sum = &report["end"]["sum_received"];
    let figures = (sum["bytes"].as_f64(), sum["seconds"].as_f64());
    let (Some(bytes), Some(seconds)) = figures else { anyhow::bail!("iperf3 reports no sum: {report}") };
    Ok((bytes, seconds))
}

fn curl(server: SocketAddr, proxy: Option<SocketAddr>) -> anyhow::Result<(f64, f64)> {
    let mut command = Command::new(programs::find("curl")?);
    command.args(["--silent", "--show-error", "--fail", "--output"]).arg(Path::new("/dev/null"));
    command.args(["--write-out", "%{size_download}"]);
    if let Some(proxy) = proxy {
        command.arg("--proxy").arg(format!("socks5h://{proxy}"));
    }
    let begin = Instant::now();
    let output = process::run(command.arg(format!("http://{server}/{OBJECT}")), WITHIN)?;
    let seconds = begin.elapsed().as_secs_f64();
    let bytes: u64 = String::from_utf8_lossy(&output.stdout).trim().parse().context("curl prints a number")?;
    anyhow::ensure!(bytes == OBJECT_BYTES, "curl fetched {bytes} bytes");
    Ok((bytes as f64, seconds))
}

fn speeds(plan: &Plan, rounds: &[[Rounds; 2]]) -> String {
    let mut text = format!(
        "## Throughput in mode `off`\n\nMbit/s of application bytes, median (range) of {} rounds in turns; iperf3 for {} s. \
         The plain pair is two processes with one QUIC connection (quinn), one stream a connection, packets of 1350 \
         bytes.\n\n",
        plan.rounds, plan.seconds
    );
    let mut table = Table::new(&["load", "Hushwire", "plain pair", "ratio by round", "Mbit/s", "ratio"]);
    for (load, [own, plain]) in LOADS.iter().zip(rounds) {
        let (speed, ratio) = (own.speeds.iter().copied().collect::<Samples>(), ratios(&own.speeds, &plain.speeds));
        table.row(&[
            load.name(),
            speed.show(0),
            plain.speeds.iter().copied().collect::<Samples>().show(0),
            ratio.show(2),
            at_least(speed.median(), LEAST, 0),
            at_least(ratio.median(), LEAST_SHARE, 2),
        ]);
    }
    text += &table.finish();
    text
}

fn costs(ours: &Watched, plain: &Watched, rounds: &[[Rounds; 2]]) -> String {
    let mut header = vec!["CPU seconds per 10^9 bytes"];
    let names: Vec<&str> = ours.names().into_iter().chain(plain.names()).collect();
    header.extend(names);
    header.insert(5, "sum of the four");
    let mut table = Table::new(&header);
    for (load, [own, plain]) in LOADS.iter().zip(rounds) {
        let mut cells = vec![load.name()];
        cells.extend(own.cpu.iter().chain(&plain.cpu).map(|samples| format!("{:.2}", samples.median())));
        cells.insert(5, format!("{:.2}", own.cpu.iter().map(Samples::median).sum::<f64>()));
        table.row(&cells);
    }
    table.finish()
}
