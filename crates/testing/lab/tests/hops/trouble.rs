//! Ports that are blocked, and what a hundred hops lose.

use std::time::Duration;

use anyhow::{Context, ensure};
use lab::network::{Network, Rule};
use lab::udp_load::Load;

use super::{Family, Hopping, Hops, Outcome, SECOND, echo, line, within_three};

pub(super) const ROUND_TRIP: Duration = Duration::from_millis(20);

#[test]
fn hops_lose_nothing_and_hold_nothing_up() -> Outcome {
    within_three(|| {
        let network = line(ROUND_TRIP, None)?;
        for keyed in [true, false] {
            let hops = Hops::start(&network, Family::V4, Hopping::every(keyed, "300ms..600ms"))?;
            let echoes = echo::run(&network, &hops, Family::V4, Load::new(5_000_000, 2 * SECOND), || Ok(()))?;
            let counted = hops.end()?;
            ensure!(counted.hops() >= 3 && echoes.lost() == 0, "{keyed}: {echoes:?} {counted:?}");
            ensure!(echoes.most < 3 * ROUND_TRIP + Duration::from_millis(50), "{keyed}: {echoes:?}");
        }
        Ok(())
    })
}

#[test]
fn a_blocked_next_port_holds_nothing_up_with_a_key() -> Outcome {
    within_three(|| {
        let network = line(ROUND_TRIP, None)?;
        let hops = Hops::start(&network, Family::V4, Hopping::every(true, "500ms"))?;
        let block = || network.set_rules(&[Rule::BlockPorts(first_ports(&hops)?)]);
        let echoes = echo::run(&network, &hops, Family::V4, Load::new(5_000_000, 3 * SECOND), block)?;
        ensure!(blocked(&network)? > 0, "a blocked port was tried");
        let counted = hops.end()?;
        ensure!(counted.hops() >= 2, "{counted:?}");
        // What was on its way to the port that was in use when it was blocked is lost, and nothing later.
        ensure!(echoes.gap < 2 * SECOND, "{echoes:?} {counted:?}");
        Ok(())
    })
}

#[test]
fn a_blocked_next_port_is_gone_back_from_without_a_key() -> Outcome {
    within_three(|| {
        let network = line(ROUND_TRIP, None)?;
        // Half of the range.
        network.set_rules(&[Rule::BlockPorts(vec![20_500..=20_999])])?;
        let hops = Hops::start(&network, Family::V4, Hopping::every(false, "600ms"))?;
        let echoes = echo::run(&network, &hops, Family::V4, Load::new(5_000_000, 6 * SECOND), || Ok(()))?;
        ensure!(blocked(&network)? > 0, "a blocked port was tried");
        let counted = hops.end()?;
        ensure!(echoes.gap < 3 * ROUND_TRIP + Duration::from_millis(100), "{echoes:?} {counted:?}");
        ensure!(echoes.lost() * 5 < echoes.sent, "{echoes:?} {counted:?}");
        Ok(())
    })
}

/// Of the two ports of each window, the one that is tried first.
pub(super) fn first_ports(hops: &Hops) -> anyhow::Result<Vec<std::ops::RangeInclusive<u16>>> {
    let plan: serde_json::Value = serde_json::from_str(&hops.plan(&["--json", "--windows", "20"])?)?;
    let windows = plan["windows"].as_array().context("a plan has windows")?;
    let first = |window: &serde_json::Value| {
        let port =
            window["ports"][0].as_u64().and_then(|port| u16::try_from(port).ok()).context("a window has ports")?;
        Ok(port..=port)
    };
    windows.iter().map(first).collect()
}

/// Packets that the only rule has dropped.
pub(super) fn blocked(network: &Network) -> anyhow::Result<u64> {
    Ok(network.dropped()?.first().context("there is a rule")?.packets)
}
