//! Several runs as one row.

use crate::report::Report;

/// Means over runs that differ in their seed only. Times are in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Average {
    /// (wire - application) / application over both directions.
    pub overhead: f64,
    /// The same, down alone.
    pub overhead_down: f64,
    /// Mean of what applications waited for ([`Report::latency`]).
    pub mean_ms: f64,
    /// Median of it.
    pub p50_ms: f64,
    /// 95 of 100.
    pub p95_ms: f64,
    /// 99 of 100.
    pub p99_ms: f64,
    /// Wire bytes per second, both directions.
    pub wire_bytes_per_second: f64,
    /// Cells down with application bytes among all.
    pub useful_share_down: f64,
    /// Standard error of the mean latency over the runs; 0 for one run.
    pub mean_error_ms: f64,
}

impl Average {
    /// Of at least one run; all 0 of none. A run that delivered nothing counts as one without overhead.
    pub fn of(reports: &[Report]) -> Self {
        let count = reports.len().max(1) as f64;
        let mean = |value: &dyn Fn(&Report) -> f64| reports.iter().map(value).sum::<f64>() / count;
        let milliseconds = |time: std::time::Duration| time.as_secs_f64() * 1e3;
        let mean_ms = mean(&|report| milliseconds(report.latency().mean));
        let square = mean(&|report| (milliseconds(report.latency().mean) - mean_ms).powi(2));
        Self {
            overhead: mean(&|report| report.overhead().unwrap_or(0.0)),
            overhead_down: mean(&|report| report.down.overhead().unwrap_or(0.0)),
            mean_ms,
            p50_ms: mean(&|report| milliseconds(report.latency().p50)),
            p95_ms: mean(&|report| milliseconds(report.latency().p95)),
            p99_ms: mean(&|report| milliseconds(report.latency().p99)),
            wire_bytes_per_second: mean(&|report| {
                report.up.wire_bytes_per_second(report.measured) + report.down.wire_bytes_per_second(report.measured)
            }),
            useful_share_down: mean(&|report| report.down.useful_share()),
            mean_error_ms: (square / (count - 1.0).max(1.0)).sqrt(),
        }
    }
}
