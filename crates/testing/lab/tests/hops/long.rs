//! The same in full size: `cargo xtask long hops`, which prints the figures of `docs/measurements/hops.md`.
#![expect(clippy::print_stdout, reason = "a long run shows its figures")]

use std::time::Duration;

use anyhow::{Context, ensure};
use lab::network::{FlowThrottle, Network, Rule};
use lab::udp_load::Load;

use super::trouble::{ROUND_TRIP, blocked, first_ports};
use super::{Family, Hopping, Hops, MEGABIT, Outcome, SECOND, Through, echo, line, programs};

/// Rounds of a comparison; hops and none take turns in each.
const ROUNDS: usize = 3;
/// A round trip across an ocean.
const FAR: Duration = Duration::from_millis(150);
const SLOW: u64 = 1_000_000;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn show(what: &str, through: &Through, from: Duration) -> f64 {
    let rate = through.rate(from) / MEGABIT;
    println!(
        "| {what} | {rate:.2} | {} | {} | {} of {} | {:.1?} |",
        through.counted.hops(),
        through.served.migrations(),
        through.served.lost,
        through.served.packets,
        through.downloaded.goodput.longest_stall()
    );
    rate
}

/// Compares hops with none, in turns, and fails if the median is below 99 % of that without hops.
fn compare(round_trip: Duration, interval: &'static str, lasting: Duration, warm: Duration) -> Outcome {
    println!("\n| RTT {round_trip:?}, hop {interval} | Mbit/s | hops | migrations | packets lost | longest stall |");
    let mut failures = Vec::new();
    for family in [Family::V4, Family::V6] {
        for keyed in [true, false] {
            let (mut hopping, mut staying) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let network = line(round_trip, None)?;
                let name = format!("{family:?}, keyed {keyed}");
                let through = Through::run(&network, family, Hopping::every(keyed, interval), lasting)?;
                ensure!(through.served.migrations() == 0 && through.counted.hops() > 1, "{:?}", through.counted);
                hopping.push(show(&format!("{name}, hops"), &through, warm));
                let through = Through::run(&network, family, Hopping::never(keyed), lasting)?;
                staying.push(show(&format!("{name}, none"), &through, warm));
            }
            let share = median(hopping) / median(staying);
            println!("{family:?}, keyed {keyed}: {:.2} % of no hop", share * 100.0);
            if share < 0.99 {
                failures.push(format!("{family:?}, keyed {keyed}: {share:.4}"));
            }
        }
    }
    ensure!(failures.is_empty(), "below 99 %: {failures:?}");
    Ok(())
}

#[test]
#[ignore = "takes four minutes; cargo xtask long hops"]
fn goodput_at_20_ms_with_a_hop_a_second() -> Outcome {
    compare(ROUND_TRIP, "1s", 8 * SECOND, 2 * SECOND)
}

#[test]
#[ignore = "takes six minutes; cargo xtask long hops"]
fn goodput_at_150_ms_with_a_hop_in_four_seconds() -> Outcome {
    compare(FAR, "4s", 14 * SECOND, 4 * SECOND)
}

#[test]
#[ignore = "takes four minutes; cargo xtask long hops"]
fn a_hundred_hops_lose_nothing() -> Outcome {
    println!("\n| pair | sent | lost | hops | longest gap | median delay | most |");
    for (round_trip, keyed) in [(ROUND_TRIP, true), (ROUND_TRIP, false), (FAR, true)] {
        let network = line(round_trip, None)?;
        for (hopping, seconds) in [(Hopping::never(keyed), 5), (Hopping::every(keyed, "550ms"), 75)] {
            let hops = Hops::start(&network, Family::V4, hopping)?;
            let echoes = echo::run(&network, &hops, Family::V4, Load::new(10_000_000, seconds * SECOND), || Ok(()))?;
            let counted = hops.end()?;
            println!(
                "| RTT {round_trip:?}, keyed {keyed}, {} | {} | {} | {} | {:.1?} | {:.1?} | {:.1?} |",
                hopping.interval,
                echoes.sent,
                echoes.lost(),
                counted.hops(),
                echoes.gap,
                echoes.median,
                echoes.most
            );
            ensure!(echoes.lost() == 0, "{echoes:?} {counted:?}");
            ensure!(seconds < 60 || counted.hops() >= 100, "{counted:?}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "takes six minutes; cargo xtask long hops"]
fn throttled_for_a_minute() -> Outcome {
    println!("\n| case | Mbit/s | hops | migrations | packets lost | longest stall |");
    let free = line(ROUND_TRIP, None)?;
    let run = |network: &Network, hopping, seconds| Through::run(network, Family::V4, hopping, seconds * SECOND);
    let reference = show("no throttle, no hop, 60 s", &run(&free, Hopping::never(true), 60)?, Duration::ZERO);
    drop(free);
    let throttles = [
        ("after 3 s", FlowThrottle::after_time(3 * SECOND, SLOW), ["8 MB..12 MB", "1500ms..2500ms"]),
        ("after 5 MB", FlowThrottle::after_bytes(5_000_000, SLOW), ["3 MB..4 MB", "86400s"]),
    ];
    let mut best = Vec::new();
    for (name, throttle, [bytes, interval]) in throttles {
        let cases = [
            ("before the limit, keyed, 60 s", Hopping { interval, ..Hopping::each(true, bytes) }, 60),
            ("before the limit, keyless, 30 s", Hopping { interval, ..Hopping::each(false, bytes) }, 30),
            ("every 4 s, 20 s", Hopping::every(false, "4s"), 20),
            ("no hop, 20 s", Hopping::never(false), 20),
        ];
        for (case, hopping, seconds) in cases {
            let network = line(ROUND_TRIP, Some(throttle))?;
            let rate = show(&format!("{name}, {case}"), &run(&network, hopping, seconds)?, Duration::ZERO);
            println!("{name}, {case}: {:.1} % of unthrottled", rate / reference * 100.0);
            if seconds == 60 {
                best.push((name, rate / reference));
            }
        }
    }
    ensure!(best.iter().all(|(_, share)| *share >= 0.95), "{best:?}");
    Ok(())
}

#[test]
#[ignore = "takes two minutes; cargo xtask long hops"]
fn a_throttle_that_nobody_told_of() -> Outcome {
    println!("\n| case | Mbit/s | hops | migrations | packets lost | longest stall |");
    let throttles = [
        ("after 3 s", FlowThrottle::after_time(3 * SECOND, SLOW)),
        ("after 5 MB", FlowThrottle::after_bytes(5_000_000, SLOW)),
    ];
    for (name, throttle) in throttles {
        let mut rates = Vec::new();
        for (case, hopping) in [("no key", Hopping::usual(false)), ("key", Hopping::usual(true))] {
            let network = line(ROUND_TRIP, Some(throttle))?;
            let through = Through::run(&network, Family::V4, hopping, 20 * SECOND)?;
            rates.push(show(&format!("{name}, usual settings, {case}"), &through, Duration::ZERO));
            println!("{}", through.counted.client);
        }
        ensure!(rates[1] > 1.5 * rates[0], "{name}: the counts of both ends find it: {rates:?}");
    }
    Ok(())
}

#[test]
#[ignore = "takes a minute; cargo xtask long hops"]
fn a_blocked_next_port() -> Outcome {
    println!("\n| pair | sent | lost | hops | blocked | longest gap | median delay | most |");
    for (keyed, seconds) in [(true, 10), (false, 15)] {
        for blocks in [false, true] {
            let network = line(ROUND_TRIP, None)?;
            let hops = Hops::start(&network, Family::V4, Hopping::every(keyed, "800ms"))?;
            let ports = if keyed { first_ports(&hops)? } else { vec![20_500..=20_999] };
            // A pair that begins with ports blocked is on others from the start: what is measured are the hops.
            network.set_rules(&[Rule::BlockPorts(if blocks { ports } else { vec![9..=9] })])?;
            let load = Load::new(5_000_000, seconds * SECOND);
            let echoes = echo::run(&network, &hops, Family::V4, load, || Ok(()))?;
            let counted = hops.end()?;
            println!(
                "| keyed {keyed}, blocks {blocks} | {} | {} | {} | {} | {:.1?} | {:.1?} | {:.1?} |",
                echoes.sent,
                echoes.lost(),
                counted.hops(),
                blocked(&network)?,
                echoes.gap,
                echoes.median,
                echoes.most
            );
            let allowed = 3 * ROUND_TRIP + Duration::from_millis(50);
            ensure!(echoes.gap < allowed && (!keyed || echoes.lost() == 0), "{echoes:?} {counted:?}");
        }
    }
    Ok(())
}

#[test]
#[ignore = "takes a minute; cargo xtask long hops"]
fn programs_that_nobody_here_wrote() -> Outcome {
    let network = line(ROUND_TRIP, None)?;
    for (name, hopping) in [("no hop", Hopping::never(true)), ("hop 500 ms", Hopping::every(true, "500ms"))] {
        let measured = programs::wireguard(&network, hopping, 10)?;
        println!("WireGuard, {name}: {measured:.1?}");
    }
    for reverse in [false, true] {
        let report = programs::iperf(&network, Hopping::every(true, "500ms"), reverse, 10)?;
        let sum = &report["end"]["sum"];
        let number = |key: &str| sum[key].as_f64().context("iperf3 reports it");
        let (rate, lost, jitter) = (number("bits_per_second")?, number("lost_packets")?, number("jitter_ms")?);
        println!("iperf3 -u, reverse {reverse}: {:.2} Mbit/s, {lost} lost, jitter {jitter:.3} ms", rate / MEGABIT);
    }
    Ok(())
}
