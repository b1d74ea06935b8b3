//! NetShaper's settings of the queue mechanism, under NetShaper's names, checked against the slot grid.

use crate::DOWN_EDGE_S;
use crate::accountant::MuSquared;
use crate::grid::SlotLength;
use crate::noise::{Sigma, SigmaError};
use thiserror::Error;

/// Longest decision interval in microseconds.
const DECISION_INTERVAL_MAX_US: u32 = 5_000_000;
/// Largest sensitivity and decision in bytes, 1.1 TB.
const BYTES_MAX: u64 = 1 << 40;

/// How a decision is spread over the time to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SendingStrategy {
    /// All of it at the first send.
    Burst,
    /// In equal parts, one at each send.
    Uniform,
}

/// What the configuration says, field for field as in NetShaper. [`QueueParameters::new`] checks it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueSettings {
    /// sigma / sensitivity.
    pub noise_multiplier: f64,
    /// Delta_W in bytes: by how much the queue lengths of two worlds are *taken* to differ. Nothing enforces it.
    pub sensitivity: u64,
    /// Smallest decision in bytes.
    pub min_decision_size: u64,
    /// Largest decision in bytes.
    pub max_decision_size: u64,
    /// T, time between decisions in microseconds.
    pub dp_creditor_loop_interval_us: u32,
    /// Time between sends in microseconds. 0, with BURST only: one send per decision.
    pub sending_loop_interval_us: u32,
    /// BURST or UNIFORM.
    pub sending_strategy: SendingStrategy,
    /// What a decision allowed and the bound on a slot kept from leaving before the next decision is added to that
    /// one. NetShaper loses it: false.
    pub keep_rest: bool,
}

impl Default for QueueSettings {
    /// The defaults of NetShaper's code.
    fn default() -> Self {
        Self {
            noise_multiplier: 38.0,
            sensitivity: 500_000,
            min_decision_size: 0,
            max_decision_size: 500_000,
            dp_creditor_loop_interval_us: 50_000,
            sending_loop_interval_us: 50_000,
            sending_strategy: SendingStrategy::Burst,
            keep_rest: false,
        }
    }
}

/// Settings that make no sense, alone or together, and what would.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
pub enum QueueError {
    /// Not a positive number; 0 would be no noise.
    #[error("a noise multiplier of {0} is no positive number; for no noise use mode off, for no loss mode constant")]
    NoiseMultiplier(f64),
    /// Out of range.
    #[error("a sensitivity of {0} bytes is outside 1..={BYTES_MAX}")]
    Sensitivity(u64),
    /// Multiplier and sensitivity together ask for a scale that does not exist.
    #[error("noise multiplier and sensitivity do not fit together: {0}")]
    Sigma(SigmaError),
    /// Not in order, or out of range.
    #[error("decisions of {min} to {max} bytes are none; 0 <= min <= max <= {BYTES_MAX} and max > 0")]
    Decisions {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// T is no whole number of slots.
    #[error(
        "a decision interval of {interval_us} us is no whole number of slots of {slot_us} us up to \
         {DECISION_INTERVAL_MAX_US} us; {fits} us would fit",
        fits = fitting(*.interval_us, *.slot_us)
    )]
    DecisionInterval {
        /// T.
        interval_us: u32,
        /// Length of a slot.
        slot_us: u32,
    },
    /// The sending interval is no whole number of slots, or T no whole number of sending intervals.
    #[error(
        "a sending interval of {interval_us} us is no whole number of slots of {slot_us} us that divides the decision \
         interval; {fits} us would fit",
        fits = fitting_share(*.interval_us, *.slot_us, *.decision_us)
    )]
    SendingInterval {
        /// Time between sends.
        interval_us: u32,
        /// Length of a slot.
        slot_us: u32,
        /// T.
        decision_us: u32,
    },
    /// UNIFORM needs sends to spread over.
    #[error("UNIFORM with a sending interval of 0 has no sends; {0} us, one slot, is the shortest that fits")]
    UniformWithoutInterval(u32),
}

/// The nearest whole number of slots at or above the interval, at least one and not above the longest.
fn fitting(interval_us: u32, slot_us: u32) -> u32 {
    let most = DECISION_INTERVAL_MAX_US / slot_us;
    interval_us.min(DECISION_INTERVAL_MAX_US).div_ceil(slot_us).clamp(1, most) * slot_us
}

/// The shortest whole number of slots at or above the interval that divides the decision interval.
fn fitting_share(interval_us: u32, slot_us: u32, decision_us: u32) -> u32 {
    let slots = decision_us / slot_us;
    let fits = (1..=slots).find(|&share| slots.is_multiple_of(share) && share * slot_us >= interval_us);
    fits.unwrap_or(slots) * slot_us
}

/// Checked settings in slots.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QueueParameters {
    settings: QueueSettings,
    sigma: Sigma,
    pub(super) session_packet: u64,
    pub(super) slots_per_decision: u32,
    /// Slots from one send to the next.
    pub(super) slots_per_send: u32,
}

impl QueueParameters {
    /// What the decisions of one epoch of [`DOWN_EDGE_S`] cost together, in the restricted reading of the guarantee.
    /// `None`: more than can be written down.
    pub fn cost_each(&self) -> Option<MuSquared> {
        let each = MuSquared::from_ratio(self.settings.sensitivity, self.sigma.bytes()).ok()?;
        let interval_us = u64::from(self.settings.dp_creditor_loop_interval_us).max(1);
        each.checked_mul((DOWN_EDGE_S * 1_000_000).div_ceil(interval_us))
    }

    /// Checks the settings against each other and the slot. `session_packet` is the number of session bytes in a
    /// cell, at least 1.
    pub fn new(settings: QueueSettings, slot: SlotLength, session_packet: usize) -> Result<Self, QueueError> {
        assert!(session_packet > 0, "a cell carries at least one byte");
        let slot_us = slot.as_millis() * 1_000;
        let sigma = check_noise(&settings)?;
        check_decisions(&settings)?;
        let slots_per_decision = check_decision_interval(&settings, slot_us)?;
        let slots_per_send = check_sending_interval(&settings, slot_us)?.unwrap_or(slots_per_decision);
        Ok(Self { settings, sigma, session_packet: session_packet as u64, slots_per_decision, slots_per_send })
    }

    /// The settings as they were given.
    pub fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    /// noise_multiplier x sensitivity, rounded up.
    pub fn sigma(&self) -> Sigma {
        self.sigma
    }
}

fn check_noise(settings: &QueueSettings) -> Result<Sigma, QueueError> {
    let QueueSettings { noise_multiplier, sensitivity, .. } = *settings;
    if !(noise_multiplier.is_finite() && noise_multiplier > 0.0) {
        return Err(QueueError::NoiseMultiplier(noise_multiplier));
    }
    if !(1..=BYTES_MAX).contains(&sensitivity) {
        return Err(QueueError::Sensitivity(sensitivity));
    }
    Sigma::round_up(noise_multiplier * sensitivity as f64).map_err(QueueError::Sigma)
}

fn check_decisions(settings: &QueueSettings) -> Result<(), QueueError> {
    let (min, max) = (settings.min_decision_size, settings.max_decision_size);
    if min > max || !(1..=BYTES_MAX).contains(&max) { Err(QueueError::Decisions { min, max }) } else { Ok(()) }
}

fn check_decision_interval(settings: &QueueSettings, slot_us: u32) -> Result<u32, QueueError> {
    let interval_us = settings.dp_creditor_loop_interval_us;
    if interval_us == 0 || interval_us > DECISION_INTERVAL_MAX_US || !interval_us.is_multiple_of(slot_us) {
        return Err(QueueError::DecisionInterval { interval_us, slot_us });
    }
    Ok(interval_us / slot_us)
}

/// Slots between sends; `None` for one send per decision.
fn check_sending_interval(settings: &QueueSettings, slot_us: u32) -> Result<Option<u32>, QueueError> {
    let (interval_us, decision_us) = (settings.sending_loop_interval_us, settings.dp_creditor_loop_interval_us);
    match (interval_us, settings.sending_strategy) {
        (0, SendingStrategy::Burst) => Ok(None),
        (0, SendingStrategy::Uniform) => Err(QueueError::UniformWithoutInterval(slot_us)),
        _ if interval_us.is_multiple_of(slot_us) && decision_us.is_multiple_of(interval_us) => {
            Ok(Some(interval_us / slot_us))
        }
        _ => Err(QueueError::SendingInterval { interval_us, slot_us, decision_us }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(change: impl FnOnce(&mut QueueSettings)) -> Option<QueueError> {
        let mut settings = QueueSettings::default();
        change(&mut settings);
        QueueParameters::new(settings, SlotLength::DEFAULT, 1222).err()
    }

    #[test]
    fn the_defaults_are_those_of_the_original_and_fit() {
        let parameters = QueueParameters::new(QueueSettings::default(), SlotLength::DEFAULT, 1222).expect("they fit");
        assert_eq!(parameters.sigma().bytes(), 19_000_000);
        assert_eq!((parameters.slots_per_decision, parameters.slots_per_send), (10, 10));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for bad in [0.0, -1.0, f64::INFINITY] {
            assert_eq!(error_of(|set| set.noise_multiplier = bad), Some(QueueError::NoiseMultiplier(bad)));
        }
        assert!(matches!(error_of(|set| set.noise_multiplier = f64::NAN), Some(QueueError::NoiseMultiplier(_))));
        for bad in [0, BYTES_MAX + 1] {
            assert_eq!(error_of(|set| set.sensitivity = bad), Some(QueueError::Sensitivity(bad)));
        }
        assert!(matches!(error_of(|set| set.noise_multiplier = 1e9), Some(QueueError::Sigma(_))));
        let order = QueueError::Decisions { min: 500_001, max: 500_000 };
        assert_eq!(error_of(|set| set.min_decision_size = 500_001), Some(order));
        let none = QueueError::Decisions { min: 0, max: 0 };
        assert_eq!(error_of(|set| set.max_decision_size = 0), Some(none));
        let uniform = |set: &mut QueueSettings| {
            set.sending_loop_interval_us = 0;
            set.sending_strategy = SendingStrategy::Uniform;
        };
        assert_eq!(error_of(uniform), Some(QueueError::UniformWithoutInterval(5_000)));
        assert_eq!(error_of(|set| set.sending_loop_interval_us = 0), None, "BURST may");
    }

    #[test]
    fn intervals_that_do_not_fit_say_what_would() {
        for (bad, fits) in [(0, 5_000), (12_000, 15_000), (5_000_001, 5_000_000)] {
            let text = error_of(|set| set.dp_creditor_loop_interval_us = bad).map(|error| error.to_string());
            assert!(text.is_some_and(|text| text.contains(&format!("{fits} us would fit"))), "{bad}");
            let fitted = |set: &mut QueueSettings| {
                set.dp_creditor_loop_interval_us = fits;
                set.sending_loop_interval_us = fits;
            };
            assert_eq!(error_of(fitted), None);
        }
        for (bad, fits) in [(7_000, 10_000), (15_000, 25_000), (30_000, 50_000), (100_000, 50_000)] {
            let text = error_of(|set| set.sending_loop_interval_us = bad).map(|error| error.to_string());
            assert!(text.is_some_and(|text| text.contains(&format!("{fits} us would fit"))), "{bad}");
            assert_eq!(error_of(|set| set.sending_loop_interval_us = fits), None);
        }
    }
}
