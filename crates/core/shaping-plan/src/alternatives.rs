//! What else has the same latency: a constant rate, a few classes, NetShaper's mechanism.

use crate::directions::Directions;
use crate::error::{PlanError, RequestError};
use crate::measured::{Measured, Performance, wire_rate};
use crate::request::{Checked, LatencyTarget, Traffic};
use crate::solve::first;
use shaping::accountant::{Bits, Composition, Epsilon, MuSquared, capacity};
use shaping::{RateClass, SteppedParameters, UP_EDGE_S};
use shaping_sim::published::netshaper_mode;
use shaping_sim::targets::least_overhead_of_one_client;
use shaping_sim::trace::Trace;
use shaping_sim::{ConstantRate, Mode, Setup, answers, run_fluid};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

/// A class is tried up to so many times the load, or up to [`CLASS_MAX_BITS`].
const CLASS_LOADS_MAX: f64 = 16.0;
/// A class is tried up to this in any case.
const CLASS_MAX_BITS: f64 = 100e6;
/// A direction at a constant rate has this share of the other, for acknowledgements.
const REVERSE_SHARE: u64 = 50;
/// The rates that a network offers, in bits per second.
const OFFERED_BITS: [u64; 4] = [256_000, 2_000_000, 10_000_000, 50_000_000];
/// Classes below the fastest: with it four, two bits an edge.
const SLOWER_CLASSES_MAX: usize = 3;
/// Classes around the one found that are shown beside it.
const LADDER_STEPS: u8 = 2;
/// The mean latency that one user is held to.
const USER_MEAN: Duration = Duration::from_millis(1_700);
/// Length of a run in mode `stepped`: five edges.
const STEPPED_RUN: Duration = Duration::from_secs(5 * UP_EDGE_S);
/// NetShaper's T in milliseconds, slowest first.
const NETSHAPER_INTERVALS_MS: [u32; 7] = [1_000, 500, 250, 200, 100, 50, 10];

/// Its accountant's largest order less one: it grants no epsilon of ln(1/delta) over this or less.
const NETSHAPER_ORDERS: f64 = 62.0;

/// What an alternative is chosen by: the slowest that keeps the latency, or where that is too dear, the fastest that is not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Aim {
    pub(crate) latency: LatencyTarget,
    pub(crate) budget: Option<u64>,
}

/// Mode `constant`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConstantPlan {
    /// Classes.
    pub classes: Directions<RateClass>,
    /// What they cost.
    pub performance: Performance,
    /// Classes down near the one found, slowest first, the same up.
    pub ladder: Vec<(RateClass, Performance)>,
    /// For one client of video: what no rate can do.
    pub user_bound: Option<UserBound>,
}

/// A rate that does not know when somebody asks is at least an answer's size divided by its time, always.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UserBound {
    /// A mean latency.
    pub mean: Duration,
    /// The least overhead down that goes with it, at any constant rate.
    pub least_overhead_down: f64,
}

/// Mode `stepped`.
#[derive(Debug, Clone, PartialEq)]
pub struct SteppedPlan {
    /// Classes to choose from.
    pub classes: Directions<SteppedParameters>,
    /// What they cost. Hours without traffic are spent in the slowest classes.
    pub performance: Performance,
    /// Whether the figures come from a run of 25 minutes; else they are those of the fastest class, which the rule keeps while
    /// traffic comes.
    pub is_simulated: bool,
    /// Maximal leakage of both directions in an hour, whatever happens.
    pub bits_per_hour: Bits,
    /// In a day.
    pub bits_per_day: Bits,
    /// From the slowest to the fastest class down when traffic comes back, at most.
    pub rise: Duration,
}

/// NetShaper's mechanism down, modelled without rounding and headers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NetShaperPlan {
    /// T.
    pub interval: Duration,
    /// (sent - application) / application, down.
    pub overhead_down: f64,
    /// Mean latency of answers.
    pub mean: Duration,
    /// 95 of 100.
    pub p95: Duration,
    /// 99 of 100.
    pub p99: Duration,
    /// Bytes down in 30 days, always busy: nobody says what it sends while idle.
    pub bytes_per_month: u64,
    /// noiseMultiplier, sigma / Delta, of its own accountant for W.
    pub noise_multiplier: f64,
    /// What its accountant says for an hour.
    pub epsilon_of_hour: Epsilon,
}

/// Why there is no figure for NetShaper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NoNetShaper {
    /// Its accountant grants no epsilon as small: ln(1/delta)/62 is the limit.
    EpsilonTooSmall {
        /// What it grants at best.
        least: f64,
    },
    /// There is no epsilon to compare with.
    NoEpsilon,
}

/// Finds a constant class.
pub(crate) struct Classes<'a> {
    checked: &'a Checked,
    setup: Setup,
    known: BTreeMap<RateClass, Measured>,
}

impl<'a> Classes<'a> {
    pub(crate) fn new(checked: &'a Checked, setup: Setup) -> Self {
        Self { checked, setup, known: BTreeMap::new() }
    }

    /// The class for this aim, with its neighbours.
    pub(crate) fn plan(&mut self, aim: &Aim) -> Result<ConstantPlan, PlanError> {
        let range = self.range()?;
        let mut class = self.slowest(&range, &aim.latency)?;
        if let Some(budget) = aim.budget {
            class = class.min(self.within(&range, budget));
        }
        let measured = self.measure(class)?;
        let performance = self.performance(class, &measured);
        let mut ladder = Vec::new();
        for number in class.number().saturating_sub(LADDER_STEPS)..=class.number() + LADDER_STEPS {
            if let Ok(near) = RateClass::new(number)
                && near >= range[0]
            {
                let measured = self.measure(near)?;
                ladder.push((near, self.performance(near, &measured)));
            }
        }
        let is_one_player = self.checked.request.clients == 1 && self.checked.request.traffic == Traffic::Video;
        let user_bound = is_one_player.then(|| UserBound {
            mean: USER_MEAN,
            least_overhead_down: least_overhead_of_one_client(USER_MEAN, &self.setup),
        });
        Ok(ConstantPlan { classes: Directions { up: self.up(class), down: class }, performance, ladder, user_bound })
    }

    /// Bytes a month of the slowest classes that carry the traffic.
    pub(crate) fn least_bytes(&self) -> Result<u64, PlanError> {
        let slowest = self.range()?[0];
        let bytes = |class: RateClass| class.wire_bytes_per_month(self.setup.session_packet, self.setup.packet_bytes);
        Ok(bytes(slowest) + bytes(self.up(slowest)))
    }

    /// Classes that carry the load and are not absurd for it.
    fn range(&self) -> Result<Vec<RateClass>, PlanError> {
        let session_bits =
            8.0 * self.checked.load().down * self.setup.session_packet as f64 / self.setup.cell_payload() as f64;
        let slowest = RateClass::at_least(session_bits as u64)?;
        let most = (CLASS_LOADS_MAX * session_bits).max(CLASS_MAX_BITS);
        let fastest = RateClass::at_least(most as u64).unwrap_or(RateClass::FASTEST);
        Ok((slowest.number()..=fastest.number()).flat_map(RateClass::new).collect())
    }

    fn slowest(&mut self, range: &[RateClass], target: &LatencyTarget) -> Result<RateClass, PlanError> {
        let (mut found, mut best) = (None, Duration::MAX);
        first(range, |&class| {
            let measured = self.measure(class)?;
            let performance = self.performance(class, &measured);
            best = best.min(performance.latency(target.statistic));
            let meets = performance.meets(target);
            if meets {
                found = Some(class);
            }
            Ok(meets)
        })?;
        found.ok_or(RequestError::LatencyOutOfReach { best }.into())
    }

    /// The fastest class that fits; the slowest, if none does.
    fn within(&self, range: &[RateClass], budget: u64) -> RateClass {
        let bytes = |class: RateClass| class.wire_bytes_per_month(self.setup.session_packet, self.setup.packet_bytes);
        let fits = |class: &RateClass| bytes(*class) + bytes(self.up(*class)) <= budget;
        range.iter().copied().rfind(fits).unwrap_or(range[0])
    }

    fn measure(&mut self, class: RateClass) -> Result<Measured, PlanError> {
        if let Some(known) = self.known.get(&class) {
            return Ok(*known);
        }
        let [up, down] = [self.up(class), class].map(|class| Mode::Constant(ConstantRate::Class(class)));
        let measured = Measured::new(self.checked, [&up, &down], &self.setup)?;
        self.known.insert(class, measured);
        Ok(measured)
    }

    fn performance(&self, class: RateClass, measured: &Measured) -> Performance {
        let classes = Directions { up: self.up(class), down: class };
        measured.performance(self.checked, classes.map(|class| wire_rate(class, &self.setup)))
    }

    /// Carries acknowledgements, and twice the requests.
    fn up(&self, down: RateClass) -> RateClass {
        let requests = (16.0 * self.checked.load().up) as u64;
        // A share of a class, and of a load that has been checked.
        RateClass::at_least((down.bits_per_second() / REVERSE_SHARE).max(requests)).unwrap_or(RateClass::FASTEST)
    }
}

/// Mode `stepped` with the constant classes found as the fastest. None where the slowest class does already.
pub(crate) fn stepped(
    checked: &Checked,
    constant: &ConstantPlan,
    setup: &Setup,
) -> Result<Option<SteppedPlan>, PlanError> {
    let Directions { up, down } = constant.classes;
    let load = (8.0 * checked.load().down) as u64;
    // The rule leaves a class for a slower one that is at most half full.
    let is_choice = |bits: u64| bits < down.bits_per_second() && (bits < 2 * load || bits == OFFERED_BITS[0]);
    let slower = OFFERED_BITS.into_iter().filter(|bits| is_choice(*bits));
    let mut classes = slower.map(RateClass::at_least).collect::<Result<Vec<_>, _>>()?;
    classes.retain(|class| *class < down);
    if classes.is_empty() {
        return Ok(None);
    }
    // The slowest stays, for when nobody is there.
    while classes.len() > SLOWER_CLASSES_MAX {
        classes.remove(1);
    }
    classes.push(down);
    let faster_up = RateClass::new((up.number() + 4).min(RateClass::FASTEST.number()))?;
    let parameters = Directions {
        up: SteppedParameters::new(&[up, faster_up], faster_up)?,
        down: SteppedParameters::new(&classes, down)?,
    };
    let (measured, is_simulated) = run_stepped(checked, &parameters, setup)?;
    let at_rest = Directions { up, down: classes[0] }.map(|class| wire_rate(class, setup));
    let performance = match measured {
        Some(measured) => measured.performance(checked, at_rest),
        None => Performance { bytes_per_month: idle_months(checked, constant, at_rest), ..constant.performance },
    };
    let bits = |hours: u64| {
        let edges = hours * 3_600 / UP_EDGE_S;
        let of = |parameters: &SteppedParameters| {
            capacity::stepped(NonZeroU32::new(parameters.choices()).unwrap_or(NonZeroU32::MIN), 1, edges)
        };
        of(&parameters.up).plus(of(&parameters.down))
    };
    let rise = Duration::from_secs(UP_EDGE_S) * (classes.len() as u32 - 1);
    let (bits_per_hour, bits_per_day) = (bits(1), bits(24));
    Ok(Some(SteppedPlan { classes: parameters, performance, is_simulated, bits_per_hour, bits_per_day, rise }))
}

/// A run over several edges, where that does not take too long.
fn run_stepped(
    checked: &Checked,
    parameters: &Directions<SteppedParameters>,
    setup: &Setup,
) -> Result<(Option<Measured>, bool), PlanError> {
    let cells_per_second = parameters.down.initial().bits_per_second() as f64 / 8.0 / setup.session_packet as f64;
    if cells_per_second * STEPPED_RUN.as_secs_f64() > checked.request.effort.cells_per_run as f64 * 4.0 {
        return Ok((None, false));
    }
    let [up, down] = [Mode::Stepped(parameters.up.clone()), Mode::Stepped(parameters.down.clone())];
    let measured = Measured::new(checked, [&up, &down], &Setup { measured: STEPPED_RUN, ..*setup })?;
    Ok((Some(measured), true))
}

/// The month of the constant rate, with the hours without traffic at other rates.
fn idle_months(checked: &Checked, constant: &ConstantPlan, at_rest: Directions<f64>) -> Directions<u64> {
    let busy = checked.busy_share();
    let month = |always: u64, rest: f64| (busy * always as f64 + (1.0 - busy) * rest * crate::measured::MONTH_S) as u64;
    let always = constant.performance.bytes_per_month;
    Directions { up: month(always.up, at_rest.up), down: month(always.down, at_rest.down) }
}

/// NetShaper with the largest T that keeps the latency, or its smallest.
pub(crate) fn netshaper(
    checked: &Checked,
    epsilon: Epsilon,
    p95: Duration,
    setup: &Setup,
) -> Result<Result<NetShaperPlan, NoNetShaper>, PlanError> {
    let trace = answers(&checked.workload, setup.measured, setup.seed)?;
    let mut found = None;
    for interval_ms in NETSHAPER_INTERVALS_MS {
        if !interval_ms.is_multiple_of(setup.slot.as_millis()) {
            continue;
        }
        match netshaper_at(checked, epsilon, interval_ms, (&trace, setup))? {
            Ok(plan) => {
                let is_enough = plan.p95 <= p95;
                found = Some(plan);
                if is_enough {
                    break;
                }
            }
            Err(none) => return Ok(Err(none)),
        }
    }
    Ok(found.ok_or(NoNetShaper::NoEpsilon))
}

fn netshaper_at(
    checked: &Checked,
    epsilon: Epsilon,
    interval_ms: u32,
    (trace, setup): (&Trace, &Setup),
) -> Result<Result<NetShaperPlan, NoNetShaper>, PlanError> {
    let promise = checked.promise(epsilon);
    let Ok(Mode::Queue(mut queue)) = netshaper_mode(checked.request.clients, interval_ms, setup.slot, &promise) else {
        return Ok(Err(NoNetShaper::EpsilonTooSmall { least: -checked.delta.value().ln() / NETSHAPER_ORDERS }));
    };
    queue.settings.max_decision_size =
        checked.request.traffic.netshaper_decision_bytes().saturating_mul(checked.request.clients.into());
    let multiplier = queue.settings.noise_multiplier;
    let fluid = run_fluid(trace, &Mode::Queue(queue), setup, None)?;
    let decisions = 3_600_000 / u64::from(interval_ms);
    let sigma = (multiplier * promise.down_bytes as f64) as u64;
    let each = MuSquared::from_ratio(promise.down_bytes, sigma).unwrap_or(MuSquared::MAX);
    let seconds = setup.measured.as_secs_f64();
    Ok(Ok(NetShaperPlan {
        interval: Duration::from_millis(interval_ms.into()),
        overhead_down: fluid.overhead().unwrap_or(0.0),
        mean: fluid.latency.mean,
        p95: fluid.latency.p95,
        p99: fluid.latency.p99,
        bytes_per_month: (fluid.sent_bytes / seconds * crate::measured::MONTH_S) as u64,
        noise_multiplier: multiplier,
        epsilon_of_hour: Composition::NOTHING.with(each, decisions).netshaper_epsilon(checked.delta),
    }))
}
