//! Mode `constant` over circuits between real processes on loopback: two legs of three hops carry the rate that was asked for, and
//! the entry sends as much when nothing is transferred.

#![allow(clippy::print_stdout, reason = "figures are told with --nocapture")]

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lab::attempts::within_three;
use lab::circuits::{CircuitNet, NetConfig};
use lab::load::{self, Service};
use lab::pair::Role;
use lab::socks;
use shaping::RateClass;

type Outcome = anyhow::Result<()>;

/// Of both directions.
const RATE: u64 = 4_000_000;
/// Bytes of a flow that a cell carries at most; the session's own frames take some.
const CELL_BYTES: f64 = 1_198.0;
const SESSION_PACKET: f64 = 1_222.0;
/// How long the other end may say nothing, on a busy machine.
const SILENCE: Duration = Duration::from_secs(30);
/// How long packets are counted.
const COUNTED: Duration = Duration::from_secs(4);
/// The figures of `status` are made once a second.
const STATUS_EVERY: Duration = Duration::from_secs(1);

fn constant() -> anyhow::Result<RateClass> {
    Ok(RateClass::at_least(RATE)?)
}

fn net() -> anyhow::Result<CircuitNet> {
    CircuitNet::start(&NetConfig { constant: Some(constant()?), ..NetConfig::new(3, 2) })
}

/// Packets that the entry sends in a second, by two of its reports.
fn packets_per_second(net: &CircuitNet) -> anyhow::Result<f64> {
    let sent = || {
        let counters = net.status(Role::Entry)?.counters;
        let at = counters.sampled_at_ms.context("a report")?;
        anyhow::Ok((at, counters.packets_sent.context("a count")?))
    };
    let (from, before) = sent()?;
    std::thread::sleep(COUNTED + STATUS_EVERY);
    let (to, after) = sent()?;
    Ok((after - before) as f64 * 1_000.0 / (to - from) as f64)
}

#[test]
fn a_transfer_has_the_rate_and_shows_in_no_count_of_packets() -> Outcome {
    let _turn = crate::take_turn();
    within_three(transferred)
}

fn transferred() -> Outcome {
    let net = net()?;
    let idle = packets_per_second(&net)?;
    let bytes = 6_000_000;
    let source = load::start(Service::Source { bytes })?;
    let began = Instant::now();
    let busy = std::thread::scope(|scope| {
        let counting = scope.spawn(|| packets_per_second(&net));
        socks::download(net.proxy(), source, bytes, SILENCE, |_| {})?;
        counting.join().map_err(|_| anyhow::anyhow!("the counting thread panicked"))?
    })?;
    let rate = bytes as f64 * 8.0 / began.elapsed().as_secs_f64();
    let wanted = constant()?.bits_per_second() as f64;
    println!(
        "idle {idle:.0} packets a second, in a transfer {busy:.0}; {:.2} of {:.2} Mbit/s",
        rate / 1e6,
        wanted / 1e6
    );
    let most = wanted / SESSION_PACKET * CELL_BYTES;
    ensure!(rate <= most * 1.02, "{rate}: more than the schedule has");
    ensure!(rate > most * 0.75, "{rate} of {most}");
    let public = wanted / 8.0 / SESSION_PACKET;
    for (what, seen) in [("idle", idle), ("in a transfer", busy)] {
        ensure!((seen / public - 1.0).abs() < 0.05, "{what}: {seen} packets a second, and the schedule has {public}");
    }
    Ok(())
}
