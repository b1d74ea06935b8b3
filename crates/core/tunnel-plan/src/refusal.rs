//! Why there are no paths, in words for whoever has to put it right.

use crate::rules::{Relaxation, Target};
use std::fmt;
use thiserror::Error;

/// Which rule cannot be kept, what there is, and what would be needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{cause}; {remedy}")]
pub struct Refusal {
    /// What is missing.
    pub cause: Cause,
    /// What helps.
    pub remedy: Remedy,
}

/// What is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Cause {
    /// An invitation is all that is known of the network.
    #[error("an invitation leads over one hop to its directory nodes and nowhere else, and there is no document yet")]
    OnlyContacts,
    /// No relay of the network is one to end at.
    #[error("a path needs a relay with the role {target}, and of the network's {relays} relays none has it")]
    NoExit {
        /// Where the path is to lead.
        target: Target,
        /// Relays of any role.
        relays: usize,
    },
    /// A path of one hop begins where it ends, so that has to answer clients.
    #[error(
        "a path of one hop needs a relay with the roles `guard` and {target}, and of the network's {exits} with the role \
         {target} none has both"
    )]
    NoDoor {
        /// Where the path is to lead.
        target: Target,
        /// Relays that it could end at.
        exits: usize,
    },
    /// The caller allows none of the relays to end at.
    #[error("1 exit that may be used is needed, and what was asked for allows 0 of the network's {exits}")]
    NoneAllowed {
        /// Exits that were asked about.
        exits: usize,
    },
    /// Legs of one hop, and not as many ways to one exit.
    #[error(
        "each leg of one hop takes another way to the exit, from another address of this machine or to another one of the exit's, \
         so {needed} ways to one exit are needed, and no exit that may be used has more than {found}"
    )]
    FewWays {
        /// The most that one exit has.
        found: usize,
        /// One for each leg.
        needed: usize,
    },
    /// The exit of the legs that are there is gone.
    #[error("a further leg leads to the tunnel's exit, which is no longer an exit of the network or not allowed")]
    ExitLeft,
    /// Fewer relays with the role `guard` than legs.
    #[error(
        "legs never share a guard, so {needed} relays with the role `guard` are needed, and the network has {found}"
    )]
    FewGuards {
        /// In the network.
        found: usize,
        /// One for each leg.
        needed: usize,
    },
    /// Too few of the client's own guards can be used now.
    #[error("legs never share a guard, so {needed} of this client's guards are needed, and {found} can be used now")]
    FewUsable {
        /// That can be used now and are not on other legs of the tunnel.
        found: usize,
        /// One for each new leg.
        needed: usize,
    },
    /// No exit is far enough from enough guards.
    #[error(
        "a guard is not the exit, nor of its operator or subnet, so {needed} guards apart from one exit are needed, and no \
         exit has more than {found} of this client's"
    )]
    GuardsNearExit {
        /// The most that one exit has.
        found: usize,
        /// One for each new leg.
        needed: usize,
    },
    /// Not enough middles.
    #[error(
        "{needed} middles are needed, of other operators and subnets than their guard and exit and each on one leg only, and \
         of the network's {relays} there is room for {found}"
    )]
    FewMiddles {
        /// The most legs of one tunnel that could have one.
        found: usize,
        /// One for each new leg.
        needed: usize,
        /// Relays with the role `middle`.
        relays: usize,
    },
}

/// What helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The network has to grow.
    Grow {
        /// Fewer legs need less.
        fewer_legs: bool,
        /// With this relaxed there would be paths.
        relax: Option<Relaxation>,
    },
    /// Guards that do not answer are tried again by themselves.
    Wait {
        /// Fewer legs need less.
        fewer_legs: bool,
    },
    /// A document has to be there first.
    Fetch,
    /// Something else has to be asked for.
    AskOther,
    /// There have to be more addresses at one of the ends.
    MoreWays,
    /// A new tunnel.
    NewTunnel,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grow { fewer_legs, relax } => {
                match relax {
                    Some(Relaxation::SharedMiddles) => f.write_str("allow legs to share middles, ")?,
                    Some(Relaxation::SharedOperators) => {
                        f.write_str(
                            "allow paths within one operator or subnet (its operator may then see both ends), ",
                        )?;
                    }
                    Some(Relaxation::Nothing) | None => {}
                }
                if *fewer_legs {
                    f.write_str("ask for fewer legs, ")?;
                }
                let or = if *fewer_legs || relax.is_some() { "or " } else { "" };
                write!(f, "{or}ask the network's operators for more relays")
            }
            Self::Wait { fewer_legs } => {
                let or = if *fewer_legs { ", or ask for fewer legs" } else { "" };
                write!(f, "check this machine's network and wait, they are tried again{or}")
            }
            Self::AskOther => {
                f.write_str("ask for another destination, or the operators for an exit that allows this one")
            }
            Self::MoreWays => f.write_str(
                "name further addresses or interfaces of this machine, of a family that the exit has an address of, ask the exit's \
                 operator to announce a further address, or ask for fewer legs",
            ),
            Self::Fetch => f.write_str("fetch one through a directory tunnel of one hop first"),
            Self::NewTunnel => f.write_str("build a new tunnel"),
        }
    }
}
