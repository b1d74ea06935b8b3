//! What a client wants the exit's direction of a tunnel to be like. Its meaning is not known here; that all legs agree is.

use crate::tunnel::LEGS_MAX;

/// Bytes of an [`Asked`] in LINK.
pub(crate) const ASKED_LEN: usize = 3;

/// The schedule that the exit's cells are wanted in, and the part of it that a leg has. Mode 0 is without a schedule: then all
/// of it is 0, and legs have no parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asked {
    mode: u8,
    class: u8,
    share: u8,
    shares: u8,
}

impl Asked {
    /// No schedule: mode `off`.
    pub const OFF: Self = Self { mode: 0, class: 0, share: 0, shares: 1 };

    /// A schedule by the numbers of its mode and class, and which of how many equal shares the leg has. None if the mode is 0,
    /// there are no shares or more than [`LEGS_MAX`], or there is no such share.
    pub fn new(mode: u8, class: u8, share: u8, shares: u8) -> Option<Self> {
        let is_share = shares <= LEGS_MAX && share < shares;
        (mode > 0 && is_share).then_some(Self { mode, class, share, shares })
    }

    /// Whether there is a schedule.
    pub fn is_shaped(&self) -> bool {
        self.mode > 0
    }

    /// Number of the mode; 0 is none.
    pub fn mode(&self) -> u8 {
        self.mode
    }

    /// Number of the rate class of the whole schedule, all shares together.
    pub fn class(&self) -> u8 {
        self.class
    }

    /// Which share the leg has, counted from 0.
    pub fn share(&self) -> u8 {
        self.share
    }

    /// How many shares there are.
    pub fn shares(&self) -> u8 {
        self.shares
    }

    /// Whether two legs can be of one tunnel: they ask for the same schedule, in as many shares.
    pub fn is_of_one(&self, other: &Self) -> bool {
        Self { share: 0, ..*self } == Self { share: 0, ..*other }
    }

    /// Whether two legs of a tunnel would have the same part of a schedule.
    pub(crate) fn is_same_share(&self, other: &Self) -> bool {
        self.is_shaped() && self.share == other.share
    }

    pub(crate) fn encode(self) -> [u8; ASKED_LEN] {
        [self.mode, self.class, self.share << 4 | (self.shares - 1)]
    }

    pub(crate) fn decode([mode, class, part]: [u8; ASKED_LEN]) -> Option<Self> {
        if mode == 0 {
            return (class == 0 && part == 0).then_some(Self::OFF);
        }
        Self::new(mode, class, part >> 4, (part & 0x0f) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_has_one_form_and_each_form_one_value() {
        let mut values = 0;
        for mode in [0, 1, 4, 255] {
            for class in [0, 1, 52] {
                for part in 0..=255 {
                    let bytes = [mode, class, part];
                    let Some(asked) = Asked::decode(bytes) else { continue };
                    assert_eq!(asked.encode(), bytes);
                    assert_eq!(asked.is_shaped(), mode > 0);
                    values += 1;
                }
            }
        }
        // 1 + 2 + ... + 8 shares for each mode and class that is one, and `off`.
        assert_eq!(values, 3 * 3 * 36 + 1);
        assert_eq!(Asked::new(1, 7, 2, 4).map(Asked::encode), Some([1, 7, 0x23]));
        assert_eq!([Asked::new(0, 0, 0, 1), Asked::new(1, 0, 1, 1), Asked::new(1, 0, 0, 9)], [None; 3]);
    }
}
