//! The same in full size: `cargo xtask long link-hops`, which prints the figures of `docs/measurements/link-hops.md`.
#![expect(clippy::print_stdout, reason = "a long run shows its figures")]

use std::time::Duration;

use adversary::{Decision, ShiftBounds, Trial};
use anyhow::ensure;
use lab::network::{Family, FlowThrottle, Network, Rule};
use lab::pair::{Mode, Role};

use super::Outcome;
use super::goodput::{SLOW, SOCKETS_MAX};
use super::rig::{Downloaded, Hopping, Linked, MEGABIT, NEAR, SECOND, constant, line, off};
use super::trouble::{MORE, ports_to_block, through_blocked};
use super::watchers::{check_untied, two_links, watch};

/// Rounds of a comparison; hops and none take turns in each. Without a schedule BBR differs from round to round, with and
/// without hops, by far more than 1 %: there are more of them.
const ROUNDS: usize = 3;
const ROUNDS_OFF: usize = 6;
/// A round trip across an ocean.
const FAR: Duration = Duration::from_millis(150);
const MILLISECOND: Duration = Duration::from_millis(1);

/// The best round: a machine with other work makes some slow; hops that cost something make all of them slow.
fn best(values: Vec<f64>) -> f64 {
    values.into_iter().fold(0.0, f64::max)
}

fn name(mode: &Mode) -> &'static str {
    if *mode == off() { "off" } else { "constant" }
}

/// A download through a link of its own.
fn run(
    network: &Network,
    family: Family,
    mode: &Mode,
    hopping: Hopping,
    lasting: Duration,
) -> anyhow::Result<(Downloaded, u64, Vec<String>)> {
    let link = Linked::start(network, family, mode.clone(), hopping)?;
    let downloaded = link.download(lasting)?;
    let hops = super::hops(&link.pair, Role::Entry)?;
    Ok((downloaded, hops.as_ref().map_or(0, |hops| hops.hops), hops.map_or_else(Vec::new, |hops| hops.causes)))
}

/// Compares hops with none, in turns, and fails if the best round is below 99 % of that without hops.
fn compare(round_trip: Duration, interval: &'static str, lasting: Duration, warm: Duration) -> Outcome {
    let _turn = crate::take_turn();
    println!("\n| RTT {round_trip:?}, hop {interval} | Mbit/s | hops | longest stall |");
    let mut failures = Vec::new();
    for mode in [constant(), off()] {
        for family in [Family::V4, Family::V6] {
            let mut rates = [Vec::new(), Vec::new()];
            let rounds = if mode == off() { ROUNDS_OFF } else { ROUNDS };
            for _ in 0..rounds {
                for (hopping, rates) in [Hopping::every(interval), Hopping::never()].into_iter().zip(&mut rates) {
                    let network = line(round_trip, None)?;
                    let (downloaded, hops, _) = run(&network, family, &mode, hopping, lasting)?;
                    let (rate, stall) = (downloaded.rate(warm) / MEGABIT, downloaded.goodput.longest_stall());
                    println!("| {} {family:?} | {rate:.2} | {hops} | {stall:.1?} |", name(&mode));
                    rates.push(rate);
                }
            }
            let [hopping, staying] = rates.map(best);
            let share = hopping / staying;
            println!("{} {family:?}: {:.2} % of no hop", name(&mode), share * 100.0);
            if share < 0.99 {
                failures.push(format!("{} {family:?}: {share:.4}", name(&mode)));
            }
        }
    }
    ensure!(failures.is_empty(), "below 99 %: {failures:?}");
    Ok(())
}

#[test]
#[ignore = "takes eight minutes; cargo xtask long link-hops"]
fn goodput_at_20_ms_with_a_hop_a_second() -> Outcome {
    compare(NEAR, "1s", 10 * SECOND, 2 * SECOND)
}

#[test]
#[ignore = "takes twelve minutes; cargo xtask long link-hops"]
fn goodput_at_150_ms_with_a_hop_in_four_seconds() -> Outcome {
    compare(FAR, "4s", 16 * SECOND, 4 * SECOND)
}

#[test]
#[ignore = "takes eight minutes; cargo xtask long link-hops"]
fn a_hundred_hops_lose_nothing() -> Outcome {
    let _turn = crate::take_turn();
    println!("\n| mode, RTT | hops | bytes echoed | longest stall | message round trip | longest |");
    let mut failures = Vec::new();
    for (mode, round_trip) in [(constant(), NEAR), (constant(), FAR), (off(), NEAR)] {
        let mut seen = Vec::new();
        for hopping in [Hopping::never(), Hopping::every("550ms..650ms")] {
            let network = line(round_trip, None)?;
            let link = Linked::start(&network, Family::V4, mode.clone(), hopping)?;
            let echoed = link.echo(75 * SECOND)?;
            let hops = link.hop_count()?;
            println!(
                "| {} {round_trip:?} | {hops} | {} | {:.1?} | {:.1?} | {:.1?} |",
                name(&mode),
                echoed.bytes,
                echoed.stall,
                echoed.median,
                echoed.most
            );
            seen.push((echoed, hops));
        }
        let [(staying, _), (hopping, hops)] = &seen[..] else { continue };
        ensure!(*hops >= 100, "{hops} hops");
        let more = round_trip + 5 * MILLISECOND;
        if hopping.stall > staying.stall + more || hopping.most > staying.most + more {
            failures.push(format!("{} {round_trip:?}: {hopping:?} {staying:?}", name(&mode)));
        }
    }
    ensure!(failures.is_empty(), "more than a round trip and 5 ms beyond no hop: {failures:#?}");
    Ok(())
}

#[test]
#[ignore = "takes twelve minutes; cargo xtask long link-hops"]
fn throttled_for_a_minute() -> Outcome {
    let _turn = crate::take_turn();
    println!("\n| throttle, mode | case | Mbit/s | of unthrottled | hops | causes |");
    let mut failures = Vec::new();
    for mode in [constant(), off()] {
        let free = line(NEAR, None)?;
        let (reference, ..) = run(&free, Family::V4, &mode, Hopping::never(), 60 * SECOND)?;
        drop(free);
        let reference = reference.rate(Duration::ZERO);
        println!("| none, {} | no hop, 60 s | {:.2} | 100 % | 0 | |", name(&mode), reference / MEGABIT);
        // Both directions count for a link, and one for the provider.
        let below_bytes = if mode == off() { "3 MB..4 MB" } else { "5 MB..7 MB" };
        let throttles = [
            ("after 3 s", FlowThrottle::after_time(3 * SECOND, SLOW), Hopping::every("1500ms..2500ms")),
            ("after 5 MB", FlowThrottle::after_bytes(5_000_000, SLOW), Hopping::each(below_bytes)),
        ];
        for (throttle_name, throttle, before) in throttles {
            let cases = [
                ("before the limit", before, 60),
                ("every 4 s", Hopping::every("4s"), 30),
                ("ordinary settings", Hopping::DEFAULT, 60),
                ("no hop", Hopping::never(), 30),
            ];
            for (case, hopping, seconds) in cases {
                let network = line(NEAR, Some(throttle))?;
                let (downloaded, hops, causes) = run(&network, Family::V4, &mode, hopping, seconds * SECOND)?;
                let rate = downloaded.rate(Duration::ZERO);
                let share = rate / reference;
                println!(
                    "| {throttle_name}, {} | {case}, {seconds} s | {:.2} | {:.1} % | {hops} | {} |",
                    name(&mode),
                    rate / MEGABIT,
                    share * 100.0,
                    counted(&causes)
                );
                let seconds: Vec<String> = downloaded
                    .goodput
                    .windows()
                    .chunks(10)
                    .map(|second| format!("{:.0}", second.iter().sum::<u64>() as f64 * 8.0 / MEGABIT))
                    .collect();
                println!("Mbit/s in each second: {}", seconds.join(" "));
                if case == "before the limit" && share < 0.95 {
                    failures.push(format!("{throttle_name}, {}: {share:.3}", name(&mode)));
                }
            }
        }
    }
    ensure!(failures.is_empty(), "below 95 %: {failures:?}");
    Ok(())
}

/// Each cause with how often it stands among the last ones.
fn counted(causes: &[String]) -> String {
    let mut kinds: Vec<&String> = causes.iter().collect();
    kinds.sort_unstable();
    kinds.dedup();
    let count = |kind: &String| causes.iter().filter(|cause| *cause == kind).count();
    kinds.iter().map(|kind| format!("{} x {kind}", count(kind))).collect::<Vec<_>>().join(", ")
}

#[test]
#[ignore = "takes two minutes; cargo xtask long link-hops"]
fn two_ports_of_five_blocked() -> Outcome {
    let _turn = crate::take_turn();
    println!("\n| RTT, blocked | steps with 1, 2, 3 candidates | longest | stall | longest message | dropped |");
    for round_trip in [NEAR, FAR] {
        let mut stalls = Vec::new();
        for blocks in [false, true] {
            let network = line(round_trip, None)?;
            let blocked = through_blocked(&network, blocks, 30 * SECOND)?;
            let steps = [1, 2, 3].map(|count| blocked.steps.iter().filter(|step| step.candidates == count).count());
            let longest = [1, 2, 3].map(|count| blocked.longest(count).unwrap_or_default());
            println!(
                "| {round_trip:?}, {blocks} | {steps:?} | {longest:.1?} | {:.1?} | {:.1?} | {} |",
                blocked.echoed.stall, blocked.echoed.most, blocked.dropped
            );
            if blocks {
                blocked.check(round_trip)?;
            }
            stalls.push(blocked.echoed.stall);
        }
        ensure!(
            stalls[1] <= stalls[0] + 3 * round_trip + MORE,
            "longest stalls without and with blocked ports: {stalls:?}"
        );
    }
    Ok(())
}

#[test]
#[ignore = "takes a minute; cargo xtask long link-hops"]
fn sockets_of_a_link_that_hops_as_often_as_it_can() -> Outcome {
    let _turn = crate::take_turn();
    println!("\n| two ports of five blocked | hops | most UDP sockets of the entry | of the exit |");
    for blocks in [false, true] {
        let network = line(NEAR, None)?;
        network.set_rules(&[Rule::BlockPorts(vec![ports_to_block(blocks)])])?;
        let link = Linked::start(&network, Family::V4, constant(), Hopping::every("100ms"))?;
        let both = || link.counting_sockets(Role::Exit, || link.download(20 * SECOND));
        let ((_, at_exit), at_entry) = link.counting_sockets(Role::Entry, both)?;
        println!("| {blocks} | {} | {at_entry} | {at_exit} |", link.hop_count()?);
        // Beside those of the link, the one that the entry began with, and the exit's door.
        ensure!(at_entry <= SOCKETS_MAX + 1 && at_exit <= SOCKETS_MAX + 1, "{at_entry} {at_exit}");
    }
    Ok(())
}

#[test]
#[ignore = "takes three minutes; cargo xtask long link-hops"]
fn slots_near_hops_are_like_others() -> Outcome {
    let _turn = crate::take_turn();
    let rate = 10_000_000;
    let mut trials = ["entry", "exit"].map(|name| (name, Trial::new(ShiftBounds::default()), false));
    while trials.iter().any(|(.., passed)| !passed) {
        for watched in watch(rate, "600ms..800ms", 45 * SECOND)? {
            let Some((_, trial, passed)) = trials.iter_mut().find(|(name, ..)| *name == watched.name) else { continue };
            let slots = watched.slots(rate)?;
            println!(
                "{}, {} hops: {} packets in {} slots, where the class gives {:.0}; slots by packets {:?}",
                watched.name,
                watched.hops(),
                slots.packets,
                slots.slots,
                slots.expected,
                slots.histogram
            );
            watched.check(rate)?;
            if *passed {
                continue;
            }
            let [far, near] = watched.lateness();
            let sizes = (far.len(), near.len());
            *passed = match trial.add_round(&far, &near) {
                Decision::Pass => true,
                Decision::MeasureAgain => false,
                Decision::Fail => anyhow::bail!("{}: send times near hops differ: {trial}", watched.name),
            };
            println!("{}, slots far from hops and near them {sizes:?}: {trial}", watched.name);
        }
    }
    Ok(())
}

#[test]
#[ignore = "takes five minutes; cargo xtask long link-hops"]
fn two_links_for_five_minutes() -> Outcome {
    let _turn = crate::take_turn();
    let times = two_links("500ms..1300ms", 300 * SECOND)?;
    let chance = check_untied(&times)?;
    println!("\nhops {} and {}, chance of as much by itself {chance:.3}", times[0].len(), times[1].len());
    Ok(())
}
