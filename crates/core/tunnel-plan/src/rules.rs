//! What is asked of the paths of a tunnel.

use crate::relays::Place;
use std::fmt;
use thiserror::Error;

/// Hops of a path at most, as circuits have.
pub const HOPS_MAX: u8 = 3;
/// Legs of a tunnel at most, as `conflux` has them.
pub const LEGS_MAX: u8 = 8;

/// Numbers that no tunnel has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RulesError {
    /// Paths have 1 to [`HOPS_MAX`] hops.
    #[error("a path has 1 to {HOPS_MAX} hops, not {0}")]
    Hops(u8),
    /// Tunnels have 1 to [`LEGS_MAX`] legs.
    #[error("a tunnel has 1 to {LEGS_MAX} legs, not {0}")]
    Legs(u8),
    /// The only hop is where the tunnel ends, and legs share no first hop. [`PathRules::direct`] is for who has several ways there.
    #[error("{0} legs of one hop would all lead to the exit itself; use 2 or 3 hops, or one leg")]
    OneHop(u8),
}

/// Which rules a network that is too small may break, each with all before it. Legs never share a guard, no path has a relay
/// twice, and the exit is on it once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relaxation {
    /// None: relays of a path are of different operators and subnets, and no relay but the exit is on two legs.
    #[default]
    Nothing,
    /// Legs may have the same middle, and one leg's middle may be another one's guard. Such a relay sees two legs of a tunnel, and
    /// its failure ends both.
    SharedMiddles,
    /// Relays of a path may also be of one operator or subnet. Whoever runs a guard and the exit knows who talks to whom.
    SharedOperators,
}

/// What the last hop is there for. All rules that speak of exits hold for it, whatever it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// An exit, for flows to servers.
    #[default]
    Exit,
    /// A directory node, for directory streams and nothing else.
    Directory,
    /// An exit that is a directory node as well, for a tunnel that carries both.
    ExitAndDirectory,
    /// A relay at which circuits of two clients meet: an introduction or rendezvous point. Each leg has another one, so legs have no
    /// relay in common at all, and are chosen one by one.
    Meeting,
}

impl Target {
    /// The places that a relay must be able to have.
    pub(crate) fn places(self) -> &'static [Place] {
        match self {
            Self::Exit => &[Place::Exit],
            Self::Directory => &[Place::Directory],
            Self::ExitAndDirectory => &[Place::Exit, Place::Directory],
            Self::Meeting => &[Place::Middle],
        }
    }

    /// The place whose weights decide.
    pub fn place(self) -> Place {
        match self {
            Self::Exit | Self::ExitAndDirectory => Place::Exit,
            Self::Directory => Place::Directory,
            Self::Meeting => Place::Middle,
        }
    }

    /// Whether all legs of a tunnel end at one relay.
    pub(crate) fn is_shared(self) -> bool {
        self != Self::Meeting
    }
}

impl fmt::Display for Target {
    /// The roles, as a sentence has them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exit => "`exit`",
            Self::Directory => "`directory`",
            Self::ExitAndDirectory => "`exit` and `directory`",
            Self::Meeting => "`middle`",
        })
    }
}

/// How long paths are, how many, where they lead, and how strictly they are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PathRules {
    hops: u8,
    legs: u8,
    target: Target,
    relaxation: Relaxation,
}

impl PathRules {
    /// `legs` paths of `hops` hops to an exit, with nothing relaxed.
    ///
    /// # Errors
    /// When there is no such tunnel.
    pub fn new(hops: u8, legs: u8) -> Result<Self, RulesError> {
        if !(1..=HOPS_MAX).contains(&hops) {
            return Err(RulesError::Hops(hops));
        }
        if !(1..=LEGS_MAX).contains(&legs) {
            return Err(RulesError::Legs(legs));
        }
        if hops == 1 && legs > 1 {
            return Err(RulesError::OneHop(legs));
        }
        Ok(Self { hops, legs, target: Target::Exit, relaxation: Relaxation::Nothing })
    }

    /// `legs` paths of one hop. They have their only relay in common, so each has to take another way there: from another address of
    /// this machine, or to another one of the relay's ([`crate::Ways`]). Whoever chooses has to see to it.
    ///
    /// # Errors
    /// When there is no such tunnel.
    pub fn direct(legs: u8) -> Result<Self, RulesError> {
        if !(1..=LEGS_MAX).contains(&legs) {
            return Err(RulesError::Legs(legs));
        }
        Ok(Self { hops: 1, legs, target: Target::Exit, relaxation: Relaxation::Nothing })
    }

    /// Whether its legs differ only in the way to their one relay.
    pub fn has_only_ways(self) -> bool {
        self.hops == 1 && self.legs > 1
    }

    /// The same, leading elsewhere.
    #[must_use]
    pub fn to(self, target: Target) -> Self {
        Self { target, ..self }
    }

    /// The same with another number of legs.
    ///
    /// # Errors
    /// As [`PathRules::new`].
    pub fn with_legs(self, legs: u8) -> Result<Self, RulesError> {
        let checked = if self.hops == 1 { Self::direct(legs)? } else { Self::new(self.hops, legs)? };
        Ok(Self { legs: checked.legs, ..self })
    }

    /// The same with other rules relaxed.
    #[must_use]
    pub fn relaxed(self, relaxation: Relaxation) -> Self {
        Self { relaxation, ..self }
    }

    /// Hops of each path.
    pub fn hops(self) -> u8 {
        self.hops
    }

    /// Number of paths.
    pub fn legs(self) -> u8 {
        self.legs
    }

    /// What the last hop is for.
    pub fn target(self) -> Target {
        self.target
    }

    /// What is relaxed.
    pub fn relaxation(self) -> Relaxation {
        self.relaxation
    }

    pub(crate) fn keeps_middles_apart(self) -> bool {
        self.relaxation < Relaxation::SharedMiddles
    }

    pub(crate) fn keeps_operators_apart(self) -> bool {
        self.relaxation < Relaxation::SharedOperators
    }
}
