//! How often a relay is drawn: by its bandwidth, with a floor, a ceiling for its operator, and relays kept for the places that few
//! others can have: exits for the end of paths, guards for their beginning.

use crate::relays::{Place, serves};
use network_document::Roles;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeMap;

/// A relay counts as if it had at least this part of the mean bandwidth in its place: even the slowest one is drawn now and then,
/// so that being on a path says little about a relay.
const FLOOR_PARTS: u64 = 10;
/// No operator has more than one part in this many of a place, or than an equal part where there are fewer operators.
const OPERATOR_PARTS: u64 = 3;
/// What an exit or a guard keeps of its weight in other places at least, in parts of 1000: a small network may have nothing else.
const KEPT_MIN: u64 = 50;

/// What weights are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rated {
    pub(crate) roles: Roles,
    pub(crate) operator: usize,
    pub(crate) bits_per_second: u64,
}

/// The weights of all relays in one place; 0 without the role, at least 1 with it.
pub(crate) fn weights(relays: &[Rated], place: Place) -> Vec<u64> {
    let kept = Kept::of(relays);
    let rated = relays.iter().map(|relay| if serves(relay.roles, place) { kept.weight(relay, place) } else { 0 });
    let mut weights: Vec<u64> = rated.collect();
    let serving = relays.iter().filter(|relay| serves(relay.roles, place)).count() as u64;
    let floor = weights.iter().sum::<u64>().checked_div(serving * FLOOR_PARTS).unwrap_or(0).max(1);
    for (relay, weight) in relays.iter().zip(&mut weights) {
        let scarce = (place != Place::Exit && relay.roles.exit) || (place == Place::Middle && relay.roles.guard);
        if serves(relay.roles, place) {
            *weight = (*weight).max(if scarce { 1 } else { floor });
        }
    }
    cap_operators(relays, &mut weights);
    weights
}

/// What relays keep of their weight in places that others can have, in parts of 1000.
struct Kept {
    exits: u64,
    guards: u64,
}

impl Kept {
    /// With E of T bit/s at exits these keep 1 - T / 3E elsewhere, so that each place has a third of the bandwidth. Guards keep 1 - N / 2G
    /// as middles, of the N that is left for both places and the G of it at guards, so that each has half of it. Else guards would
    /// carry both places alone where some relays are no guards.
    fn of(relays: &[Rated]) -> Self {
        let sum = |bits: &dyn Fn(&Rated) -> u64| relays.iter().map(bits).sum::<u64>();
        let all = sum(&|relay| relay.bits_per_second);
        let exits = kept(all, 3 * sum(&|relay| if relay.roles.exit { relay.bits_per_second } else { 0 }));
        let left =
            |relay: &Rated| if relay.roles.exit { part(relay.bits_per_second, exits) } else { relay.bits_per_second };
        let inner = sum(&|relay| if relay.roles.guard || relay.roles.middle { left(relay) } else { 0 });
        let guards = kept(inner, 2 * sum(&|relay| if relay.roles.guard { left(relay) } else { 0 }));
        Self { exits, guards }
    }

    fn weight(&self, relay: &Rated, place: Place) -> u64 {
        let (as_exit, as_guard) =
            (place != Place::Exit && relay.roles.exit, place == Place::Middle && relay.roles.guard);
        let bits = if as_exit { part(relay.bits_per_second, self.exits) } else { relay.bits_per_second };
        if as_guard { part(bits, self.guards) } else { bits }
    }
}

/// 1 - `wanted` / `there`, in parts of 1000.
fn kept(wanted: u64, there: u64) -> u64 {
    let given_up = (wanted * 1000).checked_div(there).unwrap_or(1000);
    1000_u64.saturating_sub(given_up).max(KEPT_MIN)
}

fn part(bits: u64, parts: u64) -> u64 {
    bits * parts / 1000
}

/// Lowers the weights of the largest operators to their part of what is then left.
fn cap_operators(relays: &[Rated], weights: &mut [u64]) {
    let mut sums: BTreeMap<usize, u64> = BTreeMap::new();
    for (relay, weight) in relays.iter().zip(weights.iter()).filter(|(_, weight)| **weight > 0) {
        *sums.entry(relay.operator).or_default() += weight;
    }
    let parts = OPERATOR_PARTS.min(sums.len() as u64);
    let mut largest: Vec<(u64, usize)> = sums.iter().map(|(operator, sum)| (*sum, *operator)).collect();
    largest.sort_unstable_by(|one, other| other.cmp(one));
    let mut rest: u64 = sums.values().sum();
    // With `lowered` operators at one part each, the others have the `parts - lowered` other ones.
    for lowered in 1..parts {
        rest -= largest[lowered as usize - 1].0;
        let part = rest / (parts - lowered);
        if largest.get(lowered as usize).is_none_or(|(next, _)| *next <= part) {
            lower(relays, weights, &sums, part);
            return;
        }
    }
}

/// Scales every operator that has more than `part` down to it.
fn lower(relays: &[Rated], weights: &mut [u64], sums: &BTreeMap<usize, u64>, part: u64) {
    for (relay, weight) in relays.iter().zip(weights).filter(|(_, weight)| **weight > 0) {
        let sum = sums[&relay.operator];
        if sum > part {
            let scaled = u128::from(*weight) * u128::from(part) / u128::from(sum);
            *weight = u64::try_from(scaled).expect("smaller than the weight").max(1);
        }
    }
}

/// Draws one of `candidates` with the probability that its weight has among them; `None` when there is none of weight.
pub(crate) fn draw(candidates: &[(usize, u64)], rng: &mut impl Rng) -> Option<usize> {
    let total: u64 = candidates.iter().map(|(_, weight)| weight).sum();
    // Below `total`, with a bias of at most total / 2^64.
    let mut ticket = u64::try_from((u128::from(rng.next_u64()) * u128::from(total)) >> 64).expect("below `total`");
    for (candidate, weight) in candidates {
        match ticket.checked_sub(*weight) {
            Some(left) => ticket = left,
            None => return Some(*candidate),
        }
    }
    None
}

#[cfg(test)]
mod tests;
