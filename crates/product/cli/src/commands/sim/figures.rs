//! What came of all modes, as tables and as JSON.

use super::rows::{Came, Plan, Row};
use super::traffic::Traffic;
use super::{optional, short, time};
use crate::failure::{Code, Failure};
use admin::render::decimal;
use serde::Serialize;
use shaping_sim::trace::Direction;
use shaping_sim::{Cost, DirectionReport, FluidReport, Latencies, Report};
use std::fmt::Write;
use std::time::Duration;

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    traffic: String,
    clients: u32,
    seconds: u64,
    seed: u64,
    /// Bytes per second that applications hand over, if nothing waited.
    up_bytes_per_second: f64,
    down_bytes_per_second: f64,
    modes: Vec<ModeFigures>,
}

/// One mode.
#[derive(Debug, Serialize)]
struct ModeFigures {
    mode: String,
    /// Why there are no figures.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// Over both directions: (wire - application) / application.
    overhead: Option<f64>,
    /// From the request to the last byte of the answer; in a recording from the moment at which bytes to a client came to
    /// the one at which the last of them left.
    latency: Option<LatencyFigures>,
    up: Option<DirectionFigures>,
    down: Option<DirectionFigures>,
}

#[derive(Debug, Serialize)]
struct LatencyFigures {
    count: usize,
    mean_ms: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

#[derive(Debug, Serialize)]
struct DirectionFigures {
    overhead: Option<f64>,
    wire_bytes: u64,
    application_bytes: u64,
    dropped_bytes: u64,
    /// Bytes that had not left at the end.
    waiting_bytes: u64,
    wire_bits_per_second: f64,
    /// Cells with application bytes among all.
    useful_share: Option<f64>,
    /// At delta 1e-6; none where there is no bound.
    epsilon_of_window: Option<f64>,
    epsilon_of_all: Option<f64>,
    /// Maximal leakage, whatever reacts.
    bits: Option<f64>,
    releases: u64,
    speed_limit_bytes_per_second: Option<u64>,
}

impl Figures {
    pub(super) fn new(traffic: &Traffic, plan: &Plan<'_>, rows: &[Row]) -> Self {
        let per_second = |direction| traffic.workload.mean_bytes_per_second(direction);
        Self {
            traffic: traffic.about.clone(),
            clients: traffic.workload.clients(),
            seconds: plan.setup.measured.as_secs(),
            seed: plan.setup.seed,
            up_bytes_per_second: per_second(Direction::Up),
            down_bytes_per_second: per_second(Direction::Down),
            modes: rows.iter().map(|row| ModeFigures::new(row, plan.setup.measured)).collect(),
        }
    }

    pub(super) fn json(&self) -> Result<String, Failure> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Failure::from_error(Code::Software, &error))?;
        Ok(format!("{text}\n"))
    }

    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let [up, down] = [self.up_bytes_per_second, self.down_bytes_per_second].map(|bytes| short(bytes * 8e-6));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{}", self.traffic);
        let _ = writeln!(text, "{} s, seed {}; load {up} Mbit/s up, {down} Mbit/s down\n", self.seconds, self.seed);
        let _ = writeln!(text, "{:<28}overhead      up    down     mean      p50      p95      p99", "what it costs");
        for mode in &self.modes {
            mode.write_cost(&mut text);
        }
        let _ = writeln!(text, "\n{:<28}  Mbit/s up    down   useful  dropped  not delivered", "what it sends");
        for mode in self.modes.iter().filter(|mode| mode.down.is_some()) {
            mode.write_volume(&mut text);
        }
        let _ =
            writeln!(text, "\n{:<28}epsilon of W up    down   of all up    down   bits up    down", "what it tells");
        // Without cells there is a model of what it costs only.
        for mode in self.modes.iter().filter(|mode| mode.up.is_some()) {
            mode.write_loss(&mut text);
        }
        text.push_str(&self.notes());
        text
    }

    fn notes(&self) -> String {
        let mut notes = String::from("\n");
        for mode in &self.modes {
            if let Some(reason) = &mode.refused {
                let _ = writeln!(notes, "{} cannot carry this: {reason}", mode.mode);
            }
            let limit = mode.down.as_ref().and_then(|down| down.speed_limit_bytes_per_second);
            if let Some(limit) = limit {
                let rate = short(limit as f64 * 8e-6);
                let _ = writeln!(notes, "{}: the quota lets {rate} Mbit/s down to each client", mode.mode);
            }
        }
        if self.modes.iter().any(|mode| mode.mode.ends_with('*')) {
            notes.push_str("* the slowest class with which 95 of 100 wait no longer than in mode dp\n");
        }
        notes.push_str(
            "Overhead is (wire - application) / application. Epsilon at delta 1e-6: W is one epoch of dp, all\n\
             decisions within 5 s of queue (where nothing enforces the sensitivity); of all is a client that\n\
             differs all the time. Both hold where nobody reacts; bits, the maximal leakage, hold always.\n",
        );
        notes
    }
}

impl ModeFigures {
    fn new(row: &Row, measured: Duration) -> Self {
        let mode = row.name.clone();
        let nothing = Self { mode, refused: None, overhead: None, latency: None, up: None, down: None };
        match &row.came {
            Err(reason) => Self { refused: Some(reason.clone()), ..nothing },
            Ok(Came::InCells(report)) => Self {
                overhead: report.overhead(),
                latency: Some(LatencyFigures::new(&report.latency())),
                up: Some(DirectionFigures::new(&report.up, report)),
                down: Some(DirectionFigures::new(&report.down, report)),
                ..nothing
            },
            Ok(Came::Without(fluid)) => Self {
                latency: Some(LatencyFigures::new(&fluid.latency)),
                down: Some(DirectionFigures::without(fluid, measured)),
                ..nothing
            },
        }
    }

    fn write_cost(&self, text: &mut String) {
        let overhead = |direction: &Option<DirectionFigures>| direction.as_ref().and_then(|it| it.overhead);
        let [both, up, down] = [self.overhead, overhead(&self.up), overhead(&self.down)].map(optional);
        let _ = write!(text, "{:<28}{both:>8}{up:>8}{down:>8}", self.mode);
        let times = self.latency.as_ref().filter(|latency| latency.count > 0).map(LatencyFigures::columns);
        for time in times.unwrap_or_else(|| ["–"; 4].map(str::to_owned)) {
            let _ = write!(text, "{time:>9}");
        }
        text.push('\n');
    }

    fn write_volume(&self, text: &mut String) {
        let all = || [&self.up, &self.down].into_iter().flatten();
        let rate = |direction: &Option<DirectionFigures>| {
            optional(direction.as_ref().map(|it| it.wire_bits_per_second * 1e-6))
        };
        let useful = self.down.as_ref().and_then(|down| down.useful_share);
        let useful = useful.map_or_else(|| "–".to_owned(), |share| format!("{:.0} %", share * 100.0));
        let bytes = |count: fn(&DirectionFigures) -> u64| {
            if all().next().is_none() { "–".to_owned() } else { decimal(all().map(count).sum()) }
        };
        let (dropped, waiting) = (bytes(|it| it.dropped_bytes), bytes(|it| it.waiting_bytes));
        let (up, down) = (rate(&self.up), rate(&self.down));
        let _ = writeln!(text, "{:<28}{up:>11}{down:>8}{useful:>9}{dropped:>9}{waiting:>15}", self.mode);
    }

    fn write_loss(&self, text: &mut String) {
        let _ = write!(text, "{:<28}", self.mode);
        let mut columns = |of: fn(&DirectionFigures) -> Option<f64>, width: usize| {
            let [up, down] = [&self.up, &self.down].map(|direction| optional(direction.as_ref().and_then(of)));
            let _ = write!(text, "{up:>width$}{down:>8}");
        };
        columns(|it| it.epsilon_of_window, 15);
        columns(|it| it.epsilon_of_all, 12);
        columns(|it| it.bits, 10);
        text.push('\n');
    }
}

impl LatencyFigures {
    fn new(latency: &Latencies) -> Self {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        Self {
            count: latency.count,
            mean_ms: milliseconds(latency.mean),
            p50_ms: milliseconds(latency.p50),
            p95_ms: milliseconds(latency.p95),
            p99_ms: milliseconds(latency.p99),
            max_ms: milliseconds(latency.max),
        }
    }

    fn columns(&self) -> [String; 4] {
        [self.mean_ms, self.p50_ms, self.p95_ms, self.p99_ms]
            .map(|milliseconds| time(Duration::from_secs_f64(milliseconds / 1e3)))
    }
}

impl DirectionFigures {
    fn new(direction: &DirectionReport, report: &Report) -> Self {
        let cost = &direction.cost;
        Self {
            overhead: direction.overhead(),
            wire_bytes: direction.wire_bytes,
            application_bytes: direction.application_bytes,
            dropped_bytes: direction.dropped_bytes,
            waiting_bytes: direction.waiting_bytes,
            wire_bits_per_second: direction.wire_bytes_per_second(report.measured) * 8.0,
            useful_share: (direction.cells > 0).then(|| direction.useful_share()),
            epsilon_of_window: cost.epsilon_of_window(),
            epsilon_of_all: cost.epsilon_of_all(),
            bits: cost.bits(),
            releases: match cost {
                Cost::Nothing | Cost::Everything => 0,
                Cost::Choices { edges, .. } => *edges,
                Cost::Noise(noise) => noise.releases,
            },
            speed_limit_bytes_per_second: direction.speed_limit_bytes_per_second,
        }
    }

    /// What a run without cells has. Its loss is that of the row of mode `queue` with as many decisions.
    fn without(fluid: &FluidReport, measured: Duration) -> Self {
        Self {
            overhead: fluid.overhead(),
            wire_bytes: fluid.sent_bytes as u64,
            application_bytes: fluid.application_bytes as u64,
            dropped_bytes: 0,
            waiting_bytes: fluid.waiting_bytes as u64,
            wire_bits_per_second: fluid.sent_bytes * 8.0 / measured.as_secs_f64().max(f64::MIN_POSITIVE),
            useful_share: None,
            epsilon_of_window: None,
            epsilon_of_all: None,
            bits: None,
            releases: 0,
            speed_limit_bytes_per_second: None,
        }
    }
}
