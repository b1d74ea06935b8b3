//! How large a network is, and whether that is enough.

use thiserror::Error;
use tunnel_plan::{PathRules, RulesError};

/// Relays of a network on one machine at most. Each is a process; more are refused.
pub const RELAYS_MAX: usize = 64;

/// A network and the tunnel that an entry keeps over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Relays, the exit among them.
    pub relays: usize,
    /// Relays of a leg, the exit among them: 1 to 3.
    pub hops: u8,
    /// Legs of a tunnel: 1 to 8, and 1 where the exit is the only hop.
    pub legs: u8,
}

/// Why there is no such network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ShapeError {
    /// No tunnel has so many hops and legs.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// The legs would have to share relays.
    #[error(
        "{relays} relays are too few for {legs} legs of {hops} hops that share only the exit: it takes {least} at least"
    )]
    Few {
        /// How many were asked for.
        relays: usize,
        /// The legs.
        legs: u8,
        /// Their hops.
        hops: u8,
        /// How many it takes.
        least: usize,
    },
    /// More than [`RELAYS_MAX`].
    #[error("{0} relays are too many for one machine: {RELAYS_MAX} at most")]
    Many(usize),
}

impl Shape {
    /// The least number of relays for such a tunnel: the exit, and for each leg a guard and a middle of its own. With one more, a
    /// relay that fails can be replaced.
    pub fn least(self) -> usize {
        1 + usize::from(self.legs) * usize::from(self.hops.saturating_sub(1))
    }

    /// The rules of the tunnel's paths.
    ///
    /// # Errors
    /// When there is no such tunnel, or the network is too small or too large.
    pub fn rules(self) -> Result<PathRules, ShapeError> {
        let rules = PathRules::new(self.hops, self.legs)?;
        let Self { relays, hops, legs } = self;
        if relays < self.least() {
            return Err(ShapeError::Few { relays, legs, hops, least: self.least() });
        }
        if relays > RELAYS_MAX {
            return Err(ShapeError::Many(relays));
        }
        Ok(rules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_the_least_number() {
        let shape = Shape { relays: 4, hops: 3, legs: 2 };
        let refused = shape.rules().expect_err("two guards, two middles and an exit are five");
        assert_eq!(
            refused.to_string(),
            "4 relays are too few for 2 legs of 3 hops that share only the exit: it takes 5 at least"
        );
        assert!(Shape { relays: 5, ..shape }.rules().is_ok());
        assert_eq!(Shape { relays: 65, ..shape }.rules(), Err(ShapeError::Many(65)));
        let one_hop = Shape { relays: 9, hops: 1, legs: 2 };
        assert_eq!(one_hop.rules(), Err(ShapeError::Rules(RulesError::OneHop(2))));
        assert_eq!(Shape { legs: 1, ..one_hop }.least(), 1);
    }
}
