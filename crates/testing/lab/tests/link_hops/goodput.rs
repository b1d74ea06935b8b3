//! What hops cost a flow, and what they save it from.

use anyhow::ensure;
use lab::attempts::within_three;
use lab::network::{Family, FlowThrottle};
use lab::pair::Role;

use super::Outcome;
use super::rig::{Hopping, Linked, MEGABIT, NEAR, SECOND, constant, line, off};

pub(super) const SLOW: u64 = 1_000_000;
/// Most sockets of a link at either end.
pub(super) const SOCKETS_MAX: usize = 8;

#[test]
fn a_flow_notices_no_hop_and_a_link_has_few_sockets() -> Outcome {
    let _turn = crate::take_turn();
    within_three(|| {
        let network = line(NEAR, None)?;
        // The long run compares with no hop; here, what the schedule gives, and what a stock QUIC download has.
        for (mode, family, full) in [(constant(), Family::V4, 37.0), (off(), Family::V6, 42.0)] {
            let link = Linked::start(&network, family, mode.clone(), Hopping::every("400ms..500ms"))?;
            let (downloaded, sockets) = link.counting_sockets(Role::Entry, || link.download(3 * SECOND))?;
            let (rate, hops) = (downloaded.rate(SECOND) / MEGABIT, link.hop_count()?);
            ensure!(hops >= 4, "{mode:?}: {hops} hops\n{}", link.pair.logs());
            ensure!(rate > 0.9 * full, "{mode:?}: {rate:.2} Mbit/s");
            ensure!(sockets > 2 && sockets <= SOCKETS_MAX, "{mode:?}: {sockets} sockets");
            // Without a schedule, BBR holds its breath for 200 ms when it measures the path.
            let (stall, most) = (downloaded.goodput.longest_stall(), 5 * NEAR);
            ensure!(stall < most || mode == off(), "{mode:?}: {stall:?}");
        }
        Ok(())
    })
}

#[test]
fn hops_before_the_limit_outrun_a_throttle() -> Outcome {
    let _turn = crate::take_turn();
    within_three(|| {
        let network = line(NEAR, Some(FlowThrottle::after_bytes(5_000_000, SLOW)))?;
        let run = |hopping, seconds| {
            let link = Linked::start(&network, Family::V4, constant(), hopping)?;
            let downloaded = link.download(seconds * SECOND)?;
            anyhow::Ok((downloaded.rate((seconds - 1) * SECOND) / MEGABIT, link.hop_count()?))
        };
        let (hopping, staying) = (run(Hopping::each("5 MB..7 MB"), 4)?, run(Hopping::never(), 3)?);
        ensure!(hopping.0 > 33.0 && staying.0 < 5.0, "Mbit/s and hops: {hopping:.1?} {staying:.1?}");
        Ok(())
    })
}
