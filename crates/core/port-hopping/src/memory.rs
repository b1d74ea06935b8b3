//! What is remembered about pairs and ports that were used, so that none is used too soon again.

use crate::pair::Pair;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a pair is not used again: networks remember a flow that they throttle for minutes.
pub const NO_REUSE: Duration = Duration::from_secs(600);
/// Most pairs that are remembered, about 0.1 MB. When full, the one used longest ago is forgotten, and may be used again.
pub const USED_PAIRS_MAX: usize = 1_024;
/// How long a port that did not answer is tried only after all others.
pub const BLOCKED_FOR: Duration = Duration::from_secs(600);
/// Most ports that are held for blocked. When full, the one that was noted longest ago is forgotten.
pub const BLOCKED_PORTS_MAX: usize = 256;

/// Pairs and the time of their last use.
#[derive(Debug, Default)]
pub struct UsedPairs {
    times: Aging<Pair>,
}

impl UsedPairs {
    /// Notes that a pair is in use, or was until now.
    pub fn note(&mut self, now: Instant, pair: Pair) {
        self.times.note(now, pair, NO_REUSE, USED_PAIRS_MAX);
    }

    /// Whether a pair was in use within [`NO_REUSE`].
    pub fn contains(&self, now: Instant, pair: &Pair) -> bool {
        self.times.remaining(now, pair).is_some()
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.times.until.len()
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.times.until.is_empty()
    }
}

/// Ports of the other end that did not answer although the path was alive.
#[derive(Debug, Default)]
pub struct BlockedPorts {
    times: Aging<SocketAddr>,
}

impl BlockedPorts {
    /// Notes that a port did not answer.
    pub fn note(&mut self, now: Instant, port: SocketAddr) {
        self.times.note(now, port, BLOCKED_FOR, BLOCKED_PORTS_MAX);
    }

    /// Notes that it did.
    pub fn forgive(&mut self, port: &SocketAddr) {
        self.times.until.remove(port);
    }

    /// How much longer a port is held for blocked; `None` if it is not.
    pub fn remaining(&self, now: Instant, port: &SocketAddr) -> Option<Duration> {
        self.times.remaining(now, port)
    }

    /// The ports that are held for blocked, and for how much longer; for a status page.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = (SocketAddr, Duration)> {
        self.times.until.keys().filter_map(move |port| Some((*port, self.times.remaining(now, port)?)))
    }

    /// Puts the ports that are not held for blocked first, then those whose time is over soonest. All stay: a wrong
    /// memory must not leave a link without a way.
    pub fn order(&self, now: Instant, candidates: &mut [SocketAddr]) {
        candidates.sort_by_key(|port| self.remaining(now, port).unwrap_or_default());
    }
}

/// Keys with the time at which each is forgotten.
#[derive(Debug)]
struct Aging<K> {
    until: BTreeMap<K, Instant>,
    /// In the order in which they were noted, with the time they were noted with; one that was noted again has an entry
    /// that is void. At most twice as many as there are keys.
    noted: VecDeque<(K, Instant)>,
}

impl<K> Default for Aging<K> {
    fn default() -> Self {
        Self { until: BTreeMap::new(), noted: VecDeque::new() }
    }
}

impl<K: Ord + Copy> Aging<K> {
    fn note(&mut self, now: Instant, key: K, keep: Duration, max: usize) {
        let until = now + keep;
        if self.until.insert(key, until) == Some(until) {
            return;
        }
        self.noted.push_back((key, until));
        if self.noted.len() > 2 * max {
            self.noted.retain(|(key, noted)| self.until.get(key) == Some(noted));
        }
        while let Some((oldest, noted)) = self.noted.front().copied() {
            let void = self.until.get(&oldest) != Some(&noted);
            if !void && self.until.len() <= max && noted > now {
                return;
            }
            self.noted.pop_front();
            if !void {
                self.until.remove(&oldest);
            }
        }
    }

    fn remaining(&self, now: Instant, key: &K) -> Option<Duration> {
        let until = *self.until.get(key)?;
        until.checked_duration_since(now).filter(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "an origin for virtual time")]
    fn origin() -> Instant {
        Instant::now()
    }

    fn pair(local: u16, remote: u16) -> Pair {
        Pair { local: ([192, 0, 2, 1], local).into(), remote: ([198, 51, 100, 1], remote).into() }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_pair_is_remembered_for_ten_minutes_after_its_last_use() {
        let (mut used, start) = (UsedPairs::default(), origin());
        used.note(start, pair(1, 1));
        used.note(start + seconds(100), pair(1, 1));
        assert!(used.contains(start + seconds(699), &pair(1, 1)));
        assert!(!used.contains(start + seconds(700), &pair(1, 1)) && !used.contains(start, &pair(1, 2)));
        used.note(start + seconds(800), pair(2, 2));
        assert_eq!(used.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn when_full_the_oldest_is_forgotten() {
        let (mut used, start) = (UsedPairs::default(), origin());
        let count = u16::try_from(USED_PAIRS_MAX).expect("small");
        for number in 0..=count {
            used.note(start + Duration::from_millis(number.into()), pair(number, 1));
            used.note(start + Duration::from_millis(number.into()), pair(0, 1));
        }
        assert_eq!(used.len(), USED_PAIRS_MAX);
        let now = start + seconds(2);
        assert!(!used.contains(now, &pair(1, 1)) && used.contains(now, &pair(2, 1)) && used.contains(now, &pair(0, 1)));
        assert!(used.times.noted.len() <= 2 * USED_PAIRS_MAX + 1);
    }

    #[test]
    fn blocked_ports_are_tried_last_and_none_is_left_out() {
        let (mut blocked, start) = (BlockedPorts::default(), origin());
        let port = |port: u16| SocketAddr::from(([198, 51, 100, 1], port));
        blocked.note(start + seconds(5), port(1));
        blocked.note(start, port(2));
        let mut candidates = [port(1), port(2), port(3)];
        blocked.order(start + seconds(10), &mut candidates);
        assert_eq!(candidates, [port(3), port(2), port(1)]);
        assert_eq!(blocked.iter(start + seconds(601)).collect::<Vec<_>>(), [(port(1), seconds(4))]);
        blocked.forgive(&port(1));
        assert_eq!(blocked.iter(start + seconds(10)).map(|(port, _)| port).collect::<Vec<_>>(), [port(2)]);
    }
}
