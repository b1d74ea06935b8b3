//! Mode `dp`: the rate of the next epoch from noisy counts of what arrived.
//!
//! An epoch's count is the bytes that the quota let through. At the edge the schedule releases the count plus discrete
//! Gaussian noise; estimate, rate and class are computed from releases, configuration and nothing else.
//! The promise and its limits: docs of the crate.

use crate::class::RateClass;
use crate::edge::Edges;
use crate::noise::ReadyNoise;
use crate::quota::{ClientNumber, Quota};
use crate::release::{Held, ReleaseCounts, take_noise};
use std::fmt;

mod floor;
mod parameters;

pub use floor::floor_for_reverse;
pub use parameters::{DpError, DpParameters, DpSettings, Per1024};

/// Binary digits behind the point of the estimate.
const FRACTION_BITS: u32 = 20;

/// An epoch is over. It goes into [`DpSchedule::release`] at once; its count is closed and belongs to no other epoch.
#[must_use = "an epoch that is not released counts for nothing"]
pub struct EpochEnd {
    counted: u64,
}

impl fmt::Debug for EpochEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The count is what the noise is there to hide.
        f.write_str("EpochEnd(..)")
    }
}

/// What came of the end of an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A value was let out, and costs what the accountant says.
    Released(Release),
    /// Nothing was let out, which costs nothing: the last public rate goes on.
    Held(Held),
}

/// A value that was let out and what it led to. All of it is public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// The clipped count of the epoch plus noise, in bytes. May be negative.
    pub measured_bytes: i64,
    /// The rate that the rule asks for in session bits per second, within floor and ceiling, before it is rounded.
    pub bits_per_second: u64,
    /// The class in force from here on: that rate, rounded up.
    pub class: RateClass,
}

/// One direction's rate in mode `dp`.
///
/// Call [`DpSchedule::admit`] for bytes as they arrive and send nothing that it has not let through. Call
/// [`DpSchedule::poll`] from the slot clock, never because data came, and give what it returns to [`DpSchedule::release`]
/// before any other call.
///
/// The quota and the count share their edges, so a client moves the count of one epoch by at most Delta per epoch in
/// which it differs.
#[derive(Debug)]
pub struct DpSchedule {
    parameters: DpParameters,
    quota: Quota,
    edges: Edges,
    counted: u64,
    /// Bytes per epoch, with [`FRACTION_BITS`]. Noise can make it negative.
    estimate: i128,
    rate: (u64, RateClass),
    counts: ReleaseCounts,
}

impl DpSchedule {
    /// Starts at the configured initial class.
    pub fn new(parameters: DpParameters, unix_s: u64) -> Self {
        let class = parameters.settings().initial;
        let estimate = parameters.estimate_for(class);
        Self::start(parameters, estimate, (class.bits_per_second(), class), unix_s)
    }

    /// Starts with an estimate of the bytes per epoch: a public figure, for example [`DpSchedule::estimate_bytes`] of the
    /// node before its restart. The first class follows from it as from a release.
    pub fn with_estimate(parameters: DpParameters, bytes_per_epoch: u64, unix_s: u64) -> Self {
        let estimate = i128::from(bytes_per_epoch) << FRACTION_BITS;
        let rate = parameters.rate_for(estimate);
        Self::start(parameters, estimate, rate, unix_s)
    }

    fn start(parameters: DpParameters, estimate: i128, rate: (u64, RateClass), unix_s: u64) -> Self {
        let settings = parameters.settings();
        let quota = Quota::new(settings.delta_bytes);
        let edges = Edges::new(u64::from(settings.epoch_s), unix_s);
        Self { parameters, quota, edges, counted: 0, estimate, rate, counts: ReleaseCounts::default() }
    }

    /// The class in force. Public.
    pub fn class(&self) -> RateClass {
        self.rate.1
    }

    /// The rate in force before rounding, in session bits per second. Public.
    pub fn bits_per_second(&self) -> u64 {
        self.rate.0
    }

    /// The estimate of the bytes per epoch, 0 if noise made it negative. Public.
    pub fn estimate_bytes(&self) -> u64 {
        u64::try_from(self.estimate >> FRACTION_BITS).unwrap_or(0)
    }

    /// The parameters.
    pub fn parameters(&self) -> &DpParameters {
        &self.parameters
    }

    /// What happened at the edges so far. Public.
    pub fn counts(&self) -> ReleaseCounts {
        ReleaseCounts { clock_set_back: self.edges.set_back(), ..self.counts }
    }

    /// Bytes of the client that [`DpSchedule::admit`] would let through now.
    pub fn room(&self, client: ClientNumber) -> u64 {
        self.quota.room(client)
    }

    /// Lets through as many of the `wanted` bytes as the client's quota has left in this epoch, and counts them. Bytes
    /// that were not let through may ask again in the next epoch.
    pub fn admit(&mut self, client: ClientNumber, wanted: u64) -> u64 {
        let admitted = self.quota.admit(client, wanted);
        self.counted = self.counted.saturating_add(admitted);
        admitted
    }

    /// Ends the epoch when its edge has passed. Several edges that went by at once end one epoch; a clock that
    /// steps back ends none.
    pub fn poll(&mut self, unix_s: u64) -> Option<EpochEnd> {
        let passed = self.edges.poll(unix_s)?;
        self.counts.missed += passed.missed;
        self.quota.start_epoch();
        Some(EpochEnd { counted: std::mem::take(&mut self.counted) })
    }

    /// Lets out the count of an epoch with noise and sets the next rate, if the accountant has granted it and a sample
    /// is ready. Noise is taken only for a granted release.
    ///
    /// A count that is not released is forgotten. Carried into the next epoch it would be there together with that epoch's
    /// own, two quotas of a client under noise for one.
    pub fn release(&mut self, end: EpochEnd, granted: bool, noise: &mut impl ReadyNoise) -> Outcome {
        match self.measure(end, granted, noise) {
            Ok(measured_bytes) => {
                self.counts.released += 1;
                self.estimate = self.parameters.next_estimate(self.estimate, measured_bytes);
                self.rate = self.parameters.rate_for(self.estimate);
                let (bits_per_second, class) = self.rate;
                Outcome::Released(Release { measured_bytes, bits_per_second, class })
            }
            Err(held) => {
                self.counts.note(held);
                Outcome::Held(held)
            }
        }
    }

    /// **Here the secret meets the noise.** A minimum and a sum, which take the same time whatever the values are.
    fn measure(&self, end: EpochEnd, granted: bool, noise: &mut impl ReadyNoise) -> Result<i64, Held> {
        let settings = self.parameters.settings();
        let noise = take_noise(granted, settings.sigma, noise)?;
        // The cap is at most 2^50 and noise below 2^51.
        Ok(end.counted.min(settings.count_cap_bytes) as i64 + noise)
    }
}

#[cfg(test)]
mod tests;
