//! kill -9 during releases: what an observer saw is never more than what the ledger says, in neither direction, and no
//! epoch is seen twice.
//!
//! A child process (this program again) opens the ledger, reserves, and then writes each release to a plain file, which
//! stands for the wire. It is killed at a random moment, also while it opens; then a copy of the ledger is compared with
//! the file, and the next child starts from the ledger as the kill left it. `cargo xtask long ledger` sets
//! HUSHWIRE_LEDGER_KILLS=1000. A child that releases before it reserves must be caught: the comparison has power.

#[path = "support/folder.rs"]
mod folder;
#[path = "support/program.rs"]
mod program;

use folder::{DAY, Folder, NODE, START};
use ledger::Store;
use program::Outcome;
use shaping::accountant::MuSquared;
use shaping::ledger::{Cost, Direction, Limits, Request};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

const EPOCH_S: u32 = 5;
/// What each release costs, in the ledger's units.
const COST: u128 = 3;
/// Kills of an ordinary run.
const KILLS: u32 = 25;
/// Longest life of a child in microseconds. Opening takes about a fifth of it, a reservation some milliseconds. On a busy machine
/// both take longer: where children are killed before they release anything, the next ones live longer.
const LIFE_MAX_US: u64 = 120_000;
/// How far that goes.
const LONGEST_LIFE_MAX_US: u64 = 64 * LIFE_MAX_US;
/// So many times as many are killed at most, until something was released in both directions.
const FURTHER_KILLS: u32 = 8;
/// Kills within which the planted bug has to be caught.
const PLANTED_KILLS_MAX: u32 = 200;
/// How long it leaves a release unpaid. Most of a reservation is waiting for the disk, and what is killed then has been
/// handed to the system already: without a wait a kill would rarely find the bug.
const PLANTED_WAIT: Duration = Duration::from_millis(5);
/// Bytes of a release on the wire: direction 1, epoch 8.
const RELEASE_LEN: usize = 9;

fn main() -> ExitCode {
    let child = |words: &[&str]| match words {
        ["release", order, folder] => Some(release(order, Path::new(folder))),
        _ => None,
    };
    program::run(child, run)
}

fn run() -> Outcome<()> {
    let kills = std::env::var("HUSHWIRE_LEDGER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let seed = std::env::var("HUSHWIRE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_128);
    let mut out = std::io::stdout();
    writeln!(out, "{kills} kills, HUSHWIRE_SEED={seed}")?;
    let seen = match play("reserve-first", kills, seed)? {
        Verdict::Held(seen) if seen.released.contains(&0) => return Err("nothing was released in a direction".into()),
        Verdict::Held(seen) => seen,
        Verdict::Broken(how) => return Err(how.into()),
    };
    let (released, paid) = (seen.released.iter().sum::<u128>(), seen.paid.iter().sum::<u128>());
    writeln!(out, "test a_ledger_never_says_less_than_was_released ... ok: {released} released, {paid} paid")?;
    match play("release-first", PLANTED_KILLS_MAX, seed)? {
        Verdict::Held(_) => return Err("a release before its reservation was not caught".into()),
        Verdict::Broken(how) => writeln!(out, "test a_release_before_its_reservation_is_caught ... ok: {how}")?,
    }
    writeln!(out, "\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out")?;
    Ok(())
}

/// Releases by direction.
#[derive(Debug, Default)]
struct Seen {
    released: [u128; 2],
    paid: [u128; 2],
}

/// What came of many kills.
enum Verdict {
    Held(Seen),
    /// The first kill after which the ledger said less than was released, or an epoch was there twice.
    Broken(String),
}

/// Kills children until `kills` are dead, or until the ledger is found short.
fn play(order: &str, kills: u32, seed: u64) -> Outcome<Verdict> {
    let folder = Folder::new(order)?;
    folder.make_ledger()?;
    let (mut random, mut life_max_us) = (seed, LIFE_MAX_US);
    let mut seen = Seen::default();
    for kill in 0..kills * FURTHER_KILLS {
        if kill >= kills && !seen.released.contains(&0) {
            break;
        }
        let mut child = Command::new("/proc/self/exe");
        child.args(["release", order]).arg(folder.path()).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = child.spawn()?;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((random >> 33) % life_max_us));
        child.kill()?;
        child.wait()?;
        let releases = releases(folder.path())?;
        life_max_us = match releases.len() as u128 > seen.released.iter().sum() {
            true => (life_max_us / 5 * 4).max(LIFE_MAX_US),
            false => (life_max_us / 4 * 5).min(LONGEST_LIFE_MAX_US),
        };
        seen = Seen { released: count(&releases), paid: paid(&folder)? };
        let broken = |how: String| Ok(Verdict::Broken(format!("after kill {kill}: {how}")));
        if releases.iter().collect::<BTreeSet<_>>().len() < releases.len() {
            return broken("an epoch was released twice".to_owned());
        }
        if seen.released.iter().zip(&seen.paid).any(|(released, paid)| released > paid) {
            return broken(format!("{seen:?}"));
        }
    }
    Ok(Verdict::Held(seen))
}

/// The child: epoch after epoch, in both directions, as fast as it can.
fn release(order: &str, folder: &Path) -> Outcome<()> {
    let mut store = Store::open(&folder.join("entry.ledger"), NODE)?;
    let mut wire = File::options().append(true).create(true).open(folder.join("wire"))?;
    let limits = Limits::none(DAY);
    loop {
        for direction in Direction::ALL {
            let until_s = store.paid_until_s(direction).max(START);
            let cost_each = Cost::noisy(MuSquared::from_raw(COST));
            let request = Request { direction, epoch_s: EPOCH_S, until_s, cost_each };
            let send = |epoch: u64| [&[direction as u8][..], &epoch.to_be_bytes()].concat();
            if order == "release-first" {
                wire.write_all(&send(until_s.div_ceil(EPOCH_S.into())))?;
                std::thread::sleep(PLANTED_WAIT);
            }
            let leave = store.reserve(START, request, &limits)?;
            if order != "release-first" {
                let epochs = leave.first_epoch..leave.first_epoch + u64::from(leave.releases);
                wire.write_all(&epochs.flat_map(send).collect::<Vec<u8>>())?;
            }
        }
    }
}

/// Direction and epoch of each release that reached the wire.
fn releases(folder: &Path) -> Outcome<Vec<(u8, u64)>> {
    let bytes = match std::fs::read(folder.join("wire")) {
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        read => read?,
    };
    let (releases, rest) = bytes.as_chunks::<RELEASE_LEN>();
    // One write of a few bytes to a file is done or not.
    if !rest.is_empty() {
        return Err(format!("{} bytes are no release", rest.len()).into());
    }
    let epoch = |release: &[u8; RELEASE_LEN]| release[1..].iter().fold(0, |epoch, byte| epoch << 8 | u64::from(*byte));
    Ok(releases.iter().map(|release| (release[0], epoch(release))).collect())
}

fn count(releases: &[(u8, u64)]) -> [u128; 2] {
    Direction::ALL.map(|direction| releases.iter().filter(|release| release.0 == direction as u8).count() as u128)
}

/// Releases that the ledger says are paid, read from a copy: the next child finds it as the kill left it.
fn paid(folder: &Folder) -> Outcome<[u128; 2]> {
    let copy = folder.path().join("copy");
    std::fs::copy(folder.ledger(), &copy)?;
    let store = Store::open(&copy, NODE)?;
    Ok(Direction::ALL.map(|direction| store.spent(START, direction, DAY).in_all.mu_squared.raw() / COST))
}
