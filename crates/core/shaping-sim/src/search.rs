//! The constant rate that does what something else does.

use crate::average::Average;
use crate::mode::{ConstantRate, Mode};
use crate::run::{RunError, Setup, run};
use crate::trace::Direction;
use crate::traffic::Workload;
use shaping::RateClass;

/// Runs the same workload and modes with seeds `setup.seed`, `setup.seed + 1`, ... and sums up.
pub fn run_seeds(
    workload: &Workload,
    [up, down]: [&Mode; 2],
    setup: &Setup,
    seeds: u32,
) -> Result<Vec<crate::report::Report>, RunError> {
    (0..u64::from(seeds))
        .map(|seed| run(workload, up, down, &Setup { seed: setup.seed.wrapping_add(seed), ..*setup }))
        .collect()
}

/// The slowest class down at which `is_enough` holds, with its average; none if the fastest is not enough. It is taken to
/// hold for every faster class too, so that half of the classes need not be tried.
pub fn slowest_class(
    workload: &Workload,
    up: &Mode,
    setup: &Setup,
    seeds: u32,
    is_enough: impl Fn(&Average) -> bool,
) -> Result<Option<(RateClass, Average)>, RunError> {
    let measure = |class| -> Result<Average, RunError> {
        let down = Mode::Constant(ConstantRate::Class(class));
        Ok(Average::of(&run_seeds(workload, [up, &down], setup, seeds)?))
    };
    let (mut first, mut end) = (RateClass::SLOWEST.number(), RateClass::FASTEST.number() + 1);
    let mut found = None;
    while first < end {
        let middle = first + (end - first) / 2;
        let Ok(class) = RateClass::new(middle) else { break };
        let average = measure(class)?;
        if is_enough(&average) {
            found = Some((class, average));
            end = middle;
        } else {
            first = middle + 1;
        }
    }
    Ok(found)
}

/// The exact constant rate down, in session bits per second, with which wire and application bytes of both directions have
/// this overhead, when `up_wire_bytes_per_second` leave the other way. At least 1.
///
/// Whoever knows the load beforehand can choose it: a bound on what any schedule can do that keeps its rate while it does
/// not know what comes next.
pub fn exact_rate_for_overhead(
    workload: &Workload,
    overhead: f64,
    up_wire_bytes_per_second: f64,
    setup: &Setup,
) -> ConstantRate {
    let application: f64 =
        [Direction::Up, Direction::Down].iter().map(|&direction| workload.mean_bytes_per_second(direction)).sum();
    let down_wire = application * (1.0 + overhead) - up_wire_bytes_per_second;
    let session = down_wire * setup.session_packet as f64 / setup.packet_bytes as f64;
    ConstantRate::Exact(((8.0 * session) as u64).max(1))
}
