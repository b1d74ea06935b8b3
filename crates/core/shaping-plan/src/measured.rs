//! Runs of a setting, summed up.

use crate::directions::Directions;
use crate::error::PlanError;
use crate::request::{Checked, LatencyTarget, Statistic};
use shaping::RateClass;
use shaping_sim::{Average, Mode, Report, Setup, run_seeds};
use std::time::Duration;

/// Seconds of the month that plans count: 30 days.
pub(crate) const MONTH_S: f64 = 30.0 * 86_400.0;

/// What a mode costs and how long applications wait in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Performance {
    /// (wire - application) / application over both directions, while the traffic is there.
    pub overhead: f64,
    /// From a request to the last byte of its answer.
    pub mean: Duration,
    /// 95 of 100 wait at most as long.
    pub p95: Duration,
    /// 99 of 100.
    pub p99: Duration,
    /// UDP payload in 30 days, hours without traffic included.
    pub bytes_per_month: Directions<u64>,
    /// Nearly everything came through. If not, the queue grows for ever, and latencies are those of what did.
    pub keeps_up: bool,
}

impl Performance {
    pub(crate) fn meets(&self, target: &LatencyTarget) -> bool {
        self.keeps_up && self.latency(target.statistic) <= target.at_most
    }

    pub(crate) fn latency(&self, statistic: Statistic) -> Duration {
        match statistic {
            Statistic::Mean => self.mean,
            Statistic::P95 => self.p95,
        }
    }
}

/// Runs of one setting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    pub(crate) average: Average,
    pub(crate) wire_bytes_per_second: Directions<f64>,
    keeps_up: bool,
}

/// More than this share of what came still waits a minute after the last request: the queue grows.
const WAITING_SHARE_MAX: f64 = 0.01;

impl Measured {
    pub(crate) fn new(checked: &Checked, [up, down]: [&Mode; 2], setup: &Setup) -> Result<Self, PlanError> {
        let reports = run_seeds(&checked.workload, [up, down], setup, checked.request.effort.seeds)?;
        let count = reports.len().max(1) as f64;
        let mean = |value: &dyn Fn(&Report) -> f64| reports.iter().map(value).sum::<f64>() / count;
        let waiting = mean(&|report| (report.up.waiting_bytes + report.down.waiting_bytes) as f64);
        let arrived = mean(&|report| (report.up.arrived_bytes + report.down.arrived_bytes) as f64);
        Ok(Self {
            average: Average::of(&reports),
            wire_bytes_per_second: Directions {
                up: mean(&|report| report.up.wire_bytes_per_second(report.measured)),
                down: mean(&|report| report.down.wire_bytes_per_second(report.measured)),
            },
            keeps_up: waiting <= WAITING_SHARE_MAX * arrived,
        })
    }

    /// With these rates, in bytes per second of UDP payload, for the hours without traffic.
    pub(crate) fn performance(&self, checked: &Checked, at_rest: Directions<f64>) -> Performance {
        let busy = checked.busy_share();
        let month = |busy_rate: f64, rest: f64| ((busy * busy_rate + (1.0 - busy) * rest) * MONTH_S) as u64;
        let wire = self.wire_bytes_per_second;
        let time = |milliseconds: f64| Duration::from_secs_f64(milliseconds.max(0.0) / 1e3);
        Performance {
            overhead: self.average.overhead,
            mean: time(self.average.mean_ms),
            p95: time(self.average.p95_ms),
            p99: time(self.average.p99_ms),
            bytes_per_month: Directions { up: month(wire.up, at_rest.up), down: month(wire.down, at_rest.down) },
            keeps_up: self.keeps_up,
        }
    }
}

/// UDP payload of a class in bytes per second.
pub(crate) fn wire_rate(class: RateClass, setup: &Setup) -> f64 {
    class.bits_per_second() as f64 / 8.0 * setup.packet_bytes as f64 / setup.session_packet as f64
}
