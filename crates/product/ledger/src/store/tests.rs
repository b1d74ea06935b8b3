//! Damage and power failures, on a disk in memory.

#[path = "tests/disk.rs"]
mod disk;

use super::*;
use disk::Disk;
use shaping::accountant::MuSquared;
use shaping::ledger::{Cost, Reservation};
use std::time::Duration;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const NODE: [u8; 32] = [7; 32];
const ID: [u8; 16] = [9; 16];
const NOW: u64 = 1_800_000_000;
const WINDOW: Duration = Duration::from_secs(86_400);
const UNLIMITED: Limits = Limits::none(WINDOW);

fn request(direction: Direction, until_s: u64) -> Request {
    Request { direction, epoch_s: 5, until_s, cost_each: Cost::noisy(MuSquared::from_raw(1 << 60)) }
}

fn open(disk: Disk) -> Result<Store, OpenError> {
    let path = Path::new("/nothing/that/could/be/opened/again");
    let (database, mark, books) = read(disk, path, NODE)?;
    Ok(Store { database: Some(database), books, mark, path: path.to_owned(), node_id: NODE })
}

/// How a reservation is written.
type Write = fn(&Database, &Reservation, Mark) -> Result<(), redb::Error>;

/// What a ledger says, and its bytes.
struct Hour {
    says: (Spent, Mark),
    file: Vec<u8>,
}

/// A ledger in which an hour was spent minute by minute; and the file as it was found while the node still ran.
fn hour(write: Write) -> Result<Hour, Box<dyn std::error::Error>> {
    let disk = Disk::new(Vec::new());
    write_new(disk.clone(), NODE, LedgerId::from_bytes(ID), NOW)?;
    let (database, mut mark, mut books) = read(disk.clone(), Path::new("memory"), NODE)?;
    for minute in 0..60 {
        let now = NOW + 60 * minute;
        for direction in Direction::ALL {
            let reservation = books.reserve(now, request(direction, now + 60), &UNLIMITED)?;
            mark.reservations += 1;
            write(&database, &reservation, mark)?;
            books = reservation.after;
        }
    }
    Ok(Hour { says: (books.spent_together(NOW, WINDOW), mark), file: disk.content() })
}

/// What ledgers say of which one byte was altered.
#[derive(Debug, Default)]
struct Verdicts {
    refused: u32,
    unchanged: u32,
    /// They say something else than before.
    wrong: u32,
}

/// Alters every `step`th byte in turn, and each of the first 512, by each of the masks.
fn alter(write: Write, step: usize, masks: &[u8]) -> Result<Verdicts, Box<dyn std::error::Error>> {
    let Hour { says: expected, file: whole } = hour(write)?;
    let mut verdicts = Verdicts::default();
    for place in (0..512).chain((512..whole.len()).step_by(step)) {
        for mask in masks {
            let mut bytes = whole.clone();
            bytes[place] ^= mask;
            match open(Disk::new(bytes)) {
                Err(OpenError::Damaged { .. } | OpenError::Foreign(_)) => verdicts.refused += 1,
                Err(error) => return Err(format!("byte {place} by {mask:#x}: {error}").into()),
                Ok(store) if (store.spent_together(NOW, WINDOW), store.mark()) == expected => verdicts.unchanged += 1,
                Ok(_) => verdicts.wrong += 1,
            }
        }
    }
    Ok(verdicts)
}

/// Each time the ledger is refused, or says exactly what it said before.
#[test]
fn damage_while_the_node_ran_never_makes_it_say_less() -> Outcome {
    let verdicts = alter(write_twice, 23, &[1, 0x80])?;
    assert!(verdicts.wrong == 0 && verdicts.refused > 10, "{verdicts:?}");
    Ok(())
}

#[test]
fn a_reservation_that_is_written_once_can_be_lost_by_damage() -> Outcome {
    let verdicts = alter(tables::write, 23, &[1, 0x80])?;
    assert!(verdicts.wrong > 10, "the check above finds nothing: {verdicts:?}");
    Ok(())
}

#[test]
#[ignore = "every bit of the file: two minutes"]
#[expect(clippy::print_stderr, reason = "figures, shown with --nocapture")]
fn damage_of_any_bit_never_makes_it_say_less() -> Outcome {
    let verdicts = alter(write_twice, 1, &[1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80, 0xff])?;
    eprintln!("{verdicts:?}");
    // Only what both commits share cannot be replaced by the other: little beside the file's header.
    assert!(verdicts.wrong == 0 && verdicts.refused > 100, "{verdicts:?}");
    Ok(())
}

/// Numbers that a seed replays (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn is_heads(&mut self) -> bool {
        self.next() & 1 == 0
    }
}

/// Most operations of the disk between two power failures: some for opening, and some reservations.
const OPERATIONS_MAX: u64 = 400;

/// What was released in spite of power failures.
#[derive(Debug, Default)]
struct Released {
    /// In units of mu squared, by direction.
    spent: [u128; 2],
    /// One past the newest epoch, by direction.
    next_epoch: [u64; 2],
}

impl Released {
    /// Reserves and releases until the power fails.
    fn release(&mut self, store: &mut Store) -> Result<(), String> {
        loop {
            for direction in Direction::ALL {
                let until_s = store.paid_until_s(direction).max(NOW);
                let Ok(leave) = store.reserve(NOW, request(direction, until_s), &UNLIMITED) else { return Ok(()) };
                let next_epoch = &mut self.next_epoch[direction as usize];
                if leave.first_epoch < *next_epoch {
                    return Err(format!("{direction:?}: epoch {} twice", leave.first_epoch));
                }
                *next_epoch = leave.first_epoch + u64::from(leave.releases);
                self.spent[direction as usize] += u128::from(leave.releases) << 60;
            }
        }
    }

    /// The ledger that is found after a power failure can be opened, and says no less.
    fn compare(&self, content: Vec<u8>) -> Result<(), String> {
        let store = open(Disk::new(content)).map_err(|error| error.to_string())?;
        for direction in Direction::ALL {
            let says = store.spent(NOW, direction, WINDOW);
            let released = MuSquared::from_raw(self.spent[direction as usize]);
            if says.in_all.mu_squared < released || says.in_window.mu_squared < released {
                return Err(format!("{direction:?}: {says:?} where {released:?} was released"));
            }
        }
        Ok(())
    }
}

/// Lets the power fail again and again, also while the ledger is opened after the last failure.
fn fail_power(failures: u32, seed: u64, prepare: fn(Disk) -> Disk) -> Result<Released, String> {
    let fresh = Disk::new(Vec::new());
    write_new(fresh.clone(), NODE, LedgerId::from_bytes(ID), NOW).map_err(|error| error.to_string())?;
    let (mut content, mut chance, mut released) = (fresh.content(), Chance(seed), Released::default());
    for failure in 0..failures {
        let disk = prepare(Disk::new(content)).failing_after(chance.next() % OPERATIONS_MAX);
        let within = |fault: String| format!("HUSHWIRE_SEED={seed}, power failure {failure}: {fault}");
        if let Ok(mut store) = open(disk.clone()) {
            released.release(&mut store).map_err(within)?;
        }
        assert!(disk.has_failed(), "releases end with the power");
        content = disk.after_power_failure(|| chance.is_heads());
        released.compare(content.clone()).map_err(within)?;
    }
    Ok(released)
}

/// HUSHWIRE_SEED from the environment replays a run.
fn seed() -> u64 {
    std::env::var("HUSHWIRE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_128)
}

#[test]
fn power_failures_forget_nothing() -> Outcome {
    let released = fail_power(1_000, seed(), |disk| disk)?;
    assert!(released.spent.iter().all(|units| units >> 60 > 1_000), "{released:?}");
    Ok(())
}

#[test]
fn a_disk_that_does_not_sync_is_caught() {
    let caught = fail_power(100, seed(), Disk::lying);
    assert!(caught.is_err(), "the comparison finds nothing: {caught:?}");
}
