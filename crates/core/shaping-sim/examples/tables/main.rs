//! Prints every table of docs/measurements/shaping-sim.md as Markdown and writes its pictures.
//!
//! `cargo run --release -p shaping-sim --example tables -- FOLDER`; without a folder no picture is written.

#![expect(clippy::print_stdout, reason = "the tables are what this program is for")]

use shaping_sim::targets::TargetError;
use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

mod closed_loop;
mod drawings;
mod modes;
mod netshaper;
mod target_rows;

/// Length of the runs.
const LENGTH: Duration = Duration::from_secs(300);
/// Runs for one row.
const SEEDS: u32 = 16;

#[expect(clippy::disallowed_methods, reason = "an example is a program: it has arguments")]
fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).map(PathBuf::from);
    target_rows::print()?;
    modes::print()?;
    netshaper::print()?;
    closed_loop::print()?;
    if let Some(folder) = folder {
        drawings::write(&folder)?;
    }
    Ok(())
}

/// A heading and the head of a table; `columns` are divided by bars.
fn head(title: &str, note: &str, columns: &str) {
    println!("\n## {title}\n\n{note}\n\n| {columns} |");
    println!("|{}", "---|".repeat(columns.split('|').count()));
}

/// Milliseconds for people.
fn time(milliseconds: f64) -> String {
    match milliseconds {
        0.0..20.0 => format!("{milliseconds:.1} ms"),
        20.0..1_000.0 => format!("{milliseconds:.0} ms"),
        _ => format!("{:.2} s", milliseconds / 1e3),
    }
}

/// A number with about three digits.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), short)
}

/// What nearly every part of this program can run into.
type Outcome = Result<(), TargetError>;
