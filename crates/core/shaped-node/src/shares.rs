//! How the cells of one schedule are dealt over the legs of a tunnel: in turn, by their running number.
//!
//! A schedule belongs to a direction of a tunnel, a leg gets an equal part of it. Cell k of the schedule belongs to share
//! k mod legs, whatever any cell carries and whichever leg is there. So what leaves on a link follows from the schedule
//! and the number of legs, which are public both; a share that nobody has is not sent, and no other gets more for it.

use conflux::LEGS_MAX;
use shaping::RateClass;

/// Cells of a slot by share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Dealt([u32; LEGS_MAX as usize]);

impl Dealt {
    /// Cells of a share; none of one that does not exist.
    pub(crate) fn of(&self, share: u8) -> u32 {
        self.0.get(usize::from(share)).copied().unwrap_or(0)
    }
}

/// Deals the cells of one direction's schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    legs: u8,
    /// Whose turn the next cell is.
    next: u8,
}

impl Shares {
    /// `legs`: how many shares there are, 1..=[`LEGS_MAX`]; what lies outside is taken for the nearest.
    pub(crate) fn new(legs: u8) -> Self {
        Self { legs: legs.clamp(1, LEGS_MAX), next: 0 }
    }

    /// How many shares there are.
    pub(crate) fn legs(&self) -> u8 {
        self.legs
    }

    /// Deals the cells of a slot. Call it once for each slot that is sent, in order.
    pub(crate) fn deal(&mut self, cells: u32) -> Dealt {
        let dealt = self.peek(cells);
        let legs = u32::from(self.legs);
        // Both are below 2 x LEGS_MAX.
        self.next = ((u32::from(self.next) + cells % legs) % legs) as u8;
        dealt
    }

    /// What [`Shares::deal`] would give for a slot of so many cells, if it were the next one: for its spare.
    pub(crate) fn peek(&self, cells: u32) -> Dealt {
        let legs = u32::from(self.legs);
        let mut dealt = Dealt::default();
        for (share, count) in (0..legs).zip(&mut dealt.0) {
            let turns_before = (share + legs - u32::from(self.next)) % legs;
            *count = cells / legs + u32::from(turns_before < cells % legs);
        }
        dealt
    }
}

/// What a link that loses too much carries of a share: fewer cells, evenly spread. It knows of two classes and of how many
/// cells were due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cap {
    classes: Option<(RateClass, RateClass)>,
    due: u64,
}

impl Cap {
    /// How many of the next `due` cells leave, where the schedule is at class `full` and the link bears `most`. Call it once
    /// for each slot that is sent, in order.
    pub(crate) fn take(&mut self, due: u32, full: RateClass, most: RateClass) -> u32 {
        let cells = self.peek(due, full, most);
        let before = if self.classes == Some((full, most)) { self.due } else { 0 };
        (self.classes, self.due) = (Some((full, most)), before + u64::from(due));
        cells
    }

    /// What [`Cap::take`] would give next.
    pub(crate) fn peek(&self, due: u32, full: RateClass, most: RateClass) -> u32 {
        if most >= full {
            return due;
        }
        let from = if self.classes == Some((full, most)) { self.due } else { 0 };
        let carried =
            |due: u64| u128::from(due) * u128::from(most.bits_per_second()) / u128::from(full.bits_per_second());
        // At most `due`, since the fraction is below one.
        (carried(from + u64::from(due)) - carried(from)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn class(number: u8) -> RateClass {
        RateClass::new(number).expect("a class")
    }

    #[test]
    fn a_capped_share_is_thinned_evenly_to_the_class_below() {
        let (full, most) = (class(21), class(20));
        let mut cap = Cap::default();
        assert_eq!(cap.take(5, full, full), 5, "a link that bears all carries all");
        let cells: Vec<u32> = (0..1_000).map(|_| cap.take(1, full, most)).collect();
        let wanted = 1_000 * most.bits_per_second() / full.bits_per_second();
        assert_eq!(u64::from(cells.iter().sum::<u32>()), wanted);
        assert!(cells.windows(2).skip(1).all(|pair| pair != [0, 0]), "no two gaps in a row");
        assert_eq!(cap.peek(7, full, most), cap.take(7, full, most));
        assert_eq!(cap.take(3, most, full), 3, "a slower schedule is not touched");
    }

    #[test]
    fn cells_of_a_slot_go_round_from_where_the_last_slot_ended() {
        let mut shares = Shares::new(2);
        assert_eq!(shares.peek(3), shares.deal(3));
        assert_eq!(shares.peek(1), Dealt([0, 1, 0, 0, 0, 0, 0, 0]));
        let dealt = shares.deal(3);
        assert_eq!((dealt.of(0), dealt.of(1), dealt.of(2), dealt.of(200)), (1, 2, 0, 0));
        assert_eq!(Shares::new(1).deal(5).of(0), 5);
        assert_eq!((Shares::new(0).legs(), Shares::new(9).legs()), (1, LEGS_MAX));
    }

    proptest! {
        /// Against the definition: cell k belongs to share k mod legs.
        #[test]
        fn every_cell_goes_to_its_share(legs in 1u8..=LEGS_MAX, slots in proptest::collection::vec(0u32..40, 1..60)) {
            let (mut shares, mut number) = (Shares::new(legs), 0u64);
            for cells in slots {
                let mut wanted = Dealt::default();
                for _ in 0..cells {
                    wanted.0[(number % u64::from(legs)) as usize] += 1;
                    number += 1;
                }
                prop_assert_eq!(shares.peek(cells), wanted);
                prop_assert_eq!(shares.deal(cells), wanted);
            }
        }
    }
}
