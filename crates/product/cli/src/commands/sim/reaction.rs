//! `hushwire sim reaction`: how far one client moves what is measured of all when the others react.

use super::short;
use crate::args::ReactionArgs;
use crate::failure::{Code, Failure, Outcome};
use crate::terminal;
use serde::Serialize;
use shaping_sim::closed_loop::{Experiment, Influence};
use std::fmt::Write;

/// Most rows; more is a mistake, or work for a script.
const ROWS_MAX: usize = 1_000;

/// One row.
#[derive(Debug, Serialize)]
struct Reaction {
    clients: u32,
    /// Bytes that leave for each that is asked for.
    load: f64,
    epochs: u32,
    open_loop: Spread,
    closed_loop: Spread,
}

/// Over all runs: the L2 norm of the difference of all counts in units of Delta, and how many counts differ.
#[derive(Debug, Serialize)]
struct Spread {
    mean: f64,
    least: f64,
    most: f64,
    fewest_epochs: u32,
    most_epochs: u32,
}

pub(super) fn run(args: &ReactionArgs) -> Outcome {
    let bytes = |name: &str, text: &str| {
        let parsed = config::parse_bytes(text);
        let failed = |problem: config::Problem| {
            Failure::new(Code::Data, format!("{name} {text:?}: {problem}")).remedy(problem.remedy())
        };
        parsed.map(|bytes| bytes.0).map_err(failed)
    };
    let (delta_bytes, ring_bytes) = (bytes("--quota", &args.quota)?, bytes("--ring", &args.ring)?);
    let loads = args.load.iter().map(|load| per_cent(*load)).collect::<Result<Vec<_>, _>>()?;
    if args.clients.len() * loads.len() * args.epochs.len() > ROWS_MAX {
        return Err(Failure::new(Code::Usage, format!("these are more than {ROWS_MAX} experiments"))
            .remedy("name fewer values of --clients, --load and --epochs"));
    }
    let mut rows = Vec::new();
    for &clients in &args.clients {
        for &load_per_cent in &loads {
            for &epochs in &args.epochs {
                let experiment =
                    Experiment { epochs, load_per_cent, delta_bytes, ring_bytes, ..Experiment::video(clients) };
                rows.push(Reaction::measure(&experiment, args)?);
            }
        }
    }
    terminal::say(&if args.json { json(&rows)? } else { table(&rows, args) });
    Ok(())
}

/// Below 101 % queues grow for ever, and the experiment says so itself.
fn per_cent(load: f64) -> Result<u32, Failure> {
    let per_cent = (load * 100.0).round();
    if (0.0..1e6).contains(&per_cent) {
        return Ok(per_cent as u32);
    }
    Err(Failure::new(Code::Data, format!("--load {load} is no ratio")).remedy("name one from 1.01 to 100, such as 1.3"))
}

impl Reaction {
    fn measure(experiment: &Experiment, args: &ReactionArgs) -> Result<Self, Failure> {
        let measure = |reacts| -> Result<Spread, Failure> {
            let experiment = Experiment { reacts, ..*experiment };
            let runs = (0..u64::from(args.runs)).map(|run| experiment.run(args.seed.wrapping_add(run)));
            let runs = runs.collect::<Result<Vec<_>, _>>().map_err(|error| {
                Failure::from_error(Code::Data, &error)
                    .remedy("choose --clients, --load, --epochs, --quota and --ring within these bounds")
            })?;
            Ok(Spread::of(&runs))
        };
        Ok(Self {
            clients: experiment.clients,
            load: f64::from(experiment.load_per_cent) / 100.0,
            epochs: experiment.epochs,
            open_loop: measure(false)?,
            closed_loop: measure(true)?,
        })
    }
}

impl Spread {
    /// Of at least one run.
    fn of(runs: &[Influence]) -> Self {
        let norms = || runs.iter().map(|run| run.l2_in_delta);
        let epochs = || runs.iter().map(|run| run.epochs_that_differ);
        Self {
            mean: norms().sum::<f64>() / runs.len().max(1) as f64,
            least: norms().fold(f64::INFINITY, f64::min),
            most: norms().fold(0.0, f64::max),
            fewest_epochs: epochs().min().unwrap_or(0),
            most_epochs: epochs().max().unwrap_or(0),
        }
    }

    fn columns(&self) -> String {
        let norms = format!("{} ({} to {})", short(self.mean), short(self.least), short(self.most));
        format!("{norms:>25}{:>6} to {}", self.fewest_epochs, self.most_epochs)
    }
}

fn table(rows: &[Reaction], args: &ReactionArgs) -> String {
    let mut text = format!(
        "One client puts in Delta once. How far all counts together move, in units of Delta (L2 norm; mean, least\n\
         and most of {} run(s)), and how many epochs differ by more than a fiftieth of Delta.\n\n\
         clients  service / load  epochs {:>25}  epochs differ {:>25}  epochs differ\n",
        args.runs, "nobody reacts", "everybody thinks"
    );
    for row in rows {
        let (open, closed) = (row.open_loop.columns(), row.closed_loop.columns());
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:>7}{:>16.2}{:>8}{open:<40}{closed}", row.clients, row.load, row.epochs);
    }
    text.push_str(
        "\nThe promise of mode dp about one client and one epoch covers 1. Beyond it nothing is proven; the bound in bits\n\
         of `hushwire sim` holds whatever reacts.\n",
    );
    text
}

fn json(rows: &[Reaction]) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(rows).map_err(|error| Failure::from_error(Code::Software, &error))?;
    Ok(format!("{text}\n"))
}
