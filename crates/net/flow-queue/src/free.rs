//! Which queue pairs are free. The one used last is given out first: its memory is warm, and the number of
//! rings that were ever touched stays at the largest number of flows at one time.

use std::collections::VecDeque;

/// Free pairs whose rings were not empty when last looked at, which are looked at again in one
/// [`FreePairs::take`]. A neighbour that never drains its rings costs no more time than that.
const RECHECKS_MAX: usize = 64;

/// The assigning side's list.
#[derive(Debug)]
pub(crate) struct FreePairs {
    ready: Vec<u16>,
    /// Released, but a ring was not yet drained.
    undrained: VecDeque<u16>,
}

impl FreePairs {
    pub(crate) fn new(count: u16) -> Self {
        Self { ready: (0..count).rev().collect(), undrained: VecDeque::new() }
    }

    /// Returns a pair to the list.
    pub(crate) fn put(&mut self, index: u16) {
        self.ready.push(index);
    }

    /// Takes a pair that `is_drained` agrees with.
    pub(crate) fn take(&mut self, mut is_drained: impl FnMut(u16) -> bool) -> Option<u16> {
        while let Some(index) = self.ready.pop() {
            if is_drained(index) {
                return Some(index);
            }
            self.undrained.push_back(index);
        }
        for _ in 0..self.undrained.len().min(RECHECKS_MAX) {
            let index = self.undrained.pop_front()?;
            if is_drained(index) {
                return Some(index);
            }
            self.undrained.push_back(index);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pair_used_last_is_reused_first() {
        let mut free = FreePairs::new(3);
        assert_eq!(free.take(|_| true), Some(0));
        assert_eq!(free.take(|_| true), Some(1));
        free.put(0);
        assert_eq!(free.take(|_| true), Some(0));
        assert_eq!(free.take(|_| true), Some(2));
        assert_eq!(free.take(|_| true), None);
    }

    #[test]
    fn an_undrained_pair_is_passed_over_and_comes_back_when_drained() {
        let mut free = FreePairs::new(2);
        assert_eq!(free.take(|index| index != 0), Some(1));
        assert_eq!(free.take(|index| index != 0), None);
        assert_eq!(free.take(|_| true), Some(0));
    }

    #[test]
    fn rechecks_are_bounded_and_reach_every_pair_in_turn() {
        let mut free = FreePairs::new(200);
        assert_eq!(free.take(|_| false), None);
        let mut looked = 0;
        assert_eq!(
            free.take(|_| {
                looked += 1;
                false
            }),
            None
        );
        assert_eq!(looked, RECHECKS_MAX);
        let found = (0..4).find_map(|_| free.take(|index| index == 5));
        assert_eq!(found, Some(5));
    }
}
