//! Middles for several legs at once: drawn by weight, each draw only among those that leave one for every other leg.

use super::Choice;
use crate::relays::Place;
use crate::weight::draw;
use identity::NodeId;
use rand_chacha::rand_core::Rng;
use std::collections::{BTreeMap, BTreeSet};

impl Choice<'_> {
    /// How many of the legs can have a middle.
    pub(super) fn room(&self, guards: &[usize], exit: usize) -> usize {
        if self.has_plenty(guards, exit) { guards.len() } else { self.matched(&self.possible(guards, exit)) }
    }

    /// True when each leg has as many middles to choose from as there are legs: whatever the others take, one is left. Every exit
    /// is asked about, and in a large network the first few relays answer.
    fn has_plenty(&self, guards: &[usize], exit: usize) -> bool {
        let mut found = vec![0; guards.len()];
        self.free(guards, exit).any(|middle| {
            let legs = guards.iter().zip(&mut found);
            legs.for_each(|(guard, found)| *found += usize::from(self.suits(*guard, middle)));
            found.iter().all(|found| *found >= guards.len())
        })
    }

    /// A middle for each guard. There must be room.
    pub(super) fn draw_middles(&self, guards: &[usize], exit: usize, rng: &mut impl Rng) -> Vec<usize> {
        let mut possible = self.possible(guards, exit);
        for leg in 0..guards.len() {
            let mut left = possible[leg].clone();
            loop {
                let weighted: Vec<(usize, u64)> =
                    left.iter().map(|middle| (*middle, self.relays.at(*middle).weight(Place::Middle))).collect();
                let middle = draw(&weighted, rng).expect("there was room before this leg");
                possible[leg] = vec![middle];
                if self.matched(&possible) == guards.len() {
                    break;
                }
                left.retain(|other| *other != middle);
            }
        }
        possible.into_iter().flatten().collect()
    }

    /// For each leg, the middles that suit its guard and the exit and are nowhere else on the tunnel.
    fn possible(&self, guards: &[usize], exit: usize) -> Vec<Vec<usize>> {
        let middles: Vec<usize> = self.free(guards, exit).collect();
        let of = |guard: &usize| middles.iter().copied().filter(|middle| self.suits(*guard, *middle)).collect();
        guards.iter().map(of).collect()
    }

    /// The middles that suit the exit and are nowhere else on the tunnel.
    fn free<'a>(&'a self, guards: &'a [usize], exit: usize) -> impl Iterator<Item = usize> + 'a {
        let apart = self.rules.keeps_middles_apart();
        let used: BTreeSet<NodeId> = self.used(true).filter(|_| apart).collect();
        self.relays.serving(Place::Middle).filter(move |middle| {
            let elsewhere = apart && (guards.contains(middle) || used.contains(&self.relays.at(*middle).node_id));
            *middle != exit && !elsewhere && !self.too_near(*middle, exit)
        })
    }

    fn suits(&self, guard: usize, middle: usize) -> bool {
        middle != guard && !self.too_near(guard, middle)
    }

    /// The most legs that can have a middle at once, each its own if they may not be shared.
    fn matched(&self, possible: &[Vec<usize>]) -> usize {
        if !self.rules.keeps_middles_apart() {
            return possible.iter().filter(|middles| !middles.is_empty()).count();
        }
        let mut holder = BTreeMap::new();
        (0..possible.len()).filter(|leg| place(*leg, possible, &mut holder, &mut BTreeSet::new())).count()
    }
}

/// Gives a leg a middle, moving legs that have one to others if need be (augmenting paths). The depth is at most the number of
/// legs.
fn place(leg: usize, possible: &[Vec<usize>], holder: &mut BTreeMap<usize, usize>, seen: &mut BTreeSet<usize>) -> bool {
    for middle in &possible[leg] {
        if seen.insert(*middle) {
            let other = holder.get(middle).copied();
            if other.is_none_or(|other| place(other, possible, holder, seen)) {
                holder.insert(*middle, leg);
                return true;
            }
        }
    }
    false
}
