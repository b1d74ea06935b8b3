//! `[stepped]`, `[dp]` and `[queue]`: how a rate that is not constant is found, and what a release of it costs.
//!
//! The tables are read in every mode, so that a wrong key never hides; they are checked against each other only for
//! the mode that uses them.

use crate::diagnostic::{Problem, Report};
use crate::reader::Section;
use crate::sections::Mode;
use crate::units::{parse_bytes, parse_rate};
use crate::value;
use shaping::accountant::{Epsilon, FailureProbability, MuSquared, gaussian};
use shaping::ledger::{BitsSpent, Cost};
use shaping::{
    DOWN_EDGE_S, DpParameters, DpSettings, Per1024, QueueParameters, QueueSettings, RateClass, SendingStrategy, Sigma,
    SlotLength, SteppedParameters, UP_EDGE_S, floor_for_reverse,
};
use std::ops::Range;
use toml::de::DeValue;

/// Bytes that a client may bring into an epoch of the direction up, where no file says it: requests.
pub const QUOTA_UP: u64 = 256_000;
/// The same down: answers.
pub const QUOTA_DOWN: u64 = 2_500_000;

/// The rates that mode `stepped` chooses from, where no file says it, up to `fastest`.
pub fn default_classes(fastest: RateClass) -> Vec<RateClass> {
    let classes = [256_000, 2_000_000, 10_000_000, 50_000_000].into_iter().flat_map(RateClass::at_least);
    classes.filter(|class| *class <= fastest).collect()
}

/// What a direction's rate follows from.
#[derive(Debug, Clone, PartialEq)]
pub enum Pacing {
    /// Nothing: one class, or no schedule at all.
    Fixed,
    /// One of a few classes at edges of 300 s.
    Stepped(SteppedParameters),
    /// Noisy counts of arrivals.
    Dp(Dp),
    /// NetShaper's own mechanism.
    Queue(QueueParameters),
}

/// Mode `dp` of the node's own direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dp {
    /// Loss of one client in one epoch of one direction.
    pub epsilon: Epsilon,
    /// The probability that goes with it.
    pub delta: FailureProbability,
    /// The mechanism, checked.
    pub settings: DpSettings,
}

/// What the releases of a direction cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Price {
    /// Length of an epoch, which has one release at most, in seconds.
    pub epoch_s: u32,
    /// What each costs: mu squared, or bits in mode `stepped`; never both.
    pub each: Cost,
    /// The same as the two nodes compare it: mu squared in the ledger's units, or the number of choices.
    pub compared: u128,
    /// The probability that goes with epsilons of it.
    pub delta: FailureProbability,
}

impl Price {
    /// Whether bits are spent, and not mu squared.
    pub fn counts_bits(&self) -> bool {
        self.each.bits > BitsSpent::default()
    }
}

impl Pacing {
    /// What releases cost, of either direction; none where nothing is let out.
    pub fn price(&self) -> Option<Price> {
        let noisy =
            |epoch_s, cost: MuSquared, delta| Price { epoch_s, each: Cost::noisy(cost), compared: cost.raw(), delta };
        match self {
            Self::Fixed => None,
            Self::Dp(dp) => Some(noisy(dp.settings.epoch_s, dp.cost_each(), dp.delta)),
            Self::Queue(parameters) => {
                // The check of the settings refuses those without a cost.
                let cost = parameters.cost_each().unwrap_or(MuSquared::MAX);
                Some(noisy(DOWN_EDGE_S as u32, cost, FailureProbability::DEFAULT))
            }
            Self::Stepped(parameters) => {
                let choices = parameters.choices();
                Some(Price {
                    epoch_s: UP_EDGE_S as u32,
                    each: Cost::choice(choices),
                    compared: u128::from(choices),
                    delta: FailureProbability::DEFAULT,
                })
            }
        }
    }

    /// The probability that goes with every epsilon of the node.
    pub fn delta(&self) -> FailureProbability {
        self.price().map_or(FailureProbability::DEFAULT, |price| price.delta)
    }
}

impl Dp {
    /// What one release of either direction may cost: mu squared of epsilon and delta, rounded up, so that it pays for
    /// noise that was rounded up on either node.
    pub fn cost_each(&self) -> MuSquared {
        let mu = gaussian::mu(self.epsilon, self.delta);
        MuSquared::from_raw(MuSquared::budget(mu).raw().saturating_add(2))
    }

    /// The same promise and rule for a direction whose fastest class is `own`, that of the other direction `other`, with
    /// this many bytes of a client in an epoch. Not checked: [`DpParameters::new`] does that. None where no noise keeps
    /// the promise.
    pub fn for_direction(
        &self,
        own: RateClass,
        other: RateClass,
        quota: u64,
        session_packet: usize,
    ) -> Option<DpSettings> {
        let bytes = gaussian::sigma_bytes(self.epsilon, self.delta, 1, quota).ok()?;
        Some(DpSettings {
            delta_bytes: quota,
            sigma: Sigma::new(bytes).ok()?,
            floor: floor_for_reverse(other, session_packet).min(own),
            initial: own,
            ceiling: own,
            count_cap_bytes: count_cap(own, self.settings.epoch_s, quota),
            ..self.settings
        })
    }
}

/// What the check of a mode needs beside its table.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    pub(crate) mode: Mode,
    /// Where the file says the mode: there a problem of a table is shown that the file does not have.
    pub(crate) mode_place: Range<usize>,
    pub(crate) slot: SlotLength,
    pub(crate) session_packet: usize,
    /// Fastest class of the node's own direction.
    pub(crate) own: RateClass,
    /// Fastest class of the other direction.
    pub(crate) other: RateClass,
    /// Bytes of a client in an epoch, where the file does not say.
    pub(crate) quota: u64,
}

/// Reads the three tables and keeps what the mode uses.
pub(crate) fn pacing(root: &mut Section<'_>, line: &Line, report: &mut Report) -> Pacing {
    let stepped = stepped(root, line, report);
    let dp = dp(root, line, report);
    let queue = queue(root, line, report);
    let chosen = match line.mode {
        Mode::Constant | Mode::Off => None,
        Mode::Stepped => stepped.map(Pacing::Stepped),
        Mode::Dp => dp.map(Pacing::Dp),
        Mode::Queue => queue.map(Pacing::Queue),
    };
    // A table that cannot be used has been reported.
    chosen.unwrap_or(Pacing::Fixed)
}

fn stepped(root: &mut Section<'_>, line: &Line, report: &mut Report) -> Option<SteppedParameters> {
    let mut section = root.section(report, "stepped").or_at(&line.mode_place);
    let written = section.has("classes");
    let mut classes = section.list(report, "classes", |value| parse_rate(value::text(value)?));
    if !written {
        classes = default_classes(line.own);
    }
    classes.retain(|class| *class <= line.own);
    let initial = classes.iter().copied().max().unwrap_or(RateClass::SLOWEST);
    let parameters = SteppedParameters::new(&classes, initial);
    if let Err(error) = &parameters
        && line.mode == Mode::Stepped
    {
        section.refuse(report, "classes", Problem::Stepped(*error));
    }
    section.finish(report);
    parameters.ok()
}

fn dp(root: &mut Section<'_>, line: &Line, report: &mut Report) -> Option<Dp> {
    let mut section = root.section(report, "dp").or_at(&line.mode_place);
    let epsilon = section.or(report, "epsilon", Epsilon::new(1.0).ok(), |value| epsilon(value).map(Some));
    let delta = section.or(report, "delta", FailureProbability::DEFAULT, |value| {
        FailureProbability::new(value::number(value)?).map_err(|_| Problem::Delta)
    });
    let epoch_s = section.or(report, "epoch_s", 5, value::integer(1, 3_600, "seconds")) as u32;
    let quota = section.or(report, "quota", line.quota, |value| Ok(parse_bytes(value::text(value)?)?.0));
    let gain = section.or(report, "gain", Per1024(154), share);
    let margin = section.or(report, "margin", Per1024(1152), share);
    let errors = section.or(report, "errors", Per1024(1280), share);
    let sigma = epsilon.and_then(|epsilon| {
        let bytes = gaussian::sigma_bytes(epsilon, delta, 1, quota).ok()?;
        Sigma::new(bytes).ok()
    });
    let settings = sigma.map(|sigma| DpSettings {
        epoch_s,
        delta_bytes: quota,
        sigma,
        gain,
        margin,
        errors,
        floor: floor_for_reverse(line.other, line.session_packet).min(line.own),
        initial: line.own,
        ceiling: line.own,
        count_cap_bytes: count_cap(line.own, epoch_s, quota),
    });
    let checked = match settings {
        None => Err(Problem::NoSigma),
        Some(settings) => DpParameters::new(settings).map(|_| settings).map_err(Problem::Dp),
    };
    let settings = match checked {
        Ok(settings) => Some(settings),
        Err(problem) => {
            if line.mode == Mode::Dp {
                section.refuse(report, problem.key_of_settings(), problem);
            }
            None
        }
    };
    section.finish(report);
    Some(Dp { epsilon: epsilon?, delta, settings: settings? })
}

/// C: what fits through the fastest class in an epoch, and at least one client's quota.
fn count_cap(own: RateClass, epoch_s: u32, quota: u64) -> u64 {
    (own.bits_per_second() / 8 * u64::from(epoch_s)).max(quota)
}

fn queue(root: &mut Section<'_>, line: &Line, report: &mut Report) -> Option<QueueParameters> {
    let defaults = QueueSettings::default();
    let mut section = root.section(report, "queue").or_at(&line.mode_place);
    let bytes = |value: &DeValue<'_>| Ok(parse_bytes(value::text(value)?)?.0);
    let micros = value::integer(0, 5_000_000, "microseconds");
    let decision_us = u64::from(defaults.dp_creditor_loop_interval_us);
    let sending_us = u64::from(defaults.sending_loop_interval_us);
    let strategy = section.or(report, "sending_strategy", "BURST", value::one_of(&["BURST", "UNIFORM"]));
    let settings = QueueSettings {
        noise_multiplier: section.or(report, "noise_multiplier", defaults.noise_multiplier, value::number),
        sensitivity: section.or(report, "sensitivity", defaults.sensitivity, bytes),
        min_decision_size: section.or(report, "min_decision_size", defaults.min_decision_size, bytes),
        max_decision_size: section.or(report, "max_decision_size", defaults.max_decision_size, bytes),
        dp_creditor_loop_interval_us: section.or(report, "dp_creditor_loop_interval_us", decision_us, &micros) as u32,
        sending_loop_interval_us: section.or(report, "sending_loop_interval_us", sending_us, &micros) as u32,
        sending_strategy: if strategy == "UNIFORM" { SendingStrategy::Uniform } else { SendingStrategy::Burst },
        keep_rest: section.or(report, "keep_rest", defaults.keep_rest, value::boolean),
    };
    let parameters = QueueParameters::new(settings, line.slot, line.session_packet);
    let parameters = match parameters {
        Err(error) => Err(Problem::Queue(error)),
        Ok(parameters) if parameters.cost_each().is_none() => Err(Problem::QueueCost),
        Ok(parameters) => Ok(parameters),
    };
    let parameters = match parameters {
        Ok(parameters) => Some(parameters),
        Err(problem) => {
            if line.mode == Mode::Queue {
                section.refuse(report, problem.key_of_settings(), problem);
            }
            None
        }
    };
    section.finish(report);
    parameters
}

pub(crate) fn epsilon(value: &DeValue<'_>) -> Result<Epsilon, Problem> {
    let number = value::number(value)?;
    Epsilon::new(number).ok().filter(|epsilon| (0.001..=100.0).contains(&epsilon.value())).ok_or(Problem::Epsilon)
}

fn share(value: &DeValue<'_>) -> Result<Per1024, Problem> {
    Per1024::nearest(value::number(value)?).ok_or(Problem::Share)
}
