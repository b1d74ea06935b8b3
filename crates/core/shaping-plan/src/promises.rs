//! The three promises of mode `dp`, side by side, for a plan. docs/privacy.md has the theorems.

use crate::directions::Directions;
use crate::error::PlanError;
use crate::mechanism::{DirectionPlan, DpPlan};
use crate::request::Checked;
use shaping::accountant::{Accuracy, Bits, Composition, Epsilon, FailureProbability, Mu, capacity};
use shaping_sim::Answers;
use shaping_sim::closed_loop::{EXPERIMENT_CLIENTS_MAX, Experiment};
use std::num::NonZeroU64;

/// Application bytes in a cell, for the amount of work of an experiment.
const CELL: f64 = 1_192.0;
/// Most clients of an experiment: more take too long, and the influence of one grows with their number only slowly.
const REACTING_CLIENTS_MAX: u32 = 256;

/// (a): what one client, or several together, lose over some epochs, both directions together, nobody reacting.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Horizon {
    /// Epochs in which they differ.
    pub epochs: u64,
    /// sqrt(mu_up^2 + mu_down^2) sqrt(epochs) clients.
    pub mu: Mu,
    /// At the request's delta, exact for continuous noise.
    pub epsilon: Epsilon,
    /// Certified for discrete noise of any scale.
    pub certified: Epsilon,
    /// Phi(mu/2): how often the best attacker says right which of two ways it was.
    pub accuracy: Accuracy,
}

impl Horizon {
    fn new(epochs: u64, all: Composition, delta: FailureProbability) -> Self {
        Self {
            epochs,
            mu: all.mu(),
            epsilon: all.epsilon(delta),
            certified: all.certified_epsilon(delta),
            accuracy: all.best_accuracy(),
        }
    }
}

/// (b): how far one client's Delta in one epoch moves everybody's counts when applications react. Measured, not proven.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reacting {
    /// L2 norm of the difference of all counts in Delta, mean of the experiments.
    pub factor: f64,
    /// The least and the most of them.
    pub range: [f64; 2],
    /// Epochs watched; the factor grows with about the root of their number.
    pub epochs: u32,
    /// Clients of the experiment beside the one that differs.
    pub clients: u32,
    /// Bytes that leave for every 100 that come.
    pub service_per_cent: u32,
    /// Experiments.
    pub seeds: u32,
    /// Epsilon of one release down whose mu is that much larger.
    pub epsilon: Epsilon,
    /// Phi(factor mu/2).
    pub accuracy: Accuracy,
}

/// (c): bits that releases of both directions carry at most, about anything, whatever reacts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Capacity {
    /// C of each direction in bytes.
    pub range_bytes: Directions<u64>,
    /// Epochs.
    pub epochs: u64,
    /// Maximal leakage, n log2(1 + C / (sigma sqrt(2 pi))), directions added.
    pub leakage: Bits,
    /// Mutual information, n/2 log2(1 + (C / 2 sigma)^2), directions added.
    pub information: Bits,
}

/// All three.
#[derive(Debug, Clone, PartialEq)]
pub struct Promises {
    /// One client, one release down alone: the epsilon of the request.
    pub one_release: Horizon,
    /// One client: an epoch, an hour, a day.
    pub one_client: [Horizon; 3],
    /// All clients together: an epoch, an hour, a day.
    pub all_clients: [Horizon; 3],
    /// With reaction.
    pub reacting: Reacting,
    /// An epoch, an hour, a day, with C = Delta times clients: holds while no more of them are there.
    pub by_quotas: [Capacity; 3],
    /// The same with C as the node clips it, at what the ceiling carries: holds always.
    pub by_ceiling: [Capacity; 3],
}

impl Promises {
    pub(crate) fn new(checked: &Checked, dp: &DpPlan) -> Result<Self, PlanError> {
        let each = dp.directions.map(|direction| direction.cost());
        let epoch = Composition::NOTHING.with(each.up, 1).with(each.down, 1);
        let epoch_s = u64::from(checked.epoch_s);
        let epochs = [1, 3_600_u64.div_ceil(epoch_s), 86_400_u64.div_ceil(epoch_s)];
        let horizon = |clients: u64| {
            epochs.map(|epochs| {
                let all = Composition::NOTHING.with(epoch.spent(), epochs).for_clients(clients);
                Horizon::new(epochs, all, dp.delta)
            })
        };
        Ok(Self {
            one_release: Horizon::new(1, Composition::of(each.down), dp.delta),
            one_client: horizon(1),
            all_clients: horizon(checked.request.clients.into()),
            reacting: reacting(checked, dp)?,
            by_quotas: epochs.map(|epochs| capacity_of(dp.directions, epochs, |direction| direction.quotas_bytes)),
            by_ceiling: epochs
                .map(|epochs| capacity_of(dp.directions, epochs, |direction| direction.settings.count_cap_bytes)),
        })
    }
}

fn capacity_of(directions: Directions<DirectionPlan>, epochs: u64, range: impl Fn(&DirectionPlan) -> u64) -> Capacity {
    let bits = |of: fn(u64, NonZeroU64, u64) -> Bits| {
        let one = |direction: &DirectionPlan| {
            // A sigma is a positive number.
            let sigma = NonZeroU64::new(direction.settings.sigma.bytes()).unwrap_or(NonZeroU64::MIN);
            of(range(direction), sigma, epochs)
        };
        one(&directions.up).plus(one(&directions.down))
    };
    Capacity {
        range_bytes: directions.map(|direction| range(&direction)),
        epochs,
        leakage: bits(capacity::maximal_leakage),
        information: bits(capacity::mutual_information),
    }
}

fn reacting(checked: &Checked, dp: &DpPlan) -> Result<Reacting, PlanError> {
    let request = &checked.request;
    let clients = request.clients.min(REACTING_CLIENTS_MAX).min(EXPERIMENT_CLIENTS_MAX);
    let crowd = request.traffic.crowd(request.epoch);
    let answers: Answers = crowd.answers;
    let requests = f64::from(clients) * request.epoch.as_secs_f64() / request.traffic.interval().as_secs_f64();
    let service_per_cent = dp.service_per_cent.clamp(101, 10_000);
    let cells = answers.mean_bytes() * requests / CELL * f64::from(service_per_cent) / 100.0;
    let experiment = Experiment {
        clients,
        epochs: request.effort.closed_loop_epochs(cells),
        load_per_cent: service_per_cent,
        delta_bytes: request.delta_bytes.down,
        ..Experiment::video(clients)
    };
    let seeds = request.effort.closed_loop_seeds.max(1);
    let mut norms = Vec::new();
    for seed in 0..u64::from(seeds) {
        norms.push(experiment.run_with(&crowd, request.seed.wrapping_add(seed))?.l2_in_delta);
    }
    let factor = norms.iter().sum::<f64>() / f64::from(seeds);
    let range = [norms.iter().copied().fold(f64::INFINITY, f64::min), norms.iter().copied().fold(0.0, f64::max)];
    let (epsilon, accuracy) = moved(dp.directions.down.mu, factor, dp.delta);
    let epochs = experiment.epochs;
    Ok(Reacting { factor, range, epochs, clients, service_per_cent, seeds, epsilon, accuracy })
}

fn moved(mu: Mu, factor: f64, delta: FailureProbability) -> (Epsilon, Accuracy) {
    let moved = Mu::new(mu.value() * factor).unwrap_or(Mu::MAX);
    (shaping::accountant::gaussian::epsilon(moved, delta), shaping::accountant::attacker::best_accuracy(moved))
}
