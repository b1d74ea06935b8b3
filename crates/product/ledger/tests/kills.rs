//! kill -9 during releases: what an observer saw is never more than what the ledger says.
//!
//! A child process (this program again) reserves, and then writes each release to a plain file, which stands for the wire.
//! It is killed at a random moment; then the ledger and the file are compared. `cargo xtask long ledger` sets
//! HUSHWIRE_LEDGER_KILLS=1000. A child that releases before it reserves must be caught: the comparison has power.

use ledger::Store;
use shaping::accountant::MuSquared;
use shaping::ledger::{Cost, Direction, Limits, Request};
use std::error::Error;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn Error>>;

const NODE: [u8; 32] = [7; 32];
const START: u64 = 1_800_000_000;
const WINDOW: Duration = Duration::from_secs(86_400);
/// What each release costs, in the ledger's units.
const COST: u128 = 3;
/// Kills of an ordinary run.
const KILLS: u32 = 25;
/// Longest life of a child in microseconds. A reservation takes some milliseconds.
const LIFE_MAX_US: u64 = 60_000;
/// Kills within which the planted bug has to be caught.
const PLANTED_KILLS_MAX: u32 = 200;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["release", order, folder] => release(order, Path::new(folder)),
        _ if words.contains(&"--list") => Ok(()),
        _ => run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Outcome<()> {
    let kills = std::env::var("HUSHWIRE_LEDGER_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let seed = std::env::var("HUSHWIRE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_128);
    let mut out = std::io::stdout();
    writeln!(out, "{kills} kills, HUSHWIRE_SEED={seed}")?;
    let (released, spent) = play("reserve-first", kills, seed)?.ok_or("more was released than the ledger says")?;
    writeln!(out, "test a_ledger_never_says_less_than_was_released ... ok: {released} released, {spent} paid")?;
    let caught = play("release-first", PLANTED_KILLS_MAX, seed)?.is_none();
    if !caught {
        return Err("a release before its reservation was not caught".into());
    }
    writeln!(out, "test a_release_before_its_reservation_is_caught ... ok")?;
    writeln!(out, "\ntest result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out")?;
    Ok(())
}

/// Kills children until `kills` are dead. `None` as soon as the ledger says less than was released; else how many releases
/// there were, and how many were paid.
fn play(order: &str, kills: u32, seed: u64) -> Outcome<Option<(u128, u128)>> {
    let folder = Folder::new(order)?;
    let path = folder.0.join("entry.ledger");
    Store::create(&path, NODE, START)?;
    let mut random = seed;
    let mut figures = (0, 0);
    for _ in 0..kills {
        let mut child = Command::new("/proc/self/exe");
        child.args(["release", order]).arg(&folder.0).stdin(Stdio::null()).stderr(Stdio::null());
        let mut child = child.spawn()?;
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((random >> 33) % LIFE_MAX_US));
        child.kill()?;
        child.wait()?;
        let spent = Store::open(&path, NODE)?.spent_together(START, WINDOW).in_all.mu_squared.raw() / COST;
        let released = released(&folder.0)?;
        figures = (released, spent);
        if released > spent {
            return Ok(None);
        }
    }
    if figures.0 == 0 {
        return Err("no child lived long enough to release anything".into());
    }
    Ok(Some(figures))
}

/// The child: epoch after epoch, in both directions, as fast as it can.
fn release(order: &str, folder: &Path) -> Outcome<()> {
    let mut store = Store::open(&folder.join("entry.ledger"), NODE)?;
    let mut wire = File::options().append(true).create(true).open(folder.join("wire"))?;
    let limits = Limits { window: WINDOW, in_window: None, in_all: None };
    loop {
        for direction in Direction::ALL {
            let until_s = store.paid_until_s(direction).max(START);
            let cost_each = Cost::noisy(MuSquared::from_raw(COST));
            let request = Request { direction, epoch_s: 5, until_s, cost_each };
            if order == "release-first" {
                wire.write_all(b"x")?;
            }
            let leave = store.reserve(START, request, &limits)?;
            if order != "release-first" {
                wire.write_all(&vec![b'x'; leave.releases.into()])?;
            }
        }
    }
}

/// Releases that reached the wire: one byte each.
fn released(folder: &Path) -> Outcome<u128> {
    let mut bytes = Vec::new();
    match File::open(folder.join("wire")) {
        Ok(mut wire) => wire.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error.into()),
    };
    Ok(bytes.len() as u128)
}

/// A folder, removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("hushwire-ledger-kills-{name}-{}", std::process::id()));
        std::fs::create_dir(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
