//! A disk that is full: nothing is reserved, the books stay as they are on the disk, and once there is room the same
//! store goes on, but not with an older copy that was put in its place meanwhile.
//!
//! A child process (this program again) may write no file beyond a few kilobytes, which fails as a full disk does. The
//! shell that starts it lets it ignore the signal that would end it, as a node does.

#[path = "support/folder.rs"]
mod folder;
#[path = "support/program.rs"]
mod program;

use folder::{DAY, Folder, NODE, START};
use ledger::{LedgerId, OpenError, ReserveError, Store};
use program::Outcome;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use shaping::accountant::MuSquared;
use shaping::ledger::{Cost, Direction, Leave, Limits, Request};
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Less than the file has: its first page can be written, and the next ones not.
const FILE_BYTES_MAX: u64 = 4_096;

fn main() -> ExitCode {
    let child = |words: &[&str]| match words {
        ["spend", folder] => Some(spend(&Path::new(folder).join("entry.ledger"))),
        _ => None,
    };
    program::run(child, run)
}

fn run() -> Outcome<()> {
    let folder = Folder::new("full")?;
    let path = folder.make_ledger()?;
    let child = std::env::current_exe()?;
    let script = r#"trap "" XFSZ; exec "$@""#;
    let status = Command::new("sh").args(["-c", script, "sh"]).arg(child).arg("spend").arg(folder.path()).status();
    let left = Store::open(&path, NODE);
    if !status?.success() {
        return Err("the child failed".into());
    }
    let paid = left?.spent(START, Direction::Up, DAY).in_all.mu_squared.raw();
    // Two reservations held; what the failed ones left on the disk counts as well.
    if !(2..=4).contains(&paid) {
        return Err(format!("{paid} releases are paid").into());
    }
    writeln!(
        std::io::stdout(),
        "test a_full_disk_reserves_nothing_and_is_survived ... ok\n\ntest result: ok. 1 passed"
    )?;
    Ok(())
}

fn reserve(store: &mut Store) -> Result<Leave, ReserveError> {
    let until_s = store.paid_until_s(Direction::Up).max(START);
    let cost_each = Cost::noisy(MuSquared::from_raw(1));
    let request = Request { direction: Direction::Up, epoch_s: 5, until_s, cost_each };
    store.reserve(START, request, &Limits::none(DAY))
}

/// The child.
fn spend(path: &Path) -> Outcome<()> {
    let (older, aside) = (path.with_extension("older"), path.with_extension("aside"));
    std::fs::copy(path, &older)?;
    let mut store = Store::open(path, NODE)?;
    let unlimited = getrlimit(Resource::Fsize);
    let first = reserve(&mut store)?;
    let spent = store.spent_together(START, DAY);

    setrlimit(Resource::Fsize, Rlimit { current: Some(FILE_BYTES_MAX), ..unlimited })?;
    let full = reserve(&mut store);
    assert!(matches!(full, Err(ReserveError::Storage(_))), "{full:?}");
    assert_eq!(store.spent_together(START, DAY), spent, "nothing is spent in memory that is not on the disk");
    let again = reserve(&mut store);
    assert!(matches!(again, Err(ReserveError::Unreadable(_) | ReserveError::Storage(_))), "{again:?}");

    setrlimit(Resource::Fsize, unlimited)?;
    std::fs::rename(path, &aside)?;
    std::fs::copy(&older, path)?;
    let swapped = reserve(&mut store);
    assert!(matches!(swapped, Err(ReserveError::Unreadable(OpenError::Damaged { .. }))), "{swapped:?}");
    std::fs::remove_file(path)?;
    Store::create(path, NODE, LedgerId::from_bytes([8; 16]), START)?;
    let another = reserve(&mut store);
    assert!(matches!(another, Err(ReserveError::Unreadable(OpenError::Damaged { .. }))), "{another:?}");
    std::fs::rename(&aside, path)?;
    let then = reserve(&mut store)?;
    assert!(then.first_epoch > first.first_epoch, "{then:?} after {first:?}");
    let held = store.spent_together(START, DAY).in_all.mu_squared.raw();
    assert!(held >= spent.in_all.mu_squared.raw() + u128::from(then.releases), "{held}");
    for error in [full.err(), again.err(), swapped.err(), another.err()].into_iter().flatten() {
        writeln!(std::io::stdout(), "  {error}")?;
    }
    Ok(())
}
