//! What a download notices of a guard that is killed, and of one that stands still.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::Signal;
use shaping::RateClass;

use super::HOPS;
use super::system::{Own, Servers, System};
use super::tor::{TorClient, TorNet};
use crate::circuits::NetConfig;
use crate::measure::Plan;
use crate::measure::table::{Samples, Table, at_most};
use crate::socks::Transfer;

/// What relays send, so that a transfer lasts as long on every machine.
const RATE: u64 = 50_000_000;
/// Bytes of the transfer in which a guard is killed, and of that in which one stands still.
const KILL_BYTES: u64 = 100_000_000;
const STALL_BYTES: u64 = 150_000_000;
/// When it happens, in thousandths of the transfer.
const WHEN: u64 = 300;
/// How long a guard stands still.
const STALL: Duration = Duration::from_secs(12);
/// Longest gap in seconds after a kill, and while a guard stands still: three round trips, which take next to nothing here, and
/// half a second.
const MOST_AFTER_KILL: f64 = 1.0;
const MOST_IN_STALL: f64 = 0.5;

/// What is done to a guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Kill,
    Stall,
}

impl Blow {
    fn name(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Stall => "SIGSTOP for 12 s",
        }
    }

    fn bytes(self) -> u64 {
        if self == Self::Kill { KILL_BYTES } else { STALL_BYTES }
    }
}

/// What came of the rounds.
#[derive(Default)]
struct Outcomes {
    /// Longest gaps in seconds, of transfers that came through whole.
    gaps: Samples,
    whole: u32,
    all: u32,
    last_failure: Option<String>,
}

impl Outcomes {
    fn push(&mut self, transfer: anyhow::Result<Transfer>) {
        self.all += 1;
        match transfer {
            Ok(transfer) => {
                self.whole += 1;
                self.gaps.push(transfer.longest_stall.as_secs_f64());
            }
            Err(error) => self.last_failure = Some(format!("{error:#}")),
        }
    }
}

pub(in crate::measure) fn section(plan: &Plan, progress: &dyn Fn(&str)) -> anyhow::Result<String> {
    let rate = RateClass::at_least(RATE).ok();
    let servers = Servers::start()?;
    let tor = TorNet::start(rate.map(RateClass::bits_per_second), progress)?;
    let mut table = Table::new(&["system", "a guard gets", "whole", "longest gap in s", "target", "last failure"]);
    for blow in [Blow::Kill, Blow::Stall] {
        let (mut ours, mut theirs) = (Outcomes::default(), Outcomes::default());
        for round in 1..=plan.rounds {
            progress(&format!("{}, round {round} of {}", blow.name(), plan.rounds));
            let own = Own::start(&NetConfig { max_rate: rate, ..NetConfig::new(HOPS, 2) })?;
            ours.push(strike_own(own, servers, blow, round)?);
            // A guard of C-tor that is killed stays away, and there are few.
            if let Some(tor) = tor.as_ref().filter(|_| blow == Blow::Stall || round == 1) {
                let client = tor.client(2)?;
                theirs.push(strike_tor(tor, &client, servers, blow)?);
            }
        }
        let most = if blow == Blow::Kill { MOST_AFTER_KILL } else { MOST_IN_STALL };
        row(&mut table, "Hushwire, 2 legs", blow, &ours, at_most(ours.gaps.largest(), most, 1));
        if tor.is_some() {
            row(&mut table, "C-tor, 2 legs", blow, &theirs, String::new());
        }
    }
    let text = "## Guards that fail\n\nA download at relays of 50 Mbit/s, in which one of the two guards in use is struck after 30 % of \
                the bytes: 100 MB with a kill, 150 MB with a stop. Gaps are between two reads of the application.\n\n";
    Ok(text.to_owned() + &table.finish())
}

fn row(table: &mut Table, name: &str, blow: Blow, outcomes: &Outcomes, target: String) {
    let Outcomes { gaps, whole, all, last_failure } = outcomes;
    let failure = last_failure.clone().unwrap_or_default();
    table.row(&[name.to_owned(), blow.name().to_owned(), format!("{whole} of {all}"), gaps.show(2), target, failure]);
}

/// The guards take turns.
fn strike_own(own: Own, servers: Servers, blow: Blow, round: u32) -> anyhow::Result<anyhow::Result<Transfer>> {
    let guards = own.net.guards()?;
    let guard = *guards.get(round as usize % guards.len().max(1)).context("the tunnel has no guard")?;
    let pid = own.net.relay_pids().into_iter().nth(guard).context("the guard runs")?.1;
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).context("a process id")?;
    download(&own, servers, blow, move |signal| Ok(rustix::process::kill_process(pid, signal)?))
}

fn strike_tor(
    tor: &TorNet,
    client: &TorClient<'_>,
    servers: Servers,
    blow: Blow,
) -> anyhow::Result<anyhow::Result<Transfer>> {
    let mut guard = None;
    download(client, servers, blow, |signal| {
        let name = match &guard {
            Some(name) => String::clone(name),
            None => client.guard_in_use()?,
        };
        guard = Some(name.clone());
        tor.signal(&name, signal)
    })
}

/// Downloads in a thread; `send` sends a signal to the guard from this one.
fn download(
    system: &dyn System,
    servers: Servers,
    blow: Blow,
    mut send: impl FnMut(Signal) -> anyhow::Result<()>,
) -> anyhow::Result<anyhow::Result<Transfer>> {
    let (reached, when) = mpsc::channel();
    let (proxy, bytes) = (system.proxy(), blow.bytes());
    thread::scope(|scope| {
        let downloading = scope.spawn(move || {
            let threshold = bytes * WHEN / 1000;
            servers.download_from(proxy, bytes, |so_far| {
                if so_far >= threshold {
                    // Only the first word counts; nobody listens later.
                    let _ = reached.send(());
                }
            })
        });
        // When the download has failed before, there is nobody to strike.
        if when.recv().is_ok() {
            match blow {
                Blow::Kill => send(Signal::KILL)?,
                Blow::Stall => {
                    send(Signal::STOP)?;
                    let until = Instant::now() + STALL;
                    thread::sleep(until.saturating_duration_since(Instant::now()));
                    send(Signal::CONT)?;
                }
            }
        }
        drop(when);
        downloading.join().map_err(|_| anyhow::anyhow!("the download panicked"))
    })
}
