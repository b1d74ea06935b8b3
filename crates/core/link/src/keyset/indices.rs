//! The indices of one direction that are at hand (docs/spec/link.md, "Key schedule").

use super::Hopping;
use crate::schedule::IndexKey;

/// The index of the hop that a link stands at, and those of the hops before and after it.
pub(super) struct Indices {
    key: IndexKey,
    hop: u64,
    /// Of `hop`, the one after and the one before, so that the likeliest comes first.
    around: [Option<u64>; 3],
    /// False where there are no hops: then there is no neighbour.
    hopping: bool,
}

impl Indices {
    pub(super) fn new(key: IndexKey, hopping: Hopping) -> Self {
        let (hop, hopping) = match hopping {
            Hopping::Off => (0, false),
            Hopping::At(hop) => (hop, true),
        };
        let mut indices = Self { key, hop, around: [None; 3], hopping };
        indices.move_to(hop);
        indices
    }

    pub(super) fn move_to(&mut self, hop: u64) {
        self.hop = hop;
        let neighbours = if self.hopping { [hop.checked_add(1), hop.checked_sub(1)] } else { [None; 2] };
        let [after, before] = neighbours.map(|hop| hop.map(|hop| self.key.of_hop(hop)));
        self.around = [Some(self.key.of_hop(hop)), after, before];
    }

    pub(super) fn hop(&self) -> u64 {
        self.hop
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> + use<> {
        self.around.into_iter().flatten()
    }

    /// The index of any hop.
    #[inline]
    pub(super) fn of_hop(&self, hop: u64) -> u64 {
        let at_hand = match hop.wrapping_sub(self.hop) {
            0 => self.around[0],
            1 => self.around[1],
            u64::MAX => self.around[2],
            _ => None,
        };
        at_hand.unwrap_or_else(|| self.key.of_hop(hop))
    }

    /// The hop that an index was made for, if it is at hand.
    #[inline]
    pub(super) fn hop_of(&self, index: u64) -> Option<u64> {
        let place = self.around.iter().position(|at_hand| *at_hand == Some(index))?;
        Some(match place {
            0 => self.hop,
            1 => self.hop + 1,
            _ => self.hop - 1,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{DirectionKeys, Role};
    use packet_crypto::keys::RawKeys;
    use zeroize::Zeroizing;

    fn indices(hopping: Hopping) -> Indices {
        let raw = RawKeys { initiator: Zeroizing::new([0x11; 32]), responder: Zeroizing::new([0x22; 32]) };
        Indices::new(DirectionKeys::derive(&raw, Role::Initiator).indices(), hopping)
    }

    #[test]
    fn the_neighbours_are_at_hand_and_follow() {
        let mut indices = indices(Hopping::At(0));
        assert_eq!(indices.iter().count(), 2, "nothing comes before hop 0");
        for hop in [0, 1, 2, 7, u64::MAX] {
            indices.move_to(hop);
            assert_eq!(indices.hop(), hop);
            for (near, index) in [(hop.checked_sub(1)), Some(hop), hop.checked_add(1)]
                .into_iter()
                .flatten()
                .map(|near| (near, indices.of_hop(near)))
            {
                assert!(indices.iter().any(|at_hand| at_hand == index));
                assert_eq!(indices.hop_of(index), Some(near));
            }
            let far = indices.of_hop(hop.wrapping_add(2));
            assert_eq!(indices.hop_of(far), None);
        }
    }

    #[test]
    fn without_hops_there_is_one_index() {
        let one = indices(Hopping::Off);
        assert_eq!(one.iter().collect::<Vec<_>>(), [0xd03a_0dd9_9e5c_0154]);
        assert_eq!(one.hop_of(one.of_hop(1)), None);
    }
}
