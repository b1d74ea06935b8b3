//! `--plot`: what the wire shows over time, and what every mode costs beside how long it makes wait.

use super::defect;
use super::rows::{Came, DECISIONS_MS, Plan, Row};
use crate::failure::{Failure, Outcome};
use crate::terminal;
use shaping_sim::pictures::{curves, overhead_against_latency, wire_over_time};
use shaping_sim::plot::Chart;
use std::io::Write;
use std::path::Path;

/// Runs behind each point of the curves.
const SEEDS: u32 = 1;

/// Makes the folder if there is none.
pub(super) fn folder(folder: &Path) -> Result<&Path, Failure> {
    std::fs::create_dir_all(folder).map_err(|error| {
        Failure::io(format!("cannot make the folder {}", folder.display()), &error).remedy("name another folder")
    })?;
    Ok(folder)
}

/// One picture a mode in cells, and one of all modes.
pub(super) fn write(folder: &Path, plan: &Plan<'_>, rows: &[Row]) -> Outcome {
    for row in rows {
        let Ok(Came::InCells(report)) = &row.came else { continue };
        let title = format!("{}, to clients: {}", row.name, plan.traffic.about);
        let chart = wire_over_time(&title, &report.down).map_err(defect)?;
        save(folder, &format!("wire-{}.svg", file_name(&row.name)), &chart)?;
    }
    let all = match curves(&plan.traffic.workload, &plan.promise, &DECISIONS_MS, &plan.setup, SEEDS) {
        Ok(all) => all,
        Err(error) => {
            terminal::complain(&format!("no picture of all modes: {error}\n"));
            return Ok(());
        }
    };
    let epsilon = plan.promise.epsilon.value();
    let title = format!("Overhead against latency, epsilon {epsilon}: {}", plan.traffic.about);
    let chart = overhead_against_latency(&title, &all).map_err(defect)?;
    save(folder, "overhead-latency.svg", &chart)
}

/// Nothing is overwritten.
fn save(folder: &Path, name: &str, chart: &Chart) -> Outcome {
    let path = folder.join(name);
    let mut options = std::fs::OpenOptions::new();
    let written =
        options.write(true).create_new(true).open(&path).and_then(|mut file| file.write_all(chart.to_svg().as_bytes()));
    written.map_err(|error| {
        Failure::io(format!("cannot write {}", path.display()), &error).remedy("name another folder with --plot")
    })
}

/// Letters and digits, with lines between them.
fn file_name(row: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '.';
    row.split(|letter| !is_plain(letter)).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(super::file_name("constant, 131.07 Mbit/s *"), "constant-131.07-Mbit-s");
        assert_eq!(super::file_name("queue, T = 1.00 s"), "queue-T-1.00-s");
    }
}
