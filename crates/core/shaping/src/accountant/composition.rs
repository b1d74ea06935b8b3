//! Many releases as one.

use crate::accountant::attacker::best_accuracy;
use crate::accountant::{Accuracy, Epsilon, FailureProbability, Mu, MuSquared, discrete, gaussian, netshaper};

/// Everything that concerns one secret: releases of any number of epochs, directions and tunnels.
///
/// Costs add up under *adaptive* composition: each release's sensitivity holds given the releases before it, and its
/// noise is independent of them. Nothing wraps: what does not fit stays at [`MuSquared::MAX`], above every budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Composition {
    spent: MuSquared,
}

impl Composition {
    /// No release.
    pub const NOTHING: Self = Self { spent: MuSquared::ZERO };

    /// What has been spent so far, such as a total of the ledger.
    pub const fn of(spent: MuSquared) -> Self {
        Self { spent }
    }

    /// With `count` further releases that cost `each`: epochs, another direction, another tunnel.
    #[must_use]
    pub fn with(self, each: MuSquared, count: u64) -> Self {
        let all = each.checked_mul(count).unwrap_or(MuSquared::MAX);
        Self { spent: self.spent.saturating_add(all) }
    }

    /// The same releases for `clients` that differ at once: mu times their number, mu^2 times its square.
    #[must_use]
    pub fn for_clients(self, clients: u64) -> Self {
        let once = self.spent.checked_mul(clients);
        Self { spent: once.and_then(|spent| spent.checked_mul(clients)).unwrap_or(MuSquared::MAX) }
    }

    /// The exact sum.
    pub fn spent(self) -> MuSquared {
        self.spent
    }

    /// The total mu, rounded up.
    pub fn mu(self) -> Mu {
        self.spent.to_mu()
    }

    /// The tight epsilon: [`gaussian::epsilon`].
    pub fn epsilon(self, delta: FailureProbability) -> Epsilon {
        gaussian::epsilon(self.mu(), delta)
    }

    /// The epsilon that also holds for discrete noise of any sigma: [`discrete::epsilon`].
    pub fn certified_epsilon(self, delta: FailureProbability) -> Epsilon {
        discrete::epsilon(self.mu(), delta)
    }

    /// What NetShaper's accountant says: [`netshaper::epsilon`].
    pub fn netshaper_epsilon(self, delta: FailureProbability) -> Epsilon {
        netshaper::epsilon(self.mu(), delta)
    }

    /// How often the best attacker is right: [`best_accuracy`].
    pub fn best_accuracy(self) -> Accuracy {
        best_accuracy(self.mu())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accountant::RatioError;
    use proptest::prelude::*;

    #[test]
    fn directions_tunnels_and_clients_add_up_exactly() -> Result<(), RatioError> {
        let down = MuSquared::from_ratio(2_500_000, 10_561_698)?;
        let up = MuSquared::from_ratio(256_000, 1_081_518)?;
        let all = Composition::NOTHING.with(down, 720).with(up, 720).with(down, 1);
        assert_eq!(all.spent().raw(), 721 * down.raw() + 720 * up.raw());
        assert_eq!(all.for_clients(7).spent().raw(), 49 * all.spent().raw());
        assert_eq!(Composition::of(all.spent()).with(down, 0), all);
        Ok(())
    }

    #[test]
    fn too_much_stays_above_every_budget() {
        let most = Composition::of(MuSquared::MAX);
        assert_eq!(most.with(MuSquared::from_raw(1), 1), most);
        assert_eq!(Composition::NOTHING.with(MuSquared::from_raw(1 << 127), u64::MAX), most);
        assert_eq!(Composition::of(MuSquared::from_raw(1 << 100)).for_clients(u64::MAX), most);
    }

    proptest! {
        /// The integers agree with sqrt(mu_a^2 + mu_b^2), and never say less.
        #[test]
        fn integers_agree_with_floats(a in any::<u64>(), b in any::<u64>(), count in 1_u64..100_000, clients in 1_u64..1_000) {
            let (a, b) = (MuSquared::from_raw(a.into()), MuSquared::from_raw(b.into()));
            let exact = Composition::NOTHING.with(a, count).with(b, 1).for_clients(clients).mu().value();
            let float = a.to_mu().repeat(count).compose(b.to_mu()).of_group(clients).value();
            prop_assert!((exact - float).abs() <= 1e-14 * float, "{exact} {float}");
        }
    }
}
