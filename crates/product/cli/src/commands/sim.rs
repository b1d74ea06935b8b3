//! `hushwire sim`: what each mode costs on given traffic, and what it tells, on virtual time.

mod figures;
mod network;
mod nodes;
mod pictures;
mod reaction;
mod rows;
mod traffic;

use crate::args::{SimArgs, SimCommand, SimMode, SimOptions};
use crate::failure::{Code, Failure, Outcome};
use crate::terminal;
use figures::Figures;
use nodes::Nodes;
use rows::{Plan, Row};
use shaping::accountant::Epsilon;
use shaping_sim::Setup;
use shaping_sim::recommended::Promise;
use std::fmt::Display;
use std::time::Duration;
use traffic::Traffic;

/// What `--epsilon` may say, as `dp.epsilon` in a configuration.
const EPSILONS: std::ops::RangeInclusive<f64> = 0.001..=100.0;

pub(crate) fn run(args: &SimArgs) -> Outcome {
    match &args.command {
        Some(SimCommand::Reaction(args)) => reaction::run(args),
        Some(SimCommand::Network(args)) => network::run(args),
        None => simulate(&args.options),
    }
}

fn simulate(options: &SimOptions) -> Outcome {
    let nodes = Nodes::load(&options.config)?;
    let traffic = Traffic::new(options)?;
    let plan = plan(options, &traffic, nodes.as_ref())?;
    // So that nobody waits for pictures that then have no place.
    let folder = options.plot.as_deref().map(pictures::folder).transpose()?;
    let rows = match (&nodes, options.mode) {
        (None, None) => rows::every_mode(&plan),
        (Some(nodes), _) => vec![configured(nodes, &plan)].into_iter().chain(others(options, &plan)).collect(),
        (None, Some(mode)) => rows::of_mode(&plan, mode).into_iter().chain(others(options, &plan)).collect(),
    };
    if rows.iter().all(|row| row.came.is_err()) {
        return Err(refused(&rows, options));
    }
    if let Some(folder) = folder {
        pictures::write(folder, &plan, &rows)?;
    }
    let figures = Figures::new(&traffic, &plan, &rows);
    terminal::say(&if options.json { figures.json()? } else { figures.table() });
    Ok(())
}

/// The other modes, where they are asked for.
fn others(options: &SimOptions, plan: &Plan<'_>) -> Vec<Row> {
    if !options.compare {
        return Vec::new();
    }
    let shown = options.mode;
    rows::MODES.into_iter().filter(|mode| Some(*mode) != shown).flat_map(|mode| rows::of_mode(plan, mode)).collect()
}

fn configured(nodes: &Nodes, plan: &Plan<'_>) -> Row {
    let came = shaping_sim::run(&plan.traffic.workload, &nodes.up, &nodes.down, &plan.setup)
        .map_err(|error| error.to_string());
    Row::new(format!("{}, as configured", nodes.mode.name()), came)
}

fn plan<'a>(options: &SimOptions, traffic: &'a Traffic, nodes: Option<&Nodes>) -> Result<Plan<'a>, Failure> {
    let epsilon = Epsilon::new(options.epsilon).ok().filter(|epsilon| EPSILONS.contains(&epsilon.value()));
    let epsilon = epsilon.ok_or_else(|| {
        Failure::new(Code::Data, format!("--epsilon {} is outside 0.001..=100", options.epsilon))
            .remedy("1 is strong for one epoch and adds up over many")
    })?;
    let rate = |name: &str, text: &Option<String>| {
        let class = text.as_deref().map(config::parse_rate).transpose();
        class.map_err(|problem| {
            let text = text.as_deref().unwrap_or_default();
            Failure::new(Code::Data, format!("{name} {text:?}: {problem}")).remedy(problem.remedy())
        })
    };
    let mut setup =
        Setup { one_way: Duration::from_millis(options.one_way_ms), ..Setup::new(traffic.measured, options.seed) };
    if let Some(nodes) = nodes {
        nodes.adapt(&mut setup);
    }
    Ok(Plan {
        traffic,
        promise: Promise::new(epsilon),
        setup,
        rates: [rate("--up", &options.up)?, rate("--down", &options.down)?],
        decisions_ms: options.decision_ms.map_or(rows::DECISIONS_MS.to_vec(), |decision| vec![decision]),
    })
}

/// No mode that was asked for can run.
fn refused(rows: &[Row], options: &SimOptions) -> Failure {
    let first = rows.iter().find_map(|row| Some((&row.name, row.came.as_ref().err()?)));
    let Some((mode, reason)) = first else { return defect("there is no mode") };
    let remedy = if options.config.is_empty() {
        "take fewer clients or a shorter time, or run it without --mode to see which modes can"
    } else {
        "correct the file, or take fewer clients or a shorter time"
    };
    Failure::new(Code::Data, format!("mode {mode} cannot carry this traffic: {reason}")).remedy(remedy)
}

/// Something of the simulator that only a defect can refuse.
fn defect(error: impl Display) -> Failure {
    Failure::new(Code::Software, format!("the simulation cannot be made: {error}"))
}

/// Milliseconds or seconds, with about three digits.
fn time(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1e3;
    match milliseconds {
        0.0..20.0 => format!("{milliseconds:.1} ms"),
        20.0..1_000.0 => format!("{milliseconds:.0} ms"),
        1_000.0..100_000.0 => format!("{:.2} s", milliseconds / 1e3),
        _ => format!("{:.0} s", milliseconds / 1e3),
    }
}

/// About three digits.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A number, or a dash where there is none.
fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), short)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_about_three_digits() {
        assert_eq!([0.5, 12.34, 123.4].map(short), ["0.50", "12.3", "123"]);
        let times = [1, 25, 1_500, 123_400].map(|ms| time(Duration::from_millis(ms)));
        assert_eq!(times, ["1.0 ms", "25 ms", "1.50 s", "123 s"]);
        assert_eq!(optional(None), "–");
    }
}
