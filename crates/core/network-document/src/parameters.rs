//! What everybody in a network does alike, beside the packet size: which rates, edges, ports and legs there are.

use crate::error::{DocumentError, Problem};
use crate::lines::{Lines, number};
use port_hopping::ports::{PortRange, PortSet};
use shaping::RateClass;

/// Rate classes that a network may name: all of them.
pub const RATE_CLASSES_MAX: usize = 53;
/// Ranges of the network's hop ports at most; more are refused.
pub const PARAMETER_RANGES_MAX: usize = 32;
/// Legs of a tunnel at most that a network may allow.
pub const LEGS_MAX: u8 = 8;

/// What stands in each edition for all who go by it. Operators change it; it takes effect with the next edition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// The classes that shaped links may have, ascending; at least one.
    pub rate_classes: Vec<RateClass>,
    /// Edges of `dp`, and of steps down, in milliseconds: 100 to 3,600,000.
    pub epoch_ms: u32,
    /// Edges of `stepped`, and of steps up, in milliseconds: 100 to 86,400,000, a multiple of `epoch_ms`.
    pub step_ms: u32,
    /// The ports that relays may hop to.
    pub hop_ports: PortSet,
    /// Legs of a tunnel at most: 1 to [`LEGS_MAX`].
    pub legs: u8,
}

impl Default for Parameters {
    /// Four classes between 256 kbit/s and 50 Mbit/s, epochs of 5 s, steps of 300 s, the upper half of the ports, two legs.
    fn default() -> Self {
        let classes = [256_000, 2_000_000, 10_000_000, 50_000_000];
        let range = PortRange::new(32_768, 60_999).unwrap_or(PortRange::ALL);
        Self {
            rate_classes: classes.into_iter().filter_map(|rate| RateClass::at_least(rate).ok()).collect(),
            epoch_ms: 5_000,
            step_ms: 300_000,
            hop_ports: PortSet::from(range),
            legs: 2,
        }
    }
}

impl Parameters {
    /// The lines, as they stand in charters, headers and orders.
    pub fn text(&self) -> String {
        let classes: Vec<String> = self.rate_classes.iter().map(|class| class.number().to_string()).collect();
        format!(
            "rate-classes {}\nepoch-ms {}\nstep-ms {}\nnetwork-ports {}\nlegs {}\n",
            classes.join(","),
            self.epoch_ms,
            self.step_ms,
            self.hop_ports,
            self.legs
        )
    }

    /// Reads such lines.
    ///
    /// # Errors
    /// When they are not exactly as [`Parameters::text`] writes them, or a value is out of its range.
    pub fn parse(bytes: &[u8]) -> Result<Self, DocumentError> {
        let mut lines = Lines::new(bytes)?;
        let parameters = Self::read(&mut lines)?;
        lines.finish()?;
        lines.check_form(0, &parameters.text())?;
        Ok(parameters)
    }

    pub(crate) fn read(lines: &mut Lines<'_>) -> Result<Self, DocumentError> {
        let classes = lines.take("rate-classes")?;
        let rate_classes = read_classes(classes).map_err(|problem| lines.here(problem))?;
        let epoch_ms = read_ms(lines, "epoch-ms")?;
        let step_ms = read_ms(lines, "step-ms")?;
        let ports = lines.take("network-ports")?;
        let hop_ports = ports.parse::<PortSet>().map_err(|_| {
            let rule = "ports and ranges from 1 to 65535, such as 40000-49999,50001";
            lines.here(Problem::Value { keyword: "network-ports", rule })
        })?;
        let legs = lines.take("legs")?;
        let legs = number("legs", legs).ok().and_then(|legs| u8::try_from(legs).ok());
        let legs = legs.ok_or_else(|| lines.here(LEGS_RULE))?;
        let parameters = Self { rate_classes, epoch_ms, step_ms, hop_ports, legs };
        parameters.check().map_err(|problem| lines.here(problem))?;
        Ok(parameters)
    }

    /// What a text cannot hold, or may not.
    ///
    /// # Errors
    /// [`Problem::Value`] and [`Problem::TooMany`].
    pub fn check(&self) -> Result<(), Problem> {
        let ascending = self.rate_classes.windows(2).all(|pair| pair[0] < pair[1]);
        if self.rate_classes.is_empty() || !ascending {
            return Err(CLASSES_RULE);
        }
        if !(100..=3_600_000).contains(&self.epoch_ms) {
            return Err(Problem::Value { keyword: "epoch-ms", rule: "100 to 3600000" });
        }
        if !(100..=86_400_000).contains(&self.step_ms) || !self.step_ms.is_multiple_of(self.epoch_ms) {
            return Err(Problem::Value { keyword: "step-ms", rule: "a multiple of `epoch-ms`, at most 86400000" });
        }
        if self.hop_ports.ranges().len() > PARAMETER_RANGES_MAX {
            return Err(Problem::TooMany { keyword: "network-ports", max: PARAMETER_RANGES_MAX });
        }
        if (1..=LEGS_MAX).contains(&self.legs) { Ok(()) } else { Err(LEGS_RULE) }
    }
}

const LEGS_RULE: Problem = Problem::Value { keyword: "legs", rule: "1 to 8" };
const CLASSES_RULE: Problem = Problem::Value {
    keyword: "rate-classes",
    rule: "numbers of rate classes, 0 to 52, ascending, with commas between",
};

fn read_classes(text: &str) -> Result<Vec<RateClass>, Problem> {
    let mut classes = Vec::new();
    for piece in text.split(',') {
        let class = piece.parse::<u8>().ok().and_then(|class| RateClass::new(class).ok());
        if classes.len() >= RATE_CLASSES_MAX {
            return Err(CLASSES_RULE);
        }
        classes.push(class.ok_or(CLASSES_RULE)?);
    }
    Ok(classes)
}

fn read_ms(lines: &mut Lines<'_>, keyword: &'static str) -> Result<u32, DocumentError> {
    let value = lines.take(keyword)?;
    let ms = number(keyword, value).ok().and_then(|ms| u32::try_from(ms).ok());
    ms.ok_or_else(|| lines.here(Problem::Value { keyword, rule: "a number of milliseconds" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_survive_a_round_trip_and_are_sensible() {
        let good = Parameters::default();
        assert_eq!(Parameters::parse(good.text().as_bytes()), Ok(good.clone()));
        let changes = [
            ("rate-classes 0,", "rate-classes 50,"),
            ("rate-classes 0,", "rate-classes 0,0,"),
            ("rate-classes 0,", "rate-classes ,"),
            ("epoch-ms 5000", "epoch-ms 7000"),
            ("epoch-ms 5000", "epoch-ms 5"),
            ("step-ms 300000", "step-ms 0"),
            ("legs 2", "legs 9"),
            ("legs 2", "legs 02"),
            ("32768-60999", "32768-60998,60999"),
        ];
        for (old, new) in changes {
            let text = good.text().replace(old, new);
            assert!(text != good.text() && Parameters::parse(text.as_bytes()).is_err(), "{new}");
        }
    }
}
