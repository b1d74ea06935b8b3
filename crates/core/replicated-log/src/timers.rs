//! Deadlines with names, as data: set, cancelled and polled, never awaited.

use std::collections::BTreeMap;
use std::time::Duration;

/// At most one deadline for each key. Keys are an enum of the user's, so their number is bounded by its design.
#[derive(Clone, Debug)]
pub struct Timers<Key> {
    deadlines: BTreeMap<Key, Duration>,
}

impl<Key: Ord + Copy> Default for Timers<Key> {
    fn default() -> Self {
        Self { deadlines: BTreeMap::new() }
    }
}

impl<Key: Ord + Copy> Timers<Key> {
    /// Sets the deadline of `key`; an earlier setting is forgotten.
    pub fn set(&mut self, key: Key, at: Duration) {
        self.deadlines.insert(key, at);
    }

    /// Whether `key` has a deadline.
    pub fn is_set(&self, key: Key) -> bool {
        self.deadlines.contains_key(&key)
    }

    /// Forgets the deadline of `key`; true when there was one.
    pub fn cancel(&mut self, key: Key) -> bool {
        self.deadlines.remove(&key).is_some()
    }

    /// When the next deadline comes; `None` without any.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadlines.values().min().copied()
    }

    /// Takes the earliest deadline that has come, and forgets it. Of two at one moment the lesser key comes first.
    pub fn poll(&mut self, now: Duration) -> Option<Key> {
        let (key, _) = self.deadlines.iter().map(|(key, at)| (*key, *at)).min_by_key(|(key, at)| (*at, *key))?;
        if self.deadlines[&key] > now {
            return None;
        }
        self.deadlines.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn deadlines_come_in_order_and_once() {
        let mut timers = Timers::default();
        timers.set('b', at(20));
        timers.set('a', at(10));
        assert_eq!(timers.deadline(), Some(at(10)));
        assert_eq!(timers.poll(at(9)), None);
        assert_eq!((timers.poll(at(30)), timers.poll(at(30)), timers.poll(at(30))), (Some('a'), Some('b'), None));
    }

    #[test]
    fn defect_a_timer_cannot_be_cancelled() {
        let mut timers = Timers::default();
        timers.set('a', at(10));
        assert!(timers.cancel('a'));
        assert!(!timers.cancel('a'), "it is gone");
        assert_eq!((timers.deadline(), timers.poll(at(99))), (None, None));
    }

    #[test]
    fn setting_again_moves_it() {
        let mut timers = Timers::default();
        timers.set('a', at(10));
        timers.set('a', at(50));
        assert_eq!(timers.poll(at(49)), None);
        assert_eq!(timers.poll(at(50)), Some('a'));
    }
}
