//! The same network with one entry and one exit in mode `dp`: every release is paid for in the entry's ledger before it is made, also
//! over a kill (I3, I4).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use lab::one_network::OneNetwork;
use lab::one_network::loads::SILENCE;
use lab::one_network::report::Report;
use lab::socks;
use serde_json::Value;

use super::Outcome;

/// Bytes of each transfer: a client may bring 2.5 MB into an epoch of the exit.
const BYTES: u64 = 500_000;
/// How long an entry may take until it has released.
const WITHIN: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// What the second entry says of its budget.
#[derive(Debug, Clone, PartialEq)]
struct Spent {
    ledger: String,
    reservations: u64,
    released: u64,
    epsilon: f64,
}

impl Spent {
    fn of(status: &Value) -> Option<Self> {
        let privacy = &status["privacy"];
        Some(Self {
            ledger: privacy["ledger"]["id"].as_str()?.to_owned(),
            reservations: privacy["ledger"]["reservations"].as_u64()?,
            released: privacy["edges"]["released"].as_u64().unwrap_or(0),
            epsilon: privacy["together"]["lifetime_epsilon"].as_f64()?,
        })
    }
}

/// Turns the second entry and the second exit to `dp`, and looks at what they spend.
pub(crate) fn play(net: &mut OneNetwork, source: SocketAddr, report: &mut Report) -> Outcome {
    turn(net)?;
    let first = spent(net, |spent| spent.released >= 2)?;
    let proxy = net.entries[1].address;
    let transfer = socks::download(proxy, source, BYTES, SILENCE, |_| {})?;
    let before = spent(net, |spent| spent.released > first.released)?;
    ensure!(before.epsilon >= first.epsilon && before.reservations >= first.reservations, "{first:?} {before:?}");
    net.entries[1].kill()?;
    net.start_entry(1)?;
    // Its first word is of the ledger as it was left.
    let after = spent(net, |_| true)?;
    ensure!(after.ledger == before.ledger && after.reservations >= before.reservations, "{before:?} {after:?}");
    ensure!(after.epsilon >= before.epsilon, "{before:?} {after:?}");
    let again = spent(net, |spent| spent.released >= 1)?;
    // What was paid a minute ahead may be used up first.
    ensure!(again.epsilon >= before.epsilon && again.reservations >= before.reservations, "{before:?} {again:?}");
    socks::download(proxy, source, BYTES, SILENCE, |_| {})?;
    let found = format!(
        "{} releases paid by {} reservations, epsilon {:.2}; after kill -9 {:.2}, then {:.2}; {:.2} Mbit/s",
        before.released,
        before.reservations,
        before.epsilon,
        after.epsilon,
        again.epsilon,
        transfer.megabits_per_second()
    );
    report.add("I3, I4: an entry and an exit in mode `dp`", found);
    Ok(())
}

fn turn(net: &OneNetwork) -> Outcome {
    let exit = &net.exits[1];
    let id = exit.id.as_deref().context("exits have ids")?;
    net.change(&exit.name, &[("[exit.shaping]\nmode = \"constant\"", "[exit.shaping]\nmode = \"dp\"")])?;
    let name = net.entries[1].name.clone();
    let network = format!("[entry.network]\nexit = \"{id}\"");
    net.change(&name, &[("mode = \"constant\"", "mode = \"dp\""), ("[entry.network]", &network)])?;
    net.run(&["ledger", "new", "-c", &format!("{name}/node.toml#entry")])?;
    for name in [&exit.name, &name] {
        net.run(&["reload", &format!("{name}/node.toml")])?;
    }
    net.until_linked(1, 2)
}

/// Waits until the entry's budget is as wanted. What is paid is never less than what is released.
fn spent(net: &OneNetwork, wanted: impl Fn(&Spent) -> bool) -> anyhow::Result<Spent> {
    let begun = Instant::now();
    loop {
        let status = net.entry_status(1);
        let found = status.as_ref().ok().and_then(Spent::of);
        if let Some(found) = &found {
            ensure!(found.released == 0 || found.epsilon > 0.0, "released and not paid: {found:?}");
            if wanted(found) {
                return Ok(found.clone());
            }
        }
        ensure!(begun.elapsed() < WITHIN, "not in time: {found:?} {status:?}");
        std::thread::sleep(LOOK_EVERY);
    }
}
