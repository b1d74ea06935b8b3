//! Real relays, an exit and an entry on loopback: programs over two legs of three hops, guards that die and that stand still, an
//! exit that is started again, and logs that name nobody.

use std::time::Duration;

use anyhow::Context;
use lab::circuits::{CircuitNet, NetConfig, linked, tunnels};
use lab::load::{self, Service};
use lab::pair::Role;
use lab::socks::{self, Transfer};
use rustix::process::Signal;
use shaping::RateClass;

#[path = "circuits/logs.rs"]
mod logs;
#[path = "circuits/programs.rs"]
mod programs;

type Outcome = anyhow::Result<()>;

const HOPS: u8 = 3;
const LEGS: u8 = 2;
/// How long the other end may say nothing, on a busy machine.
const SILENCE: Duration = Duration::from_secs(30);
/// How long a leg may take to be replaced.
const REPAIRED_WITHIN: Duration = Duration::from_secs(40);
/// At this rate a transfer lasts long enough to be in the middle of it.
const SLOW: u64 = 10_000_000;
const MEGABYTE: u64 = 1_000_000;

fn slow_net() -> anyhow::Result<CircuitNet> {
    let max_rate = Some(RateClass::at_least(SLOW)?);
    CircuitNet::start(&NetConfig { max_rate, ..NetConfig::new(HOPS, LEGS) })
}

/// Downloads, and does something once when a third has come.
fn download_and(net: &CircuitNet, bytes: u64, then: impl FnOnce() -> Outcome) -> anyhow::Result<Transfer> {
    let source = load::start(Service::Source { bytes })?;
    let (mut then, mut done) = (Some(then), Ok(()));
    let transfer = socks::download(net.proxy(), source, bytes, SILENCE, |so_far| {
        if so_far * 3 > bytes
            && let Some(then) = then.take()
        {
            done = then();
        }
    })?;
    done.map(|()| transfer)
}

fn whole(net: &CircuitNet, bytes: u64) -> Outcome {
    download_and(net, bytes, || Ok(())).map(drop)
}

#[test]
fn a_leg_whose_guard_is_killed_is_replaced_and_no_byte_is_lost() -> Outcome {
    let mut net = slow_net()?;
    let guards = net.guards()?;
    let killed = *guards.first().context("a tunnel has guards")?;
    let relay = net.take_relay(killed).context("it runs")?;
    download_and(&net, 6 * MEGABYTE, || {
        relay.signal(Signal::KILL);
        Ok(())
    })?;
    net.wait_for(REPAIRED_WITHIN, |status| linked(status).count() == usize::from(LEGS))?;
    let repaired = net.guards()?;
    assert!(!repaired.contains(&killed), "{repaired:?} has still relay {killed}");
    whole(&net, MEGABYTE)
}

#[test]
fn a_guard_that_stands_still_for_seconds_holds_up_no_transfer() -> Outcome {
    let mut net = slow_net()?;
    let stopped = *net.guards()?.last().context("a tunnel has guards")?;
    let relay = net.take_relay(stopped).context("it runs")?;
    let again = std::thread::scope(|scope| {
        let again = std::cell::OnceCell::new();
        download_and(&net, 12 * MEGABYTE, || {
            relay.signal(Signal::STOP);
            let continued = scope.spawn(|| {
                std::thread::sleep(Duration::from_secs(4));
                relay.signal(Signal::CONT);
            });
            again.set(continued).map_err(|_| anyhow::anyhow!("it is stopped once"))
        })?;
        let continued = again.into_inner().context("a third of the bytes came")?;
        continued.join().map_err(|_| anyhow::anyhow!("the thread panicked"))
    });
    again?;
    net.wait_for(REPAIRED_WITHIN, |status| linked(status).count() == usize::from(LEGS))?;
    whole(&net, MEGABYTE)
}

#[test]
fn an_exit_that_is_started_again_serves_new_flows() -> Outcome {
    let mut net = CircuitNet::start(&NetConfig { session_timeout_s: 4, ..NetConfig::new(HOPS, LEGS) })?;
    whole(&net, MEGABYTE)?;
    let before = net.tunnels()?;
    let exit = net.take_node(Role::Exit).context("it runs")?;
    exit.signal(Signal::KILL);
    drop(exit);
    net.start_node(Role::Exit)?;
    net.wait_for(REPAIRED_WITHIN, |status| tunnels(status) > before)?;
    net.wait_until_whole()?;
    whole(&net, MEGABYTE)
}

#[test]
fn programs_work_over_circuits_and_no_log_names_anybody() -> Outcome {
    let net = CircuitNet::start(&NetConfig { log: "trace", ..NetConfig::new(HOPS, LEGS) })?;
    for leg in net.legs()? {
        assert_eq!(leg.path.len(), usize::from(HOPS), "{leg:?}");
    }
    let mut destinations = programs::curl(&net)?;
    destinations.push(programs::ssh(&net)?);
    destinations.push(programs::video(&net)?);
    logs::name_nobody(net, &destinations)
}
