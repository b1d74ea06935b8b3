//! When to ask the directory, and when to say something to it. The moments follow from the public clock of intervals, from the
//! asker's own randomness and from whether earlier attempts worked; nothing that anybody does at a node moves them.

use network_document::Founding;
use onion::Interval;

/// Editions are asked for in the first part of each interval, one so-manieth of it.
pub const FETCH_SHARE: u64 = 4;
/// The ceiling of the first wait after a failure, in milliseconds.
pub const RETRY_FIRST_MS: u64 = 1_000;
/// No wait after a failure is longer, in milliseconds; where the intervals are known, none is longer than the part of an
/// interval in which editions are asked for.
pub const RETRY_MAX_MS: u64 = 60_000;

/// The waits of one thing that is tried until it works: each is random below a ceiling that doubles with every failure in a row.
///
/// Full jitter spreads those whom one outage has struck over the whole ceiling.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retries {
    failures: u32,
}

impl Retries {
    /// It worked.
    pub fn handle_success(&mut self) {
        self.failures = 0;
    }

    /// It did not work: how long to wait, in milliseconds. `founding` is the network's, if it is known; `random` is any 64
    /// random bits.
    pub fn handle_failure(&mut self, founding: Option<&Founding>, random: u64) -> u64 {
        let most_ms = founding.map_or(RETRY_MAX_MS, |founding| RETRY_MAX_MS.min(founding.interval_ms / FETCH_SHARE));
        let ceiling_ms = (RETRY_FIRST_MS << self.failures.min(16)).min(most_ms);
        self.failures = self.failures.saturating_add(1);
        below(random, ceiling_ms + 1)
    }
}

/// When to ask for the edition of the interval after the present one, in milliseconds since 1970 UTC: somewhere in the first part
/// of that interval. `random` is any 64 random bits, new ones for each interval.
pub fn fetch_at_ms(founding: &Founding, now_ms: u64, random: u64) -> u64 {
    // Before interval 0 there is nothing to wait for but its end: the first edition is that of interval 1.
    let next = founding.index_at(now_ms) + 1;
    founding.begin_ms(next).saturating_add(below(random, founding.interval_ms / FETCH_SHARE))
}

/// When a relay describes itself in a key interval, in milliseconds since 1970 UTC: somewhere in its first half, so that what it
/// said in the one before still holds.
pub fn describe_at_ms(founding: &Founding, interval: Interval, random: u64) -> u64 {
    let begin_ms = founding.begin_ms(interval.0.saturating_mul(founding.key_intervals));
    begin_ms.saturating_add(below(random, founding.key_intervals * founding.interval_ms / 2))
}

/// Until when a relay's words of `now_ms` hold, in milliseconds since 1970 UTC: as long as it has said keys, and never for longer
/// than anything may.
///
/// What is said in the first half of a key interval holds beyond the first half of the next one.
pub fn describe_until_ms(founding: &Founding, now_ms: u64) -> u64 {
    let interval = founding.key_interval(founding.index_at(now_ms));
    let keys_end_ms = founding.begin_ms((interval.0 + 2).saturating_mul(founding.key_intervals));
    keys_end_ms.min(now_ms.saturating_add(founding.lifetime_max_ms()))
}

/// Which share of `bound` the random bits are.
fn below(random: u64, bound: u64) -> u64 {
    ((u128::from(random) * u128::from(bound)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use identity::NodeSecret;
    use network_document::Electorate;

    const START_MS: u64 = 1_800_000_000_000;

    /// Intervals of ten minutes, keys of a day.
    fn founding() -> Founding {
        let members = (1..=3).map(|seed| NodeSecret::from_seed([seed; 32]).node_id()).collect();
        Founding::new(START_MS, Electorate::new(1, members, 0).expect("three members"))
    }

    #[test]
    fn each_interval_has_one_moment_in_its_first_quarter() {
        let founding = founding();
        for now in [0, 1, 299_999, 599_999] {
            let now_ms = START_MS + 5 * 600_000 + now;
            assert_eq!(fetch_at_ms(&founding, now_ms, 0), START_MS + 6 * 600_000);
            assert_eq!(fetch_at_ms(&founding, now_ms, 1 << 63), START_MS + 6 * 600_000 + 75_000);
            assert_eq!(fetch_at_ms(&founding, now_ms, u64::MAX), START_MS + 6 * 600_000 + 149_999);
        }
        assert_eq!(fetch_at_ms(&founding, 0, 0), START_MS + 600_000, "the first edition");
    }

    #[test]
    fn waits_double_to_a_bound_and_begin_anew() {
        let (mut retries, founding) = (Retries::default(), founding());
        let ceilings: Vec<u64> = (0..9).map(|_| retries.handle_failure(Some(&founding), u64::MAX)).collect();
        assert_eq!(ceilings, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!(retries.handle_failure(None, 1 << 63), 30_000);
        retries.handle_success();
        assert_eq!(retries.handle_failure(None, u64::MAX), 1_000);
        let short = Founding { interval_ms: 1_000, ..founding };
        assert_eq!(retries.handle_failure(Some(&short), u64::MAX), 250, "a quarter of an interval");
    }

    #[test]
    fn a_relay_speaks_in_every_key_interval_before_its_words_end() {
        let founding = founding();
        let day_ms = 144 * 600_000;
        for random in [0, 1 << 62, u64::MAX] {
            let said_ms = describe_at_ms(&founding, Interval(3), random);
            assert!((START_MS + 3 * day_ms..START_MS + 3 * day_ms + day_ms / 2).contains(&said_ms));
            let until_ms = describe_until_ms(&founding, said_ms);
            assert!(until_ms > describe_at_ms(&founding, Interval(4), u64::MAX));
            assert!(until_ms - said_ms <= founding.lifetime_max_ms());
        }
        let late_ms = START_MS + 4 * day_ms - 1;
        assert_eq!(describe_until_ms(&founding, late_ms), START_MS + 5 * day_ms);
    }
}
