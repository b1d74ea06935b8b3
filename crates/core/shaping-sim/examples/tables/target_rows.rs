//! The targets, what they reach, and what nobody can beat.

use crate::{LENGTH, Outcome, SEEDS, head, optional, short, time};
use shaping_sim::targets::{Bound, Limits, Target, least_overhead_of_one_client, targets};
use shaping_sim::{Average, ConstantRate, Exchanges, Mode, Report, Setup, Workload, run_seeds};
use std::time::Duration;

pub(crate) fn print() -> Outcome {
    head(
        "Targets",
        "epsilon 1 for each direction, delta 1e-6, W 5 s, Delta 2.5 MB down and 256 KB up; headers, classes and turns of one \
         cell. Aim and reached: overhead / mean / 99th percentile.",
        "row | aim | reached | overhead | mean | p50 | p95 | p99 | useful cells down | dropped",
    );
    for target in targets()? {
        print_row(&target, &target.measure(LENGTH, SEEDS)?);
    }
    print_bounds()?;
    print_one_client()?;
    print_turns()
}

fn print_row(target: &Target, reports: &[Report]) {
    let average = Average::of(reports);
    let verdict = |limits: &Limits| if limits.hold(&average) { "met" } else { "missed" };
    println!(
        "| {} | {}: {} | {}: {} | {} | {} | {} | {} | {} | {:.0} % | {} B |",
        target.name,
        limits(&target.aim),
        verdict(&target.aim),
        limits(&target.reached),
        verdict(&target.reached),
        short(average.overhead),
        time(average.mean_ms),
        time(average.p50_ms),
        time(average.p95_ms),
        time(average.p99_ms),
        100.0 * average.useful_share_down,
        reports.iter().map(Report::dropped_bytes).sum::<u64>(),
    );
}

fn limits(limits: &Limits) -> String {
    let p99 = limits.p99_ms.map_or_else(|| "–".to_owned(), time);
    format!("{} / {} / {p99}", optional(limits.overhead), time(limits.mean_ms))
}

fn print_bounds() -> Outcome {
    head(
        "What no schedule can beat",
        "A constant rate without classes and noise, chosen by somebody who knows the load, at the overhead of the target.",
        "clients | overhead | mean by turns of one cell | p99 | mean in order of arrival | p99",
    );
    for (clients, overhead) in [(128, 0.5), (16, 1.0)] {
        let bound = Bound::measure(clients, overhead, LENGTH, SEEDS)?;
        println!(
            "| {clients} | {} | {} | {} | {} | {} |",
            short(bound.by_turns.overhead),
            time(bound.by_turns.mean_ms),
            time(bound.by_turns.p99_ms),
            time(bound.in_order.mean_ms),
            time(bound.in_order.p99_ms),
        );
    }
    let limit = Duration::from_millis(1_700);
    let least = least_overhead_of_one_client(limit, &Setup::new(LENGTH, 0));
    println!("\nOne client, mean of at most 1.7 s: overhead of at least {} down alone.", short(least));
    Ok(())
}

fn print_one_client() -> Outcome {
    head("One video client at a constant class", "256 kbit/s up.", "class down | overhead | mean | p95 | p99");
    let workload = Workload::Exchanges(Exchanges::video(1)?);
    let up = Mode::Constant(ConstantRate::Class(shaping::RateClass::SLOWEST));
    for number in 8..=15 {
        let class = shaping::RateClass::new(number)?;
        let down = Mode::Constant(ConstantRate::Class(class));
        let average = Average::of(&run_seeds(&workload, [&up, &down], &Setup::new(LENGTH, 0), SEEDS)?);
        println!(
            "| {class} | {} | {} | {} | {} |",
            short(average.overhead),
            time(average.mean_ms),
            time(average.p95_ms),
            time(average.p99_ms)
        );
    }
    Ok(())
}

/// What the length of a turn does: from fair shares at every moment to first come, first served.
fn print_turns() -> Outcome {
    head(
        "The length of a turn",
        "128 video clients, `dp` as recommended; only the service differs.",
        "turn | overhead | mean | p50 | p95 | p99",
    );
    let targets = targets()?;
    let Some(many) = targets.first() else { return Ok(()) };
    let [up, down] = &many.modes;
    for turn_bytes in [1_222, 65_536, 262_144, 524_288, 2_097_152] {
        let setup = Setup { turn_bytes, ..Setup::new(LENGTH, 0) };
        let average = Average::of(&run_seeds(&many.workload, [up, down], &setup, SEEDS)?);
        println!(
            "| {turn_bytes} B | {} | {} | {} | {} | {} |",
            short(average.overhead),
            time(average.mean_ms),
            time(average.p50_ms),
            time(average.p95_ms),
            time(average.p99_ms)
        );
    }
    Ok(())
}
