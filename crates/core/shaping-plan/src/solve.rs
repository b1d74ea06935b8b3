//! From what is given to the settings of mode `dp`.

use crate::error::PlanError;
use crate::mechanism::{DpPlan, directions, measure, planned};
use crate::plan::USABLE;
use crate::request::{Checked, CheckedGoal, LatencyTarget, Statistic};
use shaping::accountant::Epsilon;
use shaping::{DpError, Per1024};
use shaping_sim::Setup;

/// What came of the search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Solved {
    /// Settings that do what was asked for; none if none do.
    pub(crate) dp: Option<DpPlan>,
    /// The least bytes a month that `dp` was seen to need.
    pub(crate) least_bytes: u64,
}

/// Epsilons that a search tries, in thousandths, for each power of ten.
const EPSILON_STEPS: [u32; 10] = [10, 12, 15, 20, 25, 30, 40, 50, 60, 80];
/// The powers of ten: 0.01 to 80, then 100.
const EPSILON_TENS: [u32; 4] = [1, 10, 100, 1_000];
/// Margins that a search tries: 1 to 16 in steps of a twelfth of a doubling.
const MARGIN_STEPS: u32 = 48;

pub(crate) fn solve(checked: &Checked, setup: &Setup) -> Result<Solved, PlanError> {
    let solved = match checked.goal {
        CheckedGoal::Privacy(epsilon) => for_epsilon(checked, epsilon, setup),
        CheckedGoal::Budget(bytes) => for_budget(checked, bytes, setup),
        CheckedGoal::Latency(epsilon, target) => for_latency(checked, epsilon, &target, setup),
    };
    match solved {
        // So small a load that acknowledgements alone need the ceiling: there is nothing to adapt.
        Err(PlanError::Settings(DpError::OneClass(_) | DpError::NeverAboveFloor { .. })) => {
            Ok(Solved { dp: None, least_bytes: u64::MAX })
        }
        solved => solved,
    }
}

fn for_epsilon(checked: &Checked, epsilon: Epsilon, setup: &Setup) -> Result<Solved, PlanError> {
    let directions = directions(checked, epsilon, None)?;
    let measured = measure(checked, &directions, setup)?;
    let dp = planned(checked, epsilon, directions, &measured, setup);
    Ok(Solved { dp: Some(dp), least_bytes: dp.performance.bytes_per_month.sum() })
}

/// The smallest epsilon whose rates fit the budget and are of use; less noise is cheaper and steadier.
fn for_budget(checked: &Checked, budget: u64, setup: &Setup) -> Result<Solved, PlanError> {
    let thousandths = EPSILON_TENS.iter().flat_map(|ten| EPSILON_STEPS.iter().map(move |step| ten * step));
    let mut epsilons: Vec<f64> = thousandths.map(|thousandths| f64::from(thousandths) / 1_000.0).collect();
    epsilons.push(100.0);
    let usable = LatencyTarget { statistic: Statistic::P95, at_most: USABLE };
    let mut fitting = None;
    let mut least_bytes = u64::MAX;
    first(&epsilons, |&value| {
        // All of them are positive numbers.
        let Ok(epsilon) = Epsilon::new(value) else { return Ok(false) };
        let directions = match directions(checked, epsilon, None) {
            Ok(directions) => directions,
            // Noise beyond the sampler's: a larger epsilon has less.
            Err(PlanError::Noise(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let measured = measure(checked, &directions, setup)?;
        let plan = planned(checked, epsilon, directions, &measured, setup);
        let bytes = plan.performance.bytes_per_month.sum();
        least_bytes = least_bytes.min(bytes);
        let fits = bytes <= budget && plan.performance.meets(&usable);
        if fits {
            fitting = Some(plan);
        }
        Ok(fits)
    })?;
    Ok(Solved { dp: fitting, least_bytes })
}

/// The smallest margin that keeps the latency.
fn for_latency(
    checked: &Checked,
    epsilon: Epsilon,
    target: &LatencyTarget,
    setup: &Setup,
) -> Result<Solved, PlanError> {
    let margins: Vec<Per1024> =
        (0..=MARGIN_STEPS).map(|step| Per1024((1024.0 * (f64::from(step) / 12.0).exp2()) as u32)).collect();
    let mut found = None;
    first(&margins, |&margin| {
        let directions = match directions(checked, epsilon, Some(margin)) {
            Ok(directions) => directions,
            // A ceiling beyond every class.
            Err(PlanError::Range(_)) => return Ok(true),
            Err(error) => return Err(error),
        };
        let measured = measure(checked, &directions, setup)?;
        let plan = planned(checked, epsilon, directions, &measured, setup);
        let meets = plan.performance.meets(target);
        if meets {
            found = Some(plan);
        }
        Ok(meets)
    })?;
    Ok(Solved { dp: found, least_bytes: u64::MAX })
}

/// Halves `values`, ordered so that `is_enough` holds from some value on, until the first of them has been tried.
pub(crate) fn first<T>(
    values: &[T],
    mut is_enough: impl FnMut(&T) -> Result<bool, PlanError>,
) -> Result<(), PlanError> {
    let (mut begin, mut end) = (0, values.len());
    while begin < end {
        let middle = begin + (end - begin) / 2;
        if is_enough(&values[middle])? {
            end = middle;
        } else {
            begin = middle + 1;
        }
    }
    Ok(())
}
