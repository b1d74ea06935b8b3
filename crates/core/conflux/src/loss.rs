//! The loss of a leg in the last seconds, from feedback: what decides whether it is retired.

use std::time::{Duration, Instant};

/// The window: two halves, the older one whole.
const HALF: Duration = Duration::from_secs(5);
/// Fewer cells than this tell nothing.
const CELLS_MIN: u64 = 100;

/// Counts of the present and the last half window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Loss {
    began: Option<Instant>,
    present: (u64, u64),
    before: (u64, u64),
}

impl Loss {
    pub(crate) fn note(&mut self, now: Instant, delivered: u64, lost: u64) {
        let began = *self.began.get_or_insert(now);
        let passed = now.saturating_duration_since(began);
        if passed >= HALF {
            self.before = if passed < 2 * HALF { self.present } else { (0, 0) };
            self.present = (0, 0);
            self.began = Some(now);
        }
        self.present.0 += delivered;
        self.present.1 += lost;
    }

    /// Lost of a thousand in the last 5 to 10 s, if there were enough to tell.
    pub(crate) fn per_mille(&self) -> Option<u32> {
        let delivered = self.present.0 + self.before.0;
        let lost = self.present.1 + self.before.1;
        let cells = delivered + lost;
        (cells >= CELLS_MIN).then(|| u32::try_from(lost * 1000 / cells).unwrap_or(1000))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_losses_are_forgotten() {
        let start = crate::origin();
        let mut loss = Loss::default();
        loss.note(start, 50, 0);
        assert_eq!(loss.per_mille(), None, "too few");
        loss.note(start, 100, 50);
        assert_eq!(loss.per_mille(), Some(250));
        loss.note(start + HALF, 150, 0);
        assert_eq!(loss.per_mille(), Some(142));
        loss.note(start + 2 * HALF, 150, 0);
        assert_eq!(loss.per_mille(), Some(0));
    }
}
