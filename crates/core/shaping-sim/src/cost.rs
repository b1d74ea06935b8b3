//! What the releases of a run say to an observer.

use shaping::accountant::{Bits, Composition, FailureProbability, MuSquared, capacity};
use std::num::{NonZeroU32, NonZeroU64};
use std::time::Duration;

/// What one direction of a run has cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cost {
    /// Nothing was let out.
    Nothing,
    /// There is no schedule: everything but the size of packets shows.
    Everything,
    /// Classes were chosen: [`capacity::stepped`].
    Choices {
        /// Classes to choose from.
        classes: u32,
        /// Edges at which one was chosen.
        edges: u64,
        /// Maximal leakage of all of them.
        bits: Bits,
    },
    /// Noisy values were let out.
    Noise(NoiseCost),
}

/// What noisy values cost. Epsilons are [`Composition::epsilon`] of the compositions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseCost {
    /// Values let out.
    pub releases: u64,
    /// The loss about a difference that one window can show: one release of `dp`, all decisions of W of `queue`.
    pub window: Composition,
    /// The loss about a client that differs all the time.
    pub all: Composition,
    /// Maximal leakage of all releases, whatever reacts to them.
    pub bits: Bits,
}

impl Cost {
    pub(crate) fn of_choices(classes: u32, edges: u64) -> Self {
        let several = NonZeroU32::new(classes).unwrap_or(NonZeroU32::MIN);
        Self::Choices { classes, edges, bits: capacity::stepped(several, 1, edges) }
    }

    /// `range_bytes` is the largest value measured, before noise.
    pub(crate) fn of_noise(
        [sensitivity_bytes, sigma_bytes, range_bytes]: [u64; 3],
        releases: u64,
        releases_per_window: u64,
    ) -> Self {
        // Noise so small that its cost cannot be written down hides nothing.
        let each = MuSquared::from_ratio(sensitivity_bytes, sigma_bytes).unwrap_or(MuSquared::MAX);
        let sigma = NonZeroU64::new(sigma_bytes).unwrap_or(NonZeroU64::MIN);
        Self::Noise(NoiseCost {
            releases,
            window: Composition::NOTHING.with(each, releases_per_window),
            all: Composition::NOTHING.with(each, releases),
            bits: capacity::maximal_leakage(range_bytes, sigma, releases),
        })
    }

    /// Epsilon of one window at delta = 10^-6, where there is one.
    pub fn epsilon_of_window(&self) -> Option<f64> {
        match self {
            Self::Nothing => Some(0.0),
            Self::Noise(noise) => Some(noise.window.epsilon(FailureProbability::DEFAULT).value()),
            Self::Everything | Self::Choices { .. } => None,
        }
    }

    /// Epsilon of all of it at delta = 10^-6, where there is one.
    pub fn epsilon_of_all(&self) -> Option<f64> {
        match self {
            Self::Nothing => Some(0.0),
            Self::Noise(noise) => Some(noise.all.epsilon(FailureProbability::DEFAULT).value()),
            Self::Everything | Self::Choices { .. } => None,
        }
    }

    /// Maximal leakage in bits, where it is bounded.
    pub fn bits(&self) -> Option<f64> {
        match self {
            Self::Nothing => Some(0.0),
            Self::Choices { bits, .. } | Self::Noise(NoiseCost { bits, .. }) => Some(bits.value()),
            Self::Everything => None,
        }
    }
}

/// Decisions within a window, at least one.
pub(crate) fn decisions_per_window(window: Duration, decision_us: u32) -> u64 {
    let decisions = window.as_micros() / u128::from(decision_us.max(1));
    u64::try_from(decisions).unwrap_or(u64::MAX).max(1)
}
