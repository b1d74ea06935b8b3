//! Every line of a network with relays, as somebody with a tap on all of them sees it: mode `constant`, two legs of three hops, real
//! processes on the loopback of a namespace.

#![allow(clippy::print_stdout, reason = "figures are told with --nocapture")]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use adversary::{FALSE_ALARM_PER_TEST, judge_randomness, one_size};
use anyhow::{Context, anyhow, ensure};
use lab::bulk::{Window, alternate};
use lab::circuits::{CircuitNet, NetConfig};
use lab::load::{self, Service};
use lab::network::Namespace;
use lab::scratch::Scratch;
use lab::slots::SlotTally;
use lab::wiretap::{Line, Tapped, Wiretap};
use lab::witness::{Stalls, Witness};
use shaping::RateClass;

type Outcome = anyhow::Result<()>;

/// Bytes of every packet.
const P: usize = 1350;
/// Of a recording with whole packets.
const WHOLE: u32 = 2_000;
/// Length of a slot.
const SLOT: Duration = Duration::from_millis(5);
/// Of both directions of the tunnel.
const RATE: u64 = 4_000_000;
/// Packets of one of two legs in a slot: the tunnel's are two or three.
const PER_SLOT: RangeInclusive<u32> = 1..=2;
/// Length of a phase, and phases of each kind.
const PHASE: Duration = Duration::from_millis(1500);
const PHASES: usize = 5;
/// How far the packets of a second may be apart, idle and loaded, in thousandths.
const RATE_APART_PER_MILLE: f64 = 15.0;
/// Lines with fewer packets a second carry no leg: a relay says a word to another from time to time.
const LEG_AT_LEAST: f64 = 20.0;
/// How often the clock is asked: a machine that stands still for a while shows a difference, and a fault of ours is there each time.
const TRIES: u32 = 3;
/// Packets of a line that randomness is judged by.
const PAYLOADS_MIN: usize = 2_500;

#[test]
fn every_line_looks_the_same_idle_and_loaded() -> Outcome {
    let _turn = crate::take_turn();
    let here = Namespace::new("wire")?;
    // What crosses a real line is single packets.
    here.set_up("link set lo gso_max_segs 1\n")?;
    here.within(|| {
        for _ in 1..TRIES {
            match watch()? {
                None => return Ok(()),
                Some(unlike) => println!("{unlike:#}"),
            }
        }
        watch()?.map_or(Ok(()), Err)
    })
}

/// What the clock showed of a difference between idle and loaded, which a machine that stands still shows as well. What sizes and bytes
/// show is wrong at once.
fn watch() -> anyhow::Result<Option<anyhow::Error>> {
    let scratch = Scratch::new()?;
    let tap = Wiretap::start(scratch.path(), WHOLE)?;
    let (source, sink) = (load::start(Service::Source { bytes: u64::MAX })?, load::start(Service::Sink)?);
    let config = NetConfig { constant: Some(RateClass::at_least(RATE)?), ..NetConfig::new(3, 2) };
    let net = CircuitNet::start(&config.with_forward(source).with_forward(sink))?;
    let witness = Witness::start()?;
    let windows = alternate(PHASES, PHASE, net.forward(0), net.forward(1))?;
    let stalls = witness.stalls();
    let exit = net.exit().address.ip();
    let relays: Vec<IpAddr> = net.relays().iter().map(|relay| relay.address.ip()).collect();
    drop(net);
    let tapped = tap.finish()?;

    let rates: BTreeMap<Line, [f64; 2]> =
        tapped.lines().map(|line| (line, windows.each_ref().map(|windows| rate(&tapped, line, windows)))).collect();
    let carrying: Vec<Line> =
        rates.iter().filter(|(_, rates)| rates[0].max(rates[1]) > LEG_AT_LEAST).map(|(line, _)| *line).collect();
    for (line, [idle, loaded]) in &rates {
        println!("{} > {}: {idle:.1} packets a second idle, {loaded:.1} loaded", line.0, line.1);
    }
    // Two legs of three lines, both ways.
    ensure!(carrying.len() == 12, "{} lines carry a leg", carrying.len());
    for line in tapped.lines() {
        one_size(&tapped.sightings(line), P).with_context(|| format!("{line:?}"))?;
    }
    let mut unlike = None;
    for line in &carrying {
        let [idle, loaded] = rates[line];
        if (loaded / idle - 1.0).abs() * 1000.0 > RATE_APART_PER_MILLE {
            unlike.get_or_insert_with(|| anyhow!("{line:?}: {idle} packets a second idle, {loaded} loaded"));
        }
        let payloads = tapped.payloads(*line);
        ensure!(payloads.len() >= PAYLOADS_MIN, "{line:?}: {} packets", payloads.len());
        let report = judge_randomness(&payloads)?;
        ensure!(report.passes_at(FALSE_ALARM_PER_TEST), "{line:?}: {report}");
    }
    // Whoever has a schedule keeps to its slots: the entry, and the exit with its tunnel's cells.
    let is_entry = |address: IpAddr| address != exit && !relays.contains(&address);
    for line in carrying.iter().filter(|(from, _)| is_entry(*from) || *from == exit) {
        if let Err(error) = check_slots(&tapped, *line, &windows.concat(), &stalls) {
            unlike.get_or_insert(error);
        }
    }
    Ok(unlike)
}

/// Packets of a line in a second of these windows.
fn rate(tapped: &Tapped, line: Line, windows: &[Window]) -> f64 {
    let packets: usize = windows.iter().map(|it| tapped.between(line, it.from, it.to).len()).sum();
    let lasting: Duration = windows.iter().map(|it| it.to - it.from).sum();
    packets as f64 / lasting.as_secs_f64()
}

/// Almost every slot has its public number of packets, whatever phase it is of, without those that were due when the machine may
/// have stood still.
fn check_slots(tapped: &Tapped, line: Line, windows: &[Window], stalls: &Stalls) -> Outcome {
    let seen: Vec<_> = windows.iter().map(|it| tapped.between(line, it.from, it.to)).collect();
    let tally = SlotTally::new(&seen, SLOT, &PER_SLOT, stalls)?;
    println!("{} > {}: {tally}", line.0, line.1);
    tally.check().with_context(|| format!("{line:?}"))
}
