//! How often a relay is drawn: by its bandwidth, with a floor, a ceiling for its operator, and exits kept for the end of paths
//! while there are few.

use crate::relays::{Place, serves};
use network_document::Roles;
use rand_chacha::rand_core::Rng;
use std::collections::BTreeMap;

/// A relay counts as if it had at least this part of the mean bandwidth in its place: even the slowest one is drawn now and then,
/// so that being on a path says little about a relay.
const FLOOR_PARTS: u64 = 10;
/// No operator has more than one part in this many of a place, or than an equal part where there are fewer operators.
const OPERATOR_PARTS: u64 = 3;
/// What an exit keeps of its weight in the other places at least, in parts of 1000: a small network may have nothing else.
const EXIT_KEPT: u64 = 50;

/// What weights are made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rated {
    pub(crate) roles: Roles,
    pub(crate) operator: usize,
    pub(crate) bits_per_second: u64,
}

/// The weights of all relays in one place; 0 without the role, at least 1 with it.
pub(crate) fn weights(relays: &[Rated], place: Place) -> Vec<u64> {
    let kept = if place == Place::Exit { 1000 } else { exit_parts(relays) };
    let rated = relays.iter().map(|relay| match (serves(relay.roles, place), relay.roles.exit) {
        (false, _) => 0,
        (true, true) => relay.bits_per_second * kept / 1000,
        (true, false) => relay.bits_per_second,
    });
    let mut weights: Vec<u64> = rated.collect();
    let serving = relays.iter().filter(|relay| serves(relay.roles, place)).count() as u64;
    let floor = weights.iter().sum::<u64>().checked_div(serving * FLOOR_PARTS).unwrap_or(0).max(1);
    for (relay, weight) in relays.iter().zip(&mut weights) {
        let scarce = place != Place::Exit && relay.roles.exit;
        if serves(relay.roles, place) {
            *weight = (*weight).max(if scarce { 1 } else { floor });
        }
    }
    cap_operators(relays, &mut weights);
    weights
}

/// What an exit keeps of its weight elsewhere, in parts of 1000: with E of T bit/s at exits, 1 - T / 3E, so that each place
/// has a third of the bandwidth.
fn exit_parts(relays: &[Rated]) -> u64 {
    let all: u64 = relays.iter().map(|relay| relay.bits_per_second).sum();
    let exits: u64 = relays.iter().filter(|relay| relay.roles.exit).map(|relay| relay.bits_per_second).sum();
    let given_up = (all * 1000).checked_div(3 * exits).unwrap_or(1000);
    1000_u64.saturating_sub(given_up).max(EXIT_KEPT)
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
