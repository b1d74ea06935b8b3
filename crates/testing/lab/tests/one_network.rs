//! One network from its first key to its users: three directory members, six relays, two exits, two entries, an onion service, each in
//! a namespace of its own, made with the documented commands only. Shaped, with hopping ports, it carries ssh, redis, curl and long downloads while the directory's
//! leader is killed every ten seconds, relays die, one moves, one comes and one is put out. A tap is on every line.
//!
//! What the tap shows: I1 on every line from the first packet on. I2, I6 and I10 at the lines that leave an entry or an exit: slots of
//! the grid hold their public number of packets, and every line of a tunnel has the same packets a second, without flows, with bulk
//! in both directions, and with a reader that takes nothing (I5). Circuits are built and links hop meanwhile (I6); the process with
//! the schedule goes to sleep as often (I10). The long run turns one entry and one exit to mode `dp` at its end (I3, I4).
//!
//! What no tap shows, and where it is shown: I3 in `model-tests/tests/released_circuits.rs`; I4 in `tests/releases.rs` here and
//! `ledger/tests/kills.rs`; I7 in `model-tests/tests/releases.rs`; I8 in `flow-queue/tests/hostile.rs` and `shm-ring/tests`; I9 by
//! the bounds beside each queue, and `tests/bad_input.rs`.

#![allow(clippy::print_stdout, reason = "figures are told with --nocapture")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use lab::one_network::lines::{HEADS, Lines};
use lab::one_network::loads::{Loads, SILENCE, Servers};
use lab::one_network::report::Report;
use lab::one_network::situations::Stage;
use lab::one_network::switch::{SWITCH, Switch};
use lab::one_network::trouble::{self, Cast};
use lab::one_network::{OneNetwork, Size};
use lab::scratch::Scratch;
use lab::socks;
use lab::wiretap::Wiretap;
use lab::witness::{Stalls, Witness};

#[path = "one_network/budget.rs"]
mod budget;
#[path = "one_network/visit.rs"]
mod visit;
#[path = "one_network/watch.rs"]
mod watch;

type Outcome = anyhow::Result<()>;

/// Length of an interval of the directory.
const INTERVAL: &str = "2s";
/// What relays forward at most.
const RELAY_RATE: &str = "50 Mbit/s";
/// Bytes of the long download from the service, if no more are wanted: more than one takes while lines are watched.
const VISIT_MIN: u64 = 20_000_000;
/// How long it may take from an invitation to the first byte. On a machine with nothing else to do it is less than 2 s.
const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(30);
/// The longest that any flow may stand still, whatever dies.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How large a run is.
struct Form {
    /// Of each entry's tunnel, both directions.
    rate: &'static str,
    /// Leaders killed at least.
    rounds: u32,
    /// Bytes of one download.
    download: u64,
    /// How many there are.
    downloads: u64,
    /// Relays that move while nothing else happens.
    moves: usize,
    /// Phases of silence and of load, and their length.
    turns: u32,
    phase: Duration,
    /// Bytes that one download from the service brings at least, while relays, its introduction points and places of meetings die. None:
    /// there is no service.
    visit: Option<u64>,
    /// Whether the second entry and exit turn to mode `dp` at the end.
    budget: bool,
}

#[test]
fn it_carries_what_people_use_while_it_is_killed_and_changed() -> Outcome {
    run(&Form {
        rate: "4 Mbit/s",
        rounds: 3,
        download: 2_000_000,
        downloads: 5,
        moves: 1,
        visit: None,
        turns: 4,
        phase: Duration::from_millis(1200),
        budget: false,
    })
}

#[test]
#[ignore = "takes minutes; `cargo xtask long one-network` runs it"]
fn it_carries_a_hundred_megabytes_through_all_of_it() -> Outcome {
    run(&Form {
        rate: "10 Mbit/s",
        rounds: 6,
        download: 100_000_000,
        downloads: 1,
        moves: 4,
        visit: Some(100_000_000),
        turns: 8,
        phase: Duration::from_secs(2),
        budget: true,
    })
}

fn run(form: &Form) -> Outcome {
    let _turn = crate::take_turn();
    let switch = Arc::new(Switch::new()?);
    switch.here().within(|| {
        let mut report = Report::default();
        let played = play(form, &switch, &mut report);
        println!("{report}");
        played
    })
}

fn play(form: &Form, switch: &Arc<Switch>, report: &mut Report) -> Outcome {
    let servers = Servers::start(form.visit.unwrap_or(0).max(VISIT_MIN))?;
    let stage = Stage::new(servers.source)?;
    let recording = Scratch::new()?;
    let tap = Wiretap::start_at(SWITCH, recording.path(), HEADS)?;
    let begun = Instant::now();
    let ports = [servers.ports(), stage.ports().to_vec()].concat();
    let size = Size {
        members: 3,
        relays: 6,
        exits: 2,
        interval: INTERVAL,
        rate: Some(form.rate),
        relay_rate: RELAY_RATE,
        servers: ports,
    };
    let mut net = OneNetwork::start(size, Some(Arc::clone(switch)))?;
    report.add("first key to an edition with 11 relays", format!("{:.1?}", begun.elapsed()));
    let acted = act(&mut net, (&servers, &stage), form, begun, report);
    if acted.is_err() {
        println!("{}", net.ends());
    }
    let (seen, stalls) = acted?;
    net.end();
    println!("ended after {:.1?}", begun.elapsed());
    let lines = Lines::read(tap)?;
    let checked = watch::check(&lines, &seen, &stalls, report);
    println!("judged after {:.1?}", begun.elapsed());
    checked
}

/// All that happens in the network from its first edition on.
fn act(
    net: &mut OneNetwork,
    (servers, stage): (&Servers, &Stage),
    form: &Form,
    begun: Instant,
    report: &mut Report,
) -> anyhow::Result<(watch::Scene, Stalls)> {
    net.settle_exits()?;
    // It finds its points while entries come.
    let service = form.visit.map(|_| net.add_service(servers.web(), true)).transpose()?;
    enter(net, servers.source, report)?;
    println!("entered after {:.1?}", begun.elapsed());
    visit::play(net, servers, service.as_ref(), form, report)?;
    println!("visited and moved after {:.1?}", begun.elapsed());
    let witness = Witness::start()?;
    let stage = stage.clone().through(net.entries[0].address, service.as_ref());
    let seen = watch::play(net, &stage, form, report)?;
    let stalls = witness.stalls();
    drop(witness);
    println!("watched after {:.1?}", begun.elapsed());
    // What kills much in little time comes last: a service may not renew its record more than three times in ten minutes.
    carry(net, servers, form, report)?;
    println!("carried after {:.1?}", begun.elapsed());
    if form.budget {
        budget::play(net, servers.source, report)?;
    }
    for entry in &net.entries {
        ensure!(!net.log(&entry.name)?.contains("hwn1"), "the log of {} names a relay", entry.name);
    }
    Ok((seen, stalls))
}

/// Two entries come, each by its invitation.
fn enter(net: &mut OneNetwork, source: SocketAddr, report: &mut Report) -> Outcome {
    for entry in 0..2 {
        let started = Instant::now();
        net.add_entry(entry)?;
        first_byte(net, usize::from(entry), source)?;
        let took = started.elapsed();
        report.add(format!("entry {entry}: invitation to first byte"), format!("{took:.2?}"));
        ensure!(took <= FIRST_BYTE_WITHIN, "the first byte came after {took:?}");
        net.settle_entry(entry)?;
    }
    (0..2).try_for_each(|entry| net.until_linked(entry, 2))
}

/// As soon as the proxy is there and lets a connection through.
fn first_byte(net: &OneNetwork, entry: usize, source: SocketAddr) -> Outcome {
    let proxy = net.entries[entry].address;
    let begun = Instant::now();
    loop {
        match socks::download(proxy, source, 1, SILENCE, |_| {}) {
            Ok(_) => return Ok(()),
            Err(error) if begun.elapsed() > SILENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Programs and downloads are busy while leaders and relays die, one relay moves, one comes and one is put out.
fn carry(net: &mut OneNetwork, servers: &Servers, form: &Form, report: &mut Report) -> Outcome {
    let mut loads = Loads::new();
    loads.start_programs(servers, "e0", net.entries[0].address)?;
    loads.start_programs(servers, "e1", net.entries[1].address)?;
    loads.start_downloads(servers, "e0", net.entries[0].address, form.download, form.downloads);
    let index = |net: &OneNetwork| anyhow::Ok(net.edition()?["edition"]["index"].as_u64().unwrap_or(0));
    let (before, begun) = (index(net)?, Instant::now());
    let cast = Cast { mortal: vec![0, 3, 4], expelled: 1, moved: 2, added: 6 };
    let happened = trouble::make(net, &mut loads, &cast, form.rounds, form.downloads)?;
    let (editions, lasted) = (index(net)? - before, begun.elapsed());
    let [new, old] =
        [usize::from(cast.added), cast.expelled].map(|relay| net.relays[relay].id.clone().unwrap_or_default());
    net.until("the new relay is in an edition and the old one is not", |net| Ok(has(net, &new)? && !has(net, &old)?))?;
    net.until("no entry goes over the old one", |net| {
        Ok((0..2).all(|entry| net.entry_status(entry).is_ok_and(|status| !status.to_string().contains(&old))))
    })?;
    let carried = loads.stop()?;
    report.add("loads lasted", format!("{lasted:.0?}"));
    let what = format!(
        "{} leaders of the directory, {} relays; nobody led for {:.1?} at most; {editions} editions meanwhile",
        happened.leaders, happened.relays, happened.without_leader
    );
    report.add("killed", what);
    for one in &carried {
        let found =
            format!("{} answers, {} bytes, all compared; longest wait {:.1?}", one.answers, one.bytes, one.longest);
        report.add(&one.what, found);
        ensure!(one.answers > 0 && one.longest <= PAUSE_MAX, "{one:?}");
    }
    // Each death costs a leader, not editions.
    ensure!(editions > u64::from(happened.leaders), "{editions} editions while {happened:?}");
    Ok(())
}

/// Whether the newest edition has a relay.
fn has(net: &OneNetwork, id: &str) -> anyhow::Result<bool> {
    let edition = net.edition()?;
    let relays = edition["relays"].as_array().cloned().unwrap_or_default();
    Ok(relays.iter().any(|relay| relay["node"].as_str() == Some(id)))
}
