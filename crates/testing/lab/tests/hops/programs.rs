//! Programs that nobody here wrote, through a pair that hops twice a second: iperf3, dnsmasq and dig, wireguard-go.

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lab::network::{Host, Network};
use lab::process::{self, Running};
use lab::programs::find;
use lab::scratch::Scratch;
use serde_json::Value;

use super::trouble::ROUND_TRIP;
use super::{Family, Hopping, Hops, MEGABIT, Outcome, PATIENCE, line, read, within_three};

const IPERF: u16 = 5201;
const DNS: u16 = 5300;
const WIREGUARD: u16 = 51_820;
/// Hops twice a second.
const OFTEN: &str = "500ms";

/// A program of the list in a host.
fn program(host: &Host, name: &'static str) -> anyhow::Result<Command> {
    host.namespace().command(find(name)?)
}

#[test]
fn iperf_over_udp_with_its_control_connection_beside_the_pair() -> Outcome {
    within_three(|| {
        let network = line(ROUND_TRIP, None)?;
        for (keyed, reverse) in [(true, false), (false, true)] {
            let report = iperf(&network, Hopping::every(keyed, OFTEN), reverse, 2)?;
            let sum = &report["end"]["sum"];
            let rate = sum["bits_per_second"].as_f64().context("iperf3 reports a rate")?;
            let lost = sum["lost_percent"].as_f64().context("iperf3 reports loss")?;
            ensure!(
                rate > 9.5 * MEGABIT && lost < 0.5,
                "keyed {keyed}, reverse {reverse}: {rate:.0}, {lost} % {report}"
            );
        }
        Ok(())
    })
}

/// 10 Mbit/s of UDP through a pair. iperf3 also needs a TCP connection to the same port, which socat carries around it.
pub(super) fn iperf(network: &Network, hopping: Hopping, reverse: bool, seconds: u32) -> anyhow::Result<Value> {
    let (client, server) = (network.host("client")?, network.host("server")?);
    let folder = Scratch::new()?;
    let log = folder.join("iperf3.log");
    let mut listener = program(server, "iperf3")?;
    let mut listener = Running::start("iperf3", listener.args(["-s", "-1", "--forceflush"]), &log)?;
    listener.wait_until("listening", PATIENCE, || read(&log).contains("Server listening"))?;
    let hops = Hops::start_before(network, Family::V4, hopping, (IPERF, IPERF))?;
    let mut control = program(client, "socat")?;
    control.arg(format!("TCP4-LISTEN:{IPERF},bind=127.0.0.1,reuseaddr,fork"));
    control.arg(format!("TCP4:{}:{IPERF}", server.ipv4()));
    let _control = Running::start("socat", &mut control, &folder.join("socat.log"))?;
    let began = Instant::now();
    loop {
        let mut iperf = program(client, "iperf3")?;
        let seconds = seconds.to_string();
        iperf.args(["-c", "127.0.0.1", "-u", "-b", "10M", "-l", "1200", "-t", &seconds, "-J"]);
        if reverse {
            iperf.arg("-R");
        }
        let output = process::run_to_end(&mut iperf, 2 * PATIENCE)?;
        let report: Value = serde_json::from_slice(&output.stdout).context("iperf3 prints JSON")?;
        // socat may not listen yet.
        if report["error"].is_null() {
            ensure!(hops.end()?.hops() > 1, "the pair hops meanwhile");
            return Ok(report);
        }
        ensure!(began.elapsed() < PATIENCE, "{}", report["error"]);
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn dig_asks_dnsmasq() -> Outcome {
    let network = line(ROUND_TRIP, None)?;
    let (client, server) = (network.host("client")?, network.host("server")?);
    let folder = Scratch::new()?;
    let mut dnsmasq = program(server, "dnsmasq")?;
    dnsmasq.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--bind-interfaces"]);
    dnsmasq.args(["--listen-address=127.0.0.1", "--log-facility=-", "--pid-file="]);
    dnsmasq.args([&format!("--port={DNS}"), "--address=/hop.example/192.0.2.7", "--user=root"]);
    let log = folder.join("dnsmasq.log");
    let mut dnsmasq = Running::start("dnsmasq", &mut dnsmasq, &log)?;
    dnsmasq.wait_until("its start", PATIENCE, || read(&log).contains("started"))?;
    for keyed in [true, false] {
        let hops = Hops::start_before(&network, Family::V4, Hopping::every(keyed, OFTEN), (DNS, DNS))?;
        for _ in 0..5 {
            let mut dig = program(client, "dig")?;
            dig.args(["@127.0.0.1", "-p", &DNS.to_string(), "+short", "+timeout=5", "name.hop.example"]);
            let answer = String::from_utf8(process::run(&mut dig, PATIENCE)?.stdout)?;
            ensure!(answer.trim() == "192.0.2.7", "{answer}");
        }
        hops.end()?;
    }
    Ok(())
}

#[test]
fn wireguard_does_not_notice() -> Outcome {
    within_three(|| {
        let network = line(ROUND_TRIP, None)?;
        let measured = wireguard(&network, Hopping::every(true, OFTEN), 2)?;
        ensure!(measured.rate > 20.0 * MEGABIT && measured.endpoints == 1 && measured.hops > 1, "{measured:?}");
        Ok(())
    })
}

/// A TCP transfer over WireGuard through a pair.
#[derive(Debug)]
pub(super) struct Tunnelled {
    /// Bits a second.
    pub(super) rate: f64,
    pub(super) hops: u64,
    /// Places at which the server saw its peer.
    pub(super) endpoints: usize,
}

pub(super) fn wireguard(network: &Network, hopping: Hopping, seconds: u32) -> anyhow::Result<Tunnelled> {
    let folder = Scratch::new()?;
    let (client, server) = (network.host("client")?, network.host("server")?);
    let (ours, theirs) = (Peer::new(client, 'c')?, Peer::new(server, 's')?);
    let hops = Hops::start_before(network, Family::V4, hopping, (WIREGUARD, WIREGUARD))?;
    let _theirs = theirs.start(&folder, "10.88.0.2", &ours, None)?;
    let _ours = ours.start(&folder, "10.88.0.1", &theirs, Some(hops.listen))?;
    let mut listener = program(server, "iperf3")?;
    let log = folder.join("iperf3.log");
    let mut listener = Running::start("iperf3", listener.args(["-s", "-1", "--forceflush"]), &log)?;
    listener.wait_until("listening", PATIENCE, || read(&log).contains("Server listening"))?;
    let mut iperf = program(client, "iperf3")?;
    iperf.args(["-c", "10.88.0.2", "-R", "-t", &seconds.to_string(), "-J"]);
    let mut endpoints = std::collections::BTreeSet::new();
    let output = std::thread::scope(|scope| {
        let running = scope.spawn(|| process::run(&mut iperf, 2 * PATIENCE));
        while !running.is_finished() {
            endpoints.insert(theirs.endpoint()?);
            std::thread::sleep(Duration::from_millis(200));
        }
        running.join().ok().context("iperf3's thread panicked")?
    })?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    // Before the first packet the peer is nowhere.
    endpoints.retain(|endpoint| !endpoint.contains("(none)"));
    Ok(Tunnelled {
        rate: report["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 reports a rate")?,
        hops: hops.end()?.hops(),
        endpoints: endpoints.len(),
    })
}

/// One end of a WireGuard tunnel.
struct Peer<'network> {
    host: &'network Host,
    /// Of its interface, by which its control socket is found: no other process has it.
    interface: String,
    private: String,
    public: String,
}

impl<'network> Peer<'network> {
    fn new(host: &'network Host, end: char) -> anyhow::Result<Self> {
        let wg = || -> anyhow::Result<Command> { Ok(Command::new(find("wg")?)) };
        let private = String::from_utf8(process::run(wg()?.arg("genkey"), PATIENCE)?.stdout)?;
        let public = String::from_utf8(process::run_script(wg()?.arg("pubkey"), &private, PATIENCE)?.stdout)?;
        Ok(Self {
            host,
            interface: format!("wg{end}{}", std::process::id()),
            private,
            public: public.trim().to_owned(),
        })
    }

    fn start(&self, folder: &Scratch, address: &str, peer: &Self, to: Option<SocketAddr>) -> anyhow::Result<Running> {
        let log = folder.join(&format!("{}.log", self.interface));
        let mut command = program(self.host, "wireguard-go")?;
        command.args(["--foreground", &self.interface]).env("LOG_LEVEL", "verbose");
        let mut running = Running::start("wireguard-go", &mut command, &log)?;
        running.wait_until("listening", PATIENCE, || read(&log).contains("UAPI listener started"))?;
        let key = folder.write(&format!("{}.key", self.interface), &self.private)?;
        let mut wg = program(self.host, "wg")?;
        wg.args(["set", &self.interface, "listen-port", &if to.is_none() { WIREGUARD } else { 0 }.to_string()]);
        wg.arg("private-key").arg(key);
        wg.args(["peer", &peer.public, "allowed-ips", "10.88.0.0/24"]);
        if let Some(to) = to {
            wg.args(["endpoint", &to.to_string()]);
        }
        process::run(&mut wg, PATIENCE)?;
        let interface = &self.interface;
        self.host
            .namespace()
            .set_up(&format!("address add {address}/24 dev {interface}\nlink set {interface} up\n"))?;
        Ok(running)
    }

    /// Where it sees its peer.
    fn endpoint(&self) -> anyhow::Result<String> {
        let mut wg = program(self.host, "wg")?;
        Ok(String::from_utf8(process::run(wg.args(["show", &self.interface, "endpoints"]), PATIENCE)?.stdout)?)
    }
}
