//! Programs as processes in the namespaces.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lab::downloads::{QuicServer, download};
use lab::network::{Host, HostPlan, LinePlan, Network, find};
use lab::process;
use lab::quic_load::{Downloaded, Served};
use lab::udp_load::{Arrived, Sent};

use super::{Outcome, PORT, both_families, ensure_near, within_three};

/// How long a program may take that takes two seconds.
const RUN_WITHIN: Duration = Duration::from_secs(60);
/// The lab's own binary.
const LAB: &str = env!("CARGO_BIN_EXE_lab");

/// The same in a host.
fn lab(host: &Host) -> anyhow::Result<Command> {
    host.namespace().command(LAB)
}

/// A stock download by the client from the server, as the two of them saw it.
pub(super) fn stock_download(
    network: &Network,
    to: SocketAddr,
    lasting: Duration,
) -> anyhow::Result<(Downloaded, Served)> {
    let mut server = QuicServer::start(Path::new(LAB), network.host("server")?.namespace(), to)?;
    let downloaded = download(Path::new(LAB), network.host("client")?.namespace(), to, lasting)?;
    let served = server.served(1)?.pop().context("one download has ended")?;
    Ok((downloaded, served))
}

#[test]
fn a_stock_quic_download_fills_a_line_and_is_seen_at_one_place() -> Outcome {
    within_three(|| {
        let path = simnet::Path::with_delay(Duration::from_millis(10)).with_rate(10_000_000, 50_000);
        let network =
            Network::start(&[HostPlan::line("client", LinePlan::symmetric(path)), HostPlan::cable("server")])?;
        let [_, to] = both_families(network.host("server")?, PORT);
        let (downloaded, served) = stock_download(&network, to, Duration::from_millis(1500))?;
        let goodput = &downloaded.goodput;
        let rate = goodput.bits_per_second(Duration::from_millis(500), Duration::from_millis(1500));
        ensure_near("goodput", rate, 9.2e6, 0.15)?;
        ensure!(downloaded.rtt >= Duration::from_millis(20) && served.rtt < Duration::from_millis(80), "{served:?}");
        ensure!((served.migrations(), served.mtu) == (0, 1452), "{served:?}");
        ensure!(goodput.longest_stall() < Duration::from_millis(500), "{:?}", goodput.longest_stall());
        Ok(())
    })
}

/// Waits until a socket of UDP is bound to this port of the host.
fn wait_until_bound(host: &Host, port: u16) -> Outcome {
    let deadline = Instant::now() + RUN_WITHIN;
    loop {
        let sockets = host.namespace().within(|| Ok(std::fs::read_to_string("/proc/thread-self/net/udp")?))?;
        let bound = format!(":{port:04X}");
        if sockets.lines().any(|line| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&bound))) {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "nobody listens on port {port}: {sockets}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_load_of_two_processes_crosses_a_named_network() -> Outcome {
    within_three(|| {
        let network = find("nat-preserving")?.start()?;
        let (client, server) = (network.host("client")?, network.host("server")?);
        let [to, _] = both_families(server, PORT);
        let mut sink = lab(server)?;
        sink.args(["udp-sink", "--seconds", "4", "--listen", &to.to_string()]);
        let sink = std::thread::spawn(move || process::run(&mut sink, RUN_WITHIN));
        wait_until_bound(server, PORT)?;
        let mut sender = lab(client)?;
        sender.args(["udp-send", "--seconds", "1", "--bits-per-second", "2000000", "--to", &to.to_string()]);
        let sent: Sent = serde_json::from_slice(&process::run(&mut sender, RUN_WITHIN)?.stdout)?;
        let output = sink.join().ok().context("the thread of the sink panicked")??;
        let arrived: Arrived = serde_json::from_slice(&output.stdout)?;
        ensure!((sent.packets, arrived.packets) == (208, 208), "{sent:?} {arrived:?}");
        ensure!(arrived.senders.len() == 1 && arrived.senders[0].ip() == server.gateway_ipv4(), "{arrived:?}");
        ensure!(arrived.delay(0.5).is_some_and(|delay| delay >= Duration::from_millis(10)), "{arrived:?}");
        Ok(())
    })
}
