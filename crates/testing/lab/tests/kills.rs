//! kill -9 of every process, and the loss of the link's network, under load: what dies comes back, its flows end
//! with an error, nobody gets a byte that is not his, and nothing is left behind.
//!
//! `cargo xtask long kills` sets `HUSHWIRE_KILLS=100`: that many kills in each mode, at the stated limits. Without it
//! there are fewer, at limits that a busy machine keeps too.

#[path = "kills/census.rs"]
mod census;
#[path = "kills/rig.rs"]
mod rig;
#[path = "kills/traffic.rs"]
mod traffic;

use std::time::{Duration, Instant};

use lab::pair::{Mode, PairConfig, Role};
use lab::recording::Limits;
use lab::relay::RelayConfig;
use simnet::Path;

use self::rig::{Outcome, Rig, Scale, say, wait_until};
use self::traffic::{End, Flow, Size};

/// The killed processes, in turn.
const VICTIMS: [(Role, &str); 4] = [
    (Role::Entry, "unshaped-server"),
    (Role::Entry, "shaped-client"),
    (Role::Exit, "shaped-server"),
    (Role::Exit, "unshaped-client"),
];

/// Outages beyond the time-out in each mode of a long run.
const LONG_OUTAGES: usize = 8;

/// A process that lived so long is started again without a longer wait than after its first death.
const STEADY_AFTER: Duration = Duration::from_secs(10);

#[test]
fn every_process_comes_back_at_a_constant_rate() -> Outcome {
    let _turn = rig::take_turn();
    let scale = Scale::from_environment(8);
    let config = PairConfig::new(Mode::constant("20 Mbit/s")).with_relay(relay());
    kill_in_turn(Rig::start(config)?, &scale)
}

#[test]
fn every_process_comes_back_without_a_schedule() -> Outcome {
    let _turn = rig::take_turn();
    let scale = Scale::from_environment(4);
    kill_in_turn(Rig::start(PairConfig::new(Mode::Off { congestion: "bbr" }))?, &scale)
}

fn kill_in_turn(mut rig: Rig, scale: &Scale) -> Outcome {
    let before = rig.take_census()?;
    let mut was_back = [None::<Instant>; VICTIMS.len()];
    let mut back: Vec<Vec<Duration>> = vec![Vec::new(); VICTIMS.len()];
    for kill in 0..scale.kills {
        let victim = kill % VICTIMS.len();
        let (role, name) = VICTIMS[victim];
        // Traffic goes on meanwhile.
        let rest = was_back[victim].map(|at| (at + STEADY_AFTER).saturating_duration_since(Instant::now()));
        std::thread::sleep(rest.unwrap_or_default());
        back[victim].push(rig.kill_under_load(role, name, scale)?);
        was_back[victim] = Some(Instant::now());
        rig.expect_census(&before, &format!("kill {kill}, of {name}"))?;
    }
    for ((_, name), times) in VICTIMS.iter().zip(&mut back) {
        times.sort_unstable();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        say(&format!("{name}: {} kills, back after {median:.2?} (median), {worst:.2?} (most)", times.len()));
    }
    rig.end()
}

#[test]
fn an_outage_of_five_seconds_loses_no_flow() -> Outcome {
    let _turn = rig::take_turn();
    let slow = Path::default().with_rate(40_000_000, 400_000);
    for (mode, relay) in
        [(Mode::constant("20 Mbit/s"), relay()), (Mode::Off { congestion: "bbr" }, relay().with_paths(slow))]
    {
        let rig = Rig::start(PairConfig::new(mode.clone()).with_relay(relay))?;
        let sizes =
            [Size { up: 10, down: 6_000_000 }, Size { up: 10, down: 6_000_000 }, Size { up: 6_000_000, down: 10 }];
        let flows: Vec<Flow> = sizes.iter().map(|size| rig.flow(*size)).collect();
        wait_until("all flows move bytes", || flows.iter().all(|flow| flow.moved() > 300_000))?;
        rig.cut(true);
        // What is on its way still arrives.
        std::thread::sleep(Duration::from_secs(1));
        let begun_in_the_dark = rig.flow(Size { up: 1_000, down: 50_000 });
        let still = || flows.iter().map(|flow| flow.moved()).collect::<Vec<_>>();
        let before = still();
        std::thread::sleep(Duration::from_secs(4));
        anyhow::ensure!(flows.iter().all(|flow| !flow.has_ended()), "a flow ended during the outage");
        let moved_in_the_dark = still().iter().zip(&before).skip(2).map(|(now, then)| now - then).sum::<u64>();
        anyhow::ensure!(moved_in_the_dark < 4_000_000, "the network was not cut: {moved_in_the_dark} bytes");
        let downloaded = flows[0].moved();
        rig.cut(false);
        let mended = Instant::now();
        wait_until("bytes after the outage", || flows[0].moved() > downloaded)?;
        say(&format!("{mode:?}: first bytes {:.0?} after an outage of 5 s", mended.elapsed()));
        for flow in flows.into_iter().chain([begun_in_the_dark]) {
            let ended = flow.join()?;
            anyhow::ensure!(ended.end == End::Complete, "{mode:?}: a flow was lost: {ended:?}");
        }
        rig.expect_origin_complete()?;
        rig.end()?;
    }
    Ok(())
}

#[test]
fn an_outage_beyond_the_timeout_ends_the_flows() -> Outcome {
    let _turn = rig::take_turn();
    let scale = Scale::from_environment(1);
    for mode in [Mode::constant("20 Mbit/s"), Mode::Off { congestion: "bbr" }] {
        let config = PairConfig { session_timeout_s: 3, ..PairConfig::new(mode.clone()).with_relay(relay()) };
        let rig = Rig::start(config)?;
        let mut back = Vec::new();
        for outage in 0..scale.kills.clamp(1, LONG_OUTAGES) {
            let flows = rig.bulk_flows()?;
            rig.cut(true);
            let cut = Instant::now();
            // The session's own time-out is a little longer: the last packet may be a keep-alive interval old.
            rig.expect_ends(flows, cut, Duration::from_secs(3 + 4) + scale.slack)?;
            // The network comes back at another point of the nodes' waits each time.
            std::thread::sleep(Duration::from_millis(2_000 + 1_700 * outage as u64));
            rig.cut(false);
            back.push(rig.first_request_after(Instant::now(), Duration::from_secs(60))?);
        }
        say(&format!("{mode:?}: flows work {back:.2?} after the network's return"));
        let worst = back.iter().max().copied().unwrap_or_default();
        anyhow::ensure!(
            worst <= scale.back_within(),
            "{mode:?}: flows worked only {worst:?} after the network's return"
        );
        rig.end()?;
    }
    Ok(())
}

#[test]
fn processes_end_with_their_supervisor_and_the_node_starts_again() -> Outcome {
    let _turn = rig::take_turn();
    let scale = Scale::from_environment(2);
    let config =
        PairConfig { session_timeout_s: 3, ..PairConfig::new(Mode::constant("20 Mbit/s")).with_relay(relay()) };
    let mut rig = Rig::start(config)?;
    for role in [Role::Entry, Role::Exit] {
        let flows = rig.bulk_flows()?;
        let killed = rig.kill_supervisor(role)?;
        rig.expect_ends(flows, killed, Duration::from_secs(8) + scale.slack)?;
        rig.start_again(role)?;
        let back = rig.first_request_after(Instant::now(), Duration::from_secs(20))?;
        say(&format!("{}: flows work {back:.2?} after its second start", role.name()));
    }
    rig.end()
}

/// An ideal line that notes time and size of every packet.
fn relay() -> RelayConfig {
    // The address is the pair's to fill in.
    RelayConfig::to(([127, 0, 0, 1], 0).into()).with_limits(Limits::default())
}
