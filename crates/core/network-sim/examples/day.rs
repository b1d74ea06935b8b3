//! A day of 1,000 relays and 20,000 clients, and a month of fewer clients without traffic: what docs/measurements/network-day.md shows.
//!
//! `cargo run --release -p network-sim --example day -- [RELAYS [CLIENTS [HOURS [SEED [TRAFFIC]]]]]`; it fails when a figure that must be so is
//! not so.

#![expect(clippy::print_stdout, reason = "the tables are what this program is for")]

use network_sim::{Settings, run};
use std::error::Error;
use std::str::FromStr;

#[expect(clippy::disallowed_methods, reason = "an example is a program: it has arguments and a clock")]
fn main() -> Result<(), Box<dyn Error>> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let mut settings = Settings::default();
    let Settings { relays, clients, hours, seed, traffic, .. } = settings;
    settings.relays = number(&given, 0, relays)?;
    settings.clients = number(&given, 1, clients)?;
    settings.hours = number(&given, 2, hours)?;
    settings.seed = number(&given, 3, seed)?;
    settings.traffic = number(&given, 4, traffic)?;
    let begun = std::time::Instant::now();
    let report = run(&settings)?;
    print!("{}", report.table());
    println!("it took {:.1} s", begun.elapsed().as_secs_f64());
    if report.checks.hold() { Ok(()) } else { Err("something that must be so is not so".into()) }
}

fn number<T: FromStr>(given: &[String], place: usize, default: T) -> Result<T, T::Err> {
    given.get(place).map_or(Ok(default), |text| text.parse())
}
