//! Which relay becomes a guard.

use super::Guards;
use crate::relays::{Place, Relays};
use crate::weight;
use identity::NodeId;
use rand_chacha::rand_core::Rng;

impl Guards {
    /// Draws a new guard by weight; if possible one that is far from those that are there, so that no operator has all of them and
    /// every exit has guards that suit it.
    pub(super) fn draw(&self, relays: &Relays, rng: &mut impl Rng) -> Option<NodeId> {
        let own: Vec<usize> = self.listed().filter_map(|guard| relays.find(&guard.node_id)).collect();
        let is_new = |number: &usize| !own.contains(number);
        let new: Vec<(usize, u64)> =
            relays.serving(Place::Guard).filter(is_new).map(|one| (one, relays.at(one).weight(Place::Guard))).collect();
        let is_far = |number: usize| !own.iter().any(|guard| relays.are_near(*guard, number));
        let far: Vec<(usize, u64)> = new.iter().copied().filter(|(number, _)| is_far(*number)).collect();
        let chosen = weight::draw(if far.is_empty() { &new } else { &far }, rng);
        chosen.map(|number| relays.at(number).node_id)
    }
}

/// A number below `bound`, which is not 0.
pub(super) fn below(bound: u64, rng: &mut impl Rng) -> u64 {
    u64::try_from((u128::from(rng.next_u64()) * u128::from(bound)) >> 64).expect("below `bound`")
}
