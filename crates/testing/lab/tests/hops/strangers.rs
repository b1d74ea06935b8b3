//! Who does not know the key: ten thousand senders, and a scan of the ports.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, ensure};
use lab::attempts::within_three;
use lab::network::{HostPlan, Namespace, Network};
use lab::strangers::{FLOOD_PREFIX, SENDERS, closed, flood};
use lab::udp_load::Load;

use super::{Family, Hopping, Hops, Outcome, SECOND, echo};

/// Client, server and a third host whose packets come from [`FLOOD_PREFIX`].
fn network() -> anyhow::Result<Network> {
    let network = Network::start(&["client", "server", "attacker"].map(HostPlan::cable))?;
    network.host("attacker")?.namespace().set_up(&format!("route add local {FLOOD_PREFIX} dev lo\n"))?;
    Ok(network)
}

#[test]
fn ten_thousand_senders_open_nothing_are_not_answered_and_harm_nobody() -> Outcome {
    // What the machine loses while it stands still is no harm of theirs.
    within_three(ten_thousand_senders)
}

fn ten_thousand_senders() -> Outcome {
    let network = network()?;
    let hops = Hops::start(&network, Family::V4, Hopping::every(true, "500ms"))?;
    let (attacker, server) = (network.host("attacker")?, network.host("server")?);
    server.namespace().set_rules(
        "table inet watch {\n counter answers { }\n chain out { type filter hook output priority 0\n \
         ip daddr 10.99.0.0/16 counter name answers\n }\n}\n",
    )?;
    let open = open_ports(&hops)?;
    let targets: Vec<SocketAddr> = open.iter().map(|port| (server.ipv4(), *port).into()).collect();
    let mut descriptors = (0, 0);
    let flood = || {
        descriptors.0 = descriptor_count(hops.server.pid())?;
        flood(attacker.namespace(), &targets, |number| vec![number as u8; 52 + number % 205])?;
        descriptors.1 = descriptor_count(hops.server.pid())?;
        Ok(())
    };
    let echoes = echo::run(&network, &hops, Family::V4, Load::new(5_000_000, 3 * SECOND), flood)?;
    let answers = server.namespace().output("nft", &["list", "counter", "inet", "watch", "answers"])?;
    let answers = String::from_utf8(answers)?;
    let counted = hops.end()?;
    // The ports of a window may change meanwhile, which needs two more for a moment; a socket a sender would be thousands.
    ensure!(descriptors.1 <= descriptors.0 + 4, "descriptors before and after: {descriptors:?}");
    ensure!(answers.contains("packets 0"), "{answers}");
    ensure!(counted.of_server("opened") == 1, "{counted:?}");
    let strangers = counted.of_server("strangers");
    ensure!(strangers >= SENDERS as u64 * 9 / 10, "they came to an open port: {counted:?}");
    ensure!(echoes.lost() == 0, "{echoes:?} {counted:?}");
    Ok(())
}

/// The ports that are open now and stay so for half a minute.
fn open_ports(hops: &Hops) -> anyhow::Result<Vec<u16>> {
    let plan: serde_json::Value = serde_json::from_str(&hops.plan(&["--json", "--windows", "2"])?)?;
    let windows = plan["windows"].as_array().context("a plan has windows")?;
    let ports = windows.iter().filter_map(|window| window["ports"].as_array()).flatten();
    Ok(ports.filter_map(|port| u16::try_from(port.as_u64()?).ok()).collect())
}

fn descriptor_count(pid: u32) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("fd"))?.count())
}

#[test]
fn a_scan_finds_nothing_with_the_printed_lines_and_the_open_ports_without() -> Outcome {
    let network = network()?;
    let hops = Hops::start(&network, Family::V4, Hopping::every(true, "500ms"))?;
    let (attacker, server) = (network.host("attacker")?, network.host("server")?);
    // The kernel tells one asker of a closed port once a second only; a patient scan sees all of them.
    server.namespace().set_kernel(&[("ipv4/icmp_ratelimit", "0")])?;
    let open = open_ports(&hops)?;
    let scanned: Vec<u16> = (20_000..20_200).chain(open.iter().copied()).collect();
    let scan = || closed(attacker.namespace(), server.ipv4().into(), &scanned);
    let told = scan()?;
    ensure!(told.len() >= 190, "{} closed ports are told of", told.len());
    ensure!(open.iter().all(|port| !told.contains(port)), "an open port is silent: {open:?}");
    apply_plan(&hops, server.namespace())?;
    let told = scan()?;
    ensure!(told.is_empty(), "with the printed lines {told:?} are told of");
    Ok(())
}

/// Runs the lines of the plan that begin with `nft` and are about answers, as an operator does.
fn apply_plan(hops: &Hops, server: &Namespace) -> Outcome {
    let plan = hops.plan(&[])?;
    let lines = plan.lines().filter_map(|line| line.strip_prefix("nft ")).filter(|line| line.contains("hushwire"));
    let script: String = lines.map(|line| line.replace('\'', "") + "\n").collect();
    ensure!(script.lines().count() == 4, "{plan}");
    server.set_rules(&script)
}
