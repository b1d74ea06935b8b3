//! Mode `constant`: full slots, idle cost, unlike rates, memory.

use std::time::Duration;

use admin::status::Status;
use anyhow::Context;

use super::Plan;
use super::off::own_processes;
use super::processes::resident_without_segments;
use super::table::{Samples, Table, at_least, at_most};
use super::traffic::{Endless, Transfer, Way};
use crate::pair::{Mode, Pair, PairConfig, Role};

const RATE: &str = "10 Mbit/s";
/// How long a transfer runs before it counts.
const SETTLE: Duration = Duration::from_secs(3);
/// How long an idle pair is watched.
const IDLE: Duration = Duration::from_secs(15);
/// Flows that are open while memory is read.
const FLOWS: usize = 100;
const MEMORY_MAX_MB: f64 = 40.0;

pub(super) fn section(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let mut text = format!("## Mode `constant`, {RATE}\n\n");
    text += &full_slots(plan, progress)?;
    text += &idle(plan, progress)?;
    text += &memory(progress)?;
    Ok(text)
}

/// What a node says about its cells over a time.
struct Cells {
    /// Session packets that the schedule has room for.
    class_megabits_per_second: f64,
    /// Cells with data, per cent of all.
    full: f64,
    /// Slots whose cells were not ready, so that ready cover packets went instead, and slots that the sender slept
    /// through, per cent of all slots: a busy machine's share of the empty cells.
    late: f64,
}

fn cells(before: &Status, after: &Status) -> anyhow::Result<Cells> {
    let count = |status: &Status| {
        let counters = &status.counters;
        let late = counters.late_cells? + counters.missed_slots?;
        Some([counters.data_cells_sent?, counters.cover_cells_sent?, late, counters.sampled_at_ms?])
    };
    let counts = count(before).zip(count(after));
    let (before_counts, after_counts) = counts.context("the node does not count its cells")?;
    let [data, cover, late, milliseconds] =
        [0, 1, 2, 3].map(|index: usize| after_counts[index].saturating_sub(before_counts[index]) as f64);
    let rate = after.schedule.send.context("the node has no schedule")?;
    let slots = milliseconds / f64::from(after.schedule.slot_ms.context("the node has no slots")?);
    Ok(Cells {
        class_megabits_per_second: rate.bits_per_second as f64 / 1e6,
        full: data / (data + cover) * 100.0,
        late: late / slots * 100.0,
    })
}

fn full_slots(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let server = Endless::start()?;
    let mut table = Table::new(&[
        "one bulk flow",
        "class, Mbit/s",
        "application bytes, Mbit/s",
        "share",
        "cells with data",
        "slots late or missed",
        "target",
    ]);
    let rates = |up: &str, down: &str| Mode::Constant { up: up.to_owned(), down: down.to_owned(), slot_ms: 5 };
    let cases = [
        ("10 Mbit/s both ways", rates(RATE, RATE), &Way::BOTH[..]),
        ("12.8 Mbit/s down, 256 kbit/s up", rates("256 kbit/s", "12.8 Mbit/s"), &Way::BOTH[..1]),
        ("100 Mbit/s both ways", rates("100 Mbit/s", "100 Mbit/s"), &Way::BOTH[..]),
    ];
    for (name, mode, ways) in cases {
        let pair = Pair::start(PairConfig::new(mode).with_forward(server.address))?;
        for way in ways {
            progress(&format!("full slots: {name}, {}", way.name()));
            let sender = if *way == Way::Down { Role::Exit } else { Role::Entry };
            let [mut speed, mut full, mut late] = <[Samples; 3]>::default();
            let mut class = 0.0;
            for _ in 0..plan.rounds {
                let transfer = Transfer::start(pair.forward(0), &server, *way)?;
                std::thread::sleep(SETTLE);
                let before = pair.status(sender)?;
                let seen = transfer.watch(Duration::from_secs(plan.seconds.into()))?;
                let cells = cells(&before, &pair.status(sender)?)?;
                speed.push(seen.megabits_per_second);
                full.push(cells.full);
                late.push(cells.late);
                class = cells.class_megabits_per_second;
                drop(transfer);
                std::thread::sleep(SETTLE);
            }
            table.row(&[
                format!("{name}, {}", way.name()),
                format!("{class:.2}"),
                speed.show(2),
                format!("{:.3}", speed.median() / class),
                format!("{} %", full.show(2)),
                format!("{} %", late.show(2)),
                at_least(full.median(), 99.0, 0),
            ]);
        }
    }
    Ok(table.finish())
}

fn idle(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let mut table = Table::new(&[
        "idle, % of one core",
        "unshaped-server",
        "shaped-client",
        "shaped-server",
        "unshaped-client",
        "shaped",
        "unshaped",
    ]);
    for (slot_ms, bound) in [(5, 5.0), (10, 2.5)] {
        progress(&format!("idle cost in slots of {slot_ms} ms"));
        let mode = Mode::Constant { up: RATE.to_owned(), down: RATE.to_owned(), slot_ms };
        let pair = Pair::start(PairConfig::new(mode))?;
        let watched = own_processes(&pair)?;
        std::thread::sleep(SETTLE);
        let mut shares = <[Samples; 4]>::default();
        for _ in 0..plan.rounds {
            let before = watched.cpu_ns();
            std::thread::sleep(IDLE);
            let used = watched.cpu_since(&before);
            shares.iter_mut().zip(used).for_each(|(all, seconds)| all.push(seconds / IDLE.as_secs_f64() * 100.0));
        }
        let [ingress, client, server, egress] = &shares;
        let mut cells = vec![format!("slots of {slot_ms} ms")];
        cells.extend(shares.iter().map(|share| share.show(2)));
        cells.push(at_most(client.median().max(server.median()), bound, 1));
        cells.push(at_most(ingress.median().max(egress.median()), 0.3, 1));
        table.row(&cells);
    }
    Ok(table.finish())
}

fn memory(progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let mut table = Table::new(&[
        "MB resident without segments",
        "unshaped-server",
        "shaped-client",
        "shaped-server",
        "unshaped-client",
        "target",
    ]);
    let server = Endless::start()?;
    for (name, mode) in [("constant, 10 Mbit/s", Mode::constant(RATE)), ("off", Mode::Off { congestion: "bbr" })] {
        let pair = Pair::start(PairConfig::new(mode).with_forward(server.address))?;
        let watched = own_processes(&pair)?;
        for flows in [0, FLOWS] {
            progress(&format!("memory of mode {name} with {flows} flows"));
            let transfers: std::io::Result<Vec<Transfer>> =
                (0..flows).map(|index| Transfer::start(pair.forward(0), &server, Way::BOTH[index % 2])).collect();
            let transfers = transfers?;
            std::thread::sleep(SETTLE * 2);
            let sizes: Samples =
                watched.0.iter().map(|(_, pid)| resident_without_segments(*pid) as f64 / 1e6).collect();
            let mut cells = vec![format!("mode `{name}`, {flows} flows, half down, half up")];
            cells.extend(
                watched.0.iter().map(|(_, pid)| format!("{:.1}", resident_without_segments(*pid) as f64 / 1e6)),
            );
            cells.push(at_most(sizes.largest(), MEMORY_MAX_MB, 0));
            table.row(&cells);
            drop(transfers);
        }
    }
    Ok(table.finish())
}
