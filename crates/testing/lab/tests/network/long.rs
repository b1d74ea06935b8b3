//! The same in full size: `cargo xtask long isp`, which prints the figures.
#![expect(clippy::print_stdout, reason = "a long run shows its figures")]

use std::time::{Duration, Instant};

use anyhow::Context;
use lab::network::{FlowThrottle, HostPlan, LinePlan, Network, Rule, find};
use lab::process::{self, Running};
use lab::scratch::Scratch;
use lab::udp_load::Load;
use rustix::time::{ClockId, clock_gettime};
use simnet::Path;

use super::programs::stock_download;
use super::{Outcome, PORT, TENTH, both_families, cables, ensure_near, flow};

const SECOND: Duration = Duration::from_secs(1);
const MEGABIT: f64 = 1e6;

#[test]
#[ignore = "takes a minute; cargo xtask long isp"]
fn a_line_holds_fifty_megabits_cleanly_at_every_delay() -> Outcome {
    for delay_ms in [10, 25, 50, 75] {
        let delay = Duration::from_millis(delay_ms);
        let network = super::lines::network(LinePlan::symmetric(Path::with_delay(delay)))?;
        let (client, server) = (network.host("client")?, network.host("server")?);
        let [to, _] = both_families(server, PORT);
        let (began, cpu) = (Instant::now(), process_time());
        let (sent, arrived) = flow(client, (server, to), Load::new(50_000_000, 5 * SECOND))?;
        let busy = (process_time() - cpu).as_secs_f64() / began.elapsed().as_secs_f64();
        let delays = [0.0, 0.5, 0.99, 1.0].map(|share| arrived.delay(share).unwrap_or_default());
        println!(
            "delay {delay:?}: {} packets, {} lost, delays (least, median, 99 %, most) {delays:?}, sender, line and sink \
             {:.0} % of a core",
            sent.packets,
            sent.packets - arrived.packets,
            busy * 100.0
        );
        assert!(arrived.share_lost(sent) < 0.001 && arrived.overtaken == 0);
        assert!(delays[0] >= delay && delays[1] < delay + Duration::from_millis(2), "{delays:?}");
    }
    Ok(())
}

#[test]
#[ignore = "prints how much a line carries; cargo xtask long isp"]
fn what_a_line_carries_at_most() -> Outcome {
    let network = super::lines::network(LinePlan::symmetric(Path::with_delay(10 * Duration::from_millis(1))))?;
    let (client, server) = (network.host("client")?, network.host("server")?);
    let [to, _] = both_families(server, PORT);
    let mut best = 0.0_f64;
    for megabits in [200, 400, 600, 800, 1000, 1200] {
        let (sent, arrived) = flow(client, (server, to), Load::new(megabits * 1_000_000, 2 * SECOND))?;
        let packets = arrived.packets as f64 / 2.0;
        println!(
            "{megabits} Mbit/s offered: {packets:.0} packets a second, {:.2} % lost",
            arrived.share_lost(sent) * 100.0
        );
        best = best.max(packets);
    }
    assert!(best > 10_000.0, "twice what 50 Mbit/s need");
    Ok(())
}

#[test]
#[ignore = "takes a minute; cargo xtask long isp"]
fn the_usual_throttles_at_ten_megabits() -> Outcome {
    let throttles = [FlowThrottle::after_time(3 * SECOND, 1_000_000), FlowThrottle::after_bytes(5_000_000, 1_000_000)];
    for throttle in throttles {
        let network = cables(&[Rule::Throttle(throttle)])?;
        let (client, server) = (network.host("client")?, network.host("server")?);
        for to in both_families(server, PORT) {
            let (_, arrived) = flow(client, (server, to), Load::new(10_000_000, 7 * SECOND))?;
            let seconds: Vec<f64> = (0..7)
                .map(|second| arrived.goodput.bits_per_second(SECOND * second, SECOND * (second + 1)) / MEGABIT)
                .collect();
            println!("{throttle:?} to {to}: Mbit/s in each second {seconds:.2?}");
            assert!(seconds[..3].iter().all(|rate| *rate > 9.0), "{seconds:?}");
            ensure_near("throttled", seconds[5] * 1000.0, 970.0, 0.05)?;
        }
    }
    Ok(())
}

#[test]
#[ignore = "takes a minute; cargo xtask long isp"]
fn a_stock_quic_download_in_every_named_network() -> Outcome {
    for name in ["plain", "far", "lossy", "nat-symmetric", "throttle-time", "throttle-bytes"] {
        let network = find(name)?.start()?;
        for to in both_families(network.host("server")?, PORT) {
            let (downloaded, served) = stock_download(&network, to, 8 * SECOND)?;
            let goodput = &downloaded.goodput;
            let rates = [(0, 2), (2, 4), (4, 6), (6, 8)]
                .map(|(from, until)| goodput.bits_per_second(SECOND * from, SECOND * until) / MEGABIT);
            println!(
                "{name} {to}: Mbit/s in each two seconds {rates:.1?}, longest stall {:?}, {} of {} packets lost, rtt {:?}",
                goodput.longest_stall(),
                served.lost,
                served.packets,
                served.rtt
            );
            assert_eq!(served.migrations(), 0);
            match name {
                "plain" | "nat-symmetric" => assert!(rates[2] > 42.0, "{rates:?}"),
                "throttle-time" | "throttle-bytes" => assert!(rates[3] < 1.1, "{rates:?}"),
                _ => assert!(goodput.bytes() > 1_000_000),
            }
        }
    }
    Ok(())
}

#[test]
#[ignore = "takes half a minute; cargo xtask long isp"]
fn iperf_sees_the_same_throttle() -> Outcome {
    let network = cables(&[Rule::Throttle(FlowThrottle::after_time(3 * SECOND, 1_000_000))])?;
    let (client, server) = (network.host("client")?, network.host("server")?);
    let scratch = Scratch::new()?;
    let mut listener = server.namespace().command(lab::programs::find("iperf3")?)?;
    let _listener = Running::start("iperf3", listener.args(["-s", "-1"]), &scratch.join("iperf3.log"))?;
    std::thread::sleep(5 * TENTH);
    let mut iperf = client.namespace().command(lab::programs::find("iperf3")?)?;
    let address = server.ipv4().to_string();
    iperf.args(["-c", &address, "-u", "-b", "10M", "-t", "6", "-J", "-R"]);
    let report: serde_json::Value = serde_json::from_slice(&process::run(&mut iperf, 30 * SECOND)?.stdout)?;
    let seconds = report["intervals"].as_array().context("iperf3 reports intervals")?;
    let rate = |second: usize| seconds[second]["sum"]["bits_per_second"].as_f64().context("an interval has a rate");
    println!("iperf3: {:.2} Mbit/s in the second second, {:.2} in the fifth", rate(1)? / MEGABIT, rate(4)? / MEGABIT);
    ensure_near("before", rate(1)?, 10e6, 0.1)?;
    ensure_near("after", rate(4)?, 1e6, 0.15)?;
    Ok(())
}

#[test]
#[ignore = "prints what cables carry; cargo xtask long isp"]
fn what_cables_carry_with_and_without_bundles() -> Outcome {
    for bundles in [false, true] {
        let plan = |name| if bundles { HostPlan::cable(name).with_bundles() } else { HostPlan::cable(name) };
        let network = Network::start(&[plan("client"), plan("server")])?;
        let (client, server) = (network.host("client")?, network.host("server")?);
        let scratch = Scratch::new()?;
        let mut listener = server.namespace().command(lab::programs::find("iperf3")?)?;
        let _listener = Running::start("iperf3", listener.args(["-s", "-1"]), &scratch.join("iperf3.log"))?;
        std::thread::sleep(5 * TENTH);
        let mut iperf = client.namespace().command(lab::programs::find("iperf3")?)?;
        iperf.args(["-c", &server.ipv4().to_string(), "-t", "3", "-J"]);
        let report: serde_json::Value = serde_json::from_slice(&process::run(&mut iperf, 30 * SECOND)?.stdout)?;
        let rate = report["end"]["sum_received"]["bits_per_second"].as_f64().context("iperf3 reports a rate")?;
        println!("TCP over cables, bundles {bundles}: {:.0} Mbit/s", rate / MEGABIT);
        assert!(rate > 200e6);
    }
    Ok(())
}

/// Processor time of this process.
fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}
