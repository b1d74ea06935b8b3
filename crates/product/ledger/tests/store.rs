//! The ledger's file: made once, opened by its node alone, and never taken for an empty one.

#[path = "support/folder.rs"]
mod folder;

use folder::{DAY, Folder, NODE, START as NOW};
use ledger::{CreateError, LedgerId, OpenError, ReserveError, Store};
use shaping::accountant::MuSquared;
use shaping::ledger::{Allowance, Bounds, Cost, Direction, Limits, Request};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const UNLIMITED: Limits = Limits::none(DAY);

fn request(direction: Direction, until_s: u64) -> Request {
    Request { direction, epoch_s: 5, until_s, cost_each: Cost::noisy(MuSquared::from_raw(1 << 60)) }
}

fn made(folder: &Folder) -> Result<PathBuf, Box<dyn std::error::Error>> {
    let path = folder.make_ledger()?;
    let mut store = Store::open(&path, NODE)?;
    store.reserve(NOW, request(Direction::Up, NOW + 60), &UNLIMITED)?;
    store.reserve(NOW, request(Direction::Down, NOW + 60), &UNLIMITED)?;
    Ok(path)
}

#[test]
fn what_was_reserved_is_there_after_opening_it_again() -> Outcome {
    let folder = Folder::new("again")?;
    let path = made(&folder)?;
    let store = Store::open(&path, NODE)?;
    let spent = store.spent(NOW, Direction::Up, DAY);
    assert_eq!(spent.in_all.mu_squared, MuSquared::from_raw(13 << 60));
    assert_eq!(spent.in_window, spent.in_all);
    assert_eq!(store.spent_together(NOW, DAY).in_all.mu_squared, MuSquared::from_raw(26 << 60));
    assert_eq!(store.paid_until_s(Direction::Down), NOW + 65);
    assert_eq!(path.metadata()?.permissions().mode() & 0o777, 0o600);
    Ok(())
}

#[test]
fn refusals_spend_nothing() -> Outcome {
    let folder = Folder::new("refusals")?;
    let path = made(&folder)?;
    let mut store = Store::open(&path, NODE)?;
    let before = store.spent_together(NOW, DAY);
    let in_all = Allowance { mu_squared: Some(MuSquared::from_raw(26 << 60)), bits: None };
    let limits = Limits { together: Bounds { in_all, ..Bounds::default() }, ..UNLIMITED };
    let refused = store.reserve(NOW + 60, request(Direction::Up, NOW + 120), &limits);
    assert!(matches!(refused, Err(ReserveError::Refused(_))), "{refused:?}");
    assert_eq!(store.spent_together(NOW, DAY), before);
    Ok(())
}

#[test]
fn a_ledger_is_never_replaced_and_has_one_owner_and_one_user() -> Outcome {
    let folder = Folder::new("owner")?;
    let path = made(&folder)?;
    assert!(matches!(folder.make_ledger(), Err(CreateError::Exists(_))));
    assert!(matches!(Store::open(&path, [8; 32]), Err(OpenError::Foreign(_))));
    let open = Store::open(&path, NODE)?;
    assert!(matches!(Store::open(&path, NODE), Err(OpenError::InUse(_))));
    drop(open);
    assert!(Store::open(&path, NODE).is_ok());
    Ok(())
}

#[test]
fn what_is_missing_or_no_ledger_is_an_error_with_a_remedy() -> Outcome {
    let folder = Folder::new("none")?;
    let path = folder.ledger();
    let refused = |path: &Path| Store::open(path, NODE).err().map(|error| error.to_string()).unwrap_or_default();
    assert!(refused(&path).contains("hushwire ledger new"), "{}", refused(&path));
    assert!(!path.exists(), "looking for a ledger makes none");
    std::fs::write(&path, b"")?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    assert!(refused(&path).contains("it is empty"), "{}", refused(&path));
    std::fs::write(&path, vec![b'x'; 50_000])?;
    assert!(refused(&path).contains("is damaged"), "{}", refused(&path));
    let folder_path = folder.path().join("folder");
    std::fs::create_dir(&folder_path)?;
    assert!(refused(&folder_path).contains("not a regular file"), "{}", refused(&folder_path));
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link)?;
    assert!(refused(&link).contains("not a regular file"), "{}", refused(&link));
    std::fs::remove_file(&path)?;
    let path = made(&folder)?;
    for mode in [0o666, 0o640, 0o604, 0o601] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
        assert!(refused(&path).contains(&format!("mode {mode:04o}")), "{}", refused(&path));
        assert!(refused(&path).contains("run `chmod 600"), "{}", refused(&path));
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    assert_eq!(refused(&path), "");
    Ok(())
}

/// What is noted of a ledger tells an older copy from a later one, and another ledger from both.
#[test]
fn a_mark_tells_copies_and_ledgers_apart() -> Outcome {
    let folder = Folder::new("mark")?;
    let path = made(&folder)?;
    let copy = folder.path().join("copy");
    std::fs::copy(&path, &copy)?;
    let noted = {
        let mut store = Store::open(&path, NODE)?;
        store.reserve(NOW + 60, request(Direction::Up, NOW + 120), &UNLIMITED)?;
        store.mark()
    };
    assert_eq!((Store::open(&path, NODE)?.mark(), noted.reservations), (noted, 3));
    let older = Store::open(&copy, NODE)?.mark();
    assert_eq!((older.id, older.reservations), (noted.id, 2));
    let other = folder.path().join("other");
    Store::create(&other, NODE, LedgerId::from_bytes([8; 16]), NOW)?;
    assert_ne!(Store::open(&other, NODE)?.mark().id, noted.id);
    Ok(())
}

/// Bytes altered here and there: each time the file is damaged, or says exactly what it said before. Every byte, and a
/// file that was not closed: `src/store/tests.rs`.
#[test]
fn a_damaged_ledger_never_says_less() -> Outcome {
    let folder = Folder::new("damaged")?;
    let path = made(&folder)?;
    let whole = std::fs::read(&path)?;
    let expected = Store::open(&path, NODE)?.spent_together(NOW, DAY);
    let (mut damaged, mut unchanged) = (0, 0);
    let places = (0..24).chain((24..whole.len()).step_by(whole.len() / 24));
    for place in places {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x10;
        std::fs::write(&path, &bytes)?;
        match Store::open(&path, NODE) {
            Err(OpenError::Damaged { .. } | OpenError::Foreign(_)) => damaged += 1,
            Err(error) => return Err(format!("byte {place}: {error}").into()),
            Ok(store) => {
                assert_eq!(store.spent_together(NOW, DAY), expected, "byte {place}");
                unchanged += 1;
            }
        }
    }
    assert!(damaged > 10, "{damaged} damaged, {unchanged} unchanged");
    for length in [1, 100, 4_096, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length])?;
        let opened = Store::open(&path, NODE).map(|store| store.spent_together(NOW, DAY));
        assert!(matches!(opened, Err(OpenError::Damaged { .. })), "cut to {length}: {opened:?}");
    }
    Ok(())
}

#[test]
#[ignore = "figures of this machine's disk"]
#[expect(clippy::print_stderr, reason = "figures, shown with --nocapture")]
fn how_long_a_reservation_takes() -> Outcome {
    let folder = Folder::new("time")?;
    let mut store = Store::open(&made(&folder)?, NODE)?;
    let mut times = Vec::new();
    for minute in 1..=200 {
        let now = NOW + 60 * minute;
        for direction in Direction::ALL {
            let begun = Instant::now();
            store.reserve(now, request(direction, now + 60), &UNLIMITED)?;
            times.push(begun.elapsed());
        }
    }
    times.sort_unstable();
    let (median, late, worst) = (times[times.len() / 2], times[times.len() * 99 / 100], times[times.len() - 1]);
    eprintln!("a reservation: {median:.1?} (median), {late:.1?} (99 of 100), {worst:.1?} (most)");
    drop(store);
    let begun = Instant::now();
    Store::open(&folder.ledger(), NODE)?;
    eprintln!("opening: {:.1?}, of {} bytes", begun.elapsed(), folder.ledger().metadata()?.len());
    Ok(())
}
