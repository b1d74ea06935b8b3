//! The lines of both tunnels while nothing dies: what applications do at one entry, and what a tap shows of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use anyhow::{Context, ensure};
use lab::one_network::OneNetwork;
use lab::one_network::lines::{Lines, P, SLOT, entry_address};
use lab::one_network::report::Report;
use lab::one_network::situations::{Stage, Watched};
use lab::wiretap::Line;
use lab::witness::Stalls;
use shaping::RateClass;

use super::{Form, Outcome};

/// Bytes of a session packet, one of which is in each cell.
const SESSION_PACKET: u64 = 1222;
/// How far the packets of a second may be apart between two situations, in thousandths.
const RATE_APART_PER_MILLE: f64 = 15.0;
/// How far they may be from the schedule, on any line: cells that were lost on the way, or what links and circuits say of themselves.
const RATE_OFF_PER_MILLE: f64 = 25.0;
/// Attempts to watch lines while no leg changes.
const ATTEMPTS: usize = 3;
/// Legs of each tunnel.
const LEGS: usize = 2;
/// The port of every door.
const DOOR: u16 = 4433;

/// What was watched, and which lines it concerns.
pub(crate) struct Scene {
    situations: [Watched; 3],
    legs: Vec<Leg>,
    rate: u64,
    /// Machines to which no link hops.
    fixed: Vec<IpAddr>,
}

/// A leg by the addresses of its machines, the entry's first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Leg(Vec<IpAddr>);

impl Leg {
    /// Its lines, both ways.
    fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        self.0.windows(2).flat_map(|pair| [(pair[0], pair[1]), (pair[1], pair[0])])
    }

    /// The lines on which a schedule is kept: away from the entry, and away from the exit.
    fn scheduled(&self) -> [Line; 2] {
        let last = self.0.len() - 1;
        [(self.0[0], self.0[1]), (self.0[last], self.0[last - 1])]
    }
}

/// Plays all situations at one entry, with the legs of both tunnels at rest.
pub(crate) fn play(net: &OneNetwork, stage: Stage, form: &Form, report: &mut Report) -> anyhow::Result<Scene> {
    let stage = stage.through(net.entries[0].address);
    let pid = scheduled_process(net)?;
    for _ in 0..ATTEMPTS {
        let legs = legs(net)?;
        let situations = stage.play(form.turns, form.phase, pid)?;
        if legs.len() == 2 * LEGS && self::legs(net)? == legs {
            let bits = form.rate.split(' ').next().and_then(|number| number.parse::<u64>().ok()).context("a rate")?;
            let rate = RateClass::at_least(bits * 1_000_000)?.bits_per_second();
            tell(&situations, rate, report)?;
            let fixed = net.members.iter().chain(&net.exits).map(|machine| machine.address.ip()).collect();
            return Ok(Scene { situations, legs, rate, fixed });
        }
    }
    anyhow::bail!("legs change all the time: {:?}", legs(net)?)
}

/// The process id of what keeps the schedule of the first entry.
fn scheduled_process(net: &OneNetwork) -> anyhow::Result<u32> {
    let status = net.entry_status(0)?;
    let processes = status["processes"].as_array().context("a node has processes")?;
    let name = |process: &serde_json::Value| process["name"].as_str().is_some_and(|name| name.starts_with("shaped"));
    let found = processes.iter().find(|process| name(process)).context("one keeps the schedule")?;
    Ok(u32::try_from(found["pid"].as_u64().context("it runs")?)?)
}

/// The linked legs of all entries.
fn legs(net: &OneNetwork) -> anyhow::Result<Vec<Leg>> {
    let machines = || [&net.members, &net.relays, &net.exits].into_iter().flatten();
    let addresses: BTreeMap<&str, IpAddr> =
        machines().filter_map(|machine| Some((machine.id.as_deref()?, machine.address.ip()))).collect();
    let mut legs = Vec::new();
    for entry in 0..net.entries.len() {
        let status = net.entry_status(entry)?;
        for leg in status["circuits"]["legs"].as_array().into_iter().flatten() {
            if leg["state"] == "linked" {
                let own = entry_address(u8::try_from(entry)?);
                let path = leg["path"].as_array().into_iter().flatten().filter_map(|id| addresses.get(id.as_str()?));
                legs.push(Leg(std::iter::once(own).chain(path.copied()).collect()));
            }
        }
    }
    legs.sort();
    Ok(legs)
}

/// What can be said without the tap: who was served (I5), and what woke the process with the schedule (I10).
fn tell(situations: &[Watched; 3], rate: u64, report: &mut Report) -> Outcome {
    let [idle, loaded, slow] = situations;
    let beside = slow.read as f64 * 8.0 / slow.lasting().as_secs_f64();
    report.add(
        "I5: read beside a reader that takes nothing",
        format!("{:.2} of {:.2} Mbit/s", beside / 1e6, rate as f64 / 1e6),
    );
    ensure!(beside >= 0.6 * rate as f64, "only {beside} bit/s beside a slow reader, of {rate}");
    let asleep = |watched: &Watched| watched.sleeps as f64 / watched.lasting().as_secs_f64();
    let [idle, loaded, slow] = [asleep(idle), asleep(loaded), asleep(slow)];
    report.add(
        "I10: sleeps a second of the process with the schedule",
        format!("{idle:.0} idle, {loaded:.0} loaded, {slow:.0} beside a slow reader"),
    );
    ensure!(loaded.max(slow) <= idle * 1.5, "it wakes for data: {idle} {loaded} {slow}");
    Ok(())
}

/// What the tap shows.
pub(crate) fn check(lines: &Lines, scene: &Scene, stalls: &Stalls, report: &mut Report) -> Outcome {
    let judged = lines.check_looks()?;
    let (count, packets) = lines.count();
    report.add(
        "I1: packets of one size, on so many lines",
        format!("{packets} of {P} bytes on {count}; {judged} look random"),
    );
    rates(lines, scene, report)?;
    slots(lines, scene, stalls, report)?;
    hops(lines, scene, report)
}

/// Every line of both tunnels has the same packets a second in all situations: those of the schedule, on its last line as on its first,
/// though links hop meanwhile.
fn rates(lines: &Lines, scene: &Scene, report: &mut Report) -> Outcome {
    let mut legs_on = BTreeMap::<Line, u32>::new();
    scene.legs.iter().flat_map(Leg::lines).for_each(|line| *legs_on.entry(line).or_default() += 1);
    let (mut apart, mut off) = (0.0_f64, 0.0_f64);
    for (line, legs) in &legs_on {
        let rates = scene.situations.each_ref().map(|watched| lines.rate(*line, &watched.windows));
        let told = format!(
            "{} > {} ({legs} legs): {rates:.1?} packets a second idle, loaded, with a slow reader",
            line.0, line.1
        );
        println!("{told}");
        let per_mille = |rate: f64, of: f64| (rate / of - 1.0).abs() * 1000.0;
        apart = rates.iter().fold(apart, |most, rate| most.max(per_mille(*rate, rates[0])));
        ensure!(apart <= RATE_APART_PER_MILLE, "{told}");
        let schedule = f64::from(*legs) * cells_a_second(scene.rate);
        off = rates.iter().fold(off, |most, rate| most.max(per_mille(*rate, schedule)));
        ensure!(off <= RATE_OFF_PER_MILLE, "{told}, of {schedule:.1}");
    }
    let found = format!("{apart:.1} per mille apart at most on {} lines", legs_on.len());
    report.add("I2, I5, I6: packets a second, idle, loaded, with a slow reader", found);
    report.add("packets a second of each line, beside the schedule", format!("{off:.1} per mille off at most"));
    Ok(())
}

/// Whoever has a schedule keeps to its slots, whatever situation it is.
fn slots(lines: &Lines, scene: &Scene, stalls: &Stalls, report: &mut Report) -> Outcome {
    let mut legs_of = BTreeMap::<Line, u32>::new();
    scene.legs.iter().flat_map(Leg::scheduled).for_each(|line| *legs_of.entry(line).or_default() += 1);
    let windows: Vec<_> = scene.situations.iter().flat_map(|watched| watched.windows.clone()).collect();
    let mut worst = 0.0_f64;
    for (line, legs) in &legs_of {
        let tally = lines.slots(*line, &windows, &per_slot(scene.rate, *legs), stalls)?;
        println!("{} > {} ({legs} legs): {tally}", line.0, line.1);
        tally.check().with_context(|| format!("{line:?}"))?;
        worst = worst.max(tally.odd as f64 * 1000.0 / tally.slots as f64);
    }
    report.add(
        "I2: slots with another number of packets",
        format!("{worst:.1} per mille at most on {} lines", legs_of.len()),
    );
    Ok(())
}

/// Cells of one leg in a second.
fn cells_a_second(rate: u64) -> f64 {
    rate as f64 / 8.0 / SESSION_PACKET as f64 / LEGS as f64
}

/// Packets that so many legs have in a slot.
fn per_slot(rate: u64, legs: u32) -> RangeInclusive<u32> {
    let cells = cells_a_second(rate) * SLOT.as_secs_f64();
    legs * cells.floor() as u32..=legs * cells.ceil() as u32
}

/// Links to relays hop, those of entries and those between relays; links to exits and members stay at their doors.
fn hops(lines: &Lines, scene: &Scene, report: &mut Report) -> Outcome {
    for fixed in &scene.fixed {
        let ports = lines.ports_of(*fixed);
        ensure!(ports.iter().all(|port| *port == DOOR), "{fixed} was reached at {ports:?}");
    }
    let (mut of_entries, mut of_relays) = (BTreeMap::new(), BTreeMap::new());
    for leg in &scene.legs {
        for (place, pair) in leg.0.windows(2).enumerate().filter(|(_, pair)| !scene.fixed.contains(&pair[1])) {
            let line = (pair[0], pair[1]);
            if place == 0 { &mut of_entries } else { &mut of_relays }.insert(line, lines.port_pairs(line));
        }
    }
    println!("pairs of ports: {of_entries:?} {of_relays:?}");
    ensure!(of_entries.values().all(|pairs| *pairs > 1), "an entry's link has not hopped: {of_entries:?}");
    let told = |pairs: &BTreeMap<Line, usize>| pairs.values().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    report.add("pairs of ports of present links from entries to guards", told(&of_entries));
    report.add("pairs of ports of present links between relays", told(&of_relays));
    report.add("ports at which exits and members were reached", DOOR.to_string());
    Ok(())
}
