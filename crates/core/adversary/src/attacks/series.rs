//! What an observer has of a session, and what a classifier takes from it.

use std::time::Duration;

use crate::attacks::trace::Trace;
use crate::sighting::Direction;
use crate::window::add_distribution;

/// Bins of a session; later bytes are left out. Ten minutes of 100 ms each fit ten times.
pub const BINS_MAX: usize = 65_536;
/// Parts in which the coarse and the running sums of a session are taken.
const PARTS: usize = 60;
/// Bursts whose sizes are taken one by one, from the first on.
const BURSTS: usize = 20;
/// Order statistics, in per cent.
const RANKS: [usize; 7] = [0, 10, 25, 50, 75, 90, 100];

/// Bytes on the wire in bins of equal length, each direction by itself. When packets of one size leave on a public
/// grid, this is all that there is to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireSeries {
    outward: Vec<u64>,
    inward: Vec<u64>,
}

impl WireSeries {
    /// The bytes of each bin; of two directions with different lengths the shorter one ends with zeroes. At least one
    /// bin, at most [`BINS_MAX`].
    pub fn new(mut outward: Vec<u64>, mut inward: Vec<u64>) -> Self {
        let bins = outward.len().max(inward.len()).clamp(1, BINS_MAX);
        outward.resize(bins, 0);
        inward.resize(bins, 0);
        Self { outward, inward }
    }

    /// A session without any shaping: its bytes are on the wire when the application has them.
    pub fn unshaped(trace: &Trace, bin: Duration) -> Self {
        let bin = bin.as_nanos().max(1);
        let place = |at: Duration| usize::try_from(at.as_nanos() / bin).unwrap_or(usize::MAX);
        let bins = place(trace.length).saturating_add(1).min(BINS_MAX);
        let mut series = Self::new(vec![0; bins], vec![0; bins]);
        for arrival in &trace.arrivals {
            let one_way = series.one_way_mut(arrival.direction);
            if let Some(bytes) = one_way.get_mut(place(arrival.at)) {
                *bytes = bytes.saturating_add(arrival.bytes);
            }
        }
        series
    }

    /// The bytes of each bin in one direction.
    pub fn one_way(&self, direction: Direction) -> &[u64] {
        match direction {
            Direction::Outward => &self.outward,
            Direction::Inward => &self.inward,
        }
    }

    fn one_way_mut(&mut self, direction: Direction) -> &mut [u64] {
        match direction {
            Direction::Outward => &mut self.outward,
            Direction::Inward => &mut self.inward,
        }
    }

    /// Features in the manner of k-fingerprinting (Hayes and Danezis, 2016) for series: totals, distributions, moments,
    /// bursts, how the bytes add up over time, and coarse sums.
    pub(super) fn features(&self) -> Vec<f64> {
        let mut features = Vec::new();
        for one_way in [&self.outward, &self.inward] {
            let values: Vec<f64> = one_way.iter().map(|&bytes| bytes as f64).collect();
            add_distribution(&mut features, values.clone(), &RANKS);
            let busy: Vec<usize> = (0..values.len()).filter(|&bin| values[bin] > 0.0).collect();
            features.extend([values.iter().sum(), busy.len() as f64]);
            features.extend([busy.first(), busy.last()].map(|bin| bin.map_or(0.0, |&bin| bin as f64)));
            let bursts: Vec<f64> = values
                .chunk_by(|left, right| (*left > 0.0) == (*right > 0.0))
                .filter(|run| run[0] > 0.0)
                .map(|run| run.iter().sum())
                .collect();
            features.push(bursts.len() as f64);
            features.extend((0..BURSTS).map(|burst| bursts.get(burst).copied().unwrap_or(0.0)));
            add_distribution(&mut features, bursts, &RANKS);
            let parts = parts(&values, PARTS);
            let running = parts.iter().scan(0.0, |sum, part| {
                *sum += part;
                Some(*sum)
            });
            features.extend(running);
            features.extend(parts);
        }
        features
    }

    /// The mean of the bins in each of so many parts, both directions one after the other. A part is at least one bin.
    pub(super) fn in_parts(&self, count: usize) -> Vec<f32> {
        let mean = |one_way: &[u64], part: usize| {
            let from = part * one_way.len() / count;
            let to = ((part + 1) * one_way.len() / count).max(from + 1);
            one_way[from..to].iter().map(|&bytes| bytes as f32).sum::<f32>() / (to - from) as f32
        };
        let of = |one_way| (0..count).map(move |part| mean(one_way, part));
        of(&self.outward).chain(of(&self.inward)).collect()
    }
}

/// Sums over so many parts of nearly equal length; some are empty if there are fewer values.
fn parts(values: &[f64], count: usize) -> Vec<f64> {
    let edge = |part: usize| part * values.len() / count;
    (0..count).map(|part| values[edge(part)..edge(part + 1)].iter().sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attacks::trace::Arrival;

    #[test]
    fn bytes_fall_into_their_bins() {
        let arrival = |ms, direction, bytes| Arrival { at: Duration::from_millis(ms), direction, bytes };
        let arrivals = vec![
            arrival(5, Direction::Outward, 500),
            arrival(120, Direction::Inward, 1_000),
            arrival(199, Direction::Inward, 1),
            arrival(900, Direction::Inward, 7),
        ];
        let trace = Trace { length: Duration::from_millis(300), arrivals };
        let series = WireSeries::unshaped(&trace, Duration::from_millis(100));
        assert_eq!(series.one_way(Direction::Outward), [500, 0, 0, 0]);
        assert_eq!(series.one_way(Direction::Inward), [0, 1_001, 0, 0]);
        assert_eq!(series.in_parts(2), [250.0, 0.0, 500.5, 0.0]);
        assert_eq!(series.in_parts(6)[..6], [500.0, 500.0, 0.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn every_series_has_the_same_features_and_they_are_finite() {
        let shapes = [vec![], vec![u64::MAX; 3], vec![0; 1_000], (0..777).collect()];
        let lengths: Vec<usize> = shapes
            .into_iter()
            .map(|one_way| {
                let features = WireSeries::new(one_way, vec![1]).features();
                assert!(features.iter().all(|feature| feature.is_finite()));
                features.len()
            })
            .collect();
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
    }
}
