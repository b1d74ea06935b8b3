//! What an observer would notice about a configuration, for `check` to say.

use crate::causes::{INTERVAL_FLOOR, Timers};
use crate::memory::NO_REUSE;
use crate::ports::PortSet;
use crate::source::source_ports;
use std::fmt;
use std::time::Duration;

/// Fewer ports than this show as a handful of services that one client visits in turn.
const PORTS_MIN: u32 = 256;
/// Below this a budget is used up by a single page.
const BUDGET_MIN: u64 = 1_000_000;

/// A warning. None of them stops a hopper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// Few ports: the same ones come again within the time that networks remember.
    FewPorts {
        /// How many there are.
        ports: u32,
        /// Hops within ten minutes.
        hops: u32,
    },
    /// Hops by the clock below the floor.
    Fast {
        /// The shortest interval.
        shortest: Duration,
    },
    /// Every pair lives equally long.
    NoJitter,
    /// Little budget.
    SmallBudget {
        /// The least bytes of a pair.
        bytes: u64,
    },
    /// No room for source ports below the range.
    SourceAbove {
        /// The lowest port of the range.
        lowest: u16,
    },
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewPorts { ports, hops } => write!(
                f,
                "{ports} ports for about {hops} hops in ten minutes: an observer sees the same ports again while the \
                 network still remembers them; use a range of {PORTS_MIN} or more"
            ),
            Self::Fast { shortest } => write!(
                f,
                "hops every {shortest:?}: an observer sees short flows between two addresses follow each other without \
                 a pause; use 20s..40s"
            ),
            Self::NoJitter => {
                write!(f, "every pair lives equally long: an observer can read the clock; use 20s..40s")
            }
            Self::SmallBudget { bytes } => write!(
                f,
                "a pair may end after {bytes} bytes: an observer sees flows that end at one size, a new one for each \
                 page; use 64 MB or more"
            ),
            Self::SourceAbove { lowest } => write!(
                f,
                "the ports begin at {lowest}, and source ports do not fit below: filters that look at flows from a \
                 higher to a lower port see these; begin the range at 20000 or above"
            ),
        }
    }
}

/// Everything that an observer would notice about hops over `ports` by `timers`.
pub fn advice(ports: &PortSet, timers: Timers) -> Vec<Advice> {
    let interval = timers.interval();
    let mean = (interval.min() + interval.max()) / 2;
    let hops = u32::try_from(NO_REUSE.as_millis() / mean.as_millis().max(1)).unwrap_or(u32::MAX);
    let (shortest, bytes, lowest) = (interval.min(), timers.budget().min(), ports.lowest());
    let found = [
        (ports.len() < PORTS_MIN.max(hops.saturating_mul(4))).then_some(Advice::FewPorts { ports: ports.len(), hops }),
        (shortest < INTERVAL_FLOOR).then_some(Advice::Fast { shortest }),
        (interval.max() - shortest < shortest / 10).then_some(Advice::NoJitter),
        (bytes < BUDGET_MIN).then_some(Advice::SmallBudget { bytes }),
        source_ports(ports, lowest).is_none().then_some(Advice::SourceAbove { lowest }),
    ];
    found.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::causes::{ByteBudget, UnsafeTimers};

    fn told(ports: &str, interval: &str, budget: (u64, u64)) -> Vec<Advice> {
        let budget = ByteBudget::new(budget.0, budget.1).expect("in order");
        let interval = interval.parse().expect("an interval of the test");
        advice(&ports.parse().expect("ports of the test"), Timers::below_floor(interval, budget, UnsafeTimers))
    }

    #[test]
    fn the_defaults_need_no_advice() {
        assert_eq!(advice(&"20000-50000".parse().expect("ports"), Timers::default()), []);
    }

    #[test]
    fn each_weakness_is_named() {
        let good = (64_000_000, 256_000_000);
        assert_eq!(told("20000-20009", "20s..40s", good), [Advice::FewPorts { ports: 10, hops: 20 }]);
        let fast = Advice::Fast { shortest: Duration::from_secs(1) };
        assert_eq!(told("20000-50000", "1s..3s", good), [fast]);
        let few = Advice::FewPorts { ports: 301, hops: 300 };
        assert_eq!(told("20000-20300", "1s..3s", good), [few, fast], "hops and ports together");
        assert_eq!(told("20000-50000", "30s", good), [Advice::NoJitter]);
        assert_eq!(told("20000-50000", "20s..40s", (5_000, 9_000)), [Advice::SmallBudget { bytes: 5_000 }]);
        assert_eq!(told("443,20000-50000", "20s..40s", good), [Advice::SourceAbove { lowest: 443 }]);
    }

    #[test]
    fn advice_says_what_is_seen() {
        let texts = told("443", "1s", (5, 5)).into_iter().map(|advice| advice.to_string());
        assert!(texts.into_iter().all(|text| text.contains("see") || text.contains("observer")));
    }
}
