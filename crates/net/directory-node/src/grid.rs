//! When a member says what time it is.

use identity::NodeId;
use network_document::Founding;

/// Ticks of a member are at most so far apart, in milliseconds.
pub const TICK_EVERY_MAX_MS: u64 = 30_000;
/// Ticks of a member in an interval at least, whatever its length.
pub const TICKS_AN_INTERVAL_MIN: u64 = 4;
/// A member's own place is so far behind the public one at most, in milliseconds.
const OFFSET_MAX_MS: u64 = 500;

/// The public times of one member's ticks: each interval is cut into equal steps, and the member's own place is behind each of
/// their beginnings, the first of which is that of the interval. So whatever happens, a member says the time at the same moments,
/// and soon after an interval has begun all of them have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grid {
    start_ms: u64,
    interval_ms: u64,
    steps: u64,
    offset_ms: u64,
}

impl Grid {
    /// Of a member.
    pub fn new(founding: &Founding, member: &NodeId) -> Self {
        let interval_ms = founding.interval_ms;
        let steps = interval_ms.div_ceil(TICK_EVERY_MAX_MS).max(TICKS_AN_INTERVAL_MIN);
        // Names are public keys: their bytes are as good as drawn.
        let [a, b, c, d, ..] = member.0;
        let places = (interval_ms / steps / 4).clamp(1, OFFSET_MAX_MS);
        let offset_ms = u64::from(u32::from_be_bytes([a, b, c, d])) % places;
        Self { start_ms: founding.start_ms, interval_ms, steps, offset_ms }
    }

    /// The first of them after `now_ms`, in milliseconds since 1970 UTC. Before the first interval there are none.
    pub fn next_after(&self, now_ms: u64) -> u64 {
        let first = self.start_ms.saturating_add(self.offset_ms);
        let Some(since) = now_ms.checked_sub(first) else { return first };
        let (interval, within) = (since / self.interval_ms, since % self.interval_ms);
        // Steps need not be whole milliseconds: place i of them is rounded down.
        let next = (0..=self.steps).map(|step| step * self.interval_ms / self.steps).find(|place| *place > within);
        first + interval * self.interval_ms + next.unwrap_or(self.interval_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use network_document::Electorate;

    fn founding(interval_ms: u64) -> Founding {
        let members = (1..=3).map(|number| NodeId([number; 32])).collect();
        let electorate = Electorate::new(1, members, 0).expect("three");
        Founding { interval_ms, ..Founding::new(10_000, electorate) }
    }

    #[test]
    fn ticks_are_where_the_interval_begins_and_never_closer_or_farther_than_said() {
        for interval_ms in [1_000, 1_003, 60_000, 600_000, 86_400_000] {
            let founding = founding(interval_ms);
            let grid = Grid::new(&founding, &NodeId([0xab; 32]));
            let mut now = grid.next_after(0);
            assert!((10_000..10_000 + OFFSET_MAX_MS).contains(&now));
            for _ in 0..100 {
                let next = grid.next_after(now);
                assert!(next - now <= TICK_EVERY_MAX_MS && next - now >= (interval_ms / 4).min(15_000), "{next} {now}");
                assert_eq!(grid.next_after(next - 1), next);
                now = next;
            }
            let begin = founding.begin_ms(7);
            assert!(grid.next_after(begin - 1) - begin <= OFFSET_MAX_MS, "soon after an interval begins");
        }
    }
}
