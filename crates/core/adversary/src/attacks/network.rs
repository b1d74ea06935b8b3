//! A small convolutional network: two layers that see neighbourhoods of both directions' series, each followed by
//! pooling, and two dense ones. It is trained by Adam on the cross entropy of its guesses. A seed decides everything.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::layers::{Convolution, Dense, POOLED, pool, pool_backward};

/// Neighbours that a filter sees.
const WIDTH: usize = 7;
/// Series of a session: both directions.
const CHANNELS: usize = 2;

/// Size of a network and how long it is trained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkSize {
    /// Parts that a session is divided into, a multiple of 16; others are rounded up.
    pub parts: usize,
    /// Filters of the first and the second layer.
    pub filters: [usize; 2],
    /// Neurons of the dense layer in the middle.
    pub hidden: usize,
    /// How often every session of the training is shown.
    pub rounds: usize,
    /// Sessions whose slopes are added up before a step.
    pub batch: usize,
}

impl NetworkSize {
    /// The parts of a session that the network really takes.
    pub(super) fn rounded_parts(&self) -> usize {
        self.parts.max(1).next_multiple_of(POOLED * POOLED)
    }
}

/// A network, trained or not.
#[derive(Clone, Debug)]
pub(super) struct Network {
    near: Convolution,
    far: Convolution,
    middle: Dense,
    last: Dense,
    filters: [usize; 2],
}

/// What the layers put out for one session, kept for the way back.
struct Passed {
    near: Vec<f32>,
    near_pooled: Vec<f32>,
    far: Vec<f32>,
    far_pooled: Vec<f32>,
    middle: Vec<f32>,
    /// The chances of the classes.
    chances: Vec<f32>,
}

impl Network {
    pub(super) fn new(size: &NetworkSize, classes: usize, seed: u64) -> Self {
        let generator = &mut ChaCha8Rng::seed_from_u64(seed);
        let filters = size.filters.map(|filters| filters.max(1));
        let flat = size.rounded_parts() / (POOLED * POOLED) * filters[1];
        Self {
            near: Convolution::new(CHANNELS, filters[0], WIDTH, generator),
            far: Convolution::new(filters[0], filters[1], WIDTH, generator),
            middle: Dense::new(flat, size.hidden.max(1), generator),
            last: Dense::new(size.hidden.max(1), classes, generator),
            filters,
        }
    }

    /// Shows all sessions again and again, each time in another order. `sessions` holds both series of each, one after
    /// the other.
    pub(super) fn train(&mut self, sessions: &[Vec<f32>], classes: &[u16], size: &NetworkSize, seed: u64) {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let mut order: Vec<usize> = (0..sessions.len()).collect();
        for _ in 0..size.rounds {
            order.shuffle(&mut generator);
            for batch in order.chunks(size.batch.max(1)) {
                for &session in batch {
                    self.add_slopes(&sessions[session], usize::from(classes[session]));
                }
                self.learn(batch.len());
            }
        }
    }

    /// The class that the network takes a session for.
    pub(super) fn guess(&self, session: &[f32]) -> usize {
        let chances = self.forward(session).chances;
        (0..chances.len()).max_by(|left, right| chances[*left].total_cmp(&chances[*right])).unwrap_or(0)
    }

    fn forward(&self, session: &[f32]) -> Passed {
        let near = self.near.forward(session);
        let near_pooled = pool(&near, self.filters[0]);
        let far = self.far.forward(&near_pooled);
        let far_pooled = pool(&far, self.filters[1]);
        let mut middle = self.middle.forward(&far_pooled);
        middle.iter_mut().for_each(|value| *value = value.max(0.0));
        let mut chances = self.last.forward(&middle);
        let largest = chances.iter().copied().fold(f32::MIN, f32::max);
        chances.iter_mut().for_each(|value| *value = (*value - largest).exp());
        let sum: f32 = chances.iter().sum();
        chances.iter_mut().for_each(|value| *value /= sum);
        Passed { near, near_pooled, far, far_pooled, middle, chances }
    }

    /// Adds the slopes of one session's cross entropy to those of the batch.
    fn add_slopes(&mut self, session: &[f32], class: usize) {
        let passed = self.forward(session);
        let mut slopes = passed.chances;
        slopes[class] -= 1.0;
        let mut slopes = self.last.backward(&passed.middle, &slopes);
        slopes.iter_mut().zip(&passed.middle).filter(|(_, value)| **value <= 0.0).for_each(|(slope, _)| *slope = 0.0);
        let slopes = self.middle.backward(&passed.far_pooled, &slopes);
        let slopes = pool_backward(&passed.far, self.filters[1], &slopes);
        let slopes = self.far.backward(&passed.near_pooled, &slopes);
        let slopes = pool_backward(&passed.near, self.filters[0], &slopes);
        self.near.backward(session, &slopes);
    }

    fn learn(&mut self, batch: usize) {
        for weights in [&mut self.near.weights, &mut self.far.weights, &mut self.middle.weights, &mut self.last.weights]
        {
            weights.learn(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    const SIZE: NetworkSize = NetworkSize { parts: 32, filters: [4, 6], hidden: 12, rounds: 30, batch: 8 };

    /// A pulse somewhere in one direction, wide or narrow by class.
    fn sessions(seed: u64, count: usize) -> (Vec<Vec<f32>>, Vec<u16>) {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        let classes: Vec<u16> = (0..count).map(|index| (index % 3) as u16).collect();
        let session = |class: &u16| {
            let mut session: Vec<f32> = (0..64).map(|_| generator.random_range(-0.2..0.2)).collect();
            let from = generator.random_range(0..20);
            session[from..from + 2 + 4 * usize::from(*class)].iter_mut().for_each(|value| *value += 1.0);
            session
        };
        (classes.iter().map(session).collect(), classes)
    }

    #[test]
    fn pulses_anywhere_are_told_by_their_widths() {
        let (training, classes) = sessions(1, 150);
        let mut network = Network::new(&SIZE, 3, 1);
        network.train(&training, &classes, &SIZE, 1);
        let (tests, classes) = sessions(2, 90);
        let right = tests.iter().zip(&classes).filter(|(it, class)| network.guess(it) == usize::from(**class)).count();
        assert!(right >= 80, "{right} of 90");
    }

    /// Every slope against the difference that a small step makes.
    #[test]
    fn slopes_are_those_of_the_loss() {
        let (sessions, _) = sessions(3, 3);
        let mut network = Network::new(&SIZE, 3, 3);
        let loss = |network: &Network| -network.forward(&sessions[1]).chances[2].ln();
        network.add_slopes(&sessions[1], 2);
        let weights: [fn(&mut Network) -> &mut super::super::layers::Weights; 4] = [
            |network| &mut network.near.weights,
            |network| &mut network.far.weights,
            |network| &mut network.middle.weights,
            |network| &mut network.last.weights,
        ];
        for of_layer in weights {
            for place in (0..of_layer(&mut network).values.len()).step_by(7) {
                let slope = of_layer(&mut network).slopes[place];
                let mut moved = [network.clone(), network.clone()];
                of_layer(&mut moved[0]).values[place] -= 1e-3;
                of_layer(&mut moved[1]).values[place] += 1e-3;
                let measured = (loss(&moved[1]) - loss(&moved[0])) / 2e-3;
                assert!((measured - slope).abs() < 0.02 + 0.05 * slope.abs(), "{place}: {measured} {slope}");
            }
        }
    }

    #[test]
    fn a_seed_replays_a_training() {
        let (training, classes) = sessions(4, 12);
        let trained = |seed| {
            let mut network = Network::new(&SIZE, 3, seed);
            network.train(&training, &classes, &NetworkSize { rounds: 2, ..SIZE }, seed);
            network.last.weights.values
        };
        assert_eq!(trained(5), trained(5));
        assert_ne!(trained(5), trained(6));
    }

    #[test]
    fn odd_sizes_are_rounded() {
        let size = NetworkSize { parts: 0, filters: [0, 0], hidden: 0, rounds: 1, batch: 0 };
        assert_eq!(size.rounded_parts(), 16);
        let mut network = Network::new(&size, 2, 1);
        network.train(&[vec![0.5; 32]], &[1], &size, 1);
        assert!(network.guess(&[0.5; 32]) < 2);
    }
}
