//! Whether leaks would be seen in this very recording: they are planted into half of its idle packets.

use std::time::Duration;

use super::{Case, Control, Figures, Outcome, SIGNIFICANCE};
use crate::classifier::{WINDOWS_MIN, Windows};
use crate::leak::{LEAKS, Leak, plant};
use crate::sighting::{Direction, Sighting};
use crate::two_sample::kolmogorov_smirnov;
use crate::window::WINDOW_PACKETS;

/// A leak counts as seen if the classifier's area under the curve is larger.
pub const AUC_MIN: f64 = 0.99;

impl Case<'_> {
    pub(super) fn controls(&self, direction: Direction) -> (Outcome, Figures) {
        let (clean, planted) = self.halves();
        let mut leaks = Vec::new();
        for leak in LEAKS {
            let Some(control) = self.control(&clean, &planted, direction, leak) else {
                let found = planted.iter().map(|phase| phase.len() / WINDOW_PACKETS).sum();
                return (Outcome::Undecided, Figures::TooFew { found, needed: WINDOWS_MIN });
            };
            leaks.push(control);
        }
        let all_seen = leaks.iter().all(|control| control.is_seen);
        (if all_seen { Outcome::Passes } else { Outcome::Undecided }, Figures::Controls { leaks })
    }

    /// Every second idle phase, or each half of a single one.
    fn halves(&self) -> (Vec<Vec<Sighting>>, Vec<Vec<Sighting>>) {
        match &self.idle[..] {
            [single] => {
                let (first, second) = single.split_at(single.len() / 2);
                (vec![first.to_vec()], vec![second.to_vec()])
            }
            many => (many.iter().step_by(2).cloned().collect(), many.iter().skip(1).step_by(2).cloned().collect()),
        }
    }

    /// `None` if there are too few packets.
    fn control(
        &self,
        clean: &[Vec<Sighting>],
        planted: &[Vec<Sighting>],
        direction: Direction,
        leak: Leak,
    ) -> Option<Control> {
        let leaking: Vec<Vec<Sighting>> = planted.iter().map(|phase| self.with_leak(phase, direction, leak)).collect();
        let auc = Windows::new(clean, &leaking, &self.grids)?.auc_alone(self.settings.seed);
        let starts = |phases: &[Vec<Sighting>]| -> Vec<i64> {
            phases.iter().flat_map(|phase| self.slot_starts(phase, direction)).collect()
        };
        // Only this leak is one of times alone, which the two-sample tests have to see as well.
        let is_of_times = matches!(leak, Leak::LaterWithData(_));
        let compared = if is_of_times { kolmogorov_smirnov(&starts(clean), &starts(&leaking)) } else { None };
        let is_seen = auc > AUC_MIN && compared.is_none_or(|found| found.chance <= SIGNIFICANCE);
        Some(Control { leak, auc, is_seen })
    }

    /// The phase with data in every second packet; with shaping off in as many as there are packets, so that as many
    /// remain. Data comes at any time within the slot before.
    fn with_leak(&self, phase: &[Sighting], direction: Direction, leak: Leak) -> Vec<Sighting> {
        let one_way = phase.iter().filter(|sighting| sighting.direction == direction);
        let step = if leak == Leak::ShapingOff { 1 } else { 2 };
        let comes = |(number, sighting): (u32, &Sighting)| {
            // Multiples of the golden ratio are spread evenly.
            let thousandths = number.wrapping_mul(618) % 1_000;
            sighting.at.saturating_sub(self.settings.slot / 1_000 * thousandths)
        };
        let data: Vec<Duration> = (0..).zip(one_way.step_by(step)).map(comes).collect();
        plant(phase, direction, &data, leak)
    }
}
