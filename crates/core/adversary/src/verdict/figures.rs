//! The numbers behind an answer.

use std::fmt;

use serde::Serialize;

use super::AUC_MIN;
use crate::classifier::Told;
use crate::leak::Leak;
use crate::randomness;
use crate::timing::{Interval, ShiftBounds};
use crate::two_sample::WELCH_T_MAX;

/// What an answer follows from.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Figures {
    /// Sizes of packets, in bytes.
    Sizes {
        /// Packets that were recorded.
        packets: u64,
        /// The one size.
        expected: usize,
        /// Packets of another size.
        odd: u64,
        /// The size of the first of them.
        odd_length: Option<usize>,
    },
    /// The randomness of payloads.
    Bytes {
        /// Payloads that were judged.
        packets: usize,
        /// What is oddest about them.
        oddest: Option<randomness::Question>,
        /// Decimal logarithm of the chance (or more) that random bytes are as odd.
        log10_chance: f64,
    },
    /// Distances from the slots of the grid that fits best.
    Grid {
        /// Packets that were recorded.
        packets: u64,
        /// Those that are far from every slot.
        far: u64,
        /// What is far, in nanoseconds.
        limit_ns: i64,
    },
    /// Packets in slots.
    Counts {
        /// Slots that were recorded whole.
        slots: u64,
        /// Those with a number of packets that the schedule does not have.
        odd: u64,
        /// The smallest and the largest number that it has.
        scheduled: [u32; 2],
    },
    /// Shifts of lateness from idle to loaded, in nanoseconds.
    Lateness {
        /// Holds the shift of the median.
        median: Option<Interval>,
        /// Holds the shift of the 99th percentile.
        p99: Option<Interval>,
        /// What counts as none.
        bounds: ShiftBounds,
    },
    /// Distributions of lateness, idle and loaded.
    Distribution {
        /// Slots that were compared, idle and loaded.
        slots: [usize; 2],
        /// Chance of the Kolmogorov-Smirnov distance if nothing differs.
        kolmogorov_smirnov: f64,
        /// Chance of the Anderson-Darling statistic if nothing differs.
        anderson_darling: f64,
        /// Welch's t of the means.
        welch_t: f64,
    },
    /// What the classifier achieved.
    Classifier(Told),
    /// Planted leaks.
    Controls {
        /// Each with how well it was seen.
        leaks: Vec<Control>,
    },
    /// There is too little to judge.
    TooFew {
        /// What there is.
        found: usize,
        /// What would be needed.
        needed: usize,
    },
}

/// A planted leak.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Control {
    /// What was planted.
    pub leak: Leak,
    /// The classifier's area under the curve.
    pub auc: f64,
    /// Whether it was seen as it has to be.
    pub is_seen: bool,
}

impl fmt::Display for Figures {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sizes { packets, expected, odd: 0, .. } => {
                write!(out, "{} packets of {expected} bytes", Grouped(*packets))
            }
            Self::Sizes { packets, expected, odd, odd_length } => {
                write!(out, "{} of {} packets not of {expected} bytes", Grouped(*odd), Grouped(*packets))?;
                odd_length.map_or(Ok(()), |length| write!(out, "; the first has {length}"))
            }
            Self::Bytes { packets, oddest, log10_chance } => {
                write!(out, "{} payloads", Grouped(*packets as u64))?;
                oddest.map_or(Ok(()), |oddest| write!(out, "; oddest: {oddest:?}, chance 10^{log10_chance:.1}"))
            }
            Self::Grid { packets, far, limit_ns } => {
                let limit = *limit_ns as f64 / 1e3;
                write!(out, "{} of {} packets farther than {limit:.0} us from a slot", Grouped(*far), Grouped(*packets))
            }
            Self::Counts { slots, odd, scheduled: [least, most] } => {
                write!(out, "{} of {} slots without {least} to {most} packets", Grouped(*odd), Grouped(*slots))
            }
            Self::Lateness { median, p99, bounds } => {
                let shown = |interval: &Option<Interval>| interval.map_or("unknown".to_owned(), |it| it.to_string());
                let [of_median, of_p99] = [bounds.median, bounds.p99].map(|bound| bound / 1_000);
                write!(out, "median {} ({of_median}), p99 {} ({of_p99})", shown(median), shown(p99))
            }
            Self::Distribution { slots: [idle, loaded], kolmogorov_smirnov, anderson_darling, welch_t } => {
                let slots = [idle, loaded].map(|slots| Grouped(*slots as u64));
                write!(out, "KS {kolmogorov_smirnov:.3}, AD {anderson_darling:.3}, t {welch_t:+.1} ({WELCH_T_MAX}); ")?;
                write!(out, "{} + {} slots", slots[0], slots[1])
            }
            Self::Classifier(Told { auc, chance, permutations, windows: [idle, loaded] }) => {
                write!(out, "AUC {auc:.3}, chance {chance:.3} ({permutations} draws); {idle} + {loaded} windows")
            }
            Self::Controls { leaks } => {
                let unseen: Vec<&Control> = leaks.iter().filter(|control| !control.is_seen).collect();
                let least = leaks.iter().map(|control| control.auc).fold(1.0, f64::min);
                if unseen.is_empty() {
                    write!(out, "{} planted leaks, each with AUC {least:.3} or more ({AUC_MIN})", leaks.len())
                } else {
                    out.write_str("would not be seen:")?;
                    unseen.iter().try_for_each(|control| write!(out, " {} ({:.3})", control.leak, control.auc))
                }
            }
            Self::TooFew { found, needed } => {
                write!(out, "{} are too few, {} are needed", Grouped(*found as u64), Grouped(*needed as u64))
            }
        }
    }
}

/// A number with a comma between thousands.
pub(super) struct Grouped(pub(super) u64);

impl fmt::Display for Grouped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (place, digit) in digits.chars().enumerate() {
            if place > 0 && (digits.len() - place).is_multiple_of(3) {
                out.write_str(",")?;
            }
            write!(out, "{digit}")?;
        }
        Ok(())
    }
}
