//! Somebody is at the service, with a browser and a long download, while relays move and die: introduction points of the service, and a
//! place where the two meet.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lab::load;
use lab::one_network::OneNetwork;
use lab::one_network::loads::{self, Carried, Loads, PAGE, SILENCE, Servers};
use lab::one_network::report::Report;
use lab::one_network::service::PointWatch;
use lab::one_network::trouble;
use lab::scratch::Scratch;
use lab::socks::Place;

use super::{Form, INTERVAL, Outcome, PAUSE_MAX, has};

/// How long a changed descriptor may take into an entry's document. On a machine with nothing else to do it takes the rest of the
/// interval, up to a quarter of the next one, and the relay's own start: the table says how long.
const VISIBLE_WITHIN: Duration = Duration::from_secs(45);
/// Relays that are killed at most until an introduction point was among them. All but three that might be one are, so one is.
const DEATHS_MAX: usize = 5;
/// How long a service may take to notice that a point is gone, and to find another.
const REPAIRED_WITHIN: Duration = Duration::from_secs(5);
/// How long the tunnel may go on with fewer legs: the wait for another introduction doubles with each.
const MET_WITHIN: Duration = Duration::from_secs(90);
/// How often a waiting loop looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Legs of a tunnel to a service.
pub(crate) const LEGS: usize = 2;

/// All of it, and the moves of relays that are measured.
pub(crate) fn play(
    net: &mut OneNetwork,
    servers: &Servers,
    service: Option<&Place>,
    form: &Form,
    report: &mut Report,
) -> Outcome {
    let Some(service) = service else {
        moves(net, form, None, report)?;
        return (0..2).try_for_each(|entry| net.until_linked(entry, 2));
    };
    net.until_published()?;
    let points = PointWatch::start(net)?;
    let mut visits = Loads::new();
    let begun = Instant::now();
    visits.start_visits(servers, "e0", net.entries[0].address, service);
    met(net, &mut visits)?;
    moves(net, form, Some(&mut visits), report)?;
    leader_dies(net, &mut visits)?;
    let deaths = point_dies(net, &mut visits, &points)?;
    let met_again = meeting_dies(net, &mut visits)?;
    let lost = points.lost();
    report.add(
        "an introduction point of the service dies, then the place of a meeting",
        format!(
            "{lost} points were lost by {} moves and {deaths} deaths; both legs are there again {met_again:.1?} after the \
             meeting's death",
            form.moves
        ),
    );
    ensure!(lost > 0, "no introduction point was among the relays that died");
    report.add("somebody who was never there has the service's page after", format!("{:.1?}", newcomer(net, service)?));
    while form.visit > Some(visits.visited()) {
        visits.check()?;
        std::thread::sleep(LOOK_EVERY);
    }
    let lasted = begun.elapsed();
    let carried = visits.stop()?;
    tell(&carried, lasted, report)?;
    net.until_met(0, LEGS)?;
    net.until_met(1, 1)?;
    (0..2).try_for_each(|entry| net.until_linked(entry, 2))
}

fn tell(carried: &[Carried], lasted: Duration, report: &mut Report) -> Outcome {
    for one in carried {
        let (first, rest) = one.waits.split_first().context("it was answered")?;
        let typical = load::quantile(rest, 0.5).map_or_else(String::new, |wait| format!(", {wait:.0?} later (median)"));
        let found = format!(
            "{} answers, {} bytes, all compared, in {lasted:.0?}; {first:.1?} for the first{typical}; longest wait {:.1?}",
            one.answers, one.bytes, one.longest
        );
        report.add(&one.what, found);
        ensure!(one.longest <= PAUSE_MAX, "{one:?}");
    }
    Ok(())
}

/// Waits until the first entry has both legs to the service, and fails with a flow that was told. Two deaths at a time may take both legs.
fn met(net: &OneNetwork, visits: &mut Loads) -> Outcome {
    let begun = Instant::now();
    loop {
        visits.check()?;
        let found = net.service_legs(0)?;
        if found.len() == LEGS {
            return Ok(());
        }
        ensure!(begun.elapsed() < MET_WITHIN, "the first entry has these legs to the service: {found:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Relays that run, are in the edition, and are neither guards of the service nor of the first entry, nor places where these meet; those
/// first over which no leg of that entry leads.
fn bystanders(net: &OneNetwork) -> anyhow::Result<Vec<usize>> {
    let (legs, guards) = (net.service_legs(0)?, net.guards_of_service()?);
    let mut found = Vec::new();
    for (number, relay) in net.relays.iter().enumerate().filter(|(_, relay)| relay.is_running()) {
        let id = relay.id.as_ref().context("relays have ids")?;
        let is_end = legs.iter().any(|leg| leg.first() == Some(id) || leg.last() == Some(id));
        if !is_end && !guards.contains(id) && has(net, id)? {
            found.push((legs.iter().any(|leg| leg.contains(id)), number));
        }
    }
    found.sort_unstable();
    Ok(found.into_iter().map(|(_, number)| number).collect())
}

/// Unless an introduction point of the service was among the relays that moved, relays are killed until one is, and come back. How many
/// it took.
fn point_dies(net: &mut OneNetwork, visits: &mut Loads, points: &PointWatch) -> anyhow::Result<usize> {
    let mut dead = Vec::new();
    while points.lost() == 0 && dead.len() < DEATHS_MAX {
        met(net, visits)?;
        let next = bystanders(net)?.into_iter().find(|relay| !dead.contains(relay));
        let next = next.with_context(|| format!("relays that may die after {dead:?}"))?;
        net.relays[next].kill()?;
        dead.push(next);
        let begun = Instant::now();
        while points.lost() == 0 && begun.elapsed() < REPAIRED_WITHIN {
            visits.check()?;
            std::thread::sleep(LOOK_EVERY);
        }
        net.start_relay(next)?;
    }
    Ok(dead.len())
}

/// The leader of the directory dies with its whole node, and comes back.
fn leader_dies(net: &mut OneNetwork, visits: &mut Loads) -> Outcome {
    met(net, visits)?;
    let leader = net.leader()?;
    net.members[leader].kill()?;
    let begun = Instant::now();
    while begun.elapsed() < trouble::AWAY {
        visits.check()?;
        std::thread::sleep(LOOK_EVERY);
    }
    net.start_member(leader, &[])
}

/// The relay dies at which a leg of the first entry ends, and comes back some seconds later. How long it takes until the entry has both legs.
fn meeting_dies(net: &mut OneNetwork, visits: &mut Loads) -> anyhow::Result<Duration> {
    met(net, visits)?;
    let legs = net.service_legs(0)?;
    let meeting = legs.first().and_then(|leg| leg.last()).context("legs have relays")?.clone();
    let victim = net.relays.iter().position(|relay| relay.id.as_ref() == Some(&meeting)).context("a relay")?;
    net.relays[victim].kill()?;
    let begun = Instant::now();
    // Its legs go before it is there again.
    while net.service_legs(0)?.iter().flatten().any(|relay| *relay == meeting) {
        visits.check()?;
        ensure!(begun.elapsed() < SILENCE, "the first entry still has a leg over a relay that died");
        std::thread::sleep(LOOK_EVERY);
    }
    let gone = begun.elapsed();
    std::thread::sleep(trouble::AWAY.saturating_sub(gone));
    net.start_relay(victim)?;
    met(net, visits)?;
    Ok(begun.elapsed())
}

/// Somebody who was never there comes through the second entry. How long the page takes.
fn newcomer(net: &OneNetwork, service: &Place) -> anyhow::Result<Duration> {
    let (folder, begun) = (Scratch::new()?, Instant::now());
    let page = folder.join("page");
    loads::fetch(net.entries[1].address, &format!("http://{}/page", service.host()), &page)?;
    let took = begun.elapsed();
    let found = load::read_pattern(&mut std::fs::File::open(&page)?)?;
    ensure!(found == PAGE, "{found} bytes of {PAGE}");
    Ok(took)
}

/// Relays move to other addresses, one after another, and both entries learn of it. Whoever visits the service has all legs before each.
fn moves(net: &mut OneNetwork, form: &Form, mut visits: Option<&mut Loads>, report: &mut Report) -> Outcome {
    let mut took = Vec::new();
    for number in 0..form.moves {
        if let Some(visits) = visits.as_deref_mut() {
            met(net, visits)?;
        }
        let movable = bystanders(net)?;
        let next = movable.get(number % movable.len().max(1)).context("a relay that may move")?;
        let to = net.move_relay(*next)?;
        let started = Instant::now();
        let mut seen = [None; 2];
        while seen.contains(&None) {
            for (entry, seen) in seen.iter_mut().enumerate().filter(|(_, seen)| seen.is_none()) {
                if net.sees(entry, to)? {
                    *seen = Some(started.elapsed());
                }
            }
            ensure!(started.elapsed() < SILENCE, "no entry learns that a relay is at {to} now");
            std::thread::sleep(Duration::from_millis(20));
        }
        took.extend(seen.into_iter().flatten());
    }
    let longest = load::quantile(&took, 1.0).context("relays moved")?;
    let median = load::quantile(&took, 0.5).context("relays moved")?;
    let found = format!("{median:.2?} (median), {longest:.2?} (longest) of {}, from the relay's start", took.len());
    report.add(format!("a changed address is in an entry's document (interval {INTERVAL})"), found);
    ensure!(longest <= VISIBLE_WITHIN, "a change was seen after {longest:?}");
    Ok(())
}
