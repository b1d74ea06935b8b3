//! Who has no key: ten thousand senders at a link's ports, and a scan of them.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use lab::attempts::within_three;
use lab::network::{Family, HostPlan, Network};
use lab::pair::{Role, hushwire};
use lab::process;
use lab::strangers::{FLOOD_PREFIX, SENDERS, closed, flood};

use super::rig::{DOOR, Hopping, Linked, MEGABIT, PORTS, SECOND, constant};
use super::{Outcome, WITHIN, say};

/// Bytes of a link's packets; half of the strangers' have as many.
const P: usize = 1350;
/// A link hops by itself so often meanwhile.
const HOPPING: &str = "1s";

/// Entry, exit and a third host whose packets come from [`FLOOD_PREFIX`].
fn network() -> anyhow::Result<Network> {
    let network = Network::start(&["entry", "exit", "attacker"].map(HostPlan::cable))?;
    let attacker = network.host("attacker")?;
    attacker.namespace().set_up(&format!("route add local {FLOOD_PREFIX} dev lo\n"))?;
    network.provider().set_up(&format!("route add {FLOOD_PREFIX} via {}\n", attacker.ipv4()))?;
    Ok(network)
}

/// Runs the line for the firewall that `hushwire check` prints, as an operator does.
fn apply_printed_line(link: &Linked<'_>) -> Outcome {
    let mut check = Command::new(hushwire()?);
    check.args(["check", "-c"]).arg(link.pair.folder().join("exit.toml"));
    let printed = process::printed(&process::run(&mut check, WITHIN)?);
    let line = printed.lines().map(str::trim).find(|line| line.starts_with("nft "));
    let line = line.with_context(|| format!("a line for the firewall: {printed}"))?;
    process::run(link.exit.namespace().command("sh")?.args(["-c", line]), WITHIN)?;
    Ok(())
}

/// Noise of a number: every packet another one, the same in every run.
fn noise(number: usize) -> Vec<u8> {
    let length = if number.is_multiple_of(2) { P } else { 1 + number % 1400 };
    let mut word = (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = || {
        // xorshift64* (Vigna 2016).
        word ^= word >> 12;
        word ^= word << 25;
        word ^= word >> 27;
        word.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn ten_thousand_senders_open_nothing_are_not_answered_and_harm_nobody() -> Outcome {
    let _turn = crate::take_turn();
    // What the machine loses while it stands still is no harm of theirs.
    within_three(ten_thousand_senders)
}

fn ten_thousand_senders() -> Outcome {
    let network = network()?;
    let link = Linked::start(&network, Family::V4, constant(), Hopping::every(HOPPING))?;
    link.wait_for_hops(1)?;
    let exit = network.host("exit")?;
    let attacker = network.host("attacker")?.namespace();
    // Ports that the link leaves meanwhile are closed ones. What still goes out is counted behind the line.
    apply_printed_line(&link)?;
    exit.namespace().set_rules(
        "table inet watch {\n counter answers { }\n chain out { type filter hook output priority 100\n \
         ip daddr 10.99.0.0/16 counter name answers\n }\n}\n",
    )?;
    let dropped_before: u64 = link.pair.status(Role::Exit)?.counters.drops.values().sum();
    let flooded = || {
        let mut targets = vec![SocketAddr::from((exit.ipv4(), DOOR))];
        targets.extend(link.udp_ports(Role::Exit)?.into_iter().map(|port| SocketAddr::from((exit.ipv4(), port))));
        flood(attacker, &targets, noise)?;
        Ok(targets)
    };
    let (downloaded, targets, sockets) = std::thread::scope(|scope| {
        let download = scope.spawn(|| link.download(3 * SECOND));
        let (targets, sockets) = link.counting_sockets(Role::Exit, flooded)?;
        anyhow::Ok((download.join().ok().context("the download panicked")??, targets, sockets))
    })?;
    let answers = exit.namespace().output("nft", &["list", "counter", "inet", "watch", "answers"])?;
    let answers = String::from_utf8(answers)?;
    ensure!(answers.contains("packets 0"), "{answers}");
    ensure!(targets.len() >= 4, "the door and candidates were flooded: {targets:?}");
    // Ports of the link, which go on changing, and the door.
    ensure!(sockets <= 9, "{sockets} sockets while {targets:?} were flooded");
    let rate = downloaded.rate(SECOND) / MEGABIT;
    ensure!(rate > 30.0, "{rate:.2} Mbit/s beside the flood");
    // A node reports once a second. Ports that were left meanwhile are closed, and nobody counts what comes there.
    let came = || -> anyhow::Result<u64> {
        let drops = link.pair.status(Role::Exit)?.counters.drops;
        Ok(drops.values().sum::<u64>() - dropped_before)
    };
    let began = std::time::Instant::now();
    while came()? < SENDERS as u64 / 2 {
        ensure!(began.elapsed() < WITHIN, "{:?} of {SENDERS} were dropped", came());
        std::thread::sleep(Duration::from_millis(100));
    }
    let ports = targets.len();
    say(&format!("{SENDERS} senders to {ports} ports: {sockets} sockets, no answer, {rate:.2} Mbit/s beside them"));
    Ok(())
}

#[test]
fn a_scan_finds_nothing_with_the_printed_line_and_closed_ports_without() -> Outcome {
    let _turn = crate::take_turn();
    let network = network()?;
    let link = Linked::start(&network, Family::V4, constant(), Hopping::every(HOPPING).and_every("20s"))?;
    let (attacker, exit) = (network.host("attacker")?, network.host("exit")?);
    // The kernel tells one asker of a closed port once a second only; a patient scan sees all of them.
    exit.namespace().set_kernel(&[("ipv4/icmp_ratelimit", "0")])?;
    let open: Vec<u16> = link.udp_ports(Role::Exit)?;
    ensure!(open.len() >= 4 && open.contains(&DOOR), "the door and three candidates: {open:?}");
    let scanned: Vec<u16> = (PORTS.0..PORTS.0 + 200).chain(open.iter().copied()).collect();
    let scan = || closed(attacker.namespace(), exit.ipv4().into(), &scanned);
    let told = scan()?;
    let (count, shut) = (scanned.len(), told.len());
    say(&format!("a scan of {count} ports, {} of them open: {shut} are told to be closed", open.len()));
    ensure!(told.len() >= 190, "{} closed ports are told of", told.len());
    ensure!(open.iter().all(|port| !told.contains(port)), "an open port is silent: {open:?}");
    apply_printed_line(&link)?;
    let told = scan()?;
    ensure!(told.is_empty(), "with the printed line {told:?} are told of");
    Ok(())
}
