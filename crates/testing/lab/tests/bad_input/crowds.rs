//! Very many connections that ask for nothing.

use std::net::TcpStream;

use anyhow::Context;
use lab::pair::{Mode, PairConfig, Role};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::rig::{GoodPair, Outcome, say, take_turn};

/// Connections; `HUSHWIRE_HALF_OPEN` says another number, such as the 10,000 of a long run.
const CONNECTIONS: u64 = 2_000;
/// Connections without a request that an entry keeps.
const KEPT: u64 = 1_024;
/// Descriptors that the test itself needs.
const OWN_DESCRIPTORS: u64 = 256;
/// Bytes by which the entry's process may grow: 16 KiB for each connection that it keeps, and some for all.
const GROWTH_MAX: u64 = (KEPT + 1_024) * (16 << 10);

#[test]
fn a_crowd_of_silent_connections_is_bounded_and_others_are_served() -> Outcome {
    let _turn = take_turn();
    let connections = match std::env::var("HUSHWIRE_HALF_OPEN") {
        Ok(number) => number.parse().context("HUSHWIRE_HALF_OPEN is no number")?,
        Err(_) => CONNECTIONS,
    };
    raise_descriptors(connections + OWN_DESCRIPTORS)?;
    // A time-out so long that only the bound ends connections.
    let good = GoodPair::with_request_timeout(PairConfig::new(Mode::constant("2 Mbit/s")), 120)?;
    let reason = "silent clients closed";
    let memory = resident(&good)?;
    let mut crowd = Vec::new();
    for number in 1..=connections {
        crowd.push(TcpStream::connect(good.pair.proxy()).with_context(|| format!("connection {number}"))?);
        if number % 500 == 0 {
            good.fetch()?;
        }
    }
    good.wait_for(Role::Entry, reason, connections - KEPT)?;
    good.fetch()?;
    let closed = good.settled(Role::Entry, reason)?;
    let grown = resident(&good)?.saturating_sub(memory);
    say(&format!("{connections} silent connections: {closed} closed, the process grew by {} KiB", grown >> 10));
    // Every fetch was a connection, too, and may have ended one.
    assert!(closed <= connections - KEPT + 2 + connections / 500, "{closed} closed");
    assert!(grown <= GROWTH_MAX, "{grown} bytes more");
    good.wait_for_log(Role::Entry, reason)?;
    // The oldest went, the newest stayed.
    assert!(is_closed(&crowd[0])? && !is_closed(crowd.last().context("there are some")?)?);
    drop(crowd);
    good.fetch()
}

fn is_closed(stream: &TcpStream) -> std::io::Result<bool> {
    stream.set_nonblocking(true)?;
    match stream.peek(&mut [0]) {
        Ok(0) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) => Ok(error.kind() != std::io::ErrorKind::WouldBlock),
    }
}

/// Resident memory of the process that accepts, without the segments.
fn resident(good: &GoodPair) -> anyhow::Result<u64> {
    let pids = good.pair.pids(Role::Entry)?;
    let (_, pid) = pids.iter().find(|(name, _)| name == "unshaped-server").context("the entry runs")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("a kernel that counts memory")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}

/// Children inherit the limit, which is what a service manager would do for them.
fn raise_descriptors(needed: u64) -> Outcome {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(needed));
    let raised = Rlimit { current: Some(needed), maximum };
    setrlimit(Resource::Nofile, raised).with_context(|| format!("this test needs {needed} open files (ulimit -n)"))
}
