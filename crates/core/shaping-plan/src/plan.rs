//! The whole plan.

use crate::alternatives::{Aim, Classes, ConstantPlan, NetShaperPlan, NoNetShaper, SteppedPlan, netshaper, stepped};
use crate::directions::Directions;
use crate::error::{PlanError, RequestError};
use crate::measured::MONTH_S;
use crate::mechanism::DpPlan;
use crate::promises::Promises;
use crate::recommendation::{Choice, Recommendation};
use crate::request::{Checked, CheckedGoal, LatencyTarget, Request, Statistic};
use crate::solve::{Solved, solve};
use shaping_sim::Setup;
use std::time::Duration;

/// 95 of 100 answers come within this, or the traffic is of no use: a segment of video plays for 5 s, and who reads pages
/// waits no longer.
pub const USABLE: Duration = Duration::from_secs(4);

/// What was simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simulated {
    /// Length of a run.
    pub length: Duration,
    /// Runs of each setting.
    pub seeds: u32,
    /// The first of their seeds.
    pub first_seed: u64,
}

/// Everything that a request leads to.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// As it was asked for.
    pub request: Request,
    /// Bytes of applications in a second, while they are there.
    pub load_bytes_per_second: Directions<f64>,
    /// The traffic itself in 30 days, in full packets, with nothing hidden but sizes.
    pub traffic_bytes_per_month: u64,
    /// What was simulated.
    pub simulated: Simulated,
    /// Mode `dp`; none where nothing of it does what was asked for.
    pub dp: Option<DpPlan>,
    /// What it promises.
    pub promises: Option<Promises>,
    /// The latency that alternatives are held to: the one asked for, else the 95th percentile of `dp`, at most [`USABLE`].
    pub same: LatencyTarget,
    /// Mode `constant`.
    pub constant: ConstantPlan,
    /// Mode `stepped`; none where the slowest class is enough.
    pub stepped: Option<SteppedPlan>,
    /// NetShaper's mechanism.
    pub netshaper: Result<NetShaperPlan, NoNetShaper>,
    /// Which of them.
    pub recommendation: Recommendation,
}

/// Makes a plan. It simulates for some seconds; the same request gives the same plan.
pub fn plan(request: &Request) -> Result<Plan, PlanError> {
    let checked = Checked::new(request)?;
    let load = checked.load();
    let cell_payload = checked.setup(Duration::from_secs(1)).cell_payload() as f64;
    let length = request.effort.run_length(load.down / cell_payload);
    let setup = checked.setup(length);
    let packets = load.sum() / cell_payload * setup.packet_bytes as f64;
    let traffic_bytes_per_month = (packets * checked.busy_share() * MONTH_S) as u64;
    let mut classes = Classes::new(&checked, setup);
    let budget = budget(&checked);
    if let Some(budget) = budget
        && budget < traffic_bytes_per_month
    {
        let needed = classes.least_bytes()?;
        return Err(RequestError::BudgetBelowTraffic { budget, traffic: traffic_bytes_per_month, needed }.into());
    }
    let Solved { dp, least_bytes } = solve(&checked, &setup)?;
    let same = same_latency(&checked, dp.as_ref());
    let constant = classes.plan(&Aim { latency: same, budget })?;
    let stepped = stepped(&checked, &constant, &setup)?;
    let promises = dp.as_ref().map(|dp| Promises::new(&checked, dp)).transpose()?;
    let choice = Choice {
        dp: dp.as_ref().zip(promises.as_ref()),
        constant: &constant,
        stepped: stepped.as_ref(),
        budget,
        latency: same,
        epoch_bytes: load.down * f64::from(checked.epoch_s),
    };
    let Some(recommendation) = choice.recommend() else {
        let needed = classes.least_bytes()?.min(least_bytes);
        return Err(RequestError::BudgetBelowModes { budget: budget.unwrap_or(0), needed }.into());
    };
    let netshaper = compared(&checked, dp.as_ref(), &constant, &same, &setup)?;
    let simulated = Simulated { length, seeds: request.effort.seeds, first_seed: request.seed };
    Ok(Plan {
        request: request.clone(),
        load_bytes_per_second: load,
        traffic_bytes_per_month,
        simulated,
        dp,
        promises,
        same,
        constant,
        stepped,
        netshaper,
        recommendation,
    })
}

fn budget(checked: &Checked) -> Option<u64> {
    match checked.goal {
        CheckedGoal::Budget(budget) => Some(budget),
        CheckedGoal::Privacy(_) | CheckedGoal::Latency(..) => None,
    }
}

/// NetShaper at the epsilon of the plan and its 95th percentile.
fn compared(
    checked: &Checked,
    dp: Option<&DpPlan>,
    constant: &ConstantPlan,
    same: &LatencyTarget,
    setup: &Setup,
) -> Result<Result<NetShaperPlan, NoNetShaper>, PlanError> {
    let epsilon = match checked.goal {
        CheckedGoal::Privacy(epsilon) | CheckedGoal::Latency(epsilon, _) => Some(epsilon),
        CheckedGoal::Budget(_) => dp.map(|dp| dp.epsilon),
    };
    let p95 = if same.statistic == Statistic::P95 { same.at_most } else { constant.performance.p95 };
    let Some(epsilon) = epsilon else { return Ok(Err(NoNetShaper::NoEpsilon)) };
    netshaper(checked, epsilon, p95, setup)
}

/// What alternatives are compared at.
fn same_latency(checked: &Checked, dp: Option<&DpPlan>) -> LatencyTarget {
    match checked.goal {
        CheckedGoal::Latency(_, target) => target,
        CheckedGoal::Privacy(_) | CheckedGoal::Budget(_) => {
            let at_most = dp.map_or(USABLE, |dp| dp.performance.p95.min(USABLE));
            LatencyTarget { statistic: Statistic::P95, at_most }
        }
    }
}
