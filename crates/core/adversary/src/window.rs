//! Windows of neighbouring packets, and what an observer can measure in one.

use std::time::Duration;

use crate::sighting::{Direction, Sighting};
use crate::slots::Grid;

/// Packets in a window, of both directions together.
pub const WINDOW_PACKETS: usize = 50;
/// Features of a window: those of each direction, the window's length and its changes of direction.
pub(crate) const FEATURES: usize = 2 * OF_DIRECTION + 2;
const OF_DIRECTION: usize = 1 + OFFSET_RANKS.len() + GAP_RANKS.len() + SIZE_RANKS.len() + COUNT_RANKS.len() + 4 * 2 + 2;

/// Which order statistics are taken, in per cent.
const OFFSET_RANKS: [usize; 7] = [0, 10, 25, 50, 75, 90, 100];
const GAP_RANKS: [usize; 5] = [0, 10, 50, 90, 100];
const SIZE_RANKS: [usize; 2] = [0, 100];
const COUNT_RANKS: [usize; 3] = [0, 50, 100];

/// The slot grids of both directions of a link, as an observer reconstructs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grids {
    outward: Grid,
    inward: Grid,
}

impl Grids {
    /// The grids with this period that fit all packets of these recordings best, each direction by itself. A direction
    /// without packets gets the grid that begins at zero. The period must not be zero.
    pub fn fit<'a>(period: Duration, phases: impl IntoIterator<Item = &'a [Sighting]>) -> Self {
        let mut times = [Vec::new(), Vec::new()];
        for sighting in phases.into_iter().flatten() {
            times[usize::from(sighting.direction == Direction::Inward)].push(sighting.at);
        }
        let [outward, inward] =
            times.map(|times| Grid::fit(period, &times).unwrap_or_else(|| Grid::new(Duration::ZERO, period)));
        Self { outward, inward }
    }

    /// The grid of one direction.
    pub fn of(&self, direction: Direction) -> Grid {
        match direction {
            Direction::Outward => self.outward,
            Direction::Inward => self.inward,
        }
    }
}

/// Whole windows of a stretch of packets, in order; the rest at the end is left out.
pub(crate) fn windows(phase: &[Sighting]) -> impl Iterator<Item = &[Sighting]> {
    phase.chunks_exact(WINDOW_PACKETS)
}

/// What can be measured in a window: for each direction the number of packets, their offsets from the grid, the gaps
/// between them, their sizes, and how many stand in each slot. Times in microseconds.
pub(crate) fn features(window: &[Sighting], grids: &Grids) -> Vec<f64> {
    let mut features = Vec::with_capacity(FEATURES);
    for direction in [Direction::Outward, Direction::Inward] {
        let one_way: Vec<&Sighting> = window.iter().filter(|sighting| sighting.direction == direction).collect();
        add_direction(&mut features, &one_way, grids.of(direction));
    }
    let length = window.last().zip(window.first()).map(|(last, first)| last.at.saturating_sub(first.at));
    features.push(length.unwrap_or_default().as_secs_f64() * 1e6);
    features.push(window.windows(2).filter(|pair| pair[0].direction != pair[1].direction).count() as f64);
    features
}

fn add_direction(features: &mut Vec<f64>, packets: &[&Sighting], grid: Grid) {
    let microseconds = |nanoseconds: i64| nanoseconds as f64 / 1e3;
    features.push(packets.len() as f64);
    let offsets = packets.iter().map(|packet| microseconds(grid.lateness(packet.at))).collect();
    add_distribution(features, offsets, &OFFSET_RANKS);
    let gap = |pair: &[&Sighting]| pair[1].at.saturating_sub(pair[0].at).as_secs_f64() * 1e6;
    add_distribution(features, packets.windows(2).map(gap).collect(), &GAP_RANKS);
    let mut sizes: Vec<usize> = packets.iter().map(|packet| packet.length).collect();
    add_distribution(features, sizes.iter().map(|&size| size as f64).collect(), &SIZE_RANKS);
    sizes.sort_unstable();
    sizes.dedup();
    features.push(sizes.len() as f64);
    let counts = packets_per_slot(packets, grid);
    features.push(counts.iter().filter(|count| **count == 0.0).count() as f64);
    add_distribution(features, counts, &COUNT_RANKS);
}

/// The counts of the slots from the first packet's to the last's, at most as many as fit twice into a window; a gap
/// that is longer shows in the gaps.
fn packets_per_slot(packets: &[&Sighting], grid: Grid) -> Vec<f64> {
    let slots: Vec<i64> = packets.iter().map(|packet| grid.slot(packet.at)).collect();
    let Some((&first, &last)) = slots.iter().min().zip(slots.iter().max()) else { return Vec::new() };
    let span = last.abs_diff(first).min(2 * WINDOW_PACKETS as u64) as usize + 1;
    let mut counts = vec![0.0; span];
    for slot in slots {
        if let Some(count) = counts.get_mut(slot.abs_diff(first) as usize) {
            *count += 1.0;
        }
    }
    counts
}

/// Order statistics, mean and standard deviation; zeroes without values.
pub(crate) fn add_distribution(features: &mut Vec<f64>, mut values: Vec<f64>, ranks: &[usize]) {
    values.sort_unstable_by(f64::total_cmp);
    let at_rank = |per_cent: usize| values.get(per_cent * values.len().saturating_sub(1) / 100).copied();
    features.extend(ranks.iter().map(|&per_cent| at_rank(per_cent).unwrap_or(0.0)));
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let scatter = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    features.extend([mean, scatter.sqrt()]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clean::{PERIOD, recording};

    #[test]
    fn every_window_has_all_features_and_they_are_finite() {
        let clean = recording(1, 200);
        let grids = Grids::fit(PERIOD, [&clean[..]]);
        let far = Sighting { at: Duration::MAX, direction: Direction::Inward, length: usize::MAX };
        let windows: [&[Sighting]; 4] = [&clean[..50], &clean[..1], &[], &[clean[0], far]];
        for window in windows {
            let features = features(window, &grids);
            assert_eq!(features.len(), FEATURES);
            assert!(features.iter().all(|feature| feature.is_finite()), "{features:?}");
        }
    }

    #[test]
    fn windows_are_whole_and_grids_fit() {
        let clean = recording(2, 200);
        assert_eq!(windows(&clean).count(), clean.len() / WINDOW_PACKETS);
        let grids = Grids::fit(PERIOD, [&clean[..]]);
        for direction in [Direction::Outward, Direction::Inward] {
            let late = |sighting: &&Sighting| grids.of(direction).lateness(sighting.at).abs() > 200_000;
            assert_eq!(clean.iter().filter(|it| it.direction == direction).filter(late).count(), 0);
        }
    }

    #[test]
    fn a_later_packet_moves_offsets_and_a_longer_one_sizes() {
        let clean = recording(3, 100);
        let grids = Grids::fit(PERIOD, [&clean[..]]);
        let plain = features(&clean[..50], &grids);
        let mut changed = clean.clone();
        changed.iter_mut().for_each(|sighting| sighting.at += Duration::from_micros(50));
        let later = features(&changed[..50], &grids);
        // The count is first, then the order statistics of the offsets.
        assert!((1..=OFFSET_RANKS.len()).all(|place| (later[place] - plain[place] - 50.0).abs() < 1e-6));
        let mut changed = clean;
        changed[0].length += 16;
        let longer = features(&changed[..50], &grids);
        assert_eq!(longer.iter().zip(&plain).filter(|(left, right)| left != right).count(), 4);
    }
}
