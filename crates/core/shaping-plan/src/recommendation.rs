//! Which mode, and why.

use crate::alternatives::{ConstantPlan, SteppedPlan};
use crate::mechanism::DpPlan;
use crate::promises::Promises;
use crate::request::LatencyTarget;
use std::fmt;
use std::time::Duration;

/// A mode that can be recommended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecommendedMode {
    /// One class, always.
    Constant,
    /// A few classes, chosen at slow edges.
    Stepped,
    /// Noisy counts.
    Dp,
}

impl RecommendedMode {
    /// As in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Stepped => "stepped",
            Self::Dp => "dp",
        }
    }
}

/// A mode and the reason for it, which prints as a sentence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recommendation {
    /// The mode.
    pub mode: RecommendedMode,
    /// Why.
    pub reason: Reason,
}

/// Bytes are those of both directions in 30 days.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// `dp` costs about as much as a constant rate or more, and tells something.
    ConstantIsCheaper {
        /// Of `constant`.
        constant: u64,
        /// Of `dp`, while the noise is so many times what an epoch brings.
        dp: u64,
        /// sigma in epochs of traffic.
        noise_in_epochs: f64,
    },
    /// There is no `dp` for what was asked.
    OnlyConstant {
        /// Of `constant`.
        constant: u64,
    },
    /// Noise takes the rate of `dp` below the load so often that it is of no use.
    DpTooSlow {
        /// Its 95th percentile.
        p95: Duration,
        /// Of `constant`, which is held to [`USABLE`](crate::USABLE).
        constant: u64,
    },
    /// So little noise that a single epoch shows it all.
    DpHidesNothing {
        /// The best attacker after one epoch.
        accuracy: f64,
    },
    /// Nobody is there for most of the day.
    SteppedHalves {
        /// Of `stepped`.
        stepped: u64,
        /// Of `constant`.
        constant: u64,
        /// What it tells.
        bits_per_hour: f64,
    },
    /// It alone fits the budget.
    OnlySteppedFits {
        /// Of `stepped`.
        stepped: u64,
        /// Of `constant`.
        constant: u64,
        /// What it tells.
        bits_per_hour: f64,
    },
    /// `dp` costs less than a constant rate with the same latency.
    DpIsCheaper {
        /// Of `dp`.
        dp: u64,
        /// Of `constant`.
        constant: u64,
    },
}

/// Above this accuracy after one epoch the noise hides nobody.
const ACCURACY_MAX: f64 = 0.9;
/// `dp` has to save a twentieth: a constant rate tells nothing, and classes are a fifth apart.
const DP_SAVES: f64 = 0.95;

/// What there is to choose from.
pub(crate) struct Choice<'a> {
    pub(crate) dp: Option<(&'a DpPlan, &'a Promises)>,
    pub(crate) constant: &'a ConstantPlan,
    pub(crate) stepped: Option<&'a SteppedPlan>,
    pub(crate) budget: Option<u64>,
    /// What each of them is held to.
    pub(crate) latency: LatencyTarget,
    /// What the traffic brings down in an epoch.
    pub(crate) epoch_bytes: f64,
}

impl Choice<'_> {
    /// None where nothing fits the budget.
    pub(crate) fn recommend(&self) -> Option<Recommendation> {
        let fits = |bytes: u64| self.budget.is_none_or(|budget| bytes <= budget);
        let constant = self.constant.performance.bytes_per_month.sum();
        if let Some(recommendation) = self.dp_where_better(constant, &fits) {
            return Some(recommendation);
        }
        let stepped =
            self.stepped.map(|stepped| (stepped.performance.bytes_per_month.sum(), stepped.bits_per_hour.value()));
        let of = |mode, reason| Some(Recommendation { mode, reason });
        if let Some((stepped, bits_per_hour)) = stepped
            && fits(stepped)
        {
            if !fits(constant) {
                return of(RecommendedMode::Stepped, Reason::OnlySteppedFits { stepped, constant, bits_per_hour });
            }
            if 2 * stepped <= constant {
                return of(RecommendedMode::Stepped, Reason::SteppedHalves { stepped, constant, bits_per_hour });
            }
        }
        if !fits(constant) {
            let (dp, _) = self.dp?;
            let reason = Reason::DpIsCheaper { dp: dp.performance.bytes_per_month.sum(), constant };
            return of(RecommendedMode::Dp, reason);
        }
        let reason = match self.dp {
            None => Reason::OnlyConstant { constant },
            Some((_, promises)) if hides_nothing(promises) => {
                Reason::DpHidesNothing { accuracy: promises.one_client[0].accuracy.value() }
            }
            Some((dp, _)) if !self.is_fast(dp) => Reason::DpTooSlow { p95: dp.performance.p95, constant },
            Some((dp, _)) => Reason::ConstantIsCheaper {
                constant,
                dp: dp.performance.bytes_per_month.sum(),
                noise_in_epochs: dp.directions.down.settings.sigma.bytes() as f64 / self.epoch_bytes,
            },
        };
        of(RecommendedMode::Constant, reason)
    }

    fn dp_where_better(&self, constant: u64, fits: &dyn Fn(u64) -> bool) -> Option<Recommendation> {
        let (plan, promises) = self.dp?;
        let dp = plan.performance.bytes_per_month.sum();
        if hides_nothing(promises) || !fits(dp) || !self.is_fast(plan) {
            return None;
        }
        let saves = dp as f64 <= DP_SAVES * constant as f64;
        saves.then_some(Recommendation { mode: RecommendedMode::Dp, reason: Reason::DpIsCheaper { dp, constant } })
    }

    fn is_fast(&self, dp: &DpPlan) -> bool {
        dp.performance.meets(&self.latency)
    }
}

fn hides_nothing(promises: &Promises) -> bool {
    promises.one_client[0].accuracy.value() > ACCURACY_MAX
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gigabytes = |bytes: u64| bytes as f64 / 1e9;
        match *self {
            Self::ConstantIsCheaper { constant, dp, noise_in_epochs } => write!(
                f,
                "a constant rate costs {:.0} GB a month and tells nothing, dp {:.0} GB, as its noise is {:.1} \
                 times what an epoch brings",
                gigabytes(constant),
                gigabytes(dp),
                noise_in_epochs
            ),
            Self::OnlyConstant { constant } => write!(
                f,
                "no dp does what was asked for; a constant rate costs {:.0} GB a month and tells nothing",
                gigabytes(constant)
            ),
            Self::DpTooSlow { p95, constant } => write!(
                f,
                "noise keeps dp below the load for so long that 5 answers in 100 wait {:.0} s or longer; a constant rate costs {:.0} \
                 GB a month and tells nothing",
                p95.as_secs_f64(),
                gigabytes(constant)
            ),
            Self::DpHidesNothing { accuracy } => write!(
                f,
                "with so little noise the best attacker is right {:.0} times in 100 after one epoch, so dp hides nobody; a \
                 constant rate tells nothing",
                100.0 * accuracy
            ),
            Self::SteppedHalves { stepped, constant, bits_per_hour } => write!(
                f,
                "with these busy hours stepped costs {:.0} GB a month instead of {:.0}, for at most {:.0} bits an hour",
                gigabytes(stepped),
                gigabytes(constant),
                bits_per_hour
            ),
            Self::OnlySteppedFits { stepped, constant, bits_per_hour } => write!(
                f,
                "stepped fits the budget with {:.0} GB a month, a constant rate of {:.0} GB does not; it tells at most {:.0} bits \
                 an hour",
                gigabytes(stepped),
                gigabytes(constant),
                bits_per_hour
            ),
            Self::DpIsCheaper { dp, constant } => write!(
                f,
                "dp costs {:.0} GB a month, a constant rate for the same {:.0} GB",
                gigabytes(dp),
                gigabytes(constant)
            ),
        }
    }
}
