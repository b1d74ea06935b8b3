//! Beside NetShaper's published figures.

use crate::{LENGTH, SEEDS, head, optional, short, time};
use shaping_sim::published::{CompareError, Comparison, compare_video, compare_web};

pub(crate) fn print() -> Result<(), CompareError> {
    head(
        "NetShaper, video",
        "epsilon 1 for W = 5 s, Delta 2.5 MB. Ours: `dp` as recommended, with headers and classes. Model: their mechanism \
         without rounding on our traffic.",
        "flows | T | theirs: overhead | latency | model: overhead | latency | ours: overhead | latency | theirs / ours: \
         overhead | latency",
    );
    for comparison in compare_video(LENGTH, SEEDS)? {
        let model = comparison.model.map(|model| {
            let mean = model.latency.mean.as_secs_f64() * 1e3;
            format!("{} | {}", optional(model.overhead()), time(mean))
        });
        print_row(&comparison, &format!("{} | ", model.unwrap_or_else(|| "– | –".to_owned())));
    }
    head(
        "NetShaper, web",
        "epsilon 1. Theirs for W = 1 s and Delta = 60 KB, latency on a line of 10 Gbit/s; ours for 5 s and 300 KB, pages of 54 \
         to 147 KB every 10 s a client, latency of whole pages at the rate of the schedule.",
        "flows | T | theirs: overhead | latency | ours: overhead | latency | theirs / ours: overhead | latency",
    );
    for comparison in compare_web(LENGTH, SEEDS)? {
        print_row(&comparison, "");
    }
    Ok(())
}

fn print_row(comparison: &Comparison, model: &str) {
    let published = comparison.published;
    println!(
        "| {} | {} ms | {} | {} | {model}{} | {} | {} | {} |",
        published.clients,
        published.interval_ms,
        short(published.overhead),
        time(published.latency_ms),
        short(comparison.ours.overhead),
        time(comparison.ours.mean_ms),
        short(comparison.overhead_ratio()),
        short(comparison.latency_ratio()),
    );
}
