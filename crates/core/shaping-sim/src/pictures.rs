//! The two pictures of a simulation: what the wire shows beside what happened, and what every mode costs beside how long it
//! makes wait.

use crate::average::Average;
use crate::mode::{ConstantRate, Mode};
use crate::plot::{Axis, Chart, Look, Series, SeriesError};
use crate::published::netshaper_mode;
use crate::recommended::{Promise, Rule, dp_modes, dp_modes_with};
use crate::report::DirectionReport;
use crate::run::Setup;
use crate::search::run_seeds;
use crate::targets::{TargetError, stepped_modes};
use crate::trace::Direction;
use crate::traffic::Workload;
use shaping::{Per1024, RateClass};
use std::time::Duration;

/// Most points of a line over time; longer runs are drawn by means over several seconds.
const TIME_POINTS_MAX: usize = 400;
/// Classes above the load that the line of mode `constant` shows, four to a doubling. Below the load the queue grows for
/// ever and a mean says only how long the run was.
const CLASSES_ABOVE: u8 = 10;
/// Margins that the line of mode `dp` shows, in hundredths.
const MARGINS_PER_CENT: [u32; 7] = [105, 115, 130, 150, 180, 220, 300];

/// Megabits per second of one direction, second by second: what came from applications, and what left on the wire.
pub fn wire_over_time(title: &str, direction: &DirectionReport) -> Result<Chart, SeriesError> {
    let bin = direction.seconds.len().div_ceil(TIME_POINTS_MAX).max(1);
    let line = |name, look, bytes: fn(&crate::report::Second) -> u64| {
        let points = direction.seconds.chunks(bin).enumerate().map(|(index, seconds)| {
            let sum: u64 = seconds.iter().map(bytes).sum();
            ((index * bin) as f64, sum as f64 * 8e-6 / seconds.len() as f64)
        });
        Series::new(name, look, points.collect())
    };
    Ok(Chart {
        title: title.to_owned(),
        x: Axis::linear("time, s"),
        y: Axis::linear("Mbit/s"),
        series: vec![
            line("application, as it comes", Look::Line, |second| second.arrived_bytes)?,
            line("wire, with cover and headers", Look::Steps, |second| second.wire_bytes)?,
        ],
    })
}

/// One line of [`overhead_against_latency`].
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// For the legend.
    pub name: String,
    /// How it is drawn.
    pub look: Look,
    /// What is written beside a point (or nothing), mean latency in milliseconds, overhead.
    pub points: Vec<(String, f64, f64)>,
}

/// Overhead over both directions against the mean of what applications wait for, both logarithmic.
pub fn overhead_against_latency(title: &str, curves: &[Curve]) -> Result<Chart, SeriesError> {
    let series = curves.iter().map(|curve| {
        let points = curve.points.iter().map(|(_, mean_ms, overhead)| (*mean_ms, *overhead)).collect();
        let labels = curve.points.iter().map(|(label, ..)| label.clone()).collect();
        Ok(Series::new(&curve.name, curve.look, points)?.with_labels(labels))
    });
    Ok(Chart {
        title: title.to_owned(),
        x: Axis::logarithmic("mean latency of a segment or request, ms"),
        y: Axis::logarithmic("overhead, (wire - application) / application, both directions"),
        series: series.collect::<Result<_, SeriesError>>()?,
    })
}

/// The curves of the modes on one workload: `off`, `constant` over classes around the load, `stepped` over an hour (a
/// trace over its own length) with the classes of a network if the first of them carries the load, `dp` over margins, and
/// NetShaper's mechanism in cells with these decision intervals.
pub fn curves(
    workload: &Workload,
    promise: &Promise,
    intervals_ms: &[u32],
    setup: &Setup,
    seeds: u32,
) -> Result<Vec<Curve>, TargetError> {
    let [up, _] = dp_modes(workload, promise)?;
    let off = Average::of(&run_seeds(workload, [&Mode::Off, &Mode::Off], setup, 1)?);
    let queue = queue_points(workload, promise, intervals_ms, setup)?;
    let stepped = match workload {
        Workload::Exchanges(_) | Workload::Both(..) => "stepped, 4 classes, 1 hour",
        Workload::Replay(_) => "stepped, 4 classes",
    };
    let all = [
        ("constant, by class", Look::Joined, constant_points(workload, &up, setup, seeds)?),
        ("dp, by margin", Look::Joined, dp_points(workload, promise, setup, seeds)?),
        ("queue (NetShaper's mechanism in our cells), by T", Look::Joined, queue),
        ("off: headers alone", Look::Level, vec![(String::new(), 0.0, off.overhead)]),
        (stepped, Look::Points, stepped_points(workload, &up, setup)?),
    ];
    let drawn = all.into_iter().filter(|(.., points)| !points.is_empty());
    Ok(drawn.map(|(name, look, points)| Curve { name: name.to_owned(), look, points }).collect())
}

fn constant_points(
    workload: &Workload,
    up: &Mode,
    setup: &Setup,
    seeds: u32,
) -> Result<Vec<(String, f64, f64)>, TargetError> {
    let load = workload.mean_bytes_per_second(Direction::Down) * 8.0;
    let least = RateClass::at_least((load * setup.session_packet as f64 / setup.cell_payload() as f64) as u64)?;
    let first = least.number();
    let last = (first + CLASSES_ABOVE).min(RateClass::FASTEST.number());
    let mut points = Vec::new();
    for number in first..=last {
        let class = RateClass::new(number)?;
        let down = Mode::Constant(ConstantRate::Class(class));
        let average = Average::of(&run_seeds(workload, [up, &down], setup, seeds)?);
        let label = if [first, last].contains(&number) { class.to_string() } else { String::new() };
        points.push((label, average.mean_ms, average.overhead));
    }
    Ok(points)
}

fn dp_points(
    workload: &Workload,
    promise: &Promise,
    setup: &Setup,
    seeds: u32,
) -> Result<Vec<(String, f64, f64)>, TargetError> {
    let rule = |direction| -> Result<Rule, TargetError> {
        let bytes = workload.mean_bytes_per_second(direction) * f64::from(promise.epoch_s);
        Ok(Rule::for_load(bytes, promise.sigma(direction)?))
    };
    let (up_rule, down_rule) = (rule(Direction::Up)?, rule(Direction::Down)?);
    let mut points = Vec::new();
    for per_cent in MARGINS_PER_CENT {
        let margin = Per1024(per_cent * 1024 / 100);
        let [up, down] = dp_modes_with(workload, promise, [up_rule, Rule { margin, ..down_rule }])?;
        let average = Average::of(&run_seeds(workload, [&up, &down], setup, seeds)?);
        let is_end = [MARGINS_PER_CENT.first(), MARGINS_PER_CENT.last()].contains(&Some(&per_cent));
        let label = if is_end { format!("margin {:.2}", f64::from(per_cent) / 100.0) } else { String::new() };
        points.push((label, average.mean_ms, average.overhead));
    }
    Ok(points)
}

fn queue_points(
    workload: &Workload,
    promise: &Promise,
    intervals_ms: &[u32],
    setup: &Setup,
) -> Result<Vec<(String, f64, f64)>, TargetError> {
    // NetShaper's queues hold whole segments (its shipped default is 2 MiB), and its decision needs to see them.
    let setup = Setup { ring_bytes: setup.ring_bytes.max(NETSHAPER_QUEUE_BYTES), ..*setup };
    let [up, _] = dp_modes(workload, promise)?;
    let mut points = Vec::new();
    for &interval_ms in intervals_ms {
        let down = netshaper_mode(workload.clients(), interval_ms, setup.slot, promise)?;
        let average = Average::of(&run_seeds(workload, [&up, &down], &setup, 1)?);
        points.push((format!("T = {interval_ms} ms"), average.mean_ms, average.overhead));
    }
    Ok(points)
}

fn stepped_points(workload: &Workload, up: &Mode, setup: &Setup) -> Result<Vec<(String, f64, f64)>, TargetError> {
    let [_, stepped] = stepped_modes()?;
    let load = workload.mean_bytes_per_second(Direction::Down) * 8.0;
    if load * setup.session_packet as f64 / setup.cell_payload() as f64 > STEPPED_LOAD_MAX {
        return Ok(Vec::new());
    }
    let measured = match workload {
        Workload::Exchanges(_) | Workload::Both(..) => setup.measured.max(STEPPED_LENGTH),
        // It goes on for no hour.
        Workload::Replay(_) => setup.measured,
    };
    let average = Average::of(&run_seeds(workload, [up, &stepped], &Setup { measured, ..*setup }, 1)?);
    Ok(vec![(String::new(), average.mean_ms, average.overhead)])
}

/// Where it begins, in session bits per second.
const STEPPED_LOAD_MAX: f64 = 2_000_000.0;
/// Twelve edges.
const STEPPED_LENGTH: Duration = Duration::from_secs(3_600);
/// Bytes of one queue in NetShaper's default configuration.
const NETSHAPER_QUEUE_BYTES: u64 = 2_097_152;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::run;
    use crate::traffic::Exchanges;
    use shaping::accountant::Epsilon;

    #[test]
    fn both_pictures_come_out_of_a_run() -> Result<(), Box<dyn std::error::Error>> {
        let workload = Workload::Exchanges(Exchanges::video(16)?);
        let promise = Promise::new(Epsilon::new(1.0)?);
        let setup = Setup::new(Duration::from_secs(60), 1);
        let [up, down] = dp_modes(&workload, &promise)?;
        let report = run(&workload, &up, &down, &setup)?;
        let over_time = wire_over_time("16 clients", &report.down)?;
        assert_eq!(over_time.series.len(), 2);
        assert!(over_time.to_svg().contains("time, s"));
        let curves = curves(&workload, &promise, &[500, 1_000], &setup, 1)?;
        assert_eq!(curves.iter().map(|curve| curve.points.len()).collect::<Vec<_>>(), [11, 7, 2, 1]);
        let svg = overhead_against_latency("16 clients", &curves)?.to_svg();
        assert!(svg.contains("T = 500 ms"));
        Ok(())
    }

    #[test]
    fn long_runs_are_drawn_by_means() -> Result<(), SeriesError> {
        use crate::report::Second;
        let seconds = vec![Second { wire_bytes: 125_000, ..Second::default() }; 4_000];
        let direction = DirectionReport {
            wire_bytes: 0,
            application_bytes: 0,
            arrived_bytes: 0,
            dropped_bytes: 0,
            waiting_bytes: 0,
            cells: 0,
            useful_cells: 0,
            latency: crate::Latencies::default(),
            cost: crate::Cost::Nothing,
            speed_limit_bytes_per_second: None,
            seconds,
        };
        let chart = wire_over_time("a long run", &direction)?;
        let expected: Vec<_> = (0..400).map(|index| (f64::from(index) * 10.0, 1.0)).collect();
        assert_eq!(chart.series[1], Series::new("wire, with cover and headers", Look::Steps, expected)?);
        Ok(())
    }
}
