//! The settings of mode `dp`, checked against each other, and the arithmetic that follows from them.
//!
//! Everything here is public and in integers, so that two nodes with the same releases compute the same class.

use super::FRACTION_BITS;
use crate::breaker::DOWN_EDGE_S;
use crate::class::RateClass;
use crate::noise::Sigma;
use thiserror::Error;

/// Epochs are whole multiples of the network's edges, so that rates change together.
const EDGE_S: u32 = DOWN_EDGE_S as u32;
/// Longest epoch in seconds: an hour.
const EPOCH_MAX_S: u32 = 3_600;
/// Largest Delta in bytes, 1.1 TB.
const DELTA_MAX: u64 = 1 << 40;
/// Largest cap of the count in bytes, 1.1 PB; sums of counts and noise stay far below 64 bits.
const COUNT_CAP_MAX: u64 = 1 << 50;
/// Delta may be at most this many sigma: at 16 two worlds are told apart with one error in 10^15, which is no noise at all.
const DELTA_IN_SIGMA_MAX: u64 = 16;

/// A multiple of 1/1024.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Per1024(pub u32);

impl Per1024 {
    /// One.
    pub const ONE: Self = Self(1024);

    /// The nearest multiple; `None` for what is negative, above a million or not a number.
    pub fn nearest(value: f64) -> Option<Self> {
        (0.0..=1e6).contains(&value).then(|| Self((value * 1024.0).round() as u32))
    }
}

/// What a person or a plan chooses for one direction. [`DpParameters::new`] checks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DpSettings {
    /// Length of an epoch in seconds: a whole multiple of 5, at most 3,600.
    pub epoch_s: u32,
    /// Delta: bytes of a client that are let through in an epoch, 1..=2^40. Also its speed limit.
    pub delta_bytes: u64,
    /// Scale of the noise; `Delta / sigma` is the loss mu of a release.
    pub sigma: Sigma,
    /// Weight of the newest release in the estimate, in (0, 1].
    pub gain: Per1024,
    /// Factor on the estimate, 1..=16. Covers packet headers (2.5 %), and queueing.
    pub margin: Per1024,
    /// Standard errors added to the estimate, 0..=8.
    pub errors: Per1024,
    /// Slowest class. At least [`super::floor_for_reverse`] of the other direction's ceiling.
    pub floor: RateClass,
    /// Class until the first release.
    pub initial: RateClass,
    /// Fastest class.
    pub ceiling: RateClass,
    /// C: the count is clipped here, Delta..=2^50 bytes. Bounds what all clients together can show.
    pub count_cap_bytes: u64,
}

/// Settings that make no sense, alone or together, and what would.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DpError {
    /// No whole multiple of the network's edges.
    #[error(
        "an epoch of {0} s does not end at the network's edges, whole multiples of {EDGE_S} s; {fits} s would",
        fits = fitting_epoch(*.0)
    )]
    Epoch(u32),
    /// Out of range.
    #[error("Delta of {0} bytes is outside 1..={DELTA_MAX}")]
    Delta(u64),
    /// So little noise that every client is seen.
    #[error(
        "sigma of {sigma_bytes} bytes does not hide Delta of {delta_bytes}; the least that is noise at all is {least}",
        least = .delta_bytes.div_ceil(DELTA_IN_SIGMA_MAX)
    )]
    TooLittleNoise {
        /// Sigma in bytes.
        sigma_bytes: u64,
        /// Delta in bytes.
        delta_bytes: u64,
    },
    /// Out of range.
    #[error("a gain of {}/1024 is outside 1/1024..=1: 0 never learns, above 1 overshoots", .0.0)]
    Gain(Per1024),
    /// Out of range.
    #[error("a margin of {}/1024 is outside 1..=16: below 1 the rate is less than what is expected to arrive", .0.0)]
    Margin(Per1024),
    /// Out of range.
    #[error("{}/1024 standard errors are outside 0..=8", .0.0)]
    Errors(Per1024),
    /// Not in order.
    #[error("the classes are out of order: floor {floor}, initial {initial}, ceiling {ceiling}")]
    Classes {
        /// Slowest class.
        floor: RateClass,
        /// First class.
        initial: RateClass,
        /// Fastest class.
        ceiling: RateClass,
    },
    /// No room to adapt.
    #[error("floor and ceiling are both {0}: mode constant gives that rate at no loss")]
    OneClass(RateClass),
    /// A client may send more than the whole line carries, and noise is paid for bytes that cannot flow.
    #[error(
        "Delta of {delta_bytes} bytes is more than the ceiling carries in an epoch; Delta of {carried_bytes} limits \
         nobody more and needs less noise"
    )]
    DeltaAboveCeiling {
        /// Delta in bytes.
        delta_bytes: u64,
        /// Bytes of an epoch at the ceiling.
        carried_bytes: u64,
    },
    /// The clip of the count is below one client's quota, or out of range.
    #[error("a cap of {cap_bytes} bytes on the count is outside Delta, {delta_bytes}, ..={COUNT_CAP_MAX}")]
    CountCap {
        /// C in bytes.
        cap_bytes: u64,
        /// Delta in bytes.
        delta_bytes: u64,
    },
    /// Even a full count leads to the floor, so that releases are paid for and change nothing.
    #[error(
        "with a cap of {cap_bytes} bytes on the count the rate stays at the floor of {floor}, which mode constant gives \
         at no loss; a cap of {needed_bytes} lets it rise"
    )]
    NeverAboveFloor {
        /// C in bytes.
        cap_bytes: u64,
        /// Slowest class.
        floor: RateClass,
        /// The least C that makes a difference.
        needed_bytes: u64,
    },
}

/// The nearest epoch at or above the one asked for, or the longest.
fn fitting_epoch(asked_s: u32) -> u32 {
    asked_s.min(EPOCH_MAX_S).div_ceil(EDGE_S).max(1) * EDGE_S
}

/// Checked settings of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DpParameters {
    settings: DpSettings,
    /// Of the estimate, in bytes per epoch with [`FRACTION_BITS`], rounded up.
    standard_error: i128,
}

impl DpParameters {
    /// Checks every value alone, then together.
    pub fn new(settings: DpSettings) -> Result<Self, DpError> {
        check_ranges(&settings)?;
        let parameters = Self { settings, standard_error: standard_error(settings.sigma, settings.gain) };
        parameters.check_rates()?;
        Ok(parameters)
    }

    /// The settings as they were given.
    pub fn settings(&self) -> &DpSettings {
        &self.settings
    }

    /// Bytes by which noise alone moves the estimate, as a standard deviation, rounded up.
    pub fn standard_error_bytes(&self) -> u64 {
        (self.standard_error >> FRACTION_BITS) as u64 + 1
    }

    /// The class to which the rule tends when nothing arrives at all: above the floor, the difference is what the safety
    /// of `errors` costs while idle; at the ceiling, mode `constant` there costs as much and loses nothing.
    pub fn class_at_rest(&self) -> RateClass {
        self.rate_for(0).1
    }

    fn check_rates(&self) -> Result<(), DpError> {
        let DpSettings { delta_bytes, ceiling, floor, count_cap_bytes: cap_bytes, .. } = self.settings;
        let carried_bytes = self.bytes_per_epoch(ceiling);
        if delta_bytes > carried_bytes {
            return Err(DpError::DeltaAboveCeiling { delta_bytes, carried_bytes });
        }
        if self.rate_for(i128::from(cap_bytes) << FRACTION_BITS).0 <= floor.bits_per_second() {
            let needed_bytes = (self.estimate_for(floor) >> FRACTION_BITS) as u64 + 1;
            return Err(DpError::NeverAboveFloor { cap_bytes, floor, needed_bytes });
        }
        Ok(())
    }

    fn bytes_per_epoch(&self, class: RateClass) -> u64 {
        class.bits_per_second() / 8 * u64::from(self.settings.epoch_s)
    }

    /// The estimate from which the rule would choose this class, at least 0.
    pub(super) fn estimate_for(&self, class: RateClass) -> i128 {
        let rate = i128::from(self.bytes_per_epoch(class)) << (FRACTION_BITS + 10);
        ((rate - self.safety()) / i128::from(self.settings.margin.0)).max(0)
    }

    /// The estimate after a release: a moving average.
    pub(super) fn next_estimate(&self, estimate: i128, measured_bytes: i64) -> i128 {
        let error = (i128::from(measured_bytes) << FRACTION_BITS) - estimate;
        estimate + ((i128::from(self.settings.gain.0) * error) >> 10)
    }

    /// The rate that follows from an estimate, in session bits per second, and the class that carries it.
    pub(super) fn rate_for(&self, estimate: i128) -> (u64, RateClass) {
        let settings = &self.settings;
        let wanted = i128::from(settings.margin.0) * estimate + self.safety();
        let per_byte_and_second = i128::from(settings.epoch_s) << (FRACTION_BITS + 10);
        let bits = (8 * wanted.max(0) as u128).div_ceil(per_byte_and_second as u128);
        let (least, most) = (settings.floor.bits_per_second(), settings.ceiling.bits_per_second());
        let bits = u64::try_from(bits).unwrap_or(u64::MAX).clamp(least, most);
        // No slower class than the ceiling carries more than the ceiling.
        (bits, RateClass::at_least(bits).unwrap_or(settings.ceiling))
    }

    /// The standard errors in bytes per epoch, with [`FRACTION_BITS`] and the ten of [`Per1024`].
    fn safety(&self) -> i128 {
        i128::from(self.settings.errors.0) * self.standard_error
    }
}

/// The standard deviation of a moving average of independent noise: sigma sqrt(gain / (2 - gain)), rounded up.
fn standard_error(sigma: Sigma, gain: Per1024) -> i128 {
    // 2^80 x 2^10 x 2^30 fits. The root has 15 binary digits behind the point; the others are zeros.
    let variance = (u128::from(sigma.bytes()).pow(2) * u128::from(gain.0)) << 30;
    let root = (variance / u128::from(2 * 1024 - gain.0)).isqrt() + 1;
    (root as i128) << (FRACTION_BITS - 15)
}

fn check_ranges(settings: &DpSettings) -> Result<(), DpError> {
    let DpSettings { epoch_s, delta_bytes, sigma, gain, margin, errors, .. } = *settings;
    let DpSettings { floor, initial, ceiling, count_cap_bytes: cap_bytes, .. } = *settings;
    if epoch_s == 0 || epoch_s > EPOCH_MAX_S || !epoch_s.is_multiple_of(EDGE_S) {
        return Err(DpError::Epoch(epoch_s));
    }
    if !(1..=DELTA_MAX).contains(&delta_bytes) {
        return Err(DpError::Delta(delta_bytes));
    }
    if delta_bytes > sigma.bytes() * DELTA_IN_SIGMA_MAX {
        return Err(DpError::TooLittleNoise { sigma_bytes: sigma.bytes(), delta_bytes });
    }
    if !(1..=1024).contains(&gain.0) {
        return Err(DpError::Gain(gain));
    }
    if !(1024..=16 * 1024).contains(&margin.0) {
        return Err(DpError::Margin(margin));
    }
    if errors.0 > 8 * 1024 {
        return Err(DpError::Errors(errors));
    }
    if floor > initial || initial > ceiling {
        return Err(DpError::Classes { floor, initial, ceiling });
    }
    if floor == ceiling {
        return Err(DpError::OneClass(floor));
    }
    if !(delta_bytes..=COUNT_CAP_MAX).contains(&cap_bytes) {
        return Err(DpError::CountCap { cap_bytes, delta_bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
