//! How often the best attacker is right.
//!
//! Two worlds, equally likely beforehand, that differ in what is protected. Whatever an attacker computes from
//! releases of total mu, it names the right world with a probability of at most Phi(mu/2): the two normal
//! distributions that define mu are best told apart at the middle between them (Dong, Roth and Su 2022, section 2).

use crate::accountant::normal::lower_tail;
use crate::accountant::{Accuracy, Mu};
use std::num::NonZeroU64;
use std::time::Duration;

/// Phi(mu/2), the best accuracy with which two equally likely worlds can be told apart: one half is guessing.
pub fn best_accuracy(mu: Mu) -> Accuracy {
    Accuracy::saturating(lower_tail(mu.value() / 2.0))
}

/// The best accuracy after different times, when what is protected differs in every epoch of that time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// After one epoch.
    pub epoch: Accuracy,
    /// After one hour.
    pub hour: Accuracy,
    /// After one day.
    pub day: Accuracy,
}

impl Outlook {
    /// For `clients` that differ together, where one client's difference in one epoch costs `per_epoch`, all
    /// directions and tunnels included. `epoch` is the length of an epoch; a zero length counts as a nanosecond.
    pub fn new(per_epoch: Mu, epoch: Duration, clients: NonZeroU64) -> Self {
        let group = per_epoch.of_group(clients.get());
        let during = |time: Duration| {
            let epochs = time.as_nanos().div_ceil(epoch.as_nanos().max(1));
            best_accuracy(group.repeat(u64::try_from(epochs).unwrap_or(u64::MAX)))
        };
        Self { epoch: best_accuracy(group), hour: during(HOUR), day: during(DAY) }
    }
}

/// 3,600 s.
const HOUR: Duration = Duration::from_secs(3_600);
/// 86,400 s.
const DAY: Duration = Duration::from_secs(86_400);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accountant::{Epsilon, FailureProbability, QuantityError, gaussian};

    fn one_window() -> Result<Mu, QuantityError> {
        Ok(gaussian::mu(Epsilon::new(1.0)?, FailureProbability::DEFAULT))
    }

    #[test]
    fn windows_of_five_seconds_at_epsilon_one() -> Result<(), QuantityError> {
        let mu = one_window()?;
        for (windows, accuracy) in [(1, "0.547"), (12, "0.659"), (60, "0.820"), (720, "0.999")] {
            assert_eq!(format!("{:.3}", best_accuracy(mu.repeat(windows)).value()), accuracy);
        }
        Ok(())
    }

    #[test]
    fn the_outlook_counts_epochs_and_clients() -> Result<(), QuantityError> {
        let (mu, epoch) = (one_window()?, Duration::from_secs(5));
        let one = Outlook::new(mu, epoch, NonZeroU64::MIN);
        assert_eq!(one.epoch, best_accuracy(mu));
        assert_eq!(one.hour, best_accuracy(mu.repeat(720)));
        assert_eq!(one.day, best_accuracy(mu.repeat(17_280)));
        // Three clients at once are as plain as one client for nine epochs.
        let three = Outlook::new(mu, epoch, NonZeroU64::MIN.saturating_add(2));
        assert!((three.epoch.value() - best_accuracy(mu.repeat(9)).value()).abs() < 1e-15);
        // A started epoch counts as a whole one.
        assert_eq!(Outlook::new(mu, Duration::from_secs(3_599), NonZeroU64::MIN).hour, best_accuracy(mu.repeat(2)));
        assert_eq!(Outlook::new(Mu::ZERO, Duration::ZERO, NonZeroU64::MIN).day, Accuracy::GUESSING);
        Ok(())
    }
}
