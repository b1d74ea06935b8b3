//! One network from its first key to its users: three directory members, six relays, two exits, two entries, in a namespace, made with the
//! documented commands only; shaped, while relays and the directory's leader die and relays come and go.

#![allow(clippy::print_stdout, reason = "figures are told with --nocapture")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use adversary::{judge_randomness, one_size};
use anyhow::{Context, ensure};
use lab::load::{self, Service};
use lab::network::Namespace;
use lab::one_network::{OneNetwork, Size, is_cluster};
use lab::scratch::Scratch;
use lab::socks;
use lab::wiretap::{Tapped, Wiretap};

type Outcome = anyhow::Result<()>;

/// How long the other end may say nothing, on a busy machine.
const SILENCE: Duration = Duration::from_secs(60);
/// Bytes of every packet.
const P: usize = 1350;
/// Of each packet so many bytes are recorded: headers of lower layers, and a few dozen of its own.
const HEADS: u32 = 110;
/// Bytes of each transfer.
const BYTES: u64 = 2_000_000;

#[test]
fn it_comes_about_carries_and_repairs_itself() -> Outcome {
    let here = Namespace::new("one")?;
    here.set_up("link set lo gso_max_segs 1\n")?;
    here.within(play)
}

fn play() -> Outcome {
    let source = load::start(Service::Source { bytes: BYTES })?;
    let recording = Scratch::new()?;
    let tap = Wiretap::start(recording.path(), HEADS)?;
    let begun = Instant::now();
    let mut net = OneNetwork::start(Size {
        members: 3,
        relays: 6,
        exits: 2,
        interval: "2s",
        rate: "4 Mbit/s",
        servers: vec![source.port()],
    })?;
    println!("from the first key to an edition with 11 relays: {:?}", begun.elapsed());
    for entry in 0..2 {
        let started = Instant::now();
        net.add_entry(entry)?;
        first_byte(&net, usize::from(entry), source)?;
        println!("entry {entry}: from its invitation to the first byte in {:?}", started.elapsed());
        net.until_linked(usize::from(entry), 2)?;
        socks::download(net.entries[usize::from(entry)].address, source, BYTES, SILENCE, |_| {})?;
    }

    // The leader of the directory dies in the middle of a transfer, and a relay of the tunnel.
    let proxy = net.entries[0].address;
    let transfer = std::thread::spawn(move || socks::download(proxy, source, BYTES, SILENCE, |_| {}));
    let leader = net.leader()?;
    net.members[leader].kill()?;
    net.relays[0].kill()?;
    let index = |net: &OneNetwork| anyhow::Ok(net.edition()?["edition"]["index"].as_u64().unwrap_or(0));
    let before = index(&net)?;
    net.until("editions go on without the leader", |net| Ok(index(net)? > before + 1))?;
    transfer.join().map_err(|_| anyhow::anyhow!("the transfer panicked"))??;

    // Another relay comes, one is put out.
    net.start_member(leader, &[])?;
    net.add_relay(6)?;
    let (new, old) = (net.relays[6].id.clone(), net.relays[1].id.clone());
    net.expel(old.as_deref().unwrap_or_default())?;
    let has = |net: &OneNetwork, id: &Option<String>| {
        let edition = net.edition()?;
        let relays = edition["relays"].as_array().cloned().unwrap_or_default();
        anyhow::Ok(relays.iter().any(|relay| relay["node"].as_str() == id.as_deref()))
    };
    net.until("the new relay is in an edition and the old one is not", |net| Ok(has(net, &new)? && !has(net, &old)?))?;
    net.until("no entry goes over the old one", |net| {
        let gone = old.as_deref().unwrap_or_default();
        Ok((0..2).all(|entry| net.entry_status(entry).is_ok_and(|status| !status.to_string().contains(gone))))
    })?;
    for entry in 0..2 {
        net.until_linked(entry, 2)?;
        socks::download(net.entries[entry].address, source, BYTES, SILENCE, |_| {})?;
    }
    let log = net.log("e0")?;
    ensure!(!log.contains("hwn1"), "an entry's log names no relay: {log}");
    drop(net);
    check_lines(&tap.finish()?)
}

/// As soon as the proxy is there and lets a connection through.
fn first_byte(net: &OneNetwork, entry: usize, source: SocketAddr) -> Outcome {
    let proxy = net.entries[entry].address;
    let begun = Instant::now();
    loop {
        let fetched = socks::download(proxy, source, 1, SILENCE, |_| {});
        match fetched {
            Ok(_) => return Ok(()),
            Err(error) if begun.elapsed() > SILENCE => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Whoever has a tap on any line sees packets of one size that look random, from the first one on. Members of the cluster speak
/// QUIC to each other, on addresses of their own.
fn check_lines(tapped: &Tapped) -> Outcome {
    let mut heads = Vec::new();
    for line in tapped.lines().filter(|(from, to)| !is_cluster(*from) && !is_cluster(*to)) {
        one_size(&tapped.sightings(line), P).with_context(|| format!("{line:?}"))?;
        heads.extend(tapped.payloads(line));
    }
    println!("{} packets of {P} bytes", heads.len());
    let report = judge_randomness(&heads)?;
    ensure!(report.passes(), "{report}");
    Ok(())
}
