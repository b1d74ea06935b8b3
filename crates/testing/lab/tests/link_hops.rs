//! Real pairs that change their ports. Here, on loopback: bytes come through whole, every packet has one size, and `status`
//! shows where the link is. In `link_hops/`: the two nodes on two sides of the lab's network, what hops cost a flow, save it
//! from and show. Small here, in full size by `cargo xtask long link-hops`. All of it needs root.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use admin::status::Hops;
use anyhow::{Context, bail, ensure};
use lab::load::{self, Service, read_pattern};
use lab::pair::{Mode, Pair, PairConfig, Role};
use lab::programs;
use rustix::process::{Pid, Signal, kill_process};

#[path = "link_hops/capture.rs"]
mod capture;
#[path = "link_hops/goodput.rs"]
mod goodput;
#[path = "link_hops/long.rs"]
mod long;
#[path = "link_hops/rig.rs"]
mod rig;
#[path = "link_hops/strangers.rs"]
mod strangers;
#[path = "link_hops/trouble.rs"]
mod trouble;
#[path = "link_hops/watchers.rs"]
mod watchers;

/// Ports of the exit. All ports of entries lie below.
const FIRST: u16 = 21_000;
const LAST: u16 = 22_999;
/// Bytes of every packet.
const P: u64 = 1350;
/// Hops that a test waits for.
const HOPS: u64 = 5;
/// How long a busy machine may take for them.
const WITHIN: Duration = Duration::from_secs(60);
/// Bytes of one download.
const DOWNLOAD: u64 = 500_000;

type Outcome = anyhow::Result<()>;

#[expect(clippy::print_stderr, reason = "figures, shown with --nocapture")]
fn say(line: &str) {
    eprintln!("{line}");
}

/// A program that counts the UDP packets of the exit's ports; killed on drop.
struct Watch(Child, BufReader<ChildStdout>);

/// Packets of one pair of ports and one size.
#[derive(Debug, Clone, Copy)]
struct Counted {
    source: u16,
    destination: u16,
    bytes: u64,
    count: u64,
}

impl Watch {
    fn start() -> anyhow::Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/udp_sizes.py");
        let mut command = Command::new(programs::python()?);
        command.arg(script).args([FIRST.to_string(), LAST.to_string()]).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let output = child.stdout.take().context("its output is piped")?;
        let mut watch = Self(child, BufReader::new(output));
        let mut line = String::new();
        watch.1.read_line(&mut line)?;
        ensure!(line == "listening\n", "packets cannot be watched; this test needs root: {line}");
        Ok(watch)
    }

    fn end(mut self) -> anyhow::Result<Vec<Counted>> {
        let pid = Pid::from_raw(i32::try_from(self.0.id())?).context("a process has a number")?;
        kill_process(pid, Signal::TERM)?;
        let mut text = String::new();
        self.1.read_to_string(&mut text)?;
        let counted = text.lines().map(|line| {
            let numbers: Vec<u64> = line.split(' ').map_while(|word| word.parse().ok()).collect();
            let [source, destination, bytes, count] = numbers[..] else { bail!("not a count: {line}") };
            Ok(Counted { source: source.try_into()?, destination: destination.try_into()?, bytes, count })
        });
        counted.collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn hops(pair: &Pair, role: Role) -> anyhow::Result<Option<Hops>> {
    Ok(pair.status(role)?.links.into_iter().next().and_then(|link| link.hops))
}

fn hopping(mode: Mode) -> anyhow::Result<(Pair, Watch)> {
    let source = load::start(Service::Source { bytes: DOWNLOAD })?;
    let ports = format!("hop_ports = \"{FIRST}-{LAST}\"");
    let config = PairConfig::new(mode)
        .with_forward(source)
        .with_line_of(Role::Exit, "network", &ports)
        .with_line_of(Role::Entry, "hops", "interval = \"1500ms..2s\"")
        .with_line_of(Role::Entry, "hops", "unsafe_below_floor = true");
    let watch = Watch::start()?;
    Ok((Pair::start(config)?, watch))
}

/// Downloads until both ends have hopped often enough; what `status` of the entry showed meanwhile.
fn download_over_hops(pair: &Pair) -> anyhow::Result<Vec<Hops>> {
    let (begun, mut seen) = (Instant::now(), Vec::new());
    loop {
        let bytes = read_pattern(&mut BufReader::new(TcpStream::connect(pair.forward(0))?))?;
        ensure!(bytes == DOWNLOAD, "{bytes} of {DOWNLOAD} bytes\n{}", pair.logs());
        seen.extend(hops(pair, Role::Entry)?);
        let at_exit = hops(pair, Role::Exit)?.map_or(0, |hops| hops.hops);
        if at_exit >= HOPS && seen.last().is_some_and(|hops| hops.hops >= HOPS) {
            return Ok(seen);
        }
        ensure!(begun.elapsed() < WITHIN, "{at_exit} hops at the exit, the entry: {:?}\n{}", seen.last(), pair.logs());
    }
}

fn check(mode: Mode) -> Outcome {
    let _turn = crate::take_turn();
    let (pair, watch) = hopping(mode)?;
    let seen = download_over_hops(&pair)?;
    let last = seen.last().context("the entry showed its hops")?;
    assert!(last.causes.iter().any(|cause| cause == "interval over"), "{last:?}");
    let exit = hops(&pair, Role::Exit)?.context("the exit shows hops")?;
    assert!(exit.local_port.is_some_and(|port| (FIRST..=LAST).contains(&port)), "{exit:?}");
    assert!(exit.remote_port < FIRST && exit.causes.iter().all(|cause| cause == "followed"), "{exit:?}");
    drop(pair);
    let counted = watch.end()?;
    // Loopback carries a batch as one buffer, which the receiver takes apart: whole packets of P, up to the batch.
    let packets: u64 = counted.iter().map(|counted| counted.count * (counted.bytes / P)).sum();
    let odd: Vec<_> = counted.iter().filter(|counted| counted.bytes == 0 || !counted.bytes.is_multiple_of(P)).collect();
    assert!(packets > 500 && odd.is_empty(), "{packets} packets, of another size: {odd:?}");
    let in_range = counted.iter().filter(|counted| counted.source < FIRST && counted.destination >= FIRST);
    let to_exit: BTreeSet<(u16, u16)> = in_range.map(|counted| (counted.source, counted.destination)).collect();
    let (sources, ports): (BTreeSet<u16>, BTreeSet<u16>) = to_exit.iter().copied().unzip();
    assert!(ports.len() as u64 >= HOPS && sources.len() as u64 >= HOPS, "other ports at both ends: {to_exit:?}");
    Ok(())
}

#[test]
fn a_shaped_pair_hops_and_every_byte_comes() -> Outcome {
    check(Mode::constant("10 Mbit/s"))
}

#[test]
fn a_pair_without_a_schedule_hops_and_every_byte_comes() -> Outcome {
    check(Mode::Off { congestion: "bbr" })
}
