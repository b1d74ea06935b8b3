//! The lines of all tunnels while nothing dies, those of the service and its entry among them: what applications do at one entry, and
//! what a tap shows of it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use anyhow::{Context, ensure};
use lab::bulk::Window;
use lab::one_network::lines::{Lines, P, SLOT, entry_address};
use lab::one_network::report::Report;
use lab::one_network::service::{self, ENTRY_OF_SERVICE, PUBLISHING_RATE, SERVICE};
use lab::one_network::situations::{Stage, Watched};
use lab::one_network::{Machine, OneNetwork};
use lab::wiretap::Line;
use lab::witness::Stalls;
use shaping::RateClass;

use serde_json::Value;

use super::{Form, Outcome, visit};

/// Bytes of a session packet, one of which is in each cell.
const SESSION_PACKET: u64 = 1222;
/// How far the packets of a second may be apart between two situations, in thousandths, where a schedule sends. What leaves a relay is
/// held to [`RATE_OFF_PER_MILLE`]: cells that were lost on the way to it are missing there.
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
    rate: RateClass,
    /// Machines to which no link hops.
    fixed: Vec<IpAddr>,
    /// Relays and members.
    relays: Vec<IpAddr>,
    /// Guards of the service.
    guards: Vec<IpAddr>,
}

/// A leg as its entry knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Leg {
    /// The addresses of its machines, the entry's first. The last one is the exit or, if it leads to the service, the place of the meeting.
    path: Vec<IpAddr>,
    to_service: bool,
    /// Of the whole tunnel.
    class: RateClass,
}

impl Leg {
    /// Its lines, away from the entry.
    fn lines(&self) -> impl Iterator<Item = Line> + '_ {
        self.path.windows(2).map(|pair| (pair[0], pair[1]))
    }

    fn first_line(&self) -> Line {
        (self.path[0], self.path[1])
    }
}

impl Scene {
    /// Cells a second that leave the entry on a leg. Its link has one share of its schedule, in which the circuits of the link take turns.
    fn up(&self, leg: &Leg) -> f64 {
        let turns = self.legs.iter().filter(|other| other.first_line() == leg.first_line()).count();
        cells_a_second(leg.class) / turns as f64
    }

    /// Legs to the service.
    fn to_service(&self) -> impl Iterator<Item = &Leg> {
        self.legs.iter().filter(|leg| leg.to_service)
    }

    /// Packets that a situation's windows may hold more or less at their ends, in a second of them.
    fn ends_a_second(&self) -> f64 {
        let of = |watched: &Watched| 2.0 * watched.windows.len() as f64 / watched.lasting().as_secs_f64();
        self.situations.iter().map(of).fold(0.0, f64::max)
    }

    /// All windows of all situations.
    fn windows(&self) -> Vec<Window> {
        self.situations.iter().flat_map(|watched| watched.windows.clone()).collect()
    }
}

/// Plays all situations at one entry, with the legs of all tunnels at rest.
pub(crate) fn play(net: &OneNetwork, stage: &Stage, form: &Form, report: &mut Report) -> anyhow::Result<Scene> {
    let pid = scheduled_process(net)?;
    let rate = class(form.rate)?;
    let addresses = |machines: &[Machine]| machines.iter().map(|machine| machine.address.ip()).collect::<Vec<_>>();
    let relays = [addresses(&net.members), addresses(&net.relays)].concat();
    let fixed = [addresses(&net.members), addresses(&net.exits)].concat();
    for _ in 0..ATTEMPTS {
        let (legs, guards) = (legs(net, rate)?, guards(net)?);
        let situations = stage.play(form.turns, form.phase, pid)?;
        let to_service = legs.iter().filter(|leg| leg.to_service).count();
        // A service has an entry of its own, and each of the others a tunnel to it.
        let services = net.services.len();
        // Where the client's other leg or the service's other half has all relays that are left, one of two has to do.
        let is_met = (services * 2..=2 * services * visit::LEGS).contains(&to_service);
        let is_whole = legs.len() - to_service == (2 + services) * LEGS && is_met;
        if is_whole && self::legs(net, rate)? == legs && self::guards(net)? == guards {
            tell(&situations, rate.bits_per_second(), report)?;
            return Ok(Scene { situations, legs, rate, fixed, relays, guards });
        }
    }
    anyhow::bail!("legs change all the time: {:?}", legs(net, rate)?)
}

/// The class of a rate as commands take it.
fn class(rate: &str) -> anyhow::Result<RateClass> {
    let bits = rate.split(' ').next().and_then(|number| number.parse::<u64>().ok()).context("a rate")?;
    Ok(RateClass::at_least(bits * 1_000_000)?)
}

/// The process id of what keeps the schedule of the first entry.
fn scheduled_process(net: &OneNetwork) -> anyhow::Result<u32> {
    let status = net.entry_status(0)?;
    let processes = status["processes"].as_array().context("a node has processes")?;
    let name = |process: &serde_json::Value| process["name"].as_str().is_some_and(|name| name.starts_with("shaped"));
    let found = processes.iter().find(|process| name(process)).context("one keeps the schedule")?;
    Ok(u32::try_from(found["pid"].as_u64().context("it runs")?)?)
}

/// The linked legs of all entries, that of the service included.
fn legs(net: &OneNetwork, rate: RateClass) -> anyhow::Result<Vec<Leg>> {
    let mut legs = Vec::new();
    for entry in 0..net.entries.len() {
        add_legs(net, &net.entry_status(entry)?, u8::try_from(entry)?, rate, &mut legs);
    }
    if let Some(service) = net.services.first() {
        let status = net.status_of_part(&service.name, "entry")?;
        add_legs(net, &status, ENTRY_OF_SERVICE, class(PUBLISHING_RATE)?, &mut legs);
    }
    legs.sort();
    Ok(legs)
}

fn add_legs(net: &OneNetwork, status: &Value, entry: u8, class: RateClass, legs: &mut Vec<Leg>) {
    for tunnel in service::tunnels(status) {
        let to_service = tunnel["held"] == "service";
        for path in service::linked_paths(tunnel) {
            let relays = path.iter().filter_map(|id| address_of(net, id));
            legs.push(Leg { path: std::iter::once(entry_address(entry)).chain(relays).collect(), to_service, class });
        }
    }
}

fn address_of(net: &OneNetwork, id: &str) -> Option<IpAddr> {
    let mut machines = [&net.members, &net.relays, &net.exits].into_iter().flatten();
    machines.find(|machine| machine.id.as_deref() == Some(id)).map(|machine| machine.address.ip())
}

/// The guards of the service, by their addresses.
fn guards(net: &OneNetwork) -> anyhow::Result<Vec<IpAddr>> {
    Ok(net.guards_of_service()?.iter().filter_map(|id| address_of(net, id)).collect())
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

/// Packets of a line a second in each situation.
fn rates_of(lines: &Lines, scene: &Scene, line: Line) -> [f64; 3] {
    scene.situations.each_ref().map(|watched| lines.rate(line, &watched.windows))
}

fn per_mille(rate: f64, of: f64) -> f64 {
    (rate / of - 1.0).abs() * 1000.0
}

/// Every line of all tunnels has the same packets a second in all situations: those of the schedules, on its last line as on its first,
/// though links hop meanwhile. Halves of legs that the service built nobody but the service knows; on lines between relays they are
/// more of the same.
fn rates(lines: &Lines, scene: &Scene, report: &mut Report) -> Outcome {
    let mut cells_on = BTreeMap::<Line, f64>::new();
    for leg in &scene.legs {
        for line in leg.lines() {
            *cells_on.entry(line).or_default() += scene.up(leg);
            *cells_on.entry((line.1, line.0)).or_default() += cells_a_second(leg.class);
        }
    }
    let halves: Vec<f64> = scene.to_service().flat_map(|leg| [scene.up(leg), cells_a_second(leg.class)]).collect();
    let (mut apart, mut off) = (0.0_f64, 0.0_f64);
    for (line, cells) in &cells_on {
        let rates = rates_of(lines, scene, *line);
        let is_between_relays = scene.relays.contains(&line.0) && scene.relays.contains(&line.1);
        let schedule = if is_between_relays { with_halves(*cells, &halves, rates[0]) } else { *cells };
        let told = format!(
            "{} > {}: {rates:.1?} packets a second idle, loaded, with slow readers; {cells:.1} by known legs, {schedule:.1} by all",
            line.0, line.1
        );
        println!("{told}");
        let most = rates.iter().fold(0.0_f64, |most, rate| most.max(per_mille(*rate, rates[0])));
        let leaves_relay = scene.relays.contains(&line.0);
        ensure!(most <= if leaves_relay { RATE_OFF_PER_MILLE } else { RATE_APART_PER_MILLE }, "{told}");
        apart = apart.max(most);
        off = rates.iter().fold(off, |most, rate| most.max(per_mille(*rate, schedule)));
        ensure!(off <= RATE_OFF_PER_MILLE, "{told}");
    }
    let found = format!("{apart:.1} per mille apart at most on {} lines", cells_on.len());
    report.add("I2, I5, I6: packets a second, idle, loaded, with slow readers", found);
    report.add("packets a second of each line, beside the schedule", format!("{off:.1} per mille off at most"));
    Ok(())
}

/// What is nearest to a rate of what known cells make together with some of these.
fn with_halves(known: f64, halves: &[f64], rate: f64) -> f64 {
    let sums = (0..1_u32 << halves.len()).map(|chosen| {
        let of = halves.iter().enumerate().filter(|(place, _)| chosen >> place & 1 == 1);
        known + of.map(|(_, half)| half).sum::<f64>()
    });
    sums.min_by(|one, other| (one - rate).abs().total_cmp(&(other - rate).abs())).unwrap_or(known)
}

/// Packets that a schedule has in a slot.
#[derive(Debug, Clone, Copy, Default)]
struct PerSlot {
    least: u32,
    most: u32,
}

impl PerSlot {
    fn add(&mut self, cells_a_second: f64) {
        let cells = cells_a_second * SLOT.as_secs_f64();
        self.least += cells.floor() as u32;
        self.most += cells.ceil() as u32;
    }
}

/// Whoever has a schedule keeps to its slots, whatever situation it is: entries on their links, exits on each leg, the service on both.
fn slots(lines: &Lines, scene: &Scene, stalls: &Stalls, report: &mut Report) -> Outcome {
    let mut per_slot = BTreeMap::<Line, PerSlot>::new();
    for leg in &scene.legs {
        per_slot.entry(leg.first_line()).or_insert_with(|| {
            let mut of_link = PerSlot::default();
            of_link.add(cells_a_second(leg.class));
            of_link
        });
        if let (false, [.., before, exit]) = (leg.to_service, leg.path.as_slice()) {
            per_slot.entry((*exit, *before)).or_default().add(cells_a_second(leg.class));
        }
    }
    per_slot.extend(of_service(lines, scene, report)?);
    let windows = scene.windows();
    let mut worst = 0.0_f64;
    for (line, PerSlot { least, most }) in &per_slot {
        let tally = lines.slots(*line, &windows, &(*least..=*most), stalls)?;
        println!("{} > {} ({least} to {most} packets): {tally}", line.0, line.1);
        tally.check().with_context(|| format!("{line:?}"))?;
        worst = worst.max(tally.odd as f64 * 1000.0 / tally.slots as f64);
    }
    report.add(
        "I2: slots with another number of packets",
        format!("{worst:.1} per mille at most on {} lines", per_slot.len()),
    );
    Ok(())
}

/// Lines from the service to its guards: a share of what leaves whoever comes, and beside it one schedule for each leg of a client. All
/// legs are found on them, and none has more or less in any situation.
fn of_service(lines: &Lines, scene: &Scene, report: &mut Report) -> anyhow::Result<BTreeMap<Line, PerSlot>> {
    let guards = scene.guards.len() as f64;
    let base = RateClass::SLOWEST.bits_per_second() as f64 / 8.0 / SESSION_PACKET as f64 / guards;
    let leg = cells_a_second(scene.rate);
    let (mut found, mut per_slot, mut apart) = (0, BTreeMap::new(), 0.0_f64);
    for guard in &scene.guards {
        let line = (entry_address(SERVICE), *guard);
        let rates = rates_of(lines, scene, line);
        let legs = ((rates[0] - base) / leg).round();
        let schedule = base + legs * leg;
        let told = format!("the service > {guard}: {rates:.1?} packets a second, {schedule:.1} by {legs} legs");
        println!("{told}");
        // A line without legs has few packets, and each window may hold one more or less at both of its ends.
        let ends = scene.ends_a_second();
        let is_same = |rate: f64, as_in: f64, most: f64| (rate - as_in).abs() <= (as_in * most / 1000.0).max(ends);
        ensure!(rates.iter().all(|rate| is_same(*rate, rates[0], RATE_APART_PER_MILLE)), "{told}");
        ensure!(is_same(rates[0], schedule, RATE_OFF_PER_MILLE), "{told}");
        if legs > 0.0 {
            apart = rates.iter().fold(apart, |most, rate| most.max(per_mille(*rate, rates[0])));
        }
        let mut of_line = PerSlot::default();
        of_line.add(base);
        (0..legs as u32).for_each(|_| of_line.add(leg));
        found += legs as usize;
        per_slot.insert(line, of_line);
    }
    ensure!(found == scene.to_service().count(), "{found} legs on the lines of the service");
    if found > 0 {
        let told = format!("{apart:.1} per mille apart at most on {guards} lines, which carry {found} legs");
        report.add("I2, I5: packets a second from the service, idle, loaded, with slow readers", told);
    }
    Ok(per_slot)
}

/// Cells of one leg in a second.
fn cells_a_second(class: RateClass) -> f64 {
    class.bits_per_second() as f64 / 8.0 / SESSION_PACKET as f64 / LEGS as f64
}

/// Links to relays hop, those of entries and those between relays; links to exits and members stay at their doors.
fn hops(lines: &Lines, scene: &Scene, report: &mut Report) -> Outcome {
    for fixed in &scene.fixed {
        let ports = lines.ports_of(*fixed);
        ensure!(ports.iter().all(|port| *port == DOOR), "{fixed} was reached at {ports:?}");
    }
    let (mut of_entries, mut of_relays) = (BTreeMap::new(), BTreeMap::new());
    for leg in &scene.legs {
        for (place, line) in leg.lines().enumerate().filter(|(_, line)| !scene.fixed.contains(&line.1)) {
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
