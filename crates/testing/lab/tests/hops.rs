//! `hushwire hop client` and `hushwire hop server` as processes in the lab's network: what they cost a stock QUIC download,
//! what they save it from, and programs that know nothing of them. Small here, in full size by `cargo xtask long hops`.
//! Everything runs in network namespaces, so as root.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use lab::attempts::within_three;
use lab::downloads::{QuicServer, download};
use lab::network::{Family, FlowThrottle, HostPlan, LinePlan, Network};
use lab::pair::hushwire;
use lab::process::{self, Running};
use lab::quic_load::{Downloaded, Served};
use lab::scratch::Scratch;
use simnet::Path as NetworkPath;

#[path = "hops/echo.rs"]
mod echo;
#[path = "hops/goodput.rs"]
mod goodput;
#[path = "hops/long.rs"]
mod long;
#[path = "hops/programs.rs"]
mod programs;
#[path = "hops/strangers.rs"]
mod strangers;
#[path = "hops/trouble.rs"]
mod trouble;

type Outcome = anyhow::Result<()>;

const LAB: &str = env!("CARGO_BIN_EXE_lab");
/// How long a start, a hop or a program may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);
const MEGABIT: f64 = 1e6;
/// Of the line.
const RATE: u64 = 50_000_000;
/// 50 ms of the line.
const QUEUE_BYTES: usize = 312_500;
/// Where programs send to, in the client's namespace, and where the target listens, in the server's.
const LISTEN: u16 = 4433;
const TARGET: u16 = 9000;
/// The ports that are hopped over.
const PORTS: &str = "20000-20999";

/// How a pair is told to hop.
#[derive(Clone, Copy, Debug)]
struct Hopping {
    keyed: bool,
    interval: &'static str,
    bytes: &'static str,
}

impl Hopping {
    /// A pair that forwards and stays where it is.
    fn never(keyed: bool) -> Self {
        Self { keyed, interval: "86400s", bytes: "1000 GiB..1000 GiB" }
    }

    fn every(keyed: bool, interval: &'static str) -> Self {
        Self { interval, ..Self::never(keyed) }
    }

    /// What a client does that is told nothing.
    fn usual(keyed: bool) -> Self {
        Self { keyed, interval: "20s..40s", bytes: "64 MB..256 MB" }
    }

    fn each(keyed: bool, bytes: &'static str) -> Self {
        Self { bytes, ..Self::never(keyed) }
    }
}

/// Both ends as processes. They end with this value.
struct Hops {
    client: Running,
    server: Running,
    folder: Scratch,
    /// Where programs send to.
    listen: SocketAddr,
}

const KEY: &str = "hop.key";
const CLIENT_LOG: &str = "client.log";
const SERVER_LOG: &str = "server.log";

impl Hops {
    /// Starts them in the hosts `client` and `server`, before what listens at the server's loopback at [`TARGET`].
    fn start(network: &Network, family: Family, hopping: Hopping) -> anyhow::Result<Self> {
        Self::start_before(network, family, hopping, (LISTEN, TARGET))
    }

    /// The same with another port to send to and another target.
    fn start_before(
        network: &Network,
        family: Family,
        hopping: Hopping,
        (listen, target): (u16, u16),
    ) -> anyhow::Result<Self> {
        let folder = Scratch::new()?;
        let key = folder.join(KEY);
        process::run(Command::new(hushwire()?).args(["hop", "key"]).arg(&key), PATIENCE)?;
        let host = network.host("server")?;
        let address = family.of(host);
        let mut server = host.namespace().command(hushwire()?)?;
        server.args(["hop", "server", "--listen", &address.to_string(), "--ports", PORTS]);
        server.args(["--to", &family.loopback(target).to_string()]);
        let listen = family.loopback(listen);
        let mut client = network.host("client")?.namespace().command(hushwire()?)?;
        client.args(["hop", "client", "--listen", &listen.to_string()]);
        let shown = if address.is_ipv6() { format!("[{address}]:{PORTS}") } else { format!("{address}:{PORTS}") };
        client.args(["--server", &shown, "--interval", hopping.interval, "--bytes", hopping.bytes]);
        client.arg("--unsafe-interval");
        if hopping.keyed {
            client.arg("--key").arg(&key);
            server.arg("--key").arg(&key);
        }
        let logs = [&folder.join(CLIENT_LOG), &folder.join(SERVER_LOG)];
        let mut server = Running::start("hop server", &mut server, logs[1])?;
        server.wait_until("hearing", PATIENCE, || read(logs[1]).contains("hearing clients"))?;
        let mut client = Running::start("hop client", &mut client, logs[0])?;
        client.wait_until("its start", PATIENCE, || read(logs[0]).contains("programs may send here"))?;
        Ok(Self { client, server, folder, listen })
    }

    /// Ends both and returns what they counted.
    fn end(self) -> anyhow::Result<Counted> {
        let Self { client, server, folder, .. } = self;
        for (end, name) in [(client, "client"), (server, "server")] {
            let status = end.stop()?;
            ensure!(status.success(), "the {name} ended with {status}");
        }
        let last = |log: &str| -> anyhow::Result<String> {
            let text = read(&folder.join(log));
            let line = text.lines().rev().find(|line| line.contains("flows=")).context("it tells its counters")?;
            Ok(line.to_owned())
        };
        Ok(Counted { client: last(CLIENT_LOG)?, server: last(SERVER_LOG)? })
    }

    /// What `hushwire hop plan` prints for their ports and key.
    fn plan(&self, options: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(hushwire()?);
        command.args(["hop", "plan", "--ports", PORTS]).args(options).arg("--key").arg(self.folder.join(KEY));
        Ok(String::from_utf8(process::run(&mut command, PATIENCE)?.stdout)?)
    }
}

/// The last lines of counters.
#[derive(Debug)]
struct Counted {
    client: String,
    server: String,
}

impl Counted {
    /// Hops of whatever cause.
    fn hops(&self) -> u64 {
        let words = self.client.split_whitespace().filter(|word| word.starts_with("hops_"));
        words.filter_map(|word| word.split_once('=')?.1.parse::<u64>().ok()).sum()
    }

    /// What follows `name=` in the server's line; 0 if it is not there.
    fn of_server(&self, name: &str) -> u64 {
        let mut words = self.server.split_whitespace().filter_map(|word| word.split_once('='));
        words.find(|(word, _)| *word == name).and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
    }
}

fn read(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}

/// A client at a line of 50 Mbit/s and a server at a cable.
fn line(round_trip: Duration, throttle: Option<FlowThrottle>) -> anyhow::Result<Network> {
    let path = NetworkPath::with_delay(round_trip / 2).with_rate(RATE, QUEUE_BYTES);
    let plan = LinePlan::symmetric(path);
    let plan = match throttle {
        Some(throttle) => plan.with_throttle(throttle),
        None => plan,
    };
    Network::start(&[HostPlan::line("client", plan), HostPlan::cable("server")])
}

/// A stock QUIC download through a pair.
struct Through {
    downloaded: Downloaded,
    served: Served,
    counted: Counted,
}

impl Through {
    fn run(network: &Network, family: Family, hopping: Hopping, lasting: Duration) -> anyhow::Result<Self> {
        let server = network.host("server")?.namespace();
        let mut server = QuicServer::start(Path::new(LAB), server, family.loopback(TARGET))?;
        let hops = Hops::start(network, family, hopping)?;
        let downloaded = download(Path::new(LAB), network.host("client")?.namespace(), hops.listen, lasting)?;
        let served = server.served(1)?.pop().context("one download has ended")?;
        Ok(Self { downloaded, served, counted: hops.end()? })
    }

    /// Bits a second after a start.
    fn rate(&self, from: Duration) -> f64 {
        self.downloaded.goodput.bits_per_second(from, Duration::MAX / 2)
    }
}
