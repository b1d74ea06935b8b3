//! How far one client moves the counts of all.

use crate::head;
use shaping_sim::closed_loop::{Experiment, ExperimentError};

/// Runs for one row.
const SEEDS: u64 = 8;

pub(crate) fn print() -> Result<(), ExperimentError> {
    head(
        "Closed loop: one client's extra Delta in one epoch",
        "L2 norm of the difference of all counts in units of Delta, mean of 8 seeds (least to most), and the epochs that \
         differ by more than Delta / 50.",
        "clients | service / load | epochs | open loop | epochs that differ | closed loop | epochs that differ",
    );
    for clients in [16, 64, 128] {
        for load_per_cent in [110, 130, 200] {
            print_row(&Experiment { load_per_cent, ..Experiment::video(clients) })?;
        }
    }
    for epochs in [30, 480] {
        print_row(&Experiment { epochs, ..Experiment::video(16) })?;
    }
    Ok(())
}

fn print_row(experiment: &Experiment) -> Result<(), ExperimentError> {
    let measure = |reacts| -> Result<String, ExperimentError> {
        let runs = (0..SEEDS).map(|seed| Experiment { reacts, ..*experiment }.run(seed));
        let runs = runs.collect::<Result<Vec<_>, _>>()?;
        let norms = || runs.iter().map(|run| run.l2_in_delta);
        let (least, most) = (norms().fold(f64::INFINITY, f64::min), norms().fold(0.0, f64::max));
        let epochs = || runs.iter().map(|run| run.epochs_that_differ);
        let (fewest, most_epochs) = (epochs().min().unwrap_or(0), epochs().max().unwrap_or(0));
        let mean = norms().sum::<f64>() / SEEDS as f64;
        Ok(format!("{mean:.2} ({least:.2} to {most:.2}) | {fewest} to {most_epochs}"))
    };
    println!(
        "| {} | {:.1} | {} | {} | {} |",
        experiment.clients,
        f64::from(experiment.load_per_cent) / 100.0,
        experiment.epochs,
        measure(false)?,
        measure(true)?
    );
    Ok(())
}
