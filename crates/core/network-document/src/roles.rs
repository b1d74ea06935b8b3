//! What a relay is there for.

use crate::error::Problem;
use std::fmt;

/// The places on a circuit that a relay may have; at least one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Roles {
    /// Next to the client: it answers strangers at its door.
    pub guard: bool,
    /// Between two relays.
    pub middle: bool,
    /// The last hop: it reaches what is outside of the network.
    pub exit: bool,
    /// The last hop of directory tunnels: it answers directory streams, and reaches nothing else unless it is an exit too.
    pub directory: bool,
}

impl Roles {
    const NAMES: [&'static str; 4] = ["guard", "middle", "exit", "directory"];
    /// What is wrong with other words.
    pub(crate) const RULE: &'static str = "one or more of `guard`, `middle`, `exit`, `directory`, in this order";

    /// Reads names with a blank between them.
    ///
    /// # Errors
    /// [`Problem::Value`] for another name, one twice, or none.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut has = [false; 4];
        for name in text.split(' ') {
            let place = Self::NAMES.iter().position(|known| *known == name);
            match place {
                Some(place) if !has[place] => has[place] = true,
                _ => return Err(Problem::Value { keyword: "roles", rule: Self::RULE }),
            }
        }
        let [guard, middle, exit, directory] = has;
        Ok(Self { guard, middle, exit, directory })
    }

    /// True when tunnels may end at it, to servers or to its directory.
    pub fn ends_tunnels(self) -> bool {
        self.exit || self.directory
    }

    /// True when there is none.
    pub(crate) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = [self.guard, self.middle, self.exit, self.directory];
        let names: Vec<&str> = Self::NAMES.iter().zip(has).filter_map(|(name, has)| has.then_some(*name)).collect();
        f.write_str(&names.join(" "))
    }
}
