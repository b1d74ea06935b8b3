//! From a world and a shaping to the accuracy of an attacker.

use super::accuracy::Accuracy;
use super::network::{Network, NetworkSize};
use super::series::WireSeries;
use super::trace::{Trace, World};
use crate::forest::{Forest, Growth};
use crate::table::{Coded, Table};

/// Sessions of a dataset; a larger one is refused.
pub const SESSIONS_MAX: usize = 100_000;
/// The share of each class's sessions that an attacker trains on, the first ones; the rest are its test.
pub const TRAINING_PER_CENT: u64 = 80;

/// The dataset cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatasetError {
    /// Something to tell apart has two classes at least.
    #[error("the world has {0} classes; an attack needs two")]
    Classes(u16),
    /// Each class needs a session to train on and one to test.
    #[error("each class has {0} sessions; an attack needs 5")]
    FewSessions(u64),
    /// More than [`SESSIONS_MAX`] in all.
    #[error("{0} sessions are more than {SESSIONS_MAX}")]
    ManySessions(u64),
}

/// What an attacker trains and is tested on: sessions of each class as the wire shows them.
#[derive(Clone, Debug)]
pub struct Dataset {
    classes: u16,
    /// Class, whether it is for training, and what was seen.
    sessions: Vec<(u16, bool, WireSeries)>,
}

impl Dataset {
    /// Plays `sessions` sessions of every class through a shaping: `observe` is given the trace and a number that no
    /// other session has, from which it draws its noise, and returns what is on the wire.
    ///
    /// # Errors
    /// If there are too few classes or sessions, or too many.
    pub fn collect(
        world: &dyn World,
        sessions: u64,
        mut observe: impl FnMut(&Trace, u64) -> WireSeries,
    ) -> Result<Self, DatasetError> {
        let classes = world.classes();
        let all = sessions.saturating_mul(u64::from(classes));
        if classes < 2 {
            return Err(DatasetError::Classes(classes));
        } else if sessions < 5 {
            return Err(DatasetError::FewSessions(sessions));
        } else if usize::try_from(all).map_or(true, |all| all > SESSIONS_MAX) {
            return Err(DatasetError::ManySessions(all));
        }
        let mut seen = Vec::new();
        for class in 0..classes {
            for session in 0..sessions {
                let number = u64::from(class) * sessions + session;
                let is_training = session * 100 < sessions * TRAINING_PER_CENT;
                seen.push((class, is_training, observe(&world.trace(class, session), number)));
            }
        }
        Ok(Self { classes, sessions: seen })
    }

    fn tested(&self) -> impl Iterator<Item = (usize, u16)> {
        let numbered = self.sessions.iter().enumerate();
        numbered.filter(|(_, (_, is_training, _))| !is_training).map(|(place, (class, ..))| (place, *class))
    }

    /// Both directions of all sessions in parts, with the mean and the scatter of the training taken out of each
    /// direction.
    fn scaled(&self, parts: usize) -> Vec<Vec<f32>> {
        let mut sessions: Vec<Vec<f32>> = self.sessions.iter().map(|(_, _, series)| series.in_parts(parts)).collect();
        for direction in 0..2 {
            let one_way = direction * parts..(direction + 1) * parts;
            let trained = sessions.iter().zip(&self.sessions).filter(|(_, (_, is_training, _))| *is_training);
            let values: Vec<f64> =
                trained.flat_map(|(it, _)| it[one_way.clone()].iter().map(|&value| f64::from(value))).collect();
            let count = values.len().max(1) as f64;
            let mean = values.iter().sum::<f64>() / count;
            let scatter = (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count).sqrt();
            // Where nothing varies, nothing is to be learnt.
            let scale = if scatter > 0.0 { 1.0 / scatter } else { 0.0 };
            for session in &mut sessions {
                session[one_way.clone()].iter_mut().for_each(|it| *it = ((f64::from(*it) - mean) * scale) as f32);
            }
        }
        sessions
    }
}

/// Who guesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attacker {
    /// A random forest of so many trees on features in the manner of k-fingerprinting.
    Forest {
        /// Trees, at least 1.
        trees: u16,
    },
    /// A convolutional network on the series themselves.
    Network(NetworkSize),
}

impl Attacker {
    /// Trains on the training sessions and guesses the others. The seed decides everything that is drawn.
    pub fn attack(&self, dataset: &Dataset, seed: u64) -> Accuracy {
        let right = match self {
            Self::Forest { trees } => with_forest(dataset, *trees, seed),
            Self::Network(size) => with_network(dataset, size, seed),
        };
        Accuracy { right, guesses: dataset.tested().count() as u64, classes: dataset.classes }
    }
}

fn with_forest(dataset: &Dataset, trees: u16, seed: u64) -> u64 {
    let mut table = Table::default();
    for (_, _, series) in &dataset.sessions {
        let pushed = table.push(&series.features());
        debug_assert!(pushed.is_ok(), "all series have the same finite features, and there are not too many");
    }
    let classes: Vec<u16> = dataset.sessions.iter().map(|(class, ..)| *class).collect();
    let training: Vec<usize> = (0..classes.len()).filter(|&session| dataset.sessions[session].1).collect();
    let growth = Growth { trees, depth_max: 24, leaf_min: 1 };
    let table = Coded::new(&table);
    let forest = Forest::grow(&table, &classes, usize::from(dataset.classes), &training, growth, seed);
    let guess = |session| {
        let shares = forest.shares(&table, session);
        (0..shares.len()).max_by(|left, right| shares[*left].total_cmp(&shares[*right])).unwrap_or(0)
    };
    dataset.tested().filter(|&(session, class)| guess(session) == usize::from(class)).count() as u64
}

fn with_network(dataset: &Dataset, size: &NetworkSize, seed: u64) -> u64 {
    let sessions = dataset.scaled(size.rounded_parts());
    let of = |wanted: bool| dataset.sessions.iter().zip(&sessions).filter(move |((_, it, _), _)| *it == wanted);
    let (classes, training): (Vec<u16>, Vec<Vec<f32>>) =
        of(true).map(|((class, ..), series)| (*class, series.clone())).unzip();
    let mut network = Network::new(size, usize::from(dataset.classes), seed);
    network.train(&training, &classes, size, seed);
    of(false).filter(|((class, ..), series)| network.guess(series) == usize::from(*class)).count() as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::attacks::trace::Pages;

    #[test]
    fn worlds_that_cannot_be_attacked_are_refused() {
        let pages = |count| Pages { count, length: Duration::from_secs(1), seed: 1 };
        let collect = |count, sessions| {
            let observe = |trace: &Trace, _| WireSeries::unshaped(trace, Duration::from_millis(100));
            Dataset::collect(&pages(count), sessions, observe).map(|dataset| dataset.tested().count())
        };
        assert_eq!(collect(1, 10), Err(DatasetError::Classes(1)));
        assert_eq!(collect(2, 4), Err(DatasetError::FewSessions(4)));
        assert_eq!(collect(1_000, 101), Err(DatasetError::ManySessions(101_000)));
        assert_eq!(collect(2, 5), Ok(2));
        assert_eq!(collect(2, 10), Ok(4));
    }

    #[test]
    fn sessions_have_numbers_of_their_own() {
        let mut numbers = Vec::new();
        let pages = Pages { count: 3, length: Duration::from_secs(1), seed: 1 };
        let dataset = Dataset::collect(&pages, 5, |_, number| {
            numbers.push(number);
            WireSeries::new(vec![number; 3], vec![])
        });
        assert!(dataset.is_ok());
        assert_eq!(numbers, (0..15).collect::<Vec<u64>>());
    }
}
