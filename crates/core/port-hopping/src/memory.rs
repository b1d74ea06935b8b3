//! What is remembered about pairs and ports that were used, so that none is used too soon again.

use crate::pair::{Pair, anywhere};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long a pair is not used again: networks remember a flow that they throttle for minutes.
pub const NO_REUSE: Duration = Duration::from_secs(600);
/// Most pairs that are remembered, 8 kB. When full, the one used longest ago is forgotten, and may be used again. Hops by
/// default timers, all candidates tried, are 90 in ten minutes.
pub const USED_PAIRS_MAX: usize = 1_024;
/// How long a port that did not answer is tried only after all others.
pub const BLOCKED_FOR: Duration = Duration::from_secs(600);
/// Most ports that are held for blocked. When full, the one that was noted longest ago is forgotten.
pub const BLOCKED_PORTS_MAX: usize = 256;

/// Pairs and the time of their last use. A pair is kept as a hash of 32 bits: two that have the same are taken for one, and
/// another port is drawn.
#[derive(Debug, Default)]
pub struct UsedPairs {
    /// When the first was noted.
    origin: Option<Instant>,
    /// Hash, and seconds from the origin, rounded up; oldest first; each pair once.
    times: VecDeque<(u32, u32)>,
}

impl UsedPairs {
    /// Notes that a pair is in use, or was until now.
    pub fn note(&mut self, now: Instant, pair: Pair) {
        let (noted, origin) = (hash(&pair), *self.origin.get_or_insert(now));
        self.times.retain(|(known, at)| *known != noted && is_recent(origin, *at, now));
        if self.times.len() == USED_PAIRS_MAX {
            self.times.pop_front();
        }
        let passed = now.saturating_duration_since(origin).as_secs();
        self.times.push_back((noted, u32::try_from(passed).map_or(u32::MAX, |passed| passed.saturating_add(1))));
    }

    /// Notes a pair from a port of this end. This end's address is not remembered: ports are drawn before the system has
    /// chosen it.
    pub(crate) fn note_towards(&mut self, now: Instant, remote: SocketAddr, local_port: u16) {
        self.note(now, Pair { local: anywhere(remote, local_port), remote });
    }

    /// Whether a pair was in use within [`NO_REUSE`].
    pub fn contains(&self, now: Instant, pair: &Pair) -> bool {
        let sought = hash(pair);
        let recent = |at| self.origin.is_some_and(|origin| is_recent(origin, at, now));
        self.times.iter().any(|(known, at)| *known == sought && recent(*at))
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// True when none is.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }
}

fn is_recent(origin: Instant, at: u32, now: Instant) -> bool {
    now < origin + Duration::from_secs(at.into()) + NO_REUSE
}

/// The same for the same pair in all runs of one build; nobody else sees it.
fn hash(pair: &Pair) -> u32 {
    let mut hasher = DefaultHasher::new();
    pair.hash(&mut hasher);
    (hasher.finish() >> 32) as u32
}

/// Ports of the other end that did not answer although the path was alive.
#[derive(Debug, Default)]
pub struct BlockedPorts {
    /// By time, oldest first; each port once.
    times: VecDeque<(SocketAddr, Instant)>,
}

impl BlockedPorts {
    /// Notes that a port did not answer.
    pub fn note(&mut self, now: Instant, port: SocketAddr) {
        self.times.retain(|(known, at)| *known != port && now < *at + BLOCKED_FOR);
        if self.times.len() == BLOCKED_PORTS_MAX {
            self.times.pop_front();
        }
        self.times.push_back((port, now));
    }

    /// The same for several.
    pub(crate) fn note_all(&mut self, now: Instant, ports: impl Iterator<Item = SocketAddr>) {
        ports.for_each(|port| self.note(now, port));
    }

    /// Notes that it did.
    pub fn forgive(&mut self, port: &SocketAddr) {
        self.times.retain(|(known, _)| known != port);
    }

    /// How much longer a port is held for blocked; `None` if it is not.
    pub fn remaining(&self, now: Instant, port: &SocketAddr) -> Option<Duration> {
        self.iter(now).find(|(known, _)| known == port).map(|(_, left)| left)
    }

    /// The ports that are held for blocked, and for how much longer; for a status page.
    pub fn iter(&self, now: Instant) -> impl Iterator<Item = (SocketAddr, Duration)> {
        let left = move |at: Instant| (at + BLOCKED_FOR).checked_duration_since(now).filter(|left| !left.is_zero());
        self.times.iter().filter_map(move |(port, at)| Some((*port, left(*at)?)))
    }

    /// Puts the ports that are not held for blocked first, then those whose time is over soonest. All stay: a wrong
    /// memory must not leave a link without a way.
    pub fn order(&self, now: Instant, candidates: &mut [SocketAddr]) {
        candidates.sort_by_key(|port| self.remaining(now, port).unwrap_or_default());
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
        assert!(used.contains(start + seconds(700), &pair(1, 1)));
        assert!(!used.contains(start + seconds(701), &pair(1, 1)) && !used.contains(start, &pair(1, 2)));
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
