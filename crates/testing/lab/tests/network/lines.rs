//! Lines: delay, rate, queue, seeded loss and throttle in each direction for itself.

use std::time::Duration;

use anyhow::{Context, ensure};
use lab::network::{FlowThrottle, Host, HostPlan, LinePlan, Network, Way};
use lab::udp_load::{Arrived, Load, Sent};
use simnet::{Loss, Path, Seed};

use super::{HEADERS, Outcome, PORT, TENTH, both_families, ensure_near, flow, four_flows, within_three};

const MILLISECOND: Duration = Duration::from_millis(1);

pub(super) fn network(plan: LinePlan) -> anyhow::Result<Network> {
    Network::start(&[HostPlan::line("client", plan), HostPlan::cable("server")])
}

/// A load in each direction, one after the other: up, then down.
fn both_ways(network: &Network, load: Load) -> anyhow::Result<[(Sent, Arrived); 2]> {
    let (client, server) = (network.host("client")?, network.host("server")?);
    let run = |from: &Host, to: &Host| flow(from, (to, both_families(to, PORT)[0]), load);
    Ok([run(client, server)?, run(server, client)?])
}

#[test]
fn each_direction_has_its_own_delay() -> Outcome {
    within_three(|| {
        let plan = LinePlan::new(Path::with_delay(40 * MILLISECOND), Path::with_delay(10 * MILLISECOND));
        let network = network(plan)?;
        let flows = four_flows(network.host("client")?, network.host("server")?, Load::new(1_000_000, 3 * TENTH))?;
        for ((sent, arrived), delay_ms) in flows.iter().zip([40, 40, 10, 10]) {
            ensure!((arrived.packets, arrived.overtaken) == (sent.packets, 0), "nothing is lost");
            let (least, median) = arrived.delay(0.0).zip(arrived.delay(0.5)).context("packets came")?;
            let delay = delay_ms * MILLISECOND;
            ensure!(least >= delay && median < delay + 5 * MILLISECOND, "{least:?} {median:?}");
        }
        Ok(())
    })
}

#[test]
fn each_direction_has_its_own_rate_and_queue() -> Outcome {
    within_three(|| {
        // A queue of 25 ms at 4 Mbit/s, and no limit down.
        let up = Path::default().with_rate(4_000_000, 12_500);
        let network = network(LinePlan::new(up, Path::default()))?;
        let [(sent, up), (all, down)] = both_ways(&network, Load::new(8_000_000, 6 * TENTH))?;
        ensure_near("up", up.goodput.bits_per_second(TENTH, 6 * TENTH), 4e6 * 1200.0 / 1228.0, 0.12)?;
        ensure!(down.packets == all.packets, "nothing is lost down");
        let line = network.host("client")?.line().context("the client is at a line")?;
        let counters = line.counters(Way::Up);
        ensure!(counters.queue_full == sent.packets - up.packets, "{counters:?}");
        ensure!(counters.forwarded == up.packets && line.counters(Way::Down).queue_full == 0, "{counters:?}");
        let delay = up.delay(0.5).context("packets came")?;
        ensure!(delay > 15 * MILLISECOND && delay < 35 * MILLISECOND, "the queue is full: {delay:?}");
        Ok(())
    })
}

#[test]
fn losses_are_repeated_by_their_seed() -> Outcome {
    let lost = |seed| -> anyhow::Result<u64> {
        let plan = LinePlan {
            seed: Seed::new(seed),
            ..LinePlan::symmetric(Path::default().with_loss(Loss::Independent(0.05)))
        };
        let [(sent, up), (_, down)] = both_ways(&network(plan)?, Load::new(16_000_000, 3 * TENTH))?;
        // About 25 of 500 packets a direction; the seed is fixed, so it is always the same ones.
        ensure!(up.missing > 0 && down.missing > 0 && up.share_lost(sent) < 0.1, "{up:?} {down:?}");
        Ok((up.packets << 32) + down.packets)
    };
    // A sink that stands still for too long loses others.
    within_three(|| {
        let (first, second) = (lost(7)?, lost(7)?);
        ensure!(first == second, "{first:x} and {second:x}");
        Ok(())
    })
}

#[test]
fn flows_are_throttled_by_time_and_by_bytes() -> Outcome {
    within_three(|| {
        let network = network(LinePlan::symmetric(Path::with_delay(MILLISECOND)))?;
        let line = network.host("client")?.line().context("the client is at a line")?;
        line.set_throttle(Way::Up, Some(FlowThrottle::after_time(5 * TENTH, 1_000_000)));
        line.set_throttle(Way::Down, Some(FlowThrottle::after_bytes(500_000, 1_000_000)));
        let flows = four_flows(network.host("client")?, network.host("server")?, Load::new(8_000_000, 13 * TENTH))?;
        for (family, (sent, arrived)) in [0, 1, 0, 1].into_iter().zip(&flows) {
            ensure_near("before", arrived.goodput.bits_per_second(TENTH, 4 * TENTH), 8e6, 0.2)?;
            let after = arrived.goodput.bits_per_second(7 * TENTH, 13 * TENTH);
            ensure_near("after", after, 1e6 * 1200.0 / (1200.0 + HEADERS[family]), 0.35)?;
            ensure!(arrived.share_lost(*sent) > 0.3, "hardly anything was lost");
        }
        Ok(())
    })
}

#[test]
fn a_line_can_be_cut_and_mended() -> Outcome {
    within_three(|| {
        let network = network(LinePlan::symmetric(Path::default()))?;
        let line = network.host("client")?.line().context("the client is at a line")?;
        let arrived =
            || Ok::<_, anyhow::Error>(both_ways(&network, Load::new(1_000_000, TENTH))?.map(|(_, it)| it.packets));
        line.set_path(Way::Down, Path { is_cut: true, ..Path::default() });
        let cut = arrived()?;
        line.set_path(Way::Down, Path::default());
        let mended = arrived()?;
        ensure!((cut, mended) == ([10, 0], [10, 10]), "{cut:?} {mended:?}");
        ensure!(line.counters(Way::Down).refused == 10, "{:?}", line.counters(Way::Down));
        Ok(())
    })
}
