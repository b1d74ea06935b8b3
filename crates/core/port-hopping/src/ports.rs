//! Sets of UDP ports.

mod parse;

pub use parse::PortSetError;

use std::fmt;

/// Most pieces that a list of ports may have; a longer one is refused. A set of every second port has 32,768 ranges
/// and can be made, from ranges, by nobody but a program.
pub const PORT_PIECES_MAX: usize = 4_096;

/// Ports from `first` to `last`, both included. Port 0 is none: no packet can be sent to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// All ports there are.
    pub const ALL: Self = Self { first: 1, last: u16::MAX };

    /// A range; `None` if `first` is 0 or above `last`.
    pub const fn new(first: u16, last: u16) -> Option<Self> {
        if first == 0 || first > last { None } else { Some(Self { first, last }) }
    }

    /// The lowest port.
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports there are: 1 to 65,535.
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(self) -> u32 {
        self.last as u32 - self.first as u32 + 1
    }
}

/// A set of ports, never empty.
///
/// As text: `1234,5678,20000-50000`. Ranges may also be written `20000:50000`, and `*` or `all` is 1 to 65535. Blanks
/// around the commas are ignored; what overlaps or touches is merged. `Display` writes the shortest such list.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet {
    /// In ascending order, with at least one port between two ranges.
    ranges: Vec<PortRange>,
    /// How many ports lie before each range.
    before: Vec<u32>,
}

impl PortSet {
    /// All ports there are: 1 to 65535.
    pub fn all() -> Self {
        Self::from(PortRange::ALL)
    }

    /// The union of ranges in any order; `None` when there are none.
    pub fn from_ranges(ranges: impl IntoIterator<Item = PortRange>) -> Option<Self> {
        let mut unordered: Vec<PortRange> = ranges.into_iter().collect();
        unordered.sort_unstable();
        let mut ranges: Vec<PortRange> = Vec::with_capacity(unordered.len());
        for range in unordered {
            match ranges.last_mut() {
                Some(last) if range.first <= last.last.saturating_add(1) => last.last = last.last.max(range.last),
                _ => ranges.push(range),
            }
        }
        let before = ranges.iter().scan(0, |count, range| Some(std::mem::replace(count, *count + range.len())));
        let before = before.collect();
        (!ranges.is_empty()).then_some(Self { ranges, before })
    }

    /// How many ports there are: 1 to 65,535.
    #[expect(clippy::len_without_is_empty, reason = "a set is never empty")]
    pub fn len(&self) -> u32 {
        self.ranges.iter().map(|range| range.len()).sum()
    }

    /// The port with `index` ports below it in the set; `None` from [`PortSet::len`] on. Time: log of the ranges.
    pub fn nth(&self, index: u32) -> Option<u16> {
        let at = self.before.partition_point(|before| *before <= index) - 1;
        let port = u32::from(self.ranges[at].first) + (index - self.before[at]);
        u16::try_from(port).ok().filter(|port| *port <= self.ranges[at].last)
    }

    /// How many ports of the set lie below `port`; `None` if it is not in the set. The inverse of [`PortSet::nth`].
    pub fn index_of(&self, port: u16) -> Option<u32> {
        let at = self.ranges.partition_point(|range| range.first <= port).checked_sub(1)?;
        (port <= self.ranges[at].last).then(|| self.before[at] + u32::from(port - self.ranges[at].first))
    }

    /// Whether `port` is in the set.
    pub fn contains(&self, port: u16) -> bool {
        self.index_of(port).is_some()
    }

    /// The ports in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> {
        self.ranges.iter().flat_map(|range| range.first..=range.last)
    }

    /// The ranges in ascending order; between two of them lies at least one port that is not in the set.
    pub fn ranges(&self) -> &[PortRange] {
        &self.ranges
    }

    /// The lowest port.
    pub fn lowest(&self) -> u16 {
        self.ranges[0].first
    }

    /// The highest port.
    pub fn highest(&self) -> u16 {
        self.ranges[self.ranges.len() - 1].last
    }

    /// The port for a uniformly random `number`. Each port has the same share up to one part in 2^48.
    pub fn pick(&self, number: u64) -> u16 {
        let index = (u128::from(number) * u128::from(self.len())) >> 64;
        let index = u32::try_from(index).expect("below the number of ports");
        self.nth(index).expect("below the number of ports")
    }
}

impl From<PortRange> for PortSet {
    fn from(range: PortRange) -> Self {
        Self { ranges: vec![range], before: vec![0] }
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, range) in self.ranges.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            match range.len() {
                1 => write!(f, "{comma}{}", range.first)?,
                _ => write!(f, "{comma}{}-{}", range.first, range.last)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PortSet({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn range(first: u16, last: u16) -> PortRange {
        PortRange::new(first, last).expect("a range of the test")
    }

    #[test]
    fn a_range_has_no_port_0_and_is_not_upside_down() {
        assert_eq!(PortRange::new(0, 5), None);
        assert_eq!(PortRange::new(6, 5), None);
        assert_eq!(range(5, 5).len(), 1);
        assert_eq!(PortRange::ALL.len(), 65_535);
    }

    #[test]
    fn overlaps_and_neighbours_are_merged() {
        let set = PortSet::from_ranges([range(10, 20), range(1, 3), range(15, 30), range(31, 40), range(42, 42)]);
        assert_eq!(set.map(|set| set.to_string()).as_deref(), Some("1-3,10-40,42"));
        assert_eq!(PortSet::from_ranges([]), None);
    }

    #[test]
    fn a_range_of_all_65535_ports_is_walked_without_overflow() {
        let all = PortSet::all();
        assert_eq!((all.len(), all.lowest(), all.highest()), (65_535, 1, u16::MAX));
        assert_eq!((all.nth(0), all.nth(65_534), all.nth(65_535)), (Some(1), Some(u16::MAX), None));
        assert_eq!((all.pick(0), all.pick(u64::MAX)), (1, u16::MAX));
        assert_eq!(all.iter().count(), 65_535);
        assert!(!all.contains(0));
        assert_eq!(PortSet::from_ranges([range(1, u16::MAX), range(u16::MAX, u16::MAX)]), Some(all));
    }

    #[test]
    fn picks_are_even() {
        // 30 ports, 300,000 numbers that step evenly through all 64 bits: each port gets its share exactly.
        let set = PortSet::from_ranges([range(5, 14), range(100, 119)]).expect("two ranges");
        let mut count = [0u32; 30];
        for step in 0..300_000u64 {
            let port = set.pick(step * (u64::MAX / 300_000) + 7);
            count[set.index_of(port).expect("a port of the set") as usize] += 1;
        }
        assert!(count.iter().all(|count| (9_999..=10_001).contains(count)), "{count:?}");
    }

    proptest! {
        #[test]
        fn a_set_is_the_union_of_its_ranges(ends in proptest::collection::vec((1u16.., 0u16..200), 1..12)) {
            let ranges: Vec<PortRange> = ends.iter().map(|(first, more)| range(*first, first.saturating_add(*more))).collect();
            let expected: BTreeSet<u16> = ranges.iter().flat_map(|range| range.first..=range.last).collect();
            let set = PortSet::from_ranges(ranges).expect("at least one range");
            prop_assert_eq!(set.iter().collect::<Vec<_>>(), expected.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len() as usize, expected.len());
            for (index, port) in expected.iter().enumerate() {
                let index = u32::try_from(index).expect("at most 65,535 ports");
                prop_assert_eq!(set.nth(index), Some(*port));
                prop_assert_eq!(set.index_of(*port), Some(index));
            }
            prop_assert_eq!(set.nth(set.len()), None);
            for port in [0, set.lowest().saturating_sub(1), set.highest().saturating_add(1)] {
                prop_assert_eq!(set.contains(port), expected.contains(&port));
            }
            prop_assert_eq!(set.to_string().parse::<PortSet>(), Ok(set));
        }
    }
}
