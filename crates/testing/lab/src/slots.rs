//! Whether a line keeps to the slots of a public grid, without those that were due when the machine stood still.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use adversary::{Direction, Grid, Sighting, SlotCounts, slot_starts};
use anyhow::{Context, ensure};

use crate::witness::Stalls;

/// Slots that a busy test machine may serve otherwise, of a thousand.
pub const ODD_SLOTS_PER_MILLE: u64 = 30;

/// What the slots of a line had.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SlotTally {
    /// Slots with another number of packets than the schedule has, which no stall of the machine explains.
    pub odd: u64,
    /// All slots that were looked at.
    pub slots: u64,
    /// Slots by their packets.
    pub histogram: BTreeMap<u32, u64>,
}

impl SlotTally {
    /// Counts the packets of one line in each slot. `phases`: what was seen in each window, all in one direction; the first and the
    /// last slot of a window are left out. `per_slot`: what the public schedule puts into one.
    ///
    /// # Errors
    /// When nothing was seen.
    pub fn new(
        phases: &[Vec<Sighting>],
        slot: Duration,
        per_slot: &RangeInclusive<u32>,
        stalls: &Stalls,
    ) -> anyhow::Result<Self> {
        let starts: Vec<Duration> = phases.iter().flat_map(|sightings| slot_starts(slot, sightings)).collect();
        let grid = Grid::fit(slot, &starts).context("nothing was seen")?;
        let mut tally = Self::default();
        for sightings in phases {
            let (Some(first), Some(last)) = (sightings.first(), sightings.last()) else { continue };
            let counts = SlotCounts::new(grid, Direction::Outward, sightings);
            let dues = std::iter::successors(Some(grid.due(first.at) + slot), |due| Some(*due + slot));
            for due in dues.take_while(|due| grid.slot(*due) < grid.slot(last.at)) {
                let count = counts.count(grid.slot(due));
                *tally.histogram.entry(count).or_default() += 1;
                tally.slots += 1;
                tally.odd += u64::from(!per_slot.contains(&count) && !stalls.are_near(due, slot));
            }
        }
        Ok(tally)
    }

    /// Fails when more slots are odd than a busy machine explains.
    ///
    /// # Errors
    /// With all counts.
    pub fn check(&self) -> anyhow::Result<()> {
        ensure!(self.odd * 1000 <= self.slots * ODD_SLOTS_PER_MILLE, "{self}");
        Ok(())
    }
}

impl fmt::Display for SlotTally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} odd of {} slots, by packets {:?}", self.odd, self.slots, self.histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::Stall;

    const SLOT: Duration = Duration::from_millis(5);

    fn phase(counts: &[u32]) -> Vec<Sighting> {
        let slots = counts.iter().zip(1_u32..);
        let packets =
            slots.flat_map(|(count, slot)| (0..*count).map(move |nth| slot * SLOT + nth * Duration::from_micros(9)));
        packets.map(|at| Sighting { at, direction: Direction::Outward, length: 1350 }).collect()
    }

    #[test]
    fn odd_slots_are_counted_but_for_stalls() -> anyhow::Result<()> {
        let seen = [phase(&[1, 2, 1, 3, 2, 0, 1, 1, 2, 2])];
        let tally = SlotTally::new(&seen, SLOT, &(1..=2), &Stalls::default())?;
        assert_eq!((tally.odd, tally.slots), (2, 8), "{tally}");
        assert!(tally.check().is_err());
        let stalls = Stalls::new(vec![Stall { from: 4 * SLOT, to: 6 * SLOT }]);
        let calm = SlotTally::new(&seen, SLOT, &(1..=2), &stalls)?;
        assert_eq!((calm.odd, calm.slots), (0, 8), "{calm}");
        calm.check()
    }

    #[test]
    fn a_silent_line_is_no_good_one() {
        assert!(SlotTally::new(&[Vec::new()], SLOT, &(1..=2), &Stalls::default()).is_err());
    }
}
