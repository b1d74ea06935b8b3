//! What a relay is there for.

use crate::error::Problem;
use std::fmt;

/// The places on a circuit that a relay may have; at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Next to the client: it answers strangers at its door.
    pub guard: bool,
    /// Between two relays.
    pub middle: bool,
    /// The last hop: it reaches what is outside of the network.
    pub exit: bool,
}

impl Roles {
    const NAMES: [&'static str; 3] = ["guard", "middle", "exit"];

    /// Reads names with a blank between them.
    ///
    /// # Errors
    /// [`Problem::Value`] for another name, one twice, or none.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let mut has = [false; 3];
        for name in text.split(' ') {
            let place = Self::NAMES.iter().position(|known| *known == name);
            match place {
                Some(place) if !has[place] => has[place] = true,
                _ => {
                    let rule = "one or more of `guard`, `middle`, `exit`, in this order";
                    return Err(Problem::Value { keyword: "roles", rule });
                }
            }
        }
        let [guard, middle, exit] = has;
        Ok(Self { guard, middle, exit })
    }

    /// True when there is none.
    pub(crate) fn is_empty(self) -> bool {
        !(self.guard || self.middle || self.exit)
    }
}

impl fmt::Display for Roles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has = [self.guard, self.middle, self.exit];
        let names: Vec<&str> = Self::NAMES.iter().zip(has).filter_map(|(name, has)| has.then_some(*name)).collect();
        f.write_str(&names.join(" "))
    }
}
