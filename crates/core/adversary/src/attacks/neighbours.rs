//! Two streams that a promise of differential privacy is about.

use std::time::Duration;

use super::trace::{Arrival, Trace, World};
use crate::sighting::Direction;

/// A stream without and with one client's bytes in some of its epochs. Everything else is the same in both, and nobody
/// reacts: the open loop for which the promise is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbours {
    /// Length of an epoch.
    pub epoch: Duration,
    /// Epochs of a session.
    pub epochs: u32,
    /// Those in which the client adds bytes, spread evenly over the session.
    pub differing: u32,
    /// The bytes that it adds in each of them: the quota Delta, or the attack is weaker than it could be.
    pub delta: u64,
    /// The bytes that all others have in every epoch; far above the noise, so that nothing is cut off at zero.
    pub others: u64,
}

impl World for Neighbours {
    fn classes(&self) -> u16 {
        2
    }

    fn trace(&self, class: u16, _session: u64) -> Trace {
        let differs = |epoch: u32| {
            u64::from(epoch) * u64::from(self.differing) % u64::from(self.epochs.max(1)) < u64::from(self.differing)
        };
        let arrival = |epoch: u32| {
            let bytes = self.others + if class == 1 && differs(epoch) { self.delta } else { 0 };
            Arrival { at: self.epoch * epoch, direction: Direction::Inward, bytes }
        };
        Trace { length: self.epoch * self.epochs, arrivals: (0..self.epochs).map(arrival).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_differ_in_so_many_epochs_by_delta() {
        for (epochs, differing) in [(16, 4), (16, 1), (10, 3), (10, 10), (5, 0)] {
            let world = Neighbours { epoch: Duration::from_secs(5), epochs, differing, delta: 7, others: 100 };
            let [without, with] = [0, 1].map(|class| world.trace(class, 3).arrivals);
            let added: Vec<u64> = with.iter().zip(&without).map(|(with, without)| with.bytes - without.bytes).collect();
            assert_eq!(added.len(), usize::try_from(epochs).expect("it is small"));
            assert_eq!(added.iter().filter(|it| **it == 7).count(), usize::try_from(differing).expect("it is small"));
            assert!(added.iter().all(|it| [0, 7].contains(it)));
        }
    }
}
