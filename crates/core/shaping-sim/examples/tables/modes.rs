//! Every mode on video, what changes of the load do, and an evening with a pause.

use crate::{LENGTH, Outcome, SEEDS, head, optional, short, time};
use shaping::RateClass;
use shaping::accountant::Epsilon;
use shaping_sim::published::netshaper_mode;
use shaping_sim::recommended::{Promise, Rule, dp_modes, dp_modes_with};
use shaping_sim::targets::{TargetError, stepped_modes};
use shaping_sim::trace::{Direction, Trace};
use shaping_sim::{Average, ConstantRate, Cost, Exchanges, Mode, Report, Setup, Workload};
use shaping_sim::{run, run_seeds, slowest_class, video_segments};
use std::time::Duration;

pub(crate) fn print() -> Outcome {
    for clients in [1, 16, 128] {
        print_modes(clients)?;
    }
    print_changes()?;
    print_evening()
}

fn print_modes(clients: u32) -> Outcome {
    head(
        &format!("Every mode, {clients} video client{}", if clients == 1 { "" } else { "s" }),
        "Loss is that of the direction down, in 300 s; epsilon at delta 1e-6; the quota is 4 Mbit/s a client.",
        "mode | overhead | down | mean | p50 | p95 | p99 | Mbit/s | useful | epsilon of W | of all | bits",
    );
    let workload = Workload::Exchanges(Exchanges::video(clients)?);
    let promise = Promise::new(Epsilon::new(1.0)?);
    let setup = Setup::new(LENGTH, 0);
    let [up, dp] = dp_modes(&workload, &promise)?;
    let reports = run_seeds(&workload, [&up, &dp], &setup, SEEDS)?;
    let of_dp = Average::of(&reports);
    print_mode("off", &run_seeds(&workload, [&Mode::Off, &Mode::Off], &setup, SEEDS)?);
    print_mode("dp, as recommended", &reports);
    let same = slowest_class(&workload, &up, &setup, SEEDS, |average| average.p95_ms <= of_dp.p95_ms)?;
    if let Some((class, _)) = same {
        let down = Mode::Constant(ConstantRate::Class(class));
        let reports = run_seeds(&workload, [&up, &down], &setup, SEEDS)?;
        print_mode(&format!("constant, {class}: the same p95"), &reports);
    }
    // NetShaper's queues hold whole segments.
    let wide = Setup { ring_bytes: 2_097_152, ..setup };
    for interval_ms in [100, 500, 1_000] {
        let down = netshaper_mode(clients, interval_ms, setup.slot, &promise)?;
        let reports = run_seeds(&workload, [&up, &down], &wide, SEEDS)?;
        print_mode(&format!("queue, T = {interval_ms} ms"), &reports);
    }
    Ok(())
}

fn print_mode(name: &str, reports: &[Report]) {
    let average = Average::of(reports);
    let cost = reports.first().map_or(Cost::Everything, |report| report.down.cost);
    println!(
        "| {name} | {} | {} | {} | {} | {} | {} | {} | {:.0} % | {} | {} | {} |",
        short(average.overhead),
        short(average.overhead_down),
        time(average.mean_ms),
        time(average.p50_ms),
        time(average.p95_ms),
        time(average.p99_ms),
        short(average.wire_bytes_per_second * 8e-6),
        100.0 * average.useful_share_down,
        optional(cost.epsilon_of_window()),
        optional(cost.epsilon_of_all()),
        optional(cost.bits()),
    );
}

/// A crowd shrinks to a quarter for five minutes and comes back within 5 s.
fn print_changes() -> Outcome {
    head(
        "A crowd that leaves and comes back",
        "15 minutes of video down; from minute 5 to 10 only a quarter of the clients watch. Means of 4 seeds.",
        "clients | gain | margin | errors | ring | overhead down | mean | p99",
    );
    for (clients, rules) in [(128, [Rule::MANY, fast(Rule::MANY)]), (16, [Rule::FEW, fast(Rule::FEW)])] {
        for rule in rules {
            for ring_bytes in [256 * 1024, 2_500_000] {
                print_change(clients, rule, ring_bytes)?;
            }
        }
    }
    Ok(())
}

/// The same rule with a short memory.
fn fast(rule: Rule) -> Rule {
    Rule { gain: shaping::Per1024(307), ..rule }
}

fn print_change(clients: u32, rule: Rule, ring_bytes: u64) -> Outcome {
    let length = Duration::from_secs(900);
    let promise = Promise::new(Epsilon::new(1.0)?);
    let expected = Workload::Exchanges(Exchanges::video(clients)?);
    let [_, down] = dp_modes_with(&expected, &promise, [rule; 2])?;
    let mut reports = Vec::new();
    for seed in 0..4 {
        let Ok(all) = video_segments(clients, length, seed) else { continue };
        let few = |at: Duration| (300..600).contains(&at.as_secs());
        let watched = all.transfers().iter().filter(|segment| !few(segment.at) || segment.client.0 < clients / 4);
        let Ok(trace) = Trace::new(watched.copied().collect()) else { continue };
        let setup = Setup { ring_bytes, drain: Duration::from_secs(3_600), ..Setup::new(length, seed) };
        reports.push(run(&Workload::Replay(trace), &Mode::Off, &down, &setup)?);
    }
    let average = Average::of(&reports);
    let part = |value: shaping::Per1024| f64::from(value.0) / 1024.0;
    println!(
        "| {clients} | {:.2} | {:.3} | {:.2} | {} KB | {} | {} | {} |",
        part(rule.gain),
        part(rule.margin),
        part(rule.errors),
        ring_bytes / 1000,
        short(average.overhead_down),
        time(average.mean_ms),
        time(average.p99_ms)
    );
    Ok(())
}

/// Four hours, one of them with video.
fn print_evening() -> Outcome {
    head(
        "One client, four hours, video in the second",
        "Down; up is left out. Four classes: 256 kbit/s, 2, 10, 50 Mbit/s.",
        "mode | overhead down | mean | p95 | p99 | bits an hour",
    );
    let hours = |hours: u64| Duration::from_secs(3_600 * hours);
    let watched = video_segments(1, hours(1), 0).map(|trace| trace.transfers().to_vec()).unwrap_or_default();
    let late = watched.into_iter().map(|segment| shaping_sim::trace::Transfer { at: segment.at + hours(1), ..segment });
    let Ok(trace) = Trace::new(late.collect()) else { return Ok(()) };
    let workload = Workload::Replay(trace);
    let [_, stepped] = stepped_modes()?;
    let constant = Mode::Constant(ConstantRate::Class(RateClass::at_least(2_000_000).map_err(TargetError::from)?));
    let setup = Setup::new(hours(4), 0);
    for (name, mode) in [("constant, 2.04 Mbit/s", constant), ("stepped", stepped)] {
        let report = run(&workload, &Mode::Off, &mode, &setup)?;
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        let latency = report.direction(Direction::Down).latency;
        println!(
            "| {name} | {} | {} | {} | {} | {} |",
            optional(report.down.overhead()),
            time(milliseconds(latency.mean)),
            time(milliseconds(latency.p95)),
            time(milliseconds(latency.p99)),
            optional(report.down.cost.bits().map(|bits| bits / 4.0)),
        );
    }
    Ok(())
}
