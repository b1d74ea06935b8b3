//! The mechanisms without rounding against an independent simulation of them in Python, row by row.
//!
//! What may differ: the real mechanisms know floor and ceiling as classes (2 and 3 % above the program's), noise in whole bytes,
//! and a first rate that follows from the estimate (the program's: 1.5 times the mean).

mod python;
mod rows;

use rows::{FULL, MANY};
use shaping_sim::{FluidReport, RunError};

/// By how much a row may differ from the program's.
const TOLERANCE: f64 = 0.1;
/// Standard errors by which two sets of seeds may differ besides. 90 comparisons with this bound fail by chance once in
/// 170 sets of seeds, and the seeds are fixed.
const ERRORS: f64 = 4.0;

/// Every row as the program prints it by default. It draws from Python's generator, which is rebuilt here, so that both
/// see the same segments and the same noise.
#[test]
fn every_row_of_the_reference_with_its_own_draws() -> Result<(), RunError> {
    let mut same = 0;
    for row in &FULL {
        let runs = (0..4).map(|seed| row.run_theirs(seed)).collect::<Result<Vec<_>, _>>()?;
        for (index, expected) in row.expected.into_iter().enumerate() {
            let (mean, _) = mean_and_error(&runs, index);
            assert!((mean / expected - 1.0).abs() <= TOLERANCE, "figure {index} of {row:?} is {mean}");
            same += u32::from((mean / expected - 1.0).abs() < 0.002);
        }
    }
    assert!(same >= 45, "the rows that no class touches agree much closer, here only {same} figures do");
    Ok(())
}

/// With segments and noise of this crate.
#[test]
fn every_row_of_the_reference_with_our_draws_at_a_small_size() -> Result<(), RunError> {
    compare_with_our_draws(16)
}

#[test]
#[ignore = "full size: every row with 256 seeds"]
fn every_row_of_the_reference_with_our_draws_at_full_size() -> Result<(), RunError> {
    compare_with_our_draws(256)
}

fn compare_with_our_draws(seeds: u64) -> Result<(), RunError> {
    for (row, expected) in FULL.iter().zip(MANY) {
        let runs = (0..seeds).map(|seed| row.run_ours(seed)).collect::<Result<Vec<_>, _>>()?;
        for (index, (expected, expected_error)) in expected.into_iter().enumerate() {
            let (mean, error) = mean_and_error(&runs, index);
            let allowed = TOLERANCE * expected + ERRORS * error.hypot(expected_error);
            assert!((mean - expected).abs() <= allowed, "figure {index} of {row:?}: {mean} +- {error}, not {expected}");
        }
    }
    Ok(())
}

fn mean_and_error(runs: &[FluidReport], index: usize) -> (f64, f64) {
    let values: Vec<_> = runs.iter().map(|report| figures(report)[index]).collect();
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}

/// Overhead, mean and 99th percentile in milliseconds.
fn figures(report: &FluidReport) -> [f64; 3] {
    let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let overhead = report.overhead().expect("something was delivered");
    [overhead, milliseconds(report.latency.mean), milliseconds(report.latency.p99)]
}
