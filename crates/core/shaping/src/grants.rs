//! Leave to release: which epochs somebody has paid for, and at which cost.
//!
//! The ledger of the entry reserves budget before a release, and hands out leave for a minute ahead. Whoever
//! releases keeps it here. Each epoch is used once, and what was not used in its epoch is lost: it stays spent.

use std::collections::VecDeque;

/// Ranges of epochs that are kept at a time; more replace the oldest. Leave comes about once a minute for the next one.
const RANGES_MAX: usize = 16;

/// Consecutive epochs that are paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    /// One past the last.
    end: u64,
    cost_each: u128,
}

/// Epochs that are paid for and not yet used.
#[derive(Debug, Clone, Default)]
pub struct GrantBook {
    ranges: VecDeque<Range>,
    /// Epochs below this one are over: no leave for them is taken or given.
    next: u64,
    lost: u64,
}

impl GrantBook {
    /// An empty book.
    pub fn new() -> Self {
        Self::default()
    }

    /// Enters leave for `releases` epochs from `first_epoch` on, each at most at `cost_each` (mu squared in the
    /// ledger's units). Epochs that are over are left out; of epochs that overlap with older leave the newer counts.
    pub fn handle_grant(&mut self, first_epoch: u64, releases: u16, cost_each: u128) {
        let end = first_epoch.saturating_add(releases.into());
        let range = Range { first: first_epoch.max(self.next), end, cost_each };
        if range.first >= range.end {
            self.lost += u64::from(releases);
            return;
        }
        if self.ranges.len() == RANGES_MAX {
            self.ranges.pop_front();
        }
        self.ranges.push_back(range);
    }

    /// Uses the leave for one epoch, if there is one that pays `cost`. Whatever the answer, neither this epoch nor
    /// an older one is released afterwards: an epoch has one release or none.
    pub fn take(&mut self, epoch: u64, cost: u128) -> bool {
        if epoch < self.next {
            return false;
        }
        self.next = epoch + 1;
        let pays = self.ranges.iter().rev().find(|range| (range.first..range.end).contains(&epoch));
        let granted = pays.is_some_and(|range| range.cost_each >= cost);
        self.ranges.retain(|range| range.end > epoch + 1);
        granted
    }

    /// One past the last epoch that is paid for. `None`: none is.
    pub fn paid_until(&self) -> Option<u64> {
        self.ranges.iter().map(|range| range.end).max()
    }

    /// Releases whose leave came when their epoch was over.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_epoch_is_released_once_at_the_price_that_was_paid() {
        let mut book = GrantBook::new();
        assert!(!book.take(9, 0), "nothing was paid");
        book.handle_grant(10, 3, 5);
        assert_eq!(book.paid_until(), Some(13));
        assert!(book.take(10, 5));
        assert!(!book.take(10, 5), "once");
        assert!(!book.take(11, 6), "too dear");
        assert!(!book.take(11, 5), "a refused epoch is over too");
        assert!(book.take(12, 1));
        assert!(!book.take(13, 1));
        assert_eq!(book.paid_until(), None);
        book.handle_grant(8, 4, 5);
        assert_eq!((book.paid_until(), book.lost()), (None, 4), "leave that comes too late");
    }

    proptest! {
        /// However leave comes and epochs pass, no epoch is released twice and none without leave.
        #[test]
        fn nothing_is_released_twice_or_unpaid(
            steps in proptest::collection::vec((any::<bool>(), 0u64..40, 1u16..12, 0u128..3), 1..200),
        ) {
            let mut book = GrantBook::new();
            let mut paid = std::collections::BTreeMap::new();
            let mut used = std::collections::BTreeSet::new();
            for (grants, epoch, releases, cost) in steps {
                if grants {
                    book.handle_grant(epoch, releases, cost);
                    for one in epoch..epoch + u64::from(releases) {
                        let best = paid.entry(one).or_insert(cost);
                        *best = cost.max(*best);
                    }
                } else if book.take(epoch, cost) {
                    prop_assert!(used.insert(epoch), "epoch {} twice", epoch);
                    prop_assert!(paid.get(&epoch).is_some_and(|most| *most >= cost), "epoch {} unpaid", epoch);
                }
                prop_assert!(book.ranges.len() <= RANGES_MAX);
            }
        }
    }
}
