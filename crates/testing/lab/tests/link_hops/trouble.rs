//! Ports that are blocked, and what hops lose.

use std::ops::RangeInclusive;
use std::time::Duration;

use anyhow::{Context, ensure};
use lab::attempts::within_three;
use lab::network::{Family, Network, Rule};

use super::Outcome;
use super::capture::{Capture, Step, steps};
use super::rig::{Echoed, Hopping, Linked, NEAR, PORTS, SECOND, constant, line};

/// What a blocked port may cost: three round trips and so much.
pub(super) const MORE: Duration = Duration::from_millis(50);

/// What came of an echo through a link, some of whose ports may be blocked.
#[derive(Debug)]
pub(super) struct Blocked {
    pub(super) echoed: Echoed,
    pub(super) steps: Vec<Step>,
    /// Packets that the provider dropped.
    pub(super) dropped: u64,
}

impl Blocked {
    /// The longest step with so many candidates.
    pub(super) fn longest(&self, candidates: usize) -> Option<Duration> {
        let steps = self.steps.iter().filter(|step| step.candidates == candidates);
        steps.map(|step| step.moved - step.asked).max()
    }

    /// Fails if a step took longer than what its blocked ports may cost.
    pub(super) fn check(&self, round_trip: Duration) -> Outcome {
        for step in &self.steps {
            let blocked = u32::try_from(step.candidates - 1)?.max(1);
            ensure!(step.moved - step.asked <= (3 * round_trip + MORE) * blocked, "{step:?} in {self:?}");
        }
        Ok(())
    }
}

/// Two ports of five, or none: the first candidate of a step is dead in 40 % of cases, and all three in 6 %. Those steps are
/// tried again five seconds later.
pub(super) fn ports_to_block(blocks: bool) -> RangeInclusive<u16> {
    let (first, last) = PORTS;
    if blocks { first..=first + (last - first) / 5 * 2 } else { 9..=9 }
}

/// An echo through a link that hops, some of whose ports may be blocked.
pub(super) fn through_blocked(network: &Network, blocks: bool, lasting: Duration) -> anyhow::Result<Blocked> {
    // From the start, so that no pair in use is among them: what is measured are the hops.
    network.set_rules(&[Rule::BlockPorts(vec![ports_to_block(blocks)])])?;
    let link = Linked::start(network, Family::V4, constant(), Hopping::every("500ms..600ms"))?;
    let capture = Capture::start(link.entry)?;
    let echoed = link.echo(lasting)?;
    let steps = steps(&capture.end()?);
    let dropped = network.dropped()?.first().context("there is a rule")?.packets;
    Ok(Blocked { echoed, steps, dropped })
}

#[test]
fn blocked_next_ports_hold_nothing_up() -> Outcome {
    let _turn = crate::take_turn();
    within_three(|| {
        let network = line(NEAR, None)?;
        let blocked = through_blocked(&network, true, 4 * SECOND)?;
        ensure!(blocked.steps.len() >= 2 && blocked.dropped > 0, "{blocked:?}");
        blocked.check(NEAR)?;
        ensure!(blocked.echoed.stall < 5 * NEAR, "{blocked:?}");
        Ok(())
    })
}
